"""Reads the HRIS, and the databases beside it, by the queries of the mapping: batch by batch, never all at once."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncResult

from backend.adapters.native_stream import BlockingReader, open_stream
from backend.db.database import Database
from backend.domain.mapping import SourceQuery
from backend.errors import ConfigurationError, PermanentError, TransientError

if TYPE_CHECKING:
    from backend.domain.column_rules import RawBatch
    from backend.ports import HrisSource, SourceRows

BATCH_ROWS = 1000
ARROW_BATCH_ROWS = 20_000
_ADVICE = " -- mend `query`: its tables and columns must exist, and the login of {} must be allowed to read them"


class HrisSources:
    """The HRIS and the sources beside it.

    Args:
        hris: answers queries that name no source.
        others: what opens each other source, by its name.
    """

    def __init__(self, hris: HrisSource, others: Mapping[str, Callable[[], HrisSource]]) -> None:
        self._hris = hris
        self._others = others

    def open(self, query: SourceQuery) -> contextlib.AbstractAsyncContextManager[SourceRows]:
        """Ask the source that the query names.

        Raises:
            ConfigurationError: there is no such source, or its URL is missing or wrong.
            and what that source raises.
        """
        if query.source is None:
            return self._hris.open(query)
        if query.source not in self._others:
            raise ConfigurationError(
                f"{query.place}: there is no source {query.source!r} for the {query.subject}; the mapping defines "
                f"{', '.join(sorted(self._others)) or 'none'}."
            )
        return self._others[query.source]().open(query)


class DatabaseHrisSource:
    """A database.

    Args:
        database: opened read-only.
        batch_rows: the rows of one batch at most; None: as many as suits the driver.
    """

    def __init__(self, database: Database, batch_rows: int | None = None) -> None:
        self._database = database
        self._batch_rows = batch_rows or BATCH_ROWS
        self._arrow_batch_rows = batch_rows or ARROW_BATCH_ROWS

    @contextlib.asynccontextmanager
    async def open(self, query: SourceQuery) -> AsyncIterator[SourceRows]:
        """Run the query.

        Raises:
            TransientError: the source is away, or went away in mid-stream.
            PermanentError: it refuses the query (a table or column that does not exist, no permission).
        """
        async with contextlib.AsyncExitStack() as stack:
            async with self._telling(query):
                reader = await self._find_reader(query)
                rows: SourceRows
                if reader is None:
                    session = await stack.enter_async_context(self._database.session())
                    statement = _statement(query)
                    options = {"yield_per": self._batch_rows}
                    result = await session.stream(statement, dict(query.parameters), execution_options=options)
                    stack.push_async_callback(result.close)
                    rows = _ResultRows(result, self._batch_rows)
                else:
                    # A driver may keep its thread long after its own limit, until the server confirms the cancellation.
                    limit = self._database.statement_timeout_seconds
                    limit = None if limit is None else limit + self._database.timeout_seconds
                    rows = await stack.enter_async_context(open_stream(reader, timeout_seconds=limit))
            yield _ToldRows(rows, self._telling, query)

    async def _find_reader(self, query: SourceQuery) -> BlockingReader | None:
        """What reads the query in Arrow batches, where that gives the same values."""
        if self._database.dialect != "mssql" or query.parameters or not query.text.isascii():
            return None
        from backend.adapters.odbc_batches import DESCRIBE, OdbcReader, is_exact

        connection_string = self._database.odbc_connection_string
        if not connection_string.isascii():
            return None
        try:
            async with self._database.session() as session:
                described = await session.execute(text(DESCRIBE), {"query": query.text})
                columns = [(row.system_type_name, row.max_length) for row in described]
        except PermanentError:
            return None  # old servers cannot describe, and some queries cannot be described
        if not is_exact(columns):
            return None
        return OdbcReader(
            connection_string,
            query.text,
            batch_rows=self._arrow_batch_rows,
            login_timeout_seconds=self._database.timeout_seconds,
            query_timeout_seconds=self._database.statement_timeout_seconds,
        )

    @contextlib.asynccontextmanager
    async def _telling(self, query: SourceQuery) -> AsyncIterator[None]:
        """Errors in the block say what was read, for which place of the mapping."""
        try:
            async with self._database.translated():
                yield
        except TransientError as error:
            raise TransientError(f"{query.place}: reading the {query.subject} was cut off: {error}") from error
        except PermanentError as error:
            advice = "" if " -- " in str(error) else _ADVICE.format(self._database.setting)
            raise PermanentError(
                f"{query.place}: the query of the {query.subject} was refused: {error}{advice}"
            ) from error
        except UnicodeDecodeError as error:
            raise PermanentError(
                f"{query.place}: {self._database.name} holds a text among the {query.subject} that is no text "
                f"({error.reason}) -- find it by leaving out columns of `query`, and store it again in the source"
            ) from None


def _statement(query: SourceQuery) -> TextClause:
    """The query as SQLAlchemy takes it: a colon that begins no parameter is the query's own."""
    names = "|".join(map(re.escape, query.parameters)) or r"(?!)"
    colons = re.compile(rf"(?<![:\w\\])(:(?:{names}))\b(?!:)|:")
    return text(colons.sub(lambda match: match[1] or "\\:", query.text))


class _ResultRows:
    """The open result of a query that the database's own driver reads."""

    def __init__(self, result: AsyncResult[tuple[object, ...]], batch_rows: int) -> None:
        self.columns: Sequence[str] = tuple(result.keys())
        self._result = result
        self._batch_rows = batch_rows

    async def batches(self) -> AsyncGenerator[RawBatch, None]:
        from backend.domain.column_rules import RawBatch

        async for rows in self._result.partitions(self._batch_rows):
            yield RawBatch(columns=[list(column) for column in zip(*rows, strict=True)], row_count=len(rows))
            await asyncio.sleep(0)  # what has arrived already is read without ever giving way to others


class _ToldRows:
    """Rows whose errors say what was read, for which place of the mapping."""

    def __init__(
        self,
        rows: SourceRows,
        telling: Callable[[SourceQuery], contextlib.AbstractAsyncContextManager[None]],
        query: SourceQuery,
    ) -> None:
        self.columns: Sequence[str] = rows.columns
        self._rows = rows
        self._telling = telling
        self._query = query

    async def batches(self) -> AsyncGenerator[RawBatch, None]:
        async with self._telling(self._query), contextlib.aclosing(self._rows.batches()) as batches:
            async for batch in batches:
                yield batch
