"""The sources of the HRIS replication: databases through each driver, by rows and by Arrow batches, and CSV files."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from backend.adapters.csv_source import CsvHrisSource
from backend.adapters.hris_source import DatabaseHrisSource, HrisSources
from backend.db.database import Database
from backend.db.hris_database import dispose_hris_engine, source_database
from backend.domain.column_rules import RawBatch
from backend.domain.mapping import SourceQuery
from backend.domain.values import to_text
from backend.errors import ConfigurationError, HrsyncError, PermanentError, TransientError
from backend.ports import HrisSource
from backend.settings import Settings
from tests.support.project import PROJECT_ROOT
from tests.support.servers import free_port
from tests.support.tcp_proxy import TcpProxy

mssql = pytest.mark.mssql

PLACE = "hris.toml [employees]"
TEN = "(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))"
# What no ASCII is in is read row by row.
BY_ROWS = " -- \N{LATIN SMALL LETTER E WITH ACUTE}"


def digits(count: int) -> str:
    """A FROM clause of 10 ** count rows from nowhere, with the columns d0.i, d1.i, ..."""
    return " CROSS JOIN ".join(f"{TEN} d{number}(i)" for number in range(count))


# Takes a SQL Server many seconds to find nothing.
SLOW = f"SELECT MAX(d0.i) AS no FROM {digits(8)} WHERE {' + '.join(f'd{number}.i' for number in range(8))} < 0"


def query(statement: str, source: str | None = None, **parameters: object) -> SourceQuery:
    return SourceQuery(place=PLACE, subject="employees", text=statement, source=source, parameters=parameters)


async def read(source: HrisSource, asked: SourceQuery) -> tuple[Sequence[str], list[RawBatch]]:
    """The columns and the batches."""
    async with source.open(asked) as rows, contextlib.aclosing(rows.batches()) as batches:
        return rows.columns, [batch async for batch in batches]


async def read_rows(source: HrisSource, asked: SourceQuery) -> list[tuple[object, ...]]:
    _, batches = await read(source, asked)
    return [batch.row(index) for batch in batches for index in range(batch.row_count)]


def texts(rows: Sequence[Sequence[object]]) -> list[tuple[str | None, ...]]:
    return [tuple(None if value is None else to_text(value) for value in row) for row in rows]


def by_arrow(batches: Sequence[RawBatch]) -> bool:
    return all(isinstance(column, pa.Array) for batch in batches for column in batch.columns)


async def execute(url: str, *statements: str, rows: Sequence[Mapping[str, object]] = ()) -> None:
    """Execute statements; with `rows` the statement for each of them."""
    database = Database("HRIS", "HRIS_URL", url)
    try:
        async with database.session() as session:
            for statement in statements:
                await session.execute(text(statement), list(rows) or None)
    finally:
        await database.dispose()


def altered(url: str, *, read_only: bool = True, timeout_seconds: float = 3, **parts: object) -> Database:
    """The HRIS at the URL with other parts; `port` also where the driver reads it."""
    changed = make_url(url).set(**parts)  # type: ignore[arg-type]
    if "port" in parts and "port" in changed.query:
        changed = changed.update_query_dict({"port": str(parts["port"])})
    return Database(
        "HRIS",
        "HRIS_URL",
        changed.render_as_string(hide_password=False),
        read_only=read_only,
        timeout_seconds=timeout_seconds,
    )


@pytest.fixture
async def reader(source_url: str) -> AsyncIterator[Database]:
    """A source on each engine."""
    database = Database("HRIS", "HRIS_URL", source_url, read_only=True)
    yield database
    await database.dispose()


@pytest.fixture
async def mssql_reader(mssql_url: str) -> AsyncIterator[Database]:
    """A source on SQL Server."""
    database = Database("HRIS", "HRIS_URL", mssql_url, read_only=True)
    yield database
    await database.dispose()


# --- queries ----------------------------------------------------------------------------------------------------------


async def test_rows_come_by_column(reader: Database, source_url: str) -> None:
    """Each batch holds one sequence of values for each result column; no batch is longer than asked for."""
    await execute(source_url, "CREATE TABLE emp (no varchar(20), age int)")
    await execute(source_url, *(f"INSERT INTO emp VALUES ('E{number}', {number})" for number in range(25)))

    asked = query("SELECT no, age FROM emp ORDER BY age")
    columns, batches = await read(DatabaseHrisSource(reader, 10), asked)

    assert ["no", "age"] == list(columns)
    assert 25 == sum(batch.row_count for batch in batches)
    assert all(len(column) == batch.row_count <= 10 for batch in batches for column in batch.columns)
    rows = [batch.row(index) for batch in batches for index in range(batch.row_count)]
    assert [(f"E{number}", number) for number in range(25)] == rows


async def test_query_without_rows_tells_its_columns(reader: Database, source_url: str) -> None:
    """An empty result has columns and no batch."""
    await execute(source_url, "CREATE TABLE emp (no varchar(20), name varchar(20))")

    columns, batches = await read(DatabaseHrisSource(reader), query("SELECT no, name FROM emp"))

    assert (["no", "name"], []) == (list(columns), batches)


async def test_colons_and_percent_signs_are_the_query_s_own(reader: Database, source_url: str) -> None:
    """Only the given parameters are bound; times, casts, `:names` in texts and LIKE patterns stay as they are."""
    await execute(source_url, "CREATE TABLE emp (no varchar(20), at varchar(30))")
    await execute(source_url, r"INSERT INTO emp VALUES ('E1', '12\:30\:45'), ('E2', 'a\:until'), ('E3', 'x')")
    source = DatabaseHrisSource(reader)

    own = "SELECT no FROM emp WHERE at LIKE '%:30:%' OR at = 'a:until' ORDER BY no"
    bound = "SELECT no FROM emp WHERE (at LIKE '%:30:%' OR at = 'a:until') AND no > :since AND no <= :until"

    assert [("E1",), ("E2",)] == await read_rows(source, query(own))
    assert [("E2",)] == await read_rows(source, query(bound, since="E1", until="E2"))


async def test_parameters_are_typed(reader: Database, source_url: str) -> None:
    """An instant and a number are bound as what they are."""
    kind = "datetime2" if reader.dialect == "mssql" else "datetime(6)" if reader.dialect == "mysql" else "datetime"
    await execute(source_url, f"CREATE TABLE emp (no int, changed {kind})")
    await execute(
        source_url,
        *(
            f"INSERT INTO emp VALUES ({n}, '2024-02-29 12{minute}')"
            for n, minute in ((1, r"\:00\:00"), (2, r"\:30\:00"))
        ),
    )
    source = DatabaseHrisSource(reader)

    since = dt.datetime(2024, 2, 29, 12, 15)
    assert [(2,)] == await read_rows(source, query("SELECT no FROM emp WHERE changed >= :since", since=since))
    assert [(1,)] == await read_rows(source, query("SELECT no FROM emp WHERE no < :until", until=2))


async def test_query_may_hold_texts_of_any_script(reader: Database, source_url: str) -> None:
    """Literals that are not ASCII reach the server unharmed."""
    wide = "nvarchar(50)" if reader.dialect == "mssql" else "varchar(50)"
    prefix = "N" if reader.dialect == "mssql" else ""
    await execute(source_url, f"CREATE TABLE emp (no int, name {wide})")
    names = ("Ünal", "محمد", "李小龍", "👩🏽‍💻")
    rows = [{"no": number, "name": name} for number, name in enumerate(names)]
    await execute(source_url, "INSERT INTO emp VALUES (:no, :name)", rows=rows)

    found = await read_rows(DatabaseHrisSource(reader), query(f"SELECT no FROM emp WHERE name = {prefix}'李小龍'"))

    assert [(2,)] == found


# --- the same values by rows and by Arrow -----------------------------------------------------------------------------

# Column, its type, and two extreme values as literals.
TYPES = [
    ("a_varchar", "varchar(40)", "'  padded  '", "''"),
    ("a_char", "char(8)", "'A'", "'12345678'"),
    ("a_nvarchar", "nvarchar(100)", "NCHAR(26446) + NCHAR(23567) + NCHAR(40845)", "N' x '"),
    ("a_nchar", "nchar(6)", "NCHAR(1605)", "N'abcdef'"),
    ("a_date", "date", "'1900-01-01'", "'9999-12-31'"),
    ("a_datetime", "datetime", "'1900-01-01T00:00:00'", "'9999-12-31T00:00:00'"),
    ("a_datetime_ms", "datetime", "'2024-02-29T23:59:59.997'", "'1753-01-01T00:00:00'"),
    ("a_smalldatetime", "smalldatetime", "'1900-01-01T00:00:00'", "'2024-02-29T23:59:00'"),
    ("a_datetime2", "datetime2(7)", "'2024-02-29T23:59:59.9876540'", "'9999-12-31T23:59:59.9999990'"),
    ("a_datetime2_old", "datetime2(7)", "'0001-01-01T00:00:00'", "'1582-10-15T00:00:00.0000010'"),
    ("a_datetime2_s", "datetime2(0)", "'9999-12-31T23:59:59'", "'2024-02-29T00:00:00'"),
    ("a_datetime2_ms", "datetime2(3)", "'9999-12-31T23:59:59.999'", "'1900-01-01T00:00:00.001'"),
    ("a_time", "time(7)", "'08:30:00.1234560'", "'00:00:00'"),
    ("a_time_ms", "time(3)", "'08:30:00.5'", "'23:59:59.999'"),
    ("a_time_s", "time(0)", "'23:59:59'", "'08:30:00'"),
    ("a_decimal", "decimal(18, 4)", "1234567890.5000", "-0.0001"),
    ("a_wide_decimal", "decimal(38, 0)", "12345678901234567890123456789012345678", "-1"),
    ("a_deep_decimal", "decimal(38, 10)", "0.0000000001", "-1234567890123456789012345678.5"),
    ("a_numeric", "numeric(5, 0)", "0", "99999"),
    ("a_money", "money", "12.5", "-922337203685477.5808"),
    ("a_smallmoney", "smallmoney", "-1.25", "214748.3647"),
    ("a_float", "float", "0.1", "1e300"),
    ("a_whole_float", "float", "1e15", "-0.25"),
    ("a_real", "real", "0.5", "0.1"),
    ("a_bit", "bit", "1", "0"),
    ("a_tinyint", "tinyint", "255", "0"),
    ("a_smallint", "smallint", "-32768", "7"),
    ("an_int", "int", "-2147483648", "7"),
    ("a_bigint", "bigint", "9007199254740993", "-9223372036854775808"),
    ("an_id", "uniqueidentifier", "'6f9619ff-8b86-d011-b42d-00c04fc964ff'", "NEWID()"),
    ("a_binary", "binary(4)", "0x01020304", "0x6162"),
    ("a_varbinary", "varbinary(10)", "0x6162", "0xFF00"),
]
NAMES = [
    "Ünal Ødegård",
    "محمد العربي",
    "李小龍",
    "Ada 👩🏽‍💻 Example",
    "ab \u202eright to left\u202c",
    *(letter * 3000 for letter in "xé龍"),
]


@mssql
async def test_arrow_gives_the_texts_that_rows_give(mssql_reader: Database, mssql_url: str) -> None:
    """Every type, at both of its ends and NULL, has the same canonical text on both ways."""
    columns = ", ".join(f"{name} {kind} NULL" for name, kind, *_ in TYPES)
    values = [", ".join(ends[number] for _, _, *ends in TYPES).replace(":", r"\:") for number in range(2)]
    await execute(
        mssql_url,
        f"CREATE TABLE emp (no int, {columns})",
        "INSERT INTO emp (no) VALUES (0)",
        *(f"INSERT INTO emp VALUES ({number}, {row})" for number, row in enumerate(values, 1)),
    )
    source = DatabaseHrisSource(mssql_reader)

    _, batches = await read(source, query("SELECT * FROM emp ORDER BY no"))
    fast = texts([batch.row(index) for batch in batches for index in range(batch.row_count)])
    slow = texts(await read_rows(source, query("SELECT * FROM emp ORDER BY no" + BY_ROWS)))

    assert by_arrow(batches)
    names = ["no", *(name for name, *_ in TYPES)]
    assert [dict(zip(names, row, strict=True)) for row in slow] == [dict(zip(names, row, strict=True)) for row in fast]
    assert [None] * len(TYPES) == list(fast[0][1:])
    assert "9999-12-31" == fast[2][names.index("a_date")]


@mssql
async def test_names_of_any_script_and_length_arrive_whole(mssql_reader: Database, mssql_url: str) -> None:
    """Texts that fill their column, of two, three and four bytes a character, are the same on both ways."""
    await execute(mssql_url, "CREATE TABLE emp (no int, name nvarchar(3000), short nvarchar(10), fixed nchar(10))")
    short = ["👍" * 5, *["龍" * 10] * (len(NAMES) - 1)]
    rows = [{"no": no, "name": name, "short": short[no]} for no, name in enumerate(NAMES)]
    await execute(mssql_url, "INSERT INTO emp VALUES (:no, :name, :short, :short)", rows=rows)
    source = DatabaseHrisSource(mssql_reader)

    _, batches = await read(source, query("SELECT name, short, fixed FROM emp ORDER BY no"))
    fast = [batch.row(index) for batch in batches for index in range(batch.row_count)]

    assert by_arrow(batches)
    assert NAMES == [row[0] for row in fast]
    assert [("👍" * 5, "👍" * 5), ("龍" * 10, "龍" * 10)] == [row[1:] for row in fast[:2]]
    assert fast == await read_rows(source, query("SELECT name, short, fixed FROM emp ORDER BY no" + BY_ROWS))


@mssql
async def test_url_may_hold_a_connection_string(mssql_reader: Database) -> None:
    """A URL of the form `?odbc_connect=...` serves both ways."""
    whole = make_url("mssql+aioodbc://").update_query_dict({"odbc_connect": mssql_reader.odbc_connection_string})
    database = Database("HRIS", "HRIS_URL", whole.render_as_string(hide_password=False), read_only=True)
    source = DatabaseHrisSource(database)

    _, fast = await read(source, query("SELECT 1 AS no"))
    _, slow = await read(source, query("SELECT 1 AS no" + BY_ROWS))
    await database.dispose()

    assert (True, False) == (by_arrow(fast), by_arrow(slow))
    assert fast[0].row(0) == slow[0].row(0) == (1,)


@mssql
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("REPLICATE(CAST(NCHAR(233) AS nvarchar(max)), 200000)", "é" * 200_000),
        ("REPLICATE(CAST('x' AS varchar(max)), 70000)", "x" * 70_000),
        ("CAST('<a>1</a>' AS xml)", "<a>1</a>"),
        ("CAST('note' AS ntext)", "note"),
        ("CAST('2024-02-29T23:59:59.9876540+05:30' AS datetimeoffset(7))", "2024-02-29T23:59:59.987654+05:30"),
        ("CAST(0x616263 AS varbinary(max))", "abc"),
    ],
)
async def test_what_arrow_would_change_is_read_by_rows(mssql_reader: Database, expression: str, expected: str) -> None:
    """Texts without a limit arrive uncut, and a time with its zone in ISO 8601."""
    _, batches = await read(DatabaseHrisSource(mssql_reader), query(f"SELECT 1 AS no, {expression} AS value"))

    assert not by_arrow(batches)
    assert [("1", expected)] == texts([batches[0].row(0)])


@mssql
async def test_batches_of_wide_rows_are_put_together(mssql_reader: Database, mssql_url: str) -> None:
    """Columns that could be wide make the driver's fetches small, but not the batches."""
    wide = ", ".join(f"c{number} nvarchar(4000)" for number in range(10))
    await execute(
        mssql_url,
        f"CREATE TABLE emp (no int, {wide})",
        f"INSERT INTO emp (no, c0) SELECT d0.i, N'x' FROM {digits(4)}",
    )

    _, batches = await read(DatabaseHrisSource(mssql_reader), query("SELECT * FROM emp"))
    _, small = await read(DatabaseHrisSource(mssql_reader, 100), query("SELECT * FROM emp"))

    assert by_arrow(batches)
    assert 10_000 == sum(batch.row_count for batch in batches)
    assert len(batches) <= 2
    assert max(batch.row_count for batch in small) <= 100


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["SELECT no FROM no_such_table", "SELECT no_such_column FROM emp"])
async def test_refused_query_is_told_with_its_place(reader: Database, source_url: str, statement: str) -> None:
    """The message names the place, the entity, the system and the mend."""
    await execute(source_url, "CREATE TABLE emp (no varchar(20))")

    with pytest.raises(PermanentError) as raised:
        await read(DatabaseHrisSource(reader), query(statement))

    told = str(raised.value)
    assert told.startswith(f"{PLACE}: the query of the employees was refused: HRIS (HRIS_URL = ")
    assert "mend `query`" in told


