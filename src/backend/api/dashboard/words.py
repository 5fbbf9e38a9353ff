"""How instants, durations and numbers are written for people. Pure; no HTML."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

from backend.domain.schedules import parse_interval
from backend.errors import ConfigurationError

# As `Database` writes it into its errors: ` (HRIS_URL = mssql+aioodbc://...)`.
_URL = re.compile(r" \([A-Z_]+ = [^()\s]+\)")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def span(seconds: float) -> str:
    """A length of time in its largest unit, rounded down: `45 s`, `12 min`, `3 h`, `5 days`."""
    whole = int(abs(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h"
    return f"{whole // _DAY} days"


def relative(then: dt.datetime, now: dt.datetime) -> str:
    """How far `then` is from `now`: `just now`, `12 min ago`, `in 3 h`."""
    seconds = (now - then).total_seconds()
    if abs(seconds) < 2:
        return "just now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(seconds)}"


def duration(milliseconds: float) -> str:
    """A measured length of time with about three digits: `85 ms`, `2.4 s`, `3 min 20 s`, `2 h 05 min`."""
    if milliseconds < 1000:
        return f"{int(milliseconds)} ms"
    seconds = milliseconds / 1000
    if seconds < _MINUTE:
        return f"{int(seconds * 10) / 10:g} s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def number(value: int) -> str:
    """A whole number with thousands separated by a narrow no-break space: `12 345`."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def absolute(instant: dt.datetime) -> str:
    """An instant to the second in UTC: `2031-05-04 03:02:01 UTC`."""
    return f"{instant.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun: `1 job`, `3 jobs`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def shorten(text: str, length: int) -> str:
    """The text on one line of at most `length` characters, cut at the end."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def enumerate_words(items: Sequence[str]) -> str:
    """The items as a sentence lists them: `a, b and c`."""
    return " and ".join(part for part in (", ".join(items[:-1]), items[-1]) if part)


def sentence(clause: str) -> str:
    """The clause as a sentence: with a capital letter and a full stop."""
    return f"{clause[:1].upper()}{clause[1:].rstrip('.')}."


def brief_error(text: str) -> str:
    """An error for a line: without the URL in it, which everybody knows who looks at the page."""
    return _URL.sub("", text).replace(" -- ", "; ")


# --- schedules and policies -------------------------------------------------------------------------------------------

CATCH_UP = {
    "skip": "misses are not caught up",
    "last": "catches up the last missed fire",
    "all": "catches up every missed fire",
}
OVERLAP = {
    "skip": "skips a fire while it is busy",
    "queue": "queues a fire while it is busy",
    "cancel_running": "a fire cancels the busy run",
}

_WEEKDAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
# Cron text -> words, filled with the numbers of the text in their order.
_CRON = (
    (r"\* \* \* \* \*", "every minute"),
    (r"\*/(2|3|4|5|6|10|12|15|20|30) \* \* \* \*", "every {0} min"),
    (r"(\d+) \* \* \* \*", "hourly at :{0:02d}"),
    (r"(\d+) (\d+) \* \* \*", "daily at {1:02d}:{0:02d}"),
    (r"(\d+) (\d+) \* \* 1-5", "Monday to Friday at {1:02d}:{0:02d}"),
    (r"(\d+) (\d+) \* \* ([0-7])", "{day} at {1:02d}:{0:02d}"),
    (r"(\d+) (\d+) (\d+) \* \*", "monthly on day {2} at {1:02d}:{0:02d}"),
)


def schedule(kind: str, expression: str) -> str:
    """A trigger for people: `daily at 02:30`, `every 15 min`; cron text that has no short words stays as it is."""
    if kind == "interval":
        return f"every {_interval(expression)}"
    if kind == "date":
        return f"once, at {expression.replace('T', ' ')}"
    text = " ".join(expression.split())
    for pattern, phrase in _CRON:
        if match := re.fullmatch(pattern, text):
            numbers = [int(group) for group in match.groups()]
            return phrase.format(*numbers, day=_WEEKDAYS[numbers[-1] % 7] if "{day}" in phrase else "")
    return text.removeprefix("@")


def _interval(expression: str) -> str:
    try:
        seconds = parse_interval(expression)
    except ConfigurationError:
        return expression
    if seconds == _DAY:
        return "day"
    units = ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))
    return next(f"{seconds // size} {unit}" for size, unit in units if seconds % size == 0)
