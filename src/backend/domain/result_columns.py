"""The columns of a query's result: found by name, and missed with the most similar one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple


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


def find_column(name: str, columns: Sequence[str]) -> int | None:
    """The position of a result column: by its exact name, else without regard to case where that names just one."""
    if name in columns:
        return list(columns).index(name)
    same = [index for index, column in enumerate(columns) if column.casefold() == name.casefold()]
    return same[0] if len(same) == 1 else None


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
