"""Punches come over once each and none is lost, from every source into every target, whatever happens in between."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import signal
import sqlite3
import sys
import tempfile
import zoneinfo
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from backend.adapters.attendance_store import DatabaseAttendanceStore
from backend.adapters.biostar2_source import Biostar2Source
from backend.adapters.punch_users import DatabasePunchUsers
from backend.celery_bridge import TASK_REGISTRY
from backend.db.biostar_database import biostar as settings_biostar
from backend.db.database import Database
from backend.db.maria_database import maria
from backend.db.models import Punch, Stream
from backend.db.models.attendance import ClockChange, PunchUser
from backend.demo.company import write_biostar
from backend.domain.executions import RowCounts, RunReport
from backend.domain.punch_events import EventBatch, times_of_seconds
from backend.domain.punches import Direction, IngestState, Month, Portion, PunchRules, ReadPlan
from backend.errors import ConfigurationError, PermanentError, TransientError
from backend.services.ingest_punches import ingest_punches
from backend.settings import Settings
from tests.support.biostar import DENIED, Biostar, event, series
from tests.support.databases import make_database
from tests.support.hris import RecordedRun
from tests.support.processes import Process
from tests.support.servers import MariaDBServer, free_port

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


@pytest.fixture
async def biostar(source_url: str) -> AsyncIterator[Biostar]:
    """A BioStar without events, on each engine."""
    source = Biostar(source_url)
    await source.install()
    yield source
    await source.dispose()


@pytest.fixture
async def biostar_on_sqlite(empty_sqlite_url: str) -> AsyncIterator[Biostar]:
    """A BioStar without events, where the engine of the source does not matter."""
    source = Biostar(empty_sqlite_url)
    await source.install()
    yield source
    await source.dispose()


async def ingest(
    source: Biostar,
    database: Database,
    *,
    now: dt.datetime = NOW,
    rules: PunchRules | None = None,
    run: RecordedRun | None = None,
    batch_events: int = 10,
    full: bool = False,
) -> RunReport:
    return await ingest_punches(
        run or RecordedRun(),
        [source.source(rules, batch_events=batch_events)],
        store=DatabaseAttendanceStore(database),
        users=DatabasePunchUsers(database),
        now=now,
        full=full,
    )


async def punches(database: Database) -> list[tuple[Any, ...]]:
    """(table, event, user, instant, direction) of every punch."""
    async with database.session() as session:
        query = select(Punch.source_table, Punch.event_key, Punch.user_id, Punch.punched_at, Punch.direction)
        return [tuple(row) for row in await session.execute(query.order_by(Punch.source_table, Punch.punched_at))]


async def count(database: Database) -> tuple[int, int]:
    """How many punches there are, and how many different ones."""
    keys = [(table, key) for table, key, *_ in await punches(database)]
    return len(keys), len(set(keys))


async def stream(database: Database) -> Stream:
    async with database.session() as session:
        return await session.get_one(Stream, "biostar.punches")


async def test_successful_user_events_become_punches(biostar: Biostar, database: Database) -> None:
    """Only what a user did with success is a punch; the rest is counted and left."""
    await biostar.add(
        "202611",
        event("2026-11-02 07:58:00", "10001", key=1),
        event("2026-11-02 08:00:00", "10001", code=DENIED),
        event("2026-11-02 08:00:01", "", code=4102),
        event("2026-11-02 08:00:02", None, code=12800),
        event("2026-11-02 16:30:05", "李", key=2),
        {**event("2026-11-02 17:00:00"), "DEVDT": None},
    )
    report = await ingest(biostar, database)

    table = biostar.table_name("202611")
    assert await punches(database) == [
        (table, "1", "10001", dt.datetime(2026, 11, 2, 7, 58, tzinfo=dt.UTC), Direction.IN),
        (table, "5", "李", dt.datetime(2026, 11, 2, 16, 30, 5, tzinfo=dt.UTC), Direction.OUT),
    ]
    assert report.counts == RowCounts(read=6, inserted=2, unchanged=0, rejected=1)
    assert report.details["sources"] == {
        "biostar": {
            "tables": {table: 2},
            "ignored": {"not_a_success": 2, "no_user": 1},
            "rejected": {"unreadable_time": 1},
            "clock_changes": 1,
        }
    }
    assert report.details["users"] == {"matched": 0, "unknown": 2, "changed": 0}
    assert report.summary == "2 new punches in 1 table; 1 event rejected; 2 unknown user ids."
    row = await stream(database)
    assert (row.row_count, row.watermark["tables"], row.watermark["complete_month"]) == (
        2,
        {table: 6},
        "2026-11",
    )
    assert row.succeeded_at is not None


async def test_a_second_run_finds_nothing_new(biostar: Biostar, database: Database) -> None:
    """What was taken over stays as it is."""
    await biostar.add("202611", *series("2026-11-02 08:00", 25))
    await ingest(biostar, database)
    before = await punches(database)
    report = await ingest(biostar, database)
    assert (report.counts.read, report.summary) == (0, "No new punches; 25 unknown user ids.")
    assert await punches(database) == before
    assert (await stream(database)).row_count == 25


async def test_months_follow_one_another(biostar: Biostar, database: Database) -> None:
    """A month's table appears with its first event and is read; the numbers of two months do not collide."""
    await biostar.add("202611", *series("2026-11-30 23:50", 9))
    await ingest(biostar, database, now=NOW)
    december = dt.datetime(2026, 12, 1, 0, 5, tzinfo=dt.UTC)
    assert (await ingest(biostar, database, now=december)).counts.inserted == 0
    await biostar.add("202612", *series("2026-12-01 00:01", 9))
    assert (await ingest(biostar, database, now=december)).counts.inserted == 9
    assert await count(database) == (18, 18)


