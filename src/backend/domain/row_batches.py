"""Rows by column: as a source gives them, and in canonical form.

Hundreds of thousands of rows pass here, so a value is not looked at one by one where it need not be: a column of plain
texts is handled by Arrow as a whole, and of a column with few different values each one is converted once.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from backend.domain.employees import (
    ENTITY_SPECS,
    TREE_PATH,
    EmploymentStatus,
    Entity,
    EntitySpec,
    Field,
    FieldKind,
)
from backend.domain.mapping import (
    Convert,
    DefectError,
    EntityMapping,
    FieldRule,
    Supplement,
    compile_custom,
    compile_rule,
    explain_missing,
    find_column,
    find_missing_columns,
    missing_key,
    to_json,
)
from backend.domain.quarantine import Defect, Reason, Severity, unknown_reference
from backend.errors import PermanentError

Column: TypeAlias = "pa.Array | Sequence[object]"
Hashes = npt.NDArray[np.uint64]

PARENT_REF = "parent_ref"
IS_ACTIVE = "is_active"
DIGEST = "digest"
NO_HASH = np.uint64(0)

# What `str.strip` cuts, so that both ways of converting a text agree.
_BLANKS = "".join(chr(code) for code in range(0x110000) if chr(code).isspace())
_CONTROL = r"[\x00-\x1f]"
_UNIT = "\x1f"
_NOT_EMPLOYED = tuple(status.value for status in EmploymentStatus if not status.is_employed)
_REMEMBERED = 20_000
# Unlike 1 and 1.0, or one instant in two zones.
_SAME_WHEN_EQUAL = {str, int, bool, bytes, dt.date, decimal.Decimal}
_FEW = 0.5  # a column with less than this share of different values is converted value by value, once each


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBatch:
    """Some rows of a query's result, in its order.

    Attributes:
        columns: one entry for each result column: an Arrow array where the driver gives one, else the driver's values.
        row_count: how many rows; each column has so many values.
    """

    columns: Sequence[Column]
    row_count: int

    def row(self, index: int) -> tuple[object, ...]:
        """The values of one row."""
        return tuple(
            column[index].as_py() if isinstance(column, pa.Array) else column[index] for column in self.columns
        )

    def take(self, rows: Sequence[int]) -> RawBatch:
        """Some of the rows."""
        places = pa.array(rows, pa.int64())
        columns = [
            column.take(places) if isinstance(column, pa.Array) else [column[row] for row in rows]
            for column in self.columns
        ]
        return RawBatch(columns=columns, row_count=len(rows))


class FoundDefect(NamedTuple):
    """A defect with the row that it is in.

    Attributes:
        key: the row's business key; None where it has none.
        payload: the row by result column, in values that JSON can hold; personal data.
    """

    key: str | None
    defect: Defect
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalBatch:
    """Rows of one entity in canonical form.

    Attributes:
        rows: the rows that can be taken: the key, `EntitySpec.value_names`, `parent_ref` (the parent's key, the row's
            own tree path, or None), `is_active` and the 16 bytes of `digest`, which differ when the values do (the
            parent is compared by itself).
        defects: what is wrong: errors (their rows are not in `rows`) and warnings.
        read_count: rows of the source.
        rejected_keys: the keys of rows that cannot be taken.
    """

    rows: pa.RecordBatch
    defects: Sequence[FoundDefect]
    read_count: int
    rejected_keys: Sequence[str]


class KnownKeys:
    """The keys of an entity that other rows may refer to.

    Args:
        read: gives their hashes; called when they are needed first.
    """

    def __init__(self, read: Callable[[], Hashes]) -> None:
        self._read = read
        self._ascending: Hashes | None = None

    def find(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the keys with these hashes there are."""
        if self._ascending is None:
            self._ascending = np.sort(self._read())
        return contains(self._ascending, hashes)


def contains(ascending: Hashes, wanted: Hashes) -> npt.NDArray[np.bool_]:
    """Which of `wanted` are in `ascending`."""
    if not len(ascending):
        return np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    found: npt.NDArray[np.bool_] = ascending[places] == wanted
    return found


