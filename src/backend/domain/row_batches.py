"""Rows in canonical form, made of a source's batches by the rules of the mapping."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.domain.column_rules import ColumnRule, CustomRule, RawBatch, rows_where
from backend.domain.employees import (
    ENTITY_SPECS,
    TREE_PATH,
    EmploymentStatus,
    Entity,
    EntitySpec,
    Field,
    FieldKind,
)
from backend.domain.mapping import EntityMapping, FieldRule, Supplement
from backend.domain.quarantine import Defect, Reason, Severity, unknown_reference
from backend.domain.result_columns import explain_missing, find_column, find_missing_columns
from backend.domain.row_hashes import KnownKeys, bytes_of, digest_values, hash_keys
from backend.domain.values import compile_custom, compile_rule, missing_key, to_json
from backend.errors import PermanentError

PARENT_REF = "parent_ref"


IS_ACTIVE = "is_active"


DIGEST = "digest"


_CONTROL = r"[\x00-\x1f]"


_NOT_EMPLOYED = tuple(status.value for status in EmploymentStatus if not status.is_employed)


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

        def take(rule: ColumnRule) -> pa.Array:
            converted = rule.read(raw)
            for row, defect in converted.errors.items():
                errors.setdefault(row, defect)
            return converted.values

        keys = take(self._key)
        for row in rows_where(pc.is_null(keys)):
            errors.setdefault(row, missing_key(self._spec))
        if (bytes_of(keys) < ord(" ")).any():
            for row in rows_where(pc.fill_null(pc.match_substring_regex(keys, _CONTROL), False)):
                errors.setdefault(row, _control_character(self._spec))
        values = {rule.item.name: take(rule) for rule in self._fields}
        parents = take(self._parent) if self._parent else pa.nulls(raw.row_count, pa.string())
        extra = self._read_extra(raw, take)
        self._supplement(keys, values)
        _complete_full_name(values)
        for item in self._spec.fields:
            if item.required:
                for row in rows_where(pc.is_null(values[item.name])):
                    errors.setdefault(row, _missing_value(item))
        for first, last in self._spec.in_order:
            for row in rows_where(pc.fill_null(pc.less(values[last], values[first]), False)):  # ISO 8601: as texts
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

    def _bind(self, item: Field, rule: FieldRule) -> ColumnRule:
        rule = rule if rule is not _NOT_MAPPED else FieldRule(constant=item.default)
        position = -1 if rule.column is None else find_column(rule.column, self._columns)
        assert position is not None, "the columns were checked"
        return ColumnRule(item, rule, position, compile_rule(item, rule, self._lookups))

    def _bind_custom(self, name: str, rule: FieldRule) -> tuple[str, ColumnRule]:
        item = Field(name=f"extra.{name}", max_length=10_000, kind=FieldKind.NUMBER)  # not the way of plain texts
        position = -1 if rule.column is None else find_column(rule.column, self._columns)
        assert position is not None, "the columns were checked"
        return name, CustomRule(item, rule, position, compile_custom(name, rule, self._lookups))

    def _bind_parent(self) -> ColumnRule | None:
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
            for row in rows_where(is_unknown):
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
    rules: list[ColumnRule] = []
    for item in (spec.key, *spec.fields):
        if (rule := supplement.fields.get(item.name)) is not None:
            position = -1 if rule.column is None else find_column(rule.column, columns)
            assert position is not None, "the columns were checked"
            rules.append(ColumnRule(item, rule, position, compile_rule(item, rule, lookups)))
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


def _rejected(message: str) -> str:
    return message.replace("the row is kept without it", "the row is rejected")


def _missing_value(item: Field) -> Defect:
    return Defect(reason=Reason.MISSING_VALUE, field=item.name, message=f"{item.name} is empty.")


def _dates_reversed(first: str, last: str) -> Defect:
    return Defect(reason=Reason.DATES_REVERSED, field=last, message=f"{last} is before {first}; mend one of them.")


def _control_character(spec: EntitySpec) -> Defect:
    return Defect(
        reason=Reason.UNREADABLE_TEXT,
        field=spec.key.name,
        message=f"{spec.key.name} holds a control character; store it again in the source without it.",
    )
