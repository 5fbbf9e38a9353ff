"""When a job fires."""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.schedules import (
    NICKNAMES,
    DstRule,
    Schedule,
    collect_due,
    fires_after,
    fires_between,
    parse_cron,
    parse_interval,
    parse_schedule,
)
from backend.errors import ConfigurationError

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
CREATED_AT = dt.datetime(2025, 1, 1, 0, 0, 30, 500, tzinfo=dt.UTC)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def cron(text: str, zone: str = "Europe/Berlin", rule: str = "once", **period: dt.datetime) -> Schedule:
    return parse_schedule(kind="cron", expression=text, anchor_at=CREATED_AT, timezone=zone, dst_rule=rule, **period)


def texts(fires: Iterator[dt.datetime]) -> list[str]:
    return [fire.strftime("%m-%d %H:%M") for fire in fires]


# --- cron text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 12 * * 0", ["01-05 12:00", "01-12 12:00"]),
        ("0 12 * * 7", ["01-05 12:00", "01-12 12:00"]),
        ("0 12 * * sun", ["01-05 12:00", "01-12 12:00"]),
        ("0 12 * * 1-5", ["01-01 12:00", "01-02 12:00"]),
        ("0 12 * * 5-7", ["01-03 12:00", "01-04 12:00"]),
        ("0 12 13 * 5", ["01-03 12:00", "01-10 12:00"]),  # the 13th or a Friday
        ("0 12 */2 * 1", ["01-13 12:00", "01-27 12:00"]),  # an odd day that is a Monday, as in Debian's cron
        ("*/20 9-10 * * *", ["01-01 09:00", "01-01 09:20"]),
        ("30-30/5 6 * * *", ["01-01 06:30", "01-02 06:30"]),
        ("0 6 * * mon-MON/2", ["01-06 06:00", "01-13 06:00"]),
        ("1,5-7 0 1 jan *", ["01-01 00:01", "01-01 00:05"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00"]),
        ("@daily", ["01-02 00:00", "01-03 00:00"]),
        ("@Weekly", ["01-05 00:00", "01-12 00:00"]),
        ("@hourly", ["01-01 01:00", "01-01 02:00"]),
    ],
)
def test_cron_text_means_what_crontab_says(text: str, expected: list[str]) -> None:
    """0 and 7 are Sunday; day-of-month and day-of-week are alternatives when both are restricted."""
    assert texts(fires_after(cron(text, "UTC"), utc("2025-01-01"), 2)) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("0 0 * * * *", "has 6 fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day-of-week"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("a * * * *", "minute"),
        ("0 0 30 2 *", "day-of-month"),
        ("@reboot", "nickname"),
        ("@dayly", "nickname"),
    ],
)
def test_wrong_cron_text_is_refused_with_the_field(text: str, part: str) -> None:
    """The error shows the text and names the field."""
    with pytest.raises(ConfigurationError) as caught:
        parse_cron(text)
    assert part in str(caught.value)
    assert repr(text) in str(caught.value)


def test_every_nickname_is_cron_text() -> None:
    """What a nickname stands for can be parsed itself."""
    assert [parse_cron(name) for name in NICKNAMES] == list(NICKNAMES.values())


# --- daylight saving time ---------------------------------------------------------------------------------------------

SPRING = (utc("2025-03-29T12:00"), utc("2025-03-30T12:00"))  # 02:00 -> 03:00 at 01:00 UTC
AUTUMN = (utc("2025-10-25T12:00"), utc("2025-10-26T12:00"))  # 03:00 -> 02:00 at 01:00 UTC