async def test_late_uploads_are_found(biostar: Biostar, database: Database) -> None:
    """What a device that was offline delivers into earlier months is found, as deep as the re-scan goes."""
    for month in ("202608", "202609", "202610", "202611"):
        await biostar.add(month, *series(f"{month[:4]}-{month[4:]}-05 08:00", 3))
    await ingest(biostar, database)
    for month in ("202608", "202609", "202610"):
        await biostar.add(month, event(f"{month[:4]}-{month[4:]}-01 00:00"))
    report = await ingest(biostar, database)
    assert report.counts.inserted == 2
    assert {table for table, *_ in (await punches(database))} == {
        biostar.table_name(month) for month in ("202608", "202609", "202610", "202611")
    }
    assert (await ingest(biostar, database, rules=PunchRules(rescan_months=3))).counts.inserted == 1


async def test_an_event_that_is_committed_late_is_found(biostar: Biostar, database: Database) -> None:
    """A number that appears below the cursor, because its transaction took longer, is not left out."""
    await biostar.add("202611", event("2026-11-02 08:00", number=1), event("2026-11-02 08:02", number=3))
    await ingest(biostar, database)
    await biostar.add("202611", event("2026-11-02 08:01", number=2))
    assert (await ingest(biostar, database)).counts.inserted == 1
    assert await count(database) == (3, 3)


async def test_months_without_a_table_are_normal(biostar: Biostar, database: Database) -> None:
    """No event table at all, and a gap between two, are no errors."""
    assert (await ingest(biostar, database)).summary == "No new punches."
    await biostar.add("202609", *series("2026-09-05 08:00", 3))
    await biostar.add("202611")
    assert (await ingest(biostar, database)).counts.inserted == 3


async def test_the_first_run_looks_as_far_back_as_configured(biostar: Biostar, database: Database) -> None:
    """Older months are left until an earlier first month is set."""
    await biostar.add("202512", *series("2025-12-05 08:00", 3))
    await biostar.add("202608", *series("2026-08-05 08:00", 3))
    assert (await ingest(biostar, database)).counts.inserted == 3
    assert (await ingest(biostar, database, rules=PunchRules(first_month=Month(2025, 12)))).counts.inserted == 3


