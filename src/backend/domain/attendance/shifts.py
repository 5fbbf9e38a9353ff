"""Shifts with their versions, patterns that rotate, and the roster: what one person is to work on a date. Pure.

Which of them is somebody's is resolved by `assignments`; where their windows lie in time is told by `windows`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.domain.attendance.wall_clock import DAY_SECONDS, seconds_of
from backend.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftTimes:
    """The times of a shift from a date on; all times are those of the clock at the place of work.

    Attributes:
        valid_from: the first date on which a shift with these times starts.
        end: one that is before `start` is on the next day.
        check_in_window_seconds: how long before its start a punch belongs to the shift, inclusive.
        check_out_window_seconds: how long after its end.
        unpaid_break_seconds: the part of the shift that is no working time.
        break_windows: from and to; a gap between punches that begins in one is a break, where the policy looks for it.
    """

    start: dt.time
    end: dt.time
    valid_from: dt.date = dt.date.min
    check_in_window_seconds: int = 3600
    check_out_window_seconds: int = 3600
    unpaid_break_seconds: int = 0
    break_windows: tuple[tuple[dt.time, dt.time], ...] = ()

    @property
    def dial_start(self) -> int:
        """Seconds after 00:00."""
        return seconds_of(self.start)

    @property
    def dial_end(self) -> int:
        """Seconds after 00:00 of the day of the start; more than 24 hours where it ends on the next day."""
        end = seconds_of(self.end)
        return end + DAY_SECONDS if end <= seconds_of(self.start) else end

    def dial_break_windows(self) -> list[tuple[int, int]]:
        """The break windows in seconds after 00:00 of the day of the start."""
        windows = []
        for opens, closes in self.break_windows:
            start, end = seconds_of(opens), seconds_of(closes)
            if start < self.dial_start:
                start += DAY_SECONDS
            while end < start:
                end += DAY_SECONDS
            windows.append((start, end))
        return windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A shift with fixed times.

    Attributes:
        versions: its times, ascending by `valid_from`.

    Raises:
        ConfigurationError: the shift cannot be: it lasts no time, more than a day with its windows, and so on.
    """

    code: str
    versions: tuple[ShiftTimes, ...]
    name: str = ""

    def __post_init__(self) -> None:
        starts = [version.valid_from for version in self.versions]
        if not starts:
            raise ConfigurationError(f"Shift {self.code} has no times; give it at least one version.")
        if starts != sorted(set(starts)):
            raise ConfigurationError(
                f"Shift {self.code}: its versions are to begin on different dates, the earliest first."
            )
        for version in self.versions:
            _check_times(self.code, version)

    def find_times(self, day: dt.date) -> ShiftTimes | None:
        """The version that is valid on a date; None before the first."""
        found = None
        for version in self.versions:
            if version.valid_from > day:
                break
            found = version
        return found


def _check_times(code: str, times: ShiftTimes) -> None:
    if times.start == times.end:
        raise ConfigurationError(
            f"Shift {code} starts and ends at {times.start:%H:%M}, which is no time at all; give it an end."
        )
    if min(times.check_in_window_seconds, times.check_out_window_seconds, times.unpaid_break_seconds) < 0:
        raise ConfigurationError(f"Shift {code}: windows and breaks cannot be negative.")
    length = times.dial_end - times.dial_start
    if length + times.check_in_window_seconds + times.check_out_window_seconds > DAY_SECONDS:
        raise ConfigurationError(
            f"Shift {code} from {times.start:%H:%M} to {times.end:%H:%M} is longer than 24 hours with its windows, so "
            "that it would meet itself on the next day; make the windows shorter."
        )
    if times.unpaid_break_seconds >= length:
        raise ConfigurationError(f"Shift {code}: the unpaid break is as long as the shift; make it shorter.")
    for opens, closes in times.dial_break_windows():
        if closes > times.dial_end:
            raise ConfigurationError(
                f"Shift {code}: the break window at {opens // 3600 % 24:02}:{opens // 60 % 60:02} "
                "is not within the shift; move it."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexibleShift:
    """A day of work without fixed times.

    Attributes:
        required_seconds: how long the person is to work; 0: nothing is expected, so nobody is ever absent.
    """

    code: str
    required_seconds: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.required_seconds <= DAY_SECONDS:
            raise ConfigurationError(f"Shift {self.code} requires {self.required_seconds} s; a day has 0 to 86400 s.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Shifts that repeat: a week of seven days, 4 on 2 off, a rotation over several weeks.

    Attributes:
        anchor_on: a date on which the cycle begins.
        days: the codes of the shifts on each day of the cycle, in the order of their start; none: a rest day.
    """

    code: str
    anchor_on: dt.date
    days: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.days:
            raise ConfigurationError(f"Pattern {self.code} has no days; give it at least one.")

    def shifts_on(self, day: dt.date) -> tuple[str, ...]:
        """The codes of the shifts on a date, before the anchor as well."""
        return self.days[(day - self.anchor_on).days % len(self.days)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPlan:
    """What somebody is to work on a date. Neither `shifts` nor `is_flexible`: a rest day.

    Attributes:
        shifts: codes and times of the fixed shifts that start on the date.
        is_flexible: whether work without fixed times is normal on this day.
        code: of the flexible shift.
    """

    shifts: tuple[tuple[str, ShiftTimes], ...] = ()
    is_flexible: bool = False
    required_seconds: int = 0
    code: str = ""


REST_DAY = DayPlan()
UNPLANNED = DayPlan(is_flexible=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterPart:
    """What is valid in a period.

    Attributes:
        pattern: None: no schedule, so that the work is flexible.
        last_on: inclusive.
    """

    first_on: dt.date = dt.date.min
    last_on: dt.date = dt.date.max
    pattern: Pattern | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roster:
    """The schedule of one person, or of several people who have the same one.

    Rosters compare by identity, so that what follows from one is worked out once for everybody who shares it.

    Attributes:
        parts: ascending, without overlaps; a date in none of them has no schedule.
        shifts: every shift that the patterns name, by code.
    """

    parts: tuple[RosterPart, ...] = ()
    shifts: Mapping[str, Shift | FlexibleShift] = field(default_factory=dict)

    def plan_on(self, day: dt.date) -> DayPlan:
        """What is to be worked on a date."""
        for part in self.parts:
            if part.first_on <= day <= part.last_on:
                return UNPLANNED if part.pattern is None else self._plan(part.pattern, day)
        return UNPLANNED

    def _plan(self, pattern: Pattern, day: dt.date) -> DayPlan:
        fixed: list[tuple[str, ShiftTimes]] = []
        for code in pattern.shifts_on(day):
            shift = self.shifts[code]
            if isinstance(shift, FlexibleShift):
                return DayPlan(is_flexible=True, required_seconds=shift.required_seconds, code=code)
            times = shift.find_times(day)
            if times is not None:
                fixed.append((code, times))
        return DayPlan(shifts=tuple(fixed)) if fixed else REST_DAY


def weekly(code: str, *shifts: str | None) -> Pattern:
    """A pattern of whole weeks: one shift, or None for a rest day, for each day from Monday on."""
    monday = dt.date(2001, 1, 1)
    return Pattern(code=code, anchor_on=monday, days=tuple((shift,) if shift else () for shift in shifts))
