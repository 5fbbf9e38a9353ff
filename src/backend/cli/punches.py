"""`hrsync punches`: the punches as the time clocks gave them, whose they are, and the sources that they come from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.exits import ExitCode
from backend.cli.output import AsJson, note, show, table

if TYPE_CHECKING:
    from rich.console import Console

    from backend.adapters.punch_list import ListedPunch
    from backend.adapters.punch_users import UserFacts
    from backend.domain.punches import EmployeeRule
    from backend.services.check_punches import SourceCheck
    from backend.services.match_users import MatchReport

app = typer.Typer(
    help="Punches of the time clocks: what they are, whose they are, where they come from.", no_args_is_help=True
)
users_app = typer.Typer(help="The user ids of the time clocks, and whose they are.", invoke_without_command=True)
app.add_typer(users_app, name="users")

_Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")]
_Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The name of the source in biostar.toml.")]
_User = Annotated[str, typer.Argument(metavar="USER", help="The user id at the time clocks.")]


# --- users ------------------------------------------------------------------------------------------------------------


@users_app.callback()
def list_users(
    context: typer.Context,
    unknown: Annotated[bool, typer.Option("--unknown", help="Only those that are nobody's.")] = False,
    limit: _Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """Show the user ids that have punched, and whose they are; those that are nobody's with the reason."""
    if context.invoked_subcommand is not None:
        return
    from backend.adapters.punch_users import DatabasePunchUsers
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    found = run_async(DatabasePunchUsers(maria()).list_users(_rules(), unknown_only=unknown, limit=limit))
    show(as_json, {"items": found}, lambda output: _render_users(output, found, unknown=unknown))
    if len(found) == limit and not as_json:
        note(f"The first {limit:,} are shown; --limit shows more.")


@users_app.command("assign")
def assign(
    source: _Source,
    user: _User,
    employee: Annotated[str, typer.Argument(metavar="EMPLOYEE", help="The employee number.")],
    as_json: AsJson = False,
) -> None:
    """Say whose a user id is, whatever the rule of its source says; all its punches become that employee's."""
    _say(source, user, employee, as_json=as_json)


@users_app.command("unassign")
def unassign(source: _Source, user: _User, as_json: AsJson = False) -> None:
    """Take back what was said about a user id; the rule of its source decides again."""
    _say(source, user, None, as_json=as_json)


def _say(source: str, user: str, employee: str | None, *, as_json: bool) -> None:
    from backend.adapters.punch_users import DatabasePunchUsers
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.cli.session import actor, run_async
    from backend.db.maria_database import maria
    from backend.errors import NotFoundError
    from backend.services.match_users import match_users

    rules = _rules()
    if source not in rules:
        raise NotFoundError(f"There is no source {source!r} in biostar.toml; there are: {', '.join(rules)}.")

    async def work() -> MatchReport:
        users = DatabasePunchUsers(maria())
        await users.assign(source, user, employee, actor=actor())
        action = "punch_user_unassigned" if employee is None else "punch_user_assigned"
        async with maria().session() as session:
            await SchedulerRepository().record_audit(
                session, actor(), action, ("punch_user", f"{source}/{user}"[:100]), {"employee_no": employee}
            )
        return await match_users(users, {source: rules[source]})

    report = run_async(work())
    if as_json:
        show(True, {"source": source, "user_id": user, "employee_no": employee, "changed": report.changed}, print)
    elif employee is None:
        note(f"The rule of {source} decides about {user} again.")
    else:
        note(f"The punches of {user} are those of employee {employee}; the days are computed again by the next run.")


def _rules() -> dict[str, EmployeeRule]:
    from backend.resources import punch_definitions

    return {name: definition.rules.employee for name, definition in punch_definitions().items()}


def _render_users(output: Console, users: Sequence[UserFacts], *, unknown: bool) -> None:
    if not users:
        output.print("There is no user id that is nobody's." if unknown else "Nobody has punched.")
        return
    output.print(
        table(
            ["SOURCE", "USER", "EMPLOYEE", ("PUNCHES", {"justify": "right"}), "FIRST", "LAST", "WHY"],
            [
                (
                    user.source,
                    user.user_id,
                    user.employee_no or "-",
                    f"{user.punch_count:,}",
                    _minute(user.first_punch_at),
                    _minute(user.last_punch_at),
                    user.reason,
                )
                for user in users
            ],
            flexible=["WHY"],
        )
    )


