"""A generated HRIS for `scripts/bench hris`: on a SQL Server where one is given, else in an SQLite file."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from backend.db.database import parse_url
from tests.support.databases import connect_mssql, create_mssql_database, drop_mssql_database

Row = tuple[Any, ...]

DEPARTMENTS = 800
POSITIONS = 300
REPORTS = 8  # people of one manager
_BATCH = 5000
_ROWS_PER_STATEMENT = 100  # of literals

EMPLOYEE_COLUMNS = (
    "emp_no", "full_name", "first_name", "last_name", "mail", "phone", "dept", "job", "boss", "state", "hired",
    "salary",
)  # fmt: skip
_SELECT_EMPLOYEES = f"SELECT {', '.join(EMPLOYEE_COLUMNS)} FROM bench_employee"  # noqa: S608 - our own words
IN_KEY_ORDER = f"{_SELECT_EMPLOYEES} ORDER BY emp_no"
MAPPING = f"""
[departments]
query = "SELECT code, name, parent FROM bench_department"
columns = {{ code = "code", name = "name", parent_code = "parent" }}

[positions]
query = "SELECT code, title FROM bench_position"
columns = {{ code = "code", title = "title" }}

[employees]
query = "{_SELECT_EMPLOYEES}"
[employees.columns]
employee_no = "emp_no"
full_name = "full_name"
first_name = "first_name"
last_name = "last_name"
email = {{ column = "mail", lower = true }}
phone = "phone"
department_code = "dept"
position_code = "job"
manager_no = "boss"
status = {{ column = "state", map = {{ A = "active", L = "on_leave", T = "left" }} }}
hired_on = {{ column = "hired", null_if = [1900-01-01] }}
extra.salary = "salary"
"""  # noqa: S608 - our own words

_TABLES = {
    "bench_department": "code {text}(20) NOT NULL PRIMARY KEY, name {text}(100), parent {text}(20)",
    "bench_position": "code {text}(20) NOT NULL PRIMARY KEY, title {text}(100)",
    "bench_employee": (
        "emp_no {text}(20) NOT NULL PRIMARY KEY, full_name {text}(100), first_name {text}(50), last_name {text}(50), "
        "mail {text}(120), phone {text}(30), dept {text}(20), job {text}(20), boss {text}(20), state {text}(1), "
        "hired {date}, salary {decimal}"
    ),
}
_FIRST_NAMES = (
    "Aisha", "Amélie", "Anneke", "Björn", "Carlos", "Chidi", "Dana", "Elif", "Fatima", "Giulia", "Hana", "Ines",
    "Jürgen", "Kofi", "Łukasz", "Mara", "Noor", "Oleksii", "Priya", "Quentin", "Rosa", "Søren", "Tomás", "Usha",
    "Vera", "Wanda", "ليلى", "محمد", "伟", "芳", "さくら",
)  # fmt: skip
_LAST_NAMES = (
    "Abara", "Adeyemi", "Bakker", "Castaño", "Díaz", "Eriksen", "Fujimoto", "García", "Haddad", "Ivanova", "Jansen",
    "Kowalski", "Lindqvist", "Müller", "Nguyễn", "O'Brien", "Petrov", "Quispe", "Rossi", "Şahin", "Tanaka", "Urbina",
    "Villanueva", "Weiß", "Xu", "Yıldız", "Zimmermann", "الحداد", "王", "李", "佐藤",
)  # fmt: skip
_NO_DATE = dt.date(1900, 1, 1)
# So many people have a status that the mapping does not know: of those who lead nobody, as others would miss a rejected
# manager.
_ODD_EVERY = 25_000
# Co-prime to every number of rows that it does not divide: places people in the tree regardless of their number.
_SHUFFLE = 15_485_863


@dataclass(frozen=True, kw_only=True)
class Source:
    """A filled source.

    Attributes:
        title: what it is, for the output.
        reader: how hrsync reads it.
        url: as hrsync is given it.
        odbc: connection string for anything that speaks ODBC.
    """

    title: str
    reader: str
    url: str
    odbc: str
    rows: int
    _execute: Callable[[str], int]
    _concatenation: str

    def change(self, share: str, mark: str) -> int:
        """Give everybody (`all`) or one in a hundred (`1 %`) another phone number; how many."""
        where = "" if share == "all" else " WHERE emp_no LIKE '%07'"
        phone = f"'{mark} ' {self._concatenation} emp_no"
        return self._execute(f"UPDATE bench_employee SET phone = {phone}{where}")  # noqa: S608 - our own words


@contextlib.contextmanager
def open_source(rows: int, mssql_url: str | None, folder: Path) -> Iterator[Source]:
    """A source of so many employees; it is gone when the block ends.

    Args:
        mssql_url: a SQL Server on which databases may be made; None: an SQLite file in `folder`.
    """
    with _mssql_source(rows, mssql_url) if mssql_url else _sqlite_source(rows, folder) as source:
        yield source


@contextlib.contextmanager
def _mssql_source(rows: int, server: str) -> Iterator[Source]:
    url = create_mssql_database(server)
    try:
        parts = parse_url("SQL Server", "TEST_MSSQL_URL", url)
        driver = str(parts.query.get("driver", ""))
        with connect_mssql(url) as connection:
            for table, columns in _TABLES.items():
                types = columns.format(text="NVARCHAR", date="DATE", decimal="DECIMAL(12, 2)")
                connection.execute(f"CREATE TABLE {table} ({types})")
            # FreeTDS breaks the process with `fast_executemany`.
            insert = _insert_literals if "freetds" in driver.lower() else _insert_arrays
            connection.autocommit = False
            for table, batch in _batches(rows):
                insert(connection, table, batch)
                connection.commit()

        def execute(statement: str) -> int:
            with connect_mssql(url) as connection:
                return int(connection.execute(statement).rowcount)

        yield Source(
            title=f"a T-SQL server by {driver}",
            reader="ODBC",
            url=url,
            odbc=_odbc_string(parts),
            rows=rows,
            _execute=execute,
            _concatenation="+",
        )
    finally:
        drop_mssql_database(url)


def _odbc_string(parts: URL) -> str:
    sync = parts.set(drivername="mssql+pyodbc")
    arguments, _ = sync.get_dialect()().create_connect_args(sync)
    return str(arguments[0])


def _insert_arrays(connection: Any, table: str, rows: Sequence[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.fast_executemany = True
        marks = ", ".join("?" * len(rows[0]))
        cursor.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own words


def _insert_literals(connection: Any, table: str, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        chunk = rows[start : start + _ROWS_PER_STATEMENT]
        values = ", ".join(f"({', '.join(map(_literal, row))})" for row in chunk)
        connection.execute(f"INSERT INTO {table} VALUES {values}")  # noqa: S608 - our own values


def _literal(value: object) -> str:
    return "NULL" if value is None else "N'" + str(value).replace("'", "''") + "'"


@contextlib.contextmanager
def _sqlite_source(rows: int, folder: Path) -> Iterator[Source]:
    path = folder / f"hris_{rows}.db"
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for table, columns in _TABLES.items():
                types = columns.format(text="VARCHAR", date="DATE", decimal="DECIMAL(12, 2)")
                connection.execute(f"CREATE TABLE {table} ({types})")
            for table, batch in _batches(rows):
                marks = ", ".join("?" * len(batch[0]))
                values = [tuple(str(value) if isinstance(value, dt.date) else value for value in row) for row in batch]
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608 - our own words
            connection.commit()

        def execute(statement: str) -> int:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                return connection.execute(statement).rowcount

        yield Source(
            title="an SQLite file by libsqliteodbc",
            reader="aiosqlite",
            url=f"sqlite+aiosqlite:///{path}",
            odbc=f"Driver=SQLite3;Database={path}",
            rows=rows,
            _execute=execute,
            _concatenation="||",
        )
    finally:
        path.unlink(missing_ok=True)


# --- rows -----------------------------------------------------------------------------------------------------------


def _batches(count: int) -> Iterator[tuple[str, list[Row]]]:
    yield (
        "bench_department",
        [(f"D{n:04d}", f"Department {n}", f"D{(n - 1) // 6:04d}" if n else None) for n in range(DEPARTMENTS)],
    )
    yield "bench_position", [(f"P{n:03d}", f"Position {n}") for n in range(POSITIONS)]
    people = employees(count)
    while batch := list(itertools.islice(people, _BATCH)):
        yield "bench_employee", batch


def employees(count: int) -> Iterator[Row]:
    """The rows of `bench_employee`, by number: one tree of managers, with the blemishes that such tables have."""
    back = pow(_SHUFFLE, -1, count) if count > 1 else 0
    for number in range(count):
        place = number * _SHUFFLE % count  # in the tree, from the top
        boss = (place - 1) // REPORTS * back % count
        first, last = _FIRST_NAMES[number % len(_FIRST_NAMES)], _LAST_NAMES[number // 7 % len(_LAST_NAMES)]
        mail = f"User{number}@Example.com" if number % 53 == 0 else f"user{number}@example.com"
        is_odd = place % _ODD_EVERY == 1 and place > count // 2
        yield (
            f"E{number:07d}",
            f"{first} {last}" + "  " * (number % 97 == 0),
            first,
            last + " " * (number % 41 == 0),
            None if number % 501 == 0 else mail,
            None if number % 11 == 0 else f"+49 30 {number:07d}",
            f"D{number % DEPARTMENTS:04d}" + " " * (number % 89 == 0),
            f"P{number * 7 % POSITIONS:03d}",
            f"E{boss:07d}" if place else None,
            "X" if is_odd else "T" if number % 200 == 0 else "L" if number % 37 == 0 else "A",
            _NO_DATE if number % 999 == 0 else dt.date(1990 + number % 36, 1 + number % 12, 1 + number % 28),
            f"{30_000 + number % 60_000}.{number % 100:02d}",
        )


def count_rejected(count: int) -> int:
    """How many of so many employees no replication can take."""
    return sum(place > count // 2 for place in range(1, count, _ODD_EVERY))
