"""Column types and SQL expressions that mean the same on MariaDB and SQLite."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, DateTime, String, Text, TypeDecorator, literal_column
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import BigInteger, Integer, TypeEngine


class UTCDateTime(TypeDecorator[dt.datetime]):
    """An instant: aware UTC in Python, naive UTC with microseconds in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"An instant must be aware (UTC), got the naive {value!r}.")
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            value = dt.datetime.fromisoformat(value)
        return value.replace(tzinfo=dt.UTC)  # type: ignore[no-any-return]


# A 64-bit key that SQLite can still number by itself (only INTEGER PRIMARY KEY does).
BigKey = BigInteger().with_variant(Integer(), "sqlite")


# An identifier of ASCII letters: compared byte by byte, one byte a character also in an index.
def ascii_key(length: int) -> TypeEngine[str]:
    """An ASCII identifier of at most `length` characters, compared byte by byte."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


# A business key in any script, compared exactly: two keys that differ in case or accents are two keys.
def exact_text(length: int) -> TypeEngine[str]:
    """A text of at most `length` characters that compares exactly (case, accents and trailing blanks count)."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
    )


LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
Json = JSON()


class db_now(FunctionElement[dt.datetime]):  # noqa: N801 - reads as the SQL function that it is
    """The database's clock in UTC, plus `offset_seconds`: one clock for all hosts."""

    inherit_cache = True
    name = "db_now"
    type = UTCDateTime()

    def __init__(self, offset_seconds: float = 0) -> None:
        # As a clause, so that the offset is part of the key under which the compiled statement is cached.
        super().__init__(literal_column(str(round(offset_seconds * 1_000_000))))


def _offset_microseconds(element: db_now) -> int:
    (offset,) = element.clauses
    return int(offset.name)


@compiles(db_now)
def _now_default(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    offset = _offset_microseconds(element)
    return f"(UTC_TIMESTAMP(6) + INTERVAL {offset} MICROSECOND)" if offset else "UTC_TIMESTAMP(6)"


@compiles(db_now, "sqlite")
def _now_sqlite(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    # The same text that SQLAlchemy writes for a datetime, so that both compare as strings.
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', '{_offset_microseconds(element) / 1e6:+.6f} seconds') || '000')"
