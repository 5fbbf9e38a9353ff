"""The demo: a fictional company's HRIS and BioStar, everything in this process, the real way from schedule to summary.

Nothing is called directly: jobs are scheduled, APScheduler fires them, the embedded worker runs them, and what is shown
was read from the tables that operators look at.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from backend.cli.exits import ExitCode
from backend.cli.follow import follow_run, run_view
from backend.cli.output import console, note, short_id, status_text, table, took
from backend.demo.company import write_biostar, write_hris
from backend.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from backend.db.models.hr import QuarantinedRow
    from backend.db.models.scheduler import JobExecution
    from backend.domain.jobs import JobSpec

# In the folder of every demo: only a folder with it is emptied.
_MARKER = ".hrsync-demo"
_SHOWN_KEYS = 4
_FIRE_IN_SECONDS = 2
_PATIENCE_SECONDS = 120
_LEAST_PEOPLE = 250
_SUMMARY_TO = "hr-it@aldermere.example"


class DemoError(Exception):
    """Something was not as it should be; the demo fails."""


def run_demo(folder: Path, config: Path, *, once: bool) -> ExitCode:
    """Run the demo in the folder; its exit code.

    Args:
        folder: emptied first; only what an earlier demo left there.
        config: folder of the example mappings and jobs.
        once: end after the summary instead of staying up.
    """
    output = console()
    begun = time.monotonic()
    _make_folder(folder)
    _say(output, f"A fictional company's HRIS and three months of BioStar punches are written to {folder}.")
    write_hris(folder / "hris.db")
    write_biostar(folder / "biostar.db", until=dt.datetime.now(dt.UTC).date())
    _set_environment(folder.absolute(), config.absolute())
    from backend.db.maria_database import maria
    from backend.settings import get_settings
    from backend.utils.structured_logger import configure_logging

    get_settings.cache_clear()
    maria.cache_clear()
    with (folder / "hrsync.log").open("w", encoding="utf-8") as log:
        configure_logging("json", "INFO", log)
        try:
            return asyncio.run(_Demo(output, folder, begun, once=once).run())
        except DemoError as error:
            note(f"The demo failed: {error}\nIts log: {folder / 'hrsync.log'}")
            return ExitCode.FAILED
        finally:
            configure_logging("json", "CRITICAL", sys.stderr)


class _Demo:
    """One demo in a running loop."""

    def __init__(self, output: Console, folder: Path, begun: float, *, once: bool) -> None:
        self._output = output
        self._folder = folder
        self._begun = begun
        self._once = once

    async def run(self) -> ExitCode:
        """Start everything, show the runs, stop (or stay)."""
        from backend.cli.all_in_one import run_all, stop_on_signals
        from backend.settings import get_settings

        stop = asyncio.Event()
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        system = asyncio.create_task(run_all(get_settings(), concurrency=4, on_started=address.set_result, stop=stop))
        interrupted = asyncio.Event()
        with stop_on_signals(interrupted):
            waiting = asyncio.create_task(interrupted.wait())
            showing = asyncio.create_task(self._show(address))
            try:
                done, _ = await asyncio.wait({system, showing, waiting}, return_when="FIRST_COMPLETED")
                if system in done:
                    system.result()
                    raise DemoError("the system ended by itself")
                if showing in done:
                    showing.result()
                    if not self._once:
                        self._stay(address.result())
                        await asyncio.wait({system, waiting}, return_when="FIRST_COMPLETED")
            finally:
                showing.cancel()
                waiting.cancel()
                stop.set()
                await asyncio.gather(system, showing, return_exceptions=True)
        if interrupted.is_set() and self._once:
            return ExitCode.INTERRUPTED
        _say(self._output, "Stopped in order.")
        return ExitCode.DONE

    async def _show(self, address: asyncio.Future[str]) -> None:
        await asyncio.shield(address)
        await self._apply_jobs()
        _say(
            self._output,
            "Scheduler, worker and API run in this process; SQLite files and a maildir stand for the rest.",
        )

        _title(self._output, "1. The scheduler fires the HRIS replication")
        first = await self._fire("demo-hris", "hris_replication")
        entities = _entities(first)
        self._show_counts(entities)
        await self._show_quarantine(first)
        _expect(entities["employees"]["read"] >= _LEAST_PEOPLE, "at least 250 people are read")
        _expect((first.rows_inserted or 0) > _LEAST_PEOPLE, "departments, positions and people are inserted")
        _expect((first.rows_rejected or 0) > 0, "the HRIS's bad rows are rejected")

        _title(self._output, "2. The same once more")
        second = await self._fire("demo-hris", "hris_replication")
        self._show_counts(_entities(second))
        changes = [second.rows_inserted, second.rows_updated, second.rows_deactivated]
        _expect(not any(changes), "the second run changes nothing")
        _say(self._output, "Nothing changed, so nothing was written.", style="bold green")

        _title(self._output, "3. Punches from BioStar")
        third = await self._fire("demo-attendance", "attendance_ingest")
        _expect((third.rows_inserted or 0) > 0, "punches are taken over")

        await self._show_mail()
        _title(self._output, "Done")
        _say(
            self._output,
            f"Everything was as expected, {time.monotonic() - self._begun:.0f} s after the start.",
            "bold green",
        )

    def _stay(self, address: str) -> None:
        _say(self._output, f"\nThe dashboard: {address}", style="bold")
        prefix = f"MARIA_URL={os.environ['MARIA_URL']} "
        _say(self._output, "It stays up and the example jobs stay scheduled; Ctrl-C ends it. In another terminal:")
        for command in ("jobs list", "executions list", "hris quarantine"):
            _say(self._output, f"  {prefix}.venv/bin/hrsync {command}")

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def _apply_jobs(self) -> None:
        from backend.celery_bridge import TASK_REGISTRY
        from backend.cli.jobs import save_jobs
        from backend.domain.jobs_file import parse_jobs_file
        from backend.settings import get_settings

        path = get_settings().config_file("jobs.toml")
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        specs = parse_jobs_file(text, TASK_REGISTRY, file_name=str(path))
        await save_jobs(specs, prune=False, dry_run=False, actor="demo")
        _say(
            self._output, f"{len(specs)} example jobs of {path.name} are scheduled: {', '.join(s.code for s in specs)}."
        )

    async def _fire(self, code: str, task_code: str) -> JobExecution:
        """Schedule a job a moment ahead and follow what the scheduler makes of it."""
        from backend.cli.jobs import save_jobs
        from backend.domain.jobs import JobSpec

        fire_at = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=_FIRE_IN_SECONDS)
        spec = JobSpec(code=code, task_code=task_code, trigger_kind="date", trigger_expression=fire_at.isoformat())
        await save_jobs([spec], prune=False, dry_run=False, actor="demo")
        _say(self._output, f"Job {code} is scheduled for {fire_at.astimezone():%H:%M:%S}.")
        execution = await self._wait_for_fire(spec, fire_at)
        with run_view(False) as view:
            ended = await asyncio.wait_for(follow_run(execution.id, view), _PATIENCE_SECONDS)
        self._output.print(
            Text.assemble(
                "Execution ",
                (short_id(ended.id), "cyan"),
                ": ",
                status_text(ended.status),
                f" in {took(ended.duration_ms)}. {ended.summary or ended.reason or ended.error_message or ''}",
            ),
            soft_wrap=True,
        )
        _expect(ended.status == "success", f"{code} succeeds ({ended.error_type}: {ended.error_message})")
        _expect(ended.triggered_by == "schedule", f"the scheduler fired {code}")
        return ended

    async def _wait_for_fire(self, spec: JobSpec, fire_at: dt.datetime) -> JobExecution:
        from backend.api.repositories.scheduler_repository import SchedulerRepository
        from backend.db.maria_database import maria

        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            async with maria().session() as session:
                found = await SchedulerRepository().list_executions(session, job_code=spec.code, limit=1)
            if found and found[0].scheduled_for == fire_at:
                return found[0]
            await asyncio.sleep(0.1)
        raise DemoError(f"the scheduler did not fire {spec.code} within {_PATIENCE_SECONDS} s")

    # --- summaries ----------------------------------------------------------------------------------------------------

    def _show_counts(self, entities: Mapping[str, Mapping[str, Any]]) -> None:
        names = ("read", "inserted", "updated", "unchanged", "deactivated", "rejected")
        right = {"justify": "right"}
        self._output.print()
        self._output.print(
            table(
                ["", *((name, right) for name in names)],
                ([entity, *(f"{counts.get(name) or 0:,}" for name in names)] for entity, counts in entities.items()),
            )
        )
        self._output.print()

    async def _show_quarantine(self, execution: JobExecution) -> None:
        from backend.api.repositories.quarantine_repository import QuarantineRepository
        from backend.db.maria_database import maria

        async with maria().session() as session:
            rows = await QuarantineRepository().list_entries(session, limit=10_000)
        for severity, title in (("error", "Rejected, and why"), ("warning", "Taken without what was wrong")):
            groups = _grouped([row for row in rows if row.severity == severity])
            if groups:
                _say(self._output, f"{title}:", style="bold")
                self._output.print(
                    table(
                        ["ENTITY", "REASON", "FIELD", ("ROWS", {"justify": "right"}), "FOR EXAMPLE"],
                        groups,
                        flexible=("FIELD", "FOR EXAMPLE"),
                    )
                )
                self._output.print()
        rejected = sum(row.severity == "error" for row in rows)
        _expect(rejected == execution.rows_rejected, "every rejected row is in the quarantine")

    async def _show_mail(self) -> None:
        """The run's summary was mailed; the maildir has it."""
        folder = self._folder / "mail" / "new"
        deadline = time.monotonic() + 20
        while not (messages := _files(folder)) and time.monotonic() < deadline:  # noqa: ASYNC110 - the maildir is a folder
            await asyncio.sleep(0.1)
        _expect(bool(messages), f"the summary is mailed to {_SUMMARY_TO}")
        _say(self._output, f"Mail: {len(messages)} summaries of HRIS runs for {_SUMMARY_TO} are in {folder}.")