@mssql
@pytest.mark.parametrize("way", ["", BY_ROWS])
async def test_row_that_the_server_cannot_compute_is_told(mssql_reader: Database, way: str) -> None:
    """What goes wrong in the middle of the result is told like a refused query, on both ways."""
    statement = f"SELECT 1 / (d0.i + 10 * d1.i - 77) AS no FROM {digits(2)}{way}"
    told = r"^hris\.toml \[employees\]: the query of the employees was refused: HRIS"

    with pytest.raises(PermanentError, match=told):
        await read(DatabaseHrisSource(mssql_reader), query(statement))


@mssql
async def test_refused_login_is_for_a_person(mssql_url: str) -> None:
    """A wrong password is a matter of configuration."""
    database = altered(mssql_url, password="wrong")

    with pytest.raises(ConfigurationError, match="check user and password in HRIS_URL"):
        await read(DatabaseHrisSource(database), query("SELECT 1 AS no"))
    await database.dispose()


@pytest.mark.parametrize("engine", ["mariadb", pytest.param("mssql", marks=mssql)])
async def test_server_that_is_away_is_transient(request: pytest.FixtureRequest, engine: str) -> None:
    """When nothing listens at the address, the message names the system and what to look at."""
    url = request.getfixturevalue("mssql_url" if engine == "mssql" else "empty_mariadb_url")
    database = altered(url, host="127.0.0.1", port=free_port())

    with pytest.raises(TransientError, match=r"hris\.toml \[employees\].*HRIS \(HRIS_URL.*check host and port"):
        await read(DatabaseHrisSource(database), query("SELECT 1 AS no"))
    await database.dispose()


