"""What a replication does: compares the source's rows with the target's state and says what is to be written.

Pure. Rows come in batches and are not kept: only keys, digests and parents are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from backend.domain.employees import ENTITY_SPECS, Entity, EntitySpec, SourceRow, parent_path
from backend.domain.executions import RowCounts
from backend.domain.quarantine import (
    Defect,
    QuarantineEntry,
    ReadRow,
    Reason,
    Severity,
    defect_fingerprint,
    shorten,
    unknown_reference,
)


class TargetRow(NamedTuple):
    """What the target has under a key: the digest of its values, whether it is active, and its parent."""

    digest: bytes
    is_active: bool
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """The target before a run.

    Attributes:
        revisions: by entity; raised by every run that is applied, so that a run can tell that another came between.
        rows: by entity and key, inactive ones too.
        last_read: how many rows the last run accepted, over the entities; None before the first.
    """

    revisions: Mapping[Entity, int]
    rows: Mapping[Entity, Mapping[str, TargetRow]]
    last_read: int | None


class Reader(Protocol):
    """Makes canonical rows (`domain.mapping.RowReader`)."""

    @property
    def by_tree_path(self) -> bool:
        """Whether `ReadRow.parent_ref` is the row's own tree path, not its parent's key."""
        ...

    def read(self, raw: Sequence[object]) -> ReadRow: ...
    def payload(self, raw: Sequence[object]) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeactivationLimit:
    """How many rows of an entity one run may deactivate: the larger of the two."""

    percent: float = 5
    at_least: int = 5

    def of(self, active: int) -> int:
        """The limit where `active` rows are active."""
        return max(self.at_least, int(active * self.percent / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityPlan:
    """What one entity's source means for the target, beside the changed rows (`EntityDiff.add` gave them).

    Attributes:
        counts: rows read, inserted, updated, unchanged, deactivated, rejected; read is the sum of the others without
            the rows that are deactivated because the source has them no more (`vanished`).
        reactivated: how many of the updated ones were inactive before.
        warnings: defects of rows that are applied nevertheless, without the value in question.
        reasons: number of quarantine entries by reason.
        active_before: active rows in the target.
        rows_after: accepted rows, for the next run's progress.
        parents: parent by key, of every accepted row that has one.
        parent_changes: new parent (None: none) of rows that are otherwise unchanged.
        vanished: keys to deactivate.
        entries: what goes to quarantine beside the entries that `EntityDiff.add` gave.
    """

    entity: Entity
    counts: RowCounts
    reactivated: int
    warnings: int
    reasons: Mapping[str, int]
    active_before: int
    rows_after: int
    parents: Mapping[str, str]
    parent_changes: Mapping[str, str | None]
    vanished: Sequence[str]
    entries: Sequence[QuarantineEntry]


class KnownKeys:
    """The keys that rows of other entities may refer to: those of the source and those of the target."""

    def __init__(self, *groups: Mapping[str, Any]) -> None:
        self._groups = groups

    def __contains__(self, key: object) -> bool:
        return any(key in group for group in self._groups)


class EntityDiff:
    """Compares one entity batch by batch. The first readable row of a key counts, further ones are rejected.

    A rejected row leaves what the target has under its key as it is: an unreadable row is no reason to switch
    somebody off.

    Args:
        reader: makes canonical rows.
        target: the target's rows by key.
        rewrite: take every row for changed (repairs what was altered in the target by hand).
    """

    def __init__(
        self, entity: Entity, reader: Reader, target: Mapping[str, TargetRow], *, rewrite: bool = False
    ) -> None:
        self.entity = entity
        self._spec = ENTITY_SPECS[entity]
        self._reader = reader
        self._target = target
        self._rewrite = rewrite
        self._accepted: dict[str, str | None] = {}  # key -> parent_ref
        self._rejected: dict[str, None] = {}
        self._changed: set[str] = set()
        self._occurrences: Counter[tuple[Any, ...]] = Counter()
        self._tally: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._reactivated = 0
        self._warnings = 0

    @property
    def counts(self) -> RowCounts:
        """The counts so far."""
        return RowCounts(**{name: self._tally[name] for name in _TALLIES})

    def known_keys(self) -> KnownKeys:
        """What rows of later entities may refer to."""
        return KnownKeys(self._accepted, self._target)

    def add(self, batch: Iterable[Sequence[object]]) -> tuple[list[SourceRow], list[QuarantineEntry]]:
        """Take rows of the source.

        Returns:
            the rows to write (their parents are known after `finish`), and the entries for quarantine.
        """
        changed: list[SourceRow] = []
        entries: list[QuarantineEntry] = []
        for raw in batch:
            self._tally["read"] += 1
            read = self._reader.read(raw)
            if read.row is not None and read.row.key in self._accepted:
                read = ReadRow(read.key, None, None, (_duplicate(self._spec, read.row.key),))
            if read.defects:
                payload = self._reader.payload(raw)
                entries.extend(self._entry(read.key, defect, payload) for defect in read.defects)
            if read.row is None:
                self._tally["rejected"] += 1
                if read.key is not None:
                    self._rejected[read.key] = None
                continue
            self._accepted[read.row.key] = read.parent_ref
            if self._classify(read.row):
                self._changed.add(read.row.key)
                changed.append(read.row)
        return changed, entries

    def finish(self) -> EntityPlan:
        """What is left to do when the source has been read to its end."""
        parents, problems = self._resolve_parents()
        entries = []
        for key, defect, reference in problems:
            payload = {self._spec.key.name: key, defect.field or "": reference}
            entries.append(self._entry(key, defect, payload))
        parent_changes = {
            key: parents.get(key)
            for key in self._accepted
            if key not in self._changed and self._target[key].parent != parents.get(key)
        }
        self._tally["updated"] += len(parent_changes)
        self._tally["unchanged"] -= len(parent_changes)
        vanished = [
            key
            for key, row in self._target.items()
            if row.is_active and key not in self._accepted and key not in self._rejected
        ]
        self._tally["deactivated"] += len(vanished)
        return EntityPlan(
            entity=self.entity,
            counts=self.counts,
            reactivated=self._reactivated,
            warnings=self._warnings,
            reasons=dict(sorted(self._reasons.items())),
            active_before=sum(row.is_active for row in self._target.values()),
            rows_after=len(self._accepted),
            parents=parents,
            parent_changes=parent_changes,
            vanished=vanished,
            entries=entries,
        )

    def _classify(self, row: SourceRow) -> bool:
        """Count the row; whether it is to be written."""
        old = self._target.get(row.key)
        if old is None:
            self._tally["inserted"] += 1
        elif old.is_active and not row.is_active:
            self._tally["deactivated"] += 1
        elif self._rewrite or old.digest != row.digest or old.is_active != row.is_active:
            self._tally["updated"] += 1
            self._reactivated += row.is_active and not old.is_active
        else:
            self._tally["unchanged"] += 1
            return False
        return True

    def _resolve_parents(self) -> tuple[dict[str, str], list[tuple[str, Defect, str | None]]]:
        parent = self._spec.parent
        if parent is None:
            return {}, []
        if self._reader.by_tree_path:
            parents, problems = _parents_by_path(self._accepted, parent.name)
        else:
            parents, problems = {key: ref for key, ref in self._accepted.items() if ref is not None}, []
        known = self.known_keys()
        for key, ref in list(parents.items()):
            if ref not in known:
                del parents[key]
                problems.append((key, unknown_reference(parent, ref), ref))
        # What the target keeps of rows that are not replaced takes part: a circle may close through it.
        kept = {
            key: row.parent for key, row in self._target.items() if row.parent is not None and key not in self._accepted
        }
        for cycle in find_cycles({**kept, **parents}):
            defect = _cycle(parent.name, cycle)
            for key in cycle:
                if key in parents:
                    problems.append((key, defect, parents.pop(key)))
        return parents, problems

    def _entry(self, key: str | None, defect: Defect, payload: Mapping[str, Any]) -> QuarantineEntry:
        self._reasons[defect.reason.value] += 1
        self._warnings += defect.severity is Severity.WARNING
        kind = (key if key is not None else repr(payload), defect.reason, defect.field)
        occurrence = self._occurrences[kind]
        self._occurrences[kind] += 1
        return QuarantineEntry(
            entity=self.entity,
            source_key=key,
            defect=defect,
            payload=payload,
            fingerprint=defect_fingerprint(self.entity, key, defect, payload, occurrence),
        )


def find_cycles(parents: Mapping[str, str | None]) -> list[list[str]]:
    """The circles in a parent map, each from its smallest key along the parents, sorted."""
    state: dict[str, int] = {}  # the number of the walk that came by
    cycles: list[list[str]] = []
    for walk, start in enumerate(parents):
        key: str | None = start
        while key is not None and key in parents and key not in state:
            state[key] = walk
            key = parents[key]
        if key is not None and state.get(key) == walk:
            cycle = [key]
            while (above := parents[cycle[-1]]) is not None and above != key:
                cycle.append(above)
            first = cycle.index(min(cycle))
            cycles.append(cycle[first:] + cycle[:first])
    return sorted(cycles)


def check_deactivations(plan: EntityPlan, limit: DeactivationLimit) -> str | None:
    """Why the plan must not be applied without a person's word; None when it may be."""
    if not plan.active_before:
        return None
    entity, gone, read = plan.entity, plan.counts.deactivated or 0, plan.counts.read
    if not read:
        return f"the source has no {entity} at all, while {plan.active_before} are active here"
    if gone > limit.of(plan.active_before):
        return (
            f"{gone} of {plan.active_before} active {entity} would be deactivated, more than the limit of "
            f"{limit.of(plan.active_before)} (max_deactivations_percent = {limit.percent:g}, "
            f"max_deactivations_at_least = {limit.at_least})"
        )
    return None


