"""The parts of the scheduler process that need no server."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys

import pytest

from backend.domain.schedules import Schedule, parse_schedule
from backend.errors import TransientError
from backend.scheduler.leadership import has_died_here, make_holder
from backend.scheduler.loops import SupervisedLoop
from backend.scheduler.rescue import SilenceWatch
from backend.scheduler.timer import ScheduleTrigger, Timer
from tests.support.waiting import eventually, eventually_async


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def make_watch() -> tuple[SilenceWatch, Clock]:
    clock = Clock()
    return SilenceWatch(hold_off_seconds=15, gap_seconds=10, clock=clock), clock


def test_silence_proves_death_while_the_database_is_there() -> None:
    """A scheduler that has always seen the database may rescue at once."""
    watch, clock = make_watch()
    for clock.seconds in (0, 1, 2):
        watch.record_seen()
        assert watch.silence_proves_death


def test_after_an_outage_the_living_get_time_to_speak() -> None:
    """From the first answer on, rescue waits for the hold-off."""
    watch, clock = make_watch()
    watch.record_seen()
    watch.record_lost()
    assert not watch.silence_proves_death
    clock.seconds = 40
    watch.record_seen()
    assert not watch.silence_proves_death
    clock.seconds = 54.9
    assert not watch.silence_proves_death
    clock.seconds = 55
    assert watch.silence_proves_death


def test_a_machine_that_slept_waits_as_well() -> None:
    """A gap without any answer, such as a suspended machine, counts as an outage."""
    watch, clock = make_watch()
    watch.record_seen()
    clock.seconds = 600
    watch.record_seen()
    assert not watch.silence_proves_death


def test_a_single_error_is_no_outage() -> None:
    """A deadlock must not put off the rescue, or a busy database would have none."""
    watch, clock = make_watch()
    watch.record_seen()
    clock.seconds = 1
    watch.record_lost()
    assert not watch.silence_proves_death
    clock.seconds = 2
    watch.record_seen()
    assert watch.silence_proves_death


def test_an_outage_at_the_start_gives_the_living_time_as_well() -> None:
    """A scheduler that starts while the database is away has not seen how long that was."""
    watch, _ = make_watch()
    watch.record_lost()
    watch.record_seen()
    assert not watch.silence_proves_death


def test_a_database_clock_that_is_put_forward_proves_nothing() -> None:
    """All heartbeats look old then; one that is put back, or drifts, makes none look older."""
    watch, clock = make_watch()
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for clock.seconds, told in ((0, 0), (1, 2), (2, -600), (3, -599)):
        watch.record_seen(start + dt.timedelta(seconds=told))
        assert watch.silence_proves_death
    clock.seconds = 4
    watch.record_seen(start)
    assert not watch.silence_proves_death


def test_a_holder_of_this_machine_that_has_ended_is_known_to_be_dead() -> None:
    """A restart after a crash need not wait for the old lease to expire."""
    mine = make_holder()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    named = mine.replace(f":{os.getpid()}:", f":{ended.pid}:")
    eventually(lambda: has_died_here(named))  # nobody has waited for it yet
    ended.wait()
    assert has_died_here(named)
    assert not has_died_here(mine)
    assert not has_died_here(f"another-host:1:{ended.pid}:abcd")
    assert not has_died_here("nonsense")


@pytest.mark.anyio
async def test_a_loop_survives_its_errors() -> None:
    """Known and unknown errors are reported, the next good pass clears them, and the loop goes on."""
    errors: list[Exception] = []
    script: list[Exception | None] = [TransientError("away"), ZeroDivisionError("bug"), None]
    passes = 0

    async def step() -> None:
        nonlocal passes
        passes += 1
        if script and (error := script.pop(0)) is not None:
            raise error

    loop = SupervisedLoop("test", step, every_seconds=0.01, on_error=errors.append)
    running = asyncio.create_task(loop.run())

    async def recovered() -> bool:
        return passes >= 5

    await eventually_async(recovered)
    loop.stop()
    await running
    assert [str(error) for error in errors] == ["away", "bug"]
    assert loop.error is None


@pytest.mark.anyio
async def test_a_woken_loop_does_not_wait() -> None:
    """A wake-up during a pass leads to another pass right after it."""
    passes: list[int] = []

    async def step() -> None:
        passes.append(1)
        if len(passes) == 1:
            loop.wake()

    loop = SupervisedLoop("test", step, every_seconds=3600)
    running = asyncio.create_task(loop.run())

    async def passed_twice() -> bool:
        return len(passes) == 2

    await eventually_async(passed_twice)
    loop.stop()
    await running


def every(text: str) -> Schedule:
    return parse_schedule(kind="interval", expression=text, anchor_at=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))


@pytest.mark.anyio
async def test_the_timer_wakes_at_once_for_what_is_overdue() -> None:
    """One wake-up stands for all fires since the watermark, however many."""
    due: list[tuple[int, int]] = []
    timer = Timer(lambda job_id, run_times: due.append((job_id, len(run_times))))
    timer.start()
    timer.set(7, every("1h"), dt.datetime.now(dt.UTC) - dt.timedelta(days=300))

    async def rung() -> bool:
        return bool(due)

    await eventually_async(rung)
    assert due == [(7, 1)]
    timer.stop()


@pytest.mark.anyio
async def test_the_timer_wakes_again_and_again() -> None:
    """A wake-up that was handed on does not keep the next one back."""
    due: list[dt.datetime] = []
    timer = Timer(lambda _job_id, run_times: due.append(run_times[-1]))
    timer.start()
    timer.set(7, every("1s"), dt.datetime.now(dt.UTC))

    async def rung_thrice() -> bool:
        return len(due) >= 3

    await eventually_async(rung_thrice)
    timer.remove(7)
    timer.remove(7)
    assert len(timer) == 0
    assert due[1] - due[0] == dt.timedelta(seconds=1)
    timer.stop()


def test_a_trigger_never_raises() -> None:
    """An error in one schedule would end APScheduler's loop for all jobs; it ends that job's fires instead."""
    broken = ScheduleTrigger(1, None)  # type: ignore[arg-type]
    assert broken.get_next_fire_time(None, dt.datetime.now(dt.UTC)) is None