@pytest.mark.parametrize(
    ("engine", "way"),
    [("mariadb", ""), pytest.param("mssql", "", marks=mssql), pytest.param("mssql", BY_ROWS, marks=mssql)],
)
async def test_line_that_breaks_in_mid_stream_is_transient(
    request: pytest.FixtureRequest, engine: str, way: str
) -> None:
    """The message names the place and the system, and the next query gets a new connection."""
    url = str(request.getfixturevalue("mssql_url" if engine == "mssql" else "empty_mariadb_url"))
    await execute(url, "CREATE TABLE digit (i int)", "INSERT INTO digit VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)")
    many = " CROSS JOIN ".join(f"digit d{number}" for number in range(6))
    filler = "REPLICATE('x', 150)" if engine == "mssql" else "REPEAT('x', 150)"
    statement = f"SELECT d0.i AS no, CAST({filler} AS char(150)) AS name FROM {many}{way}"
    address = make_url(url)
    async with TcpProxy(str(address.host), address.port or 1433) as proxy:
        database = altered(url, host="127.0.0.1", port=proxy.port)
        source = DatabaseHrisSource(database)
        rows_read = 0

        with pytest.raises(TransientError, match=r"hris\.toml \[employees\]: reading the employees .*HRIS \(HRIS_URL"):
            async with source.open(query(statement)) as rows:
                async for batch in rows.batches():
                    rows_read += batch.row_count
                    proxy.cut()

        assert 0 < rows_read < 10**6
        assert [(1,)] == await read_rows(source, query("SELECT 1 AS no"))
        await database.dispose()


