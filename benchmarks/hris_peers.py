"""What the replication of HR data is measured against: its parts alone, and a bare pipeline that checks nothing.

Each runs in a process of its own, `python -m benchmarks.hris_peers MEASURE`, which `benchmarks.hris` gives its order.
Nothing of hrsync is imported, so that the memory is that of the work alone.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pymysql
import xxhash
from arrow_odbc import read_arrow_batches_from_odbc

from benchmarks.meter import Cost, Order, measured, read_order

BATCH_ROWS = 5_000
# One row of the answer for so many keys: taking apart a long text is much cheaper than fetching rows.
_KEYS_PER_GROUP = 10_000

_TARGET_COLUMNS = (
    "employee_no", "full_name", "first_name", "last_name", "email", "phone", "department_code", "position_code",
    "manager_no", "status", "hired_on", "extra",
)  # fmt: skip


def read_arrow(order: Order) -> Cost:
    """All employees as Arrow batches."""
    with measured() as cost:
        rows = sum(batch.num_rows for batch in _source_batches(order))
    _check(rows, order)
    return cost


def read_aioodbc(order: Order) -> Cost:
    """All employees as rows of aioodbc."""
    import aioodbc

    async def read() -> int:
        rows = 0
        async with (
            aioodbc.connect(dsn=order.odbc, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            await cursor.execute(order.query)
            while batch := await cursor.fetchmany(BATCH_ROWS):
                rows += len(batch)
        return rows

    with measured() as cost:
        rows = asyncio.run(read())
    _check(rows, order)
    return cost


def load(order: Order) -> Cost:
    """LOAD DATA LOCAL INFILE of all employees, written to a file before."""
    with _connect(order) as connection, tempfile.NamedTemporaryFile(suffix=".tsv") as file:
        _make_table(connection, order.table)
        for batch in _source_batches(order):
            lines = _lines(batch)
            pairs = zip(lines, _digests(lines), strict=True)
            file.writelines(b"%s\t%s\n" % (line, digest.tobytes().hex().encode()) for line, digest in pairs)
        file.flush()
        with measured() as cost, connection.cursor() as cursor:
            rows = cursor.execute(_load_statement(order.table), (file.name,))
            connection.commit()
    _check(rows, order)
    return cost


def replicate(order: Order) -> Cost:
    """The bare pipeline: both sides by key and hash, the differences by LOAD DATA, one commit."""
    table = order.table
    with _connect(order) as connection, tempfile.NamedTemporaryFile(suffix=".tsv") as file:
        _make_table(connection, table)
        with measured() as cost, connection.cursor() as cursor:
            known = _read_known(cursor, table)
            rows = changed = 0
            for batch in _source_batches(order):
                lines = _lines(batch)
                digests = _digests(lines)
                differs = known.differ(_hashes(batch.column(0).cast(pa.binary()).to_pylist()), digests)
                changed += len(differs)
                file.writelines(b"%s\t%s\n" % (lines[row], digests[row].tobytes().hex().encode()) for row in differs)
                rows += batch.num_rows
            if changed:
                file.flush()
                cursor.execute(_load_statement(table), (file.name,))
            if vanished := known.vanished():
                cursor.executemany(f"DELETE FROM {table} WHERE employee_no = %s", vanished)  # noqa: S608
            connection.commit()
        cost.note = f"{changed:,} written"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own name
            ((there,),) = cursor.fetchall()
    _check(rows, order)
    _check(there, order)
    return cost


# --- parts ----------------------------------------------------------------------------------------------------------


def _source_batches(order: Order) -> Iterator[pa.RecordBatch]:
    yield from read_arrow_batches_from_odbc(order.query, order.odbc, batch_size=BATCH_ROWS)


def _lines(batch: pa.RecordBatch) -> list[bytes]:
    """The rows as LOAD DATA reads them, without the digest."""
    columns = []
    for column in batch.columns:
        text = column.cast(pa.string())
        for character, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n")):
            if pc.any(pc.match_substring(text, character)).as_py():
                text = pc.replace_substring(text, character, escaped)
        columns.append(pc.fill_null(text, "\\N"))
    joined = pc.binary_join_element_wise(*columns, "\t")
    return joined.cast(pa.binary()).to_pylist()  # type: ignore[no-any-return]


def _hashes(keys: list[bytes]) -> npt.NDArray[np.uint64]:
    return np.fromiter(map(xxhash.xxh3_64_intdigest, keys), np.uint64, len(keys))


def _digests(lines: list[bytes]) -> npt.NDArray[np.uint64]:
    """16 bytes for each row, as two numbers."""
    return np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, lines)), np.uint64).reshape(-1, 2)


class _Known:
    """What the target has: keys (by their hashes) and digests."""

    def __init__(self, keys: list[bytes], digests: npt.NDArray[np.uint64]) -> None:
        hashes = _hashes(keys)
        order = np.argsort(hashes)
        self._hashes, self._digests, self._order, self._keys = hashes[order], digests[order], order, keys
        self._is_seen = np.zeros(len(keys), np.bool_)

    def differ(self, hashes: npt.NDArray[np.uint64], digests: npt.NDArray[np.uint64]) -> list[int]:
        """Which rows are new or different."""
        if not self._keys:
            return list(range(len(hashes)))
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        is_there = self._hashes[places] == hashes
        self._is_seen[places[is_there]] = True
        is_same = is_there & (self._digests[places] == digests).all(axis=1)
        return np.flatnonzero(~is_same).tolist()

    def vanished(self) -> list[bytes]:
        """The keys that no row had."""
        return [self._keys[place] for place in self._order[~self._is_seen]]


def _read_known(cursor: pymysql.cursors.Cursor, table: str) -> _Known:
    cursor.execute("SET SESSION group_concat_max_len = 1073741824")
    cursor.execute(
        "SELECT GROUP_CONCAT(employee_no SEPARATOR '\n'), GROUP_CONCAT(row_hash SEPARATOR '') "  # noqa: S608
        f"FROM {table} GROUP BY id DIV {_KEYS_PER_GROUP}"
    )
    groups = cursor.fetchall()
    keys = [key for text, _ in groups for key in text.encode().split(b"\n")]
    return _Known(keys, np.frombuffer(b"".join(digests for _, digests in groups), np.uint64).reshape(-1, 2))


def _make_table(connection: pymysql.Connection[Any], table: str) -> None:
    """`bare_plain` has its columns and a key, `bare_indexed` is like hr_employee."""
    columns = (
        "id BIGINT AUTO_INCREMENT PRIMARY KEY, employee_no VARCHAR(100) NOT NULL UNIQUE, full_name VARCHAR(200), "
        "first_name VARCHAR(200), last_name VARCHAR(200), email VARCHAR(254), phone VARCHAR(64), "
        "department_code VARCHAR(100), position_code VARCHAR(100), manager_no VARCHAR(100), status VARCHAR(16), "
        "hired_on DATE, extra VARCHAR(100), row_hash BINARY(16)"
    )
    made = "LIKE hr_employee" if table == "bare_indexed" else f"({columns}) CHARACTER SET utf8mb4"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} {made}")


def _load_statement(table: str) -> str:
    always = (
        ", is_active = 1, first_seen_at = UTC_TIMESTAMP(6), changed_at = UTC_TIMESTAMP(6), execution_id = 'bench'"
        if table == "bare_indexed"
        else ""
    )
    return (
        f"LOAD DATA LOCAL INFILE %s REPLACE INTO TABLE {table} CHARACTER SET utf8mb4 "
        f"({', '.join(_TARGET_COLUMNS)}, @digest) SET row_hash = UNHEX(@digest){always}"
    )


def _connect(order: Order) -> pymysql.Connection[Any]:
    target = order.target
    return pymysql.connect(
        host=target.host, port=target.port, user=target.user, password=target.password, database=target.database,
        local_infile=True, charset="utf8mb4",
    )  # fmt: skip


def _check(rows: int, order: Order) -> None:
    if rows != order.rows:
        raise SystemExit(f"{rows} rows instead of {order.rows}")


MEASURES = {"arrow": read_arrow, "aioodbc": read_aioodbc, "load": load, "replicate": replicate}

if __name__ == "__main__":
    MEASURES[sys.argv[1]](read_order()).print()
