"""When the people of the fictional company are away: their leaves, and the holidays of its sites.

Both databases follow from it: the HRIS knows the leaves and holidays, and nobody punches on them.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from backend.demo.people import WEEKENDS, Person

# Days of punches and of leaves before and with the last one: three months, touching four month tables.
KNOWN_DAYS = 92
# Leaves are granted for so many days ahead.
_DAYS_AHEAD = 31

# The HRIS cannot tell who these are, or when they work; 102 has come back under another number.
_WITHOUT_LEAVE = (102, 131, 132, 137, 139)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """A row of the HRIS about somebody's leave.

    Attributes:
        person: the number of a person; also of one that nobody is.
        kind: VAC, SICK or PAR (parental).
        half: AM or PM, when it is only that half of each day.
        hours: of each day, when it is neither whole nor half days; 0 otherwise.
        status: A approved, R requested, C cancelled.
    """

    id: int
    person: int
    kind: str
    starts_on: dt.date
    ends_on: dt.date
    half: str | None = None
    hours: float = 0
    status: str = "A"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holiday:
    """A holiday: of one site, or with None of all; `half` as of leaves."""

    on: dt.date
    name: str
    site: str | None
    half: str | None = None


@dataclass(slots=True, kw_only=True)
class Away:
    """What somebody does not work of one day."""

    halves: set[str] = field(default_factory=set)
    hours: float = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left of the day."""
        return self.halves == {"AM", "PM"}

    def add(self, half: str | None, hours: float = 0) -> None:
        """One leave or holiday more."""
        if hours:
            self.hours += hours
        else:
            self.halves |= {half} if half else {"AM", "PM"}


def make_calendar(people: Sequence[Person], until: dt.date, seed: int) -> dict[tuple[int, dt.date], Away]:
    """What each person does not work of which days of the `KNOWN_DAYS` up to `until`."""
    first = _first_day(until)
    days = [first + dt.timedelta(days=offset) for offset in range(KNOWN_DAYS)]
    found: dict[tuple[int, dt.date], Away] = {}
    for holiday in make_holidays(until):
        if first <= holiday.on <= until:
            for person in people:
                if holiday.site in (None, person.site):
                    found.setdefault((person.number, holiday.on), Away()).add(holiday.half)
    for leave in make_leaves(people, until, seed):
        if leave.status == "A":
            for day in days:
                if leave.starts_on <= day <= leave.ends_on:
                    found.setdefault((leave.person, day), Away()).add(leave.half, leave.hours)
    return found


def make_leaves(people: Sequence[Person], until: dt.date, seed: int) -> list[Leave]:
    """The leaves that the HRIS knows on `until`: of the `KNOWN_DAYS` before, and of the month to come."""
    first, last = _first_day(until), until + dt.timedelta(days=_DAYS_AHEAD)
    found = _story(until)
    taken = {leave.person for leave in found}
    for person in people:
        if person.number in _WITHOUT_LEAVE or person.number in taken:
            continue
        if person.status == "L":
            found.extend(
                Leave(
                    id=int(f"{year % 100:02}00{person.number:04}"),
                    person=person.number,
                    kind="PAR",
                    starts_on=dt.date(year, 1, 1),
                    ends_on=dt.date(year, 12, 31),
                )
                for year in range(first.year, last.year + 1)
            )
        elif person.status == "A":
            drawn = (_draw_leave(person, month, until, seed) for month in _months(first, last))
            found.extend(leave for leave in drawn if leave and leave.ends_on >= first and leave.starts_on <= last)
    return found


def make_holidays(until: dt.date) -> list[Holiday]:
    """The holidays of the years that the leaves of `until` lie in."""
    years = range(_first_day(until).year, (until + dt.timedelta(days=_DAYS_AHEAD)).year + 1)
    return [holiday for year in years for holiday in _holidays_of(year)]


def _first_day(until: dt.date) -> dt.date:
    return until - dt.timedelta(days=KNOWN_DAYS - 1)