@pytest.mark.parametrize(
    ("engine", "statement"),
    [
        ("mariadb", "SELECT SLEEP(60) AS no"),
        pytest.param("mssql", SLOW, marks=mssql),
        pytest.param("mssql", SLOW + BY_ROWS, marks=mssql),
    ],
)
async def test_slow_source_is_given_up(request: pytest.FixtureRequest, engine: str, statement: str) -> None:
    """A statement that takes longer than it may is transient, and the next query is answered."""
    url = str(request.getfixturevalue(f"{engine}_server"))
    database = Database("HRIS", "HRIS_URL", url, read_only=True, timeout_seconds=2, statement_timeout_seconds=1)
    source = DatabaseHrisSource(database)

    with pytest.raises(TransientError, match=r"^hris\.toml \[employees\].*(SOURCE_TIMEOUT_SECONDS|no answer within)"):
        await read(source, query(statement))

    assert [(1,)] == await read_rows(source, query("SELECT 1 AS no"))
    await database.dispose()


@pytest.mark.parametrize(
    ("engine", "statement"),
    [
        ("mariadb", "SELECT SLEEP(60) AS no"),
        pytest.param("mssql", SLOW, marks=mssql),
        pytest.param("mssql", SLOW + BY_ROWS, marks=mssql),
    ],
)
async def test_call_in_the_driver_is_given_up(request: pytest.FixtureRequest, engine: str, statement: str) -> None:
    """A soft time-out inside a driver call ends the reading at once, and the source goes on to serve others."""
    url = str(request.getfixturevalue(f"{engine}_server"))
    database = Database("HRIS", "HRIS_URL", url, read_only=True, statement_timeout_seconds=60)
    source = DatabaseHrisSource(database)
    assert [(1,)] == await read_rows(source, query("SELECT 1 AS no"))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(source, query(statement)), 1)

    assert [(1,)] == await read_rows(source, query("SELECT 1 AS no"))
    await database.dispose()