def hash_keys(keys: pa.Array) -> Hashes:
    """A 64-bit hash of each key, which stands for it while whole companies are compared; `NO_HASH` for None.

    Of n keys two share a hash with a probability of n * n / 2**65: of 300,000 one in 400 million.
    """
    if keys.null_count:  # parents: there are fewer of them than rows
        coded = keys.dictionary_encode()
        hashes = np.append(hash_keys(coded.dictionary), NO_HASH)
        found: Hashes = hashes[pc.fill_null(coded.indices, len(coded.dictionary)).to_numpy()]
        return found
    digests = b"".join(map(xxhash.xxh3_64_digest, keys.cast(pa.binary()).to_pylist()))
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def row_schema(entity: Entity) -> pa.Schema:
    """The columns of `CanonicalBatch.rows`."""
    spec = ENTITY_SPECS[entity]
    return pa.schema(
        [
            *((name, pa.string()) for name in (spec.key.name, *spec.value_names, PARENT_REF)),
            (IS_ACTIVE, pa.bool_()),
            (DIGEST, pa.binary(16)),
        ]
    )


def digest_values(columns: Sequence[pa.Array]) -> pa.Array:
    """16 bytes for each row that differ when its values do; the same in every version of hrsync."""
    # No canonical text is empty, so that an empty one can stand for None.
    filled = [pc.fill_null(column, "") for column in columns]
    joined = pc.binary_join_element_wise(*filled, _UNIT)
    if np.count_nonzero(_bytes_of(joined) == ord(_UNIT)) != len(joined) * (len(columns) - 1):
        # Rows with a text that holds the separator itself are rare; they are written in a slower way that has none.
        odd = pc.greater(pc.count_substring(joined, _UNIT), len(columns) - 1)
        rows = zip(*(column.filter(odd).to_pylist() for column in columns), strict=True)
        joined = pc.replace_with_mask(joined, odd, pa.array([json.dumps(row) for row in rows], pa.string()))
    digests = b"".join(map(xxhash.xxh3_128_digest, joined.cast(pa.binary()).to_pylist()))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(joined), [None, pa.py_buffer(digests)])


def _bytes_of(texts: pa.Array) -> npt.NDArray[np.uint8]:
    """The UTF-8 bytes of all texts, one after the other."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return np.zeros(0, dtype=np.uint8)
    places = np.frombuffer(offsets, dtype=np.int32)
    first, last = places[texts.offset], places[texts.offset + len(texts)]
    return np.frombuffer(data, dtype=np.uint8)[first:last]


class SupplementTable:
    """What a supplement's query gave, by key."""

    def __init__(self, supplement: Supplement, keys: pa.Array, values: Mapping[str, pa.Array]) -> None:
        self.wins = supplement.wins
        self._keys = keys
        self._values = values

    @property
    def fields(self) -> Iterable[str]:
        """The canonical fields that it knows."""
        return self._values

    def find(self, field: str, keys: pa.Array) -> pa.Array:
        """The field's values for these keys; None where it knows none."""
        return self._values[field].take(pc.index_in(keys, value_set=self._keys))


class _Converted(NamedTuple):
    """A column in canonical form; `errors` by row."""

    values: pa.Array
    errors: Mapping[int, Defect]


