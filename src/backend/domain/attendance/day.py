"""What attendance is computed to be: a day, its anomalies, and what became of each punch. Pure.

Only values and the sentences of their codes; how they come about is the business of the other modules.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from backend.domain.attendance.calendars import Holiday, Leave
from backend.domain.punches import Direction


class Origin(enum.StrEnum):
    """Where a punch comes from."""

    DEVICE = "device"
    ADDED = "added"  # by a person
    EDITED = "edited"  # of a device, changed by a person
    IGNORED = "ignored"  # of a device, taken out by a person


class WorkPunch(NamedTuple):
    """A punch as the engine takes it. A plain tuple, as there are millions.

    Attributes:
        key: unique among the punches of a person.
        is_doubtful: the clock of the device was changed around this time, or was wrong.
        note: of a correction, who made it and why.
    """

    key: str
    punched_at: dt.datetime
    direction: Direction | None = None
    device_id: str | None = None
    is_doubtful: bool = False
    origin: Origin = Origin.DEVICE
    note: str = ""


class Status(enum.StrEnum):
    """What a day is, in one word."""

    PRESENT = "present"
    HALF_DAY = "half_day"
    ABSENT = "absent"
    ON_LEAVE = "on_leave"
    HOLIDAY = "holiday"
    REST_DAY = "rest_day"
    NOT_SCHEDULED = "not_scheduled"  # no schedule and no punches
    WORKING = "working"  # has begun, may go on
    EXPECTED = "expected"  # not over yet, and no punch so far


class Fate(enum.StrEnum):
    """What became of a punch."""

    CHECK_IN = "check_in"
    CHECK_OUT = "check_out"
    LEFT = "left"
    RETURNED = "returned"
    BREAK_START = "break_start"
    BREAK_END = "break_end"
    TURNED = "turned"
    BETWEEN = "between"
    OPEN_IN = "open_in"
    DUPLICATE = "duplicate"
    REPEATED_IN = "repeated_in"
    OUT_WITHOUT_IN = "out_without_in"
    NO_DIRECTION = "no_direction"
    OUTSIDE_WINDOWS = "outside_windows"
    TAKEN_OUT = "taken_out"
    IN_FUTURE = "in_future"

    @property
    def sentence(self) -> str:
        """Why, as a person would say it."""
        return _FATES[self]


_FATES: Mapping[Fate, str] = {
    Fate.CHECK_IN: "The first check-in; hours count from here.",
    Fate.CHECK_OUT: "The last check-out; hours count up to here.",
    Fate.LEFT: "A check-out; hours stop here.",
    Fate.RETURNED: "A check-in; hours go on from here.",
    Fate.BREAK_START: "A break begins here.",
    Fate.BREAK_END: "A break ends here.",
    Fate.TURNED: "Work goes on, and overtime begins or ends here.",
    Fate.BETWEEN: "Lies between the first check-in and the last check-out, and changes nothing: hours count through.",
    Fate.OPEN_IN: "A check-in without a check-out; it counts no hours.",
    Fate.DUPLICATE: "The same punch once more; another one close to it counts.",
    Fate.REPEATED_IN: "A check-in by somebody who is in already; it is ignored.",
    Fate.OUT_WITHOUT_IN: "A check-out by somebody who is not in; it is ignored.",
    Fate.NO_DIRECTION: "Says neither in nor out, and the policy pairs by direction only; it is ignored.",
    Fate.OUTSIDE_WINDOWS: "Lies outside the check-in and check-out windows of every shift; it is ignored.",
    Fate.TAKEN_OUT: "Was taken out by a correction.",
    Fate.IN_FUTURE: "Is later than the time up to which attendance is computed; it waits.",
}


class PunchUse(NamedTuple):
    """A punch, and what became of it.

    Attributes:
        counted_at: the time that counts, where that is not the punch's own (rounding).
        same_as: the key of the punch that a duplicate repeats.
    """

    punch: WorkPunch
    fate: Fate
    counted_at: dt.datetime | None = None
    same_as: str | None = None

    @property
    def sentence(self) -> str:
        """Why, as a person would say it."""
        return self.fate.sentence


class Anomaly(enum.StrEnum):
    """Something about a day that a person should look at."""

    MISSING_IN = "missing_in"
    MISSING_OUT = "missing_out"
    AUTO_CHECKED_OUT = "auto_checked_out"
    MISSED_SHIFT = "missed_shift"
    REPEATED_IN = "repeated_in"
    OUT_WITHOUT_IN = "out_without_in"
    NO_DIRECTION = "no_direction"
    OUTSIDE_WINDOWS = "outside_windows"
    TOO_LONG = "too_long"
    WORKED_ON_HOLIDAY = "worked_on_holiday"
    WORKED_ON_REST_DAY = "worked_on_rest_day"
    WORKED_ON_LEAVE = "worked_on_leave"
    DOUBTFUL_CLOCK = "doubtful_clock"
    CORRECTED = "corrected"
    OVERRIDDEN = "overridden"

    @property
    def sentence(self) -> str:
        """What it is, as a person would say it."""
        return _ANOMALIES[self]


_ANOMALIES: Mapping[Anomaly, str] = {
    Anomaly.MISSING_IN: "A check-in is missing.",
    Anomaly.MISSING_OUT: "A check-out is missing.",
    Anomaly.AUTO_CHECKED_OUT: "The check-out is the policy's, not a punch.",
    Anomaly.MISSED_SHIFT: "One of the day's shifts has no punch.",
    Anomaly.REPEATED_IN: "Somebody who was in checked in again.",
    Anomaly.OUT_WITHOUT_IN: "Somebody who was not in checked out.",
    Anomaly.NO_DIRECTION: "A punch says neither in nor out.",
    Anomaly.OUTSIDE_WINDOWS: "A punch lies outside the windows of every shift.",
    Anomaly.TOO_LONG: "The time from the first check-in to the last check-out is longer than a shift may be.",
    Anomaly.WORKED_ON_HOLIDAY: "Work on a holiday.",
    Anomaly.WORKED_ON_REST_DAY: "Work on a rest day.",
    Anomaly.WORKED_ON_LEAVE: "Work on a day of leave.",
    Anomaly.DOUBTFUL_CLOCK: "The clock of a device was changed, or was wrong, around one of the punches.",
    Anomaly.CORRECTED: "A person has changed punches of the day.",
    Anomaly.OVERRIDDEN: "A person has set the result of the day.",
}


class Overtime(enum.StrEnum):
    """Kinds of overtime; a second of work is of one kind at most. What they are worth is payroll's matter."""

    HOLIDAY = "holiday"
    REST_DAY = "rest_day"
    BY_KEYS = "by_keys"
    OVER_SCHEDULE = "over_schedule"
    DAILY_LIMIT = "daily_limit"
    WEEKLY_LIMIT = "weekly_limit"


