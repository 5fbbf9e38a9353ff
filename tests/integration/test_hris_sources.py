"""What a mapping can say of its sources, on real databases: supplements, look-ups, managers by position, stable keys,
leaves and holidays, contracts, references, sensitive fields, and rows that an older version has written.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, select, text

from backend.adapters.csv_source import CsvHrisSource
from backend.adapters.hr_store import DatabaseHrStore
from backend.adapters.hris_source import DatabaseHrisSource, HrisSources
from backend.adapters.row_spool import open_spool
from backend.api.repositories.hr_history_repository import HrHistoryRepository
from backend.db.database import Database
from backend.db.migrate import CONNECTION, upgrade
from backend.db.models import (
    Department,
    Employee,
    Holiday,
    HrChange,
    HrHoldChange,
    Leave,
    Position,
    QuarantinedRow,
)
from backend.db.types import db_now
from backend.domain.employees import Entity
from backend.domain.executions import RunReport
from backend.errors import ConfigurationError, PermanentError
from backend.services.replicate_hris import HeldError, replicate_hris
from tests.support.databases import make_database
from tests.support.hr_history import as_state
from tests.support.hris import (
    MAPPING,
    Hris,
    RecordedRun,
    employee,
    mapping,
    read_facts,
    read_table,
    replicate,
    run_id,
    staff,
)

HISTORY = HrHistoryRepository()
CHANGE = ("entity", "entity_key", "field", "old_value", "new_value", "execution_id")


@pytest.fixture
async def hris(empty_sqlite_url: str) -> AsyncIterator[Hris]:
    """A source on SQLite."""
    source = Hris(empty_sqlite_url)
    yield source
    await source.dispose()


async def make_tables(source: Hris, **tables: list[Mapping[str, Any]]) -> None:
    """Make tables of texts beside `dept` and `emp`, or fill them anew."""
    async with source.writer.session() as session:
        for name, rows in tables.items():
            columns = list(rows[0])
            await session.execute(text(f"DROP TABLE IF EXISTS {name}"))
            await session.execute(text(f"CREATE TABLE {name} ({', '.join(f'{column} TEXT' for column in columns)})"))
            marks = ", ".join(f":{column}" for column in columns)
            await session.execute(text(f"INSERT INTO {name} VALUES ({marks})"), [dict(row) for row in rows])


async def changes(database: Database, number: int) -> set[tuple[str, str, str, str | None, str | None]]:
    """What the run with this number has left in the history: entity, key, field, old, new."""
    rows = await read_table(database, HrChange, *CHANGE)
    return {row[:5] for row in rows if row[5] == run_id(number)}


# --- supplements and look-ups -----------------------------------------------------------------------------------------

WITH_BADGES = (
    MAPPING
    + """
