"""Takes the punches out of a time clock's event tables, each once.

Table by table and batch by batch: what has been read and how far is one transaction, so that a run that is killed
leaves nothing out and repeats nothing. Memory holds one batch.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence

from backend.domain.executions import RowCounts, RunReport
from backend.domain.punches import (
    ClockEvent,
    Ignored,
    IngestState,
    Month,
    Punch,
    PunchBatch,
    PunchRules,
    Rejected,
    are_encrypted,
    plan_first_month,
)
from backend.errors import ConfigurationError, ConflictError
from backend.ports import PunchSource, PunchStore, Run

# More is not faster, and keeps the loop busy for longer at a time.
BATCH_EVENTS = 1000
_REJECTS_LOGGED = 20


async def ingest_punches(
    run: Run,
    rules: PunchRules,
    *,
    source: PunchSource,
    store: PunchStore,
    now: dt.datetime,
    full: bool = False,
    batch_events: int = BATCH_EVENTS,
) -> RunReport:
    """Bring the punches up to date.

    A run that finds out that another one has taken the source over ends well, with what it has done so far.

    Args:
        full: read every table from its beginning (after a change of the rules); nothing is doubled by it.
        now: decides which month is the current one.

    Returns:
        counts of events: `read`, and of them `inserted` (new punches), `unchanged` (punches that were there already)
        and `rejected`; `details["ignored"]` has the events that are no punches.

    Raises:
        TransientError: the source or hrsync's database went away; the next run goes on there.
        ConfigurationError: BioStar encrypts the user ids.
        PermanentError: the source refuses to be read.
    """
    token = f"{run.execution_id}/{run.attempt}"
    state = await store.take_over(source.name, token)
    tables = await source.find_tables()
    first = plan_first_month(state, rules, now, full=full)
    if state.complete_month is None:  # a first run that was cut off began where it has left cursors
        first = min([first, *(month for month, table in tables.items() if table in state.cursors)])
    ingest = _Ingest(run, rules, source, store, token=token, batch_events=batch_events)
    try:
        for month in sorted(month for month in tables if month >= first):
            await ingest.read_table(tables[month], _start(state, rules, tables[month], full=full))
        beginning = min(first, state.first_month or first)
        await store.finish(source.name, token, run.execution_id, first=beginning, complete=Month.of(now))
    except ConflictError:
        run.log.warning("ingestion_taken_over", source=source.name)
        return ingest.report(first, "Another run has taken over; until then: ")
    return ingest.report(first)


def _start(state: IngestState, rules: PunchRules, table: str, *, full: bool) -> int:
    return 0 if full else max(0, state.cursors.get(table, 0) - rules.reread_events)


class _Ingest:
    """One run: what it reads with, and what it has counted."""

    def __init__(
        self, run: Run, rules: PunchRules, source: PunchSource, store: PunchStore, *, token: str, batch_events: int
    ) -> None:
        self._run = run
        self._rules = rules
        self._source = source
        self._store = store
        self._token = token
        self._batch_events = batch_events
        self._counts = RowCounts(read=0, inserted=0, unchanged=0, rejected=0)
        self._ignored: Counter[Ignored] = Counter()
        self._rejected: Counter[Rejected] = Counter()
        self._tables: dict[str, int] = {}

    async def read_table(self, table: str, after: int) -> None:
        """Read the events of one table whose number is above `after`."""
        self._tables[table] = 0
        while events := await self._source.fetch_events(table, after, self._batch_events):
            after = events[-1].number
            self._tables[table] += await self._keep(table, events)
            self._run.count(self._counts)
            self._run.progress(self._counts.read or 0, None, f"reading {table}: {self._tables[table]:,} new")
            await self._run.checkpoint()
            if len(events) < self._batch_events:
                break
        if inserted := self._tables[table]:
            self._run.log.info("punches_ingested", source=self._source.name, table=table, inserted=inserted)

    async def _keep(self, table: str, events: Sequence[ClockEvent]) -> int:
        punches: list[Punch] = []
        rejected = 0
        for event in events:
            match self._rules.read(event):
                case Punch() as punch:
                    punches.append(punch)
                case Ignored() as reason:
                    self._ignored[reason] += 1
                case Rejected() as defect:
                    rejected += 1
                    self._reject(table, event, defect)
        if are_encrypted(punches):
            raise ConfigurationError(
                f"{self._source.name}: the user ids in {table} are encrypted, so that no punch can be given to an "
                'employee. Switch off "Encrypt personal data on database" in the settings of BioStar and run again; if '
                "older months stay encrypted, set first_month in biostar.toml."
            )
        batch = PunchBatch(table=table, punches=punches, cursor=events[-1].number)
        inserted = await self._store.record(self._source.name, self._token, self._run.execution_id, batch)
        self._counts += RowCounts(
            read=len(events), inserted=inserted, unchanged=len(punches) - inserted, rejected=rejected
        )
        return inserted

    def _reject(self, table: str, event: ClockEvent, defect: Rejected) -> None:
        self._rejected[defect] += 1
        if self._rejected.total() <= _REJECTS_LOGGED:
            self._run.log.warning("event_rejected", table=table, event_number=event.number, reason=defect.value)

    def report(self, first: Month, prefix: str = "") -> RunReport:
        """What the run did."""
        counts = self._counts
        if not self._tables:
            summary = f"there is no event table since {first}."
        elif counts.inserted:
            tables = sum(map(bool, self._tables.values()))
            summary = f"{_several(counts.inserted, 'new punch', 'es')} in {_several(tables, 'month table')}."
        else:
            summary = "no new punches."
        if counts.rejected:
            summary = f"{summary[:-1]}; {_several(counts.rejected, 'event')} rejected."
        text = prefix + summary
        return RunReport(
            counts=counts,
            summary=text[0].upper() + text[1:],
            details={
                "tables": self._tables,
                "ignored": {reason.value: count for reason, count in self._ignored.items()},
                "rejected": {defect.value: count for defect, count in self._rejected.items()},
            },
        )


def _several(number: int, noun: str, ending: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else ending}"