async def test_login_that_may_only_read_is_enough(source_url: str, reader: Database) -> None:
    """A login with SELECT on one table reads that one; of another the message says what to grant."""
    await execute(source_url, "CREATE TABLE emp (no varchar(20))", "CREATE TABLE pay (no varchar(20))")
    await execute(source_url, "INSERT INTO emp VALUES ('E1')")
    if reader.dialect == "sqlite":
        source = DatabaseHrisSource(reader)
        assert [("E1",)] == await read_rows(source, query("SELECT no FROM emp"))
        with pytest.raises(PermanentError, match="readonly"):
            await read(source, query("DELETE FROM emp RETURNING no"))
        return
    login = f"reader_{os.getpid()}"
    grants = [f"CREATE USER {login} IDENTIFIED BY 'Reader-pa55word'", f"GRANT SELECT ON emp TO {login}"]
    removal = [f"DROP USER {login}"]
    if reader.dialect == "mssql":
        grants[:1] = [
            f"CREATE LOGIN {login} WITH PASSWORD = 'Reader-pa55word'",
            f"CREATE USER {login} FOR LOGIN {login}",
        ]
        removal = [f"REVOKE SELECT ON emp FROM {login}", *removal, f"DROP LOGIN {login}"]
    await execute(source_url, *grants)
    try:
        database = altered(source_url, username=login, password="Reader-pa55word")
        source = DatabaseHrisSource(database)
        assert [("E1",)] == await read_rows(source, query("SELECT no FROM emp"))
        with pytest.raises(PermanentError, match=r"hris\.toml \[employees\].*HRIS \(HRIS_URL"):
            await read(source, query("SELECT no FROM pay"))
        await database.dispose()
    finally:
        await execute(source_url, *removal)


