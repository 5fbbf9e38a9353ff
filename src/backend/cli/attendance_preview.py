"""`hrsync attendance preview`: days of attendance from files alone; no database, no settings, nothing is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.exits import ExitCode
from backend.cli.output import AsJson, note, show, table

if TYPE_CHECKING:
    from rich.console import Console

    from backend.adapters.csv_table import CsvReading
    from backend.adapters.employment_csv import EmployedPerson
    from backend.domain.attendance.day import AttendanceDay, WorkPunch
    from backend.domain.attendance.people import PersonFacts
    from backend.domain.attendance.preview import PreviewedPerson
    from backend.domain.attendance.rules import AttendanceRules
    from backend.domain.attendance.setup import Setup

# A punch of a clock that is years wrong is not to make years of days.
_MOST_DAYS_UNASKED = 400
_MOST_DAYS = 3660
_SHOWN_PROBLEMS = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preview")(preview)


def preview(  # noqa: PLR0917 - the parameters are options
    policy: Annotated[
        Path, typer.Option("--policy", exists=True, dir_okay=False, help="The rules: a file such as attendance.toml.")
    ],
    punches: Annotated[
        Path, typer.Option("--punches", exists=True, dir_okay=False, help="CSV: employee_no, punched_at, ...")
    ],
    employment: Annotated[
        Path | None,
        typer.Option("--employment", exists=True, dir_okay=False, help="CSV: who, where, from when to when."),
    ] = None,
    leave: Annotated[
        Path | None, typer.Option("--leave", exists=True, dir_okay=False, help="CSV: employee_no, starts_on, ends_on.")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="The first day; without it, that of the punches.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="The last day; without it, that of the punches.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="TIME", help="Compute as if it were this time; the end of the day after --to."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="ZONE", help="The zone of every place of work.")
    ] = None,
    employee: Annotated[list[str] | None, typer.Option("--employee", help="Only this one; may be repeated.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Tell each day as a text, with every punch.")] = False,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Exit code 0 although lines could not be read.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Compute days of attendance from files alone, and write nothing.

    Lines that cannot be read are told with their number and the reason, the others are computed; the exit code is
    then 1, unless --skip-bad-lines is given. docs/attendance-preview.md describes the files and the JSON.
    """
    from backend.adapters.csv_table import CsvReading
    from backend.domain.attendance.preview import describe_person, end_of_next_day, find_dates, preview_people

    first_on, last_on = _read_date("--from", first), _read_date("--to", last)
    reading = CsvReading()
    employed, people = _read_people(employment, leave, reading)
    rules = _read_rules(policy, employed, employment, timezone)
    grouped, is_listed = _read_punches(punches, rules, people, reading), employment is not None
    zones = {number: _zone(rules, people, number) for number in (*people, *grouped)}
    dates = find_dates((some, zones[number]) for number, some in grouped.items())
    first_on, last_on = _choose_dates(first_on, last_on, dates, reading)
    people = _choose_people(people, grouped, employee, is_listed=is_listed)
    until = _read_as_of(as_of, rules) or end_of_next_day(last_on, [*zones.values()] or [dt.UTC])
    setup = _make_setup(policy, rules, first_on, last_on)
    found = [*preview_people(setup, people, grouped, first=first_on, last=last_on, as_of=until)]
    strangers = {number: len(some) for number, some in sorted(grouped.items()) if number not in people}
    unknown = strangers if is_listed and not employee else {}
    sites = _count_unknown_sites(rules, people)
    data: dict[str, Any] = {
        "from": first_on,
        "to": last_on,
        "as_of": until,
        "employees": [describe_person(person) for person in found] if as_json else [],
        "unknown_employees": [{"employee_no": number, "punches": count} for number, count in unknown.items()],
        "problems": [
            {"file": problem.file, "line": problem.line, "message": problem.message} for problem in reading.problems
        ],
        "unknown_sites": [{"site": site, "employees": count} for site, count in sites.items()],
        "ignored_columns": reading.ignored_columns,
    }
    show(as_json, data, lambda output: _render(output, found, explain=explain))
    if sites:
        note(f"The rules do not know the sites {', '.join(sites)}; who works there counts as of {rules.default_site}.")
    _tell_rest(reading, unknown, found)
    return ExitCode.FAILED if reading.problems and not skip_bad_lines else ExitCode.DONE


# --- what is given ----------------------------------------------------------------------------------------------------


