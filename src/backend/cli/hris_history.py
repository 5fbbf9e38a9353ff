"""`hrsync hris history|as-of`: what runs did to a row, and how the rows were on a day."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.hris_words import CsvFile, cell, check_choice, tell_of_file, writing_csv
from backend.cli.output import AsJson, note, short_id, show, table
from backend.errors import NotFoundError

if TYPE_CHECKING:
    from rich.console import Console

    from backend.api.repositories.hr_history_repository import Beginning, FieldChange, KnownRow, RowAt
    from backend.domain.employees import Entity

EntityOption = Annotated[str, typer.Option("--entity", help="departments, positions, employees, leaves or holidays.")]
# What fits on a line, in the order in which people look; the other entities have few fields.
_SHOWN = {
    "employees": ("employee_no", "full_name", "department_code", "position_code", "manager_no", "status", "left_on"),
}
_NOT_SHOWN = ("stable_key", "extra")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("history")(history)
    app.command("as-of")(as_of)


# --- one row ----------------------------------------------------------------------------------------------------------


def history(
    key: Annotated[str, typer.Argument(metavar="EMP", help="The number, or a number that it had once.")],
    entity: EntityOption = "employees",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="The last so many changes.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show every change of one employee (department, position, ...), the newest last, and the run that made it."""
    from backend.api.repositories.hr_history_repository import HrHistoryRepository
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    kind = _entity(entity)

    async def read() -> list[tuple[KnownRow, Sequence[FieldChange]]]:
        repository = HrHistoryRepository()
        async with maria().reader() as session:
            rows = await repository.find_rows(session, kind, key)
            return [(row, await repository.list_changes(session, kind, row.id, limit=limit)) for row in rows]

    found = run_async(read())
    if not found:
        raise unknown_key(kind, key)
    data = {"entity": kind, "key": key, "rows": [_history_record(row, changes) for row, changes in found]}
    show(as_json, data, lambda output: render_history(output, kind, key, found))
    if not as_json and any(len(changes) == limit for _, changes in found):
        note(f"These are the last {limit:,} changes; --limit shows more.")


def _history_record(row: KnownRow, changes: Sequence[FieldChange]) -> dict[str, Any]:
    return {
        "key": row.key,
        "is_active": row.is_active,
        "first_seen_at": row.first_seen_at,
        "first_execution_id": row.first_execution_id,
        "changes": [
            {
                "changed_at": item.changed_at,
                "field": item.field,
                "old": item.old,
                "new": item.new,
                "execution_id": item.execution_id,
            }
            for item in changes
        ],
    }


def render_history(
    output: Console, kind: Entity, key: str, found: Sequence[tuple[KnownRow, Sequence[FieldChange]]]
) -> None:
    """Print the rows that have or had the key, each with its changes."""
    from rich.text import Text

    for number, (row, changes) in enumerate(found):
        if number:
            output.print()
        once = "" if row.key == key else f" (once {key})"
        output.print(Text(f"{kind.one} {row.key}{once}, {'active' if row.is_active else 'not active'}", style="bold"))
        first = (_local(row.first_seen_at), "first seen", "", _run(row.first_execution_id))
        output.print(
            table(
                ["WHEN", "FIELD", ("OLD → NEW", {"no_wrap": False, "overflow": "fold"}), "RUN"],
                [
                    first,
                    *(
                        (_local(item.changed_at), item.field, _change_text(item), _run(item.execution_id))
                        for item in changes
                    ),
                ],
                flexible=("OLD → NEW",),
            )
        )
        if row.first_execution_id is None:
            note("It was there before history was kept: what changed before that is not known.")


def _change_text(item: FieldChange) -> str:
    if item.field == "is_active":
        return "active again" if item.new == "1" else "not active any more"
    return f"{cell(item.old, '(empty)')} → {cell(item.new, '(empty)')}"


def _run(execution_id: str | None) -> str:
    return short_id(execution_id) if execution_id else "-"


def _local(instant: dt.datetime) -> str:
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S}"


# --- all rows on a day ------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Found:
    """What was found: the first rows, and numbers of all."""

    at: dt.datetime
    beginning: Beginning
    rows: list[RowAt] = field(default_factory=list)
    count: int = 0
    inactive: int = 0
    masked: dict[str, int] = field(default_factory=dict)


