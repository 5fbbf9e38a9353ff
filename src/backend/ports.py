"""What services need from the outside, as protocols; adapters and test doubles implement them."""

from __future__ import annotations

from typing import Any, Protocol

from backend.domain.executions import RowCounts


class RunLog(Protocol):
    """The log of one run: lines go to the program's log and to the execution's own log. Never personal data."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...


class Run(Protocol):
    """What a task body is given: who it is, and how it tells what it does."""

    @property
    def execution_id(self) -> str:
        """The id of the execution row."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        ...

    @property
    def log(self) -> RunLog:
        """The run's log."""
        ...

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        """Say how far the run is. Cheap: written to the database at most twice a second."""
        ...

    def count(self, counts: RowCounts) -> None:
        """Say the row counts so far (totals, not increments)."""
        ...

    async def checkpoint(self) -> None:
        """Give way to the other runs of the process; ends the run here when it is cancelled or lost its claim."""
        ...
