"""`hrsync attendance check` holds the rules against the people of the database."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from backend.adapters.attendance_file import load_attendance_file, parse_attendance_rules
from backend.adapters.attendance_targets import TargetStore
from backend.adapters.mapping_file import load_hris_mapping
from backend.cli.app import run
from backend.db.database import Database
from backend.db.models import AssignmentRow
from backend.demo.company import write_hris
from backend.settings import Settings
from tests.integration.test_punch_users import add_employee
from tests.support.hris import replicate
from tests.support.project import PROJECT_ROOT

RULES = """
default_site = "BER"
[sites.BER]
timezone = "Europe/Berlin"
[shifts.day]
start = "09:00"
end = "17:00"
[patterns.office]
week = ["day", "day", "day", "day", "day", "", ""]
[[assignments]]
employee = ["E00001", "E99999"]
pattern = "office"
[[assignments]]
department = "NOWHERE"
pattern = "office"
"""


async def test_the_demo_knows_everybody_its_rules_speak_of(tmp_path: Path, database: Database) -> None:
    """The shipped rules fit the people, departments and sites that the shipped mapping takes from the demo's HRIS."""
    write_hris(tmp_path / "company.db")
    source = Database("HRIS", "HRIS_URL", f"sqlite+aiosqlite:///{tmp_path / 'company.db'}", read_only=True)
    await replicate(source, database, load_hris_mapping(PROJECT_ROOT / "config/hris.toml"))
    await source.dispose()
    file = PROJECT_ROOT / "config/attendance.toml"
    rules = parse_attendance_rules(load_attendance_file(file), file=file.name)
    known = await TargetStore(database).find_targets(rules)
    targets = {target for scope, target in rules.assignments.targets() if scope not in ("site", "default")}

    assert set() == targets - known.employees - known.departments
    assert {"BER", "CAI", "SHA"} == {*known.sites}
    assert 5 < len(await TargetStore(database).list_holidays())


async def test_assignments_of_the_table_are_those_that_stand(database: Database) -> None:
    """Withdrawn ones do not count; open dates are open."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    said = {"made_by": "anna@host", "reason": "asked for", "made_at": now, "scope": "employee", "pattern": "office"}
    rows: list[dict[str, Any]] = [
        said | {"target": "E1", "first_on": dt.date(2026, 1, 1)},
        said | {"target": "E2", "withdrawn_by": "anna@host", "withdrawn_at": now},
    ]
    async with database.session() as session:
        for row in rows:
            await session.execute(insert(AssignmentRow).values(**row))
    (found,) = await TargetStore(database).list_assignments()

    assert ("E1", dt.date(2026, 1, 1), dt.date.max) == (found.target, found.first_on, found.last_on)


def test_check_warns_of_whom_nobody_knows(
    database_url: str, settings_env: Callable[..., Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Employees and departments that the HR data does not have are named; the exit code stays 0."""
    (tmp_path / "rules.toml").write_text(RULES)
    settings_env(maria_url=database_url)

    async def hire() -> None:
        database = Database("hrsync database", "MARIA_URL", database_url)
        await add_employee(database, "E00003", extra={"site": "BER"})
        await database.dispose()

    asyncio.run(hire())
    code = run(["attendance", "check", "rules.toml", "--json"])
    told = json.loads(capsys.readouterr().out)

    assert 0 == code
    assert "warning" == told["status"]
    assert [
        "2 employees are not in the HR data: E00001, E99999",
        "1 departments are not in the HR data: NOWHERE",
    ] == [finding["message"] for finding in told["findings"]]


def test_check_waits_for_the_hr_data(
    database_url: str, settings_env: Callable[..., Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the HRIS was replicated, nobody is told to take employees out of the rules."""
    (tmp_path / "rules.toml").write_text(RULES)
    settings_env(maria_url=database_url)
    assert 0 == run(["attendance", "check", "rules.toml"])
    told = capsys.readouterr().out

    assert "not compared with the rules: there are no employees yet" in told
    assert "hrsync hris sync" in told
    assert "E99999" not in told


def test_check_needs_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without one the file alone is checked, and that is said."""
    (tmp_path / "rules.toml").write_text(RULES)
    code = run(["attendance", "check", "rules.toml"])
    told = capsys.readouterr().out

    assert 0 == code
    assert "not compared with the rules: there is no file var/hrsync.db" in told
    assert not (tmp_path / "var").exists()


def test_check_refuses_rules_that_contradict_the_table(
    database_url: str, settings_env: Callable[..., Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An assignment of the table to a pattern that the file has no more is a mistake: exit code 78."""
    (tmp_path / "rules.toml").write_text(RULES)
    settings_env(maria_url=database_url)

    async def assign() -> None:
        database = Database("hrsync database", "MARIA_URL", database_url)
        row = {
            "made_by": "anna@host",
            "reason": "asked for",
            "made_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            "scope": "employee",
            "target": "E1",
            "pattern": "nights",
        }
        async with database.session() as session:
            await session.execute(insert(AssignmentRow).values(**row))
        await database.dispose()

    asyncio.run(assign())

    assert 78 == run(["attendance", "check", "rules.toml"])
    assert "shows it): employee E1: there is no pattern nights; there are: office" in capsys.readouterr().err
