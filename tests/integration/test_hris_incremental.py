"""Reading only what changed: what is found, what must wait for a full read, and where the next run goes on."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import pyodbc
import pytest
from sqlalchemy import text, update
from sqlalchemy.engine import make_url

from backend.adapters.hr_store import DatabaseHrStore
from backend.adapters.hris_source import DatabaseHrisSource
from backend.adapters.row_spool import open_spool
from backend.db.database import Database
from backend.db.models import Employee, HrHold, QuarantinedRow, Stream
from backend.domain.column_rules import RawBatch
from backend.domain.executions import RunReport
from backend.domain.mapping import HrisMapping, SourceQuery
from backend.errors import PermanentError, TransientError
from backend.ports import HrisSource
from backend.services.replicate_hris import HeldError, replicate_hris
from tests.support.databases import connect_mssql
from tests.support.hris import RecordedRun, mapping, read_facts, read_table, replicate

RULES = """
[departments]
query = "SELECT DISTINCT dept FROM staff WHERE dept IS NOT NULL"
columns = { code = "dept", name = "dept" }
[employees]
query = "SELECT no, name, boss, dept, state, changed FROM staff ORDER BY no"
[employees.columns]
employee_no = "no"
full_name = "name"
manager_no = "boss"
department_code = "dept"
status = { column = "state", map = { A = "active", T = "left" } }
[employees.incremental]
by = "updated_at"
column = "changed"
query = "SELECT no, name, boss, dept, state, changed FROM staff WHERE changed >= :since ORDER BY no"
"""
# Column type by dialect; a text on SQLite, as it has no other.
TIMES = {"sqlite": "varchar(30)", "mysql": "datetime(6)", "mssql": "datetime2(7)"}
NOON = dt.datetime(2031, 5, 4, 12)


class Staff:
    """A source table with the time of the last change of each row."""

    def __init__(self, url: str) -> None:
        self.writer = Database("HRIS", "HRIS_URL", url)
        self.reader = Database("HRIS", "HRIS_URL", url, read_only=True)

    async def run(self, *statements: str, **values: object) -> None:
        """Run statements, in one transaction."""
        async with self.writer.session() as session:
            for statement in statements:
                await session.execute(text(statement), values)

    async def create(self) -> None:
        """Make the empty table."""
        texts = ", ".join(f"{name} varchar(60) NULL" for name in ("name", "boss", "dept", "state"))
        changed = TIMES[self.writer.dialect]
        await self.run(f"CREATE TABLE staff (no varchar(60) NOT NULL PRIMARY KEY, {texts}, changed {changed} NULL)")

    async def put(self, no: str, minutes: float | None, name: str = "Kim", **values: str | None) -> None:
        """Add or replace a row that was changed so many minutes after noon."""
        row = {"no": no, "name": name, "boss": None, "dept": None, "state": "A"} | values
        row["changed"] = None if minutes is None else str(NOON + dt.timedelta(minutes=minutes))
        names = ", ".join(row)
        await self.run(
            "DELETE FROM staff WHERE no = :no",
            f"INSERT INTO staff ({names}) VALUES ({', '.join(f':{column}' for column in row)})",
            **row,
        )

    async def dispose(self) -> None:
        """Close the connections."""
        await self.reader.dispose()
        await self.writer.dispose()


@pytest.fixture
async def staff(source_url: str) -> AsyncIterator[Staff]:
    """A source on each engine, with three people; the last one changed ten minutes before noon, the others earlier."""
    async for made in make_staff(source_url):
        yield made


@pytest.fixture
async def sqlite_staff(empty_sqlite_url: str) -> AsyncIterator[Staff]:
    """A source on SQLite, with three people."""
    async for made in make_staff(empty_sqlite_url):
        yield made


@pytest.fixture
async def mssql_staff(mssql_url: str) -> AsyncIterator[Staff]:
    """A source on SQL Server, with three people; its readers do not wait for writers."""
    with connect_mssql(mssql_url) as connection, contextlib.suppress(pyodbc.Error):
        connection.execute(f"ALTER DATABASE {make_url(mssql_url).database} SET READ_COMMITTED_SNAPSHOT ON")
    async for made in make_staff(mssql_url):
        yield made


async def make_staff(url: str) -> AsyncIterator[Staff]:
    made = Staff(url)
    await made.create()
    for number in (1, 2, 3):
        await made.put(f"E{number}", 10 * number - 40)
    yield made
    await made.dispose()


async def sync(staff: Staff, database: Database, rules: HrisMapping | None = None, **options: Any) -> tuple[bool, int]:
    """Replicate; whether only a part of the employees was read, and how many of them."""
    return told(await replicate(staff.reader, database, rules or mapping(RULES), **options))


def told(report: RunReport) -> tuple[bool, int]:
    employees = report.details["entities"]["employees"]
    return employees["incremental"], employees["read"]


async def names(database: Database) -> dict[str, str]:
    return dict(await read_table(database, Employee, "employee_no", "full_name"))


async def age_the_full_read(database: Database, hours: float) -> None:
    """Let the last full read be so old."""
    facts = await read_facts(database)
    at = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)).isoformat(timespec="seconds")
    async with database.session() as session:
        stream = await session.get_one(Stream, "hris.employees")
        assert facts.full_read_at is not None
        values = {"watermark": stream.watermark | {"full_read_at": at}}
        await session.execute(update(Stream).where(Stream.code == "hris.employees").values(values))


# --- by the time of the last change -----------------------------------------------------------------------------------


async def test_only_what_changed_is_read_and_the_rest_stays(staff: Staff, sqlite_database: Database) -> None:
    """After a full read, runs read the changed rows; what they do not read is as it was."""
    first = await sync(staff, sqlite_database)
    await staff.put("E2", 60, "Changed", boss="E1", dept="D1")
    await staff.put("E4", 61, "New", boss="E3")
    second = await sync(staff, sqlite_database)
    await staff.put("E1", 62, "Left", state="T")
    third = await sync(staff, sqlite_database)

    # The newest of the earlier rows are within the overlap.
    assert [(False, 3), (True, 3), (True, 3)] == [first, second, third]
    assert [
        ("E1", "Left", None, None, False),
        ("E2", "Changed", "E1", "D1", True),
        ("E3", "Kim", None, None, True),
        ("E4", "New", "E3", None, True),
    ] == sorted(
        await read_table(
            sqlite_database, Employee, "employee_no", "full_name", "manager_no", "department_code", "is_active"
        )
    )
    assert str(NOON + dt.timedelta(minutes=62)) == ((await read_facts(sqlite_database)).bound or "")[:19]


async def test_the_same_on_both_targets(sqlite_staff: Staff, database: Database) -> None:
    """A partial run writes on MariaDB what it writes on SQLite, and keeps the number of rows of the full one."""
    await sync(sqlite_staff, database)
    await sqlite_staff.put("E2", 60, "Changed", boss="E1")

    assert (True, 2) == await sync(sqlite_staff, database)

    assert {"E1": "Kim", "E2": "Changed", "E3": "Kim"} == await names(database)
    async with database.reader() as session:
        assert 3 == (await session.get_one(Stream, "hris.employees")).row_count
    facts = await read_facts(database)
    assert ([3], 2) == (list(facts.sizes), facts.revision)


async def test_rows_that_are_stored_late_are_within_the_overlap(staff: Staff, sqlite_database: Database) -> None:
    """A row that was committed after a newer one is found if it is not older than the overlap; else by a full read."""
    rules = mapping(RULES.replace('by = "updated_at"', 'by = "updated_at"\noverlap_seconds = 600'))
    await staff.put("E3", 100, "Newest")
    await sync(staff, sqlite_database, rules)
    await staff.put("E1", 91, "Late")
    await staff.put("E2", 89, "Too late")

    assert (True, 2) == await sync(staff, sqlite_database, rules)
    assert {"E1": "Late", "E2": "Kim", "E3": "Newest"} == await names(sqlite_database)
    assert (False, 3) == await sync(staff, sqlite_database, rules, full=True)
    assert {"E1": "Late", "E2": "Too late", "E3": "Newest"} == await names(sqlite_database)


async def test_what_was_deleted_is_found_by_the_periodic_full_read(staff: Staff, sqlite_database: Database) -> None:
    """A deletion leaves no trace in the changed rows: when the last full read is old enough, all is read."""
    await sync(staff, sqlite_database)
    await staff.run("DELETE FROM staff WHERE no = 'E2'")

    assert (True, 1) == await sync(staff, sqlite_database)
    assert [True, True, True] == [row[0] for row in await read_table(sqlite_database, Employee, "is_active")]
    await age_the_full_read(sqlite_database, 23.9)
    assert (True, 1) == await sync(staff, sqlite_database)
    await age_the_full_read(sqlite_database, 24.1)
    assert (False, 2) == await sync(staff, sqlite_database)
    assert [True, False, True] == [row[0] for row in await read_table(sqlite_database, Employee, "is_active")]
    assert (True, 1) == await sync(staff, sqlite_database)


async def test_after_a_change_of_the_mapping_all_is_read(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """Rows that did not change in the source may mean something else by the new rules."""
    await sync(sqlite_staff, sqlite_database)
    changed = RULES.replace('full_name = "name"', 'full_name = { column = "name", upper = true }')

    assert (False, 3) == await sync(sqlite_staff, sqlite_database, mapping(changed))
    assert {"E1": "KIM", "E2": "KIM", "E3": "KIM"} == await names(sqlite_database)
    assert (True, 1) == await sync(sqlite_staff, sqlite_database, mapping(f"# a comment\n{changed}"))


async def test_the_bound_moves_with_the_data_only(sqlite_staff: Staff, database: Database) -> None:
    """A run that fails while it writes leaves the bound, and the next one reads the same again."""
    await sync(sqlite_staff, database)
    before = await read_facts(database)
    await sqlite_staff.put("E2", 60, "Changed")

    async def fail(_checkpoint: int) -> None:
        if run.is_writing:
            raise TransientError("away")

    run = RecordedRun(on_checkpoint=fail)
    with pytest.raises(TransientError):
        await sync(sqlite_staff, database, run=run)

    assert before == await read_facts(database)
    assert (True, 2) == await sync(sqlite_staff, database)
    assert "Changed" == (await names(database))["E2"]


async def test_a_run_without_changes_keeps_the_bound(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """The overlap is of the newest time that was ever seen, not of the time of the run."""
    await sync(sqlite_staff, sqlite_database)
    bounds = []
    for _ in range(3):
        await sync(sqlite_staff, sqlite_database)
        bounds.append((await read_facts(sqlite_database)).bound)

    assert ["2031-05-04 11:50:00.000000"] * 3 == bounds


async def test_a_held_run_leaves_the_bound(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """What was held is read again by the next run, which is the same hold."""
    for number in range(10, 30):
        await sqlite_staff.put(f"E{number}", 4)
    await sync(sqlite_staff, sqlite_database)
    before = await read_facts(sqlite_database)
    for number in range(10, 17):
        await sqlite_staff.put(f"E{number}", 60, state="T")

    for _ in range(2):
        with pytest.raises(HeldError, match="7 of 23 active employees"):
            await sync(sqlite_staff, sqlite_database)

    assert before == await read_facts(sqlite_database)
    assert [("held",)] == await read_table(sqlite_database, HrHold, "status")


async def test_skipped_deactivations_come_by_again(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """With skip_deactivations the bound waits with them, so that they are neither done nor forgotten."""
    rules = mapping(f'{RULES}[guard]\non_guard = "skip_deactivations"\n')
    for number in range(10, 30):
        await sqlite_staff.put(f"E{number}", 4)
    await sync(sqlite_staff, sqlite_database, rules)
    for number in range(10, 17):
        await sqlite_staff.put(f"E{number}", 60, state="T")

    skipped = []
    for number in range(3):
        await sqlite_staff.put(f"N{number}", 61 + number)
        report = await replicate(sqlite_staff.reader, sqlite_database, rules)
        skipped.append((report.details["deactivations_skipped"], report.counts.inserted))

    assert [(7, 1)] * 3 == skipped
    assert [("held",)] == await read_table(sqlite_database, HrHold, "status")


async def test_references_reach_rows_that_were_not_read(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """A manager who did not change is known, one who is nowhere is a warning, a circle is found through such rows."""
    await sqlite_staff.put("E2", -20, boss="E1")
    await sync(sqlite_staff, sqlite_database)
    await sqlite_staff.put("E3", 60, boss="E2")
    await sqlite_staff.put("E4", 60, boss="E404")
    await sync(sqlite_staff, sqlite_database)
    await sqlite_staff.put("E1", 70, boss="E3")
    await sync(sqlite_staff, sqlite_database)

    assert [("E1", None), ("E2", "E1"), ("E3", None), ("E4", None)] == sorted(
        await read_table(sqlite_database, Employee, "employee_no", "manager_no")
    )
    assert {("E1", "reference_cycle"), ("E3", "reference_cycle"), ("E4", "unknown_reference")} == set(
        await read_table(sqlite_database, QuarantinedRow, "source_key", "reason")
    )


async def test_quarantine_of_rows_that_were_not_read_stays(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """A partial run ends the entries of the rows that it saw mended, and no others."""
    await sqlite_staff.put("E1", -30, state="?")
    await sqlite_staff.put("E2", -20, state="?")
    await sync(sqlite_staff, sqlite_database)
    await sqlite_staff.put("E1", 60)

    assert (True, 2) == await sync(sqlite_staff, sqlite_database)

    assert [("E2",)] == await read_table(sqlite_database, QuarantinedRow, "source_key")


async def test_a_renumbered_row_is_found_among_the_changed(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """By the stable key the new number is the old person, though the old number was not read."""
    rules = mapping(RULES.replace('full_name = "name"', 'full_name = "name"\nstable_key = "name"'))
    for number in (1, 2, 3):
        await sqlite_staff.put(f"E{number}", 10 * number - 40, f"Person {number}")
    await sync(sqlite_staff, sqlite_database, rules)
    before = await read_table(sqlite_database, Employee, "id", "full_name")
    await sqlite_staff.run("DELETE FROM staff WHERE no = 'E2'")
    await sqlite_staff.put("E9", 60, "Person 2", boss="E1")

    report = await replicate(sqlite_staff.reader, sqlite_database, rules)

    assert (True, 2, 0) == (*told(report), report.counts.inserted)
    assert before == await read_table(sqlite_database, Employee, "id", "full_name")
    assert [("E1",), ("E9",), ("E3",)] == await read_table(sqlite_database, Employee, "employee_no")


@pytest.mark.parametrize("minutes", [None, 5])
async def test_rows_without_a_time_are_found_by_full_reads(
    staff: Staff, sqlite_database: Database, minutes: float | None
) -> None:
    """Where no row at all has a time, every run reads everything."""
    for number in (1, 2, 3):
        await staff.put(f"E{number}", minutes if number == 1 else None)

    await sync(staff, sqlite_database)

    assert (minutes is not None, 3 if minutes is None else 1) == await sync(staff, sqlite_database)


async def test_a_column_that_is_no_time_is_refused(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """The error names the column and the place in the mapping; nothing is written."""
    await sqlite_staff.run("UPDATE staff SET changed = 'yesterday' WHERE no = 'E2'")
    with pytest.raises(PermanentError, match=r"hris\.toml \[employees\].*'changed'"):
        await sync(sqlite_staff, sqlite_database)

    missing = mapping(RULES.replace("dept, state, changed FROM", "dept, state FROM"))
    with pytest.raises(PermanentError, match=r"hris\.toml \[employees\].*'changed'"):
        await sync(sqlite_staff, sqlite_database, missing)

    assert {} == await names(sqlite_database)


async def test_never_is_a_time_on_mariadb(empty_mariadb_url: str, sqlite_database: Database) -> None:
    """0000-00-00, which stands for a row that was never changed, is no obstacle."""
    async for staff in make_staff(empty_mariadb_url):
        await staff.run("SET SESSION sql_mode = ''", "UPDATE staff SET changed = '0000-00-00' WHERE no = 'E1'")
        await sync(staff, sqlite_database)
        await staff.put("E2", 60, "Changed")

        assert (True, 2) == await sync(staff, sqlite_database)


@pytest.mark.mssql
async def test_times_with_an_offset_are_instants(mssql_staff: Staff, sqlite_database: Database) -> None:
    """Rows of several time zones are compared by when it was, not by what the clock said."""
    staff = mssql_staff
    await staff.run("DELETE FROM staff", "ALTER TABLE staff DROP COLUMN changed")
    await staff.run("ALTER TABLE staff ADD changed datetimeoffset(7) NULL")
    insert = "INSERT INTO staff (no, name, state, changed) VALUES (:no, 'Kim', 'A', :at)"
    await staff.run(insert, no="E1", at="2031-05-04 14:00:00 +02:00")
    await sync(staff, sqlite_database)
    await staff.run(insert, no="E2", at="2031-05-04 08:01:00 -04:00")

    report = await sync(staff, sqlite_database)

    assert (True, 2) == report
    assert "2031-05-04 12:01:00.000000" == (await read_facts(sqlite_database)).bound


async def test_managers_that_are_found_among_all_rows_need_all(sqlite_staff: Staff, sqlite_database: Database) -> None:
    """By tree path or by position the manager may be a row that did not change: these are read whole."""
    by_path = mapping(RULES.replace('manager_no = "boss"', 'tree_path = "boss"'))
    positions = """
        [positions]
        query = "SELECT dept, boss, MAX(changed) AS changed FROM staff GROUP BY dept, boss"
        columns = { code = "dept", title = "dept", parent_code = "boss" }
        [positions.incremental]
        by = "updated_at"
        column = "changed"
        query = "SELECT dept, boss, changed FROM staff WHERE changed >= :since"
        """
    by_position = mapping(
        RULES.replace('manager_no = "boss"\ndepartment_code', "position_code").replace(
            "[employees]\n", f'{positions}[employees]\nmanager = "position"\n'
        )
    )
    for rules, bosses in ((by_path, ("/", "/1/", "/1/2/")), (by_position, (None, "1", "2"))):
        for number, boss in enumerate(bosses, start=1):
            await sqlite_staff.put(f"E{number}", 10 * number - 40, boss=boss, dept=str(number))
        await sync(sqlite_staff, sqlite_database, rules)
        await sqlite_staff.put("E3", 60, "Changed", boss=bosses[2], dept="3")

        assert (False, 3) == await sync(sqlite_staff, sqlite_database, rules)
        assert [("E1", None), ("E2", "E1"), ("E3", "E2")] == await read_table(
            sqlite_database, Employee, "employee_no", "manager_no"
        )


# --- by rowversion ----------------------------------------------------------------------------------------------------

BY_ROWVERSION = (
    RULES.replace('"updated_at"', '"rowversion"')
    .replace("state, changed FROM", "state, version FROM")
    .replace('column = "changed"', 'column = "version"')
    .replace("changed >= :since", "version >= :since AND version < :until")
)


class Rows:
    """A result that is at hand."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.columns = columns
        self._rows = rows

    async def batches(self) -> AsyncGenerator[RawBatch, None]:
        if self._rows:
            yield RawBatch(
                columns=[list(column) for column in zip(*self._rows, strict=True)], row_count=len(self._rows)
            )


