"""What a replication does with a source and a target: the steps of planning, whoever fetches the rows.

Pure. The steps ask for the rows of the target that they need by yielding, and go on with the answer.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from backend.domain.employees import ENTITY_SPECS, Entity
from backend.domain.entity_planner import EntityPlanner, ParentsBy, TargetBatch, TargetRow, with_offsets
from backend.domain.mapping import GuardRules
from backend.domain.quarantine import (
    QuarantineEntry,
)
from backend.domain.replication_plan import (
    Concern,
    EntityPlan,
    ReplicationPlan,
    RowChange,
    StreamFacts,
    find_concerns,
    may_skip_deactivations,
)
from backend.domain.row_batches import CanonicalBatch
from backend.domain.row_hashes import digest_values


class RowsWanted(NamedTuple):
    """Rows of the target that are needed to go on.

    Attributes:
        by: what `keys` are: business keys, or stable keys.
    """

    entity: Entity
    by: Literal["key", "stable_key"]
    keys: Sequence[str]


def plan_entity(
    planner: EntityPlanner,
    batches: Callable[[], Iterable[pa.RecordBatch]],
    *,
    has_stable_key: bool,
    positions: Mapping[str, str] | None,
    put_change: Callable[[RowChange], None],
    put_entry: Callable[[QuarantineEntry], None],
) -> Generator[RowsWanted, Sequence[TargetRow], None]:
    """All that follows when source and target have been read: asks for the rows that it needs, and goes on with them.

    Args:
        batches: gives the source's accepted rows again, in their order.
        positions: what each position reports to, for managers by position.
        put_change, put_entry: take what changes (but for inserts, which are the rows themselves) and what goes to
            quarantine.
    """
    entity = planner.entity
    renumbered: dict[str, TargetRow] = {}
    if has_stable_key and planner.has_kept_rows:
        candidates: list[TargetRow] = []
        for offset, batch in with_offsets(batches()):
            for keys in _chunks(planner.stable_keys_of_new(batch, offset)):
                candidates += yield RowsWanted(entity, "stable_key", keys)
        if candidates:
            renumbered = planner.find_renumbered(batches(), candidates)
    for entry in planner.resolve_parents(batches, positions):
        put_entry(entry)
    planner.end_target()
    for offset, batch in with_offsets(batches()):
        for entry in planner.duplicates(batch, offset):
            put_entry(entry)
        target: dict[str, TargetRow] = {}
        for keys in _chunks(planner.keys_to_compare(batch, offset)):
            target.update({row.key: row for row in (yield RowsWanted(entity, "key", keys))})
        for change in planner.compare(batch, offset, {**target, **renumbered} if renumbered else target):
            put_change(change)
    for keys in _chunks(planner.vanished_keys()):
        for row in (yield RowsWanted(entity, "key", keys)):
            put_change(planner.deactivate(row))


def plan_replication(
    source: Mapping[Entity, Sequence[CanonicalBatch]],
    target: Mapping[Entity, Sequence[TargetRow]],
    *,
    rules: GuardRules | None = None,
    facts: Mapping[Entity, StreamFacts] | None = None,
    parents_by: Mapping[Entity, ParentsBy] | None = None,
) -> ReplicationPlan:
    """The plan for a source and a target that are both at hand; it reads nothing and writes nothing.

    Args:
        source: canonical rows by entity.
        target: all rows of the target by entity, inactive ones too.
        rules: what the guard lets pass.
        facts: what earlier runs left.
        parents_by: what `parent_ref` of an entity's rows is, where it is not the parent's key.
    """
    changes: list[RowChange] = []
    plans: list[EntityPlan] = []
    fingerprint = deactivations = 0
    positions: dict[str, str] = {}
    for entity in (entity for entity in Entity if entity in source):
        planner = EntityPlanner(entity, parents_by=(parents_by or {}).get(entity, "key"))
        for batch in source[entity]:
            planner.add_source(batch)
        planner.end_source()
        rows = target.get(entity, ())
        planner.add_target(target_batch(rows))
        batches = [batch.rows for batch in source[entity]]
        answers: dict[str, dict[str | None, list[TargetRow]]] = {"key": {}, "stable_key": {}}
        for row in rows:
            answers["key"].setdefault(row.key, []).append(row)
            if "stable_key" in ENTITY_SPECS[entity].value_names:
                stable_key = row.values[ENTITY_SPECS[entity].value_names.index("stable_key")]
                answers["stable_key"].setdefault(stable_key, []).append(row)
        steps = plan_entity(
            planner,
            functools.partial(iter, batches),
            has_stable_key="stable_key" in ENTITY_SPECS[entity].value_names,
            positions=positions,
            put_change=changes.append,
            put_entry=lambda _entry: None,
        )
        drive(steps, functools.partial(_answer, answers))
        if entity is Entity.POSITIONS:
            positions = planner.parents(batches)
        for offset, batch in with_offsets(batches):
            changes += planner.inserts(batch, offset)
        plans.append(planner.finish(planner.look_back((facts or {}).get(entity, StreamFacts()))))
        fingerprint += planner.fingerprint
        deactivations += planner.fingerprint_of_deactivations
    concerns = [
        concern
        for plan in plans
        for concern in find_concerns(plan, rules or GuardRules(), (facts or {}).get(plan.entity))
    ]
    return ReplicationPlan(
        entities=plans,
        concerns=[concern.message for concern in concerns],
        skips_deactivations=may_skip_deactivations(concerns, rules or GuardRules()),
        fingerprint=fingerprint_bytes(fingerprint, concerns),
        fingerprint_of_deactivations=fingerprint_bytes(deactivations),
        read_changes=lambda: iter(changes),
    )


def _answer(answers: Mapping[str, Mapping[str | None, Sequence[TargetRow]]], wanted: RowsWanted) -> list[TargetRow]:
    return [row for key in wanted.keys for row in answers[wanted.by].get(key, ())]


def drive(
    steps: Generator[RowsWanted, Sequence[TargetRow], None], answer: Callable[[RowsWanted], Sequence[TargetRow]]
) -> None:
    """Run the steps to their end, with whoever can answer at once."""
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(answer(wanted))
    except StopIteration:
        return


def target_batch(rows: Sequence[TargetRow]) -> TargetBatch:
    """Whole rows as the planner compares them; the digests are made of the values."""
    count = len(rows[0].values) if rows else 0
    columns = [pa.array([row.values[index] for row in rows], pa.string()) for index in range(count)]
    digests = digest_values(columns).buffers()[1] if rows else b""
    return TargetBatch(
        pa.array([row.key for row in rows], pa.string()),
        np.frombuffer(digests, dtype=">u8")[::2].astype(np.uint64),
        np.array([row.is_active for row in rows], dtype=np.bool_),
        pa.array([row.parent for row in rows], pa.string()),
    )


def fingerprint_bytes(number: int, concerns: Iterable[Concern] = ()) -> bytes:
    """The sum of the entities' fingerprints, and what the guard says, as 16 bytes.

    A plan that changes no row may be held as well (for its columns, say): its concerns tell it from others.
    """
    number += sum(
        xxhash.xxh3_128_intdigest(concern.message.encode("utf-8", "backslashreplace")) for concern in concerns
    )
    return (number % 2**128).to_bytes(16, "big")


_ROWS_PER_QUESTION = 1000


def _chunks(items: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, _ROWS_PER_QUESTION)):
        yield chunk