[sources.directory]
url_setting = "DIRECTORY_URL"
[sources.badges]
file = "badges.csv"
[lookups.offices]
query = "SELECT name, code FROM dept"
[[employees.supplements]]
source = "directory"
query = "SELECT no, mail, phone FROM accounts ORDER BY no"
columns = { employee_no = "no", email = { column = "mail", lower = true }, phone = "phone" }
[[employees.supplements]]
source = "badges"
wins = false
columns = { employee_no = "Number", biostar_user_id = "Badge", phone = "Phone" }
"""
)


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Hris]:
    """Another database, which knows the addresses."""
    source = Hris(f"sqlite+aiosqlite:///{tmp_path / 'directory.db'}")
    yield source
    await source.dispose()


async def replicate_with_others(
    hris: Hris, directory: Hris, badges: Path, database: Database, text_of_mapping: str = WITH_BADGES, **options: Any
) -> RunReport:
    source = HrisSources(
        DatabaseHrisSource(hris.reader),
        {
            "directory": lambda: DatabaseHrisSource(directory.reader),
            "badges": functools.partial(CsvHrisSource, "badges", badges),
        },
    )
    return await replicate_hris(
        RecordedRun(),
        mapping(text_of_mapping),
        source=source,
        store=DatabaseHrStore(database),
        open_spool=open_spool,
        **options,
    )


async def test_supplements_add_what_other_sources_know(
    hris: Hris, directory: Hris, tmp_path: Path, database: Database
) -> None:
    """The directory's address goes before the HRIS's own; what only fills does so where nothing is; the key decides."""
    await hris.fill([employee("E1", mail="old@example.com"), employee("E2", mail="two@example.com"), employee("E3")])
    await make_tables(
        directory,
        accounts=[
            {"no": "E1", "mail": "ONE@Example.com", "phone": "555 01"},
            {"no": "E1", "mail": "again@example.com", "phone": None},
            {"no": "E3", "mail": None, "phone": None},
            {"no": "E404", "mail": "nobody@example.com", "phone": None},
            {"no": "E2", "mail": "x" * 300, "phone": "555 02"},
        ],
    )
    badges = tmp_path / "badges.csv"
    badges.write_text("Number,Badge,Phone\nE1,7,555 99\nE3,9,555 03\n")

    first = await replicate_with_others(hris, directory, badges, database)
    again = await replicate_with_others(hris, directory, badges, database)

    assert [
        ("E1", "one@example.com", "555 01", "7"),
        ("E2", "two@example.com", None, None),
        ("E3", None, "555 03", "9"),
    ] == await read_table(database, Employee, "employee_no", "email", "phone", "biostar_user_id")
    assert [("E2", "warning", "too_long", "email")] == await read_table(
        database, QuarantinedRow, "source_key", "severity", "reason", "field"
    )
    assert (3, 3, 0) == (first.counts.inserted, again.counts.unchanged, again.counts.rejected)

    badges.write_text("Number,Badge,Phone\nE1,8,\n")
    changed = await replicate_with_others(hris, directory, badges, database)
    assert (2, {"biostar_user_id": 2, "phone": 1}) == (
        changed.counts.updated,
        changed.details["entities"]["employees"]["changed_fields"],
    )


@pytest.mark.parametrize("what", ["table", "file", "column"])
async def test_a_supplement_that_cannot_be_read_fails_the_run(
    hris: Hris, directory: Hris, tmp_path: Path, sqlite_database: Database, what: str
) -> None:
    """Without its supplement an entity is not replicated: half of it would look like changes. The error names it."""
    await hris.fill([employee("E1")])
    badges = tmp_path / "badges.csv"
    if what != "table":
        await make_tables(directory, accounts=[{"no": "E1", "mail": "a@example.com", "phone": None}])
    if what == "column":
        badges.write_text("Number,Card,Phone\nE1,7,1\n")

    place = rf"hris\.toml \[\[employees\.supplements\]\] {1 if what == 'table' else 2}"
    with pytest.raises((PermanentError, ConfigurationError), match=place):
        await replicate_with_others(hris, directory, badges, sqlite_database)

    assert [] == await read_table(sqlite_database, Employee, "id")


async def test_a_look_up_translates_and_tells_what_it_lacks(hris: Hris, database: Database) -> None:
    """Values become what the table says; one that is not in it rejects its row, unless there is a default."""
    rules = MAPPING + '[lookups.offices]\nquery = "SELECT name, code FROM dept"\n'
    looked_up = rules.replace('department_code = "dept"', 'department_code = { column = "dept", lookup = "offices" }')
    departments = [{"code": "D1", "name": "Head office"}, {"code": "D2", "name": "Plant"}]
    people = [
        employee("E1", dept="Head office"),
        employee("E2", dept="Plant "),
        employee("E3"),
        employee("E4", dept="?"),
    ]
    await hris.fill(people, departments)

    await replicate(hris.reader, database, mapping(looked_up))

    assert [("E1", "D1"), ("E2", "D2"), ("E3", None)] == await read_table(
        database, Employee, "employee_no", "department_code"
    )
    assert [("E4", "unmapped_value", "department_code")] == await read_table(
        database, QuarantinedRow, "source_key", "reason", "field"
    )
    ((message,),) = await read_table(database, QuarantinedRow, "message")
    assert "look-up offices" in message

    await hris.fill(people, [*departments, {"code": "D3", "name": "?"}])
    await replicate(hris.reader, database, mapping(looked_up))
    assert ("E4", "D3") in await read_table(database, Employee, "employee_no", "department_code")
    assert [] == await read_table(database, QuarantinedRow, "id")


# --- managers by position ---------------------------------------------------------------------------------------------

BY_POSITION = """
[positions]
query = "SELECT code, above FROM pos ORDER BY code"
columns = { code = "code", title = "code", parent_code = "above" }
[employees]
query = "SELECT no, name, job, state FROM emp ORDER BY id"
manager = "position"
[employees.columns]
employee_no = "no"
full_name = "name"
position_code = "job"
status = { column = "state", map = { A = "active", T = "left" } }
"""


async def test_the_manager_is_who_holds_the_position_above(hris: Hris, database: Database) -> None:
    """Over vacant positions and people who left; when somebody takes a position, all below get another manager."""
    positions: list[Mapping[str, Any]] = [
        {"code": "CEO", "above": None},
        {"code": "CTO", "above": "CEO"},
        {"code": "DEV", "above": "LEAD"},
        {"code": "LEAD", "above": "CTO"},
    ]
    people = [
        employee("D1", job="DEV"), employee("C1", job="CEO"), employee("T0", job="CTO", state="T"),
        employee("T1", job="CTO"), employee("D2", job="DEV"), employee("X1"),
    ]  # fmt: skip
    await hris.fill(people)
    await make_tables(hris, pos=positions)
    rules = mapping(BY_POSITION)

    await replicate(hris.reader, database, rules, run=RecordedRun(run_id(1)))

    assert {"D1": "T1", "D2": "T1", "T1": "C1", "T0": "C1", "C1": None, "X1": None} == dict(
        await read_table(database, Employee, "employee_no", "manager_no")
    )
    assert [("CEO", None), ("CTO", "CEO"), ("DEV", "LEAD"), ("LEAD", "CTO")] == await read_table(
        database, Position, "code", "parent_code"
    )

    await hris.fill([*people, employee("L1", job="LEAD")])
    report = await replicate(hris.reader, database, rules, run=RecordedRun(run_id(2)))
    assert (1, 2) == (report.counts.inserted, report.counts.updated)
    assert {("employees", no, "manager_no", "T1", "L1") for no in ("D1", "D2")} == await changes(database, 2)
    again = await replicate(hris.reader, database, rules, full=True)
    assert (0, 0) == (again.counts.inserted, again.counts.updated)


# --- stable keys ------------------------------------------------------------------------------------------------------

STABLE = """
[departments]
query = "SELECT code, name, parent, id FROM dept ORDER BY id"
columns = { code = "code", name = "name", parent_code = "parent", stable_key = "id" }
[positions]
query = "SELECT DISTINCT job FROM emp WHERE job IS NOT NULL"
columns = { code = "job", title = "job" }
[employees]
query = "SELECT no, name, dept, boss, state, notes FROM emp ORDER BY no"
[employees.columns]
employee_no = "no"
full_name = "name"
department_code = "dept"
manager_no = "boss"
stable_key = "notes"
status = { column = "state", map = { A = "active", T = "left" } }
[leaves]
query = "SELECT code, no, starts, ends FROM leaves"
columns = { code = "code", employee_no = "no", starts_on = "starts", ends_on = "ends" }
"""


def person(no: str, stable: str, **values: str | None) -> dict[str, str | None]:
    return employee(no, f"Person {stable}", notes=stable, **values)


async def test_who_gets_another_number_stays_the_same_row(hris: Hris, database: Database) -> None:
    """People, departments and whoever refers to them: rows keep their ids, and the history says what followed."""
    leave = {"code": "L1", "starts": "2031-05-01", "ends": "2031-05-02"}
    await hris.fill(
        [
            person("A1", "1", dept="D1"),
            person("A2", "2", boss="A1", dept="D1"),
            person("A3", "3", boss="A1", dept="D2"),
        ],
        [{"code": "D1", "name": "One"}, {"code": "D2", "name": "Two", "parent": "D1"}],
    )
    await make_tables(hris, leaves=[leave | {"no": "A1"}])
    await replicate(hris.reader, database, mapping(STABLE), run=RecordedRun(run_id(1)))
    ids = dict(await read_table(database, Employee, "full_name", "id"))
    # A3 is no longer in the source: nobody there says who its manager and its department are called now.
    await hris.fill(
        [person("B1", "1", dept="X1"), person("A2", "2", boss="B1", dept="X1")],
        [{"code": "X1", "name": "One"}, {"code": "X2", "name": "Two", "parent": "X1"}],
    )
    await make_tables(hris, leaves=[leave | {"no": "B1"}])

    report = await replicate(hris.reader, database, mapping(STABLE), run=RecordedRun(run_id(2)))

    employees = report.details["entities"]["employees"]
    assert (1, 2, 0, 1) == (
        employees["renumbered"],
        employees["updated"],
        employees["inserted"],
        employees["deactivated"],
    )
    assert 2 == report.details["entities"]["departments"]["renumbered"]
    assert [("B1", None, "X1", True), ("A2", "B1", "X1", True), ("A3", "B1", "X2", False)] == await read_table(
        database, Employee, "employee_no", "manager_no", "department_code", "is_active"
    )
    assert ids == dict(await read_table(database, Employee, "full_name", "id"))
    assert [("X1", None), ("X2", "X1")] == await read_table(database, Department, "code", "parent_code")
    assert [("B1",)] == await read_table(database, Leave, "employee_no")
    assert {
        ("departments", "D1", "code", "D1", "X1"),
        ("departments", "D2", "code", "D2", "X2"),
        ("departments", "D2", "parent_code", "D1", "X1"),
        ("employees", "A1", "employee_no", "A1", "B1"),
        ("employees", "A1", "department_code", "D1", "X1"),
        ("employees", "A2", "manager_no", "A1", "B1"),
        ("employees", "A2", "department_code", "D1", "X1"),
        ("employees", "A3", "is_active", "1", "0"),
        ("employees", "A3", "manager_no", "A1", "B1"),
        ("employees", "A3", "department_code", "D2", "X2"),
        ("leaves", "L1", "employee_no", "A1", "B1"),
    } == await changes(database, 2)
    for full in (False, True):
        again = await replicate(hris.reader, database, mapping(STABLE), full=full)
        assert (0, 0, 0) == (again.counts.inserted, again.counts.updated, again.counts.deactivated)


async def test_a_rehire_under_a_new_number_is_the_same_person(hris: Hris, database: Database) -> None:
    """Somebody who left and comes back with another number is reactivated and renumbered, not a stranger."""
    await hris.fill([person("A1", "1"), person("A2", "2")])
    await make_tables(hris, leaves=[{"code": None, "no": None, "starts": None, "ends": None}])
    await replicate(hris.reader, database, mapping(STABLE))
    await hris.fill([person("A1", "1")])
    await replicate(hris.reader, database, mapping(STABLE))
    await hris.fill([person("A1", "1"), person("B2", "2")])

    report = await replicate(hris.reader, database, mapping(STABLE), run=RecordedRun(run_id(3)))

    employees = report.details["entities"]["employees"]
    assert (1, 1, 0) == (employees["renumbered"], employees["reactivated"], employees["inserted"])
    assert [("A1", True), ("B2", True)] == await read_table(database, Employee, "employee_no", "is_active")
    assert [None, None] == [row[0] for row in await read_table(database, Employee, "deactivated_at")]


async def test_people_who_swap_their_numbers(hris: Hris, database: Database) -> None:
    """Where both numbers stay in use, the rows of the numbers change their contents; nothing is lost or doubled."""
    await hris.fill([person("A1", "1"), person("A2", "2", boss="A1")])
    await make_tables(hris, leaves=[{"code": None, "no": None, "starts": None, "ends": None}])
    await replicate(hris.reader, database, mapping(STABLE))
    await hris.fill([person("A2", "1"), person("A1", "2", boss="A2")])

    report = await replicate(hris.reader, database, mapping(STABLE))

    assert (2, 0) == (report.counts.updated, report.counts.inserted)
    assert [("A1", "Person 2", "2", "A2"), ("A2", "Person 1", "1", None)] == await read_table(
        database, Employee, "employee_no", "full_name", "stable_key", "manager_no"
    )


async def test_numbers_that_move_on_by_one(hris: Hris, database: Database) -> None:
    """Everybody gets the number of the next one: the state is the source's, and a second run finds nothing to do."""
    await make_tables(hris, leaves=[{"code": None, "no": None, "starts": None, "ends": None}])
    await hris.fill([person(f"A{number}", str(number), boss="A0" if number else None) for number in range(5)])
    await replicate(hris.reader, database, mapping(STABLE))
    await hris.fill([person(f"A{number + 1}", str(number), boss="A1" if number else None) for number in range(5)])

    await replicate(hris.reader, database, mapping(STABLE), force=True)

    rows = await read_table(database, Employee, "employee_no", "full_name", "manager_no", "is_active")
    assert [(f"A{n + 1}", f"Person {n}", "A1" if n else None, True) for n in range(5)] == sorted(
        row for row in rows if row[3]
    )
    again = await replicate(hris.reader, database, mapping(STABLE), full=True)
    assert (0, 0, 0) == (again.counts.inserted, again.counts.updated, again.counts.deactivated)


