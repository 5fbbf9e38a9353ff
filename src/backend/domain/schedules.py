"""When a job fires: cron, interval and date triggers, time zones and daylight saving time.

Pure: instants in, instants out. What becomes of a fire (run, missed, skipped) is the business of `domain.fires`.

Cron text means what crontab(5) says: five fields, 0 and 7 are Sunday, and when day-of-month and day-of-week are both
restricted, either is enough. On the days of a clock change, Debian's cron is the model: a job whose minute or hour
field starts with `*` runs by elapsed time (nothing is made up in spring, both hours run in autumn); a job at a fixed
time follows its `DstRule`.
"""

from __future__ import annotations

import datetime as dt
import enum
import heapq
import itertools
import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cronsim import CronSim, CronSimError

from backend.errors import ConfigurationError

SECOND = dt.timedelta(seconds=1)
# The latest instant that is looked at: `datetime` ends with the year 9999, and time zones need room to shift.
HORIZON = dt.datetime(9990, 1, 1, tzinfo=dt.UTC)

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_INTERVAL = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _UNITS))
_LONGEST_INTERVAL_SECONDS = 10 * 366 * 86_400


class TriggerKind(enum.StrEnum):
    """What `trigger_expression` holds."""

    CRON = "cron"
    INTERVAL = "interval"
    DATE = "date"


class DstRule(enum.StrEnum):
    """What a fixed local time does on the days of a clock change.

    `SKIP`: a time that does not exist is not fired; one that exists twice fires the first time.
    `ONCE`: a time that does not exist fires at the first instant after the gap; one that exists twice fires the first
    time. `TWICE`: as `ONCE` in spring; in autumn it fires both times.
    """

    SKIP = "skip"
    ONCE = "once"
    TWICE = "twice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """Five fields of crontab(5), in the local time of a zone.

    Attributes:
        text: the fields, nicknames such as `@daily` already replaced.
    """

    text: str
    zone: zoneinfo.ZoneInfo
    dst_rule: DstRule

    @property
    def by_elapsed_time(self) -> bool:
        """Whether it counts real time instead of naming a time of day."""
        minute, hour = self.text.split()[:2]
        return minute.startswith("*") or hour.startswith("*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Every `seconds` from `anchor_at` on (the anchor itself is the first)."""

    seconds: int
    anchor_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """Fixed instants: one, or two when the date is an ambiguous local time under `DstRule.TWICE`."""

    at: tuple[dt.datetime, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A checked trigger and the period in which it is valid (both ends included)."""

    trigger: Cron | Interval | Once
    starts_at: dt.datetime | None = None
    ends_at: dt.datetime | None = None


def parse_schedule(
    *,
    kind: str,
    expression: str,
    anchor_at: dt.datetime,
    timezone: str = "UTC",
    dst_rule: str = DstRule.ONCE,
    starts_at: dt.datetime | None = None,
    ends_at: dt.datetime | None = None,
) -> Schedule:
    """The schedule that the columns of a job describe.

    Args:
        anchor_at: from when an interval counts if `starts_at` is not given (the creation of the job), so that the
            same job always fires at the same instants.

    Raises:
        ConfigurationError: naming the field, its value and how to mend it.
    """
    zone = parse_timezone(timezone)
    rule = choose(DstRule, "dst_rule", dst_rule)
    for field, value in (("starts_at", starts_at), ("ends_at", ends_at)):
        if value is not None and value.tzinfo is None:
            raise ConfigurationError(
                f"{field} = {value.isoformat()} has no time zone: add Z or an offset such as +01:00."
            )
    if starts_at is not None and ends_at is not None and ends_at < starts_at:
        raise ConfigurationError(
            f"ends_at = {ends_at.isoformat()} is before starts_at = {starts_at.isoformat()}: swap or remove one."
        )
    trigger: Cron | Interval | Once
    match choose(TriggerKind, "trigger_kind", kind):
        case TriggerKind.CRON:
            trigger = Cron(text=parse_cron(expression), zone=zone, dst_rule=rule)
        case TriggerKind.INTERVAL:
            anchor = (starts_at or anchor_at).astimezone(dt.UTC).replace(microsecond=0)
            trigger = Interval(seconds=parse_interval(expression), anchor_at=anchor)
        case TriggerKind.DATE:
            trigger = Once(at=_parse_date(expression, zone, rule))
    return Schedule(trigger=trigger, starts_at=starts_at, ends_at=ends_at)


def parse_timezone(name: str) -> zoneinfo.ZoneInfo:
    """The IANA time zone.

    Raises:
        ConfigurationError: there is no such zone.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            f"timezone = {name!r} is not a time zone: write an IANA name such as Europe/Berlin or UTC."
        ) from None


