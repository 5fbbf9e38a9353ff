"""From clock events to punches, and which months are looked at."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.adapters.biostar_config import load_punch_rules
from backend.domain.punches import (
    ClockEvent,
    Direction,
    Ignored,
    IngestState,
    Month,
    Punch,
    PunchRules,
    Rejected,
    are_encrypted,
    plan_first_month,
)
from backend.errors import ConfigurationError
from tests.support.project import PROJECT_ROOT

RULES = PunchRules()
GOOD = ClockEvent(number=7, device_time=1_790_812_832, device=541_000_102, user=" 10160 ", code=4865, key=1)
NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


def test_a_success_of_a_user_is_a_punch() -> None:
    """An event becomes a punch with its instant in UTC, its key's meaning and the device as a text."""
    assert RULES.read(GOOD) == Punch(
        event_key="7",
        user_id="10160",
        punched_at=dt.datetime(2026, 10, 1, 0, 0, 32, tzinfo=dt.UTC),
        direction=Direction.IN,
        device_id="541000102",
        event_code=4865,
    )


@pytest.mark.parametrize("code", [0x1000, 4097, 4098, 4102, 0x1200, 4865, 4867, 0x1500, 0x16FF])
def test_success_codes_count(code: int) -> None:
    """Every sub-code of verified, identified, duress and dual is a punch."""
    assert isinstance(RULES.read(GOOD._replace(code=code)), Punch)


@pytest.mark.parametrize("code", [None, 0, 0x1100, 0x1400, 0x1700, 0x1800, 0x1900, 12800, 12802, 0x11000, -4096])
def test_other_codes_do_not(code: int | None) -> None:
    """Failures, denials, clock changes and unknown codes are no punches."""
    assert RULES.read(GOOD._replace(code=code)) is Ignored.NOT_A_SUCCESS


def test_single_codes_can_be_configured() -> None:
    """A code whose low byte is not zero stands for itself alone."""
    rules = PunchRules(success_codes=frozenset({4102}))
    assert isinstance(rules.read(GOOD._replace(code=4102)), Punch)
    assert rules.read(GOOD) is Ignored.NOT_A_SUCCESS


@pytest.mark.parametrize("user", [None, "", "  "])
def test_events_of_nobody_are_no_punches(user: str | None) -> None:
    """An event without a user is ignored."""
    assert RULES.read(GOOD._replace(user=user)) is Ignored.NO_USER


@pytest.mark.parametrize(
    ("key", "direction"), [(2, Direction.OUT), (3, Direction.BREAK_START), (0, None), (None, None), (9, None)]
)
def test_keys_have_the_configured_meaning(key: int | None, direction: Direction | None) -> None:
    """No key, and one without a meaning, say nothing; the punch is kept."""
    punch = RULES.read(GOOD._replace(key=key))
    assert isinstance(punch, Punch)
    assert punch.direction == direction


@pytest.mark.parametrize("time", [None, 0, -5, 2**40])
def test_an_unreadable_time_is_rejected(time: int | None) -> None:
    """A punch without a believable instant cannot be kept."""
    assert RULES.read(GOOD._replace(device_time=time)) is Rejected.UNREADABLE_TIME


def test_a_user_id_is_never_cut() -> None:
    """A user id that does not fit is rejected."""
    assert RULES.read(GOOD._replace(user="x" * 65)) is Rejected.TOO_LONG_USER


@given(
    st.builds(
        ClockEvent,
        number=st.integers(0, 2**31),
        device_time=st.none() | st.integers(-(2**63), 2**63),
        device=st.none() | st.integers(0, 2**32),
        user=st.none() | st.text(max_size=80),
        code=st.none() | st.integers(-(2**31), 2**31),
        key=st.none() | st.integers(-1, 300),
    )
)
def test_any_event_is_read(event: ClockEvent) -> None:
    """Whatever stands in the table is a punch that fits its columns, or has a reason why not."""
    punch = RULES.read(event)
    if isinstance(punch, Punch):
        assert punch.punched_at.timestamp() == event.device_time
        assert 0 < len(punch.user_id) <= 64


def test_ciphertext_is_noticed() -> None:
    """User ids that are all base64 of cipher blocks are told from user ids."""
    punch = RULES.read(GOOD)
    assert isinstance(punch, Punch)
    cipher = punch._replace(user_id="q83vEjRWeJCrze8SNFZ4kA==")
    assert are_encrypted([cipher, cipher])
    assert not are_encrypted([cipher, punch])
    assert not are_encrypted([])


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


def test_the_example_says_what_holds_without_it(tmp_path: Path) -> None:
    """config/biostar.toml is read, and states the defaults."""
    assert load_punch_rules(PROJECT_ROOT / "config" / "biostar.toml") == load_punch_rules(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[sources", "not valid TOML"),
        ("", "sources"),
        ('[sources.biostar]\nkind = "biostar3"', "sources.biostar.kind"),
        ('[sources.biostar]\nkind = "biostar2"\nfirst_month = "2026-13"', "sources.biostar.first_month"),
        ('[sources.biostar]\nkind = "biostar2"\nrescan = 1', "sources.biostar.rescan"),
        ('[sources.biostar]\nkind = "biostar2"\ndirections = {1 = "inn"}', "sources.biostar.directions.1"),
        ('[sources."Bio Star"]\nkind = "biostar2"', "Bio Star"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    """Every mistake is refused with the file and the place."""
    path = tmp_path / "biostar.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        load_punch_rules(path)
    assert named in str(error.value)
    assert str(path) in str(error.value)


def test_a_changed_file_is_read(tmp_path: Path) -> None:
    """Months, depths, codes and keys are taken from the file."""
    path = tmp_path / "biostar.toml"
    path.write_text(
        '[sources.plant2]\nkind = "biostar2"\nfirst_month = "2025-02"\nrescan_months = 6\nsuccess_codes = [4102]\n'
        'directions = {7 = "out"}\n'
    )
    assert load_punch_rules(path) == {
        "plant2": PunchRules(
            success_codes=frozenset({4102}),
            directions={7: Direction.OUT},
            first_month=Month(2025, 2),
            rescan_months=6,
        )
    }
