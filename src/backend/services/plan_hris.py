"""Reads source and target, and plans what a replication would do; nothing is written.

The source is read to its end. In memory are a few bytes of each row; the rows wait in a spool. What computes for long
does it in another thread, so that the other runs of the process go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa

from backend.domain.employees import TREE_PATH, Entity
from backend.domain.entity_planner import EntityPlanner, ParentsBy, make_mask, with_offsets
from backend.domain.executions import RowCounts
from backend.domain.mapping import EntityMapping, HrisMapping
from backend.domain.replication import fingerprint_bytes, plan_entity
from backend.domain.replication_plan import (
    Concern,
    EntityPlan,
    ReplicationPlan,
    RowChange,
    StreamFacts,
    column_concern,
    describe_columns,
    find_concerns,
    may_skip_deactivations,
)
from backend.domain.row_batches import BatchReader, CanonicalBatch
from backend.domain.row_hashes import KnownKeys
from backend.ports import HrisSource, HrStore, OpenSpool, RowSpool, Run, RunLog
from backend.services.read_hris import Bound, choose_bound, read_lookups, read_supplements, split_gone

_ENTRIES_PER_STATEMENT = 500
ROWS_PER_BATCH = 10_000


_T = TypeVar("_T")


class _Silent:
    """A run that nobody follows."""

    execution_id = ""

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None: ...
    def count(self, counts: RowCounts) -> None: ...

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEntity:
    """One entity's plan with what belongs to it.

    Attributes:
        earlier: what the runs before left.
        rows: the accepted rows as record batches, in their order.
        changes: what changes in rows that the target has.
        entries: what goes to quarantine.
    """

    plan: EntityPlan
    planner: EntityPlanner
    earlier: StreamFacts
    rows: RowSpool
    changes: RowSpool
    entries: RowSpool

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        return _each(self.rows)

    def row_changes(self) -> Iterator[RowChange]:
        """Every change, those of new rows included."""
        yield from _each(self.changes)
        for offset, batch in with_offsets(self.batches()):
            yield from self.planner.inserts(batch, offset)


@contextlib.asynccontextmanager
async def preview_hris(
    mapping: HrisMapping, *, source: HrisSource, store: HrStore, open_spool: OpenSpool, verify: bool = False
) -> AsyncIterator[ReplicationPlan]:
    """What a run would do; nothing is written.

    Args:
        verify: compare what the rows of the target hold now, not what the last run left in them.

    Raises:
        TransientError, PermanentError: as `replicate_hris`.
    """
    async with plan_entities(_Silent(), mapping, source, store, open_spool, full=True, verify=verify) as plans:
        yield whole_plan(mapping, plans)


@contextlib.asynccontextmanager
async def plan_entities(
    run: Run | _Silent,
    mapping: HrisMapping,
    source: HrisSource,
    store: HrStore,
    open_spool: OpenSpool,
    *,
    full: bool,
    verify: bool | None = None,
    log: RunLog | None = None,
) -> AsyncIterator[list[PlannedEntity]]:
    """Every entity's plan, what is referred to first; the spools are there as long as the block.

    Raises:
        TransientError, PermanentError: as `services.replicate_hris`.
    """
    facts = await store.read_facts(mapping.entities)
    by_position = any(item.manager_by_position for item in mapping.entities.values())
    lookups = await read_lookups(source, mapping)
    known: dict[Entity, KnownKeys] = {}
    positions: dict[str, str] = {}
    planned: list[PlannedEntity] = []
    done = RowCounts(read=0)
    try:
        with contextlib.ExitStack() as spools:
            for entity in (
                entity for entity in Entity if entity in mapping.entities
            ):  # what is referred to comes first
                reading = _Reading(
                    run=run,
                    mapping=mapping.entities[entity],
                    source=source,
                    store=store,
                    facts=facts[entity],
                    fingerprint=mapping.fingerprint,
                    open_spool=lambda: spools.enter_context(open_spool()),
                    expected=sum(item.sizes[-1] for item in facts.values() if item.sizes) or None,
                    done=done,
                )
                needs_all = entity is Entity.POSITIONS and by_position
                item = await reading.plan(
                    known, lookups, positions, full=full or needs_all, verify=full if verify is None else verify
                )
                known[entity] = item.planner.known_keys()
                if entity is Entity.POSITIONS:
                    positions = await asyncio.to_thread(item.planner.parents, item.batches())
                done = done + item.planner.read_so_far
                planned.append(item)
                if log is not None:
                    log.info("entity_read", entity=entity.value, **count_fields(item.plan))
            yield planned
    finally:
        # Give back what the run needed, also when it is held: the process may live for years.
        pa.default_memory_pool().release_unused()


@dataclass(kw_only=True)
class _Reading:
    """Reads one entity from source and target, and plans it."""

    run: Run | _Silent
    mapping: EntityMapping
    source: HrisSource
    store: HrStore
    facts: StreamFacts
    fingerprint: str
    open_spool: Callable[[], RowSpool]
    expected: int | None
    done: RowCounts

    async def plan(
        self,
        known: Mapping[Entity, KnownKeys],
        lookups: Mapping[str, Mapping[str, str]],
        positions: Mapping[str, str],
        *,
        full: bool,
        verify: bool,
    ) -> PlannedEntity:
        """The entity's plan."""
        entity, facts = self.mapping.entity, self.facts
        parents_by = _parents_by(self.mapping)
        # Where parents are places in a tree or holders of positions, every row has a say in everybody's parent.
        everything = full or parents_by != "key"
        bound = await choose_bound(self.source, self.mapping, facts, self.fingerprint, full=everything)
        supplements, defects = await read_supplements(self.source, self.mapping, lookups)
        salt = facts.salt or secrets.token_hex(8)
        rows, changes, entries = self.open_spool(), self.open_spool(), self.open_spool()
        planner = EntityPlanner(
            entity,
            parents_by=parents_by,
            is_partial=bound.is_partial,
            mask=make_mask(self.mapping.sensitive_fields(), salt),
        )
        entries.put(planner.take_defects(defects))
        put_rows = _RowCollector(rows)
        async with self.source.open(bound.query) as result:
            columns = tuple(result.columns)
            reader = BatchReader(self.mapping, columns, known=known, lookups=lookups, supplements=supplements)

            def take(raw: Any) -> None:
                bound.look_at(columns, raw)
                kept, gone = split_gone(columns, raw) if bound.is_partial else (raw, None)
                batch: CanonicalBatch = reader.read(kept)
                entries.put(planner.add_source(batch))
                put_rows.put(batch.rows)
                if gone is not None:
                    planner.add_gone(reader.read_keys(gone))

            async for raw in result.batches():
                await asyncio.to_thread(take, raw)
                await self._tell(planner)
        put_rows.flush()
        await asyncio.to_thread(planner.end_source)
        async with contextlib.aclosing(self.store.stream_index(entity, verify=verify)) as index:
            async for batch in index:
                await asyncio.to_thread(planner.add_target, batch)
                await self.run.checkpoint()
        await self._compare(planner, rows, changes, entries, positions)
        new_facts, notes = self._look_back(planner, columns, bound, salt)
        plan = await asyncio.to_thread(functools.partial(planner.finish, new_facts, notes=notes))
        return PlannedEntity(plan=plan, planner=planner, earlier=facts, rows=rows, changes=changes, entries=entries)

    async def _compare(
        self,
        planner: EntityPlanner,
        rows: RowSpool,
        changes: RowSpool,
        entries: RowSpool,
        positions: Mapping[str, str],
    ) -> None:
        put_changes, put_entries = _Collector(changes), _Collector(entries)
        steps = plan_entity(
            planner,
            functools.partial(_each, rows),
            has_stable_key="stable_key" in self.mapping.fields,
            positions=positions,
            put_change=put_changes.put,
            put_entry=put_entries.put,
        )
        wanted = await asyncio.to_thread(next, steps, None)
        while wanted is not None:
            found = await self.store.fetch_rows(wanted)
            wanted = await asyncio.to_thread(_send, steps.send, found)
            await self.run.checkpoint()
        put_changes.flush()
        put_entries.flush()

    async def _tell(self, planner: EntityPlanner) -> None:
        # Only what has happened: the rest is a plan, which the guard may hold.
        here = planner.read_so_far
        total = self.done + here
        self.run.count(RowCounts(read=total.read, rejected=total.rejected))
        read = total.read or 0
        expected = None if self.expected is None else max(self.expected, read)
        self.run.progress(read, expected, f"reading the {planner.entity}: {here.read or 0:,} rows")
        await self.run.checkpoint()

    def _look_back(
        self, planner: EntityPlanner, columns: Sequence[str], bound: Bound, salt: str
    ) -> tuple[StreamFacts, list[str]]:
        """What this run leaves for the next ones, and what people should know."""
        facts, notes = self.facts, list(bound.notes)
        new_facts = replace(facts, bound=bound.next(), mapping=self.fingerprint, salt=salt)
        if bound.is_partial:
            return new_facts, notes
        gone, new = _changed_columns(facts.columns, columns)
        if (gone or new) and self.mapping.contract == "evolve":
            notes.append(describe_columns(planner.entity, gone, new))
        kept = facts.columns if self.mapping.contract == "discard" and facts.columns else columns
        full_read_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        return replace(planner.look_back(new_facts), columns=list(kept), full_read_at=full_read_at), notes


