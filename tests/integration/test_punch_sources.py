"""Every kind of time clock gives its punches once each and none is lost, on every engine that it may be on."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from backend.adapters.attendance_store import DatabaseAttendanceStore
from backend.adapters.punch_users import DatabasePunchUsers
from backend.db.database import Database
from backend.db.models.attendance import Punch
from backend.domain.executions import RunReport
from backend.domain.punches import Month, PunchRules
from backend.errors import PermanentError
from backend.ports import PunchSource
from backend.services.ingest_punches import ingest_punches
from tests.support.clocks import (
    KINDS,
    Biostar1Clock,
    BiotimeClock,
    Clock,
    Pressed,
    ZktecoClock,
    open_clock,
    seconds_of,
)
from tests.support.hris import RecordedRun

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
Open = Callable[[str, str], Awaitable[Any]]


@pytest.fixture
async def clock(request: pytest.FixtureRequest, source_url: str) -> AsyncIterator[Clock]:
    """A clock of the kind of the parameter, on each engine."""
    clock = open_clock(request.param, source_url)
    await clock.install()
    yield clock
    await clock.dispose()


@pytest.fixture
async def open_here(empty_sqlite_url: str) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """`open_here(kind)` makes a clock where the engine does not matter."""
    opened: list[Clock] = []

    async def make(kind: str) -> Clock:
        opened.append(open_clock(kind, empty_sqlite_url))
        await opened[-1].install()
        return opened[-1]

    yield make
    for clock in opened:
        await clock.dispose()


every_kind = pytest.mark.parametrize("clock", KINDS, indirect=True)


async def ingest(
    source: PunchSource,
    database: Database,
    *,
    now: dt.datetime = NOW,
    full: bool = False,
    run: RecordedRun | None = None,
) -> RunReport:
    return await ingest_punches(
        run or RecordedRun(),
        [source],
        store=DatabaseAttendanceStore(database),
        users=DatabasePunchUsers(database),
        now=now,
        full=full,
    )


async def punches(database: Database) -> list[tuple[Any, ...]]:
    """(user, instant, device, direction, flags) of every punch, in time."""
    async with database.session() as session:
        query = select(Punch.user_id, Punch.punched_at, Punch.device_id, Punch.direction, Punch.flags)
        return [tuple(row) for row in await session.execute(query.order_by(Punch.punched_at, Punch.id))]


def as_kept(item: Pressed, flags: str | None = None) -> tuple[Any, ...]:
    return (str(item.user), item.instant, str(item.device), "in" if item.is_in else "out", flags)


def workdays(first: str, count: int) -> list[Pressed]:
    """In and out on so many days."""
    start = dt.datetime.fromisoformat(first)
    return [
        Pressed((start + dt.timedelta(days=day, hours=hours)).isoformat(), user=10001 + day % 3, is_in=hours == 0)
        for day in range(count)
        for hours in (0, 9)
    ]


# --- what holds for every kind ----------------------------------------------------------------------------------------


@every_kind
async def test_every_punch_comes_over(clock: Clock, sqlite_database: Database) -> None:
    """Person, instant, device and direction are those of the clock, whatever its time base; once each."""
    presses = workdays("2026-10-20 07:59:58", 13)  # over a clock change and the end of a month
    await clock.press(*presses)
    report = await ingest(clock.source(), sqlite_database)
    assert [as_kept(item) for item in presses] == await punches(sqlite_database)
    assert (26, 26, 0) == (report.counts.read, report.counts.inserted, report.counts.rejected)


@every_kind
async def test_nothing_is_doubled(clock: Clock, sqlite_database: Database) -> None:
    """A second run, and a full one, change nothing."""
    await clock.press(*workdays("2026-11-02 08:00", 10))
    await ingest(clock.source(), sqlite_database)
    before = await punches(sqlite_database)
    assert 0 == (await ingest(clock.source(), sqlite_database)).counts.inserted
    again = await ingest(clock.source(), sqlite_database, full=True)
    assert (0, 20) == (again.counts.inserted, again.counts.unchanged)
    assert before == await punches(sqlite_database)


@every_kind
async def test_what_arrives_late_is_found_and_flagged(clock: Clock, sqlite_database: Database) -> None:
    """Punches of a device that was offline for days are taken over when they come, and say so."""
    await clock.press(*workdays("2026-11-02 08:00", 10))
    await ingest(clock.source(), sqlite_database)
    late, fresh = Pressed("2026-11-15 10:00", device=9), Pressed("2026-11-21 11:59", device=7)
    await clock.press(fresh, late)
    assert 2 == (await ingest(clock.source(), sqlite_database)).counts.inserted
    assert [as_kept(late, "late"), as_kept(fresh)] == (await punches(sqlite_database))[-2:]


@every_kind
async def test_a_clock_that_is_ahead_hides_nothing(clock: Clock, sqlite_database: Database) -> None:
    """A punch of the future is kept and flagged, and those that come after it are found all the same."""
    ahead, later = Pressed("2026-12-24 08:00"), Pressed("2026-11-20 08:00")
    await clock.press(ahead)
    await ingest(clock.source(), sqlite_database)
    await clock.press(later)
    await ingest(clock.source(), sqlite_database)
    assert [as_kept(later, "late"), as_kept(ahead, "future")] == await punches(sqlite_database)


@every_kind
async def test_older_punches_are_left_until_they_are_wanted(clock: Clock, sqlite_database: Database) -> None:
    """What is before the beginning stays out until an earlier first month is set; then it is not late."""
    old = Pressed("2026-02-10 08:00")
    await clock.press(old, Pressed("2026-11-10 08:00"))
    assert 1 == (await ingest(clock.source(), sqlite_database)).counts.inserted
    earlier = dataclasses.replace(clock.source().rules, first_month=Month(2026, 1))
    assert 1 == (await ingest(clock.source(earlier), sqlite_database)).counts.inserted
    assert as_kept(old) == (await punches(sqlite_database))[0]


class CrashError(Exception):
    """The end of a run in the middle."""


@every_kind
@pytest.mark.parametrize("checkpoint", [1, 3])
async def test_a_run_that_dies_loses_nothing(clock: Clock, sqlite_database: Database, checkpoint: int) -> None:
    """After a crash the next run makes it as if there had been one."""
    presses = workdays("2026-10-20 08:00", 25)
    await clock.press(*presses)

    async def crash(number: int) -> None:
        if number == checkpoint:
            raise CrashError

    with pytest.raises(CrashError):
        await ingest(clock.source(), sqlite_database, run=RecordedRun(on_checkpoint=crash))
    assert 0 < len(await punches(sqlite_database)) < 50
    await ingest(clock.source(), sqlite_database)
    assert [as_kept(item) for item in presses] == await punches(sqlite_database)


@every_kind
async def test_a_source_without_events_is_normal(clock: Clock, sqlite_database: Database) -> None:
    """Nothing to read is no error."""
    assert "No new punches." == (await ingest(clock.source(), sqlite_database)).summary


@pytest.mark.parametrize("kind", KINDS)
async def test_another_database_is_told(kind: str, source_url: str, sqlite_database: Database) -> None:
    """A database without the tables is refused, and the message names what is missing."""
    clock = open_clock(kind, source_url)
    async with clock.writer.session() as session:
        await session.execute(text("CREATE TABLE t_login (id INT)"))
    named = {"biostar2": "T_LGyyyymm", "biostar1": "TB_EVENT_LOG", "zkteco": "CHECKINOUT", "biotime": "iclock_trans"}
    with pytest.raises(PermanentError, match=f"(?i){named[kind]}"):
        await ingest(clock.source(), sqlite_database)
    await clock.dispose()


# --- BioStar 1 --------------------------------------------------------------------------------------------------------


async def test_biostar1_numbers_are_unsigned(
    open_here: Callable[[str], Awaitable[Biostar1Clock]], database: Database
) -> None:
    """A negative user is one above 2^31; 0 is nobody; codes that are no success are none."""
    clock = await open_here("biostar1")
    seconds = seconds_of(dt.datetime(2026, 11, 2, 8))
    row = {"nEventLogIdn": -1, "nDateTime": seconds, "nReaderIdn": 3, "nEventIdn": 39, "nUserID": 5, "nTNAEvent": 0}
    changes: list[dict[str, int]] = [{}, {"nUserID": -2}, {"nUserID": 0}, {"nEventIdn": 40}, {"nEventIdn": 62}]
    await clock.insert(clock.events, [row | change for change in changes])
    report = await ingest(clock.source(PunchRules(success_codes=frozenset({39, 55, 58, 59, 60, 61, 62}))), database)
    assert {("5", None), ("4294967294", None)} == {(user, way) for user, _, _, way, _ in await punches(database)}
    assert (5, 3) == (report.counts.read, report.counts.inserted)
    assert {"not_a_success": 1, "no_user": 1} == report.details["sources"]["biostar1"]["ignored"]
    async with database.session() as session:
        keys = set(await session.scalars(select(Punch.event_key)))
    assert {f"{seconds}-3-39-5", f"{seconds}-3-39-4294967294", f"{seconds}-3-62-5"} == keys


async def test_biostar1_reads_only_days_that_changed(
    open_here: Callable[[str], Awaitable[Biostar1Clock]], sqlite_database: Database
) -> None:
    """A day with as many events as before is not read again; one with another is, as a whole."""
    clock = await open_here("biostar1")
    await clock.press(*workdays("2026-11-02 02:00", 10))
    await ingest(clock.source(), sqlite_database)
    assert 0 == (await ingest(clock.source(), sqlite_database)).counts.read
    await clock.press(Pressed("2026-11-05 03:00"))
    report = await ingest(clock.source(), sqlite_database)
    assert (3, 1) == (report.counts.read, report.counts.inserted)


async def test_biostar1_tells_the_hour_that_comes_twice(
    open_here: Callable[[str], Awaitable[Biostar1Clock]], sqlite_database: Database
) -> None:
    """Where wall time repeats itself in autumn, the order of the events decides."""
    clock = await open_here("biostar1")
    wall = ("02:10", "02:50", "02:05", "02:40", "03:00")
    rows = [
        {
            "nEventLogIdn": number, "nReaderIdn": 1, "nEventIdn": 55, "nUserID": number,
            "nDateTime": seconds_of(dt.datetime.fromisoformat(f"2026-10-25 {time}")),
        }
        for number, time in enumerate(wall, start=1)
    ]  # fmt: skip
    await clock.insert(clock.events, rows)
    rules = dataclasses.replace(clock.source().rules, timezone="Europe/Berlin")
    await ingest(clock.source(rules, batch_events=2), sqlite_database)
    found = [(user, f"{at:%H:%M}") for user, at, *_ in await punches(sqlite_database)]
    assert [("1", "00:10"), ("2", "00:50"), ("3", "01:05"), ("4", "01:40"), ("5", "02:00")] == found


# --- queries ----------------------------------------------------------------------------------------------------------


async def test_ids_tell_punches_apart(
    open_here: Callable[[str], Awaitable[BiotimeClock]], sqlite_database: Database
) -> None:
    """With ids the same press twice is two punches; they are the keys of the events, and the cursor."""
    clock = await open_here("biotime")
    await clock.press(Pressed("2026-11-02 08:00"), Pressed("2026-11-02 08:00"))
    await ingest(clock.source(), sqlite_database)
    async with sqlite_database.session() as session:
        assert {"1", "2"} == set(await session.scalars(select(Punch.event_key)))


async def test_without_ids_a_person_is_once_at_a_time_and_place(
    open_here: Callable[[str], Awaitable[ZktecoClock]], sqlite_database: Database
) -> None:
    """What says the same of person, time and device is one punch, also with another direction."""
    clock = await open_here("zkteco")
    query = (
        "SELECT 'A' AS person, '2026-11-02 08:00:00' AS time, 'I' AS direction WHERE :after < '3' "
        "UNION ALL SELECT 'A', '2026-11-02 08:00:00', 'O' UNION ALL SELECT 'A', '2026-11-02 08:00:01', 'O'"
    )
    report = await ingest(clock.source(query=query), sqlite_database)
    assert (3, 2) == (report.counts.read, report.counts.inserted)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("'2026-11-02 08:00:00'", "2026-11-02 07:00:00"),
        ("'2026-11-02T08:00:00.250'", "2026-11-02 07:00:00.250000"),
        ("'2026-11-02 08:00:00+00:00'", "2026-11-02 08:00:00"),
        ("'2026-11-02'", "2026-11-01 23:00:00"),
        (str(seconds_of(dt.datetime(2026, 11, 2, 8))), "2026-11-02 07:00:00"),
        ("'yesterday'", None),
        ("NULL", None),
    ],
)
async def test_times_come_in_many_forms(
    open_here: Callable[[str], Awaitable[ZktecoClock]], sqlite_database: Database, value: str, expected: str | None
) -> None:
    """Texts, dates and seconds are wall time of the source's zone, unless they name an offset; others are rejected."""
    clock = await open_here("zkteco")
    report = await ingest(
        clock.source(query=f"SELECT 5 AS Person, {value} AS time WHERE :after < '3'"), sqlite_database
    )
    found = [(user, str(at.replace(tzinfo=None))) for user, at, *_ in await punches(sqlite_database)]
    assert ([("5", expected)] if expected else []) == found
    assert (0 if expected else 1) == report.counts.rejected


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT 1 AS persona, 2 AS time WHERE :after < '3'", "no column person.*persona AS person"),
        ("SELECT 1 AS person, 2 AS time, 'x' AS id WHERE :after_id < 3", "no whole numbers"),
        ("SELECT 1 AS person, 2 AS time WHERE :after_id < 3", "no column id"),
        (
            "SELECT 1 AS person, 2 AS time, 9 AS id WHERE :after_id < 3 UNION ALL SELECT 1, 2, 8",
            "in their order.*ORDER BY",
        ),
        ("SELECT person FROM nowhere WHERE :after < 3", "nowhere.*mend `query`"),
    ],
)
async def test_a_query_that_does_not_fit_is_told(
    open_here: Callable[[str], Awaitable[ZktecoClock]], sqlite_database: Database, query: str, told: str
) -> None:
    """A result without a column, or in the wrong order, is refused with what to write."""
    clock = await open_here("zkteco")
    with pytest.raises(PermanentError, match=rf"(?s)test \[q\].*{told}"):
        await ingest(clock.source(query=query), sqlite_database)
    assert [] == await punches(sqlite_database)
