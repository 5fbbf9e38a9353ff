"""Punches: what they are, by which rules a source gives them, and how far it has been read. Pure, and without Arrow."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

# BioStar 2: a code is `main << 8 | sub`. Verified 1:1, 1:1 under duress, identified 1:N, 1:N under duress, dual.
SUCCESS_CODES = frozenset({0x1000, 0x1200, 0x1300, 0x1500, 0x1600})
# Time set, time zone set, daylight saving time set.
CLOCK_CODES = frozenset({12800, 12801, 12802})
# BioStar 1: verified, identified, and their variants.
BIOSTAR1_SUCCESS_CODES = frozenset({39, 55, 58, 59, 60, 61, 62})
BIOSTAR_URL_SETTING = "BIOSTAR_URL"
_MONTH = re.compile(r"(\d{4})-?(0[1-9]|1[0-2])")


class Direction(enum.StrEnum):
    """What a punch says about the person."""

    IN = "in"
    OUT = "out"
    BREAK_START = "break_start"
    BREAK_END = "break_end"
    OVERTIME_IN = "overtime_in"
    OVERTIME_OUT = "overtime_out"


# What BioStar 2's keys mean where nobody has changed them.
DIRECTIONS: Mapping[str, Direction] = {str(key): direction for key, direction in enumerate(Direction, start=1)}


class PunchFlag(enum.StrEnum):
    """What is odd about a punch; it is kept all the same."""

    FUTURE = "future"  # later than the clock of hrsync when it was taken over: the clock of the device is wrong
    LATE = "late"  # happened well before the last complete run, and was not there then: the device was offline


class Ignored(enum.StrEnum):
    """Why an event is no punch; nothing is wrong with it."""

    NOT_A_SUCCESS = "not_a_success"
    NO_USER = "no_user"


class Rejected(enum.StrEnum):
    """Why a punch cannot be kept."""

    UNREADABLE_TIME = "unreadable_time"
    TOO_LONG_USER = "too_long_user"
    TOO_LONG_DEVICE = "too_long_device"
    ENCRYPTED_USER = "encrypted_user"  # among others that are not


class Month(NamedTuple):
    """A calendar month; months compare in time."""

    year: int
    month: int

    @classmethod
    def of(cls, instant: dt.datetime) -> Self:
        """The month of an instant in UTC."""
        utc = instant.astimezone(dt.UTC)
        return cls(utc.year, utc.month)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The month written as 2026-11 or 202611.

        Raises:
            ValueError: it is written otherwise.
        """
        match = _MONTH.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no month; write it as YYYY-MM")
        return cls(int(match[1]), int(match[2]))

    def minus(self, months: int) -> Month:
        """The month that many months before."""
        year, month = divmod(self.year * 12 + self.month - 1 - months, 12)
        return Month(year, month + 1)

    @property
    def begin(self) -> dt.datetime:
        """Its first instant, in UTC."""
        return dt.datetime(self.year, self.month, 1, tzinfo=dt.UTC)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


# --- rules ----------------------------------------------------------------------------------------------------------


