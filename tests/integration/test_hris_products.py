"""The example mappings of real HR products, each run against a small source with that product's tables and columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from backend.adapters.hris_source import DatabaseHrisSource
from backend.adapters.mapping_file import load_hris_mapping, parse_hris_mapping
from backend.db.database import Database
from backend.db.models import Department, Employee, Holiday, Leave, Position, QuarantinedRow
from backend.domain.employees import Entity
from backend.domain.mapping import HrisMapping
from backend.services.check_hris import check_hris
from tests.support.hr_products import (
    DYNAMICS_GP,
    ERPNEXT,
    ORANGEHRM,
    SAP_BUSINESS_ONE,
    YEAR,
    day,
    install_product,
)
from tests.support.hris import read_table, replicate

PRODUCTS = {
    "sap_business_one": SAP_BUSINESS_ONE,
    "dynamics_gp": DYNAMICS_GP,
    "orangehrm": ORANGEHRM,
    "erpnext": ERPNEXT,
}
# What SQLite, in SQL Server's place, says otherwise.
_IN_SQLITE = {
    "DATEADD(day, -1, CURRENT_TIMESTAMP)": "datetime('now', '-1 day')",
    "CONCAT(a.empID, '-', a.line)": "a.empID || '-' || a.line",
    "CONCAT(h.HldCode, '-', CONVERT(char(8), DATEADD(day, d.n, DATEADD(year, y.n, h.StrDate)), 112))": (
        "h.HldCode || '-' || strftime('%Y%m%d', h.StrDate, '+' || y.n || ' years', '+' || d.n || ' days')"
    ),
    "DATEADD(day, d.n, DATEADD(year, y.n, h.StrDate))": (
        "date(h.StrDate, '+' || y.n || ' years', '+' || d.n || ' days')"
    ),
    "DATEDIFF(day, h.StrDate, h.EndDate)": "julianday(h.EndDate) - julianday(h.StrDate)",
    "YEAR(CURRENT_TIMESTAMP)": "strftime('%Y', 'now')",
    "YEAR(h.StrDate)": "strftime('%Y', h.StrDate)",
}

_PERSON = ("full_name", "email", "phone", "department_code", "position_code", "manager_no", "status", "is_active")
_EMPLOYMENT = ("hired_on", "left_on", "biostar_user_id", "stable_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A filled source, and the example mapping of its product."""

    source: Database
    mapping: HrisMapping


def on_each_engine(*names: str) -> pytest.MarkDecorator:
    """The test's `product` is each of these in turn, on its own engine, and on SQLite in place of SQL Server."""
    parameters = []
    for name in names:
        if name in ("orangehrm", "erpnext"):
            parameters.append(pytest.param((name, "empty_mariadb_url"), id=f"{name}-mariadb"))
        else:
            parameters.append(pytest.param((name, "empty_sqlite_url"), id=f"{name}-sqlite"))
            parameters.append(pytest.param((name, "mssql_url"), marks=pytest.mark.mssql, id=f"{name}-mssql"))
    return pytest.mark.parametrize("product", parameters, indirect=True)


@pytest.fixture
async def product(request: pytest.FixtureRequest, project_root: Path) -> AsyncIterator[Product]:
    name, url_fixture = request.param
    url = str(request.getfixturevalue(url_fixture))
    await install_product(url, PRODUCTS[name])
    example = (project_root / "config" / "examples" / f"{name}.toml").read_text(encoding="utf-8")
    if make_url(url).get_backend_name() == "sqlite":
        for theirs, ours in _IN_SQLITE.items():
            example = example.replace(theirs, ours)
    source = Database("HRIS", "HRIS_URL", url, read_only=True)
    yield Product(source=source, mapping=parse_hris_mapping(example, f"{name}.toml"))
    await source.dispose()