async def test_a_full_run_applies_changed_rules(biostar: Biostar, database: Database) -> None:
    """A full run reads everything again and adds what the rules left out before."""
    await biostar.add("202611", *series("2026-11-02 08:00", 3), event("2026-11-02 09:00", code=4865))
    await biostar.add("202611", *series("2026-11-03 08:00", 300))
    await ingest(biostar, database, rules=PunchRules(success_codes=frozenset({4102})), batch_events=100)
    assert (await ingest(biostar, database, batch_events=100)).counts.inserted == 0
    report = await ingest(biostar, database, batch_events=100, full=True)
    assert (report.counts.inserted, report.counts.unchanged) == (1, 303)


class CrashError(Exception):
    """The end of a run in the middle."""


@pytest.mark.parametrize("checkpoint", [1, 2, 5])
async def test_a_run_that_dies_between_batches_loses_nothing(
    biostar: Biostar, database: Database, checkpoint: int
) -> None:
    """After a crash between two batches the next run goes on there: every punch once."""
    await biostar.add("202610", *series("2026-10-02 08:00", 35))
    await biostar.add("202611", *series("2026-11-02 08:00", 35))

    async def crash(number: int) -> None:
        if number == checkpoint:
            raise CrashError

    with pytest.raises(CrashError):
        await ingest(biostar, database, run=RecordedRun(on_checkpoint=crash))
    assert await count(database) == (10 * checkpoint - (5 if checkpoint > 3 else 0),) * 2
    report = await ingest(biostar, database)
    assert await count(database) == (70, 70)
    assert (await stream(database)).row_count == 70
    assert report.counts.rejected == 0


_KILLED = """
import asyncio, os, sys
import backend.adapters.attendance_store as store_module
from backend.adapters.attendance_store import DatabaseAttendanceStore
from tests.integration.test_ingest_punches import NOW, DatabasePunchUsers, RecordedRun, ingest_punches
from tests.support.biostar import Biostar
from backend.db.database import Database

source_url, target_url, place = sys.argv[1:]
moves = 0
move = store_module.move_stream

async def kill(*_):
    os.kill(os.getpid(), 9)

async def move_then_kill(*args, **values):
    global moves
    await move(*args, **values)
    moves += 1
    if moves == 4:  # taken over, two batches committed, the third written and not committed
        await kill()

async def main():
    if place == "inside":
        store_module.move_stream = move_then_kill
    run = RecordedRun(on_checkpoint=lambda number: kill() if place == "between" and number == 3 else asyncio.sleep(0))
    database = Database("hrsync database", "MARIA_URL", target_url)
    await ingest_punches(run, [Biostar(source_url).source()], now=NOW,
                         store=DatabaseAttendanceStore(database), users=DatabasePunchUsers(database))

asyncio.run(main())
"""


@pytest.mark.parametrize("place", ["between", "inside"])
async def test_a_killed_process_loses_nothing(
    biostar_on_sqlite: Biostar,
    database: Database,
    place: str,
    start_process: Callable[..., Process],
    project_root: Path,
) -> None:
    """A process that is killed with -9, between two batches or inside a transaction, leaves whole batches."""
    await biostar_on_sqlite.add("202611", *series("2026-11-02 08:00", 55))
    urls = [item.url.render_as_string(hide_password=False) for item in (biostar_on_sqlite.writer, database)]
    process = start_process(sys.executable, "-c", _KILLED, *urls, place, env={"PYTHONPATH": project_root})
    assert process.wait(60) == -signal.SIGKILL

    assert await count(database) == ((30, 30) if place == "between" else (20, 20))
    report = await ingest(biostar_on_sqlite, database, run=RecordedRun("01920000-0000-7000-8000-000000000002"))
    assert await count(database) == (55, 55)
    assert (report.counts.inserted, (await stream(database)).row_count) == (25 if place == "between" else 35, 55)