class ShiftSpan(NamedTuple):
    """A shift of a day, in time; `opens_at` and `closes_at` are those of the window for its punches."""

    code: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    opens_at: dt.datetime
    closes_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOverride:
    """What a person has set a day to be; None leaves a value as it was computed."""

    key: str
    work_on: dt.date
    status: Status | None = None
    worked_seconds: int | None = None
    late_seconds: int | None = None
    early_seconds: int | None = None
    made_by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttendanceDay:
    """One date of one person.

    It holds that `presence = worked + break + away + deducted - rounding` (all in seconds), unless the day is
    overridden, and that overtime is a part of what is worked.

    Attributes:
        shifts: the fixed shifts of the date. None of them: a rest day, or work without a schedule.
        is_final: whether nothing more can come but what is late: every window of the date is closed.
        scheduled_seconds: what the schedule says, without its unpaid breaks.
        expected_seconds: what is left of that by holidays and leave.
        first_in_at: the first check-in, as punched; what rounding makes of it is told by the punch.
        last_out_at: the last check-out, as punched or as the policy sets it.
        presence_seconds: from the first check-in to the last check-out, of each shift, after rounding.
        worked_seconds: what counts as work.
        break_seconds: breaks that were taken, without what of them the policy pays.
        away_seconds: gaps that are no break and no work.
        deducted_seconds: breaks that the policy takes off.
        rounding_seconds: what rounding the day's total has added.
        late_seconds: from the start of a shift to the check-in, where that is late.
        early_seconds: from the check-out to the end of a shift, where that is early.
        leave_seconds: of the scheduled time.
    """

    work_on: dt.date
    status: Status
    is_final: bool
    shifts: tuple[ShiftSpan, ...] = ()
    scheduled_seconds: int = 0
    expected_seconds: int = 0
    presence_seconds: int = 0
    worked_seconds: int = 0
    first_in_at: dt.datetime | None = None
    last_out_at: dt.datetime | None = None
    late_seconds: int = 0
    early_seconds: int = 0
    break_seconds: int = 0
    away_seconds: int = 0
    deducted_seconds: int = 0
    rounding_seconds: int = 0
    leave_seconds: int = 0
    overtime: Mapping[Overtime, int] = field(default_factory=dict)
    anomalies: tuple[Anomaly, ...] = ()
    punches: tuple[PunchUse, ...] = ()
    holidays: tuple[Holiday, ...] = ()
    leaves: tuple[Leave, ...] = ()
    override: DayOverride | None = None

    @property
    def overtime_seconds(self) -> int:
        """Of all kinds together."""
        return sum(self.overtime.values())

    @property
    def shift_code(self) -> str:
        """The codes of its shifts."""
        return "+".join(span.code for span in self.shifts)
