"""What services need from the outside, as protocols; adapters and test doubles implement them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from backend.domain.employees import Entity, SourceRow
from backend.domain.executions import RowCounts
from backend.domain.mapping import EntityMapping, RawRow
from backend.domain.quarantine import QuarantineEntry
from backend.domain.replication import TargetState


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


# --- HRIS replication -----------------------------------------------------------------------------------------------


class SourceRows(Protocol):
    """The open result of one entity's query."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of the result columns."""
        ...

    def batches(self) -> AsyncGenerator[Sequence[RawRow], None]:
        """The rows, in the order of the query, fetched as they are asked for."""
        ...


class HrisSource(Protocol):
    """Reads the HRIS."""

    def open(self, mapping: EntityMapping) -> AbstractAsyncContextManager[SourceRows]:
        """Run the entity's query; every error names the entity and the place of the mapping.

        Raises:
            TransientError: the HRIS is away, or went away in mid-stream.
            PermanentError: it refuses the query (a table or column that does not exist, no permission).
        """
        ...


class HrWriter(Protocol):
    """Writes one run's changes, in one transaction that `HrStore.apply` opens and commits."""

    async def upsert(self, entity: Entity, rows: Sequence[SourceRow], parents: Mapping[str, str]) -> None:
        """Insert or replace rows; `parents` holds their parents by key."""
        ...

    async def set_parents(self, entity: Entity, parents: Mapping[str, str | None]) -> None:
        """Change nothing but the parent of existing rows."""
        ...

    async def deactivate(self, entity: Entity, keys: Sequence[str]) -> None:
        """Mark rows as gone."""
        ...

    async def quarantine(self, entries: Sequence[QuarantineEntry]) -> None:
        """Note defects; one that is there already keeps its first sight."""
        ...

    async def finish(self, entity: Entity, row_count: int) -> None:
        """Drop the entity's quarantine entries that this run did not see again, and move its stream."""
        ...


class HrStore(Protocol):
    """The replicated HR data."""

    async def read_state(self, entities: Collection[Entity]) -> TargetState:
        """What the target has."""
        ...

    def apply(self, state: TargetState, execution_id: str) -> AbstractAsyncContextManager[HrWriter]:
        """One transaction in which the run is applied: all of it, or nothing.

        Raises:
            TransientError: another run was applied since `state` was read.
        """
        ...


class RowSpool(Protocol):
    """Keeps what the source gave until it is written, outside the memory."""

    def put(self, batch: Sequence[Any]) -> None:
        """Append a batch."""
        ...

    def batches(self) -> Iterator[list[Any]]:
        """The batches, in the order of `put`."""
        ...


class OpenSpool(Protocol):
    """Makes a spool that is gone when the block ends."""

    def __call__(self) -> AbstractContextManager[RowSpool]: ...