@on_each_engine("sap_business_one")
async def test_sap_business_one_arrives_whole(product: Product, database: Database) -> None:
    """Either `Active` or a past `termDate` ends an employment; managers, absences and holidays of every day arrive."""
    await replicate(product.source, database, product.mapping)

    assert {
        "-2": ("General", None, {"remarks": "General"}),
        "1": ("Sales", None, {"remarks": "Sales and service"}),
        "2": ("Purchasing", None, {}),
        "3": ("Nobody here", None, {}),
    } == await _departments(database)
    assert {("1", "CEO", None), ("2", "Clerk", None)} == await _positions(database)
    assert {
        "1": _person("Ada North", department="-2", position="1", hired="2010-01-04"),
        "2": _person(
            *("Ben South", "ben.south@example.com", "555-0102"), department="1", position="2", manager="1",
            hired="2015-06-01",
        ),
        "3": _person("Cleo West", None, "555-0103", department="1", position="2", manager="2", left=day(40)),
        "4": _person("Dan East", department="1", manager="2", status="left", left=day(-400)),
        "5": _person("Eva Marsh", department="2", manager="1", status="left", left=day(-40)),
        "6": _person("Finn Moor", department="2", manager="5"),
        "7": _person("Gus Dale", department="2", manager="1", status="inactive"),
        "8": _person("明 李", position="2", manager="1"),
    } == await _employees(database)  # fmt: skip
    assert {"external_no": "A-1", "middle_name": "M.", "job_title": "Owner"} == await _extra_of(database, "1")
    assert {
        ("2-0", "2", "vacation", "2025-07-07", "2025-07-18", "full", None),
        ("2-1", "2", "absence", "2025-11-03", "2025-11-03", "full", None),
        ("4-0", "4", "sick", "2024-02-05", "2024-02-06", "full", None),
    } == await _leaves(database)
    assert {
        ("2025-20250418", "2025-04-18", "2025", "2025", "full"),
        *(
            (f"EVERY-{year}12{date}", f"{year}-12-{date}", "Christmas", "EVERY", "full")
            for year in (YEAR - 1, YEAR, YEAR + 1)
            for date in (25, 26)
        ),
    } == await _holidays(database)
    assert {("employees", "8", "warning", "unknown_reference", "department_code")} == await _quarantine(database)


@on_each_engine("dynamics_gp")
async def test_dynamics_gp_arrives_whole(product: Product, database: Database) -> None:
    """Blanks, 1900-01-01 and supervisor codes become none and people; keys in other letters are the same keys."""
    await replicate(product.source, database, product.mapping)

    assert {
        "ADMIN": ("Administration", None, {}),
        "SALES": ("Sales", None, {}),
        "WHSE": ("Warehouse", None, {}),
    } == await _departments(database)
    assert {("CEO", "Chief executive", None), ("CLERK", "Clerk", "CEO")} == await _positions(database)
    assert {
        "E0001": _person("Anna Field", department="ADMIN", position="CEO", hired="2001-05-02"),
        "E0002": _person(
            *("Bob Stone", "bob.stone@example.com", "31255501020000"), department="SALES", position="CLERK",
            manager="E0001", hired="2012-03-01",
        ),
        "E0003": _person("Carl Wood", department="SALES", position="CLERK", manager="E0002"),
        "E0004": _person("Dora Hill", department="SALES", hired="2019-01-07"),
        "E0005": _person(
            "Emil Lake", department="ADMIN", manager="E0001", status="left", hired="2003-01-06", left="2024-03-28"
        ),
        "E0006": _person(
            "Fay Glen", department="ADMIN", manager="E0005", status="left", hired="2018-01-08", left="2023-06-30"
        ),
        "E0007": _person("Gil Ford", manager="E0005", hired="2022-09-05"),
    } == await _employees(database)  # fmt: skip
    assert {"middle_name": "B.", "class": "SALARY", "location": "HQ"} == await _extra_of(database, "E0001")
    assert {
        ("employees", "E0007", "warning", "unknown_reference", "department_code"),
        ("employees", "E0008", "error", "missing_value", "full_name"),
    } == await _quarantine(database)


@on_each_engine("orangehrm")
async def test_orangehrm_arrives_whole(product: Product, database: Database) -> None:
    """Of several managers the first direct one who is still there counts; a termination while it is pointed to."""
    await replicate(product.source, database, product.mapping)

    assert {
        "1": ("Example Ltd", None, {}),
        "2": ("Sales", "1", {"unit_id": "S"}),
        "3": ("Field sales", "2", {"unit_id": "S-F"}),
        "4": ("Nobody here", "1", {}),
    } == await _departments(database)
    assert {("1", "Director", None), ("2", "Clerk", None), ("3", "Typist", None)} == await _positions(database)
    assert {
        "0001": _person(
            *("Ida Brook", "ida@example.com", "555-0201"), department="1", position="1", hired="2008-09-01", stable="1"
        ),
        "0002": _person("Jon Reed", department="2", position="2", manager="0001", hired="2014-02-03", stable="2"),
        "0003": _person("Kim Ash", department="3", position="3", manager="0002", stable="3"),
        "0004": _person("Lea Fern", department="3", position="2", manager="0005", stable="4"),
        "0005": _person("Max Thorn", department="2", status="left", hired="2011-04-04", left=day(-100), stable="5"),
        "0006": _person("Noa Birch", department="2", left=day(40), stable="6"),
        "0007": _person("أمل حسن", department="2", manager="0006", stable="7"),
    } == await _employees(database)
    assert {"managers": "0002 | 0004 | 0001"} == await _extra_of(database, "0003")
    assert {
        ("1", "0002", "annual", "2025-08-04", "2025-08-04", "full", None),
        ("2", "0002", "annual", "2025-08-05", "2025-08-05", "first_half", None),
        ("3", "0003", "sick", "2025-08-06", "2025-08-06", "second_half", None),
        ("4", "0003", "sick", "2025-08-07", "2025-08-07", "full", 2.5),
    } == await _leaves(database)
    assert {
        *((f"1-{year}", f"{year}-01-01", "New Year", None, "full") for year in (YEAR - 1, YEAR, YEAR + 1)),
        ("2-2025", "2025-04-26", "King's Day", "NL", "second_half"),
    } == await _holidays(database)
    assert {
        ("employees", None, "error", "missing_key", "employee_no"),
        ("leaves", "8", "error", "missing_value", "employee_no"),
    } == await _quarantine(database)


