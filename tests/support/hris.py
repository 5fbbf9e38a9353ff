"""An HRIS for tests: tables written to any source database, a mapping from text, and a run that only records."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import Column, Integer, MetaData, Table, Unicode, UnicodeText, select

from backend.adapters.hr_store import DatabaseHrStore
from backend.adapters.hris_source import DatabaseHrisSource
from backend.adapters.mapping_file import parse_hris_mapping
from backend.adapters.row_spool import open_spool
from backend.db.database import Database
from backend.db.models import (
    Base,
    Department,
    Employee,
    Holiday,
    HrChange,
    HrHold,
    Leave,
    Position,
    QuarantinedRow,
    Stream,
)
from backend.domain.employees import Entity
from backend.domain.executions import RowCounts, RunReport
from backend.domain.mapping import HrisMapping
from backend.domain.replication_plan import StreamFacts
from backend.services import plan_hris
from backend.services.replicate_hris import replicate_hris

EXECUTION_ID = "01920000-0000-7000-8000-000000000001"

MAPPING = """
[departments]
query = "SELECT code, name, parent FROM dept"
columns = { code = "code", name = "name", parent_code = "parent" }

[positions]
query = "SELECT DISTINCT job FROM emp WHERE job IS NOT NULL"
columns = { code = "job", title = "job" }

[employees]
query = "SELECT no, name, mail, dept, job, boss, state, hired, notes FROM emp ORDER BY id"
[employees.columns]
employee_no = "no"
full_name = "name"
email = { column = "mail", lower = true }
department_code = "dept"
position_code = "job"
manager_no = "boss"
status = { column = "state", map = { A = "active", L = "on_leave", T = "left" } }
hired_on = { column = "hired", null_if = [1900-01-01, 9999-12-31] }
extra.notes = "notes"
"""


class RecordedLog:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))


class RecordedRun:
    """A run that keeps what it is told; `on_checkpoint` is called with the number of the checkpoint (from 1)."""

    def __init__(
        self, execution_id: str = EXECUTION_ID, on_checkpoint: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        self.execution_id = execution_id
        self.attempt = 1
        self.log = RecordedLog()
        self.progresses: list[tuple[int, int | None, str | None]] = []
        self.counts: list[RowCounts] = []
        self._on_checkpoint = on_checkpoint
        self._checkpoints = 0

    @property
    def is_writing(self) -> bool:
        """Whether the rows have been read, and are being written."""
        return bool(self.progresses) and (self.progresses[-1][2] or "").startswith("writing")

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        self.progresses.append((current, total, message))

    def count(self, counts: RowCounts) -> None:
        self.counts.append(counts)

    async def checkpoint(self) -> None:
        self._checkpoints += 1
        if self._on_checkpoint is not None:
            await self._on_checkpoint(self._checkpoints)
        await asyncio.sleep(0)


class Hris:
    """A source database with the tables `dept` and `emp` of `MAPPING`, which a test fills as it likes."""

    def __init__(self, url: str) -> None:
        self.writer = Database("HRIS", "HRIS_URL", url)
        self.reader = Database("HRIS", "HRIS_URL", url, read_only=True)
        self._metadata = MetaData()
        options = {"mysql_charset": "utf8mb4"}
        self.dept = Table(
            "dept",
            self._metadata,
            Column("id", Integer, primary_key=True),
            *(Column(name, Unicode(300)) for name in ("code", "name", "parent")),
            **options,
        )
        self.emp = Table(
            "emp",
            self._metadata,
            Column("id", Integer, primary_key=True),
            Column("name", UnicodeText),
            *(Column(name, Unicode(300)) for name in ("no", "mail", "dept", "job", "boss", "state", "hired", "notes")),
            **options,
        )

    async def fill(self, employees: Sequence[Mapping[str, Any]], departments: Sequence[Mapping[str, Any]] = ()) -> None:
        """Replace everything that is in the source."""
        async with self.writer.engine.begin() as connection:
            await connection.run_sync(self._metadata.create_all)
        async with self.writer.engine.begin() as connection:
            # An ODBC driver asks the server for the type of every NULL of a statement: short ones are faster.
            await connection.execution_options(insertmanyvalues_page_size=20)
            for table, rows in ((self.dept, departments), (self.emp, employees)):
                await connection.execute(table.delete())
                if rows:
                    names = [column.name for column in table.columns if column.name != "id"]
                    await connection.execute(table.insert(), [{name: row.get(name) for name in names} for row in rows])

    async def dispose(self) -> None:
        """Close the connections."""
        await self.reader.dispose()
        await self.writer.dispose()


def employee(no: str | None, name: str | None = "Kim Example", **values: str | None) -> dict[str, str | None]:
    """A row of `emp`."""
    return {"no": no, "name": name, "state": "A", **values}


def staff(count: int, **values: str | None) -> list[dict[str, str | None]]:
    """So many rows of `emp`: E0000, E0001, ..."""
    return [employee(f"E{number:04}", f"Person {number}", **values) for number in range(count)]


def run_id(number: int) -> str:
    """The id of a run."""
    return f"01920000-0000-7000-8000-{number:012d}"


def mapping(text: str = MAPPING) -> HrisMapping:
    """The mapping in the text."""
    return parse_hris_mapping(text, "hris.toml")


async def replicate(
    source: Database,
    target: Database,
    rules: HrisMapping | None = None,
    *,
    run: RecordedRun | None = None,
    batch_rows: int = 2000,
    **options: Any,
) -> RunReport:
    """One replication by the real service, adapters and databases."""
    # Written in batches as small as those that are read, so that tests can come between them.
    with mock.patch.object(
        plan_hris, "ROWS_PER_BATCH", min(batch_rows or plan_hris.ROWS_PER_BATCH, plan_hris.ROWS_PER_BATCH)
    ):
        return await replicate_hris(
            run or RecordedRun(),
            rules or mapping(),
            source=DatabaseHrisSource(source, batch_rows),
            store=DatabaseHrStore(target),
            open_spool=open_spool,
            **options,
        )


async def read_table(database: Database, model: type[Base], *columns: str) -> list[tuple[Any, ...]]:
    """The columns of every row, in the order of the ids."""
    async with database.session() as session:
        selected = [getattr(model, name) for name in columns]
        result = await session.execute(select(*selected).order_by(model.id))  # type: ignore[attr-defined]
        return [tuple(row) for row in result]


async def read_holds(database: Database) -> list[tuple[str, str]]:
    """(execution, status) of every held run, the oldest first."""
    return [tuple(row) for row in await read_table(database, HrHold, "execution_id", "status")]


async def read_facts(database: Database, entity: Entity = Entity.EMPLOYEES) -> StreamFacts:
    """What the runs so far left about an entity."""
    return (await DatabaseHrStore(database).read_facts([entity]))[entity]


async def dump(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that a replication writes but its holds."""
    async with database.reader() as session:
        found = {}
        for model in (Department, Position, Employee, Leave, Holiday, HrChange, QuarantinedRow, Stream):
            result = await session.execute(select(model.__table__).order_by(*model.__table__.primary_key.columns))
            found[model.__tablename__] = [tuple(row) for row in result]
        return found


async def load_tsv(database: Database, path: Path, name: str) -> None:
    """Load a tab-separated file with a header (empty: NULL) into a new table of texts."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file, delimiter="\t")
        rows = [{column: text or None for column, text in line.items()} for line in lines]
    metadata = MetaData()
    table = Table(name, metadata, *(Column(column, Unicode(200)) for column in rows[0]), mysql_charset="utf8mb4")
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
        await connection.execute(table.insert(), rows)
