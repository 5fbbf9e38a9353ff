"""How commands on attendance read and write dates, times and hours."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Mapping
from typing import Any

import typer

from backend.errors import ConfigurationError

WRAPPED: Mapping[str, Any] = {"no_wrap": False, "overflow": "fold"}
"""Of a column of a table: a text that is too long goes on in the next line."""

_YEARS = range(1970, 2200)
_LENGTH_OF_A_DATE = len("2026-11-21")
_HOURS = re.compile(r"(\d{1,2})(?::([0-5]\d)|(\.\d{1,4}))?")
_DAY_SECONDS = 86_400


def read_date(text: str, name: str = "date") -> dt.date:
    """A date as people write it: 2026-11-21, today or yesterday (by this machine's clock).

    Raises:
        typer.BadParameter: it is none, or none that anybody has worked on.
    """
    today = dt.datetime.now().astimezone().date()
    if text in ("today", "yesterday"):
        return today - dt.timedelta(days=text == "yesterday")
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{name} {text!r} is no date; write it as YYYY-MM-DD, or today or yesterday."
        ) from None
    _check_year(day.year, text, name)
    return day


def read_dates(first: str, last: str) -> tuple[dt.date, dt.date]:
    """The first and the last date of a range, both as `read_date` takes them.

    Raises:
        typer.BadParameter: one is none, or they are the wrong way round.
    """
    first_on, last_on = read_date(first, "FROM"), read_date(last, "TO")
    if last_on < first_on:
        raise typer.BadParameter(f"The last day ({last_on}) is before the first one ({first_on}).")
    return first_on, last_on


def read_instant(text: str, zone: zoneinfo.ZoneInfo) -> dt.datetime:
    """A time such as `2026-11-21 08:30`, by the clock of the zone unless it has an offset.

    Raises:
        typer.BadParameter: it is none, or that clock does not show it, or shows it twice.
    """
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write it as '2026-11-21 08:30', with +01:00 for another zone."
        ) from None
    if len(text) <= _LENGTH_OF_A_DATE:
        raise typer.BadParameter(f"{text!r} has no time of day; write it as '2026-11-21 08:30'.")
    _check_year(instant.year, text, "TIME")
    if instant.tzinfo is not None:
        return instant
    local = instant.replace(tzinfo=zone)
    if local.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != instant:
        raise typer.BadParameter(f"There is no {text} in {zone}: the clocks are put forward over it.")
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise typer.BadParameter(
            f"{text} is there twice in {zone}, as the clocks are put back; write which one: '{local}' or "
            f"'{local.replace(fold=1)}'."
        )
    return local


def read_reason(text: str) -> str:
    """Why somebody does something.

    Raises:
        typer.BadParameter: it says nothing.
    """
    if not text.strip():
        raise typer.BadParameter("--reason is empty; whoever looks at it later wants to know why.")
    return text


def hours(seconds: int) -> str:
    """Seconds as hours and minutes, such as 7:30; a dash for none."""
    if not seconds:
        return "-"
    minutes = abs(seconds) // 60
    return f"{'-' if seconds < 0 else ''}{minutes // 60}:{minutes % 60:02}"


def read_hours(text: str, name: str) -> int:
    """Hours of a day, such as 7:30 or 7.5, as seconds.

    Raises:
        typer.BadParameter: they are none, or more than a day has.
    """
    if found := _HOURS.fullmatch(text):
        whole, minutes, part = found.groups()
        seconds = int(whole) * 3600 + int(minutes or 0) * 60 + round(float(part or 0) * 3600)
        if seconds <= _DAY_SECONDS:
            return seconds
    raise typer.BadParameter(f"{name} {text!r} are no hours of a day; write them as 7:30 or 7.5.")


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of a name that was stored.

    Raises:
        ConfigurationError: this machine does not know it.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except zoneinfo.ZoneInfoNotFoundError:
        raise ConfigurationError(f"This machine does not know the time zone {name}; install tzdata.") from None


def _check_year(year: int, text: str, name: str) -> None:
    if year not in _YEARS:
        raise typer.BadParameter(f"{name} {text!r} is out of reach; the years {_YEARS[0]} to {_YEARS[-1]} are known.")