@pytest.mark.parametrize(
    ("text", "rule", "spring", "autumn"),
    [
        ("30 2 * * *", "skip", [], ["10-26 00:30"]),
        ("30 2 * * *", "once", ["03-30 01:00"], ["10-26 00:30"]),
        ("30 2 * * *", "twice", ["03-30 01:00"], ["10-26 00:30", "10-26 01:30"]),
        ("15,45 2 * * *", "once", ["03-30 01:00"], ["10-26 00:15", "10-26 00:45"]),
        (
            "15,45 2 * * *",
            "twice",
            ["03-30 01:00"],
            ["10-26 00:15", "10-26 00:45", "10-26 01:15", "10-26 01:45"],
        ),
        ("0 2,3 * * *", "once", ["03-30 01:00"], ["10-26 00:00", "10-26 02:00"]),
        ("*/30 2 * * *", "once", [], ["10-26 00:00", "10-26 00:30", "10-26 01:00", "10-26 01:30"]),
        ("30 */2 * * *", "skip", None, None),
    ],
)
def test_clock_changes_follow_the_jobs_rule(
    text: str, rule: str, spring: list[str] | None, autumn: list[str] | None
) -> None:
    """Fixed times follow `dst_rule`; fields that begin with a star run by elapsed time whatever the rule."""
    schedule = cron(text, rule=rule)
    if spring is None:
        # 00:30, 04:30, ... local: 02:30 does not exist in spring and comes twice in autumn.
        assert len(list(fires_between(schedule, *SPRING))) == 11
        assert len(list(fires_between(schedule, *AUTUMN))) == 13
    else:
        assert texts(fires_between(schedule, *SPRING)) == spring
        assert texts(fires_between(schedule, *AUTUMN)) == autumn


def test_every_quarter_of_an_hour_stays_a_quarter_of_an_hour() -> None:
    """A star job neither doubles nor pauses over the changes of the clock."""
    for start, end in (SPRING, AUTUMN):
        fires = list(fires_between(cron("*/15 * * * *"), start, end))
        assert {later - earlier for earlier, later in itertools.pairwise(fires)} == {dt.timedelta(minutes=15)}


def test_lord_howe_shifts_by_half_an_hour() -> None:
    """A gap of 30 minutes: 02:15 does not exist, 02:30 is the first instant after it."""
    begin, end = utc("2025-10-04T00:00"), utc("2025-10-05T00:00")
    fires = list(fires_between(cron("15 2 * * *", "Australia/Lord_Howe"), begin, end))
    assert [fire.astimezone(zoneinfo.ZoneInfo("Australia/Lord_Howe")).strftime("%H:%M") for fire in fires] == ["02:30"]


# --- interval and date ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("15m", 900), ("1h30m", 5400), (" 2D ", 172800), ("1w", 604800)]
)
def test_intervals_are_read(text: str, seconds: int) -> None:
    """Plain seconds, or numbers with units from weeks to seconds."""
    assert parse_interval(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "1.5h", "m15", "15 m x", "30m1h", "99999w", "²"])
def test_wrong_intervals_are_refused(text: str) -> None:
    """Neither nothing nor the unreadable nor ages are an interval."""
    with pytest.raises(ConfigurationError, match="is not an interval"):
        parse_interval(text)


def test_an_interval_is_anchored_at_the_creation_or_at_starts_at() -> None:
    """The same job fires at the same instants, whenever it is asked; `starts_at` itself is the first."""
    arguments: dict[str, Any] = {"kind": "interval", "expression": "10m", "anchor_at": CREATED_AT}
    by_creation = parse_schedule(**arguments)
    assert next(fires_after(by_creation, CREATED_AT)) == utc("2025-01-01T00:10:30")
    assert next(fires_after(by_creation, utc("2025-06-01T00:00:31"))) == utc("2025-06-01T00:10:30")
    by_start = parse_schedule(**arguments, starts_at=utc("2025-02-01T00:00"))
    assert texts(fires_after(by_start, CREATED_AT, 2)) == ["02-01 00:00", "02-01 00:10"]


def test_a_date_fires_once() -> None:
    """An offset in the text decides; without one it is local time of the job's zone."""
    for text in ("2025-07-01T02:30:00", "2025-07-01T00:30:00Z", "2025-07-01T09:30+09:00"):
        schedule = parse_schedule(kind="date", expression=text, anchor_at=CREATED_AT, timezone="Europe/Berlin")
        assert list(fires_after(schedule, CREATED_AT)) == [utc("2025-07-01T00:30")]
        assert list(fires_after(schedule, utc("2025-07-01T00:30"))) == []


