"""From a row of the source's query to a canonical row: which column is which field, and what happens on the way.

Pure. The mapping file is read by `adapters.mapping_file`; this module knows rules and values only.
"""

from __future__ import annotations

import datetime as dt
import decimal
import difflib
import hashlib
import json
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from backend.domain.employees import (
    ENTITY_SPECS,
    TREE_PATH,
    EmploymentStatus,
    Entity,
    EntitySpec,
    Field,
    FieldKind,
    SourceRow,
)
from backend.domain.quarantine import Defect, ReadRow, Reason, shorten, unknown_reference
from backend.domain.replication import DeactivationLimit
from backend.errors import PermanentError

RawRow = Sequence[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """How one canonical field is made. The steps run in the order of the attributes.

    Attributes:
        column: the result column; None for a constant.
        constant: the value of every row.
        strip: cut white space at both ends. An empty text is always None.
        after: keep what follows the last occurrence of this text (`DOMAIN\\user` -> `user`).
        case: change letters.
        null_if: texts (dates as ISO 8601) that mean "none".
        values: value map; a value that is not in it takes `default`, or the row is rejected.
        default: for an empty value, or one that is not in `values`.
        date_format: `strptime` format of dates that come as text; None: ISO 8601.
    """

    column: str | None = None
    constant: str | None = None
    strip: bool = True
    after: str | None = None
    case: Literal["upper", "lower"] | None = None
    null_if: frozenset[str] = frozenset()
    values: Mapping[str, str] | None = None
    default: str | None = None
    date_format: str | None = None

    @property
    def changes_text(self) -> bool:
        """Whether the rule works on the text of the value (a number is then no number any more)."""
        return any((self.after, self.case, self.null_if, self.values, self.default, self.date_format))


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityMapping:
    """Where one entity comes from.

    Attributes:
        place: file and table of the mapping, for messages (`config/hris.toml [employees]`).
        query: one SELECT in the source's own dialect.
        fields: rules by canonical field; for employees `tree_path` may stand in for `manager_no`.
        extra: rules of custom fields by name.
    """

    entity: Entity
    place: str
    query: str
    fields: Mapping[str, FieldRule]
    extra: Mapping[str, FieldRule] = field(default_factory=dict)

    def columns(self) -> list[tuple[str, str]]:
        """(canonical field, result column) of every rule that reads a column."""
        rules = [*self.fields.items(), *((f"extra.{name}", rule) for name, rule in self.extra.items())]
        return [(name, rule.column) for name, rule in rules if rule.column is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HrisMapping:
    """The whole mapping file; an entity that is not in `entities` is not replicated."""

    file: str
    entities: Mapping[Entity, EntityMapping]
    limit: DeactivationLimit = field(default_factory=DeactivationLimit)


class MissingColumn(NamedTuple):
    """A column that the mapping names and the result has not."""

    field: str
    column: str
    suggestion: str | None


def find_missing_columns(mapping: EntityMapping, columns: Sequence[str]) -> list[MissingColumn]:
    """The mapped columns that a result with `columns` lacks, each with the most similar one that it has."""
    return [
        MissingColumn(name, column, suggest(column, columns))
        for name, column in mapping.columns()
        if _find_column(column, columns) is None
    ]


def suggest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was probably meant to be."""
    by_fold = {candidate.casefold(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None


class RowReader:
    """Makes canonical rows of one query's rows.

    Args:
        mapping: the rules.
        columns: the result columns, in order. Names match exactly, else without regard to case.
        known: the keys that may be referred to, by entity; an entity that is missing here is not checked.

    Raises:
        PermanentError: the result lacks a mapped column.
    """

    def __init__(self, mapping: EntityMapping, columns: Sequence[str], known: Mapping[Entity, Container[str]]) -> None:
        missing = find_missing_columns(mapping, columns)
        if missing:
            raise PermanentError(_explain_missing(mapping, missing, columns))
        self._columns = tuple(columns)
        self._spec = spec = ENTITY_SPECS[mapping.entity]
        self._key = self._bind(spec.key, mapping.fields[spec.key.name])
        self._fields = [self._bind(item, mapping.fields.get(item.name, _NOT_MAPPED)) for item in spec.fields]
        self._references = [
            (index, item, known[item.refers_to])
            for index, item in enumerate(spec.fields)
            if item.refers_to is not None and item.refers_to in known
        ]
        self._extra = [
            (name, self._bind(Field(name=f"extra.{name}", max_length=10_000), rule), self._position(rule), rule)
            for name, rule in sorted(mapping.extra.items())
        ]
        self._parent = self._bind_parent(spec, mapping)
        self.by_tree_path = TREE_PATH in mapping.fields
        self._full_name = _full_name_positions(spec)
        self._status = next((i for i, item in enumerate(spec.fields) if item.kind is FieldKind.STATUS), None)
        self._required = [(i, item) for i, item in enumerate(spec.fields) if item.required]

    def read(self, raw: RawRow) -> ReadRow:
        """The canonical row of `raw`, or what is wrong with it."""
        key: str | None = None
        try:
            key = self._key(raw)
            if key is None:
                return ReadRow(None, None, None, (_missing_key(self._spec),))
            values = [convert(raw) for convert in self._fields]
            parent_ref = self._parent(raw) if self._parent else None
            if self._full_name is not None:
                _complete_full_name(values, self._full_name)
            for index, item in self._required:
                if values[index] is None:
                    raise _DefectError(
                        Defect(reason=Reason.MISSING_VALUE, field=item.name, message=f"{item.name} is empty.")
                    )
            defects = self._drop_unknown_references(values)
            values.append(self._read_extra(raw))
            digest = _digest(values)
        except _DefectError as error:
            return ReadRow(key, None, None, (error.defect,))
        is_active = self._status is None or values[self._status] not in _NOT_EMPLOYED
        return ReadRow(key, SourceRow(key, tuple(values), digest, is_active), parent_ref, defects)

    def payload(self, raw: RawRow) -> dict[str, Any]:
        """The row by result column, in values that JSON can hold."""
        return {column: _to_json(value) for column, value in zip(self._columns, raw, strict=False)}

    def _bind(self, item: Field, rule: FieldRule) -> Callable[[RawRow], str | None]:
        return _compile_rule(item, rule, self._position(rule))

    def _bind_parent(self, spec: EntitySpec, mapping: EntityMapping) -> Callable[[RawRow], str | None] | None:
        if TREE_PATH in mapping.fields:
            read = self._bind(Field(name=TREE_PATH, max_length=4000), mapping.fields[TREE_PATH])
            return lambda raw: _normal_path(read(raw))
        if spec.parent is None or spec.parent.name not in mapping.fields:
            return None
        return self._bind(spec.parent, mapping.fields[spec.parent.name])

    def _position(self, rule: FieldRule) -> int:
        return -1 if rule.column is None else _find_column(rule.column, self._columns) or 0

    def _drop_unknown_references(self, values: list[str | None]) -> tuple[Defect, ...]:
        defects: tuple[Defect, ...] = ()
        for index, item, known in self._references:
            code = values[index]
            if code is not None and code not in known:
                values[index] = None
                defects += (unknown_reference(item, code),)
        return defects

    def _read_extra(self, raw: RawRow) -> str | None:
        if not self._extra:
            return None
        found: dict[str, Any] = {}
        for name, convert, position, rule in self._extra:
            value = raw[position] if position >= 0 else None
            # A number stays a number in JSON, as long as no rule works on its text.
            found[name] = value if _is_json(value) and not rule.changes_text else convert(raw)
        return json.dumps(found, ensure_ascii=False)


# --- one value ------------------------------------------------------------------------------------------------------


class _DefectError(Exception):
    """Carries a defect out of a conversion; never leaves this module."""

    def __init__(self, defect: Defect) -> None:
        super().__init__(defect.message)
        self.defect = defect


_NOT_MAPPED = FieldRule(constant=None)
_NOT_EMPLOYED = frozenset(status.value for status in EmploymentStatus if not status.is_employed)
_STATUS_CODES = frozenset(status.value for status in EmploymentStatus)


def _compile_rule(item: Field, rule: FieldRule, position: int) -> Callable[[RawRow], str | None]:
    """A function from the raw row to the field's canonical value; it raises `_DefectError`."""
    if rule.column is None:
        return lambda _raw: rule.constant
    if item.kind is FieldKind.DATE:
        return _compile_date(item, rule, position)
    steps = _compile_text_steps(rule)
    strip, values, default, null_if, limit = rule.strip, rule.values, rule.default, rule.null_if, item.max_length
    is_status = item.kind is FieldKind.STATUS

    def convert(raw: RawRow) -> str | None:
        value = raw[position]
        if value is None:
            return default
        text = value if type(value) is str else to_text(value)
        if strip:
            text = text.strip()
        for step in steps:
            text = step(text)
        if not text or text in null_if:
            return default
        if values is not None:
            mapped = values.get(text, default)
            if mapped is None:
                raise _DefectError(_unmapped(item, text, values))
            return mapped
        if len(text) > limit:
            raise _DefectError(_too_long(item, text))
        if is_status and text not in _STATUS_CODES:
            lowered = text.lower()
            if lowered not in _STATUS_CODES:
                raise _DefectError(_unmapped(item, text, {code: code for code in _STATUS_CODES}))
            return lowered
        return text

    return convert


def _compile_text_steps(rule: FieldRule) -> tuple[Callable[[str], str], ...]:
    steps: list[Callable[[str], str]] = []
    if rule.after is not None:
        mark = rule.after
        steps.append(lambda text: text.rpartition(mark)[2])
    if rule.case is not None:
        steps.append(str.upper if rule.case == "upper" else str.lower)
    return tuple(steps)


def _compile_date(item: Field, rule: FieldRule, position: int) -> Callable[[RawRow], str | None]:
    null_if, default, date_format = rule.null_if, rule.default, rule.date_format

    def convert(raw: RawRow) -> str | None:
        value = raw[position]
        if value is None:
            return default
        if isinstance(value, dt.datetime):
            text = value.date().isoformat()
        elif isinstance(value, dt.date):
            text = value.isoformat()
        else:
            text = to_text(value).strip()
            if not text or text in null_if:  # such as 0000-00-00, which is no date
                return default
            text = _parse_date(item, text, date_format)
        return default if text in null_if else text

    return convert


def _parse_date(item: Field, text: str, date_format: str | None) -> str:
    try:
        if date_format is not None:
            return dt.datetime.strptime(text, date_format).date().isoformat()  # noqa: DTZ007 - a date has no zone
        # The time of day, where there is one, does not count; datetime2(7) has more digits than Python reads.
        return dt.date.fromisoformat(text[:10] if len(text) > 10 and text[10] in " T" else text).isoformat()
    except ValueError:
        expected = date_format or "YYYY-MM-DD"
        raise _DefectError(
            Defect(
                reason=Reason.UNREADABLE_DATE,
                field=item.name,
                message=f"{item.name} {shorten(text)} is no date ({expected}); mend it, or set `format` or `null_if`.",
            )
        ) from None


def to_text(value: object) -> str:
    """The text of a driver's value: numbers without an empty fraction, dates as ISO 8601, a bit as 0 or 1."""
    match value:
        case int():
            return str(int(value))  # True is 1
        case decimal.Decimal():
            text = format(value, "f")
            return text.rstrip("0").rstrip(".") if "." in text else text
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return _bytes_to_text(bytes(value))
    return str(value)


def _bytes_to_text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    if text and not text.isprintable() and len(value) <= 8:  # BIT(n) of MariaDB comes as a big-endian number
        return str(int.from_bytes(value, "big"))
    return text


def _to_json(value: object) -> Any:
    return value if value is None or _is_json(value) else to_text(value).encode("utf-8", "backslashreplace").decode()


def _is_json(value: object) -> bool:
    """Whether JSON holds the value as it is (not-a-number and the infinities it does not)."""
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


_encode_values = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def _digest(values: list[str | None]) -> bytes:
    try:
        return hashlib.blake2b(_encode_values(values).encode(), digest_size=16).digest()
    except UnicodeEncodeError as error:
        raise _DefectError(
            Defect(
                reason=Reason.UNREADABLE_TEXT,
                message=f"A text holds half a character ({error.reason}); store it again in the source.",
            )
        ) from None


def _normal_path(path: str | None) -> str | None:
    if path is None:
        return None
    inner = path.strip("/")
    return f"/{inner}/" if inner else "/"


def _find_column(name: str, columns: Sequence[str]) -> int | None:
    if name in columns:
        return list(columns).index(name)
    same = [index for index, column in enumerate(columns) if column.casefold() == name.casefold()]
    return same[0] if len(same) == 1 else None


def _full_name_positions(spec: EntitySpec) -> tuple[int, int, int] | None:
    names = [item.name for item in spec.fields]
    if "full_name" not in names:
        return None
    return names.index("full_name"), names.index("first_name"), names.index("last_name")


def _complete_full_name(values: list[str | None], positions: tuple[int, int, int]) -> None:
    full, first, last = positions
    if values[full] is None:
        values[full] = " ".join(part for part in (values[first], values[last]) if part) or None


# --- what is wrong --------------------------------------------------------------------------------------------------


def _missing_key(spec: EntitySpec) -> Defect:
    return Defect(
        reason=Reason.MISSING_KEY,
        field=spec.key.name,
        message=f"The row has no {spec.key.name}; give it one, or leave such rows out of the query.",
    )


def _too_long(item: Field, text: str) -> Defect:
    return Defect(
        reason=Reason.TOO_LONG,
        field=item.name,
        message=f"{item.name} has {len(text)} characters; at most {item.max_length} fit.",
    )


def _unmapped(item: Field, text: str, values: Mapping[str, str]) -> Defect:
    known = ", ".join(sorted(values)[:10])
    return Defect(
        reason=Reason.UNMAPPED_VALUE,
        field=item.name,
        message=f"{item.name} {shorten(text)} is not in the mapping's `map` ({known}); add it, or set a `default`.",
    )


def _explain_missing(mapping: EntityMapping, missing: Sequence[MissingColumn], columns: Sequence[str]) -> str:
    parts = [
        f"{item.column!r} (for {item.field}{f'; did you mean {item.suggestion!r}?' if item.suggestion else ''})"
        for item in missing
    ]
    noun = "column" if len(parts) == 1 else "columns"
    return (
        f"{mapping.place}: the query's result has no {noun} {', '.join(parts)}. It has: {', '.join(columns)}. "
        "Mend `columns` or the query."
    )
