"""What a check of the mapping found, in words; and how much of a person's data the words may show."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.domain.employees import ENTITY_SPECS, TREE_PATH, Entity
from backend.domain.mapping import EntityMapping, FieldRule
from backend.domain.masking import mask_value, outline
from backend.domain.quarantine import Reason
from backend.domain.result_columns import MissingColumn
from backend.errors import HrsyncError
from backend.services.hris_tally import KEYS_KEPT, KeyTally, Misfit, RowProblem

_VALUES_SHOWN = 10
# What is shown of a person as it is: by what it is found and what it refers to. All else is personal.
_PLAIN_FIELDS: Mapping[Entity, Collection[str]] = {
    Entity.EMPLOYEES: ("employee_no", "department_code", "position_code", "manager_no", TREE_PATH, "status"),
    Entity.LEAVES: ("code", "employee_no", "day_part"),
}
# Of whose kind the values are few and nobody's own, so that those without a mapping can be named.
_CODES = ("kind", "day_part")

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what it is about (`hris employees`).
        message: what was found; no personal data, unless they were asked for.
        mend: what to do; empty when there is nothing to do.
    """

    level: Level
    subject: str
    message: str
    mend: str = ""

    @classmethod
    def of_error(cls, subject: str, error: HrsyncError) -> Finding:
        """What an error says, and behind its dash how to mend it."""
        message, _, mend = str(error).partition(" -- ")
        return cls(level="error", subject=subject, message=message, mend=f"{mend[:1].upper()}{mend[1:]}")


@dataclass(slots=True, kw_only=True)
class QueryCheck:
    """What was found out about one query or file.

    Attributes:
        subject: `hris employees`, `hris employees supplement 1`, `hris employees incremental`, `hris look-up NAME`.
        columns: the result columns.
        rows: how many rows were read; None when none could be.
        sample: the first rows that can be taken, as they would come out; masked, unless data were asked for.
    """

    subject: str
    findings: list[Finding] = field(default_factory=list)
    columns: Sequence[str] = ()
    rows: int | None = None
    sample: Sequence[Mapping[str, str | None]] = ()

    def add(self, level: Level, message: str, mend: str = "") -> None:
        """Note a finding."""
        self.findings.append(Finding(level=level, subject=self.subject, message=message, mend=mend))


# --- what may be shown ------------------------------------------------------------------------------------------------


class Discretion:
    """How much of an entity's rows may be shown: all that was asked for, else nothing that is personal."""

    def __init__(self, mapping: EntityMapping, *, show_data: bool) -> None:
        self._mapping = mapping
        self._show_data = show_data
        self._sensitive = mapping.sensitive_fields()

    def show_row(self, row: Mapping[str, Any]) -> dict[str, str | None]:
        """Of a canonical row the fields that are mapped."""
        mapping = self._mapping
        spec = ENTITY_SPECS[mapping.entity]
        added = {name for supplement in mapping.supplements for name in supplement.fields}
        shown: dict[str, str | None] = {}
        for name in (spec.key.name, *(item.name for item in spec.fields)):
            if name in mapping.fields or name in added or name == "full_name":
                shown[name] = self._show(name, row[name])
        for name in (TREE_PATH, *([spec.parent.name] if spec.parent else [])):
            if name in mapping.fields:
                shown[name] = self._show(name, row["parent_ref"])
        for name, value in json.loads(row["extra"] or "{}").items():
            shown[f"extra.{name}"] = self._show(f"extra.{name}", None if value is None else str(value))
        return shown

    def list_values(self, misfit: Misfit) -> str:
        """The most frequent values that do not fit; of what is not a code only how it is written."""
        is_open = misfit.reason is Reason.UNMAPPED_VALUE and self._is_code(misfit.field)
        counts: dict[str, int] = {}
        for value, rows in misfit.values.most_common():
            shown = value if is_open or self._show_data else outline(value)
            counts[shown] = counts.get(shown, 0) + rows
        listed = [f"{shown!r} ({rows:,})" for shown, rows in [*counts.items()][:_VALUES_SHOWN]]
        rest = len(counts) - len(listed)
        return ", ".join(listed) + (f" and {rest:,} more" if rest else "")

    def _show(self, name: str, value: str | None) -> str | None:
        return value if value is None or self._show_data or self._is_plain(name) else mask_value(value)

    def _is_plain(self, name: str) -> bool:
        if self._is_sensitive(name):
            return False
        return self._mapping.entity not in _PLAIN_FIELDS or name in _PLAIN_FIELDS[self._mapping.entity]

    def _is_code(self, name: str) -> bool:
        is_code = name in _CODES or name.startswith("extra.")
        return self._is_plain(name) or (is_code and not self._is_sensitive(name))

    def _is_sensitive(self, name: str) -> bool:
        if name.startswith("extra."):
            return self._mapping.extra[name.removeprefix("extra.")].sensitive is not None
        return name in self._sensitive


