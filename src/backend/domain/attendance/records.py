"""Days of attendance as JSON: a short form to be stored and read again, and a form that explains itself. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from backend.domain.attendance.calendars import Holiday, Leave
from backend.domain.attendance.day import (
    Anomaly,
    AttendanceDay,
    DayOverride,
    Fate,
    Origin,
    Overtime,
    PunchUse,
    ShiftSpan,
    Status,
    WorkPunch,
)
from backend.domain.employees import DayPart
from backend.domain.punches import Direction

Record = dict[str, Any]
Instant = int | str
"""Unix seconds; one with a fraction of a second as ISO 8601."""

TOTALS = (
    "scheduled_seconds",
    "expected_seconds",
    "presence_seconds",
    "worked_seconds",
    "late_seconds",
    "early_seconds",
    "break_seconds",
    "away_seconds",
    "deducted_seconds",
    "rounding_seconds",
    "leave_seconds",
)
"""The totals of a day, in the order in which they are stored and told; a new one is the last."""

_UTC = dt.UTC
_from_second = dt.datetime.fromtimestamp
_DIRECTIONS: Mapping[str | None, Direction | None] = {None: None, **{item.value: item for item in Direction}}
_FATES = {item.value: item for item in Fate}
_ORIGINS = {item.value: item for item in Origin}


# --- to be stored -----------------------------------------------------------------------------------------------------


def day_to_record(day: AttendanceDay) -> Record:
    """Everything about a day in few characters, for `json.dumps`. What is empty is left out.

    `totals` are those of `TOTALS`. A shift is [code, starts, ends, opens, closes]; a punch is [key, punched at, fate,
    direction, device, counted at, same as, is doubtful, origin, note], without the empty ones at its end.
    """
    record: Record = {
        "on": day.work_on.isoformat(),
        "status": day.status.value,
        "totals": [
            day.scheduled_seconds,
            day.expected_seconds,
            day.presence_seconds,
            day.worked_seconds,
            day.late_seconds,
            day.early_seconds,
            day.break_seconds,
            day.away_seconds,
            day.deducted_seconds,
            day.rounding_seconds,
            day.leave_seconds,
        ],
    }
    if not day.is_final:
        record["open"] = 1
    if day.first_in_at is not None:
        record["in"] = _store(day.first_in_at)
    if day.last_out_at is not None:
        record["out"] = _store(day.last_out_at)
    if day.shifts:
        record["shifts"] = [[code, *map(_store, instants)] for code, *instants in day.shifts]
    if day.punches:
        record["punches"] = [_store_use(use) for use in day.punches]
    if day.overtime:
        record["overtime"] = {kind.value: seconds for kind, seconds in day.overtime.items()}
    if day.anomalies:
        record["anomalies"] = [anomaly.value for anomaly in day.anomalies]
    if day.holidays:
        record["holidays"] = [_holiday_record(holiday) for holiday in day.holidays]
    if day.leaves:
        record["leaves"] = [_leave_record(leave) for leave in day.leaves]
    if day.override is not None:
        record["override"] = _override_record(day.override)
    return record


def day_from_record(record: Mapping[str, Any]) -> AttendanceDay:
    """The day that `day_to_record` has made a record of, also after a way through JSON.

    Raises:
        KeyError, ValueError: it is no such record.
    """
    get = record.get
    override = get("override")
    return AttendanceDay(
        work_on=dt.date.fromisoformat(record["on"]),
        status=Status(record["status"]),
        is_final="open" not in record,
        first_in_at=_find_instant(get("in")),
        last_out_at=_find_instant(get("out")),
        shifts=tuple(
            ShiftSpan(code, *(_get_instant(instant) for instant in instants)) for code, *instants in get("shifts", ())
        ),
        punches=tuple(_use_from(*item) for item in get("punches", ())),
        overtime={Overtime(kind): seconds for kind, seconds in get("overtime", {}).items()},
        anomalies=tuple(map(Anomaly, get("anomalies", ()))),
        holidays=tuple(_holiday_from(item) for item in get("holidays", ())),
        leaves=tuple(_leave_from(item) for item in get("leaves", ())),
        override=None if override is None else _override_from(override),
        # A record of an earlier version may have fewer.
        **dict(zip(TOTALS, record["totals"], strict=False)),
    )


def _store(instant: dt.datetime) -> Instant:
    if instant.microsecond:
        return instant.astimezone(_UTC).isoformat()
    return int(instant.timestamp())


def _get_instant(stored: Instant) -> dt.datetime:
    return dt.datetime.fromisoformat(stored) if isinstance(stored, str) else _from_second(stored, _UTC)


def _find_instant(stored: Instant | None) -> dt.datetime | None:
    return None if stored is None else _get_instant(stored)


def _store_use(use: PunchUse) -> list[Any]:
    punch, fate, counted_at, same_as = use
    key, punched_at, direction, device_id, is_doubtful, origin, note = punch
    stored: list[Any] = [
        key,
        _store(punched_at),
        fate.value,
        None if direction is None else direction.value,
        device_id,
    ]
    if counted_at is not None or same_as is not None or is_doubtful or origin is not Origin.DEVICE or note:
        stored.append(None if counted_at is None else _store(counted_at))
        stored.append(same_as)
        stored.append(1 if is_doubtful else 0)
        stored.append(origin.value)
        stored.append(note)
    return stored


def _use_from(  # noqa: PLR0917 - the parts of a stored punch, in their order
    key: str,
    punched_at: Instant,
    fate: str,
    direction: str | None,
    device_id: str | None,
    counted_at: Instant | None = None,
    same_as: str | None = None,
    is_doubtful: int = 0,
    origin: str = Origin.DEVICE.value,
    note: str = "",
) -> PunchUse:
    punch = WorkPunch(
        key,
        _get_instant(punched_at),
        _DIRECTIONS[direction],
        device_id,
        bool(is_doubtful),
        _ORIGINS[origin],
        note,
    )
    return PunchUse(punch, _FATES[fate], _find_instant(counted_at), same_as)


# --- holidays, leaves and overrides, the same in both forms -----------------------------------------------------------


def _holiday_record(holiday: Holiday) -> Record:
    return {
        "on": holiday.holiday_on.isoformat(),
        "name": holiday.name,
        "day_part": holiday.day_part.value,
        "calendar": holiday.calendar,
    }


def _holiday_from(record: Mapping[str, Any]) -> Holiday:
    return Holiday(
        holiday_on=dt.date.fromisoformat(record["on"]),
        name=record["name"],
        day_part=DayPart(record["day_part"]),
        calendar=record["calendar"],
    )


def _leave_record(leave: Leave) -> Record:
    return {
        "kind": leave.kind,
        "starts_on": leave.starts_on.isoformat(),
        "ends_on": leave.ends_on.isoformat(),
        "day_part": leave.day_part.value,
        "hours": leave.hours,
    }


def _leave_from(record: Mapping[str, Any]) -> Leave:
    return Leave(
        kind=record["kind"],
        starts_on=dt.date.fromisoformat(record["starts_on"]),
        ends_on=dt.date.fromisoformat(record["ends_on"]),
        day_part=DayPart(record["day_part"]),
        hours=record["hours"],
    )


def _override_record(override: DayOverride) -> Record:
    return {
        "key": override.key,
        "on": override.work_on.isoformat(),
        "status": None if override.status is None else override.status.value,
        "worked_seconds": override.worked_seconds,
        "late_seconds": override.late_seconds,
        "early_seconds": override.early_seconds,
        "made_by": override.made_by,
        "reason": override.reason,
    }


def _override_from(record: Mapping[str, Any]) -> DayOverride:
    status = record["status"]
    return DayOverride(
        key=record["key"],
        work_on=dt.date.fromisoformat(record["on"]),
        status=None if status is None else Status(status),
        worked_seconds=record["worked_seconds"],
        late_seconds=record["late_seconds"],
        early_seconds=record["early_seconds"],
        made_by=record["made_by"],
        reason=record["reason"],
    )


# --- to be read by people and programs --------------------------------------------------------------------------------


def describe_day(day: AttendanceDay, timezone: dt.tzinfo) -> Record:
    """Everything about a day as JSON that explains itself: all keys are always there, codes have their sentences.

    Instants are ISO 8601 with the offset of the place of work; durations are seconds.
    """

    def local(instant: dt.datetime | None) -> str | None:
        return None if instant is None else instant.astimezone(timezone).isoformat()

    return {
        "work_on": day.work_on.isoformat(),
        "status": day.status.value,
        "is_final": day.is_final,
        "shift": day.shift_code,
        "first_in_at": local(day.first_in_at),
        "last_out_at": local(day.last_out_at),
        **{name: getattr(day, name) for name in TOTALS},
        "overtime_seconds": day.overtime_seconds,
        "overtime": {kind.value: seconds for kind, seconds in day.overtime.items()},
        "shifts": [
            {
                "code": span.code,
                "starts_at": local(span.starts_at),
                "ends_at": local(span.ends_at),
                "opens_at": local(span.opens_at),
                "closes_at": local(span.closes_at),
            }
            for span in day.shifts
        ],
        "punches": [
            {
                "key": use.punch.key,
                "punched_at": local(use.punch.punched_at),
                "direction": None if use.punch.direction is None else use.punch.direction.value,
                "device": use.punch.device_id,
                "fate": use.fate.value,
                "sentence": use.sentence,
                "counted_at": local(use.counted_at),
                "same_as": use.same_as,
                "is_doubtful": use.punch.is_doubtful,
                "origin": use.punch.origin.value,
                "note": use.punch.note,
            }
            for use in day.punches
        ],
        "anomalies": [{"code": anomaly.value, "sentence": anomaly.sentence} for anomaly in day.anomalies],
        "holidays": [_holiday_record(holiday) for holiday in day.holidays],
        "leaves": [_leave_record(leave) for leave in day.leaves],
        "override": None if day.override is None else _override_record(day.override),
    }


def add_up(days: Sequence[AttendanceDay]) -> Record:
    """The totals of several days: how many of each status, the sums of `TOTALS`, and overtime by kind."""
    statuses: dict[str, int] = {}
    overtime: dict[str, int] = {}
    for day in days:
        statuses[day.status.value] = statuses.get(day.status.value, 0) + 1
        for kind, seconds in day.overtime.items():
            overtime[kind.value] = overtime.get(kind.value, 0) + seconds
    return {
        "days": len(days),
        "statuses": statuses,
        **{name: sum(getattr(day, name) for day in days) for name in TOTALS},
        "overtime_seconds": sum(overtime.values()),
        "overtime": overtime,
    }
