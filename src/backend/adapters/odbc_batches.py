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

from backend.domain.row_batches import RawBatch

DESCRIBE = "EXEC sys.sp_describe_first_result_set @tsql = :query"

_EXACT_TYPES = frozenset(
    {
        *("char", "varchar", "nchar", "nvarchar", "uniqueidentifier", "binary", "varbinary", "timestamp", "rowversion"),
        *("date", "datetime", "datetime2", "smalldatetime", "time", "decimal", "numeric", "money", "smallmoney"),
        *("float", "real", "bit", "tinyint", "smallint", "int", "bigint"),
    }
)
_UNLIMITED = -1
# The driver's buffer holds as many rows of the greatest possible width as go into it, at most so many.
_FETCH_BYTES = 8 * 1024**2
_FETCH_ROWS = 20_000
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
        batch_rows: about so many rows come at once.
        login_timeout_seconds: longest wait for a connection.
        query_timeout_seconds: longest wait for the first row; None: no limit.

    Raises (every call):
        DBAPIError: the driver's error, as SQLAlchemy would raise it.
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
        self._reader: arrow_odbc.BatchReader | None = None

    def open(self) -> Sequence[str]:
        """Connect and execute."""
        error: arrow_odbc.Error
        try:
            self._reader = arrow_odbc.read_arrow_batches_from_odbc(
                self._query,
                self._connection_string,
                batch_size=min(self._batch_rows, _FETCH_ROWS),
                max_bytes_per_batch=_FETCH_BYTES,
                login_timeout_sec=self._login_timeout_seconds,
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
        """The next rows: fetches are put together until there are about as many as asked for, or much data."""
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
                self.close()
                return
            rows += batch.num_rows
            size += batch.nbytes
            yield batch

    def close(self) -> None:
        """End the statement and the connection."""
        self._reader = None


def _to_microseconds(schema: pa.Schema) -> pa.Schema:
    # Nanoseconds since 1970 end in 2262; HR systems write 9999-12-31 for "never".
    types = {pa.timestamp("ns"): pa.timestamp("us"), pa.time64("ns"): pa.time64("us")}
    return pa.schema([field.with_type(types.get(field.type, field.type)) for field in schema])


def _join(batches: Iterable[pa.RecordBatch]) -> RawBatch | None:
    parts = list(batches)
    if not parts:
        return None
    columns = [pa.concat_arrays(arrays) for arrays in zip(*(part.columns for part in parts), strict=True)]
    return RawBatch(columns=columns, row_count=sum(part.num_rows for part in parts))


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
