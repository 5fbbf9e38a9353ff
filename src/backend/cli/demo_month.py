"""What the demo reads of a computed month of attendance: its totals, its most telling days, and what has changed."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text
from sqlalchemy import select

from backend.api.repositories.attendance_repository import AttendanceRepository, overtime_of
from backend.cli.attendance_show import ToldDay, read_day, render_day
from backend.cli.attendance_words import find_zone, hours
from backend.cli.output import facts, table
from backend.db.maria_database import maria
from backend.db.models import AttendancePerson, Day, PunchUser
from backend.domain.attendance.day import Anomaly, AttendanceDay, Fate, Status
from backend.domain.attendance.people import PersonFacts
from backend.domain.attendance.records import day_from_record

if TYPE_CHECKING:
    from rich.console import Console

_MOST_DAYS = 100_000
_NUMBER = {"justify": "right"}
# So long after the end of the shift somebody has checked out.
_AFTER_END = dt.timedelta(minutes=7)

Key = tuple[str, dt.date]


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """The days of everybody from one date to another.

    Attributes:
        people: what attendance knows of each employee.
    """

    first: dt.date
    last: dt.date
    days: Sequence[Day]
    people: Mapping[str, PersonFacts]

    @property
    def unexplained(self) -> list[Day]:
        """The days on which somebody was expected and did not come, without a leave or a holiday."""
        return [day for day in self.days if day.status == Status.ABSENT and day.first_in_at is None]

    @property
    def expected(self) -> int:
        """On how many days somebody was expected."""
        return sum(day.expected_seconds > 0 for day in self.days)

    def employed_days(self) -> set[Key]:
        """Every date of everybody who was employed on it."""
        dates = [self.first + dt.timedelta(days=number) for number in range((self.last - self.first).days + 1)]
        return {(number, on) for number, person in self.people.items() for on in dates if person.employment.covers(on)}

    def contents(self) -> dict[Key, bytes]:
        """Of each day what it is, to be compared."""
        return {_key(day): day.digest for day in self.days}


@dataclass(frozen=True, slots=True, kw_only=True)
class LatePunch:
    """A check-out that the demo lets a reader deliver late."""

    day: Day
    user: str
    device: str
    at: dt.datetime

    @property
    def time(self) -> str:
        """By the clock of the place of work."""
        return f"{self.at.astimezone(find_zone(self.day.timezone)):%H:%M}"


async def read_month(first: dt.date, last: dt.date) -> Month:
    """What was computed from `first` to `last`, both inclusive."""
    async with maria().reader() as session:
        days = await AttendanceRepository().list_days(session, first=first, last=last, limit=_MOST_DAYS)
        people = await session.execute(select(AttendancePerson.employee_no, AttendancePerson.facts))
        known = {number: PersonFacts.from_text(text) for number, text in people}
    return Month(first=first, last=last, days=days, people=known)


async def read_told(day: Day) -> ToldDay:
    """What `hrsync attendance explain` knows of the day now."""
    async with maria().reader() as session:
        return await read_day(session, day.employee_no, day.work_on)


def adds_up(day: Day) -> bool:
    """Whether the totals of a day fit each other."""
    parts = day.worked_seconds + day.break_seconds + day.away_seconds + day.deducted_seconds - day.rounding_seconds
    overtime = sum(overtime_of(day).values())
    return day.presence_seconds == parts and day.overtime_seconds == overtime <= day.worked_seconds


# --- what is shown ----------------------------------------------------------------------------------------------------


def render_month(output: Console, month: Month) -> None:
    """Days by status, and what is to be said about them."""
    groups: dict[str, list[Day]] = {}
    for day in month.days:
        groups.setdefault(day.status, []).append(day)
    rows = [_line(status, days) for status, days in sorted(groups.items(), key=lambda item: -len(item[1]))]
    output.print(
        table(
            ["STATUS", *((title, _NUMBER) for title in ("DAYS", "HOURS WORKED", "HOURS LATE", "HOURS OVERTIME"))],
            [*rows, _line("together", month.days)],
        )
    )
    overtime: Counter[str] = Counter()
    anomalies: Counter[str] = Counter()
    for day in month.days:
        overtime.update(overtime_of(day) if day.overtime_seconds else {})
        anomalies.update(day.anomalies.split(",") if day.anomalies else ())
    late = [day.late_seconds for day in month.days if day.late_seconds]
    output.print()
    output.print(
        facts(
            [
                ("  overtime", ", ".join(f"{kind} {hours(seconds)}" for kind, seconds in overtime.most_common())),
                ("  late", f"{len(late)} times, at most {hours(max(late, default=0))}"),
                ("  to look at", ", ".join(f"{code} {count}" for code, count in anomalies.most_common())),
            ]
        )
    )


def render_told(output: Console, told: ToldDay) -> None:
    """The day as `hrsync attendance explain` shows it, after the command."""
    assert told.day is not None
    output.print()
    output.print(Text(f"hrsync attendance explain {told.day.employee_no} {told.day.work_on}", style="bold"))
    render_day(output, told)


def _line(name: str, days: Sequence[Day]) -> tuple[str, ...]:
    sums = (
        sum(day.worked_seconds for day in days),
        sum(day.late_seconds for day in days),
        sum(day.overtime_seconds for day in days),
    )
    return name, f"{len(days):,}", *map(hours, sums)


# --- what is worth a look ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A kind of day that people ask about.

    Attributes:
        wanted: for which days it holds.
        score: how telling such a day is.
    """

    title: str
    wanted: Callable[[Day], bool]
    score: Callable[[AttendanceDay], int]