class AnsweringSource:
    """A source that gives the answers of a test to some questions, and asks another one everything else.

    Attributes:
        answers: columns and rows by what the question begins with.
        asked: every query that came by.
    """

    def __init__(self, answers: Mapping[str, Rows], other: HrisSource | None = None) -> None:
        self.answers = dict(answers)
        self.asked: list[SourceQuery] = []
        self._other = other

    @contextlib.asynccontextmanager
    async def open(self, query: SourceQuery) -> AsyncIterator[Any]:
        self.asked.append(query)
        for beginning, rows in self.answers.items():
            if query.text.startswith(beginning):
                yield rows
                return
        assert self._other is not None, query.text
        async with self._other.open(query) as found:
            yield found


async def replicate_from(source: AnsweringSource, database: Database, rules: HrisMapping, **options: Any) -> RunReport:
    return await replicate_hris(
        RecordedRun(), rules, source=source, store=DatabaseHrStore(database), open_spool=open_spool, **options
    )


@pytest.mark.mssql
async def test_rows_of_a_transaction_that_has_not_ended_are_not_missed(
    mssql_url: str, mssql_staff: Staff, sqlite_database: Database
) -> None:
    """The bound stays below a version that is not committed yet, though higher ones are: the row is read later.

    What MIN_ACTIVE_ROWVERSION() says is the test's own account, for servers that lack it.
    """
    staff = mssql_staff
    await staff.run("DELETE FROM staff", "ALTER TABLE staff ADD version rowversion")
    for number in (1, 2):
        await staff.run(f"INSERT INTO staff (no, name, state) VALUES ('E{number}', 'Kim', 'A')")
    rules = mapping(BY_ROWVERSION)

    async def next_version() -> bytes:
        async with staff.reader.session() as session:
            newest = await session.scalar(text("SELECT TOP 1 version FROM staff ORDER BY version DESC"))
        return (int.from_bytes(newest or b"", "big") + 1).to_bytes(8, "big")

    def saying(lowest: bytes) -> AnsweringSource:
        answer = Rows(["version"], [(lowest,)])
        return AnsweringSource({"SELECT MIN_ACTIVE_ROWVERSION()": answer}, DatabaseHrisSource(staff.reader))

    lowest = await next_version()
    await replicate_from(saying(lowest), sqlite_database, rules)
    with connect_mssql(mssql_url) as slow:
        slow.autocommit = False
        slow.execute("INSERT INTO staff (no, name, state) VALUES ('E3', 'Slow', 'A')")
        await staff.run("INSERT INTO staff (no, name, state) VALUES ('E4', 'Quick', 'A')")
        during = told(await replicate_from(saying(lowest), sqlite_database, rules))
        slow.commit()
    after = told(await replicate_from(saying(await next_version()), sqlite_database, rules))
    again = told(await replicate_from(saying(await next_version()), sqlite_database, rules))

    assert [(True, 0), (True, 2), (True, 0)] == [during, after, again]
    assert {"E1": "Kim", "E2": "Kim", "E3": "Slow", "E4": "Quick"} == await names(sqlite_database)


