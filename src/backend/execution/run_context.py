"""What a task body holds in its hands while it runs: progress, counts, its log, and the word to stop."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from typing import Any

from backend.api.repositories.run_repository import ClaimedRun, LogLine
from backend.domain.executions import COUNT_NAMES, RowCounts
from backend.utils.redaction import redact, redact_fields
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger("backend.run")

_LARGEST = 2**63 - 1


class RunContext:
    """The `Run` of one attempt. Methods only note; the worker's pulse writes to the database."""

    def __init__(self, claimed: ClaimedRun, log_lines: int) -> None:
        self.claimed = claimed
        self.log = AttemptLog(claimed, log_lines)
        self.values: dict[str, Any] = {}
        self._is_dirty = False
        self._is_closed = False

    @property
    def execution_id(self) -> str:
        """The id of the execution row."""
        return self.claimed.execution_id

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self.claimed.attempt

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        """Say how far the run is."""
        self._note(progress_current=current, progress_total=total, progress_message=message and redact(message)[:500])

    def count(self, counts: RowCounts) -> None:
        """Say the row counts so far."""
        self._note(**count_columns(counts))

    async def checkpoint(self) -> None:
        """Give way to the other runs; raises CancelledError when this attempt is over."""
        if self._is_closed:
            raise asyncio.CancelledError("the attempt is over")
        await asyncio.sleep(0)

    def take_changes(self) -> dict[str, Any] | None:
        """What has been noted since the last call; None when nothing has."""
        if not self._is_dirty:
            return None
        self._is_dirty = False
        return dict(self.values)

    def put_back_changes(self) -> None:
        """What was taken last could not be written; it is taken again."""
        self._is_dirty = True

    def close(self) -> None:
        """Note nothing more: the attempt has ended, whatever the task still does."""
        self._is_closed = True
        self.log.close()

    def _note(self, **values: Any) -> None:
        if not self._is_closed:
            self.values.update({name: _bounded(value) for name, value in values.items()})
            self._is_dirty = True


class AttemptLog:
    """The log of one attempt: to the program's log at once, to the database with the next pulse, capped."""

    def __init__(self, claimed: ClaimedRun, limit: int) -> None:
        self._claimed = claimed
        self._left = limit
        self._limit = limit
        self._lines: list[LogLine] = []
        self._is_closed = False

    def debug(self, event: str, **fields: Any) -> None:
        """A line for developers; not kept in the database."""
        _logger.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """A line about what happened."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """A line about something that somebody should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """A line about something that went wrong."""
        self._write("error", event, fields)

    def take_lines(self) -> list[LogLine]:
        """The lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def put_back(self, lines: list[LogLine]) -> None:
        """Lines that could not be written; they are taken again."""
        self._lines = lines + self._lines

    def close(self) -> None:
        """Keep nothing more."""
        self._is_closed = True

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        getattr(_logger, level)(event, **fields)
        if self._left <= 0 or self._is_closed:
            return
        self._left -= 1
        if self._left == 0 and self._limit > 1:
            level, event, fields = "warning", "log_capped", {"lines_kept": self._limit}
        self._lines.append(
            LogLine(
                execution_id=self._claimed.execution_id,
                attempt=self._claimed.attempt,
                logged_at=dt.datetime.now(dt.UTC),
                level=level,
                event=redact(event),
                fields={name: _plain(value) for name, value in redact_fields(fields).items()},
            )
        )


def count_columns(counts: RowCounts) -> dict[str, int]:
    """The counts that are known, by their column of the execution."""
    return {f"rows_{name}": value for name in COUNT_NAMES if (value := getattr(counts, name)) is not None}


def _bounded(value: Any) -> Any:
    """The value, a number within what the columns hold: one wild number must not keep the others from being written."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return max(-_LARGEST, min(int(value), _LARGEST)) if isinstance(value, int | float) else value


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:2000]
