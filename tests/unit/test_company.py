"""The fictional company: the same every time, and as untidy as it says."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backend.demo.company import PUNCH_DAYS, break_hris, change_hris, mend_hris, write_biostar, write_hris

UNTIL = dt.date(2026, 11, 20)
ZONES = {"BER": ZoneInfo("Europe/Berlin"), "CAI": ZoneInfo("Africa/Cairo"), "SHA": ZoneInfo("Asia/Shanghai")}
WEEKENDS = {"BER": (5, 6), "CAI": (4, 5), "SHA": (5, 6)}


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
    write_hris(path, until=UNTIL)
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
    write_hris(again, until=UNTIL)
    assert dump(hris) == dump(again)
    write_biostar(again, until=UNTIL)
    assert dump(biostar) == dump(again)


def test_another_seed_is_another_company(hris: Path, tmp_path: Path) -> None:
    """Another seed writes other people."""
    other = tmp_path / "other.db"
    write_hris(other, until=UNTIL, seed=8)
    assert dump(hris) != dump(other)


@pytest.mark.parametrize("seed", [1, 7, 99])
def test_every_wart_is_there(tmp_path: Path, seed: int) -> None:
    """Whatever the seed, the HRIS has every defect that its description names."""
    path = tmp_path / "hris.db"
    write_hris(path, until=UNTIL, seed=seed)

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


@pytest.mark.parametrize("seed", [1, 7, 99])
@pytest.mark.parametrize("until", [UNTIL, dt.date(2027, 1, 31), dt.date(2028, 2, 29)])
def test_every_wart_of_the_leaves_is_there(tmp_path: Path, seed: int, until: dt.date) -> None:
    """Whatever the seed and the day: a leave of nobody, one that ends before it begins, a cancelled one, two at a time,
    an unreadable date, half days, hours, a request; a holiday without a date, a half one, one of all sites."""
    path = tmp_path / "hris.db"
    write_hris(path, until=until, seed=seed)

    known = "(SELECT UPPER(TRIM(EMP_NO)) FROM HR_EMPLOYEE WHERE EMP_NO IS NOT NULL)"
    assert rows(path, f"SELECT EMP_NO FROM HR_LEAVE WHERE UPPER(EMP_NO) NOT IN {known}") == [("E09998",)]
    readable = "FROM_DATE GLOB '????-??-??'"
    assert rows(path, f"SELECT EMP_NO FROM HR_LEAVE WHERE {readable} AND FROM_DATE > TO_DATE") == [("E00032",)]
    assert rows(path, f"SELECT EMP_NO FROM HR_LEAVE WHERE NOT {readable}") == [("E00035",)]
    assert rows(path, "SELECT LEAVE_STATUS FROM HR_LEAVE WHERE EMP_NO = 'E00033'") == [("C",)]
    (first, last), (ill_on, well_on) = rows(path, "SELECT FROM_DATE, TO_DATE FROM HR_LEAVE WHERE EMP_NO = 'E00034'")
    assert first < ill_on <= well_on < last
    assert scalar(path, "SELECT COUNT(*) = COUNT(DISTINCT LEAVE_ID) FROM HR_LEAVE") == 1
    assert {"VAC", "SICK", "PAR"} == {kind for (kind,) in rows(path, "SELECT LEAVE_TYPE FROM HR_LEAVE")}
    assert {"A", "R", "C"} == {status for (status,) in rows(path, "SELECT LEAVE_STATUS FROM HR_LEAVE")}
    assert {None, "AM", "PM"} == {half for (half,) in rows(path, "SELECT HALF_DAY FROM HR_LEAVE")}
    assert scalar(path, "SELECT COUNT(*) FROM HR_LEAVE WHERE HOURS > 0") > 10
    ahead = (until + dt.timedelta(days=31)).isoformat()
    assert until.isoformat() < scalar(path, f"SELECT MAX(FROM_DATE) FROM HR_LEAVE WHERE {readable}") <= ahead
    assert {None, "BER", "CAI", "SHA"} == {site for (site,) in rows(path, "SELECT SITE FROM HR_HOLIDAY")}
    assert rows(path, "SELECT SITE FROM HR_HOLIDAY WHERE HOLIDAY_DATE IS NULL") == [("CAI",)]
    half = "SELECT COUNT(*) FROM HR_HOLIDAY WHERE HALF_DAY = 'PM' AND SITE IS NULL AND HOLIDAY_DATE BETWEEN ? AND ?"
    assert scalar(path, half, (until - dt.timedelta(days=PUNCH_DAYS)).isoformat(), ahead) >= 1


def test_leaves_of_the_past_stay_as_they_were(hris: Path, tmp_path: Path) -> None:
    """On a later day the HRIS says the same of the days before, but for what was planned then."""
    later = tmp_path / "later.db"
    write_hris(later, until=UNTIL + dt.timedelta(days=7))
    both = (UNTIL - dt.timedelta(days=PUNCH_DAYS - 10)).isoformat(), UNTIL.isoformat()
    past = "SELECT * FROM HR_LEAVE WHERE LEAVE_ID > 10000100 AND FROM_DATE BETWEEN ? AND ? ORDER BY LEAVE_ID"
    assert rows(hris, past, *both) == rows(later, past, *both)


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


def test_a_filter_hides_people_until_it_is_taken_away(hris: Path, tmp_path: Path) -> None:
    """A broken HRIS shows one site's people only; mended it is what it was."""
    path = tmp_path / "hris.db"
    path.write_bytes(hris.read_bytes())
    everybody = "SELECT * FROM HR_EMPLOYEE"
    break_hris(path)
    assert rows(path, everybody) == rows(hris, f"{everybody} WHERE WORK_SITE = 'BER'")
    mend_hris(path)
    assert rows(path, everybody) == rows(hris, everybody)


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


