"""Whatever happens in whatever order: what is computed again is exactly what has changed."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.db.database import Database
from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.chunks import Ask
from backend.services.compute_attendance import Computation
from tests.support.attendance_world import RULES, World, work_by
from tests.support.databases import make_database
from tests.support.hris import RecordedRun
from tests.support.processes import Process

PEOPLE = ("A", "B")
DAY = st.integers(2, 20).map(lambda day: f"2026-11-{day:02}")
HOUR = st.integers(0, 23)
PERSON = st.sampled_from(PEOPLE)
POLICY = st.sampled_from(["default", "weekly", "split", "ends", "most", "free"])
PATTERN = st.sampled_from(["office", "night"])
POLICIES = """
[policies.weekly.overtime]
weekly_limit = "12h"

[policies.split]
day_rule = "split_at_midnight"

[policies.ends]
day_rule = "end_day"

[policies.most]
day_rule = "most_worked_day"
auto_check_out = true

[policies.free]
unscheduled_work = true
duplicate_within = "2h"
"""
WORK = st.tuples(st.sampled_from(["work", "night"]), PERSON, DAY)
EVENTS = st.one_of(
    WORK,
    st.tuples(st.just("punch"), PERSON, DAY, HOUR),
    st.tuples(st.just("grant"), PERSON, DAY, st.integers(0, 3), st.sampled_from(["full", "first_half"])),
    st.tuples(st.just("revoke"), st.integers(0, 3)),
    st.tuples(st.just("holiday"), DAY),
    st.tuples(st.just("correct"), PERSON, DAY, HOUR),
    st.tuples(st.just("override"), PERSON, DAY, st.integers(0, 9)),
    st.tuples(st.just("assign"), PERSON, DAY, st.sampled_from(["night", "office", ""])),
    st.tuples(st.just("withdraw"), st.integers(0, 1)),
    st.tuples(st.just("join"), PERSON, DAY),
    st.tuples(st.just("leave"), PERSON, st.none() | DAY),
    st.tuples(st.just("rules"), st.sampled_from(["08:00", "09:00", "10:30"]), st.sampled_from(["5m", "0m"])),
    st.tuples(st.just("everybody"), PATTERN, POLICY),
    st.tuples(st.just("policy"), PERSON, DAY, st.integers(0, 12), POLICY),
    st.tuples(st.just("retract"), PERSON),
    st.tuples(st.just("site"), PERSON, st.sampled_from(["BER", "NYC"])),
    st.tuples(st.just("recompute")),
)


class Story:
    """Things that happen in the company of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.leaves: list[str] = []
        self.corrections: list[int] = []
        self.assigned: set[str] = set()
        self.policies: dict[str, int] = {}

    def write_rules(self, *changes: tuple[str, str]) -> None:
        """Those of the world with some words replaced."""
        text = RULES + POLICIES
        for old, new in changes:
            text = text.replace(old, new)
        self.world.file.write_text(text, encoding="utf-8")

    async def tell(self, event: tuple[Any, ...]) -> None:
        """Let it happen."""
        world = self.world
        match event:
            case "punch", number, day, hour:
                await world.punch(number, f"{day} {hour:02}:{len(number) * 7 % 60:02}")
            case "work", number, day:
                await world.work(number, day)
            case "night", number, day:
                morning = dt.date.fromisoformat(day) + dt.timedelta(days=1)
                await world.punch(number, f"{day} 22:00", f"{morning} 06:00")
            case "grant", number, day, length, part:
                first = dt.date.fromisoformat(day)
                last = first + dt.timedelta(days=length)
                self.leaves.append(await world.grant(number, day, last.isoformat(), day_part=part))
            case "revoke", place if place < len(self.leaves):
                await world.revoke(self.leaves[place])
            case "holiday", day:
                await world.declare_holiday(day)
            case "correct", number, day, hour:
                at = dt.datetime.fromisoformat(f"{day} {hour:02}:30").replace(tzinfo=dt.UTC)
                self.corrections.append(await world.amender.add_punch(number, at, None))
            case "override", number, day, hours:
                await world.amender.override_day(number, dt.date.fromisoformat(day), worked_seconds=hours * 3600)
            case "assign", number, day, pattern if number not in self.assigned:
                self.assigned.add(number)
                await world.amender.assign(work_by(number, pattern, first_on=dt.date.fromisoformat(day)))
            case "withdraw", place if place < len(self.corrections):
                await world.amender.withdraw("correction", self.corrections.pop(place))
            case "leave", number, day:
                await world.change_person(number, left_on=None if day is None else dt.date.fromisoformat(day))
            case "rules", start, grace:
                self.write_rules(('start = "09:00"', f'start = "{start}"'), ('"5m"', f'"{grace}"'))
            case "everybody", pattern, policy:
                self.write_rules(('pattern = "office"', f'pattern = "{pattern}"\npolicy = "{policy}"'))
            case "policy", number, day, length, policy if number not in self.policies:
                first = dt.date.fromisoformat(day)
                dates = {"first_on": first, "last_on": first + dt.timedelta(days=length)}
                item = Assignment(scope=Scope.EXCEPTION, target=number, policy=policy, **dates)
                self.policies[number] = await world.amender.assign(item)
            case "retract", number if number in self.policies:
                await world.amender.withdraw("assignment", self.policies.pop(number))
            case "join", number, day:
                await world.change_person(number, hired_on=dt.date.fromisoformat(day))
            case "site", number, code:
                await world.change_person(number, extra={"site": code})
            case ("recompute",):
                await world.recompute()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    rules=st.tuples(st.just("everybody"), PATTERN, POLICY),
    work=st.lists(WORK, max_size=12),
    events=st.lists(EVENTS, max_size=10),
)
def test_recomputing_what_is_touched_is_computing_everything(
    sqlite_url: str, tmp_path: Path, rules: tuple[Any, ...], work: list[tuple[Any, ...]], events: list[tuple[Any, ...]]
) -> None:
    """After any changes and recomputations, every day is what it would be if all were computed anew."""

    async def scenario() -> None:
        database = make_database(sqlite_url)
        try:
            world = World(database, tmp_path)
            await world.empty()
            await world.hire(*PEOPLE)
            story = Story(world)
            for event in (rules, *work):
                await story.tell(event)
            await world.compute("2026-11-01", "2026-11-20")
            for event in events:
                await story.tell(event)
            await world.recompute()
            touched = await world.contents()
            computation = Computation(RecordedRun(), store=world.store, rules=world.rules, clock=lambda: world.now)
            first, last = dt.date(2026, 11, 1), dt.date(2026, 11, 20)
            await computation.compute(Ask(employee_no=number, first_on=first, last_on=last) for number in PEOPLE)
            assert await world.contents() == touched
            assert [] == await world.dirty()
        finally:
            await database.dispose()

    asyncio.run(scenario())


