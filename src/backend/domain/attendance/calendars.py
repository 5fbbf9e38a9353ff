"""Holidays, leave and employment: what takes a day, or a part of it, away from work. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.domain.employees import DayPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Holiday:
    """A public holiday or a company day.

    Attributes:
        calendar: for whom it is; None: for everybody.
    """

    holiday_on: dt.date
    name: str
    day_part: DayPart = DayPart.FULL
    calendar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Somebody need not work from one date to another, both inclusive.

    Attributes:
        hours: how much of each of these days it takes; None: as much as `day_part` says.
    """

    kind: str
    starts_on: dt.date
    ends_on: dt.date
    day_part: DayPart = DayPart.FULL
    hours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """What of one date need not be worked.

    Attributes:
        first_half: of the scheduled time, by holiday or leave.
        seconds: leave by hours.
        is_holiday: whether the holiday alone takes the whole day.
        takes_holiday: whether a holiday takes any of it.
    """

    first_half: bool = False
    second_half: bool = False
    seconds: int = 0
    is_holiday: bool = False
    takes_holiday: bool = False
    holidays: tuple[Holiday, ...] = ()
    leaves: tuple[Leave, ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether nothing of the day is left to work."""
        return self.first_half and self.second_half

    @property
    def is_half(self) -> bool:
        """Whether just one half of it is."""
        return self.first_half != self.second_half


NO_COVER = Cover()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The holidays that count for a person, and the person's leaves.

    Attributes:
        holidays: by date; see `group_holidays`.
    """

    holidays: Mapping[dt.date, tuple[Holiday, ...]] = field(default_factory=dict)
    leaves: tuple[Leave, ...] = ()

    def cover_on(self, day: dt.date) -> Cover:
        """What of a date need not be worked."""
        holidays = self.holidays.get(day, ())
        leaves = tuple(leave for leave in self.leaves if leave.starts_on <= day <= leave.ends_on) if self.leaves else ()
        if not holidays and not leaves:
            return NO_COVER
        by_holiday = {part for holiday in holidays for part in _halves(holiday.day_part)}
        by_leave = {part for leave in leaves if leave.hours is None for part in _halves(leave.day_part)}
        return Cover(
            first_half=DayPart.FIRST_HALF in by_holiday | by_leave,
            second_half=DayPart.SECOND_HALF in by_holiday | by_leave,
            seconds=sum(round(leave.hours * 3600) for leave in leaves if leave.hours is not None),
            is_holiday=len(by_holiday) == 2,
            takes_holiday=bool(by_holiday),
            holidays=holidays,
            leaves=leaves,
        )


def _halves(part: DayPart) -> tuple[DayPart, ...]:
    return (DayPart.FIRST_HALF, DayPart.SECOND_HALF) if part is DayPart.FULL else (part,)


def group_holidays(holidays: Iterable[Holiday], calendar: str | None = None) -> dict[dt.date, tuple[Holiday, ...]]:
    """The holidays of a calendar and those of everybody, by date."""
    found: dict[dt.date, tuple[Holiday, ...]] = {}
    for holiday in sorted(holidays, key=lambda holiday: (holiday.holiday_on, holiday.name)):
        if holiday.calendar in (None, calendar):
            found[holiday.holiday_on] = (*found.get(holiday.holiday_on, ()), holiday)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Employment:
    """When somebody belongs to the company.

    Attributes:
        periods: the first and the last date of each; None: open. Somebody who was hired again has several, somebody
            who is inactive has none.
    """

    periods: tuple[tuple[dt.date | None, dt.date | None], ...] = ((None, None),)

    def covers(self, day: dt.date) -> bool:
        """Whether the person is employed on a date."""
        return any((first is None or first <= day) and (last is None or day <= last) for first, last in self.periods)
