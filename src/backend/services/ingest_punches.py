"""Takes the punches out of time clocks, each once: source by source, table by table, batch by batch.

What has been read and how far is one transaction, so that a run that is killed leaves nothing out and repeats nothing.
Memory holds two batches: while one is written, the next is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

from backend.domain.executions import RowCounts, RunReport
from backend.domain.punch_events import EventsRead, WallClock, are_encrypted, read_events
from backend.domain.punches import Ignored, IngestState, Portion, ReadPlan, Rejected
from backend.errors import ConfigurationError, ConflictError, HrsyncError, PermanentError, TransientError
from backend.ports import PunchSource, PunchStore, PunchUsers, Run
from backend.services.match_users import MatchReport, match_users

_REJECTS_LOGGED = 20

_T = TypeVar("_T")


async def ingest_punches(
    run: Run,
    sources: Sequence[PunchSource],
    *,
    store: PunchStore,
    users: PunchUsers,
    now: dt.datetime,
    full: bool = False,
) -> RunReport:
    """Bring the punches of all sources up to date, and give them to their employees.

    Of a source that another run has taken over, it keeps what it has done so far. A source that fails keeps no other
    from being read; the run fails in the end.

    Args:
        full: read every table from its beginning (after a change of the rules); nothing is doubled by it.
        now: decides which month is the current one, and which punches are of the future.

    Returns:
        counts of events: `read`, and of them `inserted` (new punches), `unchanged` (punches that were there already)
        and `rejected`; `details` has more by source, and how many user ids belong to somebody.

    Raises:
        TransientError: a source or hrsync's database went away; the next run goes on there.
        ConfigurationError: BioStar encrypts the user ids.
        PermanentError: a source refuses to be read.
    """
    total = _Total(run)
    failures: dict[str, HrsyncError] = {}
    for source in sources:
        ingest = _Ingest(run, source, store, total, now=now, full=full)
        try:
            await ingest.run()
        except (TransientError, PermanentError, ConfigurationError) as error:
            failures[source.name] = error
            run.log.error("source_ingestion_failed", source=source.name, error=str(error))
        total.details[source.name] = ingest.details()
    rules = {source.name: source.rules.employee for source in sources}
    match = await match_users(users, rules, touched={name for name, found in total.details.items() if found["tables"]})
    if failures:
        raise _failure(failures, len(sources), total.counts)
    return total.report(match)


def _failure(failures: Mapping[str, HrsyncError], sources: int, counts: RowCounts) -> HrsyncError:
    """One error for all; one that may go away by itself lets the run be tried again."""
    first = next((error for error in failures.values() if isinstance(error, TransientError)), None)
    error = first or next(iter(failures.values()))
    if sources == 1:
        return error
    told = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
    others = f"The other {sources - len(failures)} were read" if sources > len(failures) else "No other one was read"
    return type(error)(
        f"{len(failures)} of {sources} sources of punches failed ({', '.join(failures)}). {others}: "
        f"{_several(counts.inserted or 0, 'new punch', 'es')}. {told}"
    )


class _Total:
    """What all sources of a run have given so far."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.counts = RowCounts(read=0, inserted=0, unchanged=0, rejected=0)
        self.details: dict[str, dict[str, Any]] = {}

    def add(self, counts: RowCounts) -> None:
        self.counts += counts
        self._run.count(self.counts)

    def report(self, match: MatchReport) -> RunReport:
        counts = self.counts
        tables = sum(bool(count) for source in self.details.values() for count in source["tables"].values())
        if counts.inserted:
            summary = f"{_several(counts.inserted, 'new punch', 'es')} in {_several(tables, 'table')}."
        else:
            summary = "No new punches."
        if counts.rejected:
            summary = f"{summary[:-1]}; {_several(counts.rejected, 'event')} rejected."
        if match.unmatched:
            summary = f"{summary[:-1]}; {_several(match.unmatched, 'unknown user id')}."
        taken = [name for name, source in self.details.items() if source.get("taken_over")]
        if taken:
            summary = f"Another run has taken over {', '.join(taken)}; until then: {summary[:1].lower()}{summary[1:]}"
        return RunReport(
            counts=counts,
            summary=summary,
            details={
                "sources": self.details,
                "users": {"matched": match.matched, "unknown": match.unmatched, "changed": match.changed},
            },
        )