def test_a_date_in_a_gap_follows_the_rule() -> None:
    """It moves behind the gap, or is refused where the rule is to skip; ambiguous, it may fire twice."""

    def dates(text: str, rule: str) -> list[str]:
        arguments = {"kind": "date", "expression": text, "timezone": "Europe/Berlin", "dst_rule": rule}
        return texts(fires_after(parse_schedule(**arguments, anchor_at=CREATED_AT), CREATED_AT))  # type: ignore[arg-type]

    assert dates("2025-03-30T02:30", "once") == ["03-30 01:00"]
    assert dates("2025-10-26T02:30", "twice") == ["10-26 00:30", "10-26 01:30"]
    with pytest.raises(ConfigurationError, match="does not exist in Europe/Berlin"):
        dates("2025-03-30T02:30", "skip")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"kind": "sometimes"}, "trigger_kind = 'sometimes'"),
        ({"timezone": "Mars/Base"}, "timezone = 'Mars/Base'"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"dst_rule": "thrice"}, "dst_rule = 'thrice' is not known: use one of skip, once, twice"),
        ({"kind": "date", "expression": "tomorrow"}, "'tomorrow' is not a date"),
        ({"starts_at": dt.datetime(2025, 1, 1)}, "starts_at"),
        ({"starts_at": utc("2025-02-01"), "ends_at": utc("2025-01-01")}, "ends_at"),
    ],
)
def test_a_wrong_schedule_names_the_field(changes: dict[str, object], part: str) -> None:
    """Each error names the field and its value."""
    arguments = {"kind": "cron", "expression": "0 0 * * *", "anchor_at": CREATED_AT} | changes
    with pytest.raises(ConfigurationError) as caught:
        parse_schedule(**arguments)  # type: ignore[arg-type]
    assert part in str(caught.value)


def test_the_period_includes_both_ends() -> None:
    """A fire exactly at `starts_at` or `ends_at` counts."""
    schedule = cron("0 * * * *", "UTC", starts_at=utc("2025-03-01T10:00"), ends_at=utc("2025-03-01T12:00"))
    assert texts(fires_after(schedule, utc("2025-01-01"))) == ["03-01 10:00", "03-01 11:00", "03-01 12:00"]


# --- many fires -------------------------------------------------------------------------------------------------------


def test_collect_due_keeps_the_newest_and_counts_the_rest() -> None:
    """Of a long stretch only the newest are listed; how many came before is told, as far as it is worth counting."""
    every_minute = cron("* * * * *", "UTC")
    due = collect_due(every_minute, utc("2025-01-01T00:00"), utc("2025-01-01T01:00"), keep=10)
    assert texts(iter(due.fires)) == [f"01-01 00:{minute}" for minute in range(51, 60)] + ["01-01 01:00"]
    assert (due.older_count, due.older_is_exact) == (50, True)
    assert (due.older_first, due.older_last) == (utc("2025-01-01T00:01"), utc("2025-01-01T00:50"))
    uncounted = collect_due(every_minute, utc("2024-01-01"), utc("2025-01-01"), keep=10, count_limit=100)
    assert (uncounted.older_count, uncounted.older_is_exact) == (100, False)


@given(st.integers(0, 300), st.integers(1, 50))
def test_collect_due_loses_nothing(minutes: int, keep: int) -> None:
    """Listed and counted fires together are all fires."""
    schedule = parse_schedule(kind="interval", expression="1m", anchor_at=CREATED_AT)
    until = CREATED_AT + dt.timedelta(minutes=minutes)
    due = collect_due(schedule, CREATED_AT, until, keep=keep)
    everything = list(fires_between(schedule, CREATED_AT, until))
    assert list(due.fires) == everything[-keep:]
    assert due.older_count == max(0, len(everything) - keep)


# --- properties -------------------------------------------------------------------------------------------------------


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    span = st.tuples(value, value).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.one_of(st.just("*"), span).flatmap(lambda base: st.integers(1, 30).map(lambda size: f"{base}/{size}"))
    single = st.one_of(value.map(str), span, step)
    return st.one_of(st.just("*"), single, st.lists(single, min_size=1, max_size=3).map(",".join))


CRON_TEXTS = st.tuples(
    _field(0, 59), _field(0, 23), _field(1, 28), _field(1, 12), st.one_of(st.just("*"), _field(0, 7))
).map(" ".join)
FREQUENT = st.tuples(_field(0, 59), _field(0, 23)).map(lambda fields: " ".join([*fields, "* * *"]))
# Around the changes of the clock of all zones, where it is difficult.
INSTANTS = st.sampled_from(
    [
        utc(text)
        for text in (
            *("2025-03-30T00:00", "2025-10-26T00:00", "2025-03-09T06:00", "2025-11-02T05:00"),
            *("2025-04-05T14:00", "2025-10-04T15:00", "2025-07-01T00:00"),
        )
    ]
).flatmap(lambda around: st.integers(-600, 600).map(lambda minutes: around + dt.timedelta(minutes=minutes)))
RULES = st.sampled_from(list(DstRule))


