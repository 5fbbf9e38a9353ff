"""One value: from what a driver gives to the canonical text of a field, by the rules of the mapping."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from backend.domain.employees import (
    EntitySpec,
    Field,
    FieldKind,
)
from backend.domain.mapping import FieldRule
from backend.domain.quarantine import Defect, Reason, shorten


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