async def test_rowversions_that_went_back_are_a_reason_to_read_all(sqlite_database: Database) -> None:
    """After a restore of the source its versions are below the bound: all is read, and the summary says why."""
    rules = mapping(BY_ROWVERSION)
    columns = ["no", "name", "boss", "dept", "state", "version"]
    source = AnsweringSource(
        {
            "SELECT MIN_ACTIVE_ROWVERSION()": Rows(["v"], [(b"\0\0\0\0\0\0\7\xd1",)]),
            "SELECT DISTINCT dept": Rows(["dept"], []),
            "SELECT no": Rows(columns, [("E1", "Kim", None, None, "A", b"\0\0\0\0\0\0\7\xd0")]),
        }
    )
    first = await replicate_from(source, sqlite_database, rules)
    second = await replicate_from(source, sqlite_database, rules)
    source.answers["SELECT MIN_ACTIVE_ROWVERSION()"] = Rows(["v"], [("0x00000000000003E8",)])
    third = await replicate_from(source, sqlite_database, rules)

    assert [False, True, False] == [told(report)[0] for report in (first, second, third)]
    asked = [query.parameters for query in source.asked if query.text.startswith("SELECT no")]
    bound = bytes.fromhex("00000000000007d1")
    assert [{}, {"since": bound, "until": bound}, {}] == asked
    assert "the rowversions of the source went back" in third.summary
    assert "00000000000003e8" == (await read_facts(sqlite_database)).bound


