"""`hrsync jobs`: what is scheduled; taking it in from a file, running, pausing and foreseeing it."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from backend.cli.exits import ExitCode
from backend.cli.output import AsJson, facts, note, print_json, show, status_text, table, when

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy.ext.asyncio import AsyncSession

    from backend.db.models.scheduler import Job, JobExecution
    from backend.domain.jobs import JobSpec

app = typer.Typer(help="What is scheduled: look, change, run, pause, foresee.", no_args_is_help=True)

Code = Annotated[str, typer.Argument(metavar="CODE", help="The job's code.")]


@app.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """Show every job with its last run and its next fire."""
    from backend.cli.records import job_record
    from backend.cli.session import run_async

    now, jobs, last = run_async(_read_jobs())
    records = [job_record(job, now, fires=1, last=last.get(job.id)) for job in jobs]
    show(as_json, {"items": records}, lambda output: _render_jobs(output, jobs, last, now))


@app.command("show")
def show_job(code: Code, as_json: AsJson = False) -> None:
    """Show one job: schedule, policies, parameters, next fires, latest executions."""
    from backend.api.repositories.overview_repository import OverviewRepository
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.executions import render_executions
    from backend.cli.records import job_record
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    async def read() -> tuple[dt.datetime, Job, list[JobExecution]]:
        repository = SchedulerRepository()
        async with maria().session() as session:
            job = await repository.get_job(session, code)
            runs = await repository.list_executions(session, job_code=code, limit=20)
            return await OverviewRepository().read_clock(session), job, runs

    now, job, runs = run_async(read())

    def render(output: Console) -> None:
        _render_job(output, job, now)
        output.print()
        render_executions(output, runs[:10], now)

    show(as_json, job_record(job, now, fires=5, last=_telling(runs)), render)


@app.command("apply")
def apply_jobs(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The jobs file; without it, jobs.toml in HRSYNC_CONFIG_DIR.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Delete the jobs that the file does not have.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the jobs what the file says: all of it, or nothing where anything in it is wrong."""
    from backend.celery_bridge import TASK_REGISTRY
    from backend.cli.session import actor, run_async
    from backend.domain.jobs_file import parse_jobs_file

    path = file or _default_file()
    specs = parse_jobs_file(_read_file(path), TASK_REGISTRY, file_name=str(path))
    applied = run_async(save_jobs(specs, prune=prune, dry_run=dry_run, actor=actor()))
    data = {
        "file": str(path),
        "dry_run": dry_run,
        "jobs": [
            {
                "code": item.code,
                "outcome": item.outcome,
                "changes": {name: {"from": old, "to": new} for name, (old, new) in item.changes.items()},
            }
            for item in applied
        ],
    }
    show(as_json, data, lambda output: _render_applied(output, applied, dry_run=dry_run))