async def test_every_state_can_be_seen_again(hris: Hris, database: Database) -> None:
    """After renumbering, with references that follow in rows that the source has no more, each run's state is kept."""
    runs: list[tuple[list[dict[str, str | None]], list[dict[str, str | None]]]] = [
        ([person("A1", "1", dept="D1"), person("A2", "2", boss="A1", dept="D1")], [{"code": "D1", "name": "One"}]),
        ([person("A1", "1", dept="D1")], [{"code": "D1", "name": "One"}]),
        ([person("B1", "1", dept="X1")], [{"code": "X1", "name": "One"}]),
        ([person("B1", "1", dept="X1"), person("A1", "3", boss="B1")], [{"code": "X1", "name": "1"}]),
        ([person("C1", "1", state="T"), person("A1", "3", boss="C1"), person("A2", "2", boss="C1")], []),
    ]
    await make_tables(hris, leaves=[{"code": "L1", "no": "A1", "starts": "2031-05-01", "ends": "2031-05-02"}])
    entities = (Entity.DEPARTMENTS, Entity.EMPLOYEES, Entity.LEAVES)
    states = []

    async def see(instant: dt.datetime | None = None) -> tuple[dt.datetime, dict[Entity, Any]]:
        async with database.reader() as session:
            at = instant or (await session.execute(select(db_now()))).scalar_one()
        found = {}
        for entity in entities:
            async with database.reader() as session:
                found[entity] = as_state([row async for row in HISTORY.stream_as_of(session, entity, at)])
        return at, found

    for number, (people, departments) in enumerate(runs):
        await hris.fill(people, departments)
        await replicate(hris.reader, database, mapping(STABLE), run=RecordedRun(run_id(number)), force=True)
        states.append(await see())

    assert len({repr(state) for _, state in states}) == len(runs)
    for at, state in states:
        assert state == (await see(at))[1]