async def test_a_cut_off_first_run_keeps_its_beginning(biostar_on_sqlite: Biostar, database: Database) -> None:
    """A first run that was cut off in the oldest month goes on there, also when the month has changed meanwhile."""
    await biostar_on_sqlite.add("202608", *series("2026-08-05 08:00", 35))

    async def crash(_number: int) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        await ingest(biostar_on_sqlite, database, run=RecordedRun(on_checkpoint=crash))
    await ingest(biostar_on_sqlite, database, now=NOW + dt.timedelta(days=14))
    assert await count(database) == (35, 35)


async def test_two_runs_do_not_interleave(biostar: Biostar, database: Database) -> None:
    """A run that starts takes the source over; the earlier one stops at its next batch and says so."""
    await biostar.add("202611", *series("2026-11-02 08:00", 55))
    second = RecordedRun("01920000-0000-7000-8000-000000000002")
    reports: list[RunReport] = []

    async def start_second(number: int) -> None:
        if number == 2:
            reports.append(await ingest(biostar, database, run=second))

    first = RecordedRun(on_checkpoint=start_second)
    report = await ingest(biostar, database, run=first)

    assert (report.counts.inserted, reports[0].counts.inserted) == (20, 35)
    assert report.summary.startswith("Another run has taken over biostar; until then: 20 new punches")
    assert ("warning", "ingestion_taken_over", {"source": "biostar"}) in first.log.lines
    assert await count(database) == (55, 55)
    row = await stream(database)
    assert (row.row_count, row.execution_id) == (55, second.execution_id)


async def test_a_source_that_goes_away_is_transient(private_mariadb: MariaDBServer, sqlite_database: Database) -> None:
    """When BioStar goes away in the middle, the run asks to be tried again, and the next one goes on there."""
    server = Database("server", "X", private_mariadb.database_url("mysql"))
    async with server.session() as session:
        await session.execute(text("CREATE DATABASE biostar2_ac"))
    await server.dispose()
    biostar = Biostar(private_mariadb.database_url("biostar2_ac"))
    await biostar.install()
    await biostar.add("202611", *series("2026-11-02 08:00", 55))

    async def stop_source(number: int) -> None:
        if number == 2:
            private_mariadb.kill()

    with pytest.raises(TransientError, match=r"BioStar \(BIOSTAR_URL"):
        await ingest(biostar, sqlite_database, run=RecordedRun(on_checkpoint=stop_source))
    kept, _ = await count(sqlite_database)
    assert kept in (20, 30)  # what had been read ahead is kept as well
    private_mariadb.start()
    assert (await ingest(biostar, sqlite_database)).counts.inserted == 55 - kept
    assert await count(sqlite_database) == (55, 55)
    await biostar.dispose()


async def test_another_database_is_told_from_biostar(source_url: str, sqlite_database: Database) -> None:
    """A database without BioStar's tables is refused with a word about the right one."""
    source = Biostar(source_url)
    async with source.writer.session() as session:
        await session.execute(text("CREATE TABLE t_login (id INT)"))
    with pytest.raises(PermanentError, match="no BioStar 2 database"):
        await ingest(source, sqlite_database)
    await source.dispose()


async def test_a_missing_column_is_named(biostar: Biostar, sqlite_database: Database) -> None:
    """An event table of another form is refused, naming the column."""
    async with biostar.writer.session() as session:
        await session.execute(text("CREATE TABLE t_lg202611 (EVTLGUID INT PRIMARY KEY, DEVDT INT, USRID VARCHAR(32))"))
    with pytest.raises(PermanentError, match=r"(?i)DEVUID"):
        await ingest(biostar, sqlite_database)


