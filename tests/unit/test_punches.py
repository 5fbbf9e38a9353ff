"""From clock events to punches, and which months are looked at."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.adapters.biostar_config import load_punch_sources
from backend.domain.punch_events import EventBatch, EventsRead, WallClock, are_encrypted, read_events, times_of_seconds
from backend.domain.punches import (
    CLOCK_CODES,
    Direction,
    EmployeeRule,
    Ignored,
    IngestState,
    Month,
    PunchFlag,
    PunchRules,
    PunchSourceDefinition,
    Rejected,
    SourceKind,
    plan_first_instant,
    plan_first_month,
)
from backend.errors import ConfigurationError
from tests.support.project import PROJECT_ROOT

RULES = PunchRules()
GOOD: Mapping[str, Any] = {
    "key": "7", "seconds": 1_790_812_832, "device": "541000102", "user": " 10160 ", "code": 4865, "direction": "1",
}  # fmt: skip
NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def batch(*events: Mapping[str, Any]) -> EventBatch:
    def column(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([event[name] for event in events], kind)

    return EventBatch(
        keys=column("key", pa.string()),
        times=times_of_seconds(column("seconds", pa.int64())),
        devices=column("device", pa.string()),
        users=column("user", pa.string()),
        codes=column("code", pa.int64()),
        directions=column("direction", pa.string()),
    )


def read(*events: Mapping[str, Any], rules: PunchRules = RULES, **more: Any) -> EventsRead:
    return read_events(batch(*events), rules, table="t", now=NOW, **more)


def read_one(rules: PunchRules = RULES, **changes: Any) -> dict[str, Any] | Ignored | Rejected:
    """The punch that an event is, or why it is none."""
    found = read({**GOOD, **changes}, rules=rules)
    if found.batch.punches.num_rows:
        (punch,) = found.batch.punches.to_pylist()
        return dict(punch)
    (reason,) = [reason for counts in (found.ignored, found.rejected) for reason, count in counts.items() if count]
    return reason


def test_a_success_of_a_user_is_a_punch() -> None:
    """An event becomes a punch with its instant in UTC, its key's meaning and the device as a text."""
    assert read_one() == {
        "event_key": "7",
        "user_id": "10160",
        "punched_at": "2026-10-01 00:00:32.000000",
        "direction": "in",
        "device_id": "541000102",
        "event_code": 4865,
        "flags": None,
    }


@pytest.mark.parametrize("code", [0x1000, 4097, 4098, 4102, 0x1200, 4865, 4867, 0x1500, 0x16FF])
def test_success_codes_count(code: int) -> None:
    """Every sub-code of verified, identified, duress and dual is a punch."""
    assert isinstance(read_one(code=code), dict)


@pytest.mark.parametrize("code", [None, 0, 0x1100, 0x1400, 0x1700, 0x1800, 0x1900, 12800, 12802, 0x11000, -4096])
def test_other_codes_do_not(code: int | None) -> None:
    """Failures, denials, clock changes and unknown codes are no punches."""
    assert read_one(code=code) is Ignored.NOT_A_SUCCESS


def test_single_codes_can_be_configured() -> None:
    """A code whose low byte is not zero stands for itself alone."""
    rules = PunchRules(success_codes=frozenset({4102}))
    assert isinstance(read_one(rules, code=4102), dict)
    assert read_one(rules) is Ignored.NOT_A_SUCCESS


def test_a_source_without_codes_has_only_punches() -> None:
    """Where events have no codes, each of somebody is a punch."""
    rules = PunchRules(success_codes=None, clock_codes=frozenset())
    assert isinstance(read_one(rules, code=None), dict)


@pytest.mark.parametrize("user", [None, "", "  "])
def test_events_of_nobody_are_no_punches(user: str | None) -> None:
    """An event without a user is ignored."""
    assert read_one(user=user) is Ignored.NO_USER