def _minute(instant: dt.datetime | None) -> str:
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


# --- punches ----------------------------------------------------------------------------------------------------------


@app.command("list")
def list_punches(  # noqa: PLR0917 - the parameters are options
    employee: Annotated[str | None, typer.Option("--employee", help="Only those of this employee number.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only those of this user id.")] = None,
    flag: Annotated[
        str | None, typer.Option("--flag", help="Only those that are odd: future, late or pre_employment.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="From this date (UTC) on.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Up to this date (UTC), included.")] = None,
    limit: _Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Show punches as they were taken over, the newest first. Times are UTC."""
    from backend.adapters.punch_list import PRE_EMPLOYMENT, PunchFilter, fetch_punches
    from backend.cli.hris_words import check_choice
    from backend.cli.session import run_async
    from backend.db.maria_database import maria
    from backend.domain.punches import PunchFlag

    check_choice("--flag", flag, (*PunchFlag, PRE_EMPLOYMENT))
    wanted = PunchFilter(
        employee_no=employee, user_id=user, flag=flag, first_on=_date("--from", first), last_on=_date("--to", last)
    )
    found = run_async(fetch_punches(maria(), wanted, limit=limit))
    show(as_json, {"items": found}, lambda output: _render_punches(output, found))
    if len(found) == limit and not as_json:
        note(f"The newest {limit:,} are shown; --limit shows more.")


def _date(option: str, text: str | None) -> dt.date | None:
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r} is no date; write it as 2026-11-30.") from None


def _render_punches(output: Console, punches: Sequence[ListedPunch]) -> None:
    if not punches:
        output.print("There are no such punches.")
        return
    output.print(
        table(
            ["PUNCHED (UTC)", "USER", "EMPLOYEE", "DIRECTION", "DEVICE", "FLAGS", "SOURCE", "EVENT"],
            [
                (
                    f"{punch.punched_at:%Y-%m-%d %H:%M:%S}",
                    punch.user_id,
                    punch.employee_no or "-",
                    punch.direction or "-",
                    punch.device_id or "-",
                    ", ".join(punch.flags),
                    punch.source,
                    f"{punch.source_table}/{punch.event_key}",
                )
                for punch in punches
            ],
            flexible=["EVENT"],
        )
    )


# --- sources ----------------------------------------------------------------------------------------------------------


@app.command("check")
def check(
    events: Annotated[
        int, typer.Option("--events", min=1, max=200_000, help="Look at about so many of the newest events.")
    ] = 5000,
    as_json: AsJson = False,
) -> int:
    """Connect to every source of biostar.toml and say what it holds; exit code 1 when a run would fail.

    Exit code 78: biostar.toml is wrong. Nothing is written.
    """
    from backend.cli.doctor import worst_level
    from backend.cli.session import run_async
    from backend.resources import punch_definitions, punch_source, punch_users
    from backend.services.check_punches import check_punches

    found = run_async(
        check_punches(
            list(punch_definitions().values()),
            open_source=punch_source,
            users=punch_users(),
            now=dt.datetime.now(dt.UTC),
            sample_events=events,
        )
    )
    worst = worst_level([finding for each in found for finding in each.findings])
    show(
        as_json, {"status": worst, "sources": [_record(each) for each in found]}, lambda out: _render_checks(out, found)
    )
    return ExitCode.FAILED if worst == "error" else ExitCode.DONE


def _record(found: SourceCheck) -> dict[str, Any]:
    names = ("name", "kind", "findings", "tables", "first_month", "events", "first_at", "last_at", "outcomes")
    codes = {"none" if code is None else str(code): count for code, count in found.codes.items()}
    record = {name: getattr(found, name) for name in (*names, "users", "unknown_users", "clocks")}
    return record | {"codes": codes}


def _render_checks(output: Console, found: Sequence[SourceCheck]) -> None:
    from backend.cli.doctor import render_findings

    for each in found:
        render_findings(output, each.findings)
        if any(code is not None for code in each.codes):
            output.print()
            output.print(
                table(
                    ["CODE", "HEX", ("EVENTS", {"justify": "right"})],
                    [
                        ("-" if code is None else code, "" if code is None else f"0x{code:04X}", f"{count:,}")
                        for code, count in each.codes.items()
                    ],
                )
            )
        if each.outcomes:
            output.print("  ".join(f"{name} {count:,}" for name, count in each.outcomes.items()))
        output.print()