# --- leaves and holidays ----------------------------------------------------------------------------------------------

ABSENCES = """
[employees]
query = "SELECT no, name FROM emp ORDER BY id"
columns = { employee_no = "no", full_name = "name" }
[leaves]
query = "SELECT * FROM absence"
[leaves.columns]
code = "code"
employee_no = "no"
kind = { column = "kind", default = "other" }
starts_on = "starts"
ends_on = "ends"
day_part = { column = "part", map = { F = "full", AM = "first_half", PM = "second_half" }, default = "full" }
hours = "hours"
[holidays]
query = "SELECT * FROM feast"
columns = { code = "code", holiday_on = "day", name = "name", calendar = "site" }
"""


async def test_leaves_and_holidays_arrive_with_their_people(hris: Hris, database: Database) -> None:
    """Dates, parts of days and hours in their own types; leaves of nobody and unreadable numbers are in quarantine."""
    await hris.fill([employee("E1")])
    row = {"no": "E1", "kind": None, "starts": "2031-05-01", "ends": "2031-05-02", "part": None, "hours": None}
    absences: list[Mapping[str, Any]] = [
        {"code": "L1"} | row | {"kind": "sick"},
        {"code": "L2"} | row | {"part": "PM", "hours": "3.50"},
        {"code": "L3"} | row | {"no": "E404"},
        {"code": "L4"} | row | {"hours": "many"},
        {"code": "L5"} | row | {"ends": None},
        {"code": "L6"} | row | {"part": "??"},
    ]
    await make_tables(
        hris,
        absence=absences,
        feast=[
            {"code": "H1", "day": "2031-05-01", "name": "عيد العمال", "site": None},
            {"code": "H2", "day": "2031-12-24", "name": "Eve", "site": "Berlin"},
        ],
    )

    await replicate(hris.reader, database, mapping(ABSENCES), run=RecordedRun(run_id(1)))

    first, last = dt.date(2031, 5, 1), dt.date(2031, 5, 2)
    columns = ("code", "employee_no", "kind", "starts_on", "ends_on", "day_part", "hours")
    assert [
        ("L1", "E1", "sick", first, last, "full", None),
        ("L2", "E1", "other", first, last, "second_half", decimal.Decimal("3.50")),
        ("L6", "E1", "other", first, last, "full", None),
    ] == await read_table(database, Leave, *columns)
    assert [("H1", first, "عيد العمال", None), ("H2", dt.date(2031, 12, 24), "Eve", "Berlin")] == await read_table(
        database, Holiday, "code", "holiday_on", "name", "calendar"
    )
    assert [
        ("L3", "error", "unknown_reference"),
        ("L4", "error", "unreadable_number"),
        ("L5", "error", "missing_value"),
    ] == sorted(await read_table(database, QuarantinedRow, "source_key", "severity", "reason"))
    for full in (False, True):
        again = await replicate(hris.reader, database, mapping(ABSENCES), full=full)
        assert (6, 0, 3) == (again.counts.unchanged, again.counts.updated, again.counts.rejected)

    absences[1] = {**absences[1], "hours": "4", "ends": "2031-05-03"}
    await make_tables(hris, absence=absences[1:2])
    await replicate(hris.reader, database, mapping(ABSENCES), run=RecordedRun(run_id(2)))
    assert {
        ("leaves", "L1", "is_active", "1", "0"),
        ("leaves", "L6", "is_active", "1", "0"),
        ("leaves", "L2", "hours", "3.5", "4"),
        ("leaves", "L2", "ends_on", "2031-05-02", "2031-05-03"),
    } == await changes(database, 2)


