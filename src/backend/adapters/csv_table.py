"""A CSV file of a person: UTF-8, with a header, commas, semicolons or tabs; a line that cannot be read is told."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, TypeVar

from backend.adapters.toml_problems import did_you_mean
from backend.errors import PermanentError

_Row = TypeVar("_Row")
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineProblem:
    """A line that could not be read, and why.

    Attributes:
        line: of the file, from 1.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvColumns:
    """The columns of a kind of file.

    Attributes:
        names: the columns, each with the other names that it may have.
        required: groups of columns; of each group one must be there.
        what: the kind of file, for messages.
    """

    what: str
    names: Mapping[str, Sequence[str]]
    required: Sequence[Sequence[str]]


@dataclass(slots=True, kw_only=True)
class CsvReading:
    """What is known of a file after it was read.

    Attributes:
        ignored_columns: those that mean nothing here.
        rows: how many rows there are, the unreadable ones included.
    """

    problems: list[LineProblem] = field(default_factory=list)
    ignored_columns: list[str] = field(default_factory=list)
    rows: int = 0


def read_csv_rows(
    path: Path, columns: CsvColumns, make: Callable[[int, Mapping[str, str]], _Row], reading: CsvReading
) -> Iterator[_Row]:
    """The rows of a file, each made of its line number and its values by column; values are without blanks around them.

    Args:
        make: raises ValueError with the reason where a row cannot be read.
        reading: learns what went wrong.

    Raises:
        PermanentError: the file cannot be read at all, or its header does not fit.
    """
    try:
        # An undecodable byte is the mistake of its line, not of the file.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield from _read_rows(stream, path, columns, make, reading)
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}. Check the name and the permissions.") from None


def _read_rows(
    stream: TextIO,
    path: Path,
    columns: CsvColumns,
    make: Callable[[int, Mapping[str, str]], _Row],
    reading: CsvReading,
) -> Iterator[_Row]:
    header = stream.readline()
    if not header.strip():
        raise PermanentError(f"{path} has nothing in its first line, which is to name the columns of {columns.what}.")
    if "\0" in header or header.startswith("\udcff\udcfe"):
        raise PermanentError(f"{path} is no UTF-8 text; save it as CSV in UTF-8.")
    delimiter = max(_DELIMITERS, key=header.count)
    titles = [title.strip() for title in next(csv.reader([header], delimiter=delimiter), [])]
    places = _find_columns(titles, path, columns, reading)
    # Line by line, as no value has several: a quotation mark that nobody closes is the mistake of its line alone.
    for line, text in enumerate(stream, start=2):
        if not text.strip():
            continue
        reading.rows += 1
        try:
            (cells,) = csv.reader([text], delimiter=delimiter, strict=True)
            row = make(line, _values(cells, titles, places))
        except csv.Error as error:
            reading.problems.append(LineProblem(file=path.name, line=line, message=f"is no line of a CSV ({error})"))
        except ValueError as error:
            reading.problems.append(LineProblem(file=path.name, line=line, message=str(error)))
        else:
            yield row


def _values(cells: Sequence[str], titles: Sequence[str], places: Mapping[str, int]) -> dict[str, str]:
    if len(cells) > len(titles):
        raise ValueError(f"has {len(cells)} values, but the header names {len(titles)} columns")
    values = {name: cells[place].strip() if place < len(cells) else "" for name, place in places.items()}
    for name, value in values.items():
        if any("\udc80" <= letter <= "\udcff" for letter in value):
            raise ValueError(f"{name} is no UTF-8 text; save the file as CSV in UTF-8")
        if not value.isprintable() and (odd := next((letter for letter in value if letter < " "), None)):
            raise ValueError(f"{name} has a character that is no text ({odd!r}); save the file again as CSV in UTF-8")
    return values


def _find_columns(titles: Sequence[str], path: Path, columns: CsvColumns, reading: CsvReading) -> dict[str, int]:
    """Where each column is."""
    known = {_plain(alias): name for name, aliases in columns.names.items() for alias in (name, *aliases)}
    places: dict[str, int] = {}
    for place, title in enumerate(titles):
        name = known.get(_plain(title))
        if name is None:
            reading.ignored_columns.append(title.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        elif name in places:
            raise PermanentError(
                f"{path}: the columns {titles[places[name]]} and {title} both are {name}; leave one of them out."
            )
        else:
            places[name] = place
    for group in columns.required:
        if not any(name in places for name in group):
            hint = did_you_mean(group[0], reading.ignored_columns).replace("did you mean", "is it") or "."
            if len(titles) == 1:
                hint = "; it names a single one, as commas, semicolons or tabs part columns."
            raise PermanentError(
                f"{path}: the header has no column {group[0]}{hint} The first line of {columns.what} names its "
                f"columns: {', '.join(columns.names)}."
            )
    return places


def _plain(title: str) -> str:
    return re.sub(r"[\s_.-]+", "", title).casefold()
