"""What commands print: tables for people, or JSON for programs; the only place that writes to stdout."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs, with stable keys.")]
SHORT_ID_LENGTH = 8
# Narrower than this a table says nothing; wider it cannot be read. Not a terminal: as wide as useful.
_LEAST_WIDTH, _MOST_WIDTH = 80, 120
_LEAST_COLUMN, _WIDEST_COLUMN = 4, 40
_COLUMN_GAP = 3
STATUS_STYLES: Mapping[str, str] = {
    "pending": "cyan",
    "running": "blue",
    "success": "green",
    "failed": "red",
    "cancelled": "yellow",
    "missed": "yellow",
    "skipped": "yellow",
}


def console(*, errors: bool = False) -> Console:
    """Where people read: stdout, or stderr for what is not the result."""
    from rich.console import Console

    made = Console(stderr=errors, highlight=False, emoji=False)
    made.width = min(max(made.width, _LEAST_WIDTH), _MOST_WIDTH) if made.is_terminal else _MOST_WIDTH
    return made


def show(as_json: bool, data: Any, render: Callable[[Console], None]) -> None:
    """Print the result of a command: `data` as JSON, or what `render` makes of it for people."""
    if as_json:
        print_json(data)
    else:
        render(console())


def print_json(data: Any) -> None:
    """Print the data as one JSON document on stdout."""
    sys.stdout.write(json.dumps(jsonable(data), ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell people something that is not the result, on stderr."""
    from rich.text import Text

    console(errors=True).print(Text(text), soft_wrap=True)


def jsonable(value: Any) -> Any:  # noqa: PLR0911 - one line per kind of value
    """The value as JSON holds it: instants as ISO 8601 in UTC, dataclasses and models as objects."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case enum.Enum():
            return value.value
        case dt.datetime():
            return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case dt.date():
            return value.isoformat()
        case Mapping():
            return {str(key): jsonable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [jsonable(item) for item in value]
        case _:
            return value


# --- words and tables -------------------------------------------------------------------------------------------------


def short_id(execution_id: str) -> str:
    """The end of an id, by which people name an execution."""
    return execution_id[-SHORT_ID_LENGTH:]


def when(instant: dt.datetime | None, now: dt.datetime, *, missing: str = "-") -> str:
    """An instant in local time with its distance from now: `14:03:22 (3 min ago)`."""
    from backend.api.dashboard.words import relative

    if instant is None:
        return missing
    local, here = instant.astimezone(), now.astimezone()
    text = f"{local:%H:%M:%S}" if local.date() == here.date() else f"{local:%Y-%m-%d %H:%M}"
    return f"{text} ({relative(instant, now)})"


def took(milliseconds: int | None) -> str:
    """A duration, or a dash."""
    from backend.api.dashboard.words import duration

    return "-" if milliseconds is None else duration(milliseconds)


def status_text(status: str) -> Text:
    """A status in its colour."""
    from rich.text import Text

    return Text(status, style=STATUS_STYLES.get(status, ""))


def table(
    columns: Sequence[str | tuple[str, Mapping[str, Any]]],
    rows: Iterable[Sequence[Any]],
    *,
    flexible: Sequence[str] = (),
) -> Table:
    """A plain table; a column is its title, or title and options of rich. Texts are taken literally.

    Args:
        flexible: titles of the columns that are cut where the table is too wide; without any, the last one.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    cells = [
        [cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row] for row in rows
    ]
    titled = [(column, {}) if isinstance(column, str) else column for column in columns]
    widest = [max([len(title), *(row[index].cell_len for row in cells)]) for index, (title, _) in enumerate(titled)]
    cut = [index for index, (title, _) in enumerate(titled) if title in flexible] or [len(titled) - 1]
    rooms = _rooms(widest, cut)
    for index, (title, options) in enumerate(titled):
        settings: dict[str, Any] = {"overflow": "ellipsis", "no_wrap": True} | dict(options)
        if index in rooms:
            settings |= {"min_width": min(len(title), _LEAST_COLUMN), "max_width": rooms[index]}
        else:
            settings |= {"min_width": min(widest[index], _WIDEST_COLUMN)}
        made.add_column(title, **settings)
    for row in cells:
        made.add_row(*row)
    return made


def _rooms(widest: Sequence[int], cut: Sequence[int]) -> dict[int, int]:
    """How wide each column that may be cut is to be at most: what the others leave, the narrow ones served first.

    Where all together are too wide, rich takes the same from each column, until the short ones are gone.
    """
    left = console().width - _COLUMN_GAP * (len(widest) - 1)
    left -= sum(width for index, width in enumerate(widest) if index not in cut)
    rooms: dict[int, int] = {}
    for served, index in enumerate(sorted(cut, key=lambda index: widest[index])):
        rooms[index] = max(_LEAST_COLUMN, min(widest[index], left // (len(cut) - served)))
        left -= rooms[index]
    return rooms


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Names and values below each other; what is None is left out."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            made.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return made