def _each(spool: RowSpool) -> Iterator[Any]:
    """What was put into a spool, thing by thing."""
    return itertools.chain.from_iterable(spool.batches())


class _Collector:
    """Puts single things into a spool, many at a time."""

    def __init__(self, spool: RowSpool) -> None:
        self._spool = spool
        self._waiting: list[Any] = []

    def put(self, item: Any) -> None:
        """Take one."""
        self._waiting.append(item)
        if len(self._waiting) >= _ENTRIES_PER_STATEMENT:
            self.flush()

    def flush(self) -> None:
        """Put what waits."""
        if self._waiting:
            self._spool.put(self._waiting)
            self._waiting = []


class _RowCollector:
    """Puts rows into a spool in batches that are worth a question to the target, whatever the source's are."""

    def __init__(self, spool: RowSpool) -> None:
        self._spool = spool
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0

    def put(self, batch: pa.RecordBatch) -> None:
        """Take some rows."""
        self._waiting.append(batch)
        self._count += batch.num_rows
        if self._count >= ROWS_PER_BATCH:
            self.flush()

    def flush(self) -> None:
        """Put what waits."""
        if self._count:
            whole = self._waiting[0] if len(self._waiting) == 1 else pa.concat_batches(self._waiting)
            self._spool.put([whole])
        self._waiting, self._count = [], 0