@pytest.mark.parametrize(
    ("key", "direction"), [("2", "out"), ("3", "break_start"), ("0", None), (None, None), ("9", None)]
)
def test_keys_have_the_configured_meaning(key: str | None, direction: str | None) -> None:
    """No key, and one without a meaning, say nothing; the punch is kept."""
    punch = read_one(direction=key)
    assert isinstance(punch, dict)
    assert direction == punch["direction"]


@pytest.mark.parametrize(("device", "direction"), [("541000102", "out"), ("5", "in"), (None, "in")])
def test_devices_go_before_keys(device: str | None, direction: str) -> None:
    """A device that is only passed one way says so, whatever was pressed; at the others the key decides."""
    punch = read_one(PunchRules(device_directions={"541000102": Direction.OUT}), device=device)
    assert isinstance(punch, dict)
    assert direction == punch["direction"]


@pytest.mark.parametrize("seconds", [None, 0, -5, 2**40, 2**62])
def test_an_unreadable_time_is_rejected(seconds: int | None) -> None:
    """A punch without a believable instant cannot be kept."""
    assert read_one(seconds=seconds) is Rejected.UNREADABLE_TIME


def test_ids_are_never_cut() -> None:
    """The id of a user or a device that does not fit is rejected, and the event is named once."""
    assert read_one(user="x" * 65) is Rejected.TOO_LONG_USER
    assert read_one(device="x" * 65) is Rejected.TOO_LONG_DEVICE
    found = read({**GOOD, "user": "x" * 65, "device": "x" * 65, "seconds": 0})
    assert [("7", Rejected.TOO_LONG_USER)] == found.rejected_keys


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "key": st.integers(0, 2**31).map(str),
                "seconds": st.none() | st.integers(-(2**63), 2**63 - 1),
                "device": st.none() | st.integers(0, 2**32).map(str),
                "user": st.none() | st.text(max_size=80),
                "code": st.none() | st.integers(-(2**31), 2**31) | st.sampled_from([4102, 12800]),
                "direction": st.none() | st.integers(-1, 300).map(str),
            }
        ),
        max_size=20,
    )
)
def test_any_event_is_read(events: list[dict[str, Any]]) -> None:
    """Whatever stands in the table is a punch that fits its columns, or has a reason why not; nothing gets lost."""
    found = read(*events)
    punches = found.batch.punches.to_pylist()
    assert len(events) == len(punches) + sum(found.ignored.values()) + sum(found.rejected.values())
    for punch in punches:
        assert 0 < len(punch["user_id"]) <= 64
        assert 26 == len(punch["punched_at"])
    assert len(found.batch.users) == len({punch["user_id"] for punch in punches})
    assert {change["event_code"] for change in found.batch.clock_changes.to_pylist()} <= CLOCK_CODES


def test_a_change_of_the_clock_is_kept() -> None:
    """What a device says about its clock is no punch, but it is kept with device and time."""
    found = read({**GOOD, "code": 12800, "user": None}, {**GOOD, "code": 12802, "device": None})
    assert [
        {"event_key": "7", "device_id": "541000102", "changed_at": "2026-10-01 00:00:32.000000", "event_code": 12800}
    ] == found.batch.clock_changes.to_pylist()
    assert 2 == found.ignored[Ignored.NOT_A_SUCCESS]


def test_punches_of_the_future_are_flagged() -> None:
    """A punch that is later than now, by more than clocks differ, is kept with a flag."""
    now = int(NOW.timestamp())
    found = read(*({**GOOD, "seconds": now + ahead} for ahead in (0, 600, 601)))
    assert [None, None, "future"] == found.batch.punches.column("flags").to_pylist()
    assert {PunchFlag.FUTURE: 1} == found.flags


