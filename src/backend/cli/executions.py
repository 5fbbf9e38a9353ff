"""`hrsync executions`: what ran, what is running, what did not run and why."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.exits import ExitCode
from backend.cli.output import AsJson, console, facts, jsonable, note, short_id, show, status_text, table, took, when

if TYPE_CHECKING:
    from rich.console import Console

    from backend.db.models.scheduler import ExecutionAttempt, ExecutionLog, JobExecution
    from backend.domain.executions import Status
    from backend.domain.parts import PartState

app = typer.Typer(help="What ran, what runs, and what did not run and why.", no_args_is_help=True)

# A terminal's height of parts; --json has them all.
_PARTS_SHOWN = 20

Id = Annotated[str, typer.Argument(metavar="ID", help="The execution: its id, or the end of it as the lists show it.")]


@app.command("list")
def list_executions(  # noqa: PLR0917 - the parameters are options
    job: Annotated[str | None, typer.Option("--job", help="Only of this job.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="Only of this task.")] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only with this status; may be given several times.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only later than this: 90m, 2h, 7d, or an ISO 8601 date.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the latest executions, the newest first."""
    from backend.api.repositories.overview_repository import OverviewRepository
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.records import execution_record
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    statuses = [_status(code) for code in status or ()]
    since_at = parse_since(since) if since else None

    async def read() -> tuple[dt.datetime, list[JobExecution]]:
        async with maria().session() as session:
            found = await SchedulerRepository().list_executions(
                session, job_code=job, task_code=task, status=statuses, since=since_at, limit=limit
            )
            return await OverviewRepository().read_clock(session), found

    now, rows = run_async(read())
    show(as_json, {"items": [execution_record(row) for row in rows]}, lambda out: render_executions(out, rows, now))


@app.command("show")
def show_execution(execution: Id, as_json: AsJson = False) -> None:
    """Show everything about one execution: times, counts, parameters, result, attempts, parts, errors."""
    from backend.api.repositories.overview_repository import OverviewRepository
    from backend.api.repositories.parts_repository import PartsRepository
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.records import execution_detail
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    async def read() -> tuple[dt.datetime, JobExecution, list[ExecutionAttempt], list[PartState], str | None]:
        repository, in_parts = SchedulerRepository(), PartsRepository()
        async with maria().session() as session:
            row = await repository.get_execution(session, execution)
            attempts = await repository.list_attempts(session, row.id)
            parts = await in_parts.find(session, row.id, details=False)
            part_of = await in_parts.find_parent(session, row.id)
            return await OverviewRepository().read_clock(session), row, attempts, parts, part_of

    now, row, attempts, parts, part_of = run_async(read())

    def render(output: Console) -> None:
        _render_execution(output, row, attempts, now, part_of)
        _render_parts(output, parts)

    show(as_json, execution_detail(row, attempts, parts=parts, part_of=part_of), render)


@app.command("logs")
def show_logs(
    execution: Id,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Only of this attempt.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many lines.")] = 1000,
    as_json: AsJson = False,
) -> int:
    """Show what a run logged."""
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.exits import exit_code_of_run
    from backend.cli.follow import PlainView, follow_run, log_text
    from backend.cli.records import log_record
    from backend.cli.runs import show_end
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    if follow and (as_json or attempt is not None):
        raise typer.BadParameter("--follow shows all attempts as text; leave out --json and --attempt.")

    async def read() -> list[ExecutionLog]:
        repository = SchedulerRepository()
        async with maria().session() as session:
            row = await repository.get_execution(session, execution)
            return await repository.list_logs(session, row.id, attempt=attempt, limit=limit)

    async def watch() -> JobExecution:
        async with maria().session() as session:
            row = await SchedulerRepository().get_execution(session, execution)
        try:
            return await follow_run(row.id, PlainView(console()))
        except asyncio.CancelledError:
            note(f"\nThe run goes on without this command: hrsync executions show {short_id(row.id)}")
            raise

    if follow:
        ended = run_async(watch())
        show_end(console(), ended)
        return exit_code_of_run(ended)
    lines = run_async(read())

    def render(output: Console) -> None:
        for line in lines:
            output.print(log_text(line), soft_wrap=True)
        if not lines:
            note("It logged nothing so far.")
        elif len(lines) == limit:
            note(f"These are the first {limit} lines; --limit shows more.")

    show(as_json, {"items": [log_record(line) for line in lines]}, render)
    return ExitCode.DONE


