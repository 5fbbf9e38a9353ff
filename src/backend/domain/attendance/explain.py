"""A day of attendance as a text for a person. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator

from backend.domain.attendance.day import Anomaly, AttendanceDay, Fate, Origin, Overtime, PunchUse, ShiftSpan, Status
from backend.domain.employees import DayPart

_STATUSES = {
    Status.PRESENT: "present",
    Status.HALF_DAY: "half a day",
    Status.ABSENT: "absent",
    Status.ON_LEAVE: "on leave",
    Status.HOLIDAY: "holiday",
    Status.REST_DAY: "rest day",
    Status.NOT_SCHEDULED: "nothing scheduled, and no punch",
    Status.WORKING: "not over yet",
    Status.EXPECTED: "expected, no punch so far",
}
_TOO_LITTLE = {Status.ABSENT: "it counts as absent", Status.HALF_DAY: "it counts as half a day"}
_OVERTIME = {
    Overtime.HOLIDAY: "on a holiday",
    Overtime.REST_DAY: "on a rest day",
    Overtime.BY_KEYS: "punched as such",
    Overtime.OVER_SCHEDULE: "over the schedule",
    Overtime.DAILY_LIMIT: "over the daily limit",
    Overtime.WEEKLY_LIMIT: "over the weekly limit",
}
_PARTS = {DayPart.FULL: "", DayPart.FIRST_HALF: " (first half)", DayPart.SECOND_HALF: " (second half)"}
_ORIGINS = {Origin.ADDED: "added by hand", Origin.EDITED: "changed by hand", Origin.IGNORED: "taken out by hand"}


def explain(day: AttendanceDay, timezone: dt.tzinfo) -> str:
    """The day as lines of text, in the time of the place of work."""
    return "\n".join(_lines(day, timezone))


def duration(seconds: int) -> str:
    """Seconds as hours and minutes, such as `7 h 30 min`; seconds only where there are some."""
    sign, left = ("-" if seconds < 0 else ""), abs(seconds)
    parts = [(left // 3600, "h"), (left // 60 % 60, "min"), (left % 60, "s")]
    return sign + (" ".join(f"{value} {unit}" for value, unit in parts if value) or "0 min")


@dataclasses.dataclass(frozen=True, slots=True)
class _Clock:
    """Writes instants in the time of the place of work.

    Attributes:
        day: times of other dates are written with theirs.
        tells_offset: whether the clocks were changed around the day, so that a time alone may be one of two.
    """

    zone: dt.tzinfo
    day: dt.date
    tells_offset: bool

    @classmethod
    def of(cls, day: AttendanceDay, zone: dt.tzinfo) -> _Clock:
        instants = [use.punch.punched_at for use in day.punches]
        instants += [instant for span in day.shifts for instant in (span.starts_at, span.ends_at)]
        offsets = {instant.astimezone(zone).utcoffset() for instant in instants}
        return cls(zone, day.work_on, len(offsets) > 1)

    def time(self, instant: dt.datetime) -> str:
        """The time of day; with seconds where there are some, and with the date where it is another one."""
        local = instant.astimezone(self.zone)
        text = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
        if self.tells_offset:
            text += local.isoformat("T", "seconds")[19:]
        return text if local.date() == self.day else f"{text} ({local:%m-%d})"


def _lines(day: AttendanceDay, zone: dt.tzinfo) -> Iterator[str]:
    clock = _Clock.of(day, zone)
    yield f"{day.work_on:%A, %Y-%m-%d}: {_STATUSES[day.status]} (times of {zone})"
    for span in day.shifts:
        yield f"  Shift {_span(span, clock)}"
    yield from _break_of_shifts(day, zone)
    for holiday in day.holidays:
        yield f"  Holiday: {holiday.name}{_PARTS[holiday.day_part]}"
    for leave in day.leaves:
        length = _PARTS[leave.day_part] if leave.hours is None else f" ({duration(round(leave.hours * 3600))})"
        yield f"  Leave: {leave.kind}{length}"
    yield from _time_lines(day, clock)
    if day.punches:
        yield "  Punches:"
        for use in day.punches:
            yield f"    {_punch(use, clock)}"
    for anomaly in day.anomalies:
        yield f"  ! {_anomaly(anomaly, day)}"
    if day.override is not None:
        yield f"  Set by {day.override.made_by}: {day.override.reason}"
    if not day.is_final:
        yield "  This is the state so far; more may come."


def _break_of_shifts(day: AttendanceDay, zone: dt.tzinfo) -> Iterator[str]:
    """Why the schedule is shorter than its shifts. Of one that goes over midnight, a part can be another date's."""
    whole = 0
    for span in day.shifts:
        starts, ends = (instant.astimezone(zone).date() for instant in (span.starts_at, span.ends_at))
        if not starts == ends == day.work_on:
            return
        whole += round((span.ends_at - span.starts_at).total_seconds())
    if whole > day.scheduled_seconds:
        unpaid = duration(whole - day.scheduled_seconds)
        yield f"  Scheduled {duration(day.scheduled_seconds)} = {duration(whole)} of shifts - {unpaid} of unpaid break"