def test_late_punches_are_flagged() -> None:
    """A new punch of a time that has been looked at already is kept with a flag."""
    begin, end = NOW - dt.timedelta(days=9), NOW - dt.timedelta(hours=1)
    seconds = [int(instant.timestamp()) for instant in (begin - dt.timedelta(seconds=1), begin, end)]
    found = read(*({**GOOD, "seconds": each} for each in seconds), late=(begin, end))
    assert [None, "late", None] == found.batch.punches.column("flags").to_pylist()


def test_ciphertext_among_user_ids_is_rejected() -> None:
    """It is nobody's id: the events are read again, with `full`, when BioStar no longer encrypts."""
    secret = "q83vEjRWeJCrze8SNFZ4kA=="
    found = read({**GOOD, "key": "1", "user": secret}, {**GOOD, "key": "2", "user": "10160"})
    assert ["10160"] == found.batch.users
    assert [("1", Rejected.ENCRYPTED_USER)] == found.rejected_keys
    assert [secret] == read({**GOOD, "user": secret}).batch.users


def test_ciphertext_is_noticed() -> None:
    """User ids that are all base64 of cipher blocks are told from user ids."""
    assert are_encrypted(["q83vEjRWeJCrze8SNFZ4kA==", "q83vEjRWeJCrze8SNFZ4kB=="])
    assert not are_encrypted(["q83vEjRWeJCrze8SNFZ4kA==", "10160"])
    assert not are_encrypted([])


# --- wall clocks ------------------------------------------------------------------------------------------------------


def to_utc(clock: WallClock, *times: str, device: str = "1") -> list[str]:
    """Instants of wall times as `HH:MM`."""
    naive = [dt.datetime.fromisoformat(time).replace(tzinfo=dt.UTC) for time in times]
    numbers = pa.array([int(time.timestamp()) * 1_000_000 for time in naive], pa.int64()).to_numpy()
    found = clock.to_utc(numbers, [device] * len(times))
    return [dt.datetime.fromtimestamp(number / 1e6, dt.UTC).strftime("%H:%M") for number in found.tolist()]


def test_wall_times_are_of_their_zone() -> None:
    """The offset is that of the day; in spring a time that there was not is as far after the change."""
    clock = WallClock("Europe/Berlin")
    assert ["07:00", "06:00"] == to_utc(clock, "2026-01-05 08:00", "2026-07-05 08:00")
    assert ["00:59", "01:30", "01:00"] == to_utc(clock, "2026-03-29 01:59", "2026-03-29 02:30", "2026-03-29 03:00")


def test_the_hour_that_comes_twice_is_told_by_the_order() -> None:
    """In autumn the second pass of a device begins where its time goes back, also from one batch to the next."""
    clock = WallClock("Europe/Berlin")
    assert ["00:10", "00:50"] == to_utc(clock, "2026-10-25 02:10", "2026-10-25 02:50")
    assert ["01:05", "01:55", "02:00"] == to_utc(clock, "2026-10-25 02:05", "2026-10-25 02:55", "2026-10-25 03:00")
    assert ["00:30"] == to_utc(clock, "2026-10-25 02:30", device="2")
    assert ["00:30"] == to_utc(clock, "2027-10-31 02:30")


@given(st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2090, 1, 1)).map(lambda time: time.replace(microsecond=0)))
def test_wall_times_agree_with_the_standard_library(time: dt.datetime) -> None:
    """One by one, every wall time is the instant that Python makes of it."""
    expected = time.replace(tzinfo=BERLIN).astimezone(dt.UTC).strftime("%H:%M")
    assert [expected] == to_utc(WallClock("Europe/Berlin"), time.isoformat())


# --- months -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 9000), st.integers(1, 12), st.integers(0, 500))
def test_months_count_back(year: int, month: int, months: int) -> None:
    """Going back n months one by one is going back n months."""
    start = Month(year + 100, month)
    slow = start
    for _ in range(months):
        slow = slow.minus(1)
    assert slow == start.minus(months)
    assert Month.parse(str(start)) == start