# --- contracts, references --------------------------------------------------------------------------------------------


async def test_the_contract_says_what_other_columns_mean(hris: Hris, database: Database) -> None:
    """evolve notes the change once and goes on, freeze holds the run, discard takes no notice."""
    await hris.fill([employee("E1")])
    wider = ("hired, notes FROM", "hired, notes, 'x' AS badge FROM")
    seen: list[tuple[int, bool]] = []
    for contract in ("evolve", "freeze", "discard"):
        rules = MAPPING.replace("[employees]\nquery", f'[employees]\ncontract = "{contract}"\nquery')
        await replicate(hris.reader, database, mapping(rules))
        before = (await read_facts(database)).columns
        try:
            report = await replicate(hris.reader, database, mapping(rules.replace(*wider)))
            again = await replicate(hris.reader, database, mapping(rules.replace(*wider)))
            seen.append(("badge" in report.summary, "badge" in again.summary))
        except HeldError as error:
            seen.append((str(error).count("the result of the employees got badge"), "freeze" in str(error)))
        after = (await read_facts(database)).columns
        assert ("badge" in after, contract) == (contract == "evolve", contract)
        await replicate(hris.reader, database, mapping(rules), force=True)
        assert list(before) == list((await read_facts(database)).columns)

    assert [(True, False), (1, True), (False, False)] == seen


