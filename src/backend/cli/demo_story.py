"""What the demo shows, step by step; each step checks that everything was as it should be.

Nothing is called directly: jobs are scheduled, APScheduler fires them, the embedded worker runs them, and what is shown
was read from the tables that operators look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from sqlalchemy import func, select

from backend.api.repositories.hold_repository import HoldRepository
from backend.api.repositories.hr_history_repository import HrHistoryRepository
from backend.api.repositories.quarantine_repository import QuarantineRepository
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.celery_bridge import TASK_REGISTRY
from backend.cli.demo_month import (
    QUESTIONS,
    Month,
    adds_up,
    find_days,
    find_late_punch,
    read_month,
    read_told,
    render_month,
    render_told,
)
from backend.cli.follow import LiveView, RunView, SilentView, follow_run
from backend.cli.hris_history import render_history
from backend.cli.hris_words import Change, changed_fields_text, changes_table
from backend.cli.jobs import save_jobs
from backend.cli.output import facts, short_id, status_text, table, took
from backend.db.maria_database import maria
from backend.db.models import Employee
from backend.demo.company import break_hris, change_hris, deliver_punch, mend_hris
from backend.domain.employees import Entity
from backend.domain.jobs import JobSpec
from backend.domain.jobs_file import parse_jobs_file
from backend.domain.replication_plan import ChangeAction, HoldStatus
from backend.settings import get_settings

if TYPE_CHECKING:
    from rich.console import Console

    from backend.db.models.hr import HrHold, HrHoldChange, QuarantinedRow
    from backend.db.models.scheduler import ExecutionLog, JobExecution

_FIRE_IN_SECONDS = 0.6
_PATIENCE_SECONDS = 120
_LEAST_PEOPLE = 250
_MONTH_DAYS = 31
# Of the times that somebody was expected.
_MOST_UNEXPLAINED = 0.02
# Of a group of rows so many are named.
_SHOWN_KEYS = 2
_SHOWN_CHANGES = 5
_NUMBER = {"justify": "right"}
_CHANGED = ("inserted", "updated", "deactivated")
_COUNTS = ("read", "inserted", "updated", "unchanged", "deactivated", "rejected")
# Of the runs that succeed, and of the one that is held.
_MAILS = 4 + 1


class DemoError(Exception):
    """Something was not as it should be; the demo fails."""


class Story:
    """The steps of one demo, in a running system."""

    def __init__(self, output: Console, folder: Path, begun: float, yesterday: dt.date) -> None:
        self._output = output
        self._month = yesterday - dt.timedelta(days=_MONTH_DAYS - 1), yesterday
        self._folder = folder
        self._hris = folder / "hris.db"
        self._begun = begun

    async def tell(self) -> None:
        """Show everything.

        Raises:
            DemoError: something was not as expected.
        """
        self._say("Scheduler, worker and API run in this process; SQLite files and a maildir stand for the rest.")
        await self._replicate()
        await self._replicate_again()
        await self._replicate_a_day()
        await self._hold()
        await self._mend()
        await self._ingest()
        month = await self._compute()
        await self._deliver(month)
        await self._show_mail()
        await self._apply_jobs()
        self._title("Done")
        self._say(
            f"Everything was as expected, {time.monotonic() - self._begun:.0f} s after the start.", style="bold green"
        )

    # --- the steps ----------------------------------------------------------------------------------------------------

    async def _replicate(self) -> None:
        self._title("1. The scheduler fires the HRIS replication")
        run = await self._fire("demo-hris", "hris_replication")
        entities = _entities(run)
        self._show_counts(entities)
        await self._show_quarantine(run)
        _expect(entities["employees"]["read"] >= _LEAST_PEOPLE, "at least 250 people are read")
        _expect(all(counts["inserted"] for counts in entities.values()), "rows of every entity are inserted")
        _expect({"leaves", "holidays"} <= entities.keys(), "leaves and holidays are replicated")
        _expect((run.rows_rejected or 0) > 0, "the HRIS's bad rows are rejected")

    async def _replicate_again(self) -> None:
        self._title("2. The same once more")
        run = await self._fire("demo-hris", "hris_replication")
        self._show_counts(_entities(run))
        _expect(_changes(run) == (0, 0, 0), "the second run changes nothing")
        self._say("Nothing changed, so nothing was written.", style="bold green")

    async def _replicate_a_day(self) -> None:
        self._title("3. A day's work in the HRIS")
        edits = await asyncio.to_thread(change_hris, self._hris)
        for edit in edits:
            self._say(f"  {edit}")
        run = await self._fire("demo-hris", "hris_replication")
        entities = _entities(run)
        changed = {name: counts for name, counts in entities.items() if any(map(counts.get, _CHANGED))}
        self._show_counts(changed)
        self._say("Rows by the field that changed:", style="bold")
        self._output.print(
            facts((f"  {name}", changed_fields_text(counts["changed_fields"])) for name, counts in changed.items())
        )
        _expect(_changes(run) == (1, 3, 1), "one hire, a move, two renames and a leaver arrive")
        _expect(changed["employees"]["changed_fields"].get("department_code") == 1, "one person has moved")
        _expect(changed["departments"]["changed_fields"] == {"name": 1}, "one department has a new name")
        moved = next(edit.split()[0] for edit in edits if " moved to " in edit)
        await self._show_history(moved, run)

    async def _hold(self) -> None:
        self._title("4. The HRIS loses most of its people")
        before = await _count_active()
        await asyncio.to_thread(break_hris, self._hris)
        self._say("Somebody has left a filter in the HRIS: it shows the people of Berlin only.")
        run = await self._fire("demo-hris", "hris_replication", expected="failed")
        _expect(run.error_type == "GuardError", f"the guard holds the run ({run.error_type}: {run.error_message})")
        hold, changes = await _read_hold(run)
        self._show_hold(hold, changes)
        after = await _count_active()
        self._say(
            f"Active employees: {before:,} before the run, {after:,} after it. Nothing was written.", "bold green"
        )
        ref = short_id(run.id)
        self._say(f"Somebody is told by mail, and decides: hrsync hris approve {ref}, or hrsync hris reject {ref}.")
        gone = [item for item in changes if (item.entity, item.action) == (Entity.EMPLOYEES, ChangeAction.DEACTIVATE)]
        _expect(before == after, "a held run deactivates nobody")
        _expect(hold.status == HoldStatus.HELD, "the run waits for a decision")
        _expect(len(gone) == hold.counts["employees"]["deactivated"], "the hold keeps what the run would have done")
        _expect(len(gone) > before / 4, "a large part of the people would have been deactivated")

    async def _mend(self) -> None:
        self._title("5. The HRIS is mended")
        await asyncio.to_thread(mend_hris, self._hris)
        self._say("The filter is taken away; there is nothing to decide any more.")
        run = await self._fire("demo-hris", "hris_replication")
        async with maria().session() as session:
            (hold,) = await HoldRepository().list_holds(session)
        self._say(f"The run that was held, {short_id(hold.execution_id)}, has {hold.status}.")
        _expect(_changes(run) == (0, 0, 0), "everybody is still there")
        _expect(hold.status == HoldStatus.EXPIRED, "the held run has expired")

    async def _ingest(self) -> None:
        self._title("6. Punches from BioStar")
        run = await self._fire("demo-attendance", "attendance_ingest")
        self._say("Users that are nobody's are kept with their punches: hrsync punches users --unknown lists them.")
        _expect((run.rows_inserted or 0) > 0, "punches are taken over")

    async def _compute(self) -> Month:
        self._title("7. A month of attendance")
        self._say("By the rules of config/attendance.toml, and the leaves and holidays of the HRIS.")
        dates = {"date_from": self._month[0].isoformat(), "date_to": self._month[1].isoformat()}
        run = await self._fire("demo-month", "attendance_range", params=dates)
        month = await read_month(*self._month)
        self._output.print()
        render_month(self._output, month)
        self._output.print()
        share = len(month.unexplained) / month.expected
        self._say(
            f"{len(month.unexplained)} absences have no reason that anybody knows of: {share:.1%} of the days on which "
            "somebody was expected."
        )
        _expect(set(month.contents()) == month.employed_days(), "everybody has each day of the month")
        _expect(run.rows_inserted == len(month.days), "every day is computed once")
        _expect(all(map(adds_up, month.days)), "the totals of every day add up")
        _expect(0 < share < _MOST_UNEXPLAINED, "nearly all absences are leaves and holidays")
        found = find_days(month)
        for question, day in found:
            self._output.print()
            self._say(question.title, style="bold")
            render_told(self._output, await read_told(day))
        _expect(len(found) == len(QUESTIONS), "there is a day for each question")
        self._output.print()
        self._say("The days before that month follow by the job that computes what has changed, or is new:")
        run = await self._fire("demo-touched", "attendance_recompute_dirty")
        _expect((run.rows_inserted or 0) > len(month.days), "the days before the month are computed")
        _expect(run.rows_updated == 0, "the days of the month stay as they are")
        return month

    async def _deliver(self, month: Month) -> None:
        self._title("8. A punch that comes late")
        late = await find_late_punch(month)
        if late is None:
            raise DemoError("nobody has forgotten to check out in a month")
        self._say("On this day, a check-out is missing:")
        render_told(self._output, await read_told(late.day))
        self._output.print()
        await asyncio.to_thread(
            deliver_punch, self._folder / "biostar.db", user=late.user, at=late.at, device=int(late.device)
        )
        self._say(f"The reader was without a network then. Now BioStar has what it kept: a punch at {late.time}.")
        run = await self._fire("demo-attendance", "attendance_ingest")
        _expect(run.rows_inserted == 1, "the late punch is the only new one")
        run = await self._fire("demo-touched", "attendance_recompute_dirty")
        after = await read_month(*self._month)
        render_told(self._output, await read_told(late.day))
        self._output.print()
        changed = set(after.contents().items()) - set(month.contents().items())
        keys = [(late.day.employee_no, late.day.work_on)]
        _expect([key for key, _ in changed] == keys, "exactly the day of the late punch changes")
        _expect((run.rows_inserted, run.rows_updated) == (0, 1), "the run writes that day alone")
        self._say(f"Of the {len(after.days):,} days of the month this one has changed, and no other.", "bold green")

    async def _show_mail(self) -> None:
        """A summary of every run that succeeded, and the news of the one that was held."""
        self._title("9. Mail")
        folder = self._folder / "mail" / "new"
        deadline = time.monotonic() + 20
        while len(files := _files(folder)) < _MAILS and time.monotonic() < deadline:  # noqa: ASYNC110 - a folder
            await asyncio.sleep(0.1)
        messages = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]
        recipients = ", ".join(sorted({str(message["To"]) for message in messages}))
        self._say(f"{len(messages)} messages to {recipients} are in {folder}:")
        for message in messages:
            self._say(f"  {message['Subject']}")
        held = sum("held" in message["Subject"] for message in messages)
        _expect((len(messages), held) == (_MAILS, 1), "the runs are mailed, and that one is held")

    async def _apply_jobs(self) -> None:
        self._title("10. The example jobs")
        path = get_settings().config_file("jobs.toml")
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        specs = parse_jobs_file(text, TASK_REGISTRY, file_name=str(path))
        await save_jobs(specs, prune=False, dry_run=False, actor="demo")
        self._say(f"{len(specs)} jobs of {path.name} are scheduled: {', '.join(spec.code for spec in specs)}.")

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def _fire(
        self, code: str, task_code: str, expected: str = "success", params: Mapping[str, Any] | None = None
    ) -> JobExecution:
        """Schedule a job a moment ahead and follow what the scheduler makes of it."""
        fire_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=_FIRE_IN_SECONDS)
        spec = JobSpec(
            code=code,
            task_code=task_code,
            params=dict(params or {}),
            trigger_kind="date",
            trigger_expression=fire_at.isoformat(),
        )
        await save_jobs([spec], prune=False, dry_run=False, actor="demo")
        self._say(f"Job {code} is scheduled for {fire_at.astimezone():%H:%M:%S}.")
        execution = await _wait_for_fire(spec, fire_at)
        with _run_view(self._output) as view:
            ended = await asyncio.wait_for(follow_run(execution.id, view), _PATIENCE_SECONDS)
        told = f". {ended.summary}" if ended.summary else f": {ended.reason or ended.error_type}"
        self._output.print(
            Text.assemble(
                "Execution ",
                (short_id(ended.id), "cyan"),
                ": ",
                status_text(ended.status),
                f" in {took(_duration_ms(ended))}{told}",
            )
        )
        _expect(ended.status == expected, f"{code} ends in {expected} ({ended.error_type}: {ended.error_message})")
        _expect(ended.triggered_by == "schedule", f"the scheduler fired {code}")
        return ended

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _show_counts(self, entities: Mapping[str, Mapping[str, Any]]) -> None:
        self._output.print()
        self._output.print(
            table(
                ["", *((name, _NUMBER) for name in _COUNTS)],
                ([entity, *(f"{counts.get(name) or 0:,}" for name in _COUNTS)] for entity, counts in entities.items()),
            )
        )
        self._output.print()

    async def _show_quarantine(self, run: JobExecution) -> None:
        async with maria().session() as session:
            rows = await QuarantineRepository().list_entries(session, limit=10_000)
        for severity, title in (("error", "Rejected, and why:"), ("warning", "Taken without what was wrong:")):
            self._say(title, style="bold")
            self._output.print(
                table(
                    ["ENTITY", "REASON", "FIELD", ("ROWS", _NUMBER), "FOR EXAMPLE"],
                    _grouped([row for row in rows if row.severity == severity]),
                    flexible=("FIELD", "FOR EXAMPLE"),
                )
            )
            self._output.print()
        rejected = sum(row.severity == "error" for row in rows)
        _expect(rejected == run.rows_rejected, "every rejected row is in the quarantine")

    async def _show_history(self, key: str, run: JobExecution) -> None:
        repository = HrHistoryRepository()
        async with maria().session() as session:
            rows = await repository.find_rows(session, Entity.EMPLOYEES, key)
            found = [(row, await repository.list_changes(session, Entity.EMPLOYEES, row.id)) for row in rows]
        self._output.print()
        self._say(f"hrsync hris history {key} then shows:", style="bold")
        render_history(self._output, Entity.EMPLOYEES, key, found)
        changes = [(change.field, change.execution_id) for _, changes in found for change in changes]
        _expect(changes == [("department_code", run.id)], "the move is in the history, with the run that made it")

    def _show_hold(self, hold: HrHold, changes: Sequence[HrHoldChange]) -> None:
        self._say("The guard holds the run:", style="bold red")
        self._output.print(facts([("  why", "\n".join(hold.reasons))]))
        self._output.print()
        self._say(f"hrsync hris hold {short_id(hold.execution_id)} shows what it would have done:", style="bold")
        self._show_counts({name: counts for name, counts in hold.counts.items() if any(map(counts.get, _CHANGED))})
        shown = changes[:_SHOWN_CHANGES]
        self._output.print(changes_table([Change(row.entity, row.entity_key, row.action, row.fields) for row in shown]))
        self._say(f"... and {hold.change_count - len(shown):,} more.")
        self._output.print()

    def _title(self, text: str) -> None:
        self._output.print()
        self._say(text, style="bold cyan")

    def _say(self, text: str, style: str = "") -> None:
        self._output.print(Text(text, style=style))


class _BarView(LiveView):
    """A progress bar without the log: what it says is shown afterwards."""

    def log(self, lines: Sequence[ExecutionLog]) -> None:
        """Nothing."""


@contextlib.contextmanager
def _run_view(output: Console) -> Iterator[RunView]:
    if not output.is_terminal:
        yield SilentView()
        return
    view = _BarView(output)
    view.progress.live.transient = True
    with view.progress:
        yield view


async def _wait_for_fire(spec: JobSpec, fire_at: dt.datetime) -> JobExecution:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        async with maria().session() as session:
            found = await SchedulerRepository().list_executions(session, job_code=spec.code, limit=1)
        if found and found[0].scheduled_for == fire_at:
            return found[0]
        await asyncio.sleep(0.1)
    raise DemoError(f"the scheduler did not fire {spec.code} within {_PATIENCE_SECONDS} s")


def _duration_ms(run: JobExecution) -> int | None:
    """How long the run took; with its parts, if it has some: its own time is that of summing them up."""
    if run.attempt == 1 or run.finished_at is None:
        return run.duration_ms
    return round((run.finished_at - run.created_at).total_seconds() * 1000)


async def _count_active() -> int:
    async with maria().session() as session:
        return (await session.execute(select(func.count()).where(Employee.is_active))).scalar_one()


async def _read_hold(run: JobExecution) -> tuple[HrHold, Sequence[HrHoldChange]]:
    """The hold of the run, and what the run would have done."""
    async with maria().session() as session:
        hold = await HoldRepository().get_hold(session, run.id)
        return hold, await HoldRepository().list_changes(session, hold)


def _entities(run: JobExecution) -> Mapping[str, Mapping[str, Any]]:
    result = run.result
    if not isinstance(result, dict) or not isinstance(result.get("entities"), dict):
        raise DemoError(f"execution {short_id(run.id)} does not say what it did with each entity")
    found: Mapping[str, Mapping[str, Any]] = result["entities"]
    return found


def _changes(run: JobExecution) -> tuple[int, int, int]:
    return run.rows_inserted or 0, run.rows_updated or 0, run.rows_deactivated or 0


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