class _ColumnRule:
    """One field's rule, bound to a result column."""

    def __init__(self, item: Field, rule: FieldRule, position: int, convert: Convert) -> None:
        self.item = item
        self.position = position
        self._rule = rule
        self._convert = convert
        # What a value became: most of a batch's values were in an earlier one.
        self._known: dict[object, tuple[str | None, Defect | None]] = {}
        self._known_kind: object = None
        self._is_plain = item.kind is FieldKind.TEXT and not (
            rule.after or rule.values is not None or rule.lookup or rule.null_if
        )

    def read(self, raw: RawBatch) -> _Converted:
        if self.position < 0:
            return _Converted(pa.repeat(pa.scalar(self._convert(None), pa.string()), raw.row_count), {})
        column = raw.columns[self.position]
        if not isinstance(column, pa.Array):
            texts = _as_texts(column)
            if texts is None:
                return self._read_values(column, kind=_kind_of_few(column))
            column = texts
        if pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        if pa.types.is_null(column.type):
            column = column.cast(pa.string())
        if self._is_plain and pa.types.is_string(column.type) and self._has_plain_letters(column):
            return self._read_plain(column)
        coded = column.dictionary_encode()
        different = coded.dictionary.to_pylist()
        few = len(different) <= raw.row_count * _FEW and not pa.types.is_floating(column.type)
        values, errors = self._read_values(different, kind=column.type if few else None)
        # A missing index is a value of its own: a NULL may have a default.
        missing = self._convert(None)
        taken = values.take(coded.indices)
        if missing is not None:
            taken = pc.if_else(pc.is_null(coded.indices), missing, taken)
        if not errors:
            return _Converted(taken, {})
        rows = coded.indices.to_pylist()
        return _Converted(taken, {row: errors[index] for row, index in enumerate(rows) if index in errors})

    def _has_plain_letters(self, column: pa.Array) -> bool:
        """Whether Arrow changes the case of the letters as Python does, if it is to be changed at all."""
        return self._rule.case is None or bool((_bytes_of(column) < 0x80).all())

    def _read_plain(self, column: pa.Array) -> _Converted:
        default = self._rule.default or None
        if self._rule.strip:
            column = pc.utf8_trim(column, characters=_BLANKS)
        if self._rule.case is not None:
            # Not ascii_upper: it reads the wrong bytes of a column that was cast from a slice.
            column = pc.utf8_upper(column) if self._rule.case == "upper" else pc.utf8_lower(column)
        column = pc.if_else(pc.equal(column, ""), pa.scalar(default, pa.string()), column)
        if default is not None:
            column = pc.fill_null(column, default)
        errors = {}
        longest = pc.max(pc.utf8_length(column)).as_py()
        if longest is not None and longest > self.item.max_length:
            is_long = pc.fill_null(pc.greater(pc.utf8_length(column), self.item.max_length), False)
            for row in _rows_where(is_long):
                errors[row] = _of(self._try(column[row].as_py())[1])
            column = pc.if_else(is_long, pa.scalar(None, pa.string()), column)
        return _Converted(column, errors)

    def _read_values(self, values: Sequence[object], *, kind: object) -> _Converted:
        """Convert value by value; where they are of one kind and few, each of them once."""
        errors: dict[int, Defect] = {}
        if kind is not None:
            if len(self._known) > _REMEMBERED or kind != self._known_kind:
                self._known, self._known_kind = {}, kind
            known = self._known
            for value in set(values) - known.keys():
                known[value] = self._try(value)
            texts = [known[value][0] for value in values]
            bad = {value for value, (_, defect) in known.items() if defect is not None}
            if bad:
                errors = {row: _of(known[value][1]) for row, value in enumerate(values) if value in bad}
        else:
            convert = self._convert
            try:
                texts = [convert(value) for value in values]
            except DefectError:
                results = [self._try(value) for value in values]
                texts = [text for text, _ in results]
                errors = {row: defect for row, (_, defect) in enumerate(results) if defect is not None}
        try:
            return _Converted(pa.array(texts, pa.string()), errors)
        except UnicodeEncodeError:
            for row, text in enumerate(texts):
                if text is not None and (reason := _half_character(text)):
                    texts[row], errors[row] = None, _not_text(reason)
            return _Converted(pa.array(texts, pa.string()), errors)

    def _try(self, value: object) -> tuple[str | None, Defect | None]:
        try:
            return self._convert(value), None
        except DefectError as error:
            return None, error.defect