@on_each_engine("erpnext")
async def test_erpnext_arrives_whole(product: Product, database: Database) -> None:
    """Departments keep the company's suffix as their key alone; half days split a leave; weekly days off stay away."""
    await replicate(product.source, database, product.mapping)

    trading, making = {"company": "Example Trading"}, {"company": "Example Making"}
    assert {
        "All Departments": ("All Departments", None, {}),
        "Sales - ET": ("Sales", "All Departments", trading),
        "Field - ET": ("Field", "Sales - ET", trading),
        "Sales - EM": ("Sales", "All Departments", making),
        "Archive - ET": ("Archive", "All Departments", trading),
    } == await _departments(database)
    assert {
        ("Director", "Director", None),
        ("Sales Representative", "Sales Representative", None),
    } == await _positions(database)
    assert {
        "HR-EMP-00001": _person(
            *("Quinn Vale", "quinn@example.com"), department="All Departments", position="Director",
            hired="2012-01-02", biostar="1001",
        ),
        "HR-EMP-00002": _person(
            *("Rosa Glade", "rosa@example.com", "555-0302"), department="Sales - ET", position="Sales Representative",
            manager="HR-EMP-00001", hired="2016-05-02", biostar="1002",
        ),
        "HR-EMP-00003": _person(
            "Sam Cliff", department="Field - ET", manager="HR-EMP-00002", status="suspended", hired="2019-03-04",
            biostar="1003",
        ),
        "HR-EMP-00004": _person(
            "Tess Bay", department="Sales - EM", manager="HR-EMP-00001", status="left", hired="2017-07-03",
            left="2024-12-31",
        ),
        "HR-EMP-00005": _person(
            "Uri Sand", department="Sales - EM", manager="HR-EMP-00004", hired="2020-10-01", biostar="2001"
        ),
        "HR-EMP-00006": _person("Vera Pond", department="Archive - ET", status="inactive", hired="2013-01-07"),
        "HR-EMP-00007": _person("Wim Dune", department="Field - ET", hired="2021-02-01"),
    } == await _employees(database)  # fmt: skip
    assert {**trading, "holiday_list": "Field 2025"} == await _extra_of(database, "HR-EMP-00002")
    assert {**trading, "holiday_list": "Head office 2025"} == await _extra_of(database, "HR-EMP-00003")
    assert {
        ("HR-LAP-2025-00001", "HR-EMP-00002", "privilege leave", "2025-07-07", "2025-07-18", "full", None),
        ("HR-LAP-2025-00002 before", "HR-EMP-00003", "sick leave", "2025-09-01", "2025-09-02", "full", None),
        ("HR-LAP-2025-00002 half", "HR-EMP-00003", "sick leave", "2025-09-03", "2025-09-03", "second_half", None),
        ("HR-LAP-2025-00002 after", "HR-EMP-00003", "sick leave", "2025-09-04", "2025-09-05", "full", None),
        ("HR-LAP-2025-00003 half", "HR-EMP-00003", "sick leave", "2025-10-06", "2025-10-06", "second_half", None),
    } == await _leaves(database)
    assert {
        ("2025-12-25 Head office 2025", "2025-12-25", "Christmas & more", "Head office 2025", "full"),
        ("2025-12-25 Field 2025", "2025-12-25", "Christmas", "Field 2025", "full"),
    } == await _holidays(database)
    assert {
        ("employees", "HR-EMP-00007", "warning", "unknown_reference", "manager_no"),
        ("employees", "HR-EMP-00008", "error", "unmapped_value", "status"),
    } == await _quarantine(database)


@on_each_engine("sap_business_one", "dynamics_gp", "orangehrm", "erpnext")
async def test_a_second_run_changes_nothing(product: Product, sqlite_database: Database) -> None:
    """What has arrived is recognised, whatever the product's types and blanks are; the quarantine stays as it is."""
    first = await replicate(product.source, sqlite_database, product.mapping)
    quarantine = await _quarantine(sqlite_database)

    second = await replicate(product.source, sqlite_database, product.mapping)

    assert (first.counts.inserted, 0, 0, 0) == (
        second.counts.unchanged, second.counts.inserted, second.counts.updated, second.counts.deactivated,
    )  # fmt: skip
    assert (first.counts.read, first.counts.rejected) == (second.counts.read, second.counts.rejected)
    assert quarantine == await _quarantine(sqlite_database)