def parse_cron(text: str) -> str:
    """The five fields of a crontab(5) line, a nickname replaced by what it stands for.

    Raises:
        ConfigurationError: it is no such line, or no day ever matches it.
    """
    fields = NICKNAMES.get(text.strip().lower(), text).split()
    if text.strip().startswith("@") and len(fields) == 1:
        raise ConfigurationError(
            f"trigger_expression = {text!r} is not a nickname that can be scheduled: use one of {', '.join(NICKNAMES)}."
        )
    if len(fields) != 5:
        raise ConfigurationError(
            f"trigger_expression = {text!r} has {len(fields)} fields: a cron line has five (minute hour day-of-month "
            "month day-of-week), such as `30 2 * * 1-5`."
        )
    fields = [_without_idle_steps(field) for field in fields]
    try:
        first = next(CronSim(" ".join(fields), dt.datetime(2000, 1, 1)), None)  # noqa: DTZ001 - local time
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise ConfigurationError(
            f"trigger_expression = {text!r} is not crontab(5) text: the field {field} is wrong. The fields are minute "
            "0-59, hour 0-23, day-of-month 1-31, month 1-12 or JAN-DEC, day-of-week 0-7 or SUN-SAT; each takes `*`, "
            "lists `1,2`, ranges `1-5` and steps `*/10`."
        ) from None
    if first is None:
        raise ConfigurationError(f"trigger_expression = {text!r} never fires: no day has that date.")
    return " ".join(fields)


def _without_idle_steps(field: str) -> str:
    """A range of one value with a step (`5-5/10`) as that value: cronsim would read it as `5/10`, from 5 to the end."""
    terms = []
    for term in field.split(","):
        span, slash, step = term.partition("/")
        begin, dash, end = span.partition("-")
        is_one = dash and begin.lower().lstrip("0") == end.lower().lstrip("0")
        terms.append(begin if is_one and slash and step.isdecimal() and int(step) else term)
    return ",".join(terms)


def parse_interval(text: str) -> int:
    """Seconds of an interval: `900`, `900s`, `15m`, `1h30m`, `1d`.

    Raises:
        ConfigurationError: it is no duration of at least a second.
    """
    low = text.strip().lower()
    match = _INTERVAL.fullmatch(f"{low}s" if low.isdecimal() and low.isascii() else low)
    seconds = sum(int(match[unit] or 0) * size for unit, size in _UNITS.items()) if match else 0
    if not 1 <= seconds <= _LONGEST_INTERVAL_SECONDS:
        raise ConfigurationError(
            f"trigger_expression = {text!r} is not an interval: write seconds or a text such as 15m, 1h30m or 1d "
            "(at least 1 second, at most 10 years)."
        )
    return seconds


def _parse_date(text: str, zone: zoneinfo.ZoneInfo, rule: DstRule) -> tuple[dt.datetime, ...]:
    try:
        value = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"trigger_expression = {text!r} is not a date: write ISO 8601 such as 2026-03-01T02:30:00 (local time of "
            "the job's timezone) or 2026-03-01T01:30:00Z."
        ) from None
    if value.tzinfo is not None:
        return (value.astimezone(dt.UTC),)
    instants = _instants(value, zone, rule, by_elapsed_time=False)
    if not instants:
        raise ConfigurationError(
            f"trigger_expression = {text!r} does not exist in {zone.key} (the clock is put forward over it): choose "
            "another time, or dst_rule once."
        )
    return instants


E = TypeVar("E", bound=enum.StrEnum)


def choose(kind: type[E], field: str, value: str) -> E:
    """The member of `kind` with this value.

    Raises:
        ConfigurationError: there is none; the message names the field and lists the values.
    """
    try:
        return kind(value)
    except ValueError:
        raise ConfigurationError(f"{field} = {value!r} is not known: use one of {', '.join(kind)}.") from None


# --- evaluation -------------------------------------------------------------------------------------------------------


def fires_after(schedule: Schedule, after: dt.datetime, limit: int | None = None) -> Iterator[dt.datetime]:
    """The fires later than `after` (aware), ascending, as UTC instants; lazily, at most `limit`."""
    if schedule.starts_at is not None:
        after = max(after, schedule.starts_at - dt.timedelta(microseconds=1))
    fires = _FIRES[type(schedule.trigger)](schedule.trigger, after)
    last = min(schedule.ends_at or HORIZON, HORIZON)
    return itertools.islice(itertools.takewhile(lambda fire: fire <= last, _ascending(fires, after)), limit)


