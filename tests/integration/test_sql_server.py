"""What only a SQL Server can show: its types, its errors through the ODBC driver at hand, and its streams."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from backend.adapters.hris_source import DatabaseHrisSource
from backend.cli.checks import check_hris_source
from backend.db.database import Database
from backend.db.hris_database import hris
from backend.db.models import Employee
from backend.domain.employees import Entity
from backend.errors import ConfigurationError, PermanentError, TransientError
from backend.settings import Settings
from tests.support.hris import RecordedRun, mapping, read_table, replicate
from tests.support.servers import free_port
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.mssql

LONG = "abc äöü 李 " * 300
NAMES = {"1": "Ünal Ødegård", "2": "محمد العربي", "3": "李小龍", "4": "Ada 👩🏽‍💻 Example"}

# 100,000 rows from nowhere.
MANY = """
    WITH d(i) AS (SELECT 0 UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL
                  SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)
    SELECT a.i + 10 * b.i + 100 * c.i + 1000 * e.i + 10000 * f.i AS no, REPLICATE(N'x', 150) AS name, N'active' AS state
    FROM d a CROSS JOIN d b CROSS JOIN d c CROSS JOIN d e CROSS JOIN d f
"""
MANY_EMPLOYEES = f'''
[employees]
query = """{MANY}"""
columns = {{ employee_no = "no", full_name = "name", status = "state" }}
'''


@pytest.fixture
async def writer(mssql_url: str) -> AsyncIterator[Database]:
    database = Database("HRIS", "HRIS_URL", mssql_url)
    yield database
    await database.dispose()


@pytest.fixture
async def reader(mssql_url: str) -> AsyncIterator[Database]:
    database = Database("HRIS", "HRIS_URL", mssql_url, read_only=True)
    yield database
    await database.dispose()


def altered(url: str, **parts: object) -> Database:
    """The HRIS at the URL with other parts; `port` also where the driver reads it."""
    changed = make_url(url).set(**parts)  # type: ignore[arg-type]
    if "port" in parts and "port" in changed.query:
        changed = changed.update_query_dict({"port": str(parts["port"])})
    return Database("HRIS", "HRIS_URL", changed.render_as_string(hide_password=False), timeout_seconds=3)


async def ask(database: Database, statement: str = "SELECT 1") -> None:
    """Execute a statement on a database of this test alone."""
    try:
        async with database.session() as session:
            await session.execute(text(statement))
    finally:
        await database.dispose()


# --- values -----------------------------------------------------------------------------------------------------------


async def test_values_of_every_type_arrive(writer: Database, reader: Database, database: Database) -> None:
    """Texts of all scripts, long texts, dates at both ends, numbers, instants and NULL come out as what they are."""
    async with writer.session() as session:
        await session.execute(
            text("""
                CREATE TABLE emp (
                    no varchar(20) PRIMARY KEY, name nvarchar(100), mail nvarchar(100), state char(8), hired date,
                    left_on datetime, notes nvarchar(max), badge decimal(18, 4), pay money, at datetime2(7),
                    at_zone datetimeoffset(7), part float, is_lead bit, starts time(7), ref uniqueidentifier,
                    big bigint, fixed nchar(10)
                )
            """)
        )
        for no, name in NAMES.items():
            await session.execute(
                text("""
                    INSERT INTO emp VALUES (:no, :name, 'A@Example.com', 'A', '1900-01-01', '9999-12-31T00:00:00',
                        :notes, 1234567890.5000, 12.5, '2024-02-29T23:59:59.9876540',
                        '2024-02-29T23:59:59.9876540+05:30', 0.25, 1, '08:30:00.0000000',
                        '6f9619ff-8b86-d011-b42d-00c04fc964ff', 9007199254740993, N'李')
                """),
                {"no": f"{no}  ", "name": f" {name}  ", "notes": LONG},
            )
        await session.execute(text("INSERT INTO emp (no, name, state) VALUES ('9', 'Null Example', 'A')"))
    rules = mapping("""
        [employees]
        query = "SELECT * FROM emp ORDER BY no"
        [employees.columns]
        employee_no = "no"
        full_name = "name"
        email = { column = "mail", lower = true }
        status = { column = "state", map = { A = "active" } }
        hired_on = "hired"
        left_on = { column = "left_on", null_if = [9999-12-31] }
        extra.notes = "notes"
        extra.badge = "badge"
        extra.pay = "pay"
        extra.at = "at"
        extra.at_zone = "at_zone"
        extra.part = "part"
        extra.is_lead = "is_lead"
        extra.starts = "starts"
        extra.ref = "ref"
        extra.big = "big"
        extra.fixed = "fixed"
        """)

    report = await replicate(reader, database, rules)
    again = await replicate(reader, database, rules)

    extra = {
        "notes": LONG.strip(), "badge": "1234567890.5", "pay": "12.5", "at": "2024-02-29T23:59:59.987654",
        "at_zone": "2024-02-29T23:59:59.987654+05:30", "part": 0.25, "is_lead": True, "starts": "08:30:00",
        "ref": "6F9619FF-8B86-D011-B42D-00C04FC964FF", "big": 9007199254740993, "fixed": "李",
    }  # fmt: skip
    columns = ("employee_no", "full_name", "email", "hired_on", "left_on", "extra")
    assert [
        *((no, name, "a@example.com", dt.date(1900, 1, 1), None, extra) for no, name in NAMES.items()),
        ("9", "Null Example", None, None, None, dict.fromkeys(extra)),
    ] == await read_table(database, Employee, *columns)
    assert (5, 0) == (report.counts.inserted, report.counts.rejected)
    assert 5 == again.counts.unchanged


async def test_a_type_that_odbc_does_not_know_is_told(reader: Database) -> None:
    """A column that the driver cannot hand over says what to write instead."""
    rules = mapping("""
        [departments]
        query = "SELECT CAST(5 AS sql_variant) AS code, 'x' AS name"
        columns = { code = "code", name = "name" }
        """)
    with pytest.raises(PermanentError, match=r"hris\.toml \[departments\].*CAST it to nvarchar"):
        async with DatabaseHrisSource(reader).open(rules.entities[Entity.DEPARTMENTS].source_query()) as rows:
            _ = [batch async for batch in rows.batches()]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "wrong"}, "check user and password in HRIS_URL"),
        ({"username": "nobody_at_all"}, "check user and password in HRIS_URL"),
        ({"database": "hrsync_no_such_database"}, "there is no such database"),
    ],
)
async def test_what_only_a_person_can_mend(mssql_url: str, change: dict[str, object], said: str) -> None:
    """A refused login or database is a matter of configuration, with the mend and without the password."""
    password = str(make_url(mssql_url).password)

    with pytest.raises(ConfigurationError) as raised:
        await ask(altered(mssql_url, **change))

    assert said in str(raised.value)
    assert password not in str(raised.value)


async def test_a_server_that_is_away_is_transient(mssql_url: str) -> None:
    """When nothing listens at the address, the run is tried again, and the message says what to look at."""
    with pytest.raises(TransientError, match=r"HRIS \(HRIS_URL.*check host and port"):
        await ask(altered(mssql_url, host="127.0.0.1", port=free_port()))


async def test_a_deadlock_is_transient(writer: Database) -> None:
    """Of two transactions that wait for each other one is given up, and may be tried again."""
    async with writer.session() as session:
        await session.execute(text("CREATE TABLE pair (id int PRIMARY KEY, n int)"))
        await session.execute(text("INSERT INTO pair VALUES (1, 0), (2, 0)"))
    both = asyncio.Barrier(2)

    async def update(first: int, second: int) -> None:
        async with writer.session() as session:
            await session.execute(text("UPDATE pair SET n = n + 1 WHERE id = :id"), {"id": first})
            await both.wait()
            await session.execute(text("UPDATE pair SET n = n + 1 WHERE id = :id"), {"id": second})

    outcomes = await asyncio.gather(update(1, 2), update(2, 1), return_exceptions=True)

    assert [TransientError] == [type(outcome) for outcome in outcomes if outcome is not None]


async def test_a_line_that_breaks_in_mid_stream_is_transient(mssql_url: str, sqlite_database: Database) -> None:
    """A broken connection names the system and the entity, nothing is written, and the next run gets a new one."""
    url = make_url(mssql_url)
    async with TcpProxy(str(url.host), url.port or 1433) as proxy:
        source = altered(mssql_url, host="127.0.0.1", port=proxy.port)

        async def cut(checkpoint: int) -> None:
            if checkpoint == 2:
                proxy.cut()

        with pytest.raises(TransientError, match=r"hris\.toml \[employees\].*HRIS \(HRIS_URL"):
            await replicate(source, sqlite_database, mapping(MANY_EMPLOYEES), run=RecordedRun(on_checkpoint=cut))
        assert [] == await read_table(sqlite_database, Employee, "id")
        async with source.session() as session:
            assert 1 == await session.scalar(text("SELECT 1"))
        await source.dispose()


async def test_a_refused_certificate_is_told(mssql_url: str) -> None:
    """A certificate that this host does not trust is a matter of configuration (Microsoft's driver checks it)."""
    url = make_url(mssql_url)
    if "TrustServerCertificate" not in url.query:
        pytest.skip("needs a SQL Server with a certificate of its own making, through Microsoft's driver")
    checking = url.difference_update_query(["TrustServerCertificate"]).render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match="certificate is not trusted here"):
        await ask(Database("HRIS", "HRIS_URL", checking))


