"""Days of attendance as JSON: stored and read again they are the same, and described they leave nothing out."""

from __future__ import annotations

import datetime as dt
import json

from hypothesis import given
from hypothesis import strategies as st

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
from backend.domain.attendance.records import add_up, day_from_record, day_to_record, describe_day
from backend.domain.employees import DayPart
from backend.domain.punches import Direction
from tests.support.attendance import BERLIN, at, compute_day

texts = st.text(max_size=12)
dates = st.dates(dt.date(1990, 1, 1), dt.date(2100, 1, 1))
instants = st.datetimes(dt.datetime(1960, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)).flatmap(
    lambda instant: st.sampled_from([instant, instant.replace(microsecond=0)])
)
seconds = st.integers(-100_000, 100_000)
work_punches = st.builds(
    WorkPunch,
    key=texts,
    punched_at=instants,
    direction=st.none() | st.sampled_from(Direction),
    device_id=st.none() | texts,
    is_doubtful=st.booleans(),
    origin=st.sampled_from(Origin),
    note=texts,
)
uses = st.builds(
    PunchUse,
    punch=work_punches,
    fate=st.sampled_from(Fate),
    counted_at=st.none() | instants,
    same_as=st.none() | texts,
)
holidays = st.builds(
    Holiday, holiday_on=dates, name=texts, day_part=st.sampled_from(DayPart), calendar=st.none() | texts
)
leaves = st.builds(
    Leave,
    kind=texts,
    starts_on=dates,
    ends_on=dates,
    day_part=st.sampled_from(DayPart),
    hours=st.none() | st.floats(0, 24),
)
overrides = st.builds(
    DayOverride,
    key=texts,
    work_on=dates,
    status=st.none() | st.sampled_from(Status),
    worked_seconds=st.none() | seconds,
    late_seconds=st.none() | seconds,
    early_seconds=st.none() | seconds,
    made_by=texts,
    reason=texts,
)
days = st.builds(
    AttendanceDay,
    work_on=dates,
    status=st.sampled_from(Status),
    is_final=st.booleans(),
    shifts=st.lists(
        st.builds(ShiftSpan, code=texts, starts_at=instants, ends_at=instants, opens_at=instants, closes_at=instants),
        max_size=2,
    ).map(tuple),
    **{name: seconds for name in AttendanceDay.__dataclass_fields__ if name.endswith("_seconds")},
    first_in_at=st.none() | instants,
    last_out_at=st.none() | instants,
    overtime=st.dictionaries(st.sampled_from(Overtime), seconds),
    anomalies=st.lists(st.sampled_from(Anomaly), max_size=3).map(tuple),
    punches=st.lists(uses, max_size=4).map(tuple),
    holidays=st.lists(holidays, max_size=2).map(tuple),
    leaves=st.lists(leaves, max_size=2).map(tuple),
    override=st.none() | overrides,
)


@given(day=days)
def test_a_day_comes_back_from_its_record(day: AttendanceDay) -> None:
    """Whatever is in it, also after a way through JSON."""
    assert day == day_from_record(json.loads(json.dumps(day_to_record(day))))


def test_a_record_of_an_earlier_version_can_be_read() -> None:
    """A total that it does not have is 0."""
    record = day_to_record(compute_day("9:00i 17:00o"))
    record["totals"].pop()

    assert (8 * 3600, 0) == (day_from_record(record).worked_seconds, day_from_record(record).leave_seconds)


def test_a_record_is_short() -> None:
    """An ordinary day with four punches takes less than 600 characters."""
    day = compute_day("9:00i 12:00o 12:30i 17:00o")

    assert len(json.dumps(day_to_record(day), separators=(",", ":"))) < 600


@given(day=days)
def test_a_description_leaves_nothing_out(day: AttendanceDay) -> None:
    """Every field of a day is told, and the words of every code with it."""
    told = json.loads(json.dumps(describe_day(day, BERLIN)))

    assert {*AttendanceDay.__dataclass_fields__} <= {*told}
    assert [use.sentence for use in day.punches] == [item["sentence"] for item in told["punches"]]
    assert [anomaly.sentence for anomaly in day.anomalies] == [item["sentence"] for item in told["anomalies"]]


def test_a_description_is_in_the_time_of_the_place() -> None:
    """Instants carry the offset of the place of work."""
    day = compute_day("9:00i 17:00o")
    told = describe_day(day, BERLIN)

    assert at("9:00") == day.first_in_at
    assert "2026-06-01T09:00:00+02:00" == told["first_in_at"]
    assert ["2026-06-01T09:00:00+02:00", "2026-06-01T17:00:00+02:00"] == [
        item["punched_at"] for item in told["punches"]
    ]


def test_days_are_added_up() -> None:
    """Statuses are counted; totals and overtime are summed."""
    one = compute_day("9:00i 17:00o")
    none = compute_day("")
    total = add_up([one, none])

    assert (2, {"present": 1, "absent": 1}) == (total["days"], total["statuses"])
    assert (16 * 3600, 8 * 3600, 0) == (total["scheduled_seconds"], total["worked_seconds"], total["overtime_seconds"])
