"""`hrsync attendance add-punch|edit-punch|ignore-punch|override|assign|withdraw|amendments`: what people say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.attendance_words import WRAPPED, hours, read_date, read_hours, read_instant, read_reason
from backend.cli.output import AsJson, show, table

if TYPE_CHECKING:
    from rich.console import Console

    from backend.api.repositories.attendance_repository import Amendment
    from backend.services.amend_attendance import Amender

Employee = Annotated[str, typer.Argument(metavar="EMPLOYEE", help="The employee number.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with it.")]
DirectionOption = Annotated[
    str | None, typer.Option("--direction", help="in, out, break_start, break_end, overtime_in or overtime_out.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("add-punch")(add_punch)
    app.command("edit-punch")(edit_punch)
    app.command("ignore-punch")(ignore_punch)
    app.command("override")(override)
    app.command("assign")(assign)
    app.command("withdraw")(withdraw)
    app.command("amendments")(amendments)


# --- punches ----------------------------------------------------------------------------------------------------------


def add_punch(
    employee: Employee,
    time: Annotated[str, typer.Argument(metavar="TIME", help="'2026-11-20 08:30', by the clock of the place of work.")],
    reason: Reason,
    direction: DirectionOption = None,
    as_json: AsJson = False,
) -> None:
    """Add a punch that is missing; the days it touches are computed again."""
    _amend("correction", reason, as_json, lambda amender: _with_instant(employee, time, direction, amender.add_punch))


def edit_punch(  # noqa: PLR0917 - the parameters are options
    employee: Employee,
    punch: Annotated[int, typer.Argument(metavar="PUNCH", help="Its number, as `explain` shows it.")],
    reason: Reason,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Another time.")] = None,
    direction: DirectionOption = None,
    as_json: AsJson = False,
) -> None:
    """Let a punch count with another time or direction; the punch itself stays as the device gave it."""
    if at is None and direction is None:
        raise typer.BadParameter("Give --at, --direction, or both.")

    async def edit(amender: Amender) -> int:
        return await _with_instant(
            employee, at, direction, lambda number, instant, kind: amender.edit_punch(number, punch, instant, kind)
        )

    _amend("correction", reason, as_json, edit)


def ignore_punch(
    employee: Employee,
    punch: Annotated[int, typer.Argument(metavar="PUNCH", help="Its number, as `explain` shows it.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Let a punch not count."""
    _amend("correction", reason, as_json, lambda amender: amender.ignore_punch(employee, punch))


async def _with_instant(
    employee: str, time: str | None, direction: str | None, then: Callable[..., Awaitable[int]]
) -> int:
    from backend.cli.hris_words import check_choice
    from backend.domain.punches import Direction

    check_choice("--direction", direction, tuple(Direction))
    instant = None if time is None else read_instant(time, await _zone_of(employee))
    return await then(employee, instant, None if direction is None else Direction(direction))


async def _zone_of(employee: str) -> Any:
    """The zone of somebody's place of work, as the rules have it now."""
    from zoneinfo import ZoneInfo

    from backend.api.repositories.attendance_repository import AttendanceRepository
    from backend.db.maria_database import maria
    from backend.resources import attendance_rules

    source = attendance_rules()
    rules = source.parse(source.load(), ())
    async with maria().reader() as session:
        facts = await AttendanceRepository().find_facts(session, employee)
    return ZoneInfo(rules.site_of(facts.site if facts else None).timezone)


# --- days and schedules -----------------------------------------------------------------------------------------------


def override(  # noqa: PLR0917 - the parameters are options
    employee: Employee,
    date: Annotated[str, typer.Argument(metavar="DATE", help="YYYY-MM-DD, today or yesterday.")],
    reason: Reason,
    status: Annotated[str | None, typer.Option("--status", help="Such as present or on_leave.")] = None,
    worked: Annotated[str | None, typer.Option("--worked", metavar="HOURS", help="Such as 7:30.")] = None,
    late: Annotated[str | None, typer.Option("--late", metavar="HOURS", help="Such as 0:00.")] = None,
    early: Annotated[str | None, typer.Option("--early", metavar="HOURS", help="Such as 0:00.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set what a day is; what is not given stays as it is computed. It survives every computation."""
    from backend.cli.hris_words import check_choice
    from backend.domain.attendance.day import Status

    check_choice("--status", status, tuple(Status))
    work_on = read_date(date)
    times = {
        f"{name}_seconds": None if text is None else read_hours(text, f"--{name}")
        for name, text in (("worked", worked), ("late", late), ("early", early))
    }
    if status is None and all(value is None for value in times.values()):
        raise typer.BadParameter("Say what the day is to be: --status, --worked, --late or --early.")
    kind = None if status is None else Status(status)
    _amend("override", reason, as_json, lambda amender: amender.override_day(employee, work_on, status=kind, **times))


def assign(  # noqa: PLR0917 - the parameters are options
    reason: Reason,
    employee: Annotated[str | None, typer.Option("--employee", help="For this employee.")] = None,
    department: Annotated[str | None, typer.Option("--department", help="For this department and those below.")] = None,
    exception: Annotated[
        bool, typer.Option("--exception", help="Of the employee: goes before everything else, such as a swap.")
    ] = False,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="A pattern of attendance.toml; '' for work without a schedule.")
    ] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="A policy of attendance.toml.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="The first day.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="The last day.")] = None,
    as_json: AsJson = False,
) -> None:
    """Assign a pattern, a policy, or both, beside the assignments of attendance.toml."""
    from backend.domain.attendance.assignments import Assignment, Scope

    if (employee is None) == (department is None):
        raise typer.BadParameter("Give --employee or --department, one of them.")
    if exception and employee is None:
        raise typer.BadParameter("--exception is for an --employee.")
    if pattern is None and policy is None:
        raise typer.BadParameter("Give --pattern, --policy, or both.")
    scope = Scope.DEPARTMENT if employee is None else Scope.EXCEPTION if exception else Scope.EMPLOYEE
    item = Assignment(
        scope=scope,
        target=employee or department or "",
        pattern=pattern,
        policy=policy,
        first_on=read_date(first, "--from") if first else dt.date.min,
        last_on=read_date(last, "--to") if last else dt.date.max,
    )
    _amend("assignment", reason, as_json, lambda amender: amender.assign(item))