async def test_encrypted_user_ids_are_refused(biostar_on_sqlite: Biostar, sqlite_database: Database) -> None:
    """Where BioStar encrypts personal data, nothing is taken over and the message says what to switch off."""
    await biostar_on_sqlite.add("202611", event("2026-11-02 08:00", "q83vEjRWeJCrze8SNFZ4kA=="))
    with pytest.raises(ConfigurationError, match="Encrypt personal data"):
        await ingest(biostar_on_sqlite, sqlite_database)
    assert await count(sqlite_database) == (0, 0)


async def test_no_personal_data_is_logged(biostar_on_sqlite: Biostar, sqlite_database: Database) -> None:
    """Log, progress and report of a run name tables and events, never users."""
    await biostar_on_sqlite.add("202611", event("2026-11-02 08:00", "SECRET-USER"))
    await biostar_on_sqlite.add("202611", {**event("2026-11-02 08:00", "SECRET-USER"), "DEVDT": 0})
    run = RecordedRun()
    report = await ingest(biostar_on_sqlite, sqlite_database, run=run)
    assert [level for level, *_ in run.log.lines] == ["warning", "info"]
    assert "SECRET-USER" not in f"{report} {run.log.lines} {run.progresses}"


async def test_the_task_takes_over_the_company(
    database: Database, settings_env: Callable[..., Settings], tmp_path: Path, project_root: Path
) -> None:
    """The task, with the example configuration, takes over three months of the fictional company, each punch once."""
    path = tmp_path / "biostar.db"
    today = dt.datetime.now(dt.UTC).date()
    write_biostar(path, until=today - dt.timedelta(days=1))
    settings_env(
        maria_url=database.url.render_as_string(hide_password=False),
        biostar_url=f"sqlite+aiosqlite:///{path}",
        hrsync_config_dir=project_root / "config",
    )
    body = TASK_REGISTRY["attendance_ingest"].body
    try:
        report = await body(RecordedRun())
        again = await body(RecordedRun())
    finally:
        await settings_biostar().dispose()
        await maria().dispose()
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 't_lg%'")]
        expected = sum(
            connection.execute(
                f"SELECT COUNT(*) FROM {table} WHERE USRID <> '' AND (EVT & 0xFF00) IN (0x1000, 0x1300)"
            ).fetchone()[0]
            for table in tables
        )
    assert expected > 10_000
    assert (report.counts.inserted, report.counts.rejected, again.counts.inserted) == (expected, 0, 0)
    assert await count(database) == (expected, expected)


# --- months and devices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "last_day"), [("Asia/Tokyo", "2026-12-01"), ("America/Los_Angeles", "2026-11-30")])
async def test_the_month_ends_in_utc_wherever_the_site_is(
    biostar: Biostar, database: Database, zone: str, last_day: str
) -> None:
    """Around the end of a month in UTC punches are in two tables, on whichever local day; polls around it find all."""
    midnight = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    assert last_day == str((midnight - dt.timedelta(seconds=1)).astimezone(zoneinfo.ZoneInfo(zone)).date())
    november = [event(f"2026-11-30 23:{minute}:00") for minute in (50, 59)]
    december = [event(f"2026-12-01 00:0{minute}:00") for minute in (0, 1)]

    await biostar.add("202611", november[0])
    await ingest(biostar, database, now=midnight - dt.timedelta(minutes=5))
    await biostar.add("202611", november[1])
    await ingest(biostar, database, now=midnight + dt.timedelta(seconds=5))
    await biostar.add("202612", *december)
    await ingest(biostar, database, now=midnight + dt.timedelta(minutes=2))
    minutes = [(table, f"{at:%d %H:%M}") for table, _, _, at, _ in await punches(database)]
    tables = [biostar.table_name("202611")] * 2 + [biostar.table_name("202612")] * 2
    assert list(zip(tables, ["30 23:50", "30 23:59", "01 00:00", "01 00:01"], strict=True)) == minutes


