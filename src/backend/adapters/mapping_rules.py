"""From one entry of `columns` in `hris.toml` to the rule of its field, with what contradicts itself in it."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable

from backend.adapters.mapping_schema import MappingTable, RuleTable
from backend.adapters.toml_problems import KeyPath, TomlProblems, did_you_mean
from backend.domain.employees import Field, FieldKind
from backend.domain.mapping import FieldRule


def read_rule(
    item: Field, content: object, path: KeyPath, tables: MappingTable, problems: TomlProblems
) -> FieldRule | None:
    """The rule of a field; None when it is wrong in its form. Every mistake is noted at `path`."""
    rule = problems.validate(RuleTable, {"column": content} if isinstance(content, str) else content, path)
    if rule is None:
        return None
    for message in _contradictions(item, rule):
        problems.add(path, message)
    if rule.lookup is not None and rule.lookup not in tables.lookups:
        known = ", ".join(tables.lookups) or "none"
        problems.add(
            (*path, "lookup"),
            f"there is no look-up {rule.lookup!r}{did_you_mean(rule.lookup, tables.lookups)}; there are: {known}. "
            f"Define it: [lookups.{rule.lookup}]",
        )
    return FieldRule(
        column=rule.column,
        constant=rule.constant,
        strip=rule.strip,
        after=rule.after,
        case="upper" if rule.upper else "lower" if rule.lower else None,
        null_if=frozenset(rule.null_if),
        values=rule.map,
        default=rule.default,
        date_format=rule.format,
        lookup=rule.lookup,
        sensitive=rule.sensitive,
    )


def _contradictions(item: Field, rule: RuleTable) -> Iterable[str]:
    if (rule.column is None) == (rule.constant is None):
        yield "give either `column` or `constant`"
    elif rule.constant is not None and (idle := rule.model_fields_set - {"constant", "sensitive"}):
        yield f"a `constant` takes no {', '.join(f'`{key}`' for key in sorted(idle))}"
    if rule.upper and rule.lower:
        yield "give either `upper` or `lower`"
    if rule.map is not None and rule.lookup is not None:
        yield "give either `map` or `lookup`"
    is_date = item.kind is FieldKind.DATE
    if is_date and (rule.map is not None or rule.lookup is not None or rule.after or rule.upper or rule.lower):
        yield "a date takes `column`, `null_if`, `default`, `format` and `sensitive` only"
    if rule.format is not None and not is_date:
        yield "`format` is for dates"
    for text in [*(rule.map or {}).values(), *(text for text in (rule.default, rule.constant) if text is not None)]:
        yield from _value_problems(item, text)


def _value_problems(item: Field, text: str) -> Iterable[str]:
    """What is wrong with a value that the file itself gives."""
    match item.kind:
        case FieldKind.DATE if not _is_date(text):
            yield f"{text!r} is no date; write it as YYYY-MM-DD"
        case FieldKind.NUMBER if not _is_number(text):
            yield f"{text!r} is no number between 0 and 9999.99"
        case FieldKind.CHOICE if text not in item.choices:
            known = ", ".join(item.choices)
            yield f"{text!r} is no {item.name}{did_you_mean(text, item.choices)}; there are {known}"
        case FieldKind.TEXT if len(text) > item.max_length:
            yield f"{text[:20]!r}... has {len(text)} characters; at most {item.max_length} fit"


def _is_date(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_number(text: str) -> bool:
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return False
    return number.is_finite() and 0 <= number < 10_000