def _read_people(
    employment: Path | None, leave: Path | None, reading: CsvReading
) -> tuple[Mapping[str, EmployedPerson], dict[str, PersonFacts]]:
    """Who is employed when and where, with leaves. Without a file of employment, only who has leaves: always."""
    from backend.adapters.employment_csv import read_employment_csv, read_leave_csv
    from backend.domain.attendance.people import PersonFacts, sort_leaves

    employed = read_employment_csv(employment, reading) if employment is not None else {}
    leaves: dict[str, list[Any]] = {}
    for number, item in read_leave_csv(leave, reading) if leave is not None else ():
        leaves.setdefault(number, []).append(item)
    numbers = [*employed] if employment is not None else [*leaves]
    people = {}
    for number in sorted(numbers):
        person = employed.get(number)
        people[number] = PersonFacts(
            departments=person.departments if person else (),
            site=person.site if person else None,
            periods=tuple(person.periods) if person else ((None, None),),
            leaves=sort_leaves(leaves.get(number, ())),
        )
    return employed, people


def _read_rules(
    policy: Path, employed: Mapping[str, EmployedPerson], employment: Path | None, timezone: str | None
) -> AttendanceRules:
    from backend.adapters.attendance_file import load_attendance_file, parse_attendance_rules
    from backend.domain.attendance.preview import in_one_zone

    content = load_attendance_file(policy)
    given = [item for person in employed.values() for item in person.assignments]
    rules = parse_attendance_rules(content, file=str(policy))
    if employment is not None:
        rules = parse_attendance_rules(content, file=str(employment), assignments=given, beside="")
    if timezone is None:
        return rules
    _check_zone(timezone)
    return in_one_zone(rules, timezone)


def _read_punches(
    file: Path, rules: AttendanceRules, people: Mapping[str, PersonFacts], reading: CsvReading
) -> dict[str, list[WorkPunch]]:
    """The punches by employee number."""
    from backend.adapters.punch_csv import read_punch_csv

    found: dict[str, list[WorkPunch]] = {}
    for number, punch in read_punch_csv(file, lambda number: _zone(rules, people, number), reading):
        found.setdefault(number, []).append(punch)
    return found


def _count_unknown_sites(rules: AttendanceRules, people: Mapping[str, PersonFacts]) -> dict[str, int]:
    """The sites of employees that the rules do not have, and how many employees each."""
    from collections import Counter

    strange = Counter(person.site for person in people.values() if person.site and person.site not in rules.sites)
    return {site: count for site, count in sorted(strange.items()) if site is not None}


def _zone(rules: AttendanceRules, people: Mapping[str, PersonFacts], number: str) -> dt.tzinfo:
    from backend.domain.attendance.preview import zone_of

    return zone_of(rules, people[number].site if number in people else None)


def _choose_people(
    people: Mapping[str, PersonFacts],
    punches: Mapping[str, Sequence[WorkPunch]],
    wanted: Sequence[str] | None,
    *,
    is_listed: bool,
) -> dict[str, PersonFacts]:
    """Who is computed: who is employed; without a list of these, everybody who has punches or leaves."""
    from backend.domain.attendance.people import PersonFacts
    from backend.errors import NotFoundError

    known = dict(people)
    if not is_listed:
        for number in punches:
            known.setdefault(number, PersonFacts(periods=((None, None),)))
    missing = [number for number in wanted or () if number not in known]
    if missing:
        raise NotFoundError(
            f"The files know no employee {', '.join(missing)}; leave --employee out to see everybody they know."
        )
    return {number: known[number] for number in sorted(known) if not wanted or number in wanted}


def _choose_dates(
    first: dt.date | None, last: dt.date | None, dates: tuple[dt.date, dt.date] | None, reading: CsvReading
) -> tuple[dt.date, dt.date]:
    if first is None or last is None:
        if dates is None and first is None and last is None:
            unread = f" The first line that could not be read: {reading.problems[0]}." if reading.problems else ""
            raise typer.BadParameter(f"There are no punches to tell the days; give --from and --to.{unread}")
        one, other = dates or (first or last, first or last)
        is_asked = first is not None or last is not None
        first, last = first or one, last or other
        assert first is not None
        assert last is not None
        if (last - first).days >= _MOST_DAYS_UNASKED and not is_asked:
            raise typer.BadParameter(
                f"The punches are from {first} to {last}, which is more than {_MOST_DAYS_UNASKED} days; "
                "give --from and --to."
            )
    if last < first:
        raise typer.BadParameter(f"The last day ({last}) is before the first one ({first}).")
    if (last - first).days >= _MOST_DAYS:
        raise typer.BadParameter(f"From {first} to {last} are more than {_MOST_DAYS} days; ask for fewer at a time.")
    return first, last


def _make_setup(policy: Path, rules: AttendanceRules, first: dt.date, last: dt.date) -> Setup:
    from backend.adapters.attendance_rules import FileRuleSource
    from backend.domain.attendance.setup import Setup

    # Shifts at the edges know the days beside them.
    years = dt.date(first.year - 1, 1, 1), dt.date(last.year + 1, 12, 31)
    return Setup(rules=rules, holidays=FileRuleSource(policy).public_holidays(rules.sites.values(), *years))


