"""How commands on attendance read and write dates, times and hours."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import typer

from backend.errors import ConfigurationError


def read_date(text: str, name: str = "date") -> dt.date:
    """A date as people write it: 2026-11-21, today or yesterday (by this machine's clock).

    Raises:
        typer.BadParameter: it is none.
    """
    today = dt.datetime.now().astimezone().date()
    if text in ("today", "yesterday"):
        return today - dt.timedelta(days=text == "yesterday")
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{name} {text!r} is no date; write it as YYYY-MM-DD, or today or yesterday."
        ) from None


def read_instant(text: str, zone: zoneinfo.ZoneInfo) -> dt.datetime:
    """A time such as `2026-11-21 08:30`, by the clock of the zone unless it has an offset.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write it as '2026-11-21 08:30', with +01:00 for another zone."
        ) from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)


def hours(seconds: int) -> str:
    """Seconds as hours and minutes, such as 7:30; a dash for none."""
    if not seconds:
        return "-"
    minutes = abs(seconds) // 60
    return f"{'-' if seconds < 0 else ''}{minutes // 60}:{minutes % 60:02}"


def read_hours(text: str, name: str) -> int:
    """Hours such as 7:30 or 7.5 as seconds.

    Raises:
        typer.BadParameter: they are none.
    """
    try:
        if ":" in text:
            whole, minutes = text.split(":")
            return int(whole) * 3600 + int(minutes) * 60
        return round(float(text) * 3600)
    except ValueError:
        raise typer.BadParameter(f"{name} {text!r} is no time; write hours such as 7:30 or 7.5.") from None


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of a name that was stored.

    Raises:
        ConfigurationError: this machine does not know it.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except zoneinfo.ZoneInfoNotFoundError:
        raise ConfigurationError(f"This machine does not know the time zone {name}; install tzdata.") from None