# --- at the same time -------------------------------------------------------------------------------------------------


async def test_computations_at_the_same_time_end_in_the_same_days(database: Database, tmp_path: Path) -> None:
    """Ranges, marks and punches that come meanwhile: when all have ended, nothing is old and nothing is left over."""
    world = World(database, tmp_path)
    numbers = [f"P{number}" for number in range(12)]
    await world.hire(*numbers)
    dice = random.Random(7)

    async def punches() -> None:
        for _ in range(20):
            await world.work(dice.choice(numbers), f"2026-11-{dice.randint(2, 19):02}")

    await asyncio.gather(
        punches(),
        *(world.compute("2026-11-01", "2026-11-19") for _ in range(2)),
        *(world.recompute() for _ in range(3)),
    )
    await world.recompute()

    before = await world.contents()
    assert 12 * 19 <= len(before)
    await world.compute("2026-11-01", "2026-11-19")
    assert before == await world.contents()
    assert [] == await world.dirty()


async def test_whoever_locks_a_period_waits_for_those_who_compute(database: Database, tmp_path: Path) -> None:
    """A punch that comes while a period is being locked is either in the days or an adjustment, never lost."""
    world = World(database, tmp_path)
    await world.hire("A")
    await world.compute("2026-11-02", "2026-11-08")

    async def punches() -> None:
        for day in range(2, 7):
            await world.work("A", f"2026-11-{day:02}")
            await world.recompute()

    await asyncio.gather(punches(), world.lock("2026-11-01", "2026-11-08"))
    await world.recompute()

    hours = {line.work_on: line.worked_hours for line in await world.lines()}
    for item in await world.adjustments():
        hours[item.work_on.isoformat()] += item.worked_seconds / 3600
    assert dict.fromkeys((f"2026-11-{day:02}" for day in range(2, 7)), 8.0) == {
        day: hours[day] for day in sorted(hours) if hours[day]
    }


# --- killed -----------------------------------------------------------------------------------------------------------

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from sqlalchemy import event
from backend.services import compute_attendance
from tests.support.attendance_world import World
from tests.support.databases import make_database

compute_attendance.PEOPLE_PER_CHUNK = 2

async def run(point):
    database = make_database(sys.argv[1])
    world = World(database, Path(sys.argv[2]))
    statements = 0

    def on_statement(*_):
        nonlocal statements
        statements += 1
        if statements == 5 * point:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(database.engine.sync_engine, "before_cursor_execute", on_statement)
    event.listen(database.engine.sync_engine, "commit", on_statement)
    await world.recompute()
    await database.dispose()

point = 1
while True:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(run(point))
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != -signal.SIGKILL:
        break
    point += 1
print("finished with", code, "after", point, flush=True)
"""


async def test_a_killed_recomputation_loses_no_day(
    database: Database, tmp_path: Path, start_process: Callable[..., Process], project_root: Path
) -> None:
    """kill -9 at every fifth statement or commit: what was touched is computed in the end, each day once."""
    world = World(database, tmp_path)
    numbers = [f"P{number}" for number in range(6)]
    await world.hire(*numbers)
    await world.compute("2026-11-01", "2026-11-19")
    for number in numbers:
        await world.work(number, "2026-11-03", "2026-11-17")

    url = database.url.render_as_string(hide_password=False)
    process = start_process(
        sys.executable, "-c", KILLED, url, str(tmp_path), cwd=project_root, env={"PYTHONDEVMODE": ""}
    )
    await asyncio.to_thread(process.wait_for_output, "finished with", 60)

    assert "finished with 0 after" in process.output()
    assert int(process.output().split()[-1]) > 3
    assert [8.0] * 12 == [line.worked_hours for line in await world.lines() if line.worked_hours]
    assert [] == await world.dirty()