async def test_a_lost_column_that_nothing_reads_is_a_matter_of_the_contract(
    hris: Hris, sqlite_database: Database
) -> None:
    """A column that a rule reads is missed in any case; any other one only where the contract is frozen."""
    await hris.fill([employee("E1")])
    frozen = MAPPING.replace("[employees]\nquery", '[employees]\ncontract = "freeze"\nquery').replace(
        "hired, notes FROM", "hired, notes, 'x' AS badge FROM"
    )
    await replicate(hris.reader, sqlite_database, mapping(frozen))

    with pytest.raises(HeldError, match="lost badge"):
        await replicate(hris.reader, sqlite_database, mapping(frozen.replace(", 'x' AS badge FROM", " FROM")))
    with pytest.raises(PermanentError, match="'mail'"):
        await replicate(hris.reader, sqlite_database, mapping(frozen.replace("name, mail, dept", "name, dept")))


async def test_unknown_references_may_reject_their_rows(hris: Hris, database: Database) -> None:
    """With unknown_reference = "reject" a row without its department waits; whom the target has stays as they are."""
    await hris.fill([employee("E1", dept="D1"), employee("E2")], [{"code": "D1", "name": "One"}])
    rules = mapping(MAPPING.replace("[employees]\nquery", '[employees]\nunknown_reference = "reject"\nquery'))
    await replicate(hris.reader, database, rules)
    await hris.fill(
        [employee("E1", "Changed", dept="D404"), employee("E2", job="Clerk"), employee("E3", dept="D404")],
        [{"code": "D1", "name": "One"}],
    )

    report = await replicate(hris.reader, database, rules)

    assert (2, 0) == (report.details["entities"]["employees"]["rejected"], report.counts.deactivated)
    assert [("E1", "Kim Example", "D1", True), ("E2", "Kim Example", None, True)] == await read_table(
        database, Employee, "employee_no", "full_name", "department_code", "is_active"
    )
    assert [("E1", "error", "unknown_reference"), ("E3", "error", "unknown_reference")] == sorted(
        await read_table(database, QuarantinedRow, "source_key", "severity", "reason")
    )