class _Ingest:
    """One source in one run: what it is read with, and what has been counted."""

    def __init__(
        self, run: Run, source: PunchSource, store: PunchStore, total: _Total, *, now: dt.datetime, full: bool
    ) -> None:
        self._run = run
        self._source = source
        self._store = store
        self._total = total
        self._now = now
        self._full = full
        self._token = f"{run.execution_id}/{run.attempt}"
        self._seen: set[str] = set()
        self._late: tuple[dt.datetime, dt.datetime] | None = None
        self._ignored: Counter[Ignored] = Counter()
        self._rejected: Counter[Rejected] = Counter()
        self._tables: dict[str, int] = {}
        self._clock_changes = 0
        self._is_taken_over = False

    async def run(self) -> None:
        """Read everything that is new."""
        name = self._source.name
        try:
            state = await self._store.take_over(name, self._token)
            plan = await self._source.plan(state, self._now, full=self._full)
            self._late = self._find_late(state)
            for portion in plan.portions:
                await self._read(portion)
            await self._finish(state, plan)
        except ConflictError:
            self._is_taken_over = True
            self._run.log.warning("ingestion_taken_over", source=name)

    def details(self) -> dict[str, Any]:
        """What it has counted, without personal data."""
        found: dict[str, Any] = {
            "tables": self._tables,
            "ignored": {reason.value: count for reason, count in self._ignored.items() if count},
            "rejected": {reason.value: count for reason, count in self._rejected.items() if count},
            "clock_changes": self._clock_changes,
        }
        return found | ({"taken_over": True} if self._is_taken_over else {})

    def _find_late(self, state: IngestState) -> tuple[dt.datetime, dt.datetime] | None:
        """In which time everything that is new came late; what is read for the first time did not."""
        if self._full or state.completed_at is None or state.first_month is None:
            return None
        return state.first_month.begin, state.completed_at - dt.timedelta(seconds=self._source.rules.late_seconds)

    async def _finish(self, state: IngestState, plan: ReadPlan) -> None:
        first = min(plan.first_month, state.first_month or plan.first_month)
        await self._store.finish(
            self._source.name, self._token, self._run.execution_id, plan=plan, first=first, now=self._now
        )

    async def _read(self, portion: Portion) -> None:
        table = portion.table
        self._tables.setdefault(table, 0)
        before = self._tables[table]
        async with _reading_ahead(self._read_batches(portion)) as batches:
            async for events, size in batches:
                await self._keep(events, size)
                counts, new = self._total.counts, self._tables[table]
                self._run.progress(counts.read or 0, None, f"reading {self._source.name} {table}: {new:,} new")
                await self._run.checkpoint()
        if inserted := self._tables[table] - before:
            self._run.log.info("punches_ingested", source=self._source.name, table=table, inserted=inserted)

    async def _read_batches(self, portion: Portion) -> AsyncGenerator[tuple[EventsRead, int], None]:
        rules = self._source.rules
        wall_clock = WallClock(rules.timezone) if rules.timezone else None
        async with contextlib.aclosing(self._source.read(portion)) as batches:
            async for events in batches:
                read = await asyncio.to_thread(
                    read_events,
                    events,
                    rules,
                    table=portion.table,
                    now=self._now,
                    late=self._late,
                    wall_clock=wall_clock,
                )
                yield read, len(events)

    async def _keep(self, events: EventsRead, size: int) -> None:
        batch = events.batch
        if are_encrypted(batch.users):
            raise ConfigurationError(
                f"{self._source.name}: the user ids in {batch.table} are encrypted, so that no punch can be given to "
                'an employee. Switch off "Encrypt personal data on database" in the settings of BioStar and run again; '
                "if older months stay encrypted, set first_month in biostar.toml."
            )
        fresh = [user for user in batch.users if user not in self._seen]
        inserted = await self._store.record(
            self._source.name,
            self._token,
            self._run.execution_id,
            batch,
            new_users=fresh,
            doubt_seconds=self._source.rules.doubt_seconds,
        )
        self._seen.update(fresh)
        self._tables[batch.table] += inserted
        self._ignored.update(events.ignored)
        self._clock_changes += batch.clock_changes.num_rows
        for key, reason in events.rejected_keys:
            self._rejected[reason] += 1
            if self._rejected.total() <= _REJECTS_LOGGED:
                self._run.log.warning(
                    "event_rejected", source=self._source.name, table=batch.table, event_key=key, reason=reason.value
                )
        unchanged = batch.punches.num_rows - inserted
        rejected = len(events.rejected_keys)
        self._total.add(RowCounts(read=size, inserted=inserted, unchanged=unchanged, rejected=rejected))


@contextlib.asynccontextmanager
async def _reading_ahead(items: AsyncGenerator[_T, None]) -> AsyncIterator[AsyncIterator[_T]]:
    """The items of a generator, of which the next is made while one is worked on."""
    ahead: asyncio.Task[_T | None] | None = None

    async def take() -> AsyncIterator[_T]:
        nonlocal ahead
        ahead = asyncio.ensure_future(_next(items))
        while (item := await ahead) is not None:
            ahead = asyncio.ensure_future(_next(items))
            yield item

    try:
        yield take()
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait({ahead})
            if not ahead.cancelled():
                ahead.exception()
        await items.aclose()


async def _next(items: AsyncGenerator[_T, None]) -> _T | None:
    return await anext(items, None)


def _several(number: int, noun: str, ending: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else ending}"
