"""Runs of the replication without databases: the real reader and planner, and a target that is a tuple of rows."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from backend.domain.column_rules import RawBatch
from backend.domain.employees import ENTITY_SPECS, EmploymentStatus, Entity
from backend.domain.entity_planner import EntityPlanner, ParentsBy, State, TargetRow, with_offsets
from backend.domain.hierarchy import find_cycles
from backend.domain.mapping import EntityMapping, FieldRule
from backend.domain.quarantine import QuarantineEntry
from backend.domain.replication import RowsWanted, drive, plan_entity, target_batch
from backend.domain.replication_plan import ChangeAction, EntityPlan, RowChange, StreamFacts
from backend.domain.row_batches import IS_ACTIVE, PARENT_REF, BatchReader, CanonicalBatch
from backend.domain.row_hashes import KnownKeys

Target = tuple[TargetRow, ...]


class Content(NamedTuple):
    """What a row of the target says, whatever its id."""

    values: tuple[str | None, ...]
    parent: str | None
    is_active: bool


class Person(NamedTuple):
    """A row of the source's employees; the names of the attributes are the result columns."""

    no: str | None
    name: str | None = "Kim Example"
    boss: str | None = None
    mail: str | None = None
    dept: str | None = None
    job: str | None = None
    state: str | None = "A"
    hired: str | dt.date | None = None
    stable: str | None = None


EMPLOYEES = EntityMapping(
    entity=Entity.EMPLOYEES,
    place="hris.toml [employees]",
    query="SELECT 1",
    fields={
        "employee_no": FieldRule(column="no"),
        "full_name": FieldRule(column="name"),
        "manager_no": FieldRule(column="boss"),
        "email": FieldRule(column="mail", case="lower"),
        "department_code": FieldRule(column="dept"),
        "position_code": FieldRule(column="job"),
        "status": FieldRule(column="state", values={"A": "active", "L": "on_leave", "T": "left"}),
        "hired_on": FieldRule(column="hired"),
        "stable_key": FieldRule(column="stable"),
    },
)


# --- the source -------------------------------------------------------------------------------------------------------


def read_rows(
    rows: Sequence[tuple[object, ...]],
    mapping: EntityMapping = EMPLOYEES,
    columns: Sequence[str] = Person._fields,
    *,
    sizes: Sequence[int] = (),
    known: Mapping[Entity, KnownKeys] | None = None,
) -> list[CanonicalBatch]:
    """The rows in canonical form, in batches of `sizes` rows and one of those that are left."""
    reader = BatchReader(mapping, columns, known=known or {})
    batches: list[CanonicalBatch] = []
    start = 0
    for size in (*sizes, len(rows)):
        part = rows[start : start + size]
        start += len(part)
        batches.append(
            reader.read(RawBatch(columns=[[row[i] for row in part] for i in range(len(columns))], row_count=len(part)))
        )
    return batches