def test_the_first_run_looks_back() -> None:
    """Without anything known, the first run begins the configured number of months before, or at the first month."""
    assert plan_first_month(IngestState(), RULES, NOW) == Month(2026, 8)
    assert plan_first_month(IngestState(), PunchRules(first_month=Month(2020, 1)), NOW) == Month(2020, 1)


def test_later_runs_rescan() -> None:
    """A later run looks at the re-scan depth, but not before the source's beginning."""
    state = IngestState(first_month=Month(2026, 8), complete_month=Month(2026, 11))
    assert plan_first_month(state, RULES, NOW) == Month(2026, 9)
    assert plan_first_month(state, PunchRules(rescan_months=9), NOW) == Month(2026, 8)


def test_a_long_standstill_leaves_no_gap() -> None:
    """After months without a run, everything since the last complete one is looked at, with its re-scan depth."""
    state = IngestState(first_month=Month(2025, 1), complete_month=Month(2026, 3))
    assert plan_first_month(state, RULES, NOW) == Month(2026, 1)


def test_an_earlier_first_month_is_caught_up() -> None:
    """When somebody sets an earlier first month, the next run begins there; the run after it does not."""
    rules = PunchRules(first_month=Month(2025, 1))
    state = IngestState(first_month=Month(2026, 8), complete_month=Month(2026, 11))
    assert plan_first_month(state, rules, NOW) == Month(2025, 1)
    caught_up = IngestState(first_month=Month(2025, 1), complete_month=Month(2026, 11))
    assert plan_first_month(caught_up, rules, NOW) == Month(2026, 9)


def test_a_full_run_begins_at_the_beginning() -> None:
    """A full run reads everything since the source's first month."""
    state = IngestState(first_month=Month(2025, 1), complete_month=Month(2026, 11))
    assert plan_first_month(state, RULES, NOW, full=True) == Month(2025, 1)


def test_the_clock_may_go_back() -> None:
    """A server whose clock was set back still looks at the current month and its re-scan depth."""
    state = IngestState(first_month=Month(2025, 1), complete_month=Month(2027, 5))
    assert plan_first_month(state, RULES, NOW) == Month(2026, 9)


def test_sources_that_are_read_by_time_rescan_days() -> None:
    """Without tables for months, the same holds in days."""
    ten = PunchRules(rescan_days=10)
    state = IngestState(
        first_month=Month(2026, 8), complete_month=Month(2026, 11), completed_at=NOW - dt.timedelta(days=2)
    )
    assert NOW - dt.timedelta(days=12) == plan_first_instant(state, ten, NOW)
    assert Month(2026, 8).begin == plan_first_instant(state, ten, NOW, full=True)
    assert Month(2026, 8).begin == plan_first_instant(state, PunchRules(rescan_days=400), NOW)
    assert Month(2026, 8).begin == plan_first_instant(IngestState(), ten, NOW)
    assert Month(2026, 1).begin == plan_first_instant(state, PunchRules(first_month=Month(2026, 1)), NOW)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_example_says_what_holds_without_it(tmp_path: Path) -> None:
    """config/biostar.toml is read, and states the defaults."""
    (example,) = load_punch_sources(PROJECT_ROOT / "config" / "biostar.toml").values()
    (default,) = load_punch_sources(tmp_path / "missing.toml").values()
    assert (default.name, default.kind, default.url_setting, default.rules) == (
        example.name,
        example.kind,
        example.url_setting,
        example.rules,
    )


