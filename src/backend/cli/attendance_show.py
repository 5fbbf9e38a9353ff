"""`hrsync attendance explain|days|adjustments|locks`: what was computed, and why."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.attendance_words import WRAPPED, find_zone, hours, read_date
from backend.cli.output import AsJson, note, show, table
from backend.errors import NotFoundError

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy.ext.asyncio import AsyncSession

    from backend.db.models import AdjustmentRow, Day, Employee, PeriodLock
    from backend.domain.attendance.people import PersonFacts

_MOST_DAYS = 1000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("explain")(explain)
    app.command("days")(days)
    app.command("adjustments")(adjustments)
    app.command("locks")(locks)


# --- one day ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldDay:
    """What there is to tell about a day."""

    person: Employee | None
    facts: PersonFacts | None
    day: Day | None
    adjustment: AdjustmentRow | None
    is_marked: bool
    is_locked: bool


def explain(
    employee: Annotated[str, typer.Argument(metavar="EMPLOYEE", help="The employee number.")],
    date: Annotated[str, typer.Argument(metavar="DATE", help="YYYY-MM-DD, today or yesterday.")],
    as_json: AsJson = False,
) -> None:
    """Explain a day: what counts, what does not and why, with every punch."""
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    work_on = read_date(date)

    async def read() -> ToldDay:
        async with maria().reader() as session:
            return await read_day(session, employee, work_on)

    told = run_async(read())
    if told.day is None:
        raise NotFoundError(_why_there_is_no_day(employee, work_on, told))
    show(as_json, _day_record(told.day, told), lambda output: render_day(output, told))


async def read_day(session: AsyncSession, employee: str, work_on: dt.date) -> ToldDay:
    """What there is to tell about a day of an employee."""
    from backend.api.repositories.attendance_repository import AttendanceRepository

    repository = AttendanceRepository()
    return ToldDay(
        person=await repository.find_employee(session, employee),
        facts=await repository.find_facts(session, employee),
        day=await repository.find_day(session, employee, work_on),
        adjustment=await repository.find_adjustment(session, employee, work_on),
        is_marked=await repository.is_marked(session, employee, work_on),
        is_locked=any(lock.first_on <= work_on <= lock.last_on for lock in await repository.list_locks(session)),
    )


def _no_employee(number: str) -> str:
    return f"There is no employee {number}; numbers are those of the HRIS (`hrsync hris history {number}`)."


def _why_there_is_no_day(employee: str, work_on: dt.date, told: ToldDay) -> str:
    if told.person is None and told.facts is None:
        return _no_employee(employee)
    if told.facts is not None and not told.facts.employment.covers(work_on):
        periods = ", ".join(f"{first or 'ever'} to {last or 'now'}" for first, last in told.facts.periods)
        return f"{employee} was not employed on {work_on}, so there is no day. Employed: {periods or 'never'}."
    if told.is_marked:
        return f"{work_on} is marked to be computed for {employee}: `hrsync attendance recompute` does it now."
    if work_on > dt.datetime.now().astimezone().date():
        return f"{work_on} is yet to come."
    return (
        f"{work_on} was never computed for {employee}: `hrsync attendance compute {work_on} {work_on} --employee "
        f"{employee}` does it."
    )


def render_day(output: Console, told: ToldDay) -> None:
    """Explain a day that was computed."""
    from rich.text import Text

    from backend.domain.attendance.explain import explain as explain_day
    from backend.domain.attendance.records import day_from_record

    assert told.day is not None
    row, zone = told.day, find_zone(told.day.timezone)
    day = day_from_record(json.loads(row.detail))
    name = f" {told.person.full_name}" if told.person else ""
    output.print(Text(f"{row.employee_no}{name}", style="bold"), Text(f"({zone}, policy {row.policy})"))
    output.print(Text(explain_day(day, zone)))
    numbers = [
        f"{use.punch.punched_at.astimezone(zone):%H:%M:%S} #{use.punch.key}"
        for use in day.punches
        if use.punch.key.isdecimal()
    ]
    if numbers:
        output.print(Text(f"  Punch numbers, for corrections: {', '.join(numbers)}", style="dim"))
    if told.is_locked:
        output.print("  The day is in a locked period: it stays as it is.")
    if told.adjustment is not None:
        changes = ", ".join(
            f"{field.replace('_seconds', '')} {_value(field, old)} -> {_value(field, new)}"
            for field, (old, new) in told.adjustment.changes.items()
        )
        output.print(Text(f"  ! Computed now it would be different: {changes}", style="yellow"))
    if told.is_marked:
        output.print("  Something has touched the day since; it will be computed again.")


def _value(field: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{kind} {hours(seconds)}" for kind, seconds in value.items()) or "none"
    return hours(value) if field.endswith("_seconds") and isinstance(value, int) else str(value)


def _day_record(row: Day, told: ToldDay | None = None) -> dict[str, Any]:
    from backend.domain.attendance.records import day_from_record, describe_day

    record: dict[str, Any] = {
        "employee_no": row.employee_no,
        "policy": row.policy,
        "timezone": row.timezone,
        **describe_day(day_from_record(json.loads(row.detail)), find_zone(row.timezone)),
        "computed_at": row.computed_at,
        "execution_id": row.execution_id,
    }
    if told is not None:
        record |= {
            "is_locked": told.is_locked,
            "is_marked": told.is_marked,
            "adjustment": None if told.adjustment is None else _adjustment_record(told.adjustment),
        }
    return record


# --- many days --------------------------------------------------------------------------------------------------------


def days(  # noqa: PLR0917 - the parameters are options
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="The first day; without it --to.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="The last day; without it today.")] = None,
    employee: Annotated[list[str] | None, typer.Option("--employee", help="Only this one; may be repeated.")] = None,
    department: Annotated[str | None, typer.Option("--department", help="Only this department's people.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only such days, such as absent.")] = None,
    anomaly: Annotated[str | None, typer.Option("--anomaly", help="Only with this, such as missing_out.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most so many.")] = _MOST_DAYS,
    as_json: AsJson = False,
) -> None:
    """List computed days."""
    from backend.api.repositories.attendance_repository import AttendanceRepository
    from backend.cli.hris_words import check_choice
    from backend.cli.session import run_async
    from backend.db.maria_database import maria
    from backend.domain.attendance.day import Anomaly, Status

    check_choice("--status", status, tuple(Status))
    check_choice("--anomaly", anomaly, tuple(Anomaly))
    last_on = read_date(last or "today", "--to")
    first_on = read_date(first, "--from") if first else last_on
    if first_on > last_on:
        raise typer.BadParameter(f"The last day ({last_on}) is before the first one ({first_on}).")

    async def read() -> Sequence[Day]:
        repository = AttendanceRepository()
        async with maria().reader() as session:
            for number in employee or ():
                if not (
                    await repository.find_facts(session, number) or await repository.find_employee(session, number)
                ):
                    raise NotFoundError(_no_employee(number))
            return await repository.list_days(
                session,
                first=first_on,
                last=last_on,
                employees=employee or (),
                department=department,
                status=status,
                anomaly=anomaly,
                limit=limit,
            )

    found = run_async(read())
    wanted = bool(employee or department or status or anomaly)
    show(
        as_json,
        {"days": [_day_record(row) for row in found]},
        lambda output: _render_days(output, found, first_on, last_on, wanted=wanted),
    )
    if len(found) == limit:
        note(f"These are the first {limit:,}; --limit gives more.")


def _render_days(output: Console, found: Sequence[Day], first: dt.date, last: dt.date, *, wanted: bool) -> None:
    """`wanted`: only some of the days were asked for."""
    if not found:
        when = f"on {last}" if first == last else f"from {first} to {last}"
        if wanted:
            output.print(f"None of the computed days {when} is one of those that were asked for.")
        else:
            output.print(f"No day {when} has been computed; `hrsync attendance compute FROM TO` does it.")
        return
    rows = [
        (
            f"{row.work_on:%a} {row.work_on}",
            row.employee_no,
            row.shift_code or "-",
            row.status if row.is_final else f"{row.status} ...",
            _clock(row.first_in_at, row),
            _clock(row.last_out_at, row),
            hours(row.worked_seconds),
            hours(row.late_seconds),
            hours(row.early_seconds),
            hours(row.overtime_seconds),
            (row.anomalies or "").replace(",", ", "),
        )
        for row in found
    ]
    titles = ("DAY", "EMPLOYEE", "SHIFT", "STATUS", "IN", "OUT", "WORKED", "LATE", "EARLY", "OVERTIME")
    output.print(table([*titles, ("LOOK AT", WRAPPED)], rows))


def _clock(instant: dt.datetime | None, row: Day) -> str:
    if instant is None:
        return "-"
    local = instant.astimezone(find_zone(row.timezone))
    later = (local.date() - row.work_on).days
    return f"{local:%H:%M}" + (f" {later:+d}d" if later else "")


# --- closed periods ---------------------------------------------------------------------------------------------------


def adjustments(
    employee: Annotated[str | None, typer.Option("--employee", help="Only this one's.")] = None,
    settled: Annotated[bool, typer.Option("--settled", help="Also those that went away again.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List how locked days would be different if they were computed now."""
    from backend.api.repositories.attendance_repository import AttendanceRepository
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    async def read() -> Sequence[AdjustmentRow]:
        async with maria().reader() as session:
            return await AttendanceRepository().list_adjustments(
                session, employee_no=employee, settled=settled, limit=limit
            )

    def render(output: Console) -> None:
        if not found:
            output.print("No adjustments: every locked day is what it would be if it were computed now.")
            return
        rows = [
            (
                row.work_on,
                row.employee_no,
                hours(row.worked_seconds) if row.worked_seconds <= 0 else f"+{hours(row.worked_seconds)}",
                "settled" if row.settled_at else f"{row.found_at:%Y-%m-%d}",
                ", ".join(
                    f"{field.replace('_seconds', '')} {_value(field, old)} -> {_value(field, new)}"
                    for field, (old, new) in row.changes.items()
                ),
            )
            for row in found
        ]
        output.print(table(["DAY", "EMPLOYEE", "WORKED", "FOUND", ("CHANGES", WRAPPED)], rows))

    found = run_async(read())
    show(as_json, {"adjustments": [_adjustment_record(row) for row in found]}, render)


def _adjustment_record(row: AdjustmentRow) -> dict[str, Any]:
    names = ("employee_no", "work_on", "worked_seconds", "overtime", "changes", "found_at", "changed_at", "settled_at")
    return {name: getattr(row, name) for name in names}


def locks(as_json: AsJson = False) -> None:
    """List the locked periods."""
    from backend.api.repositories.attendance_repository import AttendanceRepository
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    async def read() -> Sequence[PeriodLock]:
        async with maria().reader() as session:
            return await AttendanceRepository().list_locks(session)

    def render(output: Console) -> None:
        if not found:
            output.print("No period is locked. `hrsync attendance lock FROM TO --reason ...` locks one.")
            return
        rows = [
            (row.id, row.first_on, row.last_on, f"{row.made_at:%Y-%m-%d}", row.made_by, row.reason) for row in found
        ]
        output.print(table(["NO", "FROM", "TO", "LOCKED", "BY", ("REASON", WRAPPED)], rows))

    found = run_async(read())
    names = ("id", "first_on", "last_on", "made_at", "made_by", "reason")
    show(as_json, {"locks": [{name: getattr(row, name) for name in names} for row in found]}, render)
