"""Writes Arrow batches into a table as fast as the database takes them.

MariaDB reads them as a file (LOAD DATA LOCAL INFILE) where it is allowed to, at several times the speed of statements
with values. The file is in memory and has no name but for this process; a connection gives a file away only while it
is inside `load_rows`, whatever the server asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
from sqlalchemy.ext.asyncio import AsyncConnection

# Below this many rows a statement with values is as fast.
_WORTH_A_FILE = 200
# The driver puts the values of a statement together on the loop.
_ROWS_PER_STATEMENT = 2000


class BulkLoader:
    """Writes into one connection's tables.

    Args:
        connection: inside a transaction of its own.
        may_load_files: what `find_file_loading` said.
    """

    def __init__(self, connection: AsyncConnection, *, may_load_files: bool) -> None:
        self._connection = connection
        self._may_load_files = may_load_files
        self._mark = "%s" if connection.dialect.name in ("mysql", "mariadb") else "?"

    async def insert(self, table: str, rows: pa.RecordBatch, constants: Mapping[str, object]) -> None:
        """Insert rows that are not there yet.

        Args:
            rows: columns by the table's names: texts (an empty one is NULL), integers, booleans, fixed-size binaries.
            constants: further columns with one value for all rows.
        """
        if rows.num_rows >= _WORTH_A_FILE and self._may_load_files:
            await self._load(table, rows, constants)
        elif rows.num_rows:
            statement = self.insert_statement(table, rows, constants)
            await self._connection.exec_driver_sql(statement, _tuples(rows, constants))

    async def insert_new(self, table: str, rows: pa.RecordBatch, constants: Mapping[str, object]) -> int:
        """Insert rows but those whose key is there already; how many were inserted.

        A value that does not fit its column would be cut without a word: the caller sees to it that all fit.

        Args:
            rows, constants: as of `insert`, but an empty text stays one.
        """
        if not rows.num_rows:
            return 0
        if rows.num_rows >= _WORTH_A_FILE and self._may_load_files:
            return await self._load_new(table, rows, constants)
        word = "INSERT OR IGNORE" if self._connection.dialect.name == "sqlite" else "INSERT IGNORE"
        statement = self.insert_statement(table, rows, constants).replace("INSERT", word, 1)
        inserted = 0
        for start in range(0, rows.num_rows, _ROWS_PER_STATEMENT):
            part = rows.slice(start, _ROWS_PER_STATEMENT)
            inserted += (await self._connection.exec_driver_sql(statement, _tuples(part, constants))).rowcount
        return inserted

    async def upsert(
        self, table: str, rows: pa.RecordBatch, constants: Mapping[str, object], *, on_conflict: str
    ) -> None:
        """Insert rows, or do what `on_conflict` says where their key is there.

        Args:
            on_conflict: the end of the statement in the database's dialect.
        """
        if rows.num_rows < _WORTH_A_FILE or not self._may_load_files:
            if rows.num_rows:
                statement = f"{self.insert_statement(table, rows, constants)} {on_conflict}"
                await self._connection.exec_driver_sql(statement, _tuples(rows, constants))
            return
        names = ", ".join((*rows.schema.names, *constants))
        stage = f"hrsync_stage_{table}"
        run = self._connection.exec_driver_sql
        # Temporary tables come and go without ending the transaction.
        await run(f"CREATE TEMPORARY TABLE {stage} AS SELECT {names} FROM {table} WHERE FALSE")  # noqa: S608
        await self._load(stage, rows, constants)
        await run(f"INSERT INTO {table} ({names}) SELECT {names} FROM {stage} {on_conflict}")  # noqa: S608
        await run(f"DROP TEMPORARY TABLE {stage}")

    def insert_statement(self, table: str, rows: pa.RecordBatch, constants: Mapping[str, object]) -> str:
        """The words and blanks are those by which aiomysql's executemany makes one statement of many rows."""
        names = (*rows.schema.names, *constants)
        return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join([self._mark] * len(names))})"  # noqa: S608

    async def _load_new(self, table: str, rows: pa.RecordBatch, constants: Mapping[str, object]) -> int:
        fixed = ", ".join(f"{name} = {_literal(value)}" for name, value in constants.items())
        file = await asyncio.to_thread(_write_file, rows, null="NULL")
        try:
            async with self._giving_files():
                result = await self._connection.exec_driver_sql(
                    f"LOAD DATA LOCAL INFILE '/proc/self/fd/{file}' IGNORE INTO TABLE {table} CHARACTER SET utf8mb4 "
                    "FIELDS TERMINATED BY ',' ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' "
                    f"({', '.join(rows.schema.names)}) SET {fixed}"
                )
        finally:
            os.close(file)
        return int(result.rowcount)

    async def _load(self, table: str, rows: pa.RecordBatch, constants: Mapping[str, object]) -> None:
        targets, assignments = [], []
        for number, field in enumerate(rows.schema):
            variable = f"@v{number}"
            targets.append(variable)
            if pa.types.is_fixed_size_binary(field.type):
                assignments.append(f"{field.name} = UNHEX({variable})")
            else:
                # By its length: to most collations a blank, and what cannot be seen, is nothing.
                assignments.append(f"{field.name} = IF(LENGTH({variable}), {variable}, NULL)")
        assignments += [f"{name} = {_literal(value)}" for name, value in constants.items()]
        file = await asyncio.to_thread(_write_file, rows)
        try:
            async with self._giving_files():
                await self._connection.exec_driver_sql(
                    f"LOAD DATA LOCAL INFILE '/proc/self/fd/{file}' INTO TABLE {table} CHARACTER SET utf8mb4 "
                    "FIELDS TERMINATED BY ',' ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' "
                    f"({', '.join(targets)}) SET {', '.join(assignments)}"
                )
        finally:
            os.close(file)

    @contextlib.asynccontextmanager
    async def _giving_files(self) -> AsyncIterator[None]:
        raw = await self._connection.get_raw_connection()
        driver: Any = raw.driver_connection
        driver._local_infile = True
        try:
            yield
        finally:
            driver._local_infile = False


