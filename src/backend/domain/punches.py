"""From an event of a time clock to a punch, and which month tables of BioStar are to be looked at. Pure."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

# BioStar 2: a code is `main << 8 | sub`. Verified 1:1, 1:1 under duress, identified 1:N, 1:N under duress, dual.
SUCCESS_CODES = frozenset({0x1000, 0x1200, 0x1300, 0x1500, 0x1600})
USER_ID_LENGTH = 64
# 2100-01-01: later than any clock that is merely wrong.
_LATEST_DEVICE_TIME = 4_102_444_800
# AES blocks in base64: what a user id becomes where BioStar encrypts personal data.
_CIPHERTEXT = re.compile(r"[A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{43}=")
_MONTH = re.compile(r"(\d{4})-?(0[1-9]|1[0-2])")


class Direction(enum.StrEnum):
    """What a punch says about the person."""

    IN = "in"
    OUT = "out"
    BREAK_START = "break_start"
    BREAK_END = "break_end"
    OVERTIME_IN = "overtime_in"
    OVERTIME_OUT = "overtime_out"


# What the keys mean where nobody has changed them.
DIRECTIONS: Mapping[int, Direction] = dict(enumerate(Direction, start=1))


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

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


class ClockEvent(NamedTuple):
    """One line of BioStar's event table. A plain tuple, as there are millions.

    Attributes:
        number: EVTLGUID, ascending with the arrival at the server.
        device_time: DEVDT, Unix seconds (UTC).
        key: TNAKEY, the attendance key that the person pressed; 0: none.
    """

    number: int
    device_time: int | None
    device: int | None
    user: str | None
    code: int | None
    key: int | None


class Punch(NamedTuple):
    """Somebody was at a device at an instant."""

    event_key: str
    user_id: str
    punched_at: dt.datetime
    direction: Direction | None
    device_id: str | None
    event_code: int


class Ignored(enum.StrEnum):
    """Why an event is no punch; nothing is wrong with it."""

    NOT_A_SUCCESS = "not_a_success"
    NO_USER = "no_user"


class Rejected(enum.StrEnum):
    """Why a punch cannot be kept."""

    UNREADABLE_TIME = "unreadable_time"
    TOO_LONG_USER = "too_long_user"


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchRules:
    """How one source is read.

    Attributes:
        success_codes: event codes that are punches; one whose low byte is 0 stands for all codes of that kind.
        directions: meaning of the attendance keys; a key that is not here says nothing.
        first_month: nothing before it is read; None: what the first run found to be `months_back` before.
        months_back: how far back the first run looks without a `first_month`.
        rescan_months: how many months before the current one are looked at again for events that arrived late.
        reread_events: how far before the cursor a table is read again. Numbers are given before events are committed,
            so that one may appear below a number that has been read already.
    """

    success_codes: frozenset[int] = SUCCESS_CODES
    directions: Mapping[int, Direction] = field(default_factory=lambda: DIRECTIONS)
    first_month: Month | None = None
    months_back: int = 3
    rescan_months: int = 2
    reread_events: int = 200

    def read(self, event: ClockEvent) -> Punch | Ignored | Rejected:
        """The punch that the event is, or why it is none."""
        code = event.code
        if code is None or not (code & ~0xFF in self.success_codes or code in self.success_codes):
            return Ignored.NOT_A_SUCCESS
        user = event.user.strip() if event.user else ""
        if not user:
            return Ignored.NO_USER
        if len(user) > USER_ID_LENGTH:
            return Rejected.TOO_LONG_USER
        if event.device_time is None or not 0 < event.device_time < _LATEST_DEVICE_TIME:
            return Rejected.UNREADABLE_TIME
        return Punch(
            event_key=str(event.number),
            user_id=user,
            punched_at=dt.datetime.fromtimestamp(event.device_time, dt.UTC),
            direction=self.directions.get(event.key or 0),
            device_id=None if event.device is None else str(event.device),
            event_code=code,
        )


def are_encrypted(punches: Sequence[Punch]) -> bool:
    """Whether the user ids are ciphertext: BioStar's option "Encrypt personal data on database"."""
    return bool(punches) and all(_CIPHERTEXT.fullmatch(punch.user_id) for punch in punches)


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchBatch:
    """Some events of one table as they are kept.

    Attributes:
        cursor: the highest event number among them, punch or not.
    """

    table: str
    punches: Sequence[Punch]
    cursor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestState:
    """How far a source has been read.

    Attributes:
        first_month: where the first run began; None: there has been none.
        complete_month: the current month of the last run that came to its end.
        cursors: the highest event number read, by table.
    """

    first_month: Month | None = None
    complete_month: Month | None = None
    cursors: Mapping[str, int] = field(default_factory=dict)


def plan_first_month(state: IngestState, rules: PunchRules, now: dt.datetime, *, full: bool = False) -> Month:
    """The first month whose table is looked at; all later ones are as well.

    For a full run it is the source's first month. Else it is `rescan_months` before the month in which everything was
    read last, so that nothing is skipped after a long standstill. An earlier `first_month` in the rules reads what was
    left out so far.
    """
    current = Month.of(now)
    beginning = rules.first_month or state.first_month or current.minus(rules.months_back)
    if full or state.first_month is None or state.complete_month is None or beginning < state.first_month:
        return beginning
    return max(min(current, state.complete_month).minus(rules.rescan_months), beginning)