class BatchReader:
    """Makes canonical rows of one query's rows.

    Args:
        mapping: the rules.
        columns: the result columns, in order. Names match exactly, else without regard to case.
        known: the keys that may be referred to, by entity; an entity that is missing here is not checked.
        lookups: the content of the mapping's look-ups, by name.
        supplements: what the mapping's supplements gave.

    Raises:
        PermanentError: the result lacks a mapped column.
    """

    def __init__(
        self,
        mapping: EntityMapping,
        columns: Sequence[str],
        *,
        known: Mapping[Entity, KnownKeys],
        lookups: Mapping[str, Mapping[str, str]] | None = None,
        supplements: Sequence[SupplementTable] = (),
    ) -> None:
        missing = find_missing_columns(mapping.columns(), columns)
        if missing:
            raise PermanentError(explain_missing(mapping.place, missing, columns))
        self._mapping = mapping
        self._columns = tuple(columns)
        self._spec = spec = ENTITY_SPECS[mapping.entity]
        self._lookups = lookups or {}
        self._known = known
        self._supplements = supplements
        self._key = self._bind(spec.key, mapping.fields[spec.key.name])
        self._fields = [self._bind(item, mapping.fields.get(item.name, _NOT_MAPPED)) for item in spec.fields]
        self._parent = self._bind_parent()
        self._extra = [
            self._bind_custom(name, rule) for name, rule in sorted(mapping.extra.items(), key=lambda item: item[0])
        ]

    def read(self, raw: RawBatch) -> CanonicalBatch:
        """The canonical rows of `raw`, and what is wrong with the others."""
        errors: dict[int, Defect] = {}  # the first thing that is wrong with each row

        def take(rule: _ColumnRule) -> pa.Array:
            converted = rule.read(raw)
            for row, defect in converted.errors.items():
                errors.setdefault(row, defect)
            return converted.values

        keys = take(self._key)
        for row in _rows_where(pc.is_null(keys)):
            errors.setdefault(row, missing_key(self._spec))
        if (_bytes_of(keys) < ord(" ")).any():
            for row in _rows_where(pc.fill_null(pc.match_substring_regex(keys, _CONTROL), False)):
                errors.setdefault(row, _control_character(self._spec))
        values = {rule.item.name: take(rule) for rule in self._fields}
        parents = take(self._parent) if self._parent else pa.nulls(raw.row_count, pa.string())
        extra = self._read_extra(raw, take)
        self._supplement(keys, values)
        _complete_full_name(values)
        for item in self._spec.fields:
            if item.required:
                for row in _rows_where(pc.is_null(values[item.name])):
                    errors.setdefault(row, _missing_value(item))
        for first, last in self._spec.in_order:
            for row in _rows_where(pc.fill_null(pc.less(values[last], values[first]), False)):  # ISO 8601: as texts
                errors.setdefault(row, _dates_reversed(first, last))
        warnings = self._check_references(values, errors)
        if self._mapping.manager_by_position:
            parents = values["position_code"]
        elif TREE_PATH in self._mapping.fields:
            parents = _normal_paths(parents)
        taken = [*(values[item.name] for item in self._spec.fields), extra]
        status = values.get("status")
        is_active = (
            pa.repeat(pa.scalar(True), raw.row_count)
            if status is None
            else pc.invert(pc.is_in(status, value_set=pa.array(_NOT_EMPLOYED)))
        )
        rows = pa.RecordBatch.from_arrays(
            [keys, *taken, parents, is_active, digest_values(taken)], schema=row_schema(self._spec.entity)
        )
        rejected = sorted(errors)
        defects = [
            FoundDefect(keys[row].as_py(), defect, self._payload(raw, row))
            for row in sorted({*errors, *warnings})
            for defect in ([errors[row]] if row in errors else warnings[row])
        ]
        if rejected:
            mask = np.ones(raw.row_count, dtype=np.bool_)
            mask[rejected] = False
            rows = rows.filter(pa.array(mask))
        return CanonicalBatch(
            rows=rows,
            defects=defects,
            read_count=raw.row_count,
            rejected_keys=[key for key in keys.take(pa.array(rejected, pa.int64())).to_pylist() if key is not None],
        )

    def read_keys(self, raw: RawBatch) -> list[str]:
        """The keys of rows of which nothing else is known."""
        return [key for key in self._key.read(raw).values.to_pylist() if key is not None]

    def _bind(self, item: Field, rule: FieldRule) -> _ColumnRule:
        rule = rule if rule is not _NOT_MAPPED else FieldRule(constant=item.default)
        position = -1 if rule.column is None else find_column(rule.column, self._columns)
        assert position is not None, "the columns were checked"
        return _ColumnRule(item, rule, position, compile_rule(item, rule, self._lookups))

    def _bind_custom(self, name: str, rule: FieldRule) -> tuple[str, _ColumnRule]:
        item = Field(name=f"extra.{name}", max_length=10_000, kind=FieldKind.NUMBER)  # never the way of plain texts
        position = -1 if rule.column is None else find_column(rule.column, self._columns)
        assert position is not None, "the columns were checked"
        return name, _ColumnRule(item, rule, position, compile_custom(name, rule, self._lookups))

    def _bind_parent(self) -> _ColumnRule | None:
        fields, parent = self._mapping.fields, self._spec.parent
        if TREE_PATH in fields:
            return self._bind(Field(name=TREE_PATH, max_length=4000), fields[TREE_PATH])
        if parent is None or parent.name not in fields:
            return None
        return self._bind(parent, fields[parent.name])

    def _read_extra(self, raw: RawBatch, take: Any) -> pa.Array:
        if not self._extra:
            return pa.nulls(raw.row_count, pa.string())
        parts: list[Any] = []
        for index, (name, rule) in enumerate(self._extra):
            lead = "{" if index == 0 else ", "
            parts += [pa.scalar(f"{lead}{json.dumps(name)}: "), pc.fill_null(take(rule), "null")]
        return pc.binary_join_element_wise(*parts, pa.scalar("}"), "")

    def _supplement(self, keys: pa.Array, values: dict[str, pa.Array]) -> None:
        for table in self._supplements:
            for name in table.fields:
                found = table.find(name, keys)
                values[name] = pc.coalesce(found, values[name]) if table.wins else pc.coalesce(values[name], found)

    def _check_references(self, values: dict[str, pa.Array], errors: dict[int, Defect]) -> dict[int, list[Defect]]:
        warnings: dict[int, list[Defect]] = {}
        for item in self._spec.fields:
            if item.refers_to is None or item.refers_to not in self._known:
                continue
            column = values[item.name]
            codes = column.unique().drop_null()
            there = self._known[item.refers_to].find(hash_keys(codes))
            unknown = codes.filter(pa.array(~there))
            if not len(unknown):
                continue
            is_unknown = pc.is_in(column, value_set=unknown)
            for row in _rows_where(is_unknown):
                defect = unknown_reference(item, column[row].as_py())
                if item.required or self._mapping.unknown_reference == "reject":
                    errors.setdefault(
                        row, Defect(reason=defect.reason, field=defect.field, message=_rejected(defect.message))
                    )
                else:
                    warnings.setdefault(row, []).append(defect)
            values[item.name] = pc.if_else(is_unknown, pa.scalar(None, pa.string()), column)
        return warnings

    def _payload(self, raw: RawBatch, row: int) -> dict[str, Any]:
        return {column: to_json(value) for column, value in zip(self._columns, raw.row(row), strict=False)}


