"""Counts what a mapping makes of the rows of one query, in memory that does not grow with them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from backend.domain.column_rules import RawBatch
from backend.domain.employees import ENTITY_SPECS, TREE_PATH, EntitySpec, Field, FieldKind
from backend.domain.mapping import EntityMapping, FieldRule, Supplement
from backend.domain.quarantine import Reason
from backend.domain.result_columns import find_column
from backend.domain.row_batches import BatchReader, SupplementTable
from backend.domain.values import Convert, DefectError, compile_rule, to_text

# So many keys are compared with each other, so many different values of a field are told apart.
KEYS_KEPT = 200_000
VALUES_KEPT = 200
_VERDICTS_KEPT = 20_000

Lookups = Mapping[str, Mapping[str, str]]


@dataclass(slots=True, kw_only=True)
class Misfit:
    """Values of one field that cannot be taken.

    Attributes:
        rows: in how many rows they are.
        values: how many rows have each, for the first `VALUES_KEPT` of them.
        has_more: whether there are others.
    """

    field: str
    reason: Reason
    rows: int = 0
    values: Counter[str] = dataclasses.field(default_factory=Counter)
    has_more: bool = False

    def add(self, value: str, rows: int) -> None:
        """Count a value."""
        self.rows += rows
        if value in self.values or len(self.values) < VALUES_KEPT:
            self.values[value] += rows
        else:
            self.has_more = True


class ValueTally:
    """Looks at every value of the fields that not any text fits: dates, numbers, choices, and what is mapped.

    Args:
        rules: field and rule of everything that is read.
        columns: the result columns; each rule's is among them.
    """

    def __init__(self, rules: Iterable[tuple[Field, FieldRule]], columns: Sequence[str], lookups: Lookups) -> None:
        self._fields: list[tuple[str, int, Convert]] = []
        for item, rule in rules:
            is_free = item.kind is FieldKind.TEXT and rule.values is None and rule.lookup is None
            if rule.column is not None and not is_free:
                position = find_column(rule.column, columns)
                assert position is not None, "the columns were checked"
                self._fields.append((item.name, position, compile_rule(item, rule, lookups)))
        self._misfits: dict[tuple[str, Reason], Misfit] = {}
        self._verdicts: dict[tuple[str, type, object], Reason | None] = {}

    @property
    def fields(self) -> frozenset[str]:
        """The fields whose values are looked at."""
        return frozenset(name for name, _, _ in self._fields)

    @property
    def misfits(self) -> list[Misfit]:
        """What does not fit, by field and reason."""
        return [self._misfits[key] for key in sorted(self._misfits)]

    def add(self, raw: RawBatch) -> None:
        """Look at a batch."""
        for name, position, convert in self._fields:
            column = raw.columns[position]
            for value, rows in _count(column.to_pylist() if isinstance(column, pa.Array) else column).items():
                reason = self._judge(name, value, convert)
                if reason is not None:
                    misfit = self._misfits.setdefault((name, reason), Misfit(field=name, reason=reason))
                    misfit.add(to_text(value), rows)

    def _judge(self, name: str, value: object, convert: Convert) -> Reason | None:
        known = (name, type(value), value)
        if known not in self._verdicts:
            if len(self._verdicts) >= _VERDICTS_KEPT:
                self._verdicts.clear()
            self._verdicts[known] = _reason(convert, value)
        return self._verdicts[known]


def _reason(convert: Convert, value: object) -> Reason | None:
    try:
        convert(value)
    except DefectError as error:
        return error.defect.reason
    return None


def _count(values: Sequence[object]) -> Counter[object]:
    try:
        return Counter(values)
    except TypeError:  # bytearrays and such cannot be counted
        return Counter(map(to_text, values))


class KeyTally:
    """Finds repeated keys among the first `KEYS_KEPT`."""

    def __init__(self) -> None:
        self.keys: set[int] = set()
        self.repeated: Counter[str] = Counter()
        self.empty = 0
        self.has_more = False

    def add(self, keys: Iterable[str | None]) -> None:
        """Look at some keys."""
        for key in keys:
            if key is None:
                self.empty += 1
                continue
            if len(self.keys) >= KEYS_KEPT:
                self.has_more = True
                continue
            # The number of a text is the same throughout a process, and smaller than the text.
            number = hash(key)
            if number in self.keys:
                self.repeated[key] += 1
            self.keys.add(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """What is wrong with some rows, whatever their values are."""

    reason: Reason
    field: str | None
    rows: int
    example_key: str | None


class EntityTally:
    """What becomes of the rows of an entity's query.

    Args:
        columns: the result columns; every mapped one is among them.
        sample_rows: so many of the rows that can be taken are kept.
        max_rows: no more are read; None: all.
    """

    def __init__(
        self,
        mapping: EntityMapping,
        columns: Sequence[str],
        lookups: Lookups,
        supplements: Sequence[SupplementTable],
        *,
        sample_rows: int,
        max_rows: int | None,
    ) -> None:
        self._spec = ENTITY_SPECS[mapping.entity]
        self._reader = BatchReader(mapping, columns, known={}, lookups=lookups, supplements=supplements)
        self._sample_rows = sample_rows
        self._max_rows = max_rows
        self._problems: Counter[tuple[Reason, str | None]] = Counter()
        self._examples: dict[tuple[Reason, str | None], str | None] = {}
        self.values = ValueTally(rules_of(mapping), columns, lookups)
        self.keys = KeyTally()
        self.sample: list[dict[str, str | None]] = []
        self.read = 0
        self.taken = 0
        self.is_cut = False

    @property
    def problems(self) -> list[RowProblem]:
        """What is wrong with rows, the most frequent first; what `values` tells is left out."""
        return [
            RowProblem(reason=reason, field=name, rows=rows, example_key=self._examples[reason, name])
            for (reason, name), rows in self._problems.most_common()
        ]

    def add(self, raw: RawBatch) -> bool:
        """Look at a batch; False: no more rows are wanted."""
        raw, self.is_cut = first_rows(raw, None if self._max_rows is None else self._max_rows - self.read)
        batch = self._reader.read(raw)
        self.read += batch.read_count
        self.taken += batch.rows.num_rows
        self.values.add(raw)
        self.keys.add(batch.rows.column(0).to_pylist())
        self.keys.add(batch.rejected_keys)
        for found in batch.defects:
            if found.defect.field not in self.values.fields or found.defect.reason is Reason.MISSING_VALUE:
                kind = (found.defect.reason, found.defect.field)
                self._problems[kind] += 1
                self._examples.setdefault(kind, found.key)
        self.sample += batch.rows.slice(0, self._sample_rows - len(self.sample)).drop_columns("digest").to_pylist()
        return not self.is_cut


def rules_of(mapping: EntityMapping) -> list[tuple[Field, FieldRule]]:
    """Field and rule of everything that an entity's own query gives."""
    known = _known_fields(ENTITY_SPECS[mapping.entity])
    custom = [(Field(name=f"extra.{name}", max_length=10_000), rule) for name, rule in mapping.extra.items()]
    return [(known[name], rule) for name, rule in mapping.fields.items()] + custom


