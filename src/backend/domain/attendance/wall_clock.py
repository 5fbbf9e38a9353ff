"""Between the clock on the wall and instants. Pure.

Inside the engine an instant is a whole number of Unix seconds: durations are then real elapsed time, whatever the
clocks do meanwhile.
"""

from __future__ import annotations

import datetime as dt
import functools

DAY_SECONDS = 86_400
ONE_DAY = dt.timedelta(days=1)


def to_second(instant: dt.datetime) -> int:
    """An aware instant as Unix seconds, without its fraction."""
    return int(instant.timestamp() // 1)


def to_instant(second: int) -> dt.datetime:
    """Unix seconds as an aware UTC instant."""
    return dt.datetime.fromtimestamp(second, dt.UTC)


def seconds_of(time: dt.time) -> int:
    """How far a time of day is from 00:00, in seconds of the dial."""
    return time.hour * 3600 + time.minute * 60 + time.second


@functools.lru_cache(maxsize=1 << 16)
def second_at(zone: dt.tzinfo, day: dt.date, dial_seconds: int) -> int:
    """The instant at which the clock of a place shows a time.

    A time that a clock change leaves out is as far after the change as it would have been; of a time that there is
    twice, the first one.

    Args:
        dial_seconds: after 00:00 of the day; 24 hours and more are the next day's.
    """
    wall_time = dt.datetime.combine(day, dt.time()) + dt.timedelta(seconds=dial_seconds)
    return int(wall_time.replace(tzinfo=zone).timestamp())


def date_at(zone: dt.tzinfo, second: int) -> dt.date:
    """The date that the calendar of a place shows."""
    return dt.datetime.fromtimestamp(second, zone).date()


def cut_at_midnights(zone: dt.tzinfo, start: int, end: int) -> list[tuple[dt.date, int, int]]:
    """A stretch of time in parts of one date each: (date, start, end). An empty stretch has one empty part."""
    day = date_at(zone, start)
    parts = []
    while True:
        midnight = second_at(zone, day + ONE_DAY, 0)
        if end <= midnight:
            parts.append((day, start, end))
            return parts
        parts.append((day, start, midnight))
        start, day = midnight, day + ONE_DAY