@pytest.mark.parametrize(("password", "expected"), [(None, "ok"), ("wrong", "error")])
async def test_the_doctor_looks_at_the_server(
    mssql_url: str, settings_env: Callable[..., Settings], tmp_path: Path, password: str | None, expected: str
) -> None:
    """The doctor tells a server that answers, and a login that it refuses, with the mend."""
    url = make_url(mssql_url) if password is None else make_url(mssql_url).set(password=password)
    (tmp_path / "hris.toml").write_text(MANY_EMPLOYEES)
    settings = settings_env(hris_url=url.render_as_string(hide_password=False), hrsync_config_dir=tmp_path)

    findings = {finding.subject: finding for finding in await check_hris_source(settings)}
    await hris().dispose()

    assert expected == findings["hris"].level
    if password is None:
        assert "200 of the first 200 rows can be taken" in findings["hris employees"].message
    else:
        assert "The server refused the login: check user and password in HRIS_URL" == findings["hris"].mend
        assert {"hris", "hris mapping"} == set(findings)


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_a_long_result_needs_no_memory_and_holds_nobody_up(reader: Database) -> None:
    """100,000 rows come in batches: memory stays as it is after the first ones, and the loop goes on meanwhile."""
    memory: list[int] = []
    rows_read = ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticker = asyncio.create_task(tick())
    query = mapping(MANY_EMPLOYEES).entities[Entity.EMPLOYEES].source_query()
    async with DatabaseHrisSource(reader, 2000).open(query) as rows:
        async for batch in rows.batches():
            assert batch.row_count <= 2000
            rows_read += batch.row_count
            memory.append(_resident_bytes())
    ticker.cancel()

    assert 100_000 == rows_read
    assert memory[-1] - memory[4] < 20 * 1024**2
    # A loop that waited for the driver would tick once a call.
    assert ticks > 3 * len(memory)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