@app.command("cancel")
def cancel(
    execution: Id,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept with the execution.")] = None,
    as_json: AsJson = False,
) -> None:
    """Cancel an execution: a waiting one at once, a running one within two seconds."""
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.records import execution_record
    from backend.cli.session import actor, run_async
    from backend.db.maria_database import maria

    async def write() -> JobExecution:
        async with maria().session() as session:
            return await SchedulerRepository().request_cancel(session, execution, actor=actor(), reason=reason)

    row = run_async(write())
    done = "is cancelled." if row.status == "cancelled" else "is running; its worker has been asked to end it."
    show(as_json, {"execution": execution_record(row)}, lambda out: out.print(f"Execution {short_id(row.id)} {done}"))


@app.command("retry")
def retry(
    execution: Id,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the new run to its end.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run an execution that has ended once more, as a new one with the same parameters."""
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.celery_bridge import TASK_REGISTRY
    from backend.cli.runs import send_and_show
    from backend.cli.session import actor, run_async
    from backend.db.maria_database import maria

    async def start() -> ExitCode:
        async with maria().session() as session:
            row = await SchedulerRepository().retry_execution(session, execution, tasks=TASK_REGISTRY, actor=actor())
        return await send_and_show(row, wait=wait, as_json=as_json)

    return run_async(start())


# --- words ------------------------------------------------------------------------------------------------------------


def parse_since(text: str) -> dt.datetime:
    """An instant from `90m`, `2h`, `7d` ago or an ISO 8601 date (local time where it has no offset).

    Raises:
        BadParameter: it is neither.
    """
    from backend.domain.schedules import parse_interval
    from backend.errors import ConfigurationError

    try:
        instant = dt.datetime.fromisoformat(text)
        return instant.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return dt.datetime.now(dt.UTC) - dt.timedelta(seconds=parse_interval(text))
    except ConfigurationError:
        raise typer.BadParameter(f"{text!r} is neither an age such as 90m, 2h or 7d nor an ISO 8601 date.") from None


def _status(code: str) -> Status:
    from backend.domain.executions import Status

    try:
        return Status(code)
    except ValueError:
        raise typer.BadParameter(f"{code!r} is not a status. There are: {', '.join(Status)}.") from None


def rows_text(row: JobExecution) -> str:
    """The row counts in short: `read 312, new 5, changed 2, gone 1, rejected 3`."""
    words = [("read", row.rows_read), ("new", row.rows_inserted), ("changed", row.rows_updated)]
    words += [("gone", row.rows_deactivated), ("rejected", row.rows_rejected)]
    return ", ".join(f"{word} {count:,}" for word, count in words if count or (word == "read" and count is not None))


def render_executions(output: Console, rows: list[JobExecution], now: dt.datetime) -> None:
    """Executions as a table."""
    from rich.text import Text

    if not rows:
        output.print("No executions.")
        return
    output.print(
        table(
            ["ID", "JOB", "STATUS", "STARTED", ("TOOK", {"justify": "right"}), "WHAT"],
            (
                (
                    Text(short_id(row.id), style="cyan"),
                    row.job_code or row.task_code,
                    status_text(row.status),
                    when(row.started_at or row.scheduled_for or row.created_at, now),
                    took(row.duration_ms),
                    _what(row),
                )
                for row in rows
            ),
            flexible=("JOB", "WHAT"),
        )
    )


def _what(row: JobExecution) -> str:
    if row.status in ("pending", "running"):
        return row.progress_message or row.reason or ""
    text = row.error_message or row.reason or rows_text(row) or row.summary or ""
    return " ".join(text.split())


def _render_parts(output: Console, parts: list[PartState]) -> None:
    from collections import Counter

    from rich.text import Text

    from backend.domain.parts import urgent_first

    if not parts:
        return
    shown = urgent_first(parts)[:_PARTS_SHOWN]
    output.print()
    output.print(
        table(
            [("PART", {"justify": "right"}), "ID", "STATUS", "WHY"],
            (
                (
                    part.number,
                    Text(short_id(part.execution_id), style="cyan"),
                    status_text(part.status),
                    part.reason or "",
                )
                for part in shown
            ),
            flexible=("WHY",),
        )
    )
    if len(parts) > len(shown):
        numbers = ", ".join(f"{count:,} {status}" for status, count in Counter(part.status for part in parts).items())
        note(f"These are {len(shown)} of {len(parts):,} parts ({numbers}); --json lists them all.")


def _render_execution(
    output: Console,
    row: JobExecution,
    attempts: list[ExecutionAttempt],
    now: dt.datetime,
    part_of: str | None,
) -> None:
    import json

    from backend.domain.parts import WAITING_FOR_PARTS

    is_due_later = row.status == "pending" and row.reason != WAITING_FOR_PARTS
    allowed = row.max_attempts + row.interruptions if row.max_attempts else "any number"

    progress = None
    if row.progress_current is not None:
        total = f" of {row.progress_total:,}" if row.progress_total is not None else ""
        progress = f"{row.progress_current:,}{total} {row.progress_message or ''}".rstrip()
    output.print(
        facts(
            [
                ("execution", row.id),
                ("job", row.job_code),
                ("task", f"{row.task_code} (queue {row.queue})"),
                ("status", status_text(row.status)),
                ("reason", row.reason),
                ("cancel asked", when(row.cancel_requested_at, now) if row.cancel_requested_at else None),
                ("triggered by", row.triggered_by + (f", {row.requested_by}" if row.requested_by else "")),
                ("scheduled for", when(row.scheduled_for, now) if row.scheduled_for else None),
                ("created", when(row.created_at, now)),
                ("due", when(row.run_after, now) if is_due_later else None),
                ("sent", when(row.dispatched_at, now)),
                ("started", when(row.started_at, now)),
                ("finished", when(row.finished_at, now)),
                ("took", took(row.duration_ms)),
                ("worker", row.worker_host),
                ("attempt", f"{row.attempt} of {allowed}"),
                ("retry of", row.retry_of and short_id(row.retry_of)),
                ("part of", part_of and short_id(part_of)),
                ("parameters", json.dumps(row.params, ensure_ascii=False) if row.params else None),
                ("progress", progress),
                ("rows", rows_text(row) or None),
                ("summary", row.summary),
                ("result", json.dumps(jsonable(row.result), ensure_ascii=False) if row.result is not None else None),
                ("error", f"{row.error_type}: {row.error_message}" if row.error_message else None),
            ]
        )
    )
    if attempts:
        output.print()
        output.print(
            table(
                [
                    ("ATTEMPT", {"justify": "right"}),
                    "OUTCOME",
                    "STARTED",
                    ("TOOK", {"justify": "right"}),
                    "WORKER",
                    "ERROR",
                ],
                (
                    (
                        item.attempt,
                        item.outcome or "running",
                        when(item.started_at, now),
                        took(item.duration_ms),
                        item.worker_host,
                        " ".join((item.error_message or "").split()),
                    )
                    for item in attempts
                ),
                flexible=("ERROR",),
            )
        )
    if traceback := next((item.traceback for item in reversed(attempts) if item.traceback), None):
        from rich.text import Text

        output.print()
        output.print(Text(traceback.rstrip(), style="dim"), soft_wrap=True)