def _entities(execution: JobExecution) -> Mapping[str, Mapping[str, Any]]:
    result = execution.result
    if not isinstance(result, dict) or not isinstance(result.get("entities"), dict):
        raise DemoError(f"execution {short_id(execution.id)} does not say what it did with each entity")
    found: Mapping[str, Mapping[str, Any]] = result["entities"]
    return found


def _grouped(rows: Sequence[QuarantinedRow]) -> list[tuple[str, str, str, str, str]]:
    """Entity, reason, field, number of rows and some of their keys."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        groups.setdefault((row.entity, row.reason, row.field or ""), []).append(row.source_key or "(no key)")
    return [
        (
            entity,
            reason,
            field,
            str(len(keys)),
            ", ".join(keys[:_SHOWN_KEYS]) + (", ..." if len(keys) > _SHOWN_KEYS else ""),
        )
        for (entity, reason, field), keys in sorted(groups.items())
    ]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise DemoError(f"expected that {what}, but it was not so")


def _say(output: Console, text: str, style: str = "") -> None:
    output.print(Text(text, style=style), soft_wrap=True)


def _title(output: Console, text: str) -> None:
    output.print()
    output.print(Text(text, style="bold cyan"))


# --- the folder -------------------------------------------------------------------------------------------------------


def _make_folder(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise ConfigurationError(
            f"{folder} is not empty and no demo made it, so it is left alone. Name another one with --folder."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARKER).write_text("Made by the demo of hrsync, which empties this folder.\n")


def _set_environment(folder: Path, config: Path) -> None:
    """Everything embedded, whatever the environment or a .env file of this place says: no real system is touched."""
    os.environ |= {
        "MARIA_URL": f"sqlite+aiosqlite:///{folder / 'hrsync.db'}",
        "HRIS_URL": f"sqlite+aiosqlite:///{folder / 'hris.db'}",
        "BIOSTAR_URL": f"sqlite+aiosqlite:///{folder / 'biostar.db'}",
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "",
        "CELERY_TASK_ALWAYS_EAGER": "false",
        "TASK_MODULES": "",
        "SMTP_URL": f"maildir:///{folder / 'mail'}",
        "MAIL_SUMMARY_TO": _SUMMARY_TO,
        "HRSYNC_CONFIG_DIR": str(config),
        "HRSYNC_DATA_DIR": str(folder),
        "API_HOST": "127.0.0.1",
        "API_PORT": "0",
        "API_TOKEN": "",
        "SHUTDOWN_GRACE_SECONDS": "3",
    }