# --- sensitive fields -------------------------------------------------------------------------------------------------


async def test_sensitive_values_stand_in_no_history_hold_or_log(hris: Hris, database: Database) -> None:
    """Masked or hashed where they are told, but whole in the row; equal values have equal hashes."""
    rules = mapping(
        MAPPING.replace('full_name = "name"', 'full_name = { column = "name", sensitive = "mask" }')
        .replace('"mail", lower = true', '"mail", lower = true, sensitive = "hash"')
        .replace('extra.notes = "notes"', 'extra.notes = { column = "notes", sensitive = "mask" }')
    )
    secrets = ("Secret", "secret@example.com", "secret note")
    await hris.fill([employee("E1", "Secret One", mail="secret@example.com", notes="secret note"), *staff(30)])
    run = RecordedRun(run_id(1))
    await replicate(hris.reader, database, rules, run=run)
    for number, address in ((2, "other@example.com"), (3, "secret@example.com")):
        await hris.fill([employee("E1", f"Secret {number}", mail=address, notes=f"secret note {number}"), *staff(30)])
        run = RecordedRun(run_id(number))
        await replicate(hris.reader, database, rules, run=run)
    await hris.fill([employee("E1", "Secret Four", mail="secret4@example.com"), employee("E9", "Secret Nine")])
    with pytest.raises(HeldError) as caught:
        await replicate(hris.reader, database, rules, run=run)

    rows = await read_table(database, HrChange, "field", "old_value", "new_value")
    assert {("full_name", "•••", "•••"), ("extra", "•••", "•••")} < set(rows)
    hashes = [row[1:] for row in rows if row[0] == "email"]
    assert hashes[0] == hashes[1][::-1]
    assert all(len(item) == 17 and item.startswith("#") for item in hashes[0])
    assert [("Secret 3", "secret@example.com", {"notes": "secret note 3"})] == (
        await read_table(database, Employee, "full_name", "email", "extra")
    )[:1]
    held = await read_table(database, HrHoldChange, "entity_key", "fields")
    told = f"{rows}{held}{run.log.lines}{run.progresses}{caught.value}".lower()
    assert {"E1", "E9"} < {key for key, _ in held}
    assert [] == [secret for secret in secrets if secret.lower() in told]