async def test_a_device_that_is_ahead_begins_the_next_month(biostar: Biostar, database: Database) -> None:
    """A device whose clock is ahead makes the table of a month that has not begun: it is read, its punch flagged."""
    await biostar.add("202612", event("2026-12-01 00:10"))
    await ingest(biostar, database, now=dt.datetime(2026, 11, 30, 23, 30, tzinfo=dt.UTC))
    async with database.session() as session:
        assert ["future"] == list(await session.scalars(select(Punch.flags)))


async def test_a_device_may_be_offline_for_five_weeks(biostar: Biostar, database: Database) -> None:
    """What it delivers at once, into three months, is taken over at the next run, and flagged as late."""
    online = [series(f"2026-{month}-05 08:00", 3) for month in ("09", "10", "11")]
    for month, events in zip(("202609", "202610", "202611"), online, strict=True):
        await biostar.add(month, *events)
    await ingest(biostar, database)
    start = dt.datetime(2026, 9, 30, 8)
    days = [start + dt.timedelta(days=day) for day in range(36)]
    for day in days:
        await biostar.add(f"{day:%Y%m}", {**event(day.isoformat(), "10777"), "DEVUID": 541000999})
    again = NOW + dt.timedelta(minutes=5)
    report = await ingest(biostar, database, now=again)
    assert 36 == report.counts.inserted
    async with database.session() as session:
        assert ["10777"] * 36 == list(await session.scalars(select(Punch.user_id).where(Punch.flags == "late")))
    found = [at.replace(tzinfo=None) for _, _, user, at, _ in await punches(database) if user == "10777"]
    assert days == sorted(found)
    assert 0 == (await ingest(biostar, database, now=again)).counts.read


async def test_a_table_in_which_nothing_happened_is_not_read(biostar: Biostar, database: Database) -> None:
    """An empty poll reads no event; one more event lets only its table be read, from a little before the cursor."""
    await biostar.add("202610", *series("2026-10-02 08:00", 15))
    await biostar.add("202611", *series("2026-11-02 08:00", 15))
    await ingest(biostar, database)
    assert (0, {}) == _read(await ingest(biostar, database))
    await biostar.add("202610", event("2026-10-30 08:00"))
    assert (16, {biostar.table_name("202610"): 1}) == _read(await ingest(biostar, database))


def _read(report: RunReport) -> tuple[int | None, dict[str, int]]:
    return report.counts.read, report.details["sources"]["biostar"]["tables"]


async def test_strange_user_ids_come_over_as_they_are(biostar: Biostar, database: Database) -> None:
    """Quotes, separators, backslashes, NULL and control characters in user ids are only text."""
    strange = ["a,b", 'a"b', "a'b", "a\\b", "NULL", "\\N", "a\nb", "a\x1eb", "%s", ":x", "é李😀"]
    if biostar.writer.dialect == "mssql":
        strange.pop()  # the test's own driver writes no characters above U+FFFF there
    await biostar.add("202611", *(event("2026-11-02 08:00", user) for user in strange * 30))
    for batch_events in (len(strange), 1000):
        await ingest(biostar, database, batch_events=batch_events, full=True)
        assert sorted(strange * 30) == sorted(user for _, _, user, _, _ in await punches(database))


async def test_a_server_that_takes_no_files_gets_statements(
    biostar_on_sqlite: Biostar, mariadb_database: Database
) -> None:
    """Where LOAD DATA LOCAL is not allowed, the same comes over."""
    await biostar_on_sqlite.add("202611", *series("2026-11-02 08:00", 2500))
    store = DatabaseAttendanceStore(mariadb_database)
    store._may_load_files = False
    sources = [biostar_on_sqlite.source(batch_events=5000)]
    users = DatabasePunchUsers(mariadb_database)
    report = await ingest_punches(RecordedRun(), sources, store=store, users=users, now=NOW)
    assert 2500 == report.counts.inserted
    assert 0 == (await ingest(biostar_on_sqlite, mariadb_database, batch_events=5000, full=True)).counts.inserted


