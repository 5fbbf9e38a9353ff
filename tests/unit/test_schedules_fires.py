"""What becomes of the fires that are due."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.executions import Status
from backend.domain.fires import ActiveExecution, FirePlan, FirePolicy, plan_fires
from backend.domain.jobs import Blackout, CatchUp, Overlap
from backend.domain.schedules import DueFires

NOW = dt.datetime(2025, 6, 1, 12, 0, 0, tzinfo=dt.UTC)
RUNNING = ActiveExecution(id="e-1", status=Status.RUNNING)


def ago(seconds: float) -> dt.datetime:
    return NOW - dt.timedelta(seconds=seconds)


def plan(*lateness: float, dice: float = 0, active: tuple[ActiveExecution, ...] = (), **policy: Any) -> FirePlan:
    """The plan for fires that are so many seconds late, the oldest first."""
    obstacle = policy.pop("obstacle", None)
    due = policy.pop("due", DueFires(fires=tuple(ago(seconds) for seconds in lateness)))
    return plan_fires(FirePolicy(**policy), due, now=NOW, active=active, dice=lambda: dice, obstacle=obstacle)


def outcomes(plan: FirePlan) -> list[str]:
    return [fire.status.value for fire in plan.fires]


def test_a_punctual_fire_runs() -> None:
    """It becomes a pending row of the schedule, and the watermark moves to it."""
    result = plan(0.2)
    assert outcomes(result) == ["pending"]
    assert (result.fires[0].triggered_by, result.fires[0].reason) == ("schedule", None)
    assert (result.last_fire_at, result.runs, result.cancel_active) == (ago(0.2), 1, False)


def test_nothing_due_is_nothing_to_write() -> None:
    """Without fires there are neither rows nor a new watermark."""
    assert plan() == FirePlan()


def test_jitter_delays_the_dispatch_but_not_the_key() -> None:
    """The row keeps its scheduled time; only when it is due moves."""
    fire = plan(1, dice=0.5, jitter_seconds=60).fires[0]
    assert (fire.scheduled_for, fire.delay_seconds) == (ago(1), 30)


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("skip", ["missed", "missed", "missed"]),
        ("last", ["missed", "missed", "pending"]),
        ("all", ["missed", "pending", "pending"]),
    ],
)
def test_late_fires_follow_the_catch_up_policy(catch_up: str, expected: list[str]) -> None:
    """None, the newest, or all of those that are not too late."""
    result = plan(9000, 3600, 1800, catch_up=CatchUp(catch_up), max_lateness_seconds=7200)
    assert outcomes(result) == expected
    assert [fire.triggered_by for fire in result.fires if fire.status is Status.PENDING] == ["catch_up"] * result.runs
    assert all(fire.reason for fire in result.fires)


def test_a_fire_that_is_too_late_is_missed_whatever_the_policy() -> None:
    """The maximum lateness is told in the reason."""
    result = plan(7201, catch_up=CatchUp.ALL, max_lateness_seconds=7200)
    assert result.fires[0].reason == (
        "7201 s late: no scheduler could fire it in time, more than max_lateness_seconds = 7200"
    )


def test_a_punctual_fire_stands_for_the_late_ones_before_it() -> None:
    """With `last`, a job is not run twice at once after an interruption."""
    assert outcomes(plan(120, 60, 0.1)) == ["missed", "missed", "pending"]


def test_the_last_fire_that_may_run_is_the_one_that_is_caught_up() -> None:
    """A newer fire that falls into a blackout does not take the place of an older one that may run."""
    window = Blackout(start=ago(70), end=ago(50), reason="backup")
    result = plan(120, 60, blackouts=(window,))
    assert outcomes(result) == ["pending", "missed"]
    assert result.fires[1].reason == "blackout from 2025-06-01T11:58:50Z to 2025-06-01T11:59:10Z: backup"


def test_nothing_is_caught_up_inside_a_blackout() -> None:
    """A fire from before the window would disturb what the window protects."""
    assert outcomes(plan(3600, blackouts=(Blackout(start=ago(10), end=NOW, reason=""),))) == ["missed"]


def test_an_obstacle_makes_every_fire_missed() -> None:
    """A paused job records its fires with that reason."""
    result = plan(60, 1, obstacle="paused since Monday")
    assert [(fire.status, fire.reason) for fire in result.fires] == [(Status.MISSED, "paused since Monday")] * 2


def test_overlap_skip_names_what_is_in_the_way() -> None:
    """The reason tells which execution was active and in which state."""
    result = plan(1, active=(RUNNING,))
    assert outcomes(result) == ["skipped"]
    assert result.fires[0].reason == "execution e-1 was still running (overlap = skip)"


def test_overlap_queue_waits() -> None:
    """The fire becomes pending; the dispatcher keeps it behind the running one."""
    result = plan(1, active=(RUNNING,), overlap=Overlap.QUEUE)
    assert (outcomes(result), result.cancel_active) == (["pending"], False)


def test_overlap_cancel_running_asks_for_the_cancellation() -> None:
    """The fire waits for the end of what it replaces; without anything active nothing is cancelled."""
    result = plan(1, active=(RUNNING,), overlap=Overlap.CANCEL_RUNNING)
    assert (outcomes(result), result.cancel_active) == (["pending"], True)
    assert plan(1, overlap=Overlap.CANCEL_RUNNING).cancel_active is False


def test_fires_due_together_overlap_each_other() -> None:
    """Of punctual fires due at once, skip keeps the first, cancel_running the last, queue all."""
    assert outcomes(plan(2, 1, 0)) == ["pending", "skipped", "skipped"]
    assert outcomes(plan(2, 1, 0, overlap=Overlap.CANCEL_RUNNING)) == ["skipped", "skipped", "pending"]
    assert outcomes(plan(2, 1, 0, overlap=Overlap.QUEUE)) == ["pending", "pending", "pending"]


def test_a_catch_up_of_all_runs_one_after_another() -> None:
    """Caught-up fires queue even where the job would skip overlaps; the punctual one then meets them."""
    result = plan(180, 120, 60, 0, catch_up=CatchUp.ALL)
    assert outcomes(result) == ["pending", "pending", "pending", "skipped"]
    assert outcomes(plan(180, 120, catch_up=CatchUp.ALL, active=(RUNNING,))) == ["pending", "pending"]


def test_a_job_ends_after_its_runs() -> None:
    """Only fires that run are counted; what comes after the last run leaves no row, but the watermark moves."""
    result = plan(3, 2, 1, overlap=Overlap.QUEUE, max_runs=5, runs_count=3)
    assert (outcomes(result), result.last_fire_at) == (["pending", "pending"], ago(1))
    ended = plan(1, max_runs=5, runs_count=5)
    assert (outcomes(ended), ended.last_fire_at) == ([], ago(1))
    assert outcomes(plan(120, 60, 1, max_runs=1)) == ["missed", "missed", "pending"]


def test_thousands_of_missed_fires_become_one_row() -> None:
    """What is not listed is told in one row: how many, from when to when."""
    due = DueFires(
        fires=(ago(60), ago(0)), older_count=12345, older_first=ago(9e6), older_last=ago(120), older_is_exact=True
    )
    result = plan(due=due)
    assert outcomes(result) == ["missed", "missed", "pending"]
    assert result.fires[0].scheduled_for == ago(120)
    assert result.fires[0].reason == (
        "12,345 fires from 2025-02-17T08:00:00Z to 2025-06-01T11:58:00Z did not run; "
        "only the 2 after them are listed one by one"
    )
    uncounted = plan(due=dataclasses.replace(due, older_is_exact=False), obstacle="paused")
    assert (uncounted.fires[0].reason or "").startswith("more than 12,345 fires")
    assert "(paused)" in (uncounted.fires[0].reason or "")


@given(
    st.lists(st.integers(0, 10_000), max_size=20, unique=True),
    st.sampled_from(CatchUp),
    st.sampled_from(Overlap),
    st.one_of(st.none(), st.integers(1, 5)),
    st.booleans(),
)
def test_every_fire_gets_one_row_with_a_reason_if_it_does_not_run(
    lateness: list[int], catch_up: CatchUp, overlap: Overlap, max_runs: int | None, is_busy: bool
) -> None:
    """Whatever the policies: rows ascend, are unique, are the fires, and runs never exceed their limit."""
    result = plan(
        *sorted(lateness, reverse=True),
        catch_up=catch_up,
        overlap=overlap,
        max_runs=max_runs,
        active=(RUNNING,) if is_busy else (),
    )
    times = [fire.scheduled_for for fire in result.fires]
    assert times == sorted(set(times))
    assert all(fire.reason for fire in result.fires if fire.status is not Status.PENDING)
    if max_runs is None:
        assert len(times) == len({ago(seconds) for seconds in lateness})
    else:
        assert result.runs <= max_runs
