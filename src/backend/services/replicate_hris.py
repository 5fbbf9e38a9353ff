"""Replicates the HRIS: reads, plans, asks the guard, and applies everything in one transaction.

The source is read to its end before the target is locked, so that a slow HRIS blocks nobody and a run that is killed
has written nothing. In memory are a few bytes of each row; the rows wait in a spool. What computes for long does it in
another thread, so that the other runs of the process go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from backend.domain.employees import TREE_PATH, Entity
from backend.domain.entity_planner import EntityPlanner, ParentsBy, State, make_mask, with_offsets
from backend.domain.executions import RowCounts, RunReport
from backend.domain.mapping import EntityMapping, HrisMapping
from backend.domain.replication import fingerprint_bytes, plan_entity
from backend.domain.replication_plan import (
    ChangeAction,
    Concern,
    EntityPlan,
    HeldRun,
    HoldStatus,
    ReplicationPlan,
    RowChange,
    StreamFacts,
    column_concern,
    find_concerns,
    may_skip_deactivations,
)
from backend.domain.row_batches import PARENT_REF, BatchReader, CanonicalBatch
from backend.domain.row_hashes import KnownKeys
from backend.errors import ConflictError, GuardError, NotFoundError
from backend.ports import HrisSource, HrStore, HrWriter, OpenSpool, RowSpool, Run, RunLog
from backend.services.read_hris import Bound, choose_bound, read_lookups, read_supplements, split_gone

_REMEMBERED_SIZES = 10
_ENTRIES_PER_STATEMENT = 500

_T = TypeVar("_T")


class HeldError(GuardError):
    """The guard held the run.

    Attributes:
        held: the hold; new, or one of an earlier run that would have done the same.
    """

    def __init__(self, message: str, held: HeldRun) -> None:
        super().__init__(message)
        self.held = held


class _Silent:
    """A run that nobody follows."""

    execution_id = ""

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None: ...
    def count(self, counts: RowCounts) -> None: ...

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
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
        for batch in self.rows.batches():
            yield from batch

    def row_changes(self) -> Iterator[RowChange]:
        """Every change, those of new rows included."""
        for changes in self.changes.batches():
            yield from changes
        for offset, batch in with_offsets(self.batches()):
            yield from self.planner.inserts(batch, offset)


async def replicate_hris(
    run: Run,
    mapping: HrisMapping,
    *,
    source: HrisSource,
    store: HrStore,
    open_spool: OpenSpool,
    full: bool = False,
    force: bool = False,
    approved: str = "",
) -> RunReport:
    """Make the target equal to the source.

    Args:
        full: read everything, and compare what the rows of the target hold now (repairs what was altered by hand).
        force: apply also what the guard would hold.
        approved: the id of a held run that was approved: it is applied if the source still says the same.

    Returns:
        a report whose counts are totals over the entities; `details["entities"]` has them one by one. `read` is
        `inserted + updated + unchanged + rejected` and those of `deactivated` that the source still has, with a status
        that says that they are gone; the others of `deactivated` are those that the source has no more.

    Raises:
        TransientError: a database is away or busy, or another run was applied meanwhile. Nothing was written.
        PermanentError: the source refuses a query, or its result lacks a mapped column. Nothing was written.
        HeldError: the guard holds the run. Nothing was written but the hold itself.
        NotFoundError, ConflictError: `approved` is no run that was held and approved.
    """
    held = await _find_approved(store, approved) if approved else None
    async with _planned(run, mapping, source, store, open_spool, full=full or held is not None, log=run.log) as plans:
        plan = _whole_plan(mapping, plans)
        waits = bool(plan.concerns) and not force
        if held is not None and held.fingerprint != plan.waiting.fingerprint:
            if waits:
                raise _held_error(plan, await _hold(run, store, plan), mapping.file, approved=True)
            run.log.info("hold_became_needless", held=held.execution_id)
            held = None
        if waits and held is None:
            held = await _hold(run, store, plan)
            if held.status is not HoldStatus.APPROVED and not plan.skips_deactivations:
                raise _held_error(plan, held, mapping.file)
        # Somebody may have approved exactly this while the run was reading.
        skipped = held if waits and held is not None and held.status is not HoldStatus.APPROVED else None
        await _apply(run, store, plans, held=held, skips_deactivations=skipped is not None)
        return _report(plan, skipped)


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
    async with _planned(_Silent(), mapping, source, store, open_spool, full=True, verify=verify) as plans:
        yield _whole_plan(mapping, plans)


# --- planning -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _planned(
    run: Run | _Silent,
    mapping: HrisMapping,
    source: HrisSource,
    store: HrStore,
    open_spool: OpenSpool,
    *,
    full: bool,
    verify: bool | None = None,
    log: RunLog | None = None,
) -> AsyncIterator[list[_Planned]]:
    facts = await store.read_facts(mapping.entities)
    by_position = any(item.manager_by_position for item in mapping.entities.values())
    lookups = await read_lookups(source, mapping)
    known: dict[Entity, KnownKeys] = {}
    positions: dict[str, str] = {}
    planned: list[_Planned] = []
    done = RowCounts(read=0)
    with contextlib.ExitStack() as spools:
        for entity in (entity for entity in Entity if entity in mapping.entities):  # what is referred to comes first
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
                log.info("entity_read", entity=entity.value, **_count_fields(item.plan))
        yield planned
    # Give back what the run needed: the process may live for years.
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
    ) -> _Planned:
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
        async with self.source.open(bound.query) as result:
            columns = tuple(result.columns)
            reader = BatchReader(self.mapping, columns, known=known, lookups=lookups, supplements=supplements)

            def take(raw: Any) -> None:
                bound.look_at(columns, raw)
                kept, gone = split_gone(columns, raw) if bound.is_partial else (raw, None)
                batch: CanonicalBatch = reader.read(kept)
                entries.put(planner.add_source(batch))
                rows.put([batch.rows])
                if gone is not None:
                    planner.add_gone(reader.read_keys(gone))

            async for raw in result.batches():
                await asyncio.to_thread(take, raw)
                await self._tell(planner)
        await asyncio.to_thread(planner.end_source)
        async with contextlib.aclosing(self.store.stream_index(entity, verify=verify)) as index:
            async for batch in index:
                await asyncio.to_thread(planner.add_target, batch)
                await self.run.checkpoint()
        await self._compare(planner, rows, changes, entries, positions)
        new_facts, notes = self._look_back(planner, columns, bound, salt)
        plan = await asyncio.to_thread(functools.partial(planner.finish, new_facts, notes=notes))
        return _Planned(plan=plan, planner=planner, earlier=facts, rows=rows, changes=changes, entries=entries)

    async def _compare(
        self,
        planner: EntityPlanner,
        rows: RowSpool,
        changes: RowSpool,
        entries: RowSpool,
        positions: Mapping[str, str],
    ) -> None:
        def batches() -> Iterator[pa.RecordBatch]:
            for batch in rows.batches():
                yield from batch

        put_changes, put_entries = _Collector(changes), _Collector(entries)
        steps = plan_entity(
            planner,
            batches,
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
            notes.append(_describe_columns(planner.entity, gone, new))
        kept = facts.columns if self.mapping.contract == "discard" and facts.columns else columns
        return (
            replace(
                new_facts,
                sizes=[*facts.sizes, planner.accepted][-_REMEMBERED_SIZES:],
                filled={name: round(share, 4) for name, share in planner.filled().items()},
                rejected_share=round(planner.rejected_share(), 4),
                columns=list(kept),
                full_read_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            ),
            notes,
        )


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


def _describe_columns(entity: Entity, gone: Sequence[str], new: Sequence[str]) -> str:
    parts = [f"{word} {', '.join(names)}" for word, names in (("lost", gone), ("got", new)) if names]
    return f"the result of the {entity} {' and '.join(parts)}"


def _whole_plan(mapping: HrisMapping, planned: Sequence[_Planned]) -> ReplicationPlan:
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


# --- holding --------------------------------------------------------------------------------------------------------


async def _find_approved(store: HrStore, execution_id: str) -> HeldRun | None:
    """The approved run; None: it has been applied, so that there is nothing to be approved any more."""
    held = await store.find_hold(execution_id)
    if held is None:
        raise NotFoundError(f"No run {execution_id!r} was held. `hrsync hris holds --all` shows those that were.")
    if held.status is HoldStatus.APPLIED:
        return None
    if held.status is not HoldStatus.APPROVED:
        raise ConflictError(f"The held run {execution_id} is {held.status}, not approved. Nothing was written.")
    return held


async def _hold(run: Run, store: HrStore, plan: ReplicationPlan) -> HeldRun:
    held = await asyncio.shield(store.hold(plan.waiting, run.execution_id))
    if held.is_new:
        run.log.error("hris_run_held", held=held.execution_id, concerns=len(plan.concerns))
    return held


def _held_error(plan: ReplicationPlan, held: HeldRun, file: str, *, approved: bool = False) -> HeldError:
    changed = "The source no longer says what was approved. " if approved else ""
    return HeldError(
        f"{changed}Nothing was applied: {'; '.join(plan.concerns)}. {_advice(held)}. If it is wrong, mend the HRIS or "
        f"the query; the limits are in {file} [guard].",
        held,
    )


def _advice(held: HeldRun) -> str:
    short = held.execution_id[-8:]
    if held.status is HoldStatus.REJECTED:
        return f"The same was rejected by {held.decided_by or 'somebody'} before (hrsync hris hold {short})"
    return f"Look at it: hrsync hris hold {short}; if it is right: hrsync hris approve {short}"


# --- applying -------------------------------------------------------------------------------------------------------


async def _apply(
    run: Run, store: HrStore, planned: Sequence[_Planned], *, held: HeldRun | None, skips_deactivations: bool
) -> None:
    facts = {item.plan.entity: item.earlier for item in planned}
    progress = _Progress(run, sum(item.plan.changes for item in planned))
    renumbered: list[RowChange] = []
    async with store.apply(facts, run.execution_id) as writer:
        for item in planned:
            await _apply_entity(item, writer, progress, renumbered, skips_deactivations=skips_deactivations)
        await writer.follow_renumbered(renumbered)
        await writer.close_holds(held, keep=skips_deactivations)
        # The last moment to notice that this run was cancelled, or that somebody else has taken it over.
        await run.checkpoint()


async def _apply_entity(
    item: _Planned,
    writer: HrWriter,
    progress: _Progress,
    renumbered: list[RowChange],
    *,
    skips_deactivations: bool,
) -> None:
    entity, planner = item.plan.entity, item.planner
    progress.entity = entity
    for changes in item.changes.batches():
        kept = [change for change in changes if not (skips_deactivations and change.action is ChangeAction.DEACTIVATE)]
        moved = [change for change in kept if change.action is ChangeAction.RENUMBER]
        await writer.renumber(moved)
        renumbered += moved
        await writer.record(kept)
        await progress.step()
    rewritten = [State.COMPARE, State.RENUMBER, *([] if skips_deactivations else [State.GONE])]
    for offset, batch in with_offsets(item.batches()):
        states = planner.states[offset : offset + batch.num_rows]
        for wanted, write in (
            ([State.INSERT], writer.insert),
            (rewritten, writer.update),
            ([State.RENEW], writer.renew),
        ):
            mask = np.isin(states, wanted)
            if mask.any():
                rows = await asyncio.to_thread(_select, planner, batch, offset, mask)
                await write(entity, rows)
                await progress.step(rows.num_rows)
    if not skips_deactivations:
        vanished = list(planner.vanished_keys())
        await writer.deactivate(entity, vanished)
        await progress.step(len(vanished))
    for entries in item.entries.batches():
        await writer.quarantine(entries)
    plan = item.plan
    if skips_deactivations:
        # What was left out must come by again.
        plan = replace(plan, facts=replace(plan.facts, bound=item.earlier.bound))
    await writer.finish(plan, seen=planner.has if plan.is_partial else None)


def _select(planner: EntityPlanner, batch: pa.RecordBatch, offset: int, mask: Any) -> pa.RecordBatch:
    """The rows of the mask, with their parents resolved."""
    place = batch.schema.get_field_index(PARENT_REF)
    resolved = batch.set_column(place, PARENT_REF, planner.parents_of(batch, offset))
    return resolved if mask.all() else resolved.filter(pa.array(mask))


@dataclass(kw_only=False)
class _Progress:
    """How far the writing is."""

    run: Run
    total: int
    written: int = 0
    entity: Entity = Entity.DEPARTMENTS

    async def step(self, rows: int = 0) -> None:
        """So many rows more."""
        self.written += rows
        if self.total:
            message = f"writing the {self.entity}: {self.written:,} of {self.total:,} changes"
            self.run.progress(self.written, max(self.total, self.written), message)
        await self.run.checkpoint()


# --- reporting ------------------------------------------------------------------------------------------------------


def _count_fields(plan: EntityPlan) -> dict[str, Any]:
    return {
        **asdict(plan.counts),
        "reactivated": plan.reactivated,
        "renumbered": plan.renumbered,
        "warnings": plan.warnings,
    }


def _report(plan: ReplicationPlan, held: HeldRun | None) -> RunReport:
    """What was done.

    Args:
        held: the deactivations that wait for a person; None: nothing does.
    """
    counts, skipped = plan.counts, 0
    if held is not None:
        skipped, counts = counts.deactivated or 0, replace(counts, deactivated=0)
    entities = {
        item.entity.value: {
            **_count_fields(item),
            "reasons": dict(item.reasons),
            "changed_fields": dict(item.changed_fields),
            "notes": list(item.notes),
            "incremental": item.is_partial,
        }
        for item in plan.entities
    }
    return RunReport(
        counts=counts,
        summary=_summarise(plan, counts, skipped) + (f" {_advice(held)}." if held is not None else ""),
        details={
            "entities": entities,
            "deactivations_skipped": skipped,
            "held": None if held is None else held.execution_id,
            "concerns": list(plan.concerns),
        },
    )


def _summarise(plan: ReplicationPlan, counts: RowCounts, skipped: int) -> str:
    read = ", ".join(
        f"{item.counts.read:,} {item.entity.one if item.counts.read == 1 else item.entity}" for item in plan.entities
    )
    done = [
        f"{number:,} {word}" for word in ("inserted", "updated", "deactivated") if (number := getattr(counts, word))
    ]
    parts = [", ".join(done) if done else "nothing changed"]
    warnings = sum(item.warnings for item in plan.entities)
    if counts.rejected:
        parts.append(f"{counts.rejected:,} rejected")
    if warnings:
        parts.append(f"{warnings:,} kept with a warning")
    if skipped:
        parts.append(f"{skipped:,} {'deactivation' if skipped == 1 else 'deactivations'} skipped by the guard")
    parts += [note for item in plan.entities for note in item.notes]
    return f"Read {read}: {'; '.join(parts)}."
