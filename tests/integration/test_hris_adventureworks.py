"""Real input: the HR part of AdventureWorks arrives complete and right, whatever the source and the target are."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from backend.adapters.hris_source import DatabaseHrisSource
from backend.adapters.mapping_file import load_hris_mapping, parse_hris_mapping
from backend.db.database import Database
from backend.db.models import Department, Employee, Position, QuarantinedRow
from backend.domain.employees import Entity
from backend.domain.mapping import HrisMapping
from backend.services.check_hris import check_hris
from tests.support.adventureworks import install_adventureworks
from tests.support.hris import load_tsv, read_table, replicate

FILES = {
    "Department": "department",
    "Employee": "employee",
    "EmployeeDepartmentHistory": "employee_department_history",
    "EmailAddress": "email_address",
}
# Elsewhere than on SQL Server the data comes as text in tables without a schema: these spellings are that server's own.
SPELLINGS = {"HumanResources.": "", "Person.": "", ".ToString()": ""}
# A server that speaks T-SQL without the type hierarchyid has its path as a text.
WITHOUT_HIERARCHYID = {".ToString()": ""}


def read_tsv(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdventureWorks:
    """The source, and what the example calls otherwise than it does."""

    source: Database
    spellings: Mapping[str, str]


@pytest.fixture
async def adventureworks(source_url: str, adventureworks_dir: Path) -> AsyncIterator[AdventureWorks]:
    spellings: Mapping[str, str] = SPELLINGS
    if make_url(source_url).get_backend_name() == "mssql":
        has_hierarchyid = install_adventureworks(source_url, adventureworks_dir)
        spellings = {} if has_hierarchyid else WITHOUT_HIERARCHYID
    else:
        writer = Database("HRIS", "HRIS_URL", source_url)
        for table, file in FILES.items():
            await load_tsv(writer, adventureworks_dir / f"{file}.tsv", table)
        await writer.dispose()
    reader = Database("HRIS", "HRIS_URL", source_url, read_only=True)
    yield AdventureWorks(source=reader, spellings=spellings)
    await reader.dispose()


@pytest.fixture
def source(adventureworks: AdventureWorks) -> Database:
    return adventureworks.source


@pytest.fixture
def example(adventureworks: AdventureWorks, project_root: Path) -> HrisMapping:
    text = (project_root / "config" / "examples" / "adventureworks.toml").read_text(encoding="utf-8")
    for theirs, ours in adventureworks.spellings.items():
        text = text.replace(theirs, ours)
    return parse_hris_mapping(text, "adventureworks.toml")


async def test_everything_arrives(
    source: Database, database: Database, example: HrisMapping, adventureworks_dir: Path
) -> None:
    """290 employees, 16 departments and every job title come out, each with what the files say."""
    report = await replicate(source, database, example)

    employees = read_tsv(adventureworks_dir, "employee")
    history = read_tsv(adventureworks_dir, "employee_department_history")
    department = {row["BusinessEntityID"]: row["DepartmentID"] for row in history if not row["EndDate"]}
    mails = {row["BusinessEntityID"]: row["EmailAddress"] for row in read_tsv(adventureworks_dir, "email_address")}
    assert {
        row["BusinessEntityID"]: (
            row["LoginID"].split("\\")[1],
            mails[row["BusinessEntityID"]].lower(),
            row["JobTitle"],
            department[row["BusinessEntityID"]],
            row["HireDate"],
            "active",
            True,
        )
        for row in employees
    } == {
        no: (name, mail, position, code, hired.isoformat(), status, active)
        for no, name, mail, position, code, hired, status, active in await read_table(
            database,
            Employee,
            *("employee_no", "full_name", "email", "position_code", "department_code", "hired_on", "status"),
            "is_active",
        )
    }
    assert {(row["DepartmentID"], row["Name"]) for row in read_tsv(adventureworks_dir, "department")} == set(
        await read_table(database, Department, "code", "name")
    )
    assert {(row["JobTitle"],) for row in employees} == set(await read_table(database, Position, "title"))
    assert [] == await read_table(database, QuarantinedRow, "reason")
    assert (290 + 16 + 67, 290 + 16 + 67) == (report.counts.read, report.counts.inserted)


async def test_the_manager_of_everyone_is_right(
    source: Database, database: Database, example: HrisMapping, adventureworks_dir: Path
) -> None:
    """An employee's manager is whoever stands at the parent node; only the chief executive has none."""
    await replicate(source, database, example)

    nodes = {row["OrganizationNode"]: row["BusinessEntityID"] for row in read_tsv(adventureworks_dir, "employee")}
    expected = {no: nodes.get(node[: node[:-1].rfind("/") + 1]) for node, no in nodes.items()}
    assert expected == dict(await read_table(database, Employee, "employee_no", "manager_no"))
    assert ["1"] == [no for no, manager in expected.items() if manager is None]


async def test_a_second_run_changes_nothing(source: Database, database: Database, example: HrisMapping) -> None:
    """What has arrived is recognised: nothing is written again."""
    await replicate(source, database, example)
    before = await read_table(database, Employee, "employee_no", "changed_at", "row_hash")

    report = await replicate(source, database, example)

    counts = report.counts
    assert (373, 0, 0, 0, 0) == (
        counts.unchanged, counts.inserted, counts.updated, counts.deactivated, counts.rejected,
    )  # fmt: skip
    assert before == await read_table(database, Employee, "employee_no", "changed_at", "row_hash")


async def test_the_check_finds_nothing_wrong(source: Database, example: HrisMapping) -> None:
    """The doctor's look at the live source is content with the example."""
    check = await check_hris(DatabaseHrisSource(source), example)

    assert ["ok"] * 3 == [finding.level for finding in check.findings]


def test_the_example_is_valid(project_root: Path) -> None:
    """The example mapping as it is shipped can be read."""
    example = load_hris_mapping(project_root / "config" / "examples" / "adventureworks.toml")

    assert {Entity.DEPARTMENTS, Entity.POSITIONS, Entity.EMPLOYEES} == set(example.entities)