# --- planning ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The plan of one entity, with everything that a run makes of it.

    Attributes:
        changes: of every row, the new ones included.
        entries: what goes to quarantine.
    """

    plan: EntityPlan
    planner: EntityPlanner
    batches: Sequence[pa.RecordBatch]
    target: Target
    changes: Sequence[RowChange]
    entries: Sequence[QuarantineEntry]

    @property
    def fingerprint(self) -> int:
        """The same for plans that do the same."""
        return self.planner.fingerprint


def plan_rows(
    source: Sequence[CanonicalBatch],
    target: Target = (),
    *,
    entity: Entity = Entity.EMPLOYEES,
    parents_by: ParentsBy = "key",
    positions: Mapping[str, str] | None = None,
    is_partial: bool = False,
    gone: Sequence[str] = (),
    target_batches: int = 2,
    mask: Callable[[str, str | None], str | None] = lambda _name, value: value,
) -> Planned:
    """Plan as the service does.

    Args:
        gone: keys of which an incremental source says that their rows are gone.
        target_batches: in how many batches the target is shown.
    """
    planner = EntityPlanner(entity, parents_by=parents_by, is_partial=is_partial, mask=mask)
    entries = [entry for batch in source for entry in planner.add_source(batch)]
    planner.add_gone(gone)
    planner.end_source()
    for number in range(target_batches):
        planner.add_target(target_batch(target[number::target_batches]))
    batches = [batch.rows for batch in source]
    changes: list[RowChange] = []
    steps = plan_entity(
        planner,
        functools.partial(iter, batches),
        has_stable_key="stable_key" in ENTITY_SPECS[entity].value_names,
        positions=positions,
        put_change=changes.append,
        put_entry=entries.append,
    )
    drive(steps, functools.partial(_answer, target))
    for offset, batch in with_offsets(batches):
        changes += planner.inserts(batch, offset)
    plan = planner.finish(planner.look_back(StreamFacts()))
    return Planned(plan=plan, planner=planner, batches=batches, target=target, changes=changes, entries=entries)


def _answer(target: Target, wanted: RowsWanted) -> list[TargetRow]:
    """The rows in the order of the table, whatever the order of the keys."""
    if wanted.by == "key":
        return [row for row in target if row.key in wanted.keys]
    place = ENTITY_SPECS[wanted.entity].value_names.index("stable_key")
    return [row for row in target if row.values[place] in wanted.keys]


# --- applying ---------------------------------------------------------------------------------------------------------


def apply_changes(planned: Planned) -> tuple[Target, list[RowChange]]:
    """The target after the changes of a plan, and its history: these changes, and those of rows that follow them."""
    rows = {row.row_id: row for row in planned.target}
    history: list[RowChange] = []
    for change in planned.changes:
        noted = change
        if change.action is ChangeAction.INSERT:
            noted = replace(change, row_id=max(rows, default=0) + 1)
        assert noted.row_id is not None
        rows[noted.row_id] = _changed(rows.get(noted.row_id), noted, new=1)
        history.append(noted)
    for change in _followers(planned, rows):
        assert change.row_id is not None
        rows[change.row_id] = _changed(rows[change.row_id], change, new=1)
        history.append(change)
    return tuple(rows[row_id] for row_id in sorted(rows)), history


def undo_changes(target: Target, history: Sequence[RowChange]) -> Target:
    """The target before the changes of a history."""
    rows = {row.row_id: row for row in target}
    for change in reversed(history):
        assert change.row_id is not None
        row = rows.pop(change.row_id)
        if change.action is not ChangeAction.INSERT:
            rows[change.row_id] = _changed(row, change, new=0)
    return tuple(rows[row_id] for row_id in sorted(rows))


def apply_states(planned: Planned) -> dict[str, Content]:
    """What a target holds when whole rows are written by their state, as the store does."""
    planner, entity = planned.planner, planned.plan.entity
    renumbered = {change.key: change.new_key for change in planned.changes if change.new_key is not None}
    rows = {renumbered.get(row.key) or row.key: content_of(row) for row in planned.target}
    for offset, batch in with_offsets(planned.batches):
        parents = planner.parents_of(batch, offset).to_pylist()
        for state, row, parent in zip(planner.states[offset:], batch.to_pylist(), parents, strict=False):
            if state not in (State.SAME, State.DUPLICATE):
                values = tuple(row[name] for name in ENTITY_SPECS[entity].value_names)
                rows[row[ENTITY_SPECS[entity].key.name]] = Content(values, parent, row[IS_ACTIVE])
    for key in planner.vanished_keys():
        rows[key] = rows[key]._replace(is_active=False)
    return {key: row._replace(parent=renumbered.get(row.parent or "") or row.parent) for key, row in rows.items()}


def content_of(row: TargetRow) -> Content:
    """What the row says."""
    return Content(row.values, row.parent, row.is_active)


def contents(target: Target) -> dict[str, Content]:
    """What the rows say, by key."""
    return {row.key: content_of(row) for row in target}


def _changed(row: TargetRow | None, change: RowChange, *, new: int) -> TargetRow:
    """The row after the change, or before it (`new=0`); each field must hold what the change says that it held."""
    spec = ENTITY_SPECS[change.entity]
    assert change.row_id is not None
    state: dict[str, str | None] = dict.fromkeys(spec.value_names)
    if row is None:
        status = change.fields.get("status", (None, None))[1]
        is_active = status is None or EmploymentStatus(status).is_employed
        state |= {spec.key.name: change.key, IS_ACTIVE: str(int(is_active)), _parent_name(change.entity): None}
    else:
        state |= dict(zip(spec.value_names, row.values, strict=True))
        state |= {spec.key.name: row.key, IS_ACTIVE: str(int(row.is_active)), _parent_name(change.entity): row.parent}
    for name, values in change.fields.items():
        assert state[name] == values[1 - new], (change, name)
        state[name] = values[new]
    return TargetRow(
        change.row_id,
        state[spec.key.name] or "",
        tuple(state[name] for name in spec.value_names),
        state[_parent_name(change.entity)],
        state[IS_ACTIVE] == "1",
    )


def _parent_name(entity: Entity) -> str:
    parent = ENTITY_SPECS[entity].parent
    return parent.name if parent else PARENT_REF


def _followers(planned: Planned, rows: Mapping[int, TargetRow]) -> Iterator[RowChange]:
    """What changes in rows that name a renumbered one by its old key."""
    for moved in planned.changes:
        if moved.new_key is None:
            continue
        for row in rows.values():
            if row.parent == moved.key:
                yield RowChange(
                    entity=moved.entity,
                    key=row.key,
                    action=ChangeAction.UPDATE,
                    fields={_parent_name(moved.entity): (moved.key, moved.new_key)},
                    row_id=row.row_id,
                )


# --- what should come out ---------------------------------------------------------------------------------------------


def expected_contents(
    source: Sequence[CanonicalBatch], target: Target, entity: Entity = Entity.EMPLOYEES
) -> dict[str, Content]:
    """What a full run should make of a target, found out row by row in the plainest way."""
    spec = ENTITY_SPECS[entity]
    rejected = {key for batch in source for key in batch.rejected_keys}
    given: dict[str, dict[str, object]] = {}
    for batch in source:
        for line in batch.rows.to_pylist():
            given.setdefault(line[spec.key.name], line)
    kept = {row.key: row for row in target if row.key not in given}
    there = {row.key for row in target}
    renumbered: dict[str, str] = {}
    for key, line in given.items():
        candidates = [
            row
            for row in kept.values()
            if key not in there
            and row.key not in rejected
            and line.get("stable_key") is not None
            and row.values[spec.value_names.index("stable_key")] == line["stable_key"]
            and (line[IS_ACTIVE] or not row.is_active)
        ]
        if candidates:
            renumbered[kept.pop(max(candidates, key=lambda row: (row.is_active, row.row_id)).key).key] = key
    rows = {
        row.key: content_of(row)._replace(
            parent=renumbered.get(row.parent or "", row.parent), is_active=row.is_active and row.key in rejected
        )
        for row in kept.values()
    }
    above = {key: row.parent for key, row in rows.items()}
    above |= {key: _text(line[PARENT_REF]) for key, line in given.items()}
    circular = {key for cycle in find_cycles(above) for key in cycle}
    for key, line in given.items():
        parent = above[key] if above[key] in above and key not in circular else None
        values = tuple(_text(line[name]) for name in spec.value_names)
        rows[key] = Content(values, parent, line[IS_ACTIVE] is True)
    return rows


def _text(value: object) -> str | None:
    return None if value is None else str(value)