def _time_lines(day: AttendanceDay, clock: _Clock) -> Iterator[str]:
    first, last = day.first_in_at, day.last_out_at
    if first and last and last < first:  # out of a shift of the day before, and into the next one
        yield f"  Out {clock.time(last)}, in {clock.time(first)}"
    elif first or last:
        fates = {use.fate for use in day.punches}
        is_cut = not fates & {Fate.OPEN_IN, Fate.OUT_WITHOUT_IN}  # at midnight: the rest is another date's
        came = clock.time(first) if first else "the day before" if is_cut and Fate.CHECK_OUT in fates else "?"
        left = clock.time(last) if last else "the day after" if is_cut and Fate.CHECK_IN in fates else "?"
        yield f"  In {came}, out {left}"
    if day.expected_seconds or day.worked_seconds or day.presence_seconds:
        expected = f" of {duration(day.expected_seconds)}" if day.expected_seconds else ""
        yield f"  Worked {duration(day.worked_seconds)}{expected}"
    if day.presence_seconds and day.presence_seconds != day.worked_seconds and day.override is None:
        yield f"    = {duration(day.presence_seconds)} there{''.join(_parts_off(day))}"
    if (paid := _paid_break(day)) > 0:
        yield f"    {duration(paid)} of the breaks count as work."
    if clock.tells_offset:
        yield "    The clocks were changed meanwhile; this is the time that really goes by."
    if day.status in _TOO_LITTLE and day.punches and day.is_final and day.override is None:
        yield f"    By the policy, that is too little: {_TOO_LITTLE[day.status]}."
    if day.leave_seconds:
        yield f"  Leave took {duration(day.leave_seconds)} of {duration(day.scheduled_seconds)}"
    if day.late_seconds:
        yield f"  Late by {duration(day.late_seconds)}"
    if day.early_seconds:
        yield f"  Left {duration(day.early_seconds)} early"
    for kind, seconds in day.overtime.items():
        yield f"  Overtime {_OVERTIME[kind]}: {duration(seconds)}"


def _anomaly(anomaly: Anomaly, day: AttendanceDay) -> str:
    fates = [use.fate for use in day.punches]
    if anomaly is Anomaly.MISSING_OUT and Fate.CHECK_OUT in fates and Fate.OPEN_IN not in fates:
        return "A punch is missing: their number is odd. The last one counts as the check-out."
    return anomaly.sentence


def _parts_off(day: AttendanceDay) -> Iterator[str]:
    for seconds, what in (
        (day.break_seconds, "of breaks"),
        (day.away_seconds, "away"),
        (day.deducted_seconds, "of break taken off by the policy"),
        (-day.rounding_seconds, "of rounding"),
    ):
        if seconds:
            yield f" {'-' if seconds > 0 else '+'} {duration(abs(seconds))} {what}"


def _paid_break(day: AttendanceDay) -> int:
    """How much of the breaks between punches is none of the day; 0 where a break began or ended on another date."""
    starts = [use.punch.punched_at for use in day.punches if use.fate is Fate.BREAK_START]
    ends = [use.punch.punched_at for use in day.punches if use.fate is Fate.BREAK_END]
    if len(starts) != len(ends) or any(end < start for start, end in zip(starts, ends, strict=True)):
        return 0
    taken = sum(int(end.timestamp()) - int(start.timestamp()) for start, end in zip(starts, ends, strict=True))
    return taken - day.break_seconds


def _span(span: ShiftSpan, clock: _Clock) -> str:
    starts, ends, opens, closes = map(clock.time, (span.starts_at, span.ends_at, span.opens_at, span.closes_at))
    return f"{span.code} from {starts} to {ends} (punches from {opens} to {closes} belong to it)"


def _punch(use: PunchUse, clock: _Clock) -> str:
    punch = use.punch
    words = [clock.time(punch.punched_at)]
    if punch.direction is not None:
        words.append(f"[{punch.direction.replace('_', ' ')}]")
    words.append(use.sentence)
    if use.counted_at is not None:
        words.append(f"It counts as {clock.time(use.counted_at)}.")
    if punch.origin in _ORIGINS:
        words.append(f"({_ORIGINS[punch.origin]} - {punch.note})")
    return " ".join(words)