# --- punches and leaves -----------------------------------------------------------------------------------------------


def free_days(hris: Path, *, half: bool) -> set[tuple[str, dt.date]]:
    """(badge, day) of every granted leave and of every holiday: the whole ones, or those of a half or of hours."""
    part = "HALF_DAY IS NOT NULL" if half else "HALF_DAY IS NULL"
    hours = "HOURS > 0 OR" if half else "HOURS = 0 AND"
    found = set()
    for badge, first, last in rows(
        hris,
        "SELECT DISTINCT BADGE_ID, FROM_DATE, TO_DATE FROM HR_LEAVE JOIN HR_EMPLOYEE AS e"
        " ON UPPER(TRIM(e.EMP_NO)) = UPPER(HR_LEAVE.EMP_NO) WHERE LEAVE_STATUS = 'A' AND FROM_DATE GLOB '????-??-??'"
        f" AND BADGE_ID IS NOT NULL AND ({hours} {part})",
    ):
        day = dt.date.fromisoformat(first)
        while day <= dt.date.fromisoformat(last):
            found.add((badge, day))
            day += dt.timedelta(days=1)
    for badge, on in rows(
        hris,
        "SELECT BADGE_ID, HOLIDAY_DATE FROM HR_HOLIDAY AS h JOIN HR_EMPLOYEE AS e ON h.SITE IS NULL"
        f" OR h.SITE = e.WORK_SITE WHERE HOLIDAY_DATE IS NOT NULL AND BADGE_ID IS NOT NULL AND {part}",
    ):
        found.add((badge, dt.date.fromisoformat(on)))
    return found


@pytest.fixture(scope="module")
def punches(hris: Path, biostar: Path) -> dict[tuple[str, dt.date], list[tuple[int, dt.datetime]]]:
    """(badge, day of the site) -> (key, local time) of each punch."""
    sites = dict(rows(hris, "SELECT BADGE_ID, WORK_SITE FROM HR_EMPLOYEE WHERE BADGE_ID IS NOT NULL"))
    found: dict[tuple[str, dt.date], list[tuple[int, dt.datetime]]] = {}
    for table in ("t_lg202608", "t_lg202609", "t_lg202610", "t_lg202611"):
        for user, at, key in rows(biostar, f"SELECT USRID, DEVDT, TNAKEY FROM {table} WHERE EVT <> 6400"):
            if user in sites:
                local = dt.datetime.fromtimestamp(at, ZONES[sites[user]])
                found.setdefault((user, local.date()), []).append((key, local))
    return found


Punches = dict[tuple[str, dt.date], list[tuple[int, dt.datetime]]]


def test_nobody_comes_on_a_free_day(hris: Path, punches: Punches) -> None:
    """Nobody begins to work on a day of leave, or on a holiday of his site."""
    # Who had the first half of a night free comes after midnight; no shift begins so early.
    came = {place for place, found in punches.items() if any(key == 1 and at.hour >= 4 for key, at in found)}
    free = free_days(hris, half=False)
    assert came & free == set()
    assert len({badge for badge, _ in free}) > 200


def test_on_half_a_free_day_people_work_less(hris: Path, punches: Punches) -> None:
    """On a half holiday or leave, or with leave by the hour, people are there for a shorter time."""

    def mean(days: set[tuple[str, dt.date]]) -> float:
        lengths = []
        for found in (punches.get(place, []) for place in days):
            came, went = ([at for key, at in found if key == wanted] for wanted in (1, 2))
            if came and went and max(went) > min(came):  # no night shift
                lengths.append((max(went) - min(came)).total_seconds() / 3600)
        assert len(lengths) > 50
        return sum(lengths) / len(lengths)

    shortened = free_days(hris, half=True)
    assert mean(shortened) < mean(set(punches) - shortened) - 2


def test_most_absences_are_explained(hris: Path, punches: Punches) -> None:
    """Of the working days on which active people did not come, nearly all are leaves and holidays; a few are not."""
    active = rows(hris, "SELECT BADGE_ID, WORK_SITE FROM HR_EMPLOYEE WHERE EMP_STATUS = 'A' AND BADGE_ID IS NOT NULL")
    days = [UNTIL - dt.timedelta(days=ago) for ago in range(PUNCH_DAYS)]
    absent = {
        (badge, day)
        for badge, site in active
        for day in days
        if day.weekday() not in WEEKENDS[site] and (badge, day) not in punches
    }
    unexplained = absent - free_days(hris, half=False)
    assert 0 < len(unexplained) < len(absent) / 10
