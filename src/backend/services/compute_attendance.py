"""Computes attendance days and stores them, some people at a time.

The computing itself runs beside the event loop, in pieces, so that the other runs of the process go on meanwhile.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.domain.attendance.chunks import (
    Ask,
    ChunkResult,
    compute_chunk,
    merge_asks,
    plan_chunks,
    punches_window,
)
from backend.domain.attendance.locking import LockedPeriod
from backend.domain.attendance.setup import Setup, assignments_in, make_setup
from backend.domain.executions import RowCounts, RunReport
from backend.errors import ConfigurationError, GuardError, NotFoundError
from backend.ports import AttendanceRuleSource, DayStore, Run

# Of a chunk: what is read, computed and written in one transaction.
PEOPLE_PER_CHUNK = 100
DAYS_PER_CHUNK = 45
_MARKS_PER_ROUND = 5000
# Of a part of a range, which is an execution of its own.
_DAYS_PER_PART = 40_000
_PEOPLE_PER_PART = 5000
# Of a range: ten years.
_MOST_DAYS = 3660
# How far back a run for a day looks for days that nobody has computed, or that were not over when they were.
_DAYS_BACK = 14
# New punches may come between computing and locking.
_ROUNDS_BEFORE_LOCKING = 5
_ONE_DAY = dt.timedelta(days=1)

Clock = Callable[[], dt.datetime]


@dataclass(kw_only=True)
class Totals:
    """What a run has done so far, in days."""

    people: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    adjusted: int = 0

    def add(self, result: ChunkResult, people: int) -> None:
        """Add a chunk."""
        self.people += people
        self.inserted += len(result.new)
        self.updated += len(result.changed)
        self.unchanged += result.unchanged + len(result.settled)
        self.removed += len(result.removed)
        self.adjusted += len(result.adjustments)

    @property
    def counts(self) -> RowCounts:
        """As row counts: `read` are the days that were computed; locked ones that differ count as rejected."""
        return RowCounts(
            read=self.inserted + self.updated + self.unchanged + self.adjusted,
            inserted=self.inserted,
            updated=self.updated,
            unchanged=self.unchanged,
            deactivated=self.removed,
            rejected=self.adjusted,
        )

    def report(self, what: str) -> RunReport:
        """What the run did; `what`: the days that were asked for."""
        return RunReport(counts=self.counts, summary=summarise(what, self.counts), details={"people": self.people})


def summarise(what: str, counts: RowCounts) -> str:
    """The counts as a sentence."""
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (counts.inserted, "new"),
            (counts.updated, "changed"),
            (counts.deactivated, "removed"),
            (counts.unchanged, "unchanged"),
            (counts.rejected, "locked and different (see the adjustments)"),
        )
        if number
    ]
    return f"{what}: {', '.join(parts) or 'no days'}."


class Computation:
    """One run's way through its chunks.

    Args:
        clock: tells the instant up to which punches count; asked for each chunk, as a run may take hours, and what
            has come meanwhile is no longer marked when its days are computed.
    """

    def __init__(self, run: Run, *, store: DayStore, rules: AttendanceRuleSource, clock: Clock) -> None:
        self.totals = Totals()
        self._run = run
        self._store = store
        self._rules = rules
        self._clock = clock
        self._setup_id = -1
        self._setup: Setup | None = None

    async def compute(self, asks: Iterable[Ask], *, say: str = "days computed") -> None:
        """Compute and store these days; each chunk is a transaction of its own.

        Raises:
            TransientError: the database is away; the chunks before this one are stored.
        """
        chunks = await asyncio.to_thread(_plan, asks)
        total = sum(_count_days(chunk) for chunk in chunks)
        done = 0
        for chunk in chunks:
            self.totals.add(await self._compute_chunk(chunk), len(chunk))
            done += _count_days(chunk)
            self._run.count(self.totals.counts)
            self._run.progress(done, total, f"{done:,} of {total:,} {say}")
            await self._run.checkpoint()

    async def _compute_chunk(self, asks: Sequence[Ask]) -> ChunkResult:
        while True:
            setup = await self.read_setup()
            async with self._store.computing(asks, self._run.execution_id) as work:
                if work.setup_id != self._setup_id:
                    self._setup = None
                    continue
                begin, end = await asyncio.to_thread(punches_window, setup, work.facts, asks)
                inputs = await work.read(begin, end)
                result = await asyncio.to_thread(compute_chunk, setup, asks, inputs, as_of=self._clock())
                await work.write(result)
            return result

    async def read_setup(self) -> Setup:
        """The setup that counts; read again after a chunk has found another one."""
        if self._setup is None:
            self._setup_id, content = await self._store.read_setup()
            self._setup = await asyncio.to_thread(self._parse, content)
        return self._setup

    def _parse(self, content: Mapping[str, Any]) -> Setup:
        return make_setup(content, self._rules.parse(content["rules"], assignments_in(content)))


def _plan(asks: Iterable[Ask]) -> list[list[Ask]]:
    return [*plan_chunks([*merge_asks(asks)], days=DAYS_PER_CHUNK, people=PEOPLE_PER_CHUNK)]


def _count_days(asks: Iterable[Ask]) -> int:
    return sum((ask.last_on - ask.first_on).days + 1 for ask in asks)


async def compute_day(
    run: Run, *, store: DayStore, rules: AttendanceRuleSource, clock: Clock, days_back: int
) -> RunReport:
    """Compute one day of everybody by the calendar of their place of work, and those that were not over before it.

    Days since the last such run are computed as well, where there was none for some.

    Args:
        days_back: 0: today; 1: yesterday.
    """
    now = clock()
    current_at = await store.find_current_at()
    computation = Computation(run, store=store, rules=rules, clock=clock)
    setup = await computation.read_setup()
    asks: list[Ask] = []
    async for some in store.stream_people():
        for number, facts in some.items():
            zone = setup.zone_of(facts)
            day = first = now.astimezone(zone).date() - days_back * _ONE_DAY
            if current_at is not None:
                first = max(day - _DAYS_BACK * _ONE_DAY, min(day, current_at.astimezone(zone).date()))
            if facts.employment.covers(day) or facts.employment.covers(first):
                asks.append(Ask(employee_no=number, first_on=first, last_on=day))
    asks += await store.list_open(first=now.date() - _DAYS_BACK * _ONE_DAY, last=now.date() - _ONE_DAY)
    await computation.compute(asks)
    await store.finish(run.execution_id, current_at=now, recount=days_back > 0)
    return computation.totals.report("Yesterday" if days_back else "Today")


async def compute_range(
    run: Run,
    *,
    store: DayStore,
    rules: AttendanceRuleSource,
    clock: Clock,
    first: dt.date,
    last: dt.date,
    employees: Collection[str],
) -> RunReport:
    """Compute the days of some people from `first` to `last`, both inclusive."""
    computation = Computation(run, store=store, rules=rules, clock=clock)
    await computation.compute(Ask(employee_no=number, first_on=first, last_on=last) for number in employees)
    return computation.totals.report(f"{first} to {last}")


async def finish_range(
    run: Run, *, store: DayStore, now: dt.datetime, first: dt.date, last: dt.date, is_complete: bool
) -> None:
    """Note that a range was computed; it makes attendance current if it goes on where that was current last.

    Args:
        is_complete: the days of everybody were computed.
    """
    current_at = await store.find_current_at()
    goes_on = last >= now.date() - _ONE_DAY and (current_at is None or first <= current_at.date())
    await store.finish(run.execution_id, current_at=now if is_complete and goes_on else None, recount=True)


async def find_people(
    store: DayStore, *, first: dt.date, last: dt.date, employees: Collection[str] = (), department: str = ""
) -> list[str]:
    """The numbers of those whose days from `first` to `last` a run is asked for, in their order.

    Raises:
        ConfigurationError: the dates are the wrong way round, or too far apart.
        NotFoundError: attendance knows none of them.
    """
    if last < first:
        raise ConfigurationError(f"The range ends on {last}, before it begins on {first}; swap the two dates.")
    if (last - first).days >= _MOST_DAYS:
        raise ConfigurationError(f"From {first} to {last} are more than {_MOST_DAYS} days; ask for fewer at a time.")
    people: list[str] = []
    async for some in store.stream_people(employees=employees, departments=[department] if department else []):
        people += some
    if missing := sorted(set(employees) - set(people)):
        raise NotFoundError(
            f"Attendance knows no employee {', '.join(missing[:10])}; numbers are those of `hrsync hris history`, and "
            "the person must have been replicated."
        )
    if not people and department:
        raise NotFoundError(f"Nobody is in department {department} or below; give a department's code.")
    return people


def split_people(people: Sequence[str], *, first: dt.date, last: dt.date) -> Iterator[Sequence[str]]:
    """The people in groups of about the same number of days, for a part each."""
    size = max(1, min(_PEOPLE_PER_PART, _DAYS_PER_PART // ((last - first).days + 1)))
    return (people[start : start + size] for start in range(0, len(people), size))


async def recompute_dirty(run: Run, *, store: DayStore, rules: AttendanceRuleSource, clock: Clock) -> RunReport:
    """Compute the days that are marked, the oldest marks first, until none is left.

    It does not say that attendance is current: days that nothing touches are not looked at.
    """
    computation = Computation(run, store=store, rules=rules, clock=clock)
    while asks := await store.list_dirty(limit=_MARKS_PER_ROUND):
        await computation.compute(asks)
    return computation.totals.report("Touched days")


async def lock_period(
    run: Run,
    *,
    store: DayStore,
    rules: AttendanceRuleSource,
    clock: Clock,
    period: LockedPeriod,
    made_by: str,
    reason: str,
) -> RunReport:
    """Compute what is open or marked in a period, then lock it.

    Raises:
        ConfigurationError: the dates are the wrong way round.
        GuardError: the period is not over, overlaps one that is locked, or has days that do not become final.
    """
    if period.last_on < period.first_on:
        raise ConfigurationError(f"The period ends on {period.last_on}, before it begins; swap the two dates.")
    if period.last_on >= clock().date():
        raise GuardError(f"The period ends on {period.last_on}, which is not over; lock it when all of its days are.")
    computation = Computation(run, store=store, rules=rules, clock=clock)
    for _ in range(_ROUNDS_BEFORE_LOCKING):
        for other in await store.list_locks():
            if other.first_on <= period.last_on and period.first_on <= other.last_on:
                raise GuardError(
                    f"The days from {other.first_on} to {other.last_on} are locked already; choose a period that does "
                    "not touch them."
                )
        await computation.compute(await store.list_open(first=period.first_on, last=period.last_on))
        while asks := await store.list_dirty(limit=_MARKS_PER_ROUND):
            await computation.compute(asks)
        days = await store.lock_period(period, made_by=made_by, reason=reason)
        if days is not None:
            run.log.info("period_locked", first=str(period.first_on), last=str(period.last_on), days=days)
            return RunReport(
                counts=computation.totals.counts,
                summary=f"{period.first_on} to {period.last_on} is locked with {days:,} days.",
                details={"days": days},
            )
    raise GuardError(
        f"Days from {period.first_on} to {period.last_on} are still open (a shift may still be running) or keep being "
        "touched; lock the period later."
    )
