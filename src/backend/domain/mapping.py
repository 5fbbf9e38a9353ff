"""From a row of the source's query to a canonical row: which column is which field, and what happens on the way.

Pure. The mapping file is read by `adapters.mapping_file`; this module knows rules and values only.
"""

from __future__ import annotations

import datetime as dt
import decimal
import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from backend.domain.employees import (
    Entity,
    EntitySpec,
    Field,
    FieldKind,
)
from backend.domain.quarantine import Defect, Reason, shorten

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
        lookup: name of a look-up of the mapping; it then is the value map.
        sensitive: how the field's values stand in history, previews and held runs: a salted hash, or dots.
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
    lookup: str | None = None
    sensitive: Literal["hash", "mask"] | None = None

    @property
    def changes_text(self) -> bool:
        """Whether the rule works on the text of the value (a number is then no number any more)."""
        return any((self.after, self.case, self.null_if, self.values, self.lookup, self.default, self.date_format))


@dataclass(frozen=True, slots=True, kw_only=True)
class Incremental:
    """How only what changed is read. Every way falls back to a full read when it must.

    Attributes:
        by: `rowversion`: rows whose `column` is at or above the last run's upper bound, MIN_ACTIVE_ROWVERSION();
            `updated_at`: rows whose `column` is not older than the newest that was seen, less the overlap;
            `change_tracking`: rows that SQL Server's Change Tracking of `table` names.
        query: the SELECT of the changed rows, with the columns of the full query. `:since` stands for the bound; in a
            `rowversion` query `:until` for the upper one.
        column: the result column with the rowversion, or with the time of the last change.
        table: the tracked table.
        overlap_seconds: how far an `updated_at` read goes back behind the newest time that was seen.
        full_every_hours: when the last full read is older, all is read: it finds what was deleted.
    """

    by: Literal["rowversion", "updated_at", "change_tracking"]
    query: str
    column: str | None = None
    table: str | None = None
    overlap_seconds: int = 300
    full_every_hours: float = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplement:
    """Fields of an entity that another query knows, by the entity's key: e-mail addresses from the directory, say.

    Attributes:
        place: file and table of the mapping, for messages.
        source: name of the source; None: the HRIS.
        query: one SELECT; None when the source is a file.
        fields: rules by canonical field, the entity's key among them.
        wins: whether its values go before those of the entity's own query, or only fill what is empty there.
    """

    place: str
    source: str | None = None
    query: str | None = None
    fields: Mapping[str, FieldRule]
    wins: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityMapping:
    """Where one entity comes from.

    Attributes:
        place: file and table of the mapping, for messages (`config/hris.toml [employees]`).
        query: one SELECT in the source's own dialect; empty when the source is a file.
        source: name of the source; None: the HRIS.
        fields: rules by canonical field; for employees `tree_path` may stand in for `manager_no`.
        extra: rules of custom fields by name.
        manager_by_position: an employee's manager is who holds the position that the employee's one reports to.
        contract: what a change of the query's result columns means: `evolve` takes it and notes it, `freeze` holds the
            run, `discard` takes no notice.
        unknown_reference: what becomes of a row that names a department (position, manager, ...) that is not there.
        supplements: what other queries add, in the order in which they do.
    """

    entity: Entity
    place: str
    query: str
    source: str | None = None
    fields: Mapping[str, FieldRule]
    extra: Mapping[str, FieldRule] = field(default_factory=dict)
    manager_by_position: bool = False
    contract: Literal["evolve", "freeze", "discard"] = "evolve"
    unknown_reference: Literal["keep_without", "reject"] = "keep_without"
    incremental: Incremental | None = None
    supplements: Sequence[Supplement] = ()

    def source_query(self) -> SourceQuery:
        """The query of all rows."""
        return SourceQuery(place=self.place, subject=self.entity.value, text=self.query, source=self.source)

    def columns(self) -> list[tuple[str, str]]:
        """(canonical field, result column) of every rule that reads a column."""
        rules = [*self.fields.items(), *((f"extra.{name}", rule) for name, rule in self.extra.items())]
        return [(name, rule.column) for name, rule in rules if rule.column is not None]

    def sensitive_fields(self) -> dict[str, Literal["hash", "mask"]]:
        """How each sensitive field stands in history, by its name (`extra` when one of the custom fields is)."""
        rules = [rule for item in self.supplements for rule in item.fields.items()] + [*self.fields.items()]
        found = {name: rule.sensitive for name, rule in rules if rule.sensitive is not None}
        for rule in self.extra.values():
            if rule.sensitive is not None:
                found["extra"] = rule.sensitive
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDefinition:
    """A source beside the HRIS.

    Attributes:
        url_setting: the environment variable that holds its database URL; None when it is a file.
        file: a CSV file in UTF-8 with a header, relative to the mapping file.
    """

    name: str
    url_setting: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A value map that is a table: the first column of the query is what is looked up, the second what it becomes."""

    name: str
    place: str
    query: str
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """What a run must not do without a person's word. Percentages are of the rows that are active in the target.

    Attributes:
        max_deactivations_percent, max_deactivations_at_least: so many rows of an entity may be deactivated, the larger
            of the two counts.
        max_deactivations: and never more than this.
        max_shrink_percent, max_growth_percent: how far the number of rows may be from the median of the last runs.
        size_at_least: differences of up to so many rows are never unusual.
        max_emptied_percent: a field that was filled in so much of the rows must not be empty in so much of them.
        max_rejected_percent: so many of the rows read may be rejected, once earlier runs rejected fewer.
        on_guard: `hold` applies nothing; `skip_deactivations` applies all but the deactivations when they alone are the
            trouble.
    """

    max_deactivations_percent: float = 5
    max_deactivations_at_least: int = 5
    max_deactivations: int = 500
    max_shrink_percent: float = 20
    max_growth_percent: float = 50
    size_at_least: int = 20
    max_emptied_percent: float = 50
    max_rejected_percent: float = 50
    on_guard: Literal["hold", "skip_deactivations"] = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class HrisMapping:
    """The whole mapping file; an entity that is not in `entities` is not replicated.

    Attributes:
        fingerprint: differs when the file says something else.
    """

    file: str
    entities: Mapping[Entity, EntityMapping]
    guard: GuardRules = field(default_factory=GuardRules)
    sources: Mapping[str, SourceDefinition] = field(default_factory=dict)
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceQuery:
    """One query that a source is asked.

    Attributes:
        place: file and table of the mapping, for messages (`config/hris.toml [employees]`).
        subject: what it reads, for messages (`employees`).
        text: the SELECT in the source's dialect; empty when the source is a file.
        source: name of the source; None: the HRIS.
        parameters: values of `:since` and `:until` in the text; any other colon is the query's own.
    """

    place: str
    subject: str
    text: str
    source: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)


class MissingColumn(NamedTuple):
    """A column that the mapping names and the result has not."""

    field: str
    column: str
    suggestion: str | None


def find_missing_columns(mapped: Iterable[tuple[str, str]], columns: Sequence[str]) -> list[MissingColumn]:
    """The mapped columns that a result with `columns` lacks, each with the most similar one that it has.

    Args:
        mapped: (canonical field, result column), as `EntityMapping.columns` gives them.
    """
    return [
        MissingColumn(name, column, suggest(column, columns))
        for name, column in mapped
        if find_column(column, columns) is None
    ]


def suggest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was probably meant to be."""
    by_fold = {candidate.casefold(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None


# --- one value ------------------------------------------------------------------------------------------------------


class DefectError(Exception):
    """Carries a defect out of a conversion; `domain.row_batches` catches it."""

    def __init__(self, defect: Defect) -> None:
        super().__init__(defect.message)
        self.defect = defect


Convert = Callable[[object], str | None]


def compile_rule(item: Field, rule: FieldRule, lookups: Mapping[str, Mapping[str, str]]) -> Convert:
    """A function from a value of the source to the field's canonical value; it raises `DefectError`.

    Args:
        lookups: the content of the mapping's look-ups, by name.
    """
    if rule.column is None:
        constant = rule.constant or None
        return lambda _value: constant
    if item.kind is FieldKind.DATE:
        return _compile_date(item, rule)
    steps = _compile_text_steps(rule)
    values = rule.values if rule.lookup is None else lookups[rule.lookup]
    strip, default, null_if, limit = rule.strip, rule.default or None, rule.null_if, item.max_length
    choices = frozenset(item.choices)

    def convert(value: object) -> str | None:
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
            mapped = values.get(text, rule.default)
            if mapped is None:
                raise DefectError(_unmapped(item, text, rule, values))
            if not mapped:
                return None
            text = mapped
        if item.kind is FieldKind.NUMBER:
            text = _parse_number(item, text)
        if len(text) > limit:
            raise DefectError(_too_long(item, text))
        if choices and text not in choices:
            text = text.lower()
            if text not in choices:
                raise DefectError(_unmapped(item, text, rule, dict.fromkeys(item.choices, "")))
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


def _compile_date(item: Field, rule: FieldRule) -> Convert:
    null_if, default, date_format = rule.null_if, rule.default or None, rule.date_format

    def convert(value: object) -> str | None:
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
        raise DefectError(
            Defect(
                reason=Reason.UNREADABLE_DATE,
                field=item.name,
                message=f"{item.name} {shorten(text)} is no date ({expected}); mend it, or set `format` or `null_if`.",
            )
        ) from None


def _parse_number(item: Field, text: str) -> str:
    try:
        number = decimal.Decimal(text)
        if number.is_finite() and number >= 0 and (rounded := round(number, 2)) < 10_000:
            return to_text(rounded)
    except decimal.InvalidOperation:
        pass
    raise DefectError(
        Defect(
            reason=Reason.UNREADABLE_NUMBER,
            field=item.name,
            message=f"{item.name} {shorten(text)} is no number between 0 and 9999.99; mend it, or set `null_if`.",
        )
    )


def to_text(value: object) -> str:
    """The text of a driver's value: numbers without an empty fraction, dates as ISO 8601, a bit as 0 or 1."""
    match value:
        case int():
            return str(int(value))  # True is 1
        case decimal.Decimal():
            text = format(value if value else decimal.Decimal(0), "f")  # -0 is 0
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


def to_json(value: object) -> Any:
    """The value as JSON can hold it: numbers as they are, anything else as its text."""
    return value if value is None or _is_json(value) else to_text(value).encode("utf-8", "backslashreplace").decode()


def _is_json(value: object) -> bool:
    """Whether JSON holds the value as it is (not-a-number and the infinities it does not)."""
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def compile_custom(name: str, rule: FieldRule, lookups: Mapping[str, Mapping[str, str]]) -> Convert:
    """A function from a value of the source to the JSON text of a custom field; it raises `DefectError`."""
    convert = compile_rule(Field(name=f"extra.{name}", max_length=10_000), rule, lookups)

    def to_custom(value: object) -> str:
        # A number stays a number in JSON, as long as no rule works on its text.
        kept = value if _is_json(value) and not rule.changes_text else convert(value)
        return json.dumps(kept, ensure_ascii=False)

    return to_custom


def find_column(name: str, columns: Sequence[str]) -> int | None:
    """The position of a result column: by its exact name, else without regard to case where that names just one."""
    if name in columns:
        return list(columns).index(name)
    same = [index for index, column in enumerate(columns) if column.casefold() == name.casefold()]
    return same[0] if len(same) == 1 else None


# --- what is wrong --------------------------------------------------------------------------------------------------


def missing_key(spec: EntitySpec) -> Defect:
    """A row without its key."""
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


def _unmapped(item: Field, text: str, rule: FieldRule, values: Mapping[str, str]) -> Defect:
    known = ", ".join(sorted(values)[:10])
    place = f"look-up {rule.lookup}" if rule.lookup else "mapping's `map`"
    return Defect(
        reason=Reason.UNMAPPED_VALUE,
        field=item.name,
        message=f"{item.name} {shorten(text)} is not in the {place} ({known}); add it, or set a `default`.",
    )


def explain_missing(place: str, missing: Sequence[MissingColumn], columns: Sequence[str]) -> str:
    """The error for a result that lacks mapped columns."""
    parts = [
        f"{item.column!r} (for {item.field}{f'; did you mean {item.suggestion!r}?' if item.suggestion else ''})"
        for item in missing
    ]
    noun = "column" if len(parts) == 1 else "columns"
    return (
        f"{place}: the query's result has no {noun} {', '.join(parts)}. It has: {', '.join(columns)}. "
        "Mend `columns` or the query."
    )
