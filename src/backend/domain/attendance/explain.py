"""A day of attendance as a text for a person. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from backend.domain.attendance.day import AttendanceDay, Origin, Overtime, PunchUse, ShiftSpan, Status
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
_OVERTIME = {
    Overtime.HOLIDAY: "on a holiday",
    Overtime.REST_DAY: "on a rest day",
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


def _lines(day: AttendanceDay, zone: dt.tzinfo) -> Iterator[str]:
    yield f"{day.work_on:%A, %Y-%m-%d}: {_STATUSES[day.status]}"
    for span in day.shifts:
        yield f"  Shift {_span(span, day.work_on, zone)}"
    for holiday in day.holidays:
        yield f"  Holiday: {holiday.name}{_PARTS[holiday.day_part]}"
    for leave in day.leaves:
        length = _PARTS[leave.day_part] if leave.hours is None else f" ({duration(round(leave.hours * 3600))})"
        yield f"  Leave: {leave.kind}{length}"
    yield from _time_lines(day, zone)
    if day.punches:
        yield "  Punches:"
        for use in day.punches:
            yield f"    {_punch(use, day, zone)}"
    for anomaly in day.anomalies:
        yield f"  ! {anomaly.sentence}"
    if day.override is not None:
        yield f"  Set by {day.override.made_by}: {day.override.reason}"
    if not day.is_final:
        yield "  This is the state so far; more may come."


def _time_lines(day: AttendanceDay, zone: dt.tzinfo) -> Iterator[str]:
    if day.first_in_at or day.last_out_at:
        first = _time(day.first_in_at, day.work_on, zone) if day.first_in_at else "?"
        last = _time(day.last_out_at, day.work_on, zone) if day.last_out_at else "?"
        yield f"  In {first}, out {last}"
    if day.expected_seconds or day.worked_seconds or day.presence_seconds:
        expected = f" of {duration(day.expected_seconds)}" if day.expected_seconds else ""
        yield f"  Worked {duration(day.worked_seconds)}{expected}"
    if day.presence_seconds and day.presence_seconds != day.worked_seconds and day.override is None:
        yield f"    = {duration(day.presence_seconds)} there{''.join(_parts_off(day))}"
    if day.first_in_at and day.last_out_at:
        before, after = (at.astimezone(zone).utcoffset() for at in (day.first_in_at, day.last_out_at))
        if before != after:
            yield "    The clocks were changed meanwhile; this is the time that really went by."
    if day.leave_seconds:
        yield f"  Leave took {duration(day.leave_seconds)} of {duration(day.scheduled_seconds)}"
    if day.late_seconds:
        yield f"  Late by {duration(day.late_seconds)}"
    if day.early_seconds:
        yield f"  Left {duration(day.early_seconds)} early"
    for kind, seconds in day.overtime.items():
        yield f"  Overtime {_OVERTIME[kind]}: {duration(seconds)}"


def _parts_off(day: AttendanceDay) -> Iterator[str]:
    for seconds, what in (
        (day.break_seconds, "of breaks"),
        (day.away_seconds, "away"),
        (day.deducted_seconds, "of break taken off by the policy"),
        (-day.rounding_seconds, "of rounding"),
    ):
        if seconds:
            yield f" {'-' if seconds > 0 else '+'} {duration(abs(seconds))} {what}"


def _span(span: ShiftSpan, day: dt.date, zone: dt.tzinfo) -> str:
    starts, ends, opens, closes = (
        _time(instant, day, zone) for instant in (span.starts_at, span.ends_at, span.opens_at, span.closes_at)
    )
    return f"{span.code} from {starts} to {ends} (punches from {opens} to {closes} belong to it)"


def _punch(use: PunchUse, day: AttendanceDay, zone: dt.tzinfo) -> str:
    punch = use.punch
    words = [_time(punch.punched_at, day.work_on, zone)]
    if punch.direction is not None:
        words.append(f"[{punch.direction.replace('_', ' ')}]")
    words.append(use.sentence)
    if use.counted_at is not None:
        words.append(f"It counts as {_time(use.counted_at, day.work_on, zone)}.")
    if punch.origin in _ORIGINS:
        words.append(f"({_ORIGINS[punch.origin]} - {punch.note})")
    return " ".join(words)


def _time(instant: dt.datetime, day: dt.date, zone: dt.tzinfo) -> str:
    """The time of day; with seconds where there are some, and with the date where it is another one."""
    local = instant.astimezone(zone)
    text = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    return text if local.date() == day else f"{text} ({local:%m-%d})"