# --- other work goes on -----------------------------------------------------------------------------------------------

GEVENT = """
from gevent import monkey; monkey.patch_all()
import os, time
import gevent
import backend.adapters.odbc_batches
from backend.adapters.hris_source import DatabaseHrisSource
from backend.db.database import Database
from backend.domain.mapping import SourceQuery
from backend.execution.loop import close_loop_thread, get_loop_thread
import asyncio
thread = get_loop_thread(4)
hub_gap = loop_gap = hub_ticks = 0
async def watch():
    global loop_gap
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        loop_gap, last = max(loop_gap, now - last), now
def tick():
    global hub_gap, hub_ticks
    last = time.perf_counter()
    while True:
        gevent.sleep(0.001)
        now = time.perf_counter()
        hub_gap, last = max(hub_gap, now - last), now
        hub_ticks += 1
async def read():
    database = Database("HRIS", "HRIS_URL", os.environ["TEST_URL"], read_only=True)
    watcher = asyncio.create_task(watch())
    rows = batches = 0
    async with DatabaseHrisSource(database).open(
        SourceQuery(place="hris.toml [employees]", subject="employees", text=os.environ["TEST_QUERY"])
    ) as result:
        async for batch in result.batches():
            rows += batch.row_count
            batches += 1
    watcher.cancel()
    await database.dispose()
    return rows, batches, type(batch.columns[0]).__module__
ticker = gevent.spawn(tick)
rows, batches, kind = thread.run(read())
ticker.kill()
print(rows, kind, hub_ticks > 3 * batches)
print(f"largest gap: hub {hub_gap * 1000:.0f} ms, loop {loop_gap * 1000:.0f} ms")
assert close_loop_thread()
"""