def test_the_examples_of_other_clocks_are_read() -> None:
    """Every example of another time clock is a file that can be taken as it is."""
    kinds = {
        name: definition.kind
        for path in sorted((PROJECT_ROOT / "config" / "examples" / "clocks").glob("*.toml"))
        for name, definition in load_punch_sources(path).items()
    }
    assert {
        "biostar1": SourceKind.BIOSTAR1,
        "biotime": SourceKind.QUERY,
        "tna": SourceKind.QUERY,
        "zkteco": SourceKind.QUERY,
    } == kinds


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[sources", "not valid TOML"),
        ("", "sources"),
        ('[sources.biostar]\nkind = "biostar3"', "line 2, sources.biostar.kind: there is no kind 'biostar3'; did you"),
        ("[sources.biostar]\nmonths_back = 1", "sources.biostar.kind: is missing"),
        ('[sources.biostar]\nkind = "biostar2"\nfirst_month = "2026-13"', "line 3, sources.biostar.first_month"),
        ('[sources.biostar]\nkind = "biostar2"\nrescan_month = 1', "did you mean rescan_months?"),
        ('[sources.biostar]\nkind = "biostar2"\nrescan_days = 1', "sources.biostar.rescan_days: unknown key"),
        ('[sources.biostar]\nkind = "biostar2"\ntimezone = "Europe/Berlin"', "sources.biostar.timezone: unknown key"),
        (
            '[sources.biostar]\nkind = "biostar2"\ndirections = {1 = "inn"}',
            'line 3, sources.biostar.directions."1": should be',
        ),
        ('[sources.biostar]\nkind = "biostar2"\nemployee = "badge"', "biostar_user_id, employee_no, extra.NAME"),
        ('[sources.biostar]\nkind = "biostar1"\ntimezone = "Berlin"', "no time zone"),
        ('[sources.biostar]\nkind = "query"', "sources.biostar.query: is missing"),
        ('[sources.biostar]\nkind = "query"\nquery = "SELECT 1"', "`:after`"),
        ('[sources."Bio Star"]\nkind = "biostar2"', "Bio Star"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    """Every mistake is refused with the file and the place."""
    path = tmp_path / "biostar.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        load_punch_sources(path)
    assert named in str(error.value)
    assert str(path) in str(error.value)


def test_a_changed_file_is_read(tmp_path: Path) -> None:
    """Several sources, each with its kind, database and rules, are taken from the file."""
    path = tmp_path / "biostar.toml"
    path.write_text("""
        [sources.plant2]
        kind = "biostar2"
        url = "PLANT2_URL"
        employee = "employee_no"
        ignore_leading_zeros = true
        first_month = "2025-02"
        rescan_months = 6
        success_codes = [4102]
        clock_codes = [12800]
        doubt_minutes = 5
        future_minutes = 1
        late_minutes = 120
        directions = {7 = "out"}
        device_directions = {541000101 = "in"}

        [sources.gate]
        kind = "query"
        timezone = "Asia/Seoul"
        rescan_days = 3
        employee = "extra.badge"
        query = "SELECT * FROM gate WHERE at > :after"
        directions = {I = "in", O = "out"}
    """)
    plant2 = PunchSourceDefinition(
        name="plant2",
        url_setting="PLANT2_URL",
        place=f"{path} [sources.plant2]",
        rules=PunchRules(
            success_codes=frozenset({4102}),
            clock_codes=frozenset({12800}),
            directions={"7": Direction.OUT},
            device_directions={"541000101": Direction.IN},
            first_month=Month(2025, 2),
            rescan_months=6,
            doubt_seconds=300,
            future_seconds=60,
            late_seconds=7200,
            employee=EmployeeRule(column="employee_no", ignore_leading_zeros=True),
        ),
    )
    gate = PunchSourceDefinition(
        name="gate",
        kind=SourceKind.QUERY,
        place=f"{path} [sources.gate]",
        query="SELECT * FROM gate WHERE at > :after",
        rules=PunchRules(
            success_codes=None,
            clock_codes=frozenset(),
            directions={"I": Direction.IN, "O": Direction.OUT},
            timezone="Asia/Seoul",
            rescan_days=3,
            employee=EmployeeRule(column="extra.badge"),
        ),
    )
    assert {"plant2": plant2, "gate": gate} == load_punch_sources(path)