def supplement_rules_of(spec: EntitySpec, supplement: Supplement) -> list[tuple[Field, FieldRule]]:
    """Field and rule of everything that a supplement gives."""
    known = _known_fields(spec)
    return [(known[name], rule) for name, rule in supplement.fields.items()]


def key_reader(
    spec: EntitySpec, supplement: Supplement, columns: Sequence[str], lookups: Lookups
) -> Callable[[RawBatch], list[str | None]]:
    """What reads the keys of a supplement's rows; None for a key that is empty or cannot be read."""
    rule = supplement.fields[spec.key.name]
    position = find_column(rule.column or "", columns)
    assert position is not None, "the columns were checked"
    convert = compile_rule(spec.key, rule, lookups)

    def read(raw: RawBatch) -> list[str | None]:
        column = raw.columns[position]
        values = column.to_pylist() if isinstance(column, pa.Array) else column
        return [None if _reason(convert, value) else convert(value) for value in values]

    return read


def _known_fields(spec: EntitySpec) -> dict[str, Field]:
    return {item.name: item for item in (*spec.all_fields(), Field(name=TREE_PATH, max_length=4000))}


def first_rows(raw: RawBatch, count: int | None) -> tuple[RawBatch, bool]:
    """The first rows of a batch, and whether there are others; None: all of them."""
    if count is None or raw.row_count <= count:
        return raw, False
    return RawBatch(columns=[column[:count] for column in raw.columns], row_count=count), True