# --- words ------------------------------------------------------------------------------------------------------------


def tell_missing(
    check: QueryCheck, place: str, missing: Sequence[MissingColumn], columns: Sequence[str]
) -> Sequence[MissingColumn]:
    """Note the columns that a result lacks."""
    for item in missing:
        meant = f"Did you mean {item.suggestion!r}? " if item.suggestion else ""
        check.add(
            "error",
            f"the result has no column {item.column!r}, which {item.field} is mapped to",
            f"{meant}In {place}, name one of: {', '.join(columns)}.",
        )
    return missing


def tell_misfits(
    check: QueryCheck,
    place: str,
    misfits: Sequence[Misfit],
    rules: Mapping[str, FieldRule],
    discretion: Discretion,
    *,
    consequence: str = "such rows are rejected",
) -> None:
    """Note the values that cannot be taken."""
    for misfit in misfits:
        rule = rules[misfit.field]
        count = f"more than {len(misfit.values):,}" if misfit.has_more else f"{len(misfit.values):,}"
        values = f"{count} {'value' if len(misfit.values) == 1 else 'values'}"
        rows = f"in {misfit.rows:,} {'row' if misfit.rows == 1 else 'rows'}"
        listed = discretion.list_values(misfit)
        match misfit.reason:
            case Reason.UNMAPPED_VALUE:
                what, where = "without a mapping", f"look-up {rule.lookup}" if rule.lookup else "`map`"
                mend = f"Add to the {where} in {place}, or set a `default`"
            case Reason.UNREADABLE_DATE:
                what, mend = (
                    "that cannot be read as a date",
                    f"Set `format` or `null_if` in {place}, or mend the source",
                )
            case Reason.UNREADABLE_NUMBER:
                what, mend = "that cannot be read as a number", f"Set `null_if` in {place}, or mend the source"
            case _:
                what, mend = f"that cannot be taken ({_words(misfit.reason)})", "Mend the source"
        check.add("warning", f"{misfit.field}: {values} {what}, {rows}: {listed}", f"{mend}; {consequence}.")


def tell_problem(check: QueryCheck, place: str, problem: RowProblem) -> None:
    """Note what is wrong with some rows."""
    rows = f"{problem.rows:,} {'row' if problem.rows == 1 else 'rows'}"
    such_as = f", such as {problem.example_key!r}" if problem.example_key is not None else ""
    if problem.reason in (Reason.MISSING_KEY, Reason.MISSING_VALUE):
        check.add(
            "warning",
            f"{problem.field} is empty in {rows}{such_as}",
            f"Such rows are rejected: leave them out of the query in {place}, or fill them in the source.",
        )
    else:
        where = f" in {problem.field}" if problem.field else ""
        message = f"{rows}: {_words(problem.reason)}{where}{such_as}"
        check.add("warning", message, "Such rows are rejected; mend the source.")


def tell_repeated(check: QueryCheck, keys: KeyTally, consequence: str) -> None:
    """Note the keys that are there more than once."""
    if not keys.repeated:
        return
    rows = keys.repeated.total()
    listed = ", ".join(repr(key) for key, _ in keys.repeated.most_common(3))
    looked_at = f" among the first {KEYS_KEPT:,} keys" if keys.has_more else ""
    message = f"{rows:,} {'row repeats' if rows == 1 else 'rows repeat'} a key{looked_at}, such as {listed}"
    check.add("warning", message, consequence)


def _words(reason: Reason) -> str:
    return reason.replace("_", " ")