class SourceKind(enum.StrEnum):
    """What a source of punches is."""

    BIOSTAR2 = "biostar2"
    BIOSTAR1 = "biostar1"
    QUERY = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmployeeRule:
    """How a user id of a source names an employee.

    Attributes:
        column: what of the employee it equals: `biostar_user_id`, `employee_no`, or `extra.NAME` for a custom field.
        ignore_leading_zeros: 00123 and 123 are the same.
    """

    column: str = "biostar_user_id"
    ignore_leading_zeros: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchRules:
    """How one source is read.

    Attributes:
        success_codes: event codes that are punches; one whose low byte is 0 stands for all codes of that kind; None:
            every event is one.
        clock_codes: event codes that tell that the clock of a device was changed.
        directions: meaning of the attendance keys; a key that is not here says nothing.
        device_directions: meaning of the devices that are only passed one way; it goes before the key.
        timezone: the source has wall time of this zone; None: UTC.
        first_month: nothing before it is read; None: what the first run found to be `months_back` before.
        months_back: how far back the first run looks without a `first_month`.
        rescan_months: how many months before the current one are looked at again for events that arrived late
            (sources with a table for each month).
        rescan_days: the same in days (sources that are read by time).
        reread_events: how far before the cursor a table is read again. Numbers are given before events are committed,
            so that one may appear below a number that has been read already.
        future_seconds: a device may be so far ahead before its punches are flagged.
        late_seconds: how long before the last complete run a new punch must have happened to be flagged as late.
        doubt_seconds: so far around a change of a device's clock its punches are doubtful.
    """

    success_codes: frozenset[int] | None = SUCCESS_CODES
    clock_codes: frozenset[int] = CLOCK_CODES
    directions: Mapping[str, Direction] = field(default_factory=lambda: DIRECTIONS)
    device_directions: Mapping[str, Direction] = field(default_factory=dict)
    timezone: str | None = None
    first_month: Month | None = None
    months_back: int = 3
    rescan_months: int = 2
    rescan_days: int = 40
    reread_events: int = 200
    future_seconds: int = 600
    late_seconds: int = 3600
    doubt_seconds: int = 600
    employee: EmployeeRule = EmployeeRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchSourceDefinition:
    """One source of `biostar.toml`.

    Attributes:
        url_setting: the setting with the URL of its database.
        query: of the kind `query`, the SELECT; else empty.
        place: file and table, for messages.
    """

    name: str
    kind: SourceKind = SourceKind.BIOSTAR2
    url_setting: str = BIOSTAR_URL_SETTING
    query: str = ""
    rules: PunchRules = PunchRules()
    place: str = "biostar.toml"


class UserChange(NamedTuple):
    """A user id of a source, whose it was and whose it is; None: nobody's."""

    user_id: str
    before: str | None
    after: str | None


# --- how far a source has been read ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestState:
    """How far a source has been read.

    Attributes:
        first_month: where the first run began; None: there has been none.
        complete_month: the current month of the last run that came to its end.
        completed_at: when that run began.
        cursors: the highest event number read, by table.
        marks: how many events there were in what will be looked at again, by the part of the source.
    """

    first_month: Month | None = None
    complete_month: Month | None = None
    completed_at: dt.datetime | None = None
    cursors: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """A part of a source that is to be read.

    Attributes:
        table: what its punches are kept under.
        after: events with a number, or of a time (Unix seconds), above it.
        before: events of a time (Unix seconds) below it; None: no limit.
        since: for a query: what is not before it.
        mark: the name of its mark; empty: it has none.
    """

    table: str
    after: int = 0
    before: int | None = None
    since: dt.datetime | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """What one run reads, in this order.

    Attributes:
        first_month: what was before it is not looked at.
        kept_marks: the marks that are looked at again; others may be forgotten. None: all.
    """

    first_month: Month
    portions: tuple[Portion, ...] = ()
    kept_marks: frozenset[str] | None = None


def plan_first_month(state: IngestState, rules: PunchRules, now: dt.datetime, *, full: bool = False) -> Month:
    """The first month whose table is looked at; all later ones are as well.

    For a full run it is the source's first month. Else it is `rescan_months` before the month in which everything was
    read last, so that nothing is skipped after a long standstill. An earlier `first_month` in the rules reads what was
    left out so far.
    """
    current = Month.of(now)
    beginning = find_beginning(state, rules, now)
    if full or state.first_month is None or state.complete_month is None or beginning < state.first_month:
        return beginning
    return max(min(current, state.complete_month).minus(rules.rescan_months), beginning)


def plan_first_instant(state: IngestState, rules: PunchRules, now: dt.datetime, *, full: bool = False) -> dt.datetime:
    """From when on a source is looked at that is read by time: `plan_first_month` with `rescan_days`."""
    beginning = find_beginning(state, rules, now)
    if full or state.first_month is None or state.completed_at is None or beginning < state.first_month:
        return beginning.begin
    return max(min(now, state.completed_at) - dt.timedelta(days=rules.rescan_days), beginning.begin)


def find_beginning(state: IngestState, rules: PunchRules, now: dt.datetime) -> Month:
    """The month before which nothing of a source is ever read."""
    return rules.first_month or state.first_month or Month.of(now).minus(rules.months_back)