# --- all of them ------------------------------------------------------------------------------------------------------


def withdraw(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="correction, override, assignment or lock.")],
    number: Annotated[int, typer.Argument(metavar="NO", help="Its number, as `amendments` or `locks` shows it.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Take back a correction, an override, an assignment, or a lock."""
    from backend.adapters.attendance_amendments import KINDS
    from backend.cli.hris_words import check_choice

    check_choice("KIND", kind, KINDS)

    async def take_back(amender: Amender) -> int:
        await amender.withdraw(kind, number)
        return number

    _amend(kind, reason, as_json, take_back, done="is withdrawn")


def amendments(
    employee: Annotated[str | None, typer.Option("--employee", help="Only those about this one.")] = None,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Also those that were taken back.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List corrections, overrides and assignments with who made them and why, the newest first."""
    from backend.api.repositories.attendance_repository import AttendanceRepository
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    async def read() -> Sequence[tuple[str, Amendment]]:
        async with maria().reader() as session:
            return await AttendanceRepository().list_amendments(
                session, employee_no=employee, withdrawn=withdrawn, limit=limit
            )

    def render(output: Console) -> None:
        if not found:
            output.print(f"Nobody has corrected, overridden or assigned anything{f' of {employee}' * bool(employee)}.")
            return
        rows = [
            (
                f"{kind} {row.id}{' (withdrawn)' * (row.withdrawn_at is not None)}",
                _whose(row),
                _what(kind, row),
                f"{row.made_at:%Y-%m-%d}",
                row.made_by,
                row.reason,
            )
            for kind, row in found
        ]
        output.print(
            table(
                ["AMENDMENT", "WHOSE", ("WHAT", WRAPPED), "MADE", "BY", ("REASON", WRAPPED)],
                rows,
                flexible=("WHAT", "REASON"),
            )
        )

    found = run_async(read())
    show(as_json, {"amendments": [{"kind": kind} | _record(row) for kind, row in found]}, render)


def _amend(
    kind: str,
    reason: str,
    as_json: bool,
    say: Callable[[Amender], Awaitable[int]],
    *,
    done: str = "is kept",
) -> None:
    from backend.cli.session import actor, run_async
    from backend.resources import amendment_store, attendance_rules
    from backend.services.amend_attendance import Amender

    why = read_reason(reason)

    async def amend() -> int:
        return await say(Amender(amendment_store(), attendance_rules(), made_by=actor(), reason=why))

    number = run_async(amend())
    text = f"{kind.capitalize()} {number} {done}. The days it touches are computed by the next run of"
    show(
        as_json,
        {"kind": kind, "number": number},
        lambda output: output.print(f"{text} attendance_recompute_dirty; `hrsync attendance recompute` does it now."),
    )


def _whose(row: Any) -> str:
    if hasattr(row, "scope"):
        return f"{row.scope} {row.target}".strip()
    return str(row.employee_no)


def _what(kind: str, row: Any) -> str:
    if kind == "correction":
        punch = f" punch #{row.punch_id}" if row.punch_id else ""
        at = f" {row.punched_at:%Y-%m-%d %H:%M} UTC" if row.punched_at else ""
        return f"{row.action}{punch}{at}{f' {row.direction}' if row.direction else ''}"
    if kind == "override":
        times = {"worked": row.worked_seconds, "late": row.late_seconds, "early": row.early_seconds}
        words = [f"{name} {hours(value)}" for name, value in times.items() if value is not None]
        return f"{row.work_on}: {', '.join([row.status, *words] if row.status else words)}"
    words = [f"{name} {value or 'none'}" for name in ("pattern", "policy") if (value := getattr(row, name)) is not None]
    return f"{', '.join(words)} from {row.first_on or 'ever'} to {row.last_on or 'ever'}"


def _record(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__mapper__.columns.keys()}  # noqa: SIM118
