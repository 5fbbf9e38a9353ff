"""Punches come over once each and none is lost, from every source into every target, whatever happens in between."""

from __future__ import annotations

import datetime as dt
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from backend.adapters.attendance_store import DatabaseAttendanceStore
from backend.adapters.punch_users import DatabasePunchUsers
from backend.celery_bridge import TASK_REGISTRY
from backend.db.biostar_database import biostar as settings_biostar
from backend.db.database import Database
from backend.db.maria_database import maria
from backend.db.models import Punch, Stream
from backend.demo.company import write_biostar
from backend.domain.executions import RowCounts, RunReport
from backend.domain.punches import Direction, Month, PunchRules
from backend.errors import ConfigurationError, PermanentError, TransientError
from backend.services.ingest_punches import ingest_punches
from backend.settings import Settings
from tests.support.biostar import DENIED, Biostar, event, series
from tests.support.hris import RecordedRun
from tests.support.processes import Process
from tests.support.servers import MariaDBServer

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
            "flags": {},
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
move = store_module._move

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
        store_module._move = move_then_kill
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