# --- by Change Tracking -----------------------------------------------------------------------------------------------

BY_TRACKING = (
    RULES.replace('by = "updated_at"\ncolumn = "changed"', 'by = "change_tracking"\ntable = "dbo.staff"')
    .replace("state, changed FROM staff ORDER", "state FROM staff ORDER")
    .replace(
        "SELECT no, name, boss, dept, state, changed FROM staff WHERE changed >= :since ORDER BY no",
        "SELECT c.no, s.name, s.boss, s.dept, s.state, c.SYS_CHANGE_OPERATION "
        "FROM CHANGETABLE(CHANGES staff, :since) AS c LEFT JOIN staff AS s ON s.no = c.no",
    )
)
QUERY, CHANGES, VERSIONS = "SELECT no", "SELECT c.no", "SELECT CHANGE_TRACKING_CURRENT_VERSION()"
COLUMNS = ["no", "name", "boss", "dept", "state"]


def tracked(
    now: int | None, oldest: int | None, rows: Sequence[Sequence[object]], changes: Sequence[Sequence[object]] = ()
) -> AnsweringSource:
    """A source with Change Tracking, at these versions (the servers of the tests have none)."""
    return AnsweringSource(
        {
            VERSIONS: Rows(["now", "oldest"], [(now, oldest)]),
            "SELECT DISTINCT dept": Rows(["dept"], []),
            QUERY: Rows(COLUMNS, rows),
            CHANGES: Rows([*COLUMNS, "SYS_CHANGE_OPERATION"], changes),
        }
    )