def _months(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """The first day of each month, from the one before (its leaves may last)."""
    month = (first.replace(day=1) - dt.timedelta(days=1)).replace(day=1)
    while month <= last:
        yield month
        month = (month + dt.timedelta(days=31)).replace(day=1)


def _draw_leave(person: Person, month: dt.date, until: dt.date, seed: int) -> Leave | None:
    """What a person has in a month, if anything. By month, so that a later `until` changes nothing of the past."""
    dice = random.Random(f"leaves {seed} {person.number} {month}")  # noqa: S311 - play, not secrets
    what = dice.choices(("", "VAC", "SICK", "half", "hours", "cancelled"), (42, 26, 16, 8, 5, 3))[0]
    starts_on = month + dt.timedelta(days=dice.randrange(28))
    while starts_on.weekday() in WEEKENDS[person.site]:
        starts_on += dt.timedelta(days=1)
    days = {"VAC": dice.choice((1, 3, 5, 12)), "cancelled": 5, "SICK": dice.choice((1, 1, 2, 3, 5))}.get(what, 1)
    if not what or (what == "SICK" and starts_on > until):  # nobody is ill ahead of time
        return None
    is_request = starts_on > until and dice.random() < 0.3
    return Leave(
        id=int(f"{month:%y%m}{person.number:04}"),
        person=person.number,
        kind="SICK" if what == "SICK" else "VAC",
        starts_on=starts_on,
        ends_on=starts_on + dt.timedelta(days=days - 1),
        half=dice.choice(("AM", "PM")) if what == "half" else None,
        hours=dice.choice((1, 1.5, 2, 3)) if what == "hours" else 0,
        status="C" if what == "cancelled" else "R" if is_request else "A",
    )


def _story(until: dt.date) -> list[Leave]:
    """What a careful replication must find, whatever the seed."""
    monday = until - dt.timedelta(days=until.weekday() + 28)

    def leave(number: int, person: int, days: tuple[int, int], kind: str = "VAC", status: str = "A") -> Leave:
        first, last = (monday + dt.timedelta(days=day) for day in days)
        return Leave(id=10_000_000 + number, person=person, kind=kind, starts_on=first, ends_on=last, status=status)

    return [
        leave(1, 9998, (0, 4)),
        leave(2, 32, (9, 7)),
        leave(3, 33, (0, 4), status="C"),
        leave(4, 34, (0, 11)),
        leave(5, 34, (2, 3), kind="SICK"),
        leave(6, 35, (4, 4)),
    ]


def _holidays_of(year: int) -> Iterator[Holiday]:
    easter = _easter(year)
    by_site = {
        "BER": {
            "New Year's Day": dt.date(year, 1, 1),
            "Women's Day": dt.date(year, 3, 8),
            "Good Friday": easter - dt.timedelta(days=2),
            "Easter Monday": easter + dt.timedelta(days=1),
            "Labour Day": dt.date(year, 5, 1),
            "Ascension Day": easter + dt.timedelta(days=39),
            "Whit Monday": easter + dt.timedelta(days=50),
            "Day of German Unity": dt.date(year, 10, 3),
            "Christmas Day": dt.date(year, 12, 25),
            "Boxing Day": dt.date(year, 12, 26),
        },
        "CAI": {
            "Coptic Christmas": dt.date(year, 1, 7),
            "Revolution Day, January": dt.date(year, 1, 25),
            "Sinai Liberation Day": dt.date(year, 4, 25),
            "Labour Day": dt.date(year, 5, 1),
            "Revolution Day, June": dt.date(year, 6, 30),
            "Revolution Day, July": dt.date(year, 7, 23),
            "Armed Forces Day": dt.date(year, 10, 6),
        },
        "SHA": {
            "New Year's Day": dt.date(year, 1, 1),
            "Labour Day": dt.date(year, 5, 1),
            "National Day": dt.date(year, 10, 1),
            "National Day, second day": dt.date(year, 10, 2),
            "National Day, third day": dt.date(year, 10, 3),
        },
    }
    for site, days in by_site.items():
        for name, on in days.items():
            yield Holiday(on=on, name=name, site=site)
    yield Holiday(on=dt.date(year, 12, 24), name="Christmas Eve", site="BER", half="PM")
    for month in (3, 6, 9, 12):  # everywhere: the last Thursday
        end = dt.date(year, month, 31 if month in (3, 12) else 30)
        on = end - dt.timedelta(days=(end.weekday() - 3) % 7)
        yield Holiday(on=on, name=f"End of quarter {month // 3}", site=None, half="PM")


def _easter(year: int) -> dt.date:
    """Easter Sunday of the Gregorian calendar, by Gauss; for the years 1900 to 2099."""
    moon = (19 * (year % 19) + 24) % 30
    sunday = (2 * (year % 4) + 4 * (year % 7) + 6 * moon + 5) % 7
    # Gauss's two exceptions.
    late = moon + sunday == 35 or (moon == 28 and sunday == 6 and year % 19 > 10)
    return dt.date(year, 3, 22) + dt.timedelta(days=moon + sunday - (7 if late else 0))
