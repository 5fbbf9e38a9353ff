"""The fictional company: the same every time, and as untidy as it says."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backend.demo.company import PUNCH_DAYS, change_hris, write_biostar, write_hris

UNTIL = dt.date(2026, 11, 20)


def rows(path: Path, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def scalar(path: Path, sql: str, *values: object) -> Any:
    return rows(path, sql, *values)[0][0]


def dump(path: Path) -> Sequence[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture(scope="module")
def hris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("company") / "hris.db"
    write_hris(path)
    return path


@pytest.fixture(scope="module")
def biostar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("company") / "biostar.db"
    write_biostar(path, until=UNTIL)
    return path


def test_same_seed_same_company(hris: Path, biostar: Path, tmp_path: Path) -> None:
    """The same seed writes the same content, over whatever was there."""
    again = tmp_path / "again.db"
    again.write_bytes(b"something else")
    write_hris(again)
    assert dump(hris) == dump(again)
    write_biostar(again, until=UNTIL)
    assert dump(biostar) == dump(again)


def test_another_seed_is_another_company(hris: Path, tmp_path: Path) -> None:
    """Another seed writes other people."""
    other = tmp_path / "other.db"
    write_hris(other, seed=8)
    assert dump(hris) != dump(other)


@pytest.mark.parametrize("seed", [1, 7, 99])
def test_every_wart_is_there(tmp_path: Path, seed: int) -> None:
    """Whatever the seed, the HRIS has every defect that its description names."""
    path = tmp_path / "hris.db"
    write_hris(path, seed=seed)

    assert scalar(path, "SELECT COUNT(*) FROM HR_EMPLOYEE") >= 250
    assert scalar(path, "SELECT COUNT(*) FROM HR_EMPLOYEE WHERE EMP_NO IS NULL OR TRIM(EMP_NO) = ''") == 2
    assert rows(
        path,
        "SELECT UPPER(TRIM(EMP_NO)) FROM HR_EMPLOYEE WHERE TRIM(EMP_NO) <> ''"
        " GROUP BY 1, EMP_STINT HAVING COUNT(*) > 1",
    ) == [("E00120",)]
    assert rows(path, "SELECT UPPER(TRIM(EMP_NO)) FROM HR_EMPLOYEE WHERE EMP_STINT = 2 ORDER BY 1") == [
        ("E00100",),
        ("E00101",),
    ]
    assert rows(
        path,
        "SELECT LOWER(TRIM(EMAIL)) AS mail FROM HR_EMPLOYEE WHERE EMAIL IS NOT NULL GROUP BY mail"
        " HAVING COUNT(DISTINCT UPPER(TRIM(EMP_NO))) > 1 ORDER BY mail",
    ) == [("staff090@aldermere.example",), ("staff092@aldermere.example",), ("staff102@aldermere.example",)]
    assert rows(
        path,
        "SELECT DEPT_ID FROM HR_DEPARTMENT WHERE UPPER(TRIM(PARENT_DEPT_ID)) NOT IN"
        " (SELECT DEPT_ID FROM HR_DEPARTMENT WHERE DEPT_ID IS NOT NULL)",
    ) == [("D790",)]
    managers = dict(rows(path, "SELECT UPPER(TRIM(EMP_NO)), UPPER(TRIM(MANAGER_EMP_NO)) FROM HR_EMPLOYEE"))
    assert [managers[f"E{n:05}"] for n in range(60, 65)] == ["E00061", "E00062", "E00060", "E00063", "E09999"]
    assert scalar(path, "SELECT EMP_STATUS FROM HR_EMPLOYEE WHERE EMP_NO = 'E00020'") == "T"
    assert "E00020" in managers.values()
    assert scalar(path, "SELECT COUNT(*) FROM HR_EMPLOYEE WHERE TERM_DATE LIKE '1900-01-01%'") == 10
    # One more for the second row of employee 120.
    assert scalar(path, "SELECT COUNT(*) FROM HR_EMPLOYEE WHERE TERM_DATE = '9999-12-31'") == 18
    assert (
        scalar(path, "SELECT COUNT(*) FROM HR_EMPLOYEE WHERE HIRE_DATE = '31.02.2019' OR TERM_DATE = '2021-13-45'") == 2
    )
    assert (
        len(
            rows(
                path,
                "SELECT UPPER(EMP_NO) FROM HR_EMP_DEPARTMENT WHERE TO_DATE IS NULL OR TO_DATE = '9999-12-31'"
                " GROUP BY 1 HAVING COUNT(*) > 1",
            )
        )
        == 4
    )
    names = "".join(name for (name,) in rows(path, "SELECT LAST_NAME FROM HR_EMPLOYEE WHERE LAST_NAME IS NOT NULL"))
    assert any("\u0600" <= letter <= "\u06ff" for letter in names)
    assert any("\u4e00" <= letter <= "\u9fff" for letter in names)


def test_every_reference_else_is_sound(hris: Path) -> None:
    """Apart from the known defects, every job, department and manager that is referred to exists."""
    assert (
        rows(
            hris,
            "SELECT EMP_NO FROM HR_EMPLOYEE WHERE UPPER(TRIM(JOB_CODE)) NOT IN"
            " (SELECT TRIM(JOB_CODE) FROM HR_JOB WHERE JOB_CODE IS NOT NULL)",
        )
        == []
    )
    assert rows(
        hris,
        "SELECT EMP_NO FROM HR_EMP_DEPARTMENT WHERE UPPER(TRIM(DEPT_ID)) NOT IN"
        " (SELECT DEPT_ID FROM HR_DEPARTMENT WHERE DEPT_ID IS NOT NULL)",
    ) == [("E00138",)]
    assert rows(
        hris,
        "SELECT EMP_NO FROM HR_EMPLOYEE WHERE UPPER(TRIM(MANAGER_EMP_NO)) NOT IN"
        " (SELECT UPPER(TRIM(EMP_NO)) FROM HR_EMPLOYEE WHERE EMP_NO IS NOT NULL)",
    ) == [("E00064",)]


def test_a_working_day_changes_other_people_each_time(hris: Path, tmp_path: Path) -> None:
    """Each call hires, dismisses, moves and renames, and never the same person twice."""
    path = tmp_path / "hris.db"
    path.write_bytes(hris.read_bytes())
    first = change_hris(path, on=UNTIL)
    second = change_hris(path, on=UNTIL)
    assert first == [
        "E00301 was hired into D320",
        "E00150 left",
        "E00180 moved to D210",
        "E00200 has a new last name",
        "D620 is now called Academy 1",
    ]
    assert set(first) & set(second) == set()
    terminated = "SELECT EMP_NO FROM HR_EMPLOYEE WHERE EMP_STATUS = 'T' AND TERM_DATE = ? ORDER BY EMP_NO"
    assert rows(path, terminated, UNTIL.isoformat()) == [("E00150",), ("E00151",)]
    assert scalar(path, "SELECT COUNT(*) FROM HR_EMPLOYEE") == scalar(hris, "SELECT COUNT(*) FROM HR_EMPLOYEE") + 2


def test_events_lie_in_the_table_of_their_month_in_utc(biostar: Path) -> None:
    """Each event is in the table of its device time's month in UTC, and the tables cover the days asked for."""
    tables = [name for (name,) in rows(biostar, "SELECT name FROM sqlite_master WHERE name LIKE 't_lg%' ORDER BY 1")]
    assert tables == ["t_lg202608", "t_lg202609", "t_lg202610", "t_lg202611"]
    for table in tables:
        months = rows(biostar, f"SELECT DISTINCT strftime('%Y%m', DEVDT, 'unixepoch') FROM {table}")
        assert months == [(table.removeprefix("t_lg"),)]
    first = dt.datetime.fromtimestamp(scalar(biostar, "SELECT MIN(DEVDT) FROM t_lg202608"), dt.UTC).date()
    assert abs((UNTIL - first).days - PUNCH_DAYS) <= 1


def test_an_offline_reader_delivered_late(biostar: Path) -> None:
    """Some events have a later key than events that happened days after them."""
    late = (
        "SELECT COUNT(*) FROM t_lg202610 AS late WHERE DEVUID = 541000302 AND EXISTS (SELECT 1 FROM t_lg202610 AS other"
        " WHERE other.EVTLGUID < late.EVTLGUID AND other.DEVDT > late.DEVDT + 86400)"
    )
    early = late.replace("t_lg202610", "t_lg202609")
    assert scalar(biostar, late) + scalar(biostar, early) > 10


def test_punches_know_the_people_of_the_hris(hris: Path, biostar: Path) -> None:
    """Every user who punched is an employee's badge, but for one visitor."""
    badges = {badge for (badge,) in rows(hris, "SELECT BADGE_ID FROM HR_EMPLOYEE")}
    users = {user for (user,) in rows(biostar, "SELECT DISTINCT USRID FROM t_lg202610 WHERE USRID IS NOT NULL")}
    assert users - badges == {"99001"}
