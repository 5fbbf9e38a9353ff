"""Plans one entity: holds the source's rows against the target's, and says what becomes of each.

Pure. Rows come in batches and are not kept: of each there are hashes of its key, its values and its parent, and one
byte that says what becomes of it. Whoever drives the planner keeps the batches and shows them to it again.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from backend.domain.employees import ENTITY_SPECS, Entity, EntitySpec, Field
from backend.domain.executions import RowCounts
from backend.domain.hierarchy import (
    find_above,
    find_circular,
    find_cycles,
    find_places,
    from_smallest,
    parents_by_path,
    parents_by_position,
    reference_cycle,
    walk_circles,
)
from backend.domain.quarantine import (
    Defect,
    QuarantineEntry,
    Reason,
    Severity,
    defect_fingerprint,
    shorten,
    unknown_reference,
)
from backend.domain.replication_plan import (
    ChangeAction,
    EntityPlan,
    RowChange,
    StreamFacts,
)
from backend.domain.row_batches import DIGEST, IS_ACTIVE, PARENT_REF, CanonicalBatch, FoundDefect
from backend.domain.row_hashes import NO_HASH, GrowingArray, Hashes, KnownKeys, contains, hash_keys

Mask = npt.NDArray[np.bool_]


MASKED = "•••"


class TargetBatch(NamedTuple):
    """Some rows of the target, as little as tells whether they differ.

    Attributes:
        keys: texts.
        digests: the first eight bytes of each row's digest, big-endian.
        is_active: one each.
        parents: texts or None.
    """

    keys: pa.Array
    digests: Hashes
    is_active: Mask
    parents: pa.Array


class TargetRow(NamedTuple):
    """A whole row of the target.

    Attributes:
        values: canonical texts, as `EntitySpec.value_names` says.
    """

    row_id: int
    key: str
    values: tuple[str | None, ...]
    parent: str | None
    is_active: bool


class State(enum.IntEnum):
    """What becomes of one row of the source."""

    INSERT = 0
    SAME = 1
    COMPARE = 2  # something differs, or may differ
    DUPLICATE = 3
    RENUMBER = 4
    GONE = 5  # active in the target, and the source says that it is gone
    RENEW = 6  # nothing differs but the digest, which another version has stored


_NONE: Hashes = np.zeros(0, dtype=np.uint64)


_CHUNK = 1 << 16
_REMEMBERED_SIZES = 10
_KNOWN_PARENT = np.uint8(1)


_SAME_PARENT = np.uint8(2)


_HAD_PARENT = np.uint8(4)


ParentsBy = Literal["key", "path", "position"]


class EntityPlanner:
    """Plans one entity. To be called in the order of the methods; the batches of the source come in the same order.

    The first readable row of a key counts, further ones are rejected. A rejected row leaves what the target has under
    its key as it is: an unreadable row is no reason to switch somebody off.

    Args:
        parents_by: what `parent_ref` is: the parent's key, the row's own tree path, or the row's position.
        is_partial: the source gave only some rows; what it did not give is as it was.
        mask: makes a sensitive field's value fit to be seen.
    """

    def __init__(
        self,
        entity: Entity,
        *,
        parents_by: ParentsBy = "key",
        is_partial: bool = False,
        mask: Callable[[str, str | None], str | None] = lambda _field, value: value,
    ) -> None:
        self.entity = entity
        self.is_partial = is_partial
        self._spec = ENTITY_SPECS[entity]
        self._parents_by = parents_by
        self._mask = mask
        self._gone: list[Hashes] = []
        self._index = [GrowingArray(dtype) for dtype in (np.uint64, np.uint64, np.uint64, np.bool_)]
        self._rejected_hashes: list[Hashes] = []
        self._nulls: Counter[str] = Counter()
        self._tally: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._occurrences: Counter[tuple[Any, ...]] = Counter()
        self._changed_fields: Counter[str] = Counter()
        self._vanished: list[pa.Array] = []
        self._kept: list[tuple[Hashes, Hashes]] = []
        self._parents: dict[str, str] | None = None
        self._fingerprint = 0
        self._fingerprint_of_deactivations = 0

    # --- the source ---------------------------------------------------------------------------------------------------

    def add_source(self, batch: CanonicalBatch) -> list[QuarantineEntry]:
        """Take rows of the source; what goes to quarantine because of them."""
        rows = batch.rows
        digests = np.frombuffer(rows.column(DIGEST).buffers()[1], dtype=">u8")
        first = rows.column(DIGEST).offset
        columns = (
            hash_keys(rows.column(0)),
            digests[2 * first : 2 * (first + rows.num_rows) : 2],
            hash_keys(rows.column(PARENT_REF)),
            rows.column(IS_ACTIVE).to_numpy(zero_copy_only=False),
        )
        for array, values in zip(self._index, columns, strict=True):
            array.extend(values)
        for name in self._spec.value_names:
            self._nulls[name] += rows.column(name).null_count
        self._tally["read"] += batch.read_count
        self._tally["rejected"] += batch.read_count - rows.num_rows
        if batch.rejected_keys:
            self._rejected_hashes.append(hash_keys(pa.array(batch.rejected_keys, pa.string())))
        return [self._entry(found) for found in batch.defects]

    def take_defects(self, defects: Sequence[FoundDefect]) -> list[QuarantineEntry]:
        """What goes to quarantine because of something else that was read."""
        return [self._entry(found) for found in defects]

    def add_gone(self, keys: Sequence[str]) -> None:
        """Take keys of which an incremental source says that their rows are gone."""
        self._gone.append(hash_keys(pa.array(keys, pa.string())))

    def end_source(self) -> None:
        """The source has been read to its end."""
        # One column after the other, so that no two copies of all of them are there at a time.
        keys: Hashes = self._index[0].take()
        rows = np.argsort(keys, kind="stable").astype(np.int32)
        keys = keys[rows]
        again = np.zeros(len(keys), dtype=np.bool_)
        again[1:] = keys[1:] == keys[:-1]
        self.states = np.zeros(len(keys), dtype=np.uint8)
        self.states[rows[again]] = State.DUPLICATE
        self._flags = np.zeros(len(keys), dtype=np.uint8)
        if again.any():
            rows, keys = rows[~again], keys[~again]
        # From here on in the order of the hashes of the keys, each key once; `_rows` has their rows in the source.
        self._rows, self._keys = rows, keys
        self._digests, self._refs, self._active = (array.take()[rows] for array in self._index[1:])
        self._above = np.zeros(0, dtype=np.int32)
        is_by_key = self._parents_by == "key"
        self._resolved = _NONE if is_by_key else np.zeros(len(self.states), dtype=np.uint64)
        self._target_parents = _NONE if is_by_key else np.zeros(len(self.states), dtype=np.uint64)
        self._rejected = np.unique(np.concatenate(self._rejected_hashes or [_NONE]))

    # --- the target ---------------------------------------------------------------------------------------------------

    def add_target(self, batch: TargetBatch) -> None:
        """Take rows of the target and hold them against the source."""
        hashes, parents = hash_keys(batch.keys), hash_keys(batch.parents)
        self._tally["active_before"] += int(batch.is_active.sum())
        hit, places = self._find(hashes)
        rows = self._rows[places]
        active, was_active = self._active[places], batch.is_active[hit]
        states = np.where(
            (self._digests[places] == batch.digests[hit]) & (active == was_active), State.SAME, State.COMPARE
        ).astype(np.uint8)
        states[was_active & ~active] = State.GONE
        self.states[rows] = states
        if self._parents_by != "key":
            self._target_parents[rows] = parents[hit]
        self._flags[rows] |= np.where(self._refs[places] == parents[hit], _SAME_PARENT, np.uint8(0))
        self._flags[rows] |= np.where(parents[hit] != NO_HASH, _HAD_PARENT, np.uint8(0))
        kept = ~hit
        if not kept.any():
            return
        self._kept.append((hashes[kept], parents[kept]))
        if self.is_partial:
            gone = kept & batch.is_active & contains(np.sort(np.concatenate([_NONE, *self._gone])), hashes)
        else:
            gone = kept & batch.is_active & ~contains(self._rejected, hashes)
        if gone.any():
            self._vanished.append(batch.keys.filter(pa.array(gone)))

    def _find(self, hashes: Hashes) -> tuple[Mask, npt.NDArray[np.int64]]:
        """Which keys the source has, and the places of those in the order of the hashes."""
        if not len(self._keys):
            return np.zeros(len(hashes), dtype=np.bool_), np.zeros(0, dtype=np.int64)
        places = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        hit: Mask = self._keys[places] == hashes
        return hit, places[hit]

    def known_keys(self) -> KnownKeys:
        """What other rows may refer to: the keys of the source and those of the target."""
        return KnownKeys(lambda: np.concatenate([self._keys, *(hashes for hashes, _ in self._kept)]))

    @property
    def has_kept_rows(self) -> bool:
        """Whether the target has rows that the source has not."""
        return bool(self._kept)

    # --- renumbered rows ----------------------------------------------------------------------------------------------

    def find_renumbered(
        self, batches: Iterable[pa.RecordBatch], candidates: Iterable[TargetRow]
    ) -> dict[str, TargetRow]:
        """Rows that look new and are old ones under another key: the target's row by the new key.

        Who has left together with the old key is not among them: the old row goes, which the guard can keep from
        happening, and the new one comes as somebody who has left.

        Args:
            batches: the source's rows again.
            candidates: the target's rows that have the stable key of a row that looks new.
        """
        place = self._spec.value_names.index("stable_key")
        old: dict[str, list[TargetRow]] = {}
        for row in candidates:
            stable_key = row.values[place]
            if stable_key is not None and not self.has(row.key):
                old.setdefault(stable_key, []).append(row)
        found: dict[str, TargetRow] = {}
        for offset, batch in with_offsets(batches):
            states = self.states[offset : offset + batch.num_rows]
            for index in np.flatnonzero(states == State.INSERT).tolist():
                rows = old.get(batch.column("stable_key")[index].as_py(), [])
                is_active = batch.column(IS_ACTIVE)[index].as_py()
                # The one that is active, else the one that came last: a person may have left more than once.
                if fit := [row for row in rows if is_active or not row.is_active]:
                    row = max(fit, key=lambda row: (row.is_active, row.row_id))
                    rows.remove(row)
                    self.states[offset + index] = State.RENUMBER
                    found[batch.column(0)[index].as_py()] = row
        if found:
            self._follow({row.key: key for key, row in found.items()})
        return found

    def stable_keys_of_new(self, batch: pa.RecordBatch, offset: int) -> list[str]:
        """The stable keys of the rows of a batch that look new."""
        states = self.states[offset : offset + batch.num_rows]
        keys = batch.column("stable_key").filter(pa.array(states == State.INSERT))
        return [key for key in keys.to_pylist() if key is not None]

    def has(self, key: str) -> bool:
        """Whether the source gave a row with this key."""
        wanted = hash_keys(pa.array([key]))
        return bool(contains(self._keys, wanted)[0] or contains(self._rejected, wanted)[0])

    def _follow(self, new_keys: Mapping[str, str]) -> None:
        """Rows that get another key are no longer there under the old one, and who is below them stays there."""
        old, new = hash_keys(pa.array(list(new_keys))), hash_keys(pa.array(list(new_keys.values())))
        order = np.argsort(old).astype(np.int32)
        gone = old[order]
        for index, (hashes, parents) in enumerate(self._kept):
            left = ~contains(gone, hashes)
            places = find_places(gone, order, parents[left])
            self._kept[index] = hashes[left], np.where(places >= 0, new[places], parents[left])
        self._vanished = [keys.filter(pa.array(~contains(gone, hash_keys(keys)))) for keys in self._vanished]

    # --- parents ------------------------------------------------------------------------------------------------------

    def resolve_parents(
        self, batches: Callable[[], Iterable[pa.RecordBatch]], positions: Mapping[str, str] | None = None
    ) -> list[QuarantineEntry]:
        """Find every row's parent, whatever the order of the rows; what goes to quarantine because of it.

        Args:
            batches: gives the source's rows again; they are looked at only as far as that is needed.
            positions: for parents by position: what each position reports to.
        """
        parent = self._spec.parent
        if parent is None:
            return []
        if self._parents_by == "key":
            return self._resolve_by_key(batches, parent.name)
        return self._resolve_by_map(batches, parent.name, positions or {})

    def _resolve_by_key(self, batches: Callable[[], Iterable[pa.RecordBatch]], name: str) -> list[QuarantineEntry]:
        source = len(self._rows)
        kept = np.concatenate([_NONE, *(hashes for hashes, _ in self._kept)])
        kept_parents = np.concatenate([_NONE, *(parents for _, parents in self._kept)])
        above = find_above(self._keys, self._refs, kept, kept_parents)
        is_known = above[:source] >= 0
        is_known |= self._refs == NO_HASH
        # What is above says as much as the reference from here on.
        self._above, self._refs = above, _NONE
        circular = find_circular(above)
        for start in range(0, source, _CHUNK):
            part = slice(start, min(start + _CHUNK, source))
            self._flags[self._rows[part][is_known[part] & ~circular[part]]] |= _KNOWN_PARENT
        unknown, circular_rows = self._rows[~is_known], self._rows[circular[:source]]
        if not len(unknown) and not len(circular_rows):
            return []
        # Few rows: their keys are read from the batches.
        wanted = np.concatenate([unknown, circular_rows])
        texts = {row: (key, ref) for row, key, ref in _texts_of(batches(), np.sort(wanted))}
        problems: list[tuple[str, Defect, str | None]] = [
            (texts[row][0], unknown_reference(_parent_of(self._spec), texts[row][1] or ""), texts[row][1])
            for row in unknown.tolist()
        ]
        for circle in walk_circles(above, circular):
            # Rows that only the target has are named by whoever refers to them.
            names = [
                texts[int(self._rows[node])][0]
                if node < source
                else (texts[int(self._rows[child])][1] or "…")
                if child < source
                else "…"
                for child, node in zip([circle[-1], *circle[:-1]], circle, strict=True)
            ]
            defect = reference_cycle(name, from_smallest(names))
            problems += [
                (texts[row][0], defect, texts[row][1])
                for row in (int(self._rows[node]) for node in circle if node < source)
            ]
        return [self._parent_entry(*problem) for problem in sorted(problems, key=lambda item: item[0])]

    def _resolve_by_map(
        self, batches: Callable[[], Iterable[pa.RecordBatch]], name: str, positions: Mapping[str, str]
    ) -> list[QuarantineEntry]:
        refs: dict[str, str | None] = {}
        active: dict[str, bool] = {}
        for offset, batch in with_offsets(batches()):
            states = self.states[offset : offset + batch.num_rows]
            columns = (batch.column(at).to_pylist() for at in (0, PARENT_REF, IS_ACTIVE))
            for state, key, ref, is_active in zip(states, *columns, strict=True):
                if state != State.DUPLICATE:
                    refs[key], active[key] = ref, is_active
        if self._parents_by == "path":
            parents, problems = parents_by_path(refs, name)
        else:
            parents, problems = parents_by_position(refs, active, positions), []
        for cycle in find_cycles(parents):
            problems += [(key, reference_cycle(name, cycle), parents.pop(key)) for key in cycle]
        self._parents = parents
        self._flags[self._rows] |= _KNOWN_PARENT
        for offset, batch in with_offsets(batches()):
            span = slice(offset, offset + batch.num_rows)
            now = hash_keys(pa.array([parents.get(key) for key in batch.column(0).to_pylist()], pa.string()))
            self._resolved[span] = now
            same = np.where(now == self._target_parents[span], _SAME_PARENT, np.uint8(0))
            self._flags[span] = (self._flags[span] & ~_SAME_PARENT) | same
        return [self._parent_entry(*problem) for problem in problems]

    def parents_of(self, batch: pa.RecordBatch, offset: int) -> pa.Array:
        """The resolved parents of a batch's rows."""
        if self._parents is not None:
            return pa.array([self._parents.get(key) for key in batch.column(0).to_pylist()], pa.string())
        known = self._flags[offset : offset + batch.num_rows] & _KNOWN_PARENT != 0
        refs = batch.column(PARENT_REF)
        return refs if known.all() else _where(known, refs)

    def parents(self, batches: Iterable[pa.RecordBatch]) -> dict[str, str]:
        """Every row's parent by its key; for entities of which there are not many."""
        found: dict[str, str] = {}
        for offset, batch in with_offsets(batches):
            pairs = zip(batch.column(0).to_pylist(), self.parents_of(batch, offset).to_pylist(), strict=True)
            found.update({key: parent for key, parent in pairs if parent is not None})
        return found

    # --- field by field -----------------------------------------------------------------------------------------------

    def end_target(self) -> None:
        """The parents are known: rows of which only the parent differs are to be compared as well."""
        if self._spec.parent is None:
            return
        same = self._flags & _SAME_PARENT != 0
        known = self._flags & _KNOWN_PARENT != 0
        differs = np.where(known, ~same, self._flags & _HAD_PARENT != 0)
        self.states[(self.states == State.SAME) & differs] = State.COMPARE

    def duplicates(self, batch: pa.RecordBatch, offset: int) -> list[QuarantineEntry]:
        """What goes to quarantine because an earlier row has the same key."""
        places = np.flatnonzero(self.states[offset : offset + batch.num_rows] == State.DUPLICATE)
        if not len(places):
            return []
        self._tally["rejected"] += len(places)
        names = (self._spec.key.name, *self._spec.value_names)
        rows = batch.take(pa.array(places)).to_pylist()
        found = []
        for row in rows:
            key = row[self._spec.key.name]
            found.append(FoundDefect(key, _duplicate(self._spec, key), {name: row[name] for name in names}))
        return [self._entry(item) for item in found]

    def keys_to_compare(self, batch: pa.RecordBatch, offset: int) -> list[str]:
        """The keys of a batch whose rows in the target are needed."""
        states = self.states[offset : offset + batch.num_rows]
        mask = (states == State.COMPARE) | (states == State.GONE)
        return batch.column(0).filter(pa.array(mask)).to_pylist()  # type: ignore[no-any-return]

    def vanished_keys(self) -> Iterator[str]:
        """The keys that are to be deactivated because the source has them no more."""
        for keys in self._vanished:
            yield from keys.to_pylist()

    def compare(self, batch: pa.RecordBatch, offset: int, target: Mapping[str, TargetRow]) -> Iterator[RowChange]:
        """What changes in a batch's rows that are in the target.

        Args:
            target: the target's rows by the source's key.
        """
        states = self.states[offset : offset + batch.num_rows]
        wanted = np.flatnonzero((states == State.COMPARE) | (states == State.GONE) | (states == State.RENUMBER))
        if not len(wanted):
            return
        rows = batch.take(pa.array(wanted))
        columns = [rows.column(name).to_pylist() for name in (self._spec.key.name, *self._spec.value_names)]
        parents = self.parents_of(batch, offset).take(pa.array(wanted)).to_pylist()
        active = rows.column(IS_ACTIVE).to_pylist()
        found = zip(wanted.tolist(), zip(*columns, strict=True), parents, active, strict=True)
        for place, (key, *values), parent, is_active in found:
            old = target.get(key)
            if old is None:
                # It has gone in the meantime; applying will notice that another run came between.
                continue
            change = self._compare_row(key, values, parent, is_active, old)
            if change is None:
                states[place] = State.RENEW
                self._tally["unchanged"] += 1
                continue
            self._note(change)
            yield change

    def _compare_row(
        self, key: str, values: Sequence[str | None], parent: str | None, is_active: bool, old: TargetRow
    ) -> RowChange | None:
        fields: dict[str, tuple[str | None, str | None]] = {}
        if key != old.key:
            fields[self._spec.key.name] = (old.key, key)
        for name, before, now in zip(self._spec.value_names, old.values, values, strict=True):
            if before != now:
                fields[name] = (before, now)
        if self._spec.parent is not None and old.parent != parent:
            fields[self._spec.parent.name] = (old.parent, parent)
        if old.is_active != is_active:
            fields[IS_ACTIVE] = (str(int(old.is_active)), str(int(is_active)))
        if not fields:
            return None
        if key != old.key:
            action = ChangeAction.RENUMBER
        elif old.is_active == is_active:
            action = ChangeAction.UPDATE
        else:
            action = ChangeAction.REACTIVATE if is_active else ChangeAction.DEACTIVATE
        self._add_to_fingerprint(action, repr((old.key, action, sorted(fields.items()))))
        return RowChange(
            entity=self.entity,
            key=old.key,
            action=action,
            fields={name: (self._mask(name, before), self._mask(name, now)) for name, (before, now) in fields.items()},
            row_id=old.row_id,
            new_key=key if key != old.key else None,
        )

    def _note(self, change: RowChange) -> None:
        went = IS_ACTIVE in change.fields and change.fields[IS_ACTIVE][1] == "0"
        came = IS_ACTIVE in change.fields and not went
        self._tally["deactivated" if went else "updated"] += 1
        self._tally["reactivated"] += came
        self._tally["renumbered"] += change.action is ChangeAction.RENUMBER
        self._changed_fields.update(change.fields.keys())

    def deactivate(self, row: TargetRow) -> RowChange:
        """The change of a row that the source has no more."""
        change = RowChange(
            entity=self.entity,
            key=row.key,
            action=ChangeAction.DEACTIVATE,
            fields={IS_ACTIVE: ("1", "0")},
            row_id=row.row_id,
        )
        self._tally["vanished"] += 1
        self._add_to_fingerprint(change.action, repr((row.key, change.action)))
        self._note(change)
        return change

    def inserts(self, batch: pa.RecordBatch, offset: int) -> Iterator[RowChange]:
        """The rows of a batch that are new, as changes."""
        mask = self.states[offset : offset + batch.num_rows] == State.INSERT
        if not mask.any():
            return
        parents = self.parents_of(batch, offset).filter(pa.array(mask)).to_pylist()
        name = self._spec.parent.name if self._spec.parent else None
        for row, parent in zip(batch.filter(pa.array(mask)).to_pylist(), parents, strict=True):
            values = {item: row[item] for item in self._spec.value_names} | ({name: parent} if name else {})
            yield RowChange(
                entity=self.entity,
                key=row[self._spec.key.name],
                action=ChangeAction.INSERT,
                fields={item: (None, self._mask(item, value)) for item, value in values.items() if value is not None},
            )

    # --- the plan -----------------------------------------------------------------------------------------------------

    def finish(self, facts: StreamFacts, *, notes: Sequence[str] = ()) -> EntityPlan:
        """The plan, when everything has been compared.

        Args:
            facts: what this run leaves for the next ones, but for what the planner itself knows.
        """
        self._tally["inserted"] = int((self.states == State.INSERT).sum())
        self._tally["unchanged"] += int((self.states == State.SAME).sum())
        if self._tally["inserted"]:
            self._add_to_fingerprint(ChangeAction.INSERT, f"{self._tally['inserted']} {self._sum_of_new()}")
        return EntityPlan(
            entity=self.entity,
            counts=RowCounts(**{name: self._tally[name] for name in _COUNTS}),
            reactivated=self._tally["reactivated"],
            renumbered=self._tally["renumbered"],
            vanished=self._tally["vanished"],
            warnings=self._tally["warnings"],
            reasons=dict(sorted(self._reasons.items())),
            changed_fields=dict(self._changed_fields.most_common()),
            active_before=self._tally["active_before"],
            facts=facts,
            notes=notes,
            is_partial=self.is_partial,
        )

    def _sum_of_new(self) -> int:
        """A number that differs when other rows are new; in parts, as it needs several times the memory of its rows."""
        more = np.concatenate([_NONE, *(hashes for hashes, _ in self._kept)])
        total = np.uint64(0)
        for start in range(0, len(self._rows), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(self._rows)))
            new = self.states[self._rows[part]] == State.INSERT
            if new.any():
                parents = self._parent_hashes(part, new, more)
                mixed = _mix(_mix(_mix(self._keys[part][new]) + self._digests[part][new]) + parents)
                total = np.add.reduce(mixed, initial=total)
        return int(total)

    def _parent_hashes(self, part: slice, wanted: Mask, more: Hashes) -> Hashes:
        """The hashes of some rows' parents; `more` are those of the rows that only the target has."""
        rows = self._rows[part][wanted]
        found = np.zeros(len(rows), dtype=np.uint64)
        if self._spec.parent is None:
            return found
        if self._parents_by != "key":
            return self._resolved[rows]
        above = self._above[part][wanted]
        known = (self._flags[rows] & _KNOWN_PARENT != 0) & (above >= 0)
        own, other = known & (above < len(self._keys)), known & (above >= len(self._keys))
        found[own] = self._keys[above[own]]
        found[other] = more[above[other] - len(self._keys)]
        return found

    @property
    def fingerprint(self) -> int:
        """The same for two plans that do the same."""
        return self._fingerprint

    @property
    def fingerprint_of_deactivations(self) -> int:
        """The same for two plans with the same deactivations."""
        return self._fingerprint_of_deactivations

    @property
    def accepted(self) -> int:
        """Rows of the source that are taken."""
        return len(self._rows)

    @property
    def read_so_far(self) -> RowCounts:
        """Rows read and rejected so far."""
        return RowCounts(read=self._tally["read"], rejected=self._tally["rejected"])

    def look_back(self, earlier: StreamFacts) -> StreamFacts:
        """What a full read leaves for the next runs, as far as the rows tell it."""
        return replace(
            earlier,
            sizes=[*earlier.sizes, self.accepted][-_REMEMBERED_SIZES:],
            filled={name: round(share, 4) for name, share in self.filled().items()},
            rejected_share=round(self.rejected_share(), 4),
        )

    def filled(self) -> dict[str, float]:
        """By field, the share of readable rows that have a value."""
        total = len(self.states)
        return {name: 1 - self._nulls[name] / total for name in self._spec.value_names} if total else {}

    def rejected_share(self) -> float:
        """The share of rows that are rejected, duplicates not counted."""
        read = self._tally["read"]
        return (read - len(self.states)) / read if read else 0.0

    def _add_to_fingerprint(self, action: ChangeAction, text: str) -> None:
        # A sum: the order of the rows does not matter.
        number = xxhash.xxh3_128_intdigest(f"{self.entity} {text}".encode("utf-8", "backslashreplace"))
        self._fingerprint += number
        if action is ChangeAction.DEACTIVATE:
            self._fingerprint_of_deactivations += number

    def _parent_entry(self, key: str, defect: Defect, reference: str | None) -> QuarantineEntry:
        payload = {self._spec.key.name: key, defect.field or "": reference}
        return self._entry(FoundDefect(key, defect, payload))

    def _entry(self, found: FoundDefect) -> QuarantineEntry:
        key, defect, payload = found
        self._reasons[defect.reason.value] += 1
        self._tally["warnings"] += defect.severity is Severity.WARNING
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