def read_supplement(
    entity: Entity,
    supplement: Supplement,
    columns: Sequence[str],
    batches: Iterable[RawBatch],
    lookups: Mapping[str, Mapping[str, str]],
) -> tuple[SupplementTable, list[FoundDefect]]:
    """What a supplement's query gave. Of two rows with one key the first counts; what cannot be taken is left out.

    Raises:
        PermanentError: the result lacks a mapped column.
    """
    spec = ENTITY_SPECS[entity]
    mapped = [(name, rule.column) for name, rule in supplement.fields.items() if rule.column is not None]
    missing = find_missing_columns(mapped, columns)
    if missing:
        raise PermanentError(explain_missing(supplement.place, missing, columns))
    rules: list[_ColumnRule] = []
    for item in (spec.key, *spec.fields):
        if (rule := supplement.fields.get(item.name)) is not None:
            position = -1 if rule.column is None else find_column(rule.column, columns)
            assert position is not None, "the columns were checked"
            rules.append(_ColumnRule(item, rule, position, compile_rule(item, rule, lookups)))
    chunks: list[pa.RecordBatch] = []
    defects: list[FoundDefect] = []
    names = [rule.item.name for rule in rules]
    for raw in batches:
        converted = [rule.read(raw) for rule in rules]
        errors = {row: defect for column in reversed(converted) for row, defect in column.errors.items()}
        for row in sorted(errors):
            payload = {name: to_json(value) for name, value in zip(columns, raw.row(row), strict=False)}
            defect = errors[row]
            warning = Defect(
                reason=defect.reason, field=defect.field, message=defect.message, severity=Severity.WARNING
            )
            defects.append(FoundDefect(converted[0].values[row].as_py(), warning, payload))
        mask = np.ones(raw.row_count, dtype=np.bool_)
        mask[list(errors)] = False
        batch = pa.RecordBatch.from_arrays([column.values for column in converted], names=names)
        chunks.append(batch.filter(pa.array(mask)))
    table = pa.Table.from_batches(chunks, pa.schema([(name, pa.string()) for name in names])).combine_chunks()
    values = {name: _whole(table.column(name)) for name in names}
    # `index_in` finds the first of equal keys.
    return SupplementTable(supplement, values.pop(spec.key.name), values), defects


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


