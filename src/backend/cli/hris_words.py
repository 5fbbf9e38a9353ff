"""How the `hrsync hris` commands show counts and changes of rows, and write rows into CSV files."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from backend.cli.output import note, table
from backend.errors import PermanentError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

CsvFile = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all of them into this CSV file.")]
CHANGE_COLUMNS = ("entity", "key", "action", "field", "old", "new")
# As people read them: what came in, what becomes of it.
_COUNTS = (
    "read", "inserted", "updated", "reactivated", "renumbered", "deactivated", "unchanged", "rejected", "warnings",
)  # fmt: skip
_ACTION_STYLES = {
    "insert": "green", "update": "blue", "reactivate": "cyan", "renumber": "magenta", "deactivate": "red",
}  # fmt: skip
_LOUD = {"deactivated": "red", "rejected": "red", "warnings": "yellow"}


class Change(NamedTuple):
    """What a run does, or would do, to one row; `fields`: field -> (old, new)."""

    entity: str
    key: str
    action: str
    fields: Mapping[str, Sequence[Any]]


def check_choice(option: str, value: str | None, choices: Sequence[str]) -> None:
    """Refuse a value of an option that is not one of the choices.

    Raises:
        BadParameter: it is none of them.
    """
    if value is not None and value not in choices:
        raise typer.BadParameter(f"{option} {value!r} is not known. There are: {', '.join(choices)}.")


def cell(value: Any, missing: str = "") -> str:
    """A value as one text: objects as JSON."""
    if value is None:
        return missing
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def counts_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """Row counts by entity; counts that nobody made are left out."""
    from rich.text import Text

    names = [name for name in _COUNTS if any(counts.get(name) is not None for _, counts in rows)]

    def number(name: str, value: int | None) -> Text:
        return Text("-" if value is None else f"{value:,}", style=_LOUD.get(name, "") if value else "")

    return table(
        ["ENTITY", *((name.upper(), {"justify": "right"}) for name in names)],
        [(entity, *(number(name, counts.get(name)) for name in names)) for entity, counts in rows],
        flexible=("ENTITY",),
    )


def changed_fields_text(fields: Mapping[str, int]) -> str:
    """How often each field changes, the most frequent first: `department_code 12, phone 3`."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(fields.items(), key=lambda item: -item[1]))


def changes_table(changes: Sequence[Change], *, with_new_rows: bool = False) -> Table:
    """Changes of rows, a line per field; the values of inserted rows only where they are asked for."""
    from rich.text import Text

    return table(
        ["ENTITY", "KEY", "WHAT", ("FIELD: OLD → NEW", {"no_wrap": False, "overflow": "fold"})],
        [
            (
                change.entity,
                change.key,
                Text(change.action, style=_ACTION_STYLES.get(change.action, "")),
                _fields(change, with_new_rows=with_new_rows),
            )
            for change in changes
        ],
    )


def _fields(change: Change, *, with_new_rows: bool) -> Text:
    from rich.text import Text

    if change.action == "insert" and not with_new_rows:
        return Text("")
    text = Text()
    for name, (old, new) in change.fields.items():
        if name == "is_active" or (change.action == "insert" and new is None):
            continue  # the action says what becomes of `is_active`
        text.append("\n" if text else "")
        text.append(f"{name}: ", style="dim")
        text.append(cell(new) if change.action == "insert" else f"{cell(old, '(empty)')} → {cell(new, '(empty)')}")
    return text


def change_rows(change: Change) -> Iterator[tuple[str, ...]]:
    """The lines of a change in a CSV file: one a field, at least one."""
    head = (change.entity, change.key, change.action)
    for name, (old, new) in change.fields.items():
        yield (*head, name, cell(old), cell(new))
    if not change.fields:
        yield (*head, "", "", "")


def tell_of_file(path: Path | None, rows: int, what: str, *, as_json: bool) -> None:
    """Say on stderr what has been written, if anything."""
    if path is not None and not as_json:
        note(f"{path}: {rows:,} {what}. Personal data: keep it accordingly.")


@contextlib.contextmanager
def writing_csv(path: Path, header: Sequence[str]) -> Iterator[Callable[[Sequence[str]], Any]]:
    """A new CSV file in UTF-8 that only its owner may read; the function writes a row.

    Raises:
        PermanentError: the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            yield writer.writerow
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror or error}.") from error