def person(no: str, name: str | None = "Kim", *operation: str) -> tuple[object, ...]:
    return (no, name, None, None, "A" if name else None, *operation)


async def test_change_tracking_tells_what_changed_and_what_was_deleted(database: Database) -> None:
    """Changed rows are updated, new ones added, deleted ones deactivated; everybody else stays."""
    rules = mapping(BY_TRACKING)
    all_rows = [person("E1"), person("E2"), person("E3")]
    await replicate_from(tracked(10, 3, all_rows), database, rules)
    changes = [person("E1", "Changed", "U"), person("E4", "New", "I"), person("E2", None, "D"), person("E9", None, "D")]
    source = tracked(14, 3, all_rows, changes)

    report = await replicate_from(source, database, rules)

    assert (1, 1, 1, 0) == (
        report.counts.inserted, report.counts.updated, report.counts.deactivated, report.counts.rejected
    )  # fmt: skip
    assert [
        ("E1", "Changed", True),
        ("E2", "Kim", False),
        ("E3", "Kim", True),
        ("E4", "New", True),
    ] == await read_table(database, Employee, "employee_no", "full_name", "is_active")
    (asked,) = [query for query in source.asked if query.text.startswith(CHANGES)]
    assert {"since": 10} == asked.parameters
    assert "14" == (await read_facts(database)).bound