_COUNTS = ("read", "inserted", "updated", "unchanged", "deactivated", "rejected")


def make_mask(sensitive: Mapping[str, Literal["hash", "mask"]], salt: str) -> Callable[[str, str | None], str | None]:
    """Makes sensitive values fit to be seen: a salted hash still tells equal values from others, dots do not."""

    def mask(name: str, value: str | None) -> str | None:
        how = sensitive.get(name)
        if how is None or value is None:
            return value
        return MASKED if how == "mask" else f"#{xxhash.xxh3_64_hexdigest(f'{salt}{name}{value}'.encode())}"

    return mask


def with_offsets(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Each batch with the number of rows that came before it."""
    offset = 0
    for batch in batches:
        yield offset, batch
        offset += batch.num_rows


def _texts_of(batches: Iterable[pa.RecordBatch], rows: npt.NDArray[np.int32]) -> Iterator[tuple[int, str, str | None]]:
    """The key and the reference of some rows, which are given in ascending order."""
    for offset, batch in with_offsets(batches):
        here = rows[(rows >= offset) & (rows < offset + batch.num_rows)]
        if len(here):
            picked = batch.take(pa.array(here - offset))
            yield from zip(
                here.tolist(), picked.column(0).to_pylist(), picked.column(PARENT_REF).to_pylist(), strict=True
            )


def _mix(numbers: Hashes) -> Hashes:
    """Numbers of which every bit depends on every bit of the given ones, so that sums of them tell rows apart."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _where(mask: Mask, values: pa.Array) -> pa.Array:
    """The values where the mask is set, None elsewhere."""
    places = pa.array(np.arange(len(mask)), mask=~mask)
    return values.take(places)


def _parent_of(spec: EntitySpec) -> Field:
    assert spec.parent is not None
    return spec.parent


def _duplicate(spec: EntitySpec, key: str) -> Defect:
    return Defect(
        reason=Reason.DUPLICATE_KEY,
        field=spec.key.name,
        message=f"Another row before this one has the {spec.key.name} {shorten(key)}; the first one counts.",
    )