def as_of(  # noqa: PLR0917 - the parameters are options
    day: Annotated[
        str,
        typer.Argument(metavar="DATE", help="A day (its end, here), or an instant such as 2031-03-01T12:00+01:00."),
    ],
    department: Annotated[str | None, typer.Option("--department", help="Only who was in the department then.")] = None,
    employee: Annotated[
        str | None,
        typer.Option("--employee", help="Only who has, or had, this number; of leaves: who had it then."),
    ] = None,
    entity: EntityOption = "employees",
    inactive: Annotated[bool, typer.Option("--inactive", help="Also those that were not active then.")] = False,
    csv_file: CsvFile = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=1_000_000, help="Show so many.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show the employees (departments, positions, ...) as they were at the end of a day, or at an instant."""
    from backend.cli.session import run_async

    kind = _entity(entity)
    if department is not None and kind != "employees":
        raise typer.BadParameter("--department goes with --entity employees.")
    if employee is not None and kind not in ("employees", "leaves"):
        raise typer.BadParameter("--employee goes with --entity employees or leaves.")
    instant = parse_day(day)
    inactive = inactive or employee is not None
    where = {"department_code": department} if department is not None else {}
    found = run_async(_read_as_of(kind, instant, where, employee, inactive=inactive, csv_file=csv_file, limit=limit))
    data = {
        "entity": kind,
        "at": found.at,
        "count": found.count,
        "inactive_left_out": 0 if inactive else found.inactive,
        "complete_since": found.beginning.complete_since,
        "items": [dict(row.values) | {"is_active": row.is_active, "masked": sorted(row.masked)} for row in found.rows],
    }
    show(as_json, data, lambda output: _render_as_of(output, kind, found, inactive=inactive))
    if not as_json:
        _tell_of_as_of(kind, found, inactive=inactive)
    tell_of_file(csv_file, found.count, "rows", as_json=as_json)


async def _read_as_of(
    kind: Entity,
    at: dt.datetime,
    where: Mapping[str, str],
    employee: str | None,
    *,
    inactive: bool,
    csv_file: Any,
    limit: int,
) -> _Found:
    from backend.api.repositories.hr_history_repository import HrHistoryRepository, field_names
    from backend.db.maria_database import maria
    from backend.domain.employees import Entity

    repository, names = HrHistoryRepository(), field_names(kind)
    row_ids = None
    async with maria().reader() as session:
        found = _Found(at=at, beginning=await repository.read_beginning(session, kind))
        if kind is Entity.EMPLOYEES and employee is not None:
            row_ids = [row.id for row in await repository.find_rows(session, kind, employee)]
            if not row_ids:
                raise unknown_key(kind, employee)
        elif employee is not None:
            where = {**where, "employee_no": employee}
    with contextlib.ExitStack() as files:
        header = (*names, "is_active")
        write = files.enter_context(writing_csv(csv_file, header)) if csv_file is not None else None
        async with maria().reader() as session:
            rows = repository.stream_as_of(session, kind, at, where=where, row_ids=row_ids)
            async for row in rows:
                if not row.is_active:
                    found.inactive += 1
                    if not inactive:
                        continue
                found.count += 1
                for name in row.masked:
                    found.masked[name] = found.masked.get(name, 0) + 1
                if len(found.rows) < limit:
                    found.rows.append(row)
                if write is not None:
                    write([*(cell(row.values[name]) for name in names), "1" if row.is_active else "0"])
    return found


def parse_day(text: str) -> dt.datetime:
    """The instant that a date (its last moment, in local time) or an ISO 8601 instant stands for.

    Raises:
        BadParameter: it is neither, or a day that is still to come.
    """
    try:
        try:
            day = dt.date.fromisoformat(text)
            instant = dt.datetime.combine(day + dt.timedelta(days=1), dt.time()) - dt.timedelta(microseconds=1)
            is_ahead = day > dt.datetime.now().astimezone().date()
        except ValueError:
            instant = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
            is_ahead = instant > dt.datetime.now(dt.UTC)
        instant = instant.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a day such as 2031-03-01 nor an instant such as 2031-03-01T12:00+01:00."
        ) from None
    if is_ahead:
        raise typer.BadParameter(f"{text} has not come yet.")
    return instant


def unknown_key(kind: Entity, key: str) -> NotFoundError:
    """The error of a key that no row has or had."""
    return NotFoundError(
        f"No {kind.one} has, or had, the key {key!r}. Keys are compared exactly: case and blanks count."
    )


def _entity(text: str) -> Entity:
    from backend.domain.employees import Entity

    check_choice("--entity", text, tuple(Entity))
    return Entity(text)


def _render_as_of(output: Console, kind: Entity, found: _Found, *, inactive: bool) -> None:
    from backend.api.repositories.hr_history_repository import field_names

    if not found.count:
        output.print(f"No {kind.one} was there at {_local(found.at)}.")
        return
    names = _SHOWN.get(kind) or [name for name in field_names(kind) if name not in _NOT_SHOWN]
    active = ["ACTIVE"] if inactive or any(not row.is_active for row in found.rows) else []
    if found.rows:
        output.print(
            table(
                [*(name.upper() for name in names), *active],
                [
                    (
                        *(cell(row.values[name]) for name in names),
                        *(["yes" if row.is_active else "no"] if active else []),
                    )
                    for row in found.rows
                ],
            )
        )
    output.print(f"{found.count:,} {kind.one if found.count == 1 else kind} at {_local(found.at)}.")


def _tell_of_as_of(kind: Entity, found: _Found, *, inactive: bool) -> None:
    if found.inactive and not inactive:
        note(f"{found.inactive:,} that were not active then are left out; --inactive shows them.")
    if len(found.rows) < found.count:
        note(f"{len(found.rows):,} of {found.count:,} are shown; --limit shows more, --csv FILE writes them all.")
    for name, count in sorted(found.masked.items()):
        note(f"{name} is sensitive: of {count:,} of them history has the value of then only masked.")
    first, since = found.beginning.first_seen_at, found.beginning.complete_since
    if first is None or found.at < first:
        note(f"The {kind} are known {f'since {_local(first)} only' if first else 'not at all yet'}.")
    elif since is not None and found.at < since:
        note("That is before history was kept: of rows that were there already, values of a later time are shown.")