# --- clocks that are set ----------------------------------------------------------------------------------------------


async def test_changes_of_clocks_are_kept(biostar: Biostar, database: Database) -> None:
    """That the clock of a device was set is kept once, with how far around it its punches are doubtful."""
    await biostar.add("202611", event("2026-11-02 08:00"), event("2026-11-02 08:03", None, code=12800))
    for _ in range(2):
        await ingest(biostar, database, rules=PunchRules(doubt_seconds=300), full=True)
    async with database.session() as session:
        (change,) = await session.scalars(select(ClockChange))
    assert (biostar.table_name("202611"), "2", "541000101", 12800, 300) == (
        change.source_table,
        change.event_key,
        change.device_id,
        change.event_code,
        change.doubt_seconds,
    )
    assert dt.datetime(2026, 11, 2, 8, 3, tzinfo=dt.UTC) == change.changed_at


# --- several sources --------------------------------------------------------------------------------------------------


@pytest.fixture
async def open_biostar(tmp_path: Path) -> AsyncIterator[Callable[..., Biostar]]:
    """`open_biostar("north")` is a BioStar without tables on SQLite, or at the URL that is given."""
    opened: list[Biostar] = []

    def make(name: str, url: str | None = None) -> Biostar:
        opened.append(Biostar(url or f"sqlite+aiosqlite:///{tmp_path}/{name}.db"))
        return opened[-1]

    yield make
    for biostar in opened:
        await biostar.dispose()


@pytest.mark.parametrize("trouble", ["away", "encrypted", "something else"])
async def test_one_source_in_trouble_keeps_no_other_from_being_read(
    open_biostar: Callable[..., Biostar], sqlite_database: Database, trouble: str
) -> None:
    """The others are read and matched; then the run fails, names the source and says what was done."""
    good = [open_biostar(name) for name in ("first", "last")]
    for source in good:
        await source.install()
        await source.add("202611", *series("2026-11-02 08:00", 5))
    bad, kind = await _trouble(open_biostar, trouble)
    sources = [good[0].source(), bad, good[1].source()]
    for name, each in zip(("north", "gate", "south"), sources, strict=True):
        each.name = name
    run = RecordedRun()
    with pytest.raises(
        kind, match=r"1 of 3 sources of punches failed \(gate\)\. The other 2 were read: 10 new"
    ) as error:
        await ingest_punches(
            run,
            sources,
            store=DatabaseAttendanceStore(sqlite_database),
            users=DatabasePunchUsers(sqlite_database),
            now=NOW,
        )
    assert "gate: " in str(error.value)
    assert 10 == run.counts[-1].inserted
    assert 10 == (await count(sqlite_database))[0]
    async with sqlite_database.session() as session:
        done = {row.code for row in await session.scalars(select(Stream)) if row.succeeded_at is not None}
    assert {"north.punches", "south.punches"} == done


async def _trouble(open_biostar: Callable[..., Biostar], trouble: str) -> tuple[Biostar2Source, type[Exception]]:
    if trouble == "away":
        away = open_biostar("away", f"mysql+aiomysql://x:y@127.0.0.1:{free_port()}/biostar2_ac")
        return away.source(), TransientError
    source = open_biostar("bad")
    if trouble == "encrypted":
        await source.install()
        await source.add("202611", event("2026-11-02 08:00", "q83vEjRWeJCrze8SNFZ4kA=="))
        return source.source(), ConfigurationError
    async with source.writer.session() as session:
        await session.execute(text("CREATE TABLE other (id INT)"))
    return source.source(), PermanentError