QUESTIONS = (
    Question(
        title="Somebody forgot to check out, and the policy of production fills it in:",
        wanted=lambda day: Anomaly.AUTO_CHECKED_OUT in (day.anomalies or "").split(","),
        score=lambda day: 4 * day.shift_code.count("night") + _count(day, Fate.BREAK_START, Fate.DUPLICATE),
    ),
    Question(
        title="Somebody punched twice:",
        wanted=lambda day: day.status == Status.PRESENT and f'"{Fate.DUPLICATE}"' in day.detail,
        score=lambda day: 2 * bool(day.late_seconds) + 2 * bool(day.break_seconds) + bool(day.overtime),
    ),
    Question(
        title="Somebody worked for a part of the day, and was on leave for the other:",
        wanted=lambda day: day.leave_seconds > 0 and day.worked_seconds > 0,
        score=lambda day: 2 * any(leave.hours is None for leave in day.leaves) + bool(day.break_seconds),
    ),
)


def find_days(month: Month) -> list[tuple[Question, Day]]:
    """For each question its most telling day, the latest of several; no question without one."""
    found = []
    for question in QUESTIONS:
        days = [day for day in month.days if question.wanted(day)]
        if days:
            best = max(days, key=lambda day: (question.score(_parse(day)), day.work_on, day.employee_no))
            found.append((question, best))
    return found


async def find_late_punch(month: Month) -> LatePunch | None:
    """A check-out that is missing and would make an absence a day of work; None: nobody forgot one."""
    for day in reversed(month.days):
        if day.status != Status.ABSENT or day.anomalies != Anomaly.MISSING_OUT or not day.shift_code:
            continue
        parsed = _parse(day)
        if len(parsed.shifts) != 1 or len(parsed.punches) != 1:
            continue
        async with maria().reader() as session:
            user = await session.scalar(select(PunchUser.user_id).where(PunchUser.employee_no == day.employee_no))
        device = parsed.punches[0].punch.device_id
        if user is not None and device is not None:
            return LatePunch(day=day, user=user, device=device, at=parsed.shifts[0].ends_at + _AFTER_END)
    return None


def _count(day: AttendanceDay, *fates: Fate) -> int:
    return sum(use.fate in fates for use in day.punches)


def _parse(day: Day) -> AttendanceDay:
    return day_from_record(json.loads(day.detail))


def _key(day: Day) -> Key:
    return day.employee_no, day.work_on
