"""Follows a run to its end: progress and log lines as they come, and why it is not getting on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from backend.api.repositories.overview_repository import OverviewRepository, Vitals
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.cli.output import STATUS_STYLES, console, note, short_id, when
from backend.db.maria_database import maria
from backend.db.models.scheduler import ExecutionLog, JobExecution
from backend.domain.executions import Status
from backend.domain.parts import WAITING_FOR_PARTS
from backend.errors import TransientError
from backend.settings import get_settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

POLL_SECONDS = 0.3
# How long a run may wait before the reader is told why.
PATIENCE_SECONDS = 4.0
_LOG_PAGE = 200


class RunView(Protocol):
    """Where a run is shown while it goes on."""

    def state(self, execution: JobExecution) -> None:
        """The run as it is now."""
        ...

    def log(self, lines: Sequence[ExecutionLog]) -> None:
        """Lines that have come since."""
        ...

    def hint(self, text: str) -> None:
        """Why it is not getting on."""
        ...


async def follow_run(execution_id: str, view: RunView) -> JobExecution:
    """Watch the run until it has ended, however often the database goes away meanwhile; the run as it ended."""
    repository = SchedulerRepository()
    settings = get_settings()
    last_line = 0
    next_hint = time.monotonic() + PATIENCE_SECONDS
    last_hint = None
    while True:
        try:
            async with maria().session(timeout_seconds=settings.db_timeout_seconds) as session:
                execution = await repository.get_execution(session, execution_id)
                lines = await repository.list_logs(session, execution_id, after=last_line, limit=_LOG_PAGE)
        except TransientError as error:
            view.hint(f"{error}; still waiting")
            await asyncio.sleep(2)
            continue
        if lines:
            last_line = lines[-1].id
            view.log(lines)
        view.state(execution)
        if len(lines) == _LOG_PAGE:
            continue
        if Status(execution.status).is_final:
            return execution
        if time.monotonic() > next_hint and execution.status == Status.PENDING:
            next_hint = time.monotonic() + 15
            reason = await _why_waiting(execution)
            if reason and reason != last_hint:
                view.hint(reason)
            last_hint = reason
        await asyncio.sleep(POLL_SECONDS)


async def read_vitals() -> Vitals:
    """Whether a scheduler leads and workers live.

    Raises:
        TransientError: the database is away.
    """
    settings = get_settings()
    silent = max(3 * settings.heartbeat_seconds, settings.orphan_after_seconds)
    async with maria().session(timeout_seconds=settings.db_timeout_seconds) as session:
        return await OverviewRepository().read_vitals(session, silent_after_seconds=silent)


async def is_scheduler_running() -> bool:
    """Whether some scheduler holds the lease.

    Raises:
        TransientError: the database is away.
    """
    return scheduler_leads(await read_vitals())


async def _why_waiting(execution: JobExecution) -> str | None:
    try:
        vitals = await read_vitals()
    except TransientError as error:
        return str(error)
    if execution.run_after > vitals.now and execution.reason != WAITING_FOR_PARTS:
        return f"It is due at {when(execution.run_after, vitals.now)}: {execution.reason or 'not yet'}."
    if execution.dispatched_at is None and not scheduler_leads(vitals):
        return "It waits: no scheduler is running that would send it. Start `hrsync scheduler` (or `hrsync up`)."
    if not vitals.workers:
        return "It waits: no worker is running that would take it. Start `hrsync worker` (or `hrsync up`)."
    return None


def scheduler_leads(vitals: Vitals) -> bool:
    """Whether some scheduler holds the lease."""
    lease = vitals.lease
    return lease is not None and lease.holder is not None and bool(lease.expires_at and lease.expires_at > vitals.now)


# --- views ------------------------------------------------------------------------------------------------------------


class SilentView:
    """Shows nothing but hints: the end is printed as JSON."""

    def state(self, execution: JobExecution) -> None:
        """Nothing."""

    def log(self, lines: Sequence[ExecutionLog]) -> None:
        """Nothing."""

    def hint(self, text: str) -> None:
        """On stderr, which JSON does not use."""
        note(text)


class PlainView:
    """Lines for a file or a pipe: the log, and the progress whenever its message changes."""

    def __init__(self, output: Console) -> None:
        self._output = output
        self._said: tuple[object, ...] = ()

    def state(self, execution: JobExecution) -> None:
        """A line when status or message are new."""
        now = (execution.status, execution.attempt, execution.progress_message)
        if now != self._said:
            self._said = now
            self._output.print(_state_line(execution), soft_wrap=True)

    def log(self, lines: Sequence[ExecutionLog]) -> None:
        """One line each."""
        for line in lines:
            self._output.print(log_text(line), soft_wrap=True)

    def hint(self, text: str) -> None:
        """One line."""
        from rich.text import Text

        self._output.print(Text(text), soft_wrap=True)


class LiveView:
    """A progress bar on a terminal, with the log scrolling above it."""

    def __init__(self, output: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._output = output
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30 if output.width > 100 else 12),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}", markup=False),
            console=output,
        )
        # What the other columns leave of the line.
        self._message_length = max(output.width - 75, 24)
        self._task = self.progress.add_task("", total=None, message="")

    def state(self, execution: JobExecution) -> None:
        """Moves the bar; a run that did its work leaves it full."""
        done, total = execution.progress_current or 0, execution.progress_total
        if execution.status == Status.SUCCESS:
            done = total = max(done, total or 0, 1)
        self.progress.update(
            self._task,
            description=f"{execution.job_code or execution.task_code} {execution.status}",
            completed=done,
            total=total,
            message=(execution.progress_message or "")[: self._message_length],
        )

    def log(self, lines: Sequence[ExecutionLog]) -> None:
        """Above the bar."""
        for line in lines:
            self.progress.print(log_text(line), soft_wrap=True)

    def hint(self, text: str) -> None:
        """Above the bar."""
        from rich.text import Text

        self.progress.print(Text(text, style="yellow"), soft_wrap=True)


@contextlib.contextmanager
def run_view(as_json: bool) -> Iterator[RunView]:
    """The view that fits where the output goes."""
    output = console()
    if as_json:
        yield SilentView()
    elif output.is_terminal:
        view = LiveView(output)
        with view.progress:
            yield view
    else:
        yield PlainView(output)


def log_text(line: ExecutionLog) -> Text:
    """A log line for people: local time, level, event, fields."""
    from rich.text import Text

    style = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}.get(line.level.lower(), "")
    fields = " ".join(f"{name}={value}" for name, value in (line.fields or {}).items())
    return Text.assemble(
        (f"{line.logged_at.astimezone():%H:%M:%S} ", "dim"),
        (f"{line.level.lower():<7} ", style),
        line.event,
        (f"  {fields}" if fields else "", "dim"),
    )


def _state_line(execution: JobExecution) -> Text:
    from rich.text import Text

    parts = [execution.job_code or execution.task_code, short_id(execution.id), execution.status]
    if execution.attempt - execution.interruptions > 1:
        parts.append(f"(attempt {execution.attempt})")
    if execution.progress_message:
        parts.append(f"- {execution.progress_message}")
    return Text(" ".join(parts), style=STATUS_STYLES.get(execution.status, ""))
