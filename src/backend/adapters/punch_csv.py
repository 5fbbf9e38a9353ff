"""Punches of a CSV file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from backend.adapters.csv_table import CsvColumns, CsvReading, read_csv_rows
from backend.adapters.toml_problems import did_you_mean
from backend.domain.attendance.day import WorkPunch
from backend.domain.punches import Direction

EMPLOYEE_ALIASES = ("employee", "employee_id", "employee_number", "emp_no", "emp_code", "user_id", "badge_number")
FIRST_YEAR, LAST_YEAR = 1970, 2199
_Day = TypeVar("_Day", bound=dt.date)
COLUMNS = CsvColumns(
    what="a file of punches",
    names={
        "employee_no": EMPLOYEE_ALIASES,
        "punched_at": ("timestamp", "date_time", "punch_time", "check_time", "event_time"),
        "date": ("punch_date", "day"),
        "time": ("punch_clock", "clock"),
        "direction": ("type", "check_type", "punch_state", "state", "in_out"),
        "device": ("device_id", "terminal", "terminal_sn", "reader", "sensor_id"),
    },
    required=(("employee_no",), ("punched_at", "date", "time")),
)
DIRECTION_WORDS: Mapping[str, Direction | None] = {
    "": None,
    "none": None,
    **{item.value: item for item in Direction},
    "i": Direction.IN,
    "check in": Direction.IN,
    "checkin": Direction.IN,
    "clock in": Direction.IN,
    "c/in": Direction.IN,
    "entry": Direction.IN,
    "o": Direction.OUT,
    "check out": Direction.OUT,
    "checkout": Direction.OUT,
    "clock out": Direction.OUT,
    "c/out": Direction.OUT,
    "exit": Direction.OUT,
    "break start": Direction.BREAK_START,
    "break end": Direction.BREAK_END,
    "overtime in": Direction.OVERTIME_IN,
    "overtime out": Direction.OVERTIME_OUT,
}


def read_punch_csv(
    path: Path, zone_of: Callable[[str], dt.tzinfo], reading: CsvReading
) -> Iterator[tuple[str, WorkPunch]]:
    """The punches of a file, each with its employee number; the key of a punch is its line.

    Args:
        zone_of: the time zone of an employee, for times without an offset.
        reading: learns what could not be read.

    Raises:
        PermanentError: the file cannot be read at all, or its header does not fit.
    """

    def make(line: int, values: Mapping[str, str]) -> tuple[str, WorkPunch]:
        employee_no = values["employee_no"]
        if not employee_no:
            raise ValueError("has no employee_no")
        text = values.get("punched_at") or " ".join(filter(None, (values.get("date"), values.get("time"))))
        if not text:
            raise ValueError("has no time of the punch")
        return employee_no, WorkPunch(
            f"line {line}",
            read_instant(text, zone_of(employee_no)),
            _read_direction(values.get("direction", "")),
            values.get("device") or None,
        )

    return read_csv_rows(path, COLUMNS, make, reading)


def read_instant(text: str, zone: dt.tzinfo) -> dt.datetime:
    """An instant of ISO 8601, in UTC; a time without an offset is of the zone's clock.

    A time that the clock shows twice is the first one; one that it leaves out is as far after the change.

    Raises:
        ValueError: it is none, or a date alone.
    """
    try:
        instant = dt.datetime.fromisoformat(text)
        if ":" not in text and "T" not in text:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write it as 2026-03-31T08:00:00+02:00, 2026-03-31T06:00:00Z or (by the clock of the "
            "place) 2026-03-31 08:00"
        ) from None
    check_year(instant)
    return (instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)).astimezone(dt.UTC)


def check_year(day: _Day) -> _Day:
    """The day, where its year is one that attendance is computed for.

    Raises:
        ValueError: it is not.
    """
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"the year {day.year} is not between {FIRST_YEAR} and {LAST_YEAR}")
    return day


def _read_direction(text: str) -> Direction | None:
    plain = text.casefold().replace("-", " ")
    for word in (plain, plain.replace(" ", "_")):
        if word in DIRECTION_WORDS:
            return DIRECTION_WORDS[word]
    hint = did_you_mean(plain, DIRECTION_WORDS)
    raise ValueError(f"{text!r} is no direction{hint}; write one of {', '.join(Direction)}, or nothing")