@settings(max_examples=150, deadline=None)
@given(st.one_of(CRON_TEXTS, FREQUENT), st.sampled_from(ZONES), RULES, INSTANTS)
def test_fires_ascend_strictly(text: str, zone: str, rule: DstRule, after: dt.datetime) -> None:
    """No fire comes twice, none comes out of order, none is not later than `after`."""
    fires = [after, *fires_after(cron(text, zone, rule), after, 60)]
    assert all(earlier < later for earlier, later in itertools.pairwise(fires))


@settings(max_examples=150, deadline=None)
@given(FREQUENT, st.sampled_from(ZONES), RULES, INSTANTS, st.lists(st.integers(0, 1440), min_size=1, max_size=4))
def test_a_stretch_is_the_sum_of_its_parts(
    text: str, zone: str, rule: DstRule, start: dt.datetime, cuts: list[int]
) -> None:
    """Wherever a stretch is cut, also inside the hour that comes twice, its parts have the same fires as the whole."""
    schedule = cron(text, zone, rule)
    bounds = [start, *sorted(start + dt.timedelta(minutes=cut) for cut in cuts), start + dt.timedelta(days=1)]
    parts = [fire for begin, end in itertools.pairwise(bounds) for fire in fires_between(schedule, begin, end)]
    assert parts == list(fires_between(schedule, bounds[0], bounds[-1]))


@settings(max_examples=150, deadline=None)
@given(st.one_of(CRON_TEXTS, FREQUENT), st.sampled_from(ZONES), RULES, INSTANTS)
def test_cron_agrees_with_going_through_every_minute(text: str, zone: str, rule: DstRule, start: dt.datetime) -> None:
    """An evaluator that knows nothing but the definition finds the same fires."""
    end = start + dt.timedelta(days=1)
    assert list(fires_between(cron(text, zone, rule), start, end)) == minute_by_minute(text, zone, rule, start, end)


def minute_by_minute(
    text: str, zone_name: str, rule: DstRule, start: dt.datetime, end: dt.datetime
) -> list[dt.datetime]:
    """The fires in (start, end], from looking at each minute of the clock on the wall."""
    fields = text.split()
    zone = zoneinfo.ZoneInfo(zone_name)
    matches = _matcher(fields)
    by_elapsed_time = fields[0].startswith("*") or fields[1].startswith("*")
    minute = dt.timedelta(minutes=1)
    found: set[dt.datetime] = set()
    instant = start - dt.timedelta(hours=2)
    previous = instant.astimezone(zone)
    while instant <= end:
        local = instant.astimezone(zone)
        wall = local.replace(tzinfo=None)
        if matches(wall) and (by_elapsed_time or local.fold == 0 or rule is DstRule.TWICE):
            found.add(instant)
        skipped = previous.replace(tzinfo=None) + minute
        while not by_elapsed_time and rule is not DstRule.SKIP and skipped < wall:
            if matches(skipped):
                found.add(instant)
            skipped += minute
        previous = local
        instant += minute
    return sorted(fire for fire in found if start < fire <= end)


def _matcher(fields: list[str]) -> Callable[[dt.datetime], bool]:
    ranges = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    minutes, hours, days, months, weekdays = (
        _numbers(field, low, high) for field, (low, high) in zip(fields, ranges, strict=True)
    )
    both = fields[2].startswith("*") or fields[4].startswith("*")

    def matches(wall: dt.datetime) -> bool:
        by_day = wall.day in days
        by_weekday = wall.isoweekday() in weekdays or wall.isoweekday() % 7 in weekdays
        on_day = by_day and by_weekday if both else by_day or by_weekday
        return wall.minute in minutes and wall.hour in hours and wall.month in months and on_day

    return matches


def _numbers(field: str, low: int, high: int) -> set[int]:
    numbers: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        first, last = (low, high) if span == "*" else (int(begin), int(end or begin))
        numbers |= set(range(first, last + 1, int(step or 1)))
    return numbers