@mssql
async def test_worker_goes_on_while_a_result_is_read(mssql_url: str) -> None:
    """In a gevent-patched process 100,000 rows come by Arrow, and the hub ticks meanwhile."""
    await execute(
        mssql_url,
        "CREATE TABLE emp (no int, name nvarchar(100), state varchar(20))",
        f"INSERT INTO emp SELECT d0.i, N'Kim Example', 'active' FROM {digits(5)}",
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", GEVENT],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PROJECT_ROOT,
        env=os.environ | {"TEST_URL": mssql_url, "TEST_QUERY": "SELECT no, name, state FROM emp"},
        check=False,
    )
    print(done.stdout)

    assert 0 == done.returncode, done.stderr
    assert "100000 pyarrow.lib True" == done.stdout.splitlines()[0]


# --- sources by name --------------------------------------------------------------------------------------------------


async def test_query_goes_to_the_source_that_it_names(tmp_path: Path, settings_env: Callable[..., Settings]) -> None:
    """The HRIS answers by default; a database by its variable, and a file, answer by their names."""
    urls = {name: f"sqlite+aiosqlite:///{tmp_path / name}.db" for name in ("hris", "directory")}
    for name, url in urls.items():
        await execute(url, "CREATE TABLE t (v varchar(20))", f"INSERT INTO t VALUES ('from {name}')")
    settings_env(hris_url=urls["hris"], directory_url=urls["directory"])
    (tmp_path / "badges.csv").write_text("v\nfrom badges\n")
    hris = Database("HRIS", "HRIS_URL", urls["hris"], read_only=True)
    sources = HrisSources(
        DatabaseHrisSource(hris),
        {
            "directory": lambda: DatabaseHrisSource(source_database("directory", "DIRECTORY_URL")),
            "badges": lambda: CsvHrisSource("badges", tmp_path / "badges.csv"),
        },
    )

    statement = "SELECT v FROM t"
    assert [("from hris",)] == await read_rows(sources, query(statement))
    assert [("from directory",)] == await read_rows(sources, query(statement, "directory"))
    assert [("from badges",)] == await read_rows(sources, query("", "badges"))
    with pytest.raises(ConfigurationError, match=r"no source 'payroll' .* defines badges, directory"):
        await read(sources, query(statement, "payroll"))
    await hris.dispose()
    await dispose_hris_engine()