# --- rows of an older version -----------------------------------------------------------------------------------------


async def prepare_first_version(database: Database, people: list[dict[str, str | None]]) -> None:
    """The tables of revision 0001 with these people, as the first version has written them."""
    config = Config()
    config.set_main_option("script_location", "backend.db:migrations")

    def make(connection: Connection) -> None:
        config.attributes[CONNECTION] = connection
        command.upgrade(config, "0001")

    async with database.engine.connect() as connection:
        await connection.run_sync(make)
        await connection.commit()
    marks = {"seen": "2031-01-01 00:00:00", "run": run_id(1)}
    ends = "row_hash, is_active, first_seen_at, changed_at, execution_id) VALUES"
    async with database.session() as session:
        await session.execute(
            text(f"INSERT INTO hr_department (code, name, {ends} ('D1', 'One', :hash, 1, :seen, :seen, :run)"),
            marks | {"hash": hashlib.blake2b(b"D1", digest_size=16).digest()},
        )
        for row in people:
            await session.execute(
                text(
                    "INSERT INTO hr_employee (employee_no, full_name, email, manager_no, status, hired_on, extra, "
                    f"{ends} (:no, :name, :mail, :boss, 'active', :hired, :extra, :hash, 1, :seen, :seen, :run)"
                ),
                {
                    **{name: row.get(name) for name in ("no", "name", "mail", "boss", "hired")},
                    "extra": json.dumps({"notes": row.get("notes")}, ensure_ascii=False),
                    "hash": hashlib.blake2b(str(row).encode(), digest_size=16).digest(),
                    **marks,
                },
            )
        for code, count in (("departments", 1), ("positions", 0), ("employees", len(people))):
            await session.execute(
                text("INSERT INTO sync_stream (code, watermark, row_count) VALUES (:code, :watermark, :count)"),
                {"code": f"hris.{code}", "watermark": '{"revision": 3}', "count": count},
            )


@pytest.mark.parametrize("count", [9, 400])
async def test_rows_of_the_first_version_are_taken_over(hris: Hris, empty_url: str, count: int) -> None:
    """After the upgrade they are the same rows: the first run stores new digests, and nothing else."""
    database = make_database(empty_url)
    people = [
        employee(
            f"E{n:03}", "عائشة", mail="a@example.com", boss="E000" if n else None, hired="2020-01-02", notes='ß "x"'
        )
        for n in range(count)
    ]
    await hris.fill(people, [{"code": "D1", "name": "One"}])
    await prepare_first_version(database, people)
    await upgrade(database)
    columns = [column.name for column in Employee.__table__.columns if column.name != "row_hash"]
    before = await read_table(database, Employee, *columns)

    first = await replicate(hris.reader, database, run=RecordedRun(run_id(2)))
    digests = await read_table(database, Employee, "row_hash")
    second = await replicate(hris.reader, database, run=RecordedRun(run_id(3)))

    assert [(count + 1, 0, 0)] * 2 == [
        (report.counts.unchanged, report.counts.updated, report.counts.inserted) for report in (first, second)
    ]
    assert before == await read_table(database, Employee, *columns)
    assert digests == await read_table(database, Employee, "row_hash")
    assert [] == await read_table(database, HrChange, "id")
    assert [] == await read_table(database, QuarantinedRow, "id")
    facts = await read_facts(database)
    assert (5, [count, count]) == (facts.revision, list(facts.sizes))
    await hris.fill([people[0] | {"name": "Other"}, *people[1:]], [{"code": "D1", "name": "One"}])
    await replicate(hris.reader, database, run=RecordedRun(run_id(4)))
    assert {("employees", "E000", "full_name", "عائشة", "Other")} == await changes(database, 4)
    await database.dispose()