def _read_date(option: str, text: str | None) -> dt.date | None:
    from backend.adapters.punch_csv import check_year

    try:
        return None if text is None else check_year(dt.date.fromisoformat(text))
    except ValueError:
        raise typer.BadParameter(f"{option}: {text!r} is no date; write it as 2026-03-31.") from None


def _read_as_of(text: str | None, rules: AttendanceRules) -> dt.datetime | None:
    from backend.adapters.punch_csv import read_instant
    from backend.domain.attendance.preview import zone_of

    try:
        return None if text is None else read_instant(text, zone_of(rules, None))
    except ValueError as error:
        raise typer.BadParameter(f"--as-of: {error}.") from None


def _check_zone(name: str) -> None:
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(f"--timezone: there is no time zone {name}; write a name as Europe/Berlin.") from None


# --- what is found ----------------------------------------------------------------------------------------------------


def _render(output: Console, people: Iterable[PreviewedPerson], *, explain: bool) -> None:
    from rich.text import Text

    from backend.domain.attendance.explain import explain as explain_day

    for person in people:
        output.print(Text(f"{person.employee_no}, {person.site} ({person.timezone})", style="bold"))
        if explain:
            for day, _ in person.days:
                output.print(Text(f"{explain_day(day, person.timezone)}\n"))
        elif person.days:
            output.print(days_table([day for day, _ in person.days], person.timezone))
        output.print(Text(_sum_up(person)))
        output.print()


def days_table(days: Sequence[AttendanceDay], timezone: dt.tzinfo) -> Any:
    """A table of days, with a line of sums."""
    from backend.domain.attendance.explain import duration

    def clock(instant: dt.datetime | None, day: dt.date) -> str:
        if instant is None:
            return "-"
        local = instant.astimezone(timezone)
        offset = (local.date() - day).days
        return f"{local:%H:%M}" + (f" {offset:+d}d" if offset else "")

    def spent(seconds: int) -> str:
        return duration(seconds) if seconds else "-"

    columns = ("worked_seconds", "break_seconds", "late_seconds", "early_seconds", "overtime_seconds")
    rows: list[Sequence[Any]] = [
        (
            f"{day.work_on:%a} {day.work_on}",
            day.shift_code or "-",
            day.status.value,
            clock(day.first_in_at, day.work_on),
            clock(day.last_out_at, day.work_on),
            *(spent(getattr(day, name)) for name in columns),
            ", ".join(day.anomalies),
        )
        for day in days
    ]
    sums = (spent(sum(getattr(day, name) for day in days)) for name in columns)
    rows.append(("together", "", "", "", "", *sums, ""))
    titles = ("DAY", "SHIFT", "STATUS", "IN", "OUT", "WORKED", "BREAK", "LATE", "EARLY", "OVERTIME")
    return table([*titles, ("LOOK AT", {"no_wrap": False, "overflow": "fold"})], rows)


def _sum_up(person: PreviewedPerson) -> str:
    counts: dict[str, int] = {}
    for day, _ in person.days:
        counts[day.status.value] = counts.get(day.status.value, 0) + 1
    words = [f"{count} {status.replace('_', ' ')}" for status, count in counts.items()]
    return f"{_count(len(person.days), 'day')}: {', '.join(words)}" if words else "No days of employment."


def _tell_rest(reading: CsvReading, unknown: Mapping[str, int], people: Iterable[PreviewedPerson]) -> None:
    """What did not come to a day, on stderr."""
    for problem in reading.problems[:_SHOWN_PROBLEMS]:
        note(f"{problem}.")
    if len(reading.problems) > _SHOWN_PROBLEMS:
        note(f"... and {len(reading.problems) - _SHOWN_PROBLEMS} lines more; --json lists them all.")
    if reading.problems:
        note(f"{len(reading.problems)} of {_count(reading.rows, 'line')} could not be read; the others are computed.")
    if unknown:
        names = ", ".join([*unknown][:_SHOWN_PROBLEMS]) + (", ..." if len(unknown) > _SHOWN_PROBLEMS else "")
        count = _count(sum(unknown.values()), "punch", "punches")
        note(f"{count} of people whom the file of employment does not have: {names}.")
    if unused := sum(person.unused for person in people):
        note(f"{_count(unused, 'punch', 'punches')} outside of these days.")
    if reading.ignored_columns:
        note(f"These columns mean nothing here: {', '.join(dict.fromkeys(reading.ignored_columns))}.")


def _count(number: int, one: str, several: str | None = None) -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