_NOT_MAPPED = FieldRule(constant=None)


def _rows_where(mask: pa.Array) -> list[int]:
    return pc.indices_nonzero(mask).to_pylist()  # type: ignore[no-any-return]


def _as_texts(values: Sequence[object]) -> pa.Array | None:
    """The values as an Arrow array when they are texts and Nones only."""
    if not set(map(type, values)) <= {str, type(None)}:
        return None
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return None


def _kind_of_few(values: Sequence[object]) -> object:
    """The type of the values where it is one of which equal values are the same, and few of them are different."""
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) != 1 or not kinds <= _SAME_WHEN_EQUAL:
        return None
    return kinds.pop() if len(set(values)) <= len(values) * _FEW else None


def _half_character(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.reason
    return None


def _complete_full_name(values: dict[str, pa.Array]) -> None:
    full = values.get("full_name")
    if full is None or not full.null_count:
        return
    # Not null_handling="skip": that drops a row in which both are null.
    names = pc.binary_join_element_wise(
        values["first_name"], values["last_name"], " ", null_handling="replace", null_replacement=""
    )
    names = pc.utf8_trim(names, characters=" ")
    values["full_name"] = pc.coalesce(full, pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names))


def _normal_paths(paths: pa.Array) -> pa.Array:
    inner = pc.utf8_trim(paths, characters="/")
    # Without anything between the slashes it is the root.
    return pc.if_else(pc.equal(inner, ""), "/", pc.binary_join_element_wise("/", inner, "/", ""))


# --- what is wrong --------------------------------------------------------------------------------------------------


def _of(defect: Defect | None) -> Defect:
    assert defect is not None
    return defect


def _rejected(message: str) -> str:
    return message.replace("the row is kept without it", "the row is rejected")


def _missing_value(item: Field) -> Defect:
    return Defect(reason=Reason.MISSING_VALUE, field=item.name, message=f"{item.name} is empty.")


def _dates_reversed(first: str, last: str) -> Defect:
    return Defect(reason=Reason.DATES_REVERSED, field=last, message=f"{last} is before {first}; mend one of them.")


def _not_text(reason: str) -> Defect:
    return Defect(
        reason=Reason.UNREADABLE_TEXT,
        message=f"A text holds half a character ({reason}); store it again in the source.",
    )


def _control_character(spec: EntitySpec) -> Defect:
    return Defect(
        reason=Reason.UNREADABLE_TEXT,
        field=spec.key.name,
        message=f"{spec.key.name} holds a control character; store it again in the source without it.",
    )
