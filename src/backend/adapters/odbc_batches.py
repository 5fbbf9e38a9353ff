"""Reads a query through an ODBC driver as Arrow batches: twice as fast as row by row, but not everything.

What a driver hands over here differently from `pyodbc` (or cuts without a word: FreeTDS does so with long texts) is
none of its business; `describe` tells such queries, which are then read row by row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import arrow_odbc
import pyarrow as pa
from sqlalchemy.exc import DBAPIError

from backend.domain.column_rules import RawBatch

DESCRIBE = "EXEC sys.sp_describe_first_result_set @tsql = :query"

_EXACT_TYPES = frozenset(
    {
        *("char", "varchar", "nchar", "nvarchar", "uniqueidentifier", "binary", "varbinary", "timestamp", "rowversion"),
        *("date", "datetime", "datetime2", "smalldatetime", "time", "decimal", "numeric", "money", "smallmoney"),
        *("float", "real", "bit", "tinyint", "smallint", "int", "bigint"),
    }
)
_UNLIMITED = -1
_CHECK = "SELECT ROWCOUNT_BIG() AS row_count, @@ERROR AS error_number"
_BROKEN_OFF = "the server broke the result off"
# The driver's buffer holds as many rows of the greatest possible width as go into it.
_FETCH_BYTES = 8 * 1024**2
_ODBC_ERROR = re.compile(r"calling '(\w+)':\s*State: (\w{5}), Native error: (-?\d+), Message: (.*)", re.DOTALL)


class OdbcCallError(Exception):
    """An ODBC call that failed, told as `pyodbc` does: the SQLSTATE (if there is one), then the text."""


def is_exact(columns: Collection[tuple[str | None, int]]) -> bool:
    """Whether every column of a result arrives as through `pyodbc`.

    Texts and bytes without a limit do not (a driver cuts them), nor do types that ODBC hands over in words of its own
    (datetimeoffset, sql_variant) or as bytes (hierarchyid, geography).

    Args:
        columns: `system_type_name` and `max_length` of each, as `DESCRIBE` tells them; none: it could not tell.
    """
    return bool(columns) and all(
        (kind or "").partition("(")[0] in _EXACT_TYPES and max_length != _UNLIMITED for kind, max_length in columns
    )


class OdbcReader:
    """A query's rows in Arrow batches, over a connection of its own. Its calls block.

    Args:
        connection_string: for the ODBC driver manager; ASCII.
        query: the statement; ASCII (it goes to the driver in the encoding of the process).
        batch_rows: so many rows come at once at most, and half as many at least unless they are large.
        login_timeout_seconds: longest wait for a connection.
        query_timeout_seconds: longest wait for the first row; None: no limit.

    Raises (every call):
        DBAPIError: the driver's error, as SQLAlchemy would raise it.
        ConnectionError: fewer rows arrived than the server sent.
    """

    def __init__(
        self,
        connection_string: str,
        query: str,
        *,
        batch_rows: int,
        login_timeout_seconds: float,
        query_timeout_seconds: float | None,
    ) -> None:
        self._connection_string = connection_string
        self._query = query
        self._batch_rows = batch_rows
        self._login_timeout_seconds = max(1, round(login_timeout_seconds))
        self._query_timeout_seconds = None if query_timeout_seconds is None else max(1, round(query_timeout_seconds))
        self._connection: arrow_odbc.Connection | None = None
        self._reader: arrow_odbc.BatchReader | None = None
        self._rows_read = 0

    def open(self) -> Sequence[str]:
        """Connect and execute."""
        error: arrow_odbc.Error
        try:
            self._connection = arrow_odbc.connect(
                self._connection_string, login_timeout_sec=self._login_timeout_seconds
            )
            self._reader = self._connection.read_arrow_batches(
                self._query,
                batch_size=max(1, self._batch_rows // 2),
                max_bytes_per_batch=_FETCH_BYTES,
                query_timeout_sec=self._query_timeout_seconds,
                map_schema=_to_microseconds,
                # UTF-16 does not depend on the locale, and half a character becomes U+FFFD instead of an error.
                payload_text_encoding=arrow_odbc.TextEncoding.UTF16,
                fetch_concurrently=False,
            )
        except arrow_odbc.Error as caught:
            error = caught.with_traceback(None)
        else:
            return self._reader.schema.names  # type: ignore[no-any-return]
        raise _as_driver_error(error)

    def read(self) -> RawBatch | None:
        """The next rows; small fetches are put together."""
        error: arrow_odbc.Error
        try:
            return _join(self._fetch())
        except arrow_odbc.Error as caught:
            error = caught.with_traceback(None)
        raise _as_driver_error(error)

    def _fetch(self) -> Iterable[pa.RecordBatch]:
        rows = size = 0
        while self._reader is not None and rows < self._batch_rows / 2 and size < _FETCH_BYTES:
            batch = next(self._reader, None)
            if batch is None:
                self._check_end()
                self.close()
                return
            self._rows_read += batch.num_rows
            rows += batch.num_rows
            size += batch.nbytes
            yield batch

    def _check_end(self) -> None:
        # FreeTDS takes an error in mid-stream for the end of the result when it fetches many rows at once.
        assert self._connection is not None
        self._reader = None  # the connection serves one statement at a time
        (batch,) = self._connection.read_arrow_batches(_CHECK, batch_size=1)
        ((rows, number),) = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        if number != 0:
            raise DBAPIError("", None, OdbcCallError("HY000", f"{_BROKEN_OFF} with an error ({number}) (SQLFetch)"))
        if rows != self._rows_read:
            raise ConnectionError(f"{_BROKEN_OFF}: {self._rows_read} of {rows} rows arrived")

    def close(self) -> None:
        """End the statement and the connection."""
        self._reader = None
        self._connection = None


def _to_microseconds(schema: pa.Schema) -> pa.Schema:
    # Nanoseconds since 1970 end in 2262; HR systems write 9999-12-31 for "never".
    wanted = {pa.timestamp("ns"): pa.timestamp("us")}
    return pa.schema([field.with_type(wanted.get(field.type, field.type)) for field in schema])


def _join(batches: Iterable[pa.RecordBatch]) -> RawBatch | None:
    parts = list(batches)
    if not parts:
        return None
    columns = [_concat(arrays) for arrays in zip(*(part.columns for part in parts), strict=True)]
    return RawBatch(columns=columns, row_count=sum(part.num_rows for part in parts))


def _concat(arrays: Sequence[pa.Array]) -> pa.Array:
    array = pa.concat_arrays(arrays)
    # Python knows no nanoseconds. (Asked for microseconds at once, the buffer of a time(7) would be too small.)
    return array.cast(pa.time64("us"), safe=False) if array.type == pa.time64("ns") else array


def _as_driver_error(error: arrow_odbc.Error) -> DBAPIError:
    told = str(error)
    match = _ODBC_ERROR.search(told)
    if match is None:
        # What follows may be a value, that is personal data.
        cause = OdbcCallError(re.split(r"[.:\n]", told.removeprefix("External error: "))[0])
    else:
        function, state, number, message = match.groups()
        cause = OdbcCallError(state, f"[{state}] {message} ({number}) ({function})")
    return DBAPIError("", None, cause)
