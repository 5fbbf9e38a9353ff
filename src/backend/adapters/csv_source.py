"""Reads a CSV file as a source beside the HRIS: UTF-8, a header, commas or semicolons; every value is text."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from backend.adapters.native_stream import NativeStream, open_stream
from backend.domain.column_rules import RawBatch
from backend.domain.mapping import SourceQuery
from backend.errors import ConfigurationError, PermanentError, TransientError

if TYPE_CHECKING:
    from backend.ports import SourceRows

BATCH_ROWS = 10_000


class CsvHrisSource:
    """A CSV file.

    Args:
        name: of the source, for messages.
        file: its path.
        batch_rows: rows in memory at a time.
    """

    def __init__(self, name: str, file: Path, batch_rows: int = BATCH_ROWS) -> None:
        self._name = name
        self._file = file
        self._batch_rows = batch_rows

    @contextlib.asynccontextmanager
    async def open(self, query: SourceQuery) -> AsyncIterator[SourceRows]:
        """Read the file; the text of the query does not matter.

        Raises:
            ConfigurationError: the file is missing, or not permitted.
            TransientError: it cannot be read for now (a network drive that is away).
            PermanentError: a line of it is not as it should be.
        """
        async with contextlib.AsyncExitStack() as stack:
            with self._telling(query):
                stream = await stack.enter_async_context(open_stream(_CsvReader(self._file, self._batch_rows)))
            yield _CsvRows(stream, self, query)

    @contextlib.contextmanager
    def _telling(self, query: SourceQuery) -> Iterator[None]:
        subject = f"{query.place}: reading the {query.subject} from the source {self._name!r}"
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise ConfigurationError(
                f"{subject}: the file {self._file} cannot be read ({error.strerror}) -- put it there, let this process "
                f"read it, or mend `file` of [sources.{self._name}]"
            ) from None
        except OSError as error:
            raise TransientError(
                f"{subject}: the file {self._file} cannot be read for now: {error.strerror}"
            ) from error
        except _LineError as error:
            raise PermanentError(f"{subject}: {self._file}, line {error.line}: {error}") from None


class _CsvRows:
    """The rows of the open file."""

    def __init__(self, stream: NativeStream, source: CsvHrisSource, query: SourceQuery) -> None:
        self.columns: Sequence[str] = stream.columns
        self._stream = stream
        self._source = source
        self._query = query

    async def batches(self) -> AsyncGenerator[RawBatch, None]:
        """The rows, in the order of the file."""
        with self._source._telling(self._query):
            async with contextlib.aclosing(self._stream.batches()) as batches:
                async for batch in batches:
                    yield batch


class _LineError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _CsvReader:
    """Reads the file by calls that block."""

    def __init__(self, file: Path, batch_rows: int) -> None:
        self._path = file
        self._batch_rows = batch_rows
        self._file: BufferedReader | None = None
        self._rows: Iterator[list[str]] = iter(())

    def open(self) -> Sequence[str]:
        self._file = self._path.open("rb")
        lines = _decode(self._file)
        header = next(lines, "").removeprefix("\ufeff")
        if not header.strip():
            raise _LineError(1, "there is no header -- the first line must hold the names of the columns")
        delimiter = ";" if header.count(";") > header.count(",") else ","
        self._rows = _parse(itertools.chain((header,), lines), delimiter)
        return [name.strip() for name in next(self._rows)]

    def read(self) -> RawBatch | None:
        rows = list(itertools.islice(self._rows, self._batch_rows))
        if not rows:
            self.close()
            return None
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        return RawBatch(columns=columns, row_count=len(rows))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _decode(file: BufferedReader) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise _LineError(number, "this is not UTF-8 -- save the file as CSV in UTF-8") from None


def _parse(lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width: int | None = None
    try:
        for row in reader:
            if width is None:
                width = len(row)
            elif len(row) != width and row:
                raise _LineError(
                    reader.line_num,
                    f"it has {len(row)} values, the header has {width} names -- put values with a "
                    f"{delimiter!r}, a quote or a line break in them in double quotes",
                )
            if row:
                yield row
    except csv.Error as error:
        raise _LineError(reader.line_num, f"this is no CSV: {error} -- mend it, or export the file again") from None