async def test_the_same_numbers_of_two_sources_are_two_punches(
    open_biostar: Callable[..., Biostar], database: Database
) -> None:
    """Sources do not know of each other: tables, numbers and user ids may be the same."""
    sources = []
    for name in ("north", "south"):
        biostar = open_biostar(name)
        await biostar.install()
        await biostar.add("202611", event("2026-11-02 08:00", "10001"))
        sources.append(biostar.source())
        sources[-1].name = name
    store, users = DatabaseAttendanceStore(database), DatabasePunchUsers(database)
    report = await ingest_punches(RecordedRun(), sources, store=store, users=users, now=NOW)
    assert (2, 2) == (report.counts.inserted, report.details["users"]["unknown"])


# --- any order --------------------------------------------------------------------------------------------------------


class Delivered:
    """A source that delivers what a test says, in the batches and the order that it says."""

    name = "delivered"
    rules = PunchRules()

    def __init__(self, batches: list[list[int]]) -> None:
        self._batches = batches

    async def plan(self, state: IngestState, now: dt.datetime, *, full: bool = False) -> ReadPlan:
        return ReadPlan(first_month=Month(2026, 8), portions=(Portion(table="t"),))

    async def read(self, portion: Portion) -> AsyncGenerator[EventBatch, None]:
        for numbers in self._batches:
            begin = int(dt.datetime(2026, 11, 2, 8, tzinfo=dt.UTC).timestamp())
            yield EventBatch(
                keys=pa.array([str(number) for number in numbers], pa.string()),
                times=times_of_seconds(pa.array([begin + number * 37 % 1000 for number in numbers], pa.int64())),
                devices=pa.array([str(number % 3) for number in numbers], pa.string()),
                users=pa.array([str(number % 5) for number in numbers], pa.string()),
                codes=pa.array([4102 if number % 7 else 12800 for number in numbers], pa.int64()),
                directions=pa.array([str(number % 3) for number in numbers], pa.string()),
                cursor=max(numbers),
            )

    async def find_recent(self, plan: ReadPlan, now: dt.datetime, limit: int) -> Portion | None:
        return None

    async def measure_clocks(self, portion: Portion) -> dict[str, int]:
        return {}


_EVENTS = st.integers(0, 60)
_DELIVERIES = st.lists(st.lists(st.lists(_EVENTS, min_size=1, max_size=12), max_size=4), min_size=1, max_size=4)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(deliveries=_DELIVERIES)
def test_order_batches_and_repetitions_do_not_matter(sqlite_url: str, deliveries: list[list[list[int]]]) -> None:
    """However often, in whichever batches and order events arrive: the punches are those of one delivery in order."""

    async def keep(folder: Path, name: str, runs: list[list[list[int]]]) -> tuple[list[Any], list[Any], list[str], int]:
        shutil.copyfile(make_url(sqlite_url).database or "", folder / name)
        database = make_database(f"sqlite+aiosqlite:///{folder / name}")
        store, users = DatabaseAttendanceStore(database), DatabasePunchUsers(database)
        for batches in runs:
            await ingest_punches(RecordedRun(), [Delivered(batches)], store=store, users=users, now=NOW)
        async with database.session() as session:
            kept = select(Punch.event_key, Punch.user_id, Punch.punched_at, Punch.device_id, Punch.direction)
            found = [tuple(row) for row in await session.execute(kept.order_by(Punch.event_key))]
            changes = select(ClockChange.event_key, ClockChange.changed_at).order_by(ClockChange.event_key)
            clocks = [tuple(row) for row in await session.execute(changes)]
            seen = list(await session.scalars(select(PunchUser.user_id).order_by(PunchUser.user_id)))
            stream = await session.get_one(Stream, "delivered.punches")
        await database.dispose()
        return found, clocks, seen, stream.row_count or 0

    everything = sorted({number for batches in deliveries for numbers in batches for number in numbers})
    at_once = [[everything]] if everything else [[]]
    with tempfile.TemporaryDirectory() as folder:
        expected = asyncio.run(keep(Path(folder), "once.db", at_once))
        assert expected == asyncio.run(keep(Path(folder), "many.db", deliveries))
