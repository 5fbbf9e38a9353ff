"""Reads the HRIS by the queries of the mapping, batch by batch, with a server-side cursor."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncResult

from backend.db.database import Database
from backend.domain.mapping import EntityMapping, RawRow
from backend.errors import PermanentError, TransientError

BATCH_ROWS = 2000
_ADVICE = " -- mend `query`: its tables and columns must exist, and the login of HRIS_URL must be allowed to read them"


class QueriedRows:
    """The open result of a query."""

    def __init__(self, result: AsyncResult[tuple[object, ...]], batch_rows: int) -> None:
        self._result = result
        self._batch_rows = batch_rows
        self.columns: Sequence[str] = tuple(result.keys())

    async def batches(self) -> AsyncGenerator[Sequence[RawRow], None]:
        """The rows, in the order of the query."""
        async for batch in self._result.partitions(self._batch_rows):
            yield batch


class DatabaseHrisSource:
    """The HRIS as a database.

    Args:
        database: opened read-only.
        batch_rows: rows in memory at a time.
    """

    def __init__(self, database: Database, batch_rows: int = BATCH_ROWS) -> None:
        self._database = database
        self._batch_rows = batch_rows

    @contextlib.asynccontextmanager
    async def open(self, mapping: EntityMapping) -> AsyncIterator[QueriedRows]:
        """Run the entity's query.

        Raises:
            TransientError: the HRIS is away, or went away in mid-stream.
            PermanentError: it refuses the query (a table or column that does not exist, no permission).
        """
        # A colon in the query is the query's own, not a parameter.
        statement = text(mapping.query.replace(":", "\\:"))
        try:
            async with self._database.session() as session:
                result = await session.stream(statement, execution_options={"yield_per": self._batch_rows})
                try:
                    yield QueriedRows(result, self._batch_rows)
                finally:
                    await result.close()
        except TransientError as error:
            raise TransientError(f"{mapping.place}: reading the {mapping.entity} was cut off: {error}") from error
        except PermanentError as error:
            if error.__cause__ is None:  # the reader's own word, not the database's
                raise
            known = " -- " in str(error)
            raise PermanentError(
                f"{mapping.place}: the query of the {mapping.entity} was refused: {error}" + ("" if known else _ADVICE)
            ) from error