@app.command("export")
def export_jobs(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to; without it, stdout.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the jobs as a jobs file, which `jobs apply` takes in again."""
    from backend.api.repositories.job_rows import spec_of
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.session import run_async
    from backend.db.maria_database import maria
    from backend.domain.jobs_file import format_jobs_file

    async def read() -> list[JobSpec]:
        async with maria().session() as session:
            return [spec_of(job) for job in await SchedulerRepository().list_jobs(session)]

    specs = run_async(read())
    text = format_jobs_file(specs)
    if file is not None:
        _write_file(file, text)
        show(as_json, {"file": str(file), "jobs": len(specs)}, lambda out: out.print(f"{len(specs)} jobs in {file}."))
    elif as_json:
        print_json({"toml": text, "jobs": len(specs)})
    else:
        sys.stdout.write(text)


@app.command("run")
def run_job(
    code: Code,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Parameter for this run; the value as JSON or text."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end; exit code 1 if it fails.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run a job now, also one that is paused."""
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.celery_bridge import TASK_REGISTRY
    from backend.cli.runs import send_and_show
    from backend.cli.session import actor, run_async
    from backend.db.maria_database import maria

    params = parse_params(param or ())

    async def start() -> ExitCode:
        async with maria().session() as session:
            execution = await SchedulerRepository().request_run(
                session, code, tasks=TASK_REGISTRY, actor=actor(), params=params
            )
        return await send_and_show(execution, wait=wait, as_json=as_json)

    return run_async(start())


@app.command("pause")
def pause_job(code: Code, as_json: AsJson = False) -> None:
    """Let a job rest: its fires are recorded as missed until it is resumed."""
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.session import actor

    repository = SchedulerRepository()
    job = _change(lambda session: repository.pause_job(session, code, actor=actor()))
    _show_changed(
        job, f"{code} is paused: its fires are recorded as missed until `hrsync jobs resume {code}`.", as_json
    )


@app.command("resume")
def resume_job(code: Code, as_json: AsJson = False) -> None:
    """Let a paused job fire again; what it missed stays missed."""
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.celery_bridge import TASK_REGISTRY
    from backend.cli.session import actor

    repository = SchedulerRepository()
    job = _change(lambda session: repository.resume_job(session, code, tasks=TASK_REGISTRY, actor=actor()))
    _show_changed(job, f"{code} fires again.", as_json)


@app.command("next")
def next_job_fires(
    code: Code,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many fires.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Foresee a job's next fires, in its own time zone and in UTC, with the changes of the clock."""
    from backend.api.repositories.overview_repository import OverviewRepository
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.records import next_fires
    from backend.cli.session import run_async
    from backend.db.maria_database import maria
    from backend.domain.schedules import parse_timezone

    async def read() -> tuple[dt.datetime, Job]:
        async with maria().session() as session:
            job = await SchedulerRepository().get_job(session, code)
            return await OverviewRepository().read_clock(session), job

    now, job = run_async(read())
    zone = parse_timezone(job.timezone)
    fires = [fire.astimezone(zone) for fire in next_fires(job, now, count)]
    marks = clock_changes([now.astimezone(zone), *fires])
    data = {
        "code": code,
        "timezone": job.timezone,
        "fires": [
            {"local": fire.isoformat(), "utc": fire.astimezone(dt.UTC), "clock_change": mark}
            for fire, mark in zip(fires, marks, strict=True)
        ],
    }

    def render(output: Console) -> None:
        from backend.api.dashboard.words import relative

        if not fires:
            output.print(f"{code} does not fire: {_rest_reason(job)}.")
            return
        output.print(
            table(
                [f"LOCAL ({job.timezone})", "UTC", "", "CLOCK"],
                (
                    (
                        f"{fire:%a %Y-%m-%d %H:%M:%S %z}",
                        f"{fire.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}",
                        relative(fire, now),
                        mark or "",
                    )
                    for fire, mark in zip(fires, marks, strict=True)
                ),
            )
        )

    show(as_json, data, render)


# --- the work ---------------------------------------------------------------------------------------------------------


class AppliedJob(NamedTuple):
    """What happened to a job: created, updated, unchanged or pruned; the changed fields with old and new value."""

    code: str
    outcome: str
    changes: Mapping[str, tuple[Any, Any]]


async def save_jobs(specs: Sequence[JobSpec], *, prune: bool, dry_run: bool, actor: str) -> list[AppliedJob]:
    """Save the jobs in one transaction, with `prune` delete all others; what happened to each."""
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.celery_bridge import TASK_REGISTRY
    from backend.db.maria_database import maria

    repository = SchedulerRepository()
    async with maria().session() as session:
        saved = [await repository.save_job(session, spec, tasks=TASK_REGISTRY, actor=actor) for spec in specs]
        applied = [AppliedJob(item.job.code, item.outcome.value, item.changes) for item in saved]
        wanted = {spec.code for spec in specs}
        gone = [job.code for job in await repository.list_jobs(session) if job.code not in wanted] if prune else []
        for code in gone:
            await repository.delete_job(session, code, tasks=TASK_REGISTRY, actor=actor)
        if dry_run:
            await session.rollback()
    return [*applied, *(AppliedJob(code, "pruned", {}) for code in gone)]


def parse_params(texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` each: the value as JSON where it is JSON, else as text.

    Raises:
        BadParameter: a text has no name.
    """
    params: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE.")
        try:
            params[name.strip()] = json.loads(value)
        except ValueError:
            params[name.strip()] = value
    return params


def clock_changes(instants: Sequence[dt.datetime]) -> list[str | None]:
    """For each instant but the first: how the local clock was changed since the one before, if it was."""
    marks: list[str | None] = []
    for before, after in itertools.pairwise(instants):
        shift = (after.utcoffset() or dt.timedelta()) - (before.utcoffset() or dt.timedelta())
        minutes = round(shift.total_seconds() / 60)
        marks.append(f"clock {'forward' if minutes > 0 else 'back'} {abs(minutes)} min" if minutes else None)
    return marks


async def _read_jobs() -> tuple[dt.datetime, list[Job], dict[int, JobExecution]]:
    from backend.api.repositories.overview_repository import OverviewRepository
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.db.maria_database import maria

    repository = SchedulerRepository()
    async with maria().session() as session:
        jobs = await repository.list_jobs(session)
        last = {}
        for job in jobs:
            found = _telling(await repository.list_executions(session, job_code=job.code, limit=5))
            if found is not None:
                last[job.id] = found
        return await OverviewRepository().read_clock(session), jobs, last


def _telling(runs: Sequence[JobExecution]) -> JobExecution | None:
    """The newest of the executions that says how the job is: it succeeded, failed or did not run."""
    return next((run for run in runs if run.status in ("success", "failed", "missed")), None)


def _change(work: Callable[[AsyncSession], Awaitable[Job]]) -> tuple[Job, dt.datetime]:
    from backend.api.repositories.overview_repository import OverviewRepository
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    async def run() -> tuple[Job, dt.datetime]:
        async with maria().session() as session:
            job = await work(session)
            return job, await OverviewRepository().read_clock(session)

    return run_async(run())


def _show_changed(changed: tuple[Job, dt.datetime], text: str, as_json: bool) -> None:
    from backend.cli.records import job_record

    job, now = changed
    show(as_json, {"job": job_record(job, now, fires=5)}, lambda output: output.print(text, soft_wrap=True))


def _default_file() -> Path:
    from backend.settings import get_settings

    return get_settings().config_file("jobs.toml")


def _read_file(path: Path) -> str:
    from backend.errors import ConfigurationError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The jobs file {path} cannot be read: {error}. Name another file, or set HRSYNC_CONFIG_DIR to its folder."
        ) from None


def _write_file(path: Path, text: str) -> None:
    from backend.errors import ConfigurationError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The jobs file {path} cannot be written: {error}.") from None


# --- words ------------------------------------------------------------------------------------------------------------


def state_of(job: Job) -> str:
    """Whether the job may fire: on, paused, off."""
    if not job.enabled:
        return "off"
    return "paused" if job.paused_at is not None else "on"


def _rest_reason(job: Job) -> str:
    if not job.enabled:
        return "it is switched off (enabled = false)"
    if job.paused_at is not None:
        return f"it is paused; `hrsync jobs resume {job.code}` lets it fire"
    if job.max_runs is not None and job.runs_count >= job.max_runs:
        return f"it has run its {job.max_runs} times"
    return "its schedule has ended"


def _trigger_text(job: Job) -> str:
    words = {"cron": "cron", "interval": "every", "date": "at"}
    return f"{words.get(job.trigger_kind, job.trigger_kind)} {job.trigger_expression}"


def _render_jobs(output: Console, jobs: list[Job], last: dict[int, JobExecution], now: dt.datetime) -> None:
    from rich.text import Text

    from backend.cli.records import next_fires

    if not jobs:
        output.print("No jobs. `hrsync jobs apply` takes them in from a file.")
        return
    styles = {"on": "green", "paused": "yellow", "off": "dim"}

    def rows() -> Any:
        for job in jobs:
            run = last.get(job.id)
            fires = next_fires(job, now, 1)
            yield (
                Text(job.code, style="cyan"),
                Text(state_of(job), style=styles[state_of(job)]),
                _trigger_text(job),
                job.timezone,
                when(fires[0], now) if fires else "-",
                status_text(run.status) if run else "-",
                when(run.finished_at, now) if run else "",
            )

    output.print(
        table(
            ["JOB", "STATE", "SCHEDULE", "ZONE", "NEXT", "LAST", "ENDED"],
            rows(),
            flexible=("SCHEDULE", "ZONE", "ENDED"),
        )
    )


def _render_job(output: Console, job: Job, now: dt.datetime) -> None:
    from backend.cli.records import next_fires

    fires = next_fires(job, now, 5)
    output.print(
        facts(
            [
                ("job", job.code),
                ("name", job.name or None),
                ("description", job.description or None),
                ("task", job.task_code),
                ("parameters", json.dumps(job.params, ensure_ascii=False) if job.params else None),
                ("state", state_of(job) + (f" since {when(job.paused_at, now)}" if job.paused_at else "")),
                ("schedule", f"{_trigger_text(job)} ({job.timezone}; clock changes: {job.dst_rule})"),
                ("from", when(job.starts_at, now) if job.starts_at else None),
                ("until", when(job.ends_at, now) if job.ends_at else None),
                ("runs", f"{job.runs_count}" + (f" of {job.max_runs}" if job.max_runs is not None else "")),
                ("jitter", f"{job.jitter_seconds:g} s" if job.jitter_seconds else None),
                ("catch up", f"{job.catch_up}, at most {job.max_lateness_seconds:g} s late"),
                ("overlap", job.overlap),
                (
                    "blackouts",
                    "\n".join(f"{item['start']} to {item['end']} {item.get('reason', '')}" for item in job.blackouts)
                    or None,
                ),
                ("next", "\n".join(when(fire, now) for fire in fires) or f"never: {_rest_reason(job)}"),
            ]
        )
    )


def _render_applied(output: Console, applied: list[AppliedJob], *, dry_run: bool) -> None:
    styles = {"created": "green", "updated": "yellow", "unchanged": "dim", "pruned": "red"}
    from rich.text import Text

    if applied:
        output.print(
            table(
                ["JOB", "", ("CHANGES", {"no_wrap": False, "overflow": "fold"})],
                ((item.code, Text(item.outcome, style=styles[item.outcome]), _changes_text(item)) for item in applied),
            )
        )
    counts = {word: sum(item.outcome == word for item in applied) for word in styles}
    output.print(", ".join(f"{count} {word}" for word, count in counts.items() if count) or "The file has no jobs.")
    if dry_run:
        note("Nothing was changed (--dry-run).")


def _changes_text(item: AppliedJob) -> str:
    return "\n".join(
        f"{name}: {json.dumps(old, ensure_ascii=False, default=str)} -> "
        f"{json.dumps(new, ensure_ascii=False, default=str)}"
        for name, (old, new) in item.changes.items()
    )