@on_each_engine("orangehrm")
async def test_a_renumbered_employee_stays_the_same_one(product: Product, database: Database) -> None:
    """OrangeHRM lets people change an Employee Id: its own number says that it is still the same person."""
    await replicate(product.source, database, product.mapping)
    before = dict(await read_table(database, Employee, "employee_no", "id"))
    writer = Database("HRIS", "HRIS_URL", product.source.url.render_as_string(hide_password=False))
    async with writer.engine.begin() as connection:
        await connection.execute(text("UPDATE hs_hr_employee SET employee_id = 'N-2' WHERE employee_id = '0002'"))
    await writer.dispose()

    report = await replicate(product.source, database, product.mapping)

    assert {"N-2" if no == "0002" else no: row_id for no, row_id in before.items()} == dict(
        await read_table(database, Employee, "employee_no", "id")
    )
    assert ("Kim Ash", "N-2") in await read_table(database, Employee, "full_name", "manager_no")
    assert {"1": "N-2", "2": "N-2", "3": "0003", "4": "0003"} == dict(
        await read_table(database, Leave, "code", "employee_no")
    )
    assert (0, 0) == (report.counts.inserted, report.counts.deactivated)


@on_each_engine("sap_business_one", "dynamics_gp", "orangehrm", "erpnext")
async def test_the_check_finds_no_mistake_in_the_example(product: Product) -> None:
    """Every column is there and fits; what the check says is about people, not about the mapping."""
    check = await check_hris(DatabaseHrisSource(product.source), product.mapping)

    assert [] == [finding for finding in check.findings if finding.level == "error"]


@pytest.mark.parametrize(
    ("name", "entities"),
    [
        ("sap_business_one", set(Entity)),
        ("dynamics_gp", set(Entity) - {Entity.LEAVES, Entity.HOLIDAYS}),
        ("orangehrm", set(Entity)),
        ("erpnext", set(Entity)),
    ],
)
def test_the_examples_are_valid(name: str, entities: set[Entity], project_root: Path) -> None:
    """The example mappings as they are shipped can be read, and map what the product has."""
    example = load_hris_mapping(project_root / "config" / "examples" / f"{name}.toml")

    assert entities == set(example.entities)


def _person(
    name: str,
    email: str | None = None,
    phone: str | None = None,
    *,
    department: str | None = None,
    position: str | None = None,
    manager: str | None = None,
    status: str = "active",
    hired: str | None = None,
    left: str | None = None,
    biostar: str | None = None,
    stable: str | None = None,
) -> tuple[Any, ...]:
    is_active = status not in ("left", "inactive")
    person = (name, email, phone, department, position, manager, status, is_active)
    return (*person, _date(hired), _date(left), biostar, stable)


def _date(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)


async def _departments(database: Database) -> dict[str, tuple[Any, ...]]:
    rows = await read_table(database, Department, "code", "name", "parent_code", "extra")
    return {code: (name, parent, _filled(extra)) for code, name, parent, extra in rows}


async def _positions(database: Database) -> set[tuple[Any, ...]]:
    return set(await read_table(database, Position, "code", "title", "parent_code"))


async def _employees(database: Database) -> dict[str, tuple[Any, ...]]:
    rows = await read_table(database, Employee, "employee_no", *_PERSON, *_EMPLOYMENT)
    return {no: tuple(values) for no, *values in rows}


async def _extra_of(database: Database, employee_no: str) -> dict[str, Any]:
    return _filled(dict(await read_table(database, Employee, "employee_no", "extra"))[employee_no])


def _filled(extra: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (extra or {}).items() if value is not None}


async def _leaves(database: Database) -> set[tuple[Any, ...]]:
    columns = ("code", "employee_no", "kind", "starts_on", "ends_on", "day_part", "hours")
    return {
        (code, no, kind, starts_on.isoformat(), ends_on.isoformat(), part, None if hours is None else float(hours))
        for code, no, kind, starts_on, ends_on, part, hours in await read_table(database, Leave, *columns)
    }


async def _holidays(database: Database) -> set[tuple[Any, ...]]:
    rows = await read_table(database, Holiday, "code", "holiday_on", "name", "calendar", "day_part")
    return {(code, holiday_on.isoformat(), *rest) for code, holiday_on, *rest in rows}


async def _quarantine(database: Database) -> set[tuple[Any, ...]]:
    return set(await read_table(database, QuarantinedRow, "entity", "source_key", "severity", "reason", "field"))