_TALLIES = ("read", "inserted", "updated", "unchanged", "deactivated", "rejected")


def _parents_by_path(
    paths: Mapping[str, str | None], field: str
) -> tuple[dict[str, str], list[tuple[str, Defect, str | None]]]:
    """The parent of each key: who stands at the path above. Of two at one path the smaller key stands there."""
    at: dict[str, str] = {}
    problems: list[tuple[str, Defect, str | None]] = []
    for key, path in paths.items():
        if path is not None:
            at[path] = min(key, at.get(path, key))
    parents: dict[str, str] = {}
    for key, path in paths.items():
        if path is None:
            continue
        if at[path] != key:
            problems.append((key, _ambiguous(field, path, at[path]), path))
        above = parent_path(path)
        if above is None:
            continue
        if above in at:
            parents[key] = at[above]
        elif above != "/":  # a tree may have several tops and nobody at its root
            problems.append((key, _nobody_above(field, above), path))
    return parents, problems


def _duplicate(spec: EntitySpec, key: str) -> Defect:
    return Defect(
        reason=Reason.DUPLICATE_KEY,
        field=spec.key.name,
        message=f"Another row before this one has the {spec.key.name} {shorten(key)}; the first one counts.",
    )


def _cycle(field: str, cycle: Sequence[str]) -> Defect:
    names = " -> ".join([*cycle[:20], *(["…"] if len(cycle) > 20 else []), cycle[0]])
    return Defect(
        reason=Reason.REFERENCE_CYCLE,
        severity=Severity.WARNING,
        field=field,
        message=f"{field} goes round in a circle ({names}); these rows are kept without it.",
    )


def _ambiguous(field: str, path: str, other: str) -> Defect:
    return Defect(
        reason=Reason.AMBIGUOUS_TREE_PATH,
        severity=Severity.WARNING,
        field=field,
        message=f"{other} has the tree path {shorten(path)} too; whoever is below it gets {other} as {field}.",
    )


def _nobody_above(field: str, above: str) -> Defect:
    return Defect(
        reason=Reason.UNKNOWN_REFERENCE,
        severity=Severity.WARNING,
        field=field,
        message=f"Nobody has the tree path {shorten(above)} above this one; the row is kept without {field}.",
    )