async def find_file_loading(connection: AsyncConnection) -> bool:
    """Whether the database reads files that we send (MariaDB with local_infile, which is its default)."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        return False
    return bool((await connection.exec_driver_sql("SELECT @@local_infile")).scalar())


def _write_file(rows: pa.RecordBatch, *, null: str = "") -> int:
    """The rows as CSV in a file without a name; its descriptor, which the caller closes."""
    columns = [_plain(column) for column in rows.columns]
    file = os.memfd_create("hrsync-rows", os.MFD_CLOEXEC)
    sink = pa.BufferOutputStream()
    # Everything is quoted: without quotes the word NULL would be none.
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid", null_string=null)
    pyarrow.csv.write_csv(pa.RecordBatch.from_arrays(columns, names=rows.schema.names), sink, options)
    content = memoryview(sink.getvalue())
    while content:
        content = content[os.write(file, content) :]
    return file


def _plain(column: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        data = bytes(column.buffers()[1])[column.offset * width : (column.offset + len(column)) * width]
        offsets = pa.array(range(0, 2 * width * len(column) + 1, 2 * width), pa.int32())
        return pa.StringArray.from_buffers(len(column), offsets.buffers()[1], pa.py_buffer(data.hex().encode()))
    return column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column


def _tuples(rows: pa.RecordBatch, constants: Mapping[str, object]) -> list[tuple[Any, ...]]:
    columns: Sequence[list[Any]] = [column.to_pylist() for column in rows.columns]
    more = tuple(constants.values())
    return [(*values, *more) for values in zip(*columns, strict=True)]


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(int(value))
    text = str(value)
    # Instants, ids and codes of ours only: nothing that would have to be escaped.
    assert text.isascii(), text
    assert "'" not in text and "\\" not in text and "%" not in text, text  # noqa: PT018
    return f"'{text}'"