@pytest.mark.parametrize(
    ("now", "oldest", "said"), [(20, 11, "no longer reaches back to the last run"), (9, 3, "went back")]
)
async def test_change_tracking_that_does_not_reach_back_is_a_reason_to_read_all(
    sqlite_database: Database, now: int, oldest: int, said: str
) -> None:
    """When versions were cleaned up since, or the source was restored, all is read, and the summary says why."""
    rules = mapping(BY_TRACKING)
    await replicate_from(tracked(10, 3, [person("E1"), person("E2")]), sqlite_database, rules)

    report = await replicate_from(tracked(now, oldest, [person("E1")]), sqlite_database, rules)

    assert (False, 1, 1) == (*told(report), report.counts.deactivated)
    assert said in report.summary
    assert str(now) == (await read_facts(sqlite_database)).bound


async def test_the_oldest_version_that_is_still_valid_is_enough(sqlite_database: Database) -> None:
    """The bound may be the very oldest version that the source still knows."""
    rules = mapping(BY_TRACKING)
    await replicate_from(tracked(10, 3, [person("E1")]), sqlite_database, rules)

    assert (True, 0) == told(await replicate_from(tracked(10, 10, []), sqlite_database, rules))


async def test_change_tracking_that_is_not_enabled_is_said(sqlite_database: Database) -> None:
    """The error names the table and the mapping, and what to do."""
    with pytest.raises(PermanentError, match=r"hris\.toml \[employees\].*not enabled for dbo\.staff"):
        await replicate_from(tracked(None, None, []), sqlite_database, mapping(BY_TRACKING))


async def test_many_deletions_at_once_are_held(sqlite_database: Database) -> None:
    """The guard counts what Change Tracking says was deleted like what a full read misses."""
    rules = mapping(BY_TRACKING)
    everybody = [person(f"E{number}") for number in range(20)]
    await replicate_from(tracked(10, 3, everybody), sqlite_database, rules)

    with pytest.raises(HeldError, match="6 of 20 active employees"):
        gone = [person(f"E{number}", None, "D") for number in range(6)]
        await replicate_from(tracked(11, 3, everybody, gone), sqlite_database, rules)

    assert "10" == (await read_facts(sqlite_database)).bound