def fires_between(schedule: Schedule, after: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    """The fires in (after, until], ascending; lazily."""
    return itertools.takewhile(lambda fire: fire <= until, fires_after(schedule, after))


def find_next_fire(schedule: Schedule, after: dt.datetime) -> dt.datetime | None:
    """The first fire later than `after`; None: it never fires again."""
    return next(fires_after(schedule, after), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueFires:
    """The fires of a stretch of time, of which only the newest are listed.

    Attributes:
        fires: the newest ones, ascending.
        older_count: how many came before those.
        older_is_exact: False when there were too many to count.
        older_first, older_last: the first and the last of those; None when there are none.
    """

    fires: tuple[dt.datetime, ...]
    older_count: int = 0
    older_is_exact: bool = True
    older_first: dt.datetime | None = None
    older_last: dt.datetime | None = None


def collect_due(
    schedule: Schedule, after: dt.datetime, until: dt.datetime, *, keep: int = 5000, count_limit: int = 100_000
) -> DueFires:
    """The fires in (after, until]: the newest `keep` of them, and what came before in numbers.

    The work is bounded, however long the stretch: looks back from `until` in windows that double.
    """
    window = keep * SECOND
    while True:
        begin = max(after, until - window)
        found = tuple(fires_between(schedule, begin, until))
        if begin == after or len(found) > keep:
            break
        window *= 2
    fires = found[-keep:]
    if begin == after and len(found) <= keep:
        return DueFires(fires=fires)
    older_last = found[-keep - 1]
    older = fires_between(schedule, after, older_last)
    older_first = next(older)
    count = 1 + sum(1 for _ in itertools.islice(older, count_limit - 1))
    return DueFires(
        fires=fires,
        older_count=count,
        older_is_exact=count < count_limit,
        older_first=older_first,
        older_last=older_last,
    )


def _ascending(fires: Iterator[dt.datetime], after: dt.datetime) -> Iterator[dt.datetime]:
    last = after
    for fire in fires:
        if fire > last:
            last = fire
            yield fire


def _once_fires(trigger: Once, after: dt.datetime) -> Iterator[dt.datetime]:
    return iter(trigger.at)


def _interval_fires(trigger: Interval, after: dt.datetime) -> Iterator[dt.datetime]:
    period = dt.timedelta(seconds=trigger.seconds)
    fire = trigger.anchor_at + max(0, (after - trigger.anchor_at) // period) * period
    while fire <= HORIZON:
        yield fire
        fire += period


def _cron_fires(trigger: Cron, after: dt.datetime) -> Iterator[dt.datetime]:
    zone = trigger.zone
    local = after.astimezone(zone)
    start = local.replace(tzinfo=None)
    if not local.fold:
        # In the first passing of an hour that comes twice, its second passing is still to come.
        start -= max(dt.timedelta(), _offset(local) - _offset(local.replace(fold=1)))
    by_elapsed_time = trigger.by_elapsed_time
    waiting: list[dt.datetime] = []  # a heap: the second passing is found early and is due late
    for wall_time in CronSim(trigger.text, start - SECOND):
        if wall_time.year >= HORIZON.year:
            break
        first, second = _readings(wall_time, zone)
        for instant in _instants(wall_time, zone, trigger.dst_rule, by_elapsed_time=by_elapsed_time):
            heapq.heappush(waiting, instant)
        # No later wall time can mean an instant before this one.
        lowest = min(first, second)
        while waiting and waiting[0] <= lowest:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)


_FIRES: Mapping[type, Callable[[Any, dt.datetime], Iterator[dt.datetime]]] = {
    Cron: _cron_fires,
    Interval: _interval_fires,
    Once: _once_fires,
}


def _instants(
    wall_time: dt.datetime, zone: zoneinfo.ZoneInfo, rule: DstRule, *, by_elapsed_time: bool
) -> tuple[dt.datetime, ...]:
    """The instants at which a local time fires: none, one or two."""
    first, second = _readings(wall_time, zone)
    if first < second:  # the clock is put back over it
        return (first, second) if by_elapsed_time or rule is DstRule.TWICE else (first,)
    if first > second:  # the clock is put forward over it
        return () if by_elapsed_time or rule is DstRule.SKIP else (_end_of_gap(second, first, zone),)
    return (first,)


def _readings(wall_time: dt.datetime, zone: zoneinfo.ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """A local time read with the offset before and with the offset after a change of the clock (PEP 495)."""
    first = wall_time.replace(tzinfo=zone, fold=0)
    second = wall_time.replace(tzinfo=zone, fold=1)
    return first.astimezone(dt.UTC), second.astimezone(dt.UTC)


def _end_of_gap(before: dt.datetime, after: dt.datetime, zone: zoneinfo.ZoneInfo) -> dt.datetime:
    offset = _offset(before.astimezone(zone))
    while after - before > SECOND:
        middle = before + ((after - before) // SECOND + 1) // 2 * SECOND
        if _offset(middle.astimezone(zone)) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(local: dt.datetime) -> dt.timedelta:
    return local.utcoffset() or dt.timedelta()
