"""Punches, shifts and days written shortly, for the tests of the attendance engine."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable, Sequence
from typing import Any

from backend.domain.attendance.calendars import Calendar, Employment, Holiday, Leave, group_holidays
from backend.domain.attendance.day import AttendanceDay, WorkPunch
from backend.domain.attendance.engine import compute_days
from backend.domain.attendance.policies import Policy
from backend.domain.attendance.shifts import FlexibleShift, Pattern, Roster, RosterPart, Shift, ShiftTimes
from backend.domain.punches import Direction

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
MONDAY = dt.date(2026, 6, 1)
LATER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
DIRECTIONS = {
    "i": Direction.IN,
    "o": Direction.OUT,
    "bs": Direction.BREAK_START,
    "be": Direction.BREAK_END,
    "oti": Direction.OVERTIME_IN,
    "oto": Direction.OVERTIME_OUT,
}


def at(text: str, zone: dt.tzinfo = BERLIN, day: dt.date = MONDAY) -> dt.datetime:
    """`9:00`, `9:00:30`, or `+1 6:00` for the next day, of the clock at the place of work."""
    days, _, time = text.rpartition(" ")
    hour, minute, *second = (int(part) for part in time.split(":"))
    wall_time = dt.datetime.combine(day + dt.timedelta(days=int(days or 0)), dt.time(hour, minute, *second))
    return wall_time.replace(tzinfo=zone).astimezone(dt.UTC)


def punches(text: str, zone: dt.tzinfo = BERLIN, day: dt.date = MONDAY) -> list[WorkPunch]:
    """Punches from `9:00i 17:00o, +1 9:00`: times with directions; a comma or blank parts them, `+1` shifts a day."""
    found: list[WorkPunch] = []
    days = "0"
    for word in text.replace(",", " ").split():
        if word[0] in "+-" and ":" not in word:
            days = word
            continue
        time = word.rstrip("iobset")
        direction = DIRECTIONS[word[len(time) :]] if word != time else None
        found.append(WorkPunch(f"{days}/{word}/{len(found)}", at(f"{days} {time}", zone, day), direction))
        days = "0"
    return found


def times(text: str, **more: Any) -> ShiftTimes:
    """The times of `9:00-17:00`."""
    start, end = (dt.time(*(int(part) for part in word.split(":"))) for word in text.split("-"))
    return ShiftTimes(start=start, end=end, **more)


def shift(text: str, code: str = "day", **more: Any) -> Shift:
    """A shift with one version."""
    return Shift(code=code, versions=(times(text, **more),))


def roster(
    *days: str | tuple[str, ...] | None, shifts: Iterable[Shift | FlexibleShift], anchor: dt.date = MONDAY
) -> Roster:
    """A pattern of shift codes from the anchor on; None is a rest day."""
    cycle = tuple(day if isinstance(day, tuple) else (day,) if day else () for day in days)
    pattern = Pattern(code="pattern", anchor_on=anchor, days=cycle)
    return Roster(parts=(RosterPart(pattern=pattern),), shifts={item.code: item for item in shifts})


def every_day(text: str, **more: Any) -> Roster:
    """The same shift on every day."""
    return roster("day", shifts=[shift(text, **more)])


NINE_TO_FIVE = every_day("9:00-17:00")
NIGHTS = every_day("22:00-6:00")
OFFICE_WEEK = roster("day", "day", "day", "day", "day", None, None, shifts=[shift("9:00-17:00")])
FREE = Roster()


def calendar(*items: Holiday | Leave) -> Calendar:
    """Holidays and leaves together."""
    return Calendar(
        holidays=group_holidays(item for item in items if isinstance(item, Holiday)),
        leaves=tuple(item for item in items if isinstance(item, Leave)),
    )


def compute(
    given: str | Sequence[WorkPunch],
    shifts: Roster = NINE_TO_FIVE,
    policy: Policy | None = None,
    *,
    days: int = 1,
    zone: dt.tzinfo = BERLIN,
    first: dt.date = MONDAY,
    off: Calendar | None = None,
    employment: Employment | None = None,
    as_of: dt.datetime = LATER,
    **more: Any,
) -> list[AttendanceDay]:
    """The days from `first` on."""
    return compute_days(
        punches(given, zone, first) if isinstance(given, str) else given,
        shifts,
        policy or Policy(),
        off or Calendar(),
        employment or Employment(),
        timezone=zone,
        first=first,
        last=first + dt.timedelta(days=days - 1),
        as_of=as_of,
        **more,
    )


def compute_day(given: str | Sequence[WorkPunch], shifts: Roster = NINE_TO_FIVE, **more: Any) -> AttendanceDay:
    """The first of them."""
    return compute(given, shifts, **more)[0]


def clock(seconds: int) -> str:
    """Seconds as `7:30`."""
    sign, left = ("-" if seconds < 0 else ""), abs(seconds)
    text = f"{sign}{left // 3600}:{left // 60 % 60:02}"
    return text if left % 60 == 0 else f"{text}:{left % 60:02}"


def fates(day: AttendanceDay, zone: dt.tzinfo = BERLIN) -> list[str]:
    """Each punch as `09:00 check_in`."""
    return [f"{use.punch.punched_at.astimezone(zone):%H:%M} {use.fate}" for use in day.punches]