def _send(send: Callable[[Any], _T], value: Any) -> _T | None:
    try:
        return send(value)
    except StopIteration:  # which a future cannot carry
        return None


def _parents_by(mapping: EntityMapping) -> ParentsBy:
    if mapping.manager_by_position:
        return "position"
    return "path" if TREE_PATH in mapping.fields else "key"


def _changed_columns(before: Sequence[str], now: Sequence[str]) -> tuple[list[str], list[str]]:
    if not before:
        return [], []
    return [name for name in before if name not in now], [name for name in now if name not in before]


def count_fields(plan: EntityPlan) -> dict[str, Any]:
    """The counts of an entity, for the log and the report."""
    return {
        **asdict(plan.counts),
        "reactivated": plan.reactivated,
        "renumbered": plan.renumbered,
        "warnings": plan.warnings,
    }


def whole_plan(mapping: HrisMapping, planned: Sequence[PlannedEntity]) -> ReplicationPlan:
    """The entities' plans as one, with what the guard has against it."""
    concerns: list[Concern] = []
    for item in planned:
        earlier = item.earlier
        concerns += find_concerns(item.plan, mapping.guard, earlier)
        gone, new = _changed_columns(earlier.columns, item.plan.facts.columns)
        if (gone or new) and mapping.entities[item.plan.entity].contract == "freeze" and not item.plan.is_partial:
            concerns.append(column_concern(item.plan.entity, gone, new))
    return ReplicationPlan(
        entities=[item.plan for item in planned],
        concerns=[concern.message for concern in concerns],
        skips_deactivations=may_skip_deactivations(concerns, mapping.guard),
        fingerprint=fingerprint_bytes(sum(item.planner.fingerprint for item in planned), concerns),
        fingerprint_of_deactivations=fingerprint_bytes(
            sum(item.planner.fingerprint_of_deactivations for item in planned)
        ),
        read_changes=lambda: (change for item in planned for change in item.row_changes()),
    )