async def test_url_of_a_source_may_stand_in_the_env_file(tmp_path: Path) -> None:
    """The URL of a further source is found where those of the settings are; a missing one is told."""
    (tmp_path / ".env").write_text("DIRECTORY_URL=sqlite+aiosqlite:///directory.db\n")

    database = source_database("directory", "DIRECTORY_URL")

    assert ("directory", "directory.db", True) == (database.name, database.url.database, database.read_only)
    assert database is source_database("directory", "DIRECTORY_URL")
    with pytest.raises(ConfigurationError, match=r"^PAYROLL_URL is not set: \[sources\.payroll\]"):
        source_database("payroll", "PAYROLL_URL")


# --- CSV files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
async def test_csv_file_is_read_as_text(tmp_path: Path, delimiter: str, prefix: bytes, newline: str) -> None:
    """Every value is text as it stands; quotes protect delimiters, quotes and line breaks; empty lines do not count."""
    lines = ["no| mail ", '007|"a|b""c"', "", '1e5|"two', 'lines"', "|李小龍", ""]
    content = newline.join(lines).replace("|", delimiter)
    (tmp_path / "mail.csv").write_bytes(prefix + content.encode())

    columns, batches = await read(CsvHrisSource("directory", tmp_path / "mail.csv", 2), query(""))

    assert ["no", "mail"] == columns
    assert [2, 1] == [batch.row_count for batch in batches]
    expected = [("007", f'a{delimiter}b"c'), ("1e5", f"two{newline}lines"), ("", "李小龍")]
    assert expected == [batch.row(index) for batch in batches for index in range(batch.row_count)]


async def test_csv_file_without_rows(tmp_path: Path) -> None:
    """A file that holds only its header has columns and no batch."""
    (tmp_path / "mail.csv").write_text("no,mail")

    assert (["no", "mail"], []) == await read(CsvHrisSource("directory", tmp_path / "mail.csv"), query(""))


@pytest.mark.parametrize(
    ("content", "expected", "said"),
    [
        (None, ConfigurationError, r"mail\.csv cannot be read \(No such file.*\[sources\.directory\]"),
        (b"", PermanentError, r"mail\.csv, line 1: there is no header"),
        (b"no,mail\nE1,a\nE2\n", PermanentError, r"mail\.csv, line 3: it has 1 values, the header has 2 names"),
        (b"no,mail\nE1,a\nE2,Kim, secret\n", PermanentError, r"mail\.csv, line 3: it has 3 values"),
        (b"no,mail\nE1,\xe9secret\n", PermanentError, r"mail\.csv, line 2: this is not UTF-8"),
        ("no,mail\n".encode("utf-16"), PermanentError, r"mail\.csv, line 1: this is not UTF-8"),
        (b'no,mail\nE1,a\nE2,"secret\nE3,b\n', PermanentError, r"mail\.csv, line 4: this is no CSV"),
    ],
)
async def test_csv_file_that_cannot_be_read(
    tmp_path: Path, content: bytes | None, expected: type[HrsyncError], said: str
) -> None:
    """The message names the place, the entity, the source, the file and the line, and shows no value."""
    if content is not None:
        (tmp_path / "mail.csv").write_bytes(content)

    with pytest.raises(HrsyncError, match=said) as raised:
        await read(CsvHrisSource("directory", tmp_path / "mail.csv"), query(""))

    assert expected is type(raised.value)
    assert str(raised.value).startswith(f"{PLACE}: reading the employees from the source 'directory': ")
    assert "secret" not in str(raised.value)
