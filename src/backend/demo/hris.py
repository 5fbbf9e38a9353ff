"""The company's HRIS as an SQLite file: writes it, and does to it what people do to one."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from backend.demo.absences import Leave, make_holidays, make_leaves
from backend.demo.people import DEFAULT_SEED, DEPARTMENTS, JOBS, TEAMS, Person, make_people
from backend.demo.sqlite_file import Row, insert, new_database

_NONE_EARLY, _NONE_LATE = "1900-01-01", "9999-12-31"


def write_hris(path: Path, *, until: dt.date | None = None, seed: int = DEFAULT_SEED) -> None:
    """Write the company's HRIS, replacing the file. The same seed and day give the same content.

    Args:
        until: the day that it is: leaves reach from three months before to a month after; today (UTC) by default.

    Raises:
        OSError, sqlite3.Error: the file cannot be written.
    """
    people = make_people(seed)
    today = until or _today()
    leaves = make_leaves(people, today, seed)
    with new_database(path) as connection:
        connection.executescript(_HRIS_TABLES)
        insert(connection, "HR_DEPARTMENT", _department_rows())
        insert(connection, "HR_JOB", _job_rows())
        insert(connection, "HR_EMPLOYEE", [(index, *row) for index, row in enumerate(_employee_rows(people, seed), 1)])
        insert(connection, "HR_EMP_DEPARTMENT", [(i, *row) for i, row in enumerate(_assignment_rows(people), 1)])
        insert(connection, "HR_LEAVE", [_leave_row(leave) for leave in leaves])
        insert(connection, "HR_HOLIDAY", list(_holiday_rows(today)))


def change_hris(path: Path, *, on: dt.date | None = None) -> list[str]:
    """Edit the HRIS as a working day does: a hire, a leaver, a move, a rename, a new department name.

    Each call picks other people. Returns what was done, a line for each edit.

    Args:
        on: the day that the edits take effect; today (UTC) by default.
    """
    today = (on or _today()).isoformat()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        (newest,) = connection.execute("SELECT MAX(CAST(SUBSTR(EMP_NO, 2) AS INTEGER)) FROM HR_EMPLOYEE").fetchone()
        hired = max(int(newest) + 1, 301)
        turn = hired - 301
        leaver, mover, renamed = (f"E{first + turn % 20:05}" for first in (150, 180, 200))
        team = TEAMS[turn % len(TEAMS)]
        hire = (
            f"E{hired:05}", 1, "Nora", f"Neumann-{turn + 1}", None, f"nora.neumann{turn + 1}@aldermere.example",
            "+49 30 5550 0100", "J202", "E00003", "A", today, None, str(10_000 + hired), "BER", today,
        )  # fmt: skip
        connection.execute(
            "INSERT INTO HR_EMPLOYEE (EMP_NO, EMP_STINT, FIRST_NAME, LAST_NAME, DISPLAY_NAME, EMAIL, PHONE, JOB_CODE,"
            " MANAGER_EMP_NO, EMP_STATUS, HIRE_DATE, TERM_DATE, BADGE_ID, WORK_SITE, LAST_CHANGED)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            hire,
        )
        connection.execute(
            "UPDATE HR_EMPLOYEE SET EMP_STATUS = 'T', TERM_DATE = ?, LAST_CHANGED = ? WHERE EMP_NO = ?",
            (today, today, leaver),
        )
        connection.execute(
            "UPDATE HR_EMP_DEPARTMENT SET TO_DATE = ? WHERE EMP_NO = ? AND (TO_DATE IS NULL OR TO_DATE = ?)",
            (today, mover, _NONE_LATE),
        )
        connection.executemany(
            "INSERT INTO HR_EMP_DEPARTMENT (EMP_NO, DEPT_ID, FROM_DATE, TO_DATE) VALUES (?, ?, ?, NULL)",
            [(mover, team, today), (hire[0], "D320", today)],
        )
        connection.execute(
            "UPDATE HR_EMPLOYEE SET LAST_NAME = 'Sommer', DISPLAY_NAME = NULL, LAST_CHANGED = ? WHERE EMP_NO = ?",
            (today, renamed),
        )
        connection.execute("UPDATE HR_DEPARTMENT SET DEPT_NAME = ? WHERE DEPT_ID = 'D620'", (f"Academy {turn + 1}",))
    return [
        f"{hire[0]} was hired into D320",
        f"{leaver} left",
        f"{mover} moved to {team}",
        f"{renamed} has a new last name",
        f"D620 is now called Academy {turn + 1}",
    ]


def break_hris(path: Path) -> None:
    """Leave a filter where the employees are read: only Berlin's are there, until `mend_hris` takes it away."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "BEGIN; ALTER TABLE HR_EMPLOYEE RENAME TO HR_EMPLOYEE_ALL;"
            " CREATE VIEW HR_EMPLOYEE AS SELECT * FROM HR_EMPLOYEE_ALL WHERE WORK_SITE = 'BER'; COMMIT;"
        )


def mend_hris(path: Path) -> None:
    """Take the filter away that `break_hris` left."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "BEGIN; DROP VIEW HR_EMPLOYEE; ALTER TABLE HR_EMPLOYEE_ALL RENAME TO HR_EMPLOYEE; COMMIT;"
        )


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


# --- the rows --------------------------------------------------------------------------------------------------------

_HRIS_TABLES = """
CREATE TABLE HR_DEPARTMENT (DEPT_ID TEXT, DEPT_NAME TEXT, PARENT_DEPT_ID TEXT, COST_CENTRE TEXT, ACTIVE_FLAG TEXT);
CREATE TABLE HR_JOB (JOB_CODE TEXT, JOB_TITLE TEXT, JOB_GRADE INTEGER, ACTIVE_FLAG TEXT);
CREATE TABLE HR_EMPLOYEE (
    EMP_ROW_ID INTEGER PRIMARY KEY, EMP_NO TEXT, EMP_STINT INTEGER, FIRST_NAME TEXT, LAST_NAME TEXT, DISPLAY_NAME TEXT,
    EMAIL TEXT, PHONE TEXT, JOB_CODE TEXT, MANAGER_EMP_NO TEXT, EMP_STATUS TEXT, HIRE_DATE TEXT, TERM_DATE TEXT,
    BADGE_ID TEXT, WORK_SITE TEXT, LAST_CHANGED TEXT);
CREATE TABLE HR_EMP_DEPARTMENT (
    ASSIGNMENT_ID INTEGER PRIMARY KEY, EMP_NO TEXT, DEPT_ID TEXT, FROM_DATE TEXT, TO_DATE TEXT);
CREATE TABLE HR_LEAVE (
    LEAVE_ID INTEGER, EMP_NO TEXT, LEAVE_TYPE TEXT, FROM_DATE TEXT, TO_DATE TEXT, HALF_DAY TEXT, HOURS NUMERIC,
    LEAVE_STATUS TEXT);
CREATE TABLE HR_HOLIDAY (HOLIDAY_ID TEXT, HOLIDAY_DATE TEXT, HOLIDAY_NAME TEXT, SITE TEXT, HALF_DAY TEXT);
"""


def _department_rows() -> list[Row]:
    return [
        (code, name, parent, f"CC{code[1:]}0" if code else None, "N" if code == "D900" else "Y")
        for code, name, parent in DEPARTMENTS
    ]


def _job_rows() -> list[Row]:
    rows: list[Row] = [(f"{code}  " if code == "J204" else code, title, grade, "Y") for code, title, grade in JOBS]
    return [*rows, (None, "Intern (draft)", 1, "N")]


def _employee_rows(people: list[Person], seed: int) -> Iterator[Row]:
    dice = random.Random(f"warts {seed}")  # noqa: S311
    for person in people:
        row = _employee_row(person, dice)
        row |= _WARTS.get(person.number, {})
        if person.number in (100, 101):  # rehired under the same number: the earlier stint stays in the table
            yield tuple((row | {"EMP_STATUS": "T", "TERM_DATE": "2015-03-31", "BADGE_ID": None}).values())
            row |= {"EMP_STINT": 2, "HIRE_DATE": "2019-09-02"}
        yield tuple(row.values())
        if person.number == 120:
            yield tuple((row | {"EMP_NO": "e00120", "PHONE": "+49 30 5550 9120"}).values())
        if person.number == 102:
            yield tuple((row | _REHIRED_AS_290).values())
    yield tuple((_employee_row(people[200], dice) | {"EMP_NO": None, "BADGE_ID": None, "EMAIL": None}).values())
    yield tuple((_employee_row(people[201], dice) | {"EMP_NO": "   ", "BADGE_ID": None, "EMAIL": None}).values())


def _employee_row(person: Person, dice: random.Random) -> dict[str, object]:
    manager = f"E{person.manager:05}" if person.manager else None
    if manager and dice.random() < 0.1:
        manager = dice.choice((manager.lower(), manager + "  "))
    plain = 150 <= person.number < 230  # change_hris() finds these by their number
    display = f"{person.last_name}, {person.first_name}" if dice.random() < 0.6 and not plain else None
    return {
        "EMP_NO": person.employee_no,
        "EMP_STINT": 1,
        "FIRST_NAME": person.first_name + ("  " if dice.random() < 0.1 else ""),
        "LAST_NAME": person.last_name,
        "DISPLAY_NAME": display,
        "EMAIL": person.email if dice.random() < 0.97 else None,
        "PHONE": person.phone if dice.random() < 0.9 else "",
        "JOB_CODE": person.job.lower() if dice.random() < 0.05 else person.job,
        "MANAGER_EMP_NO": manager,
        "EMP_STATUS": person.status,
        "HIRE_DATE": f"{person.hired_on} 00:00:00",
        "TERM_DATE": f"{person.left_on} 00:00:00" if person.left_on else None,
        "BADGE_ID": person.badge,
        "WORK_SITE": person.site,
        "LAST_CHANGED": "2025-12-01 08:00:00",
    }


_WARTS: dict[int, dict[str, object]] = {
    60: {"MANAGER_EMP_NO": "E00061"},
    61: {"MANAGER_EMP_NO": "E00062"},
    62: {"MANAGER_EMP_NO": "E00060"},
    63: {"MANAGER_EMP_NO": "E00063"},
    64: {"MANAGER_EMP_NO": "E09999"},
    **{number: {"EMP_NO": f"e{number:05}"} for number in range(70, 76)},
    **{number: {"EMP_NO": f"E{number:05}   "} for number in range(76, 86)},
    90: {"EMAIL": "staff090@aldermere.example"},
    91: {"EMAIL": "staff090@aldermere.example"},
    92: {"EMAIL": "staff092@aldermere.example"},
    93: {"EMAIL": "Staff092@Aldermere.example "},
    102: {
        "EMP_STATUS": "T",
        "TERM_DATE": "2018-06-30 00:00:00",
        "BADGE_ID": None,
        "EMAIL": "staff102@aldermere.example",
    },
    **{number: {"TERM_DATE": f"{_NONE_EARLY} 00:00:00"} for number in range(103, 113)},
    113: {"HIRE_DATE": f"{_NONE_EARLY} 00:00:00"},
    **{number: {"TERM_DATE": _NONE_LATE} for number in range(114, 131)},
    131: {"HIRE_DATE": "31.02.2019"},
    132: {"TERM_DATE": "2021-13-45"},
    137: {"EMP_STATUS": "X"},
    139: {"FIRST_NAME": " ", "LAST_NAME": None, "DISPLAY_NAME": ""},
    141: {"JOB_CODE": None},
}
_REHIRED_AS_290: dict[str, object] = {
    "EMP_NO": "E00290",
    "EMP_STATUS": "A",
    "HIRE_DATE": "2020-02-03 00:00:00",
    "TERM_DATE": None,
    "BADGE_ID": "10290",
}


def _assignment_rows(people: list[Person]) -> Iterator[Row]:
    for person in people:
        number, hired_on = person.employee_no, person.hired_on.isoformat()
        if person.number == 140:
            continue
        if person.number % 9 == 0:  # has moved once
            moved_on = (person.hired_on + dt.timedelta(days=60)).isoformat()
            yield number, "D900", hired_on, moved_on
            hired_on = moved_on
        if person.number in range(133, 137):
            yield number, "D100", hired_on, None
            hired_on = (person.hired_on + dt.timedelta(days=30)).isoformat()
        department = {138: "D999", 66: person.department.lower(), 67: person.department + "  "}.get(
            person.number, person.department
        )
        yield (
            number.lower() if person.number in (70, 80) else number,
            department,
            hired_on,
            (_NONE_LATE if person.number % 2 else None),
        )
    yield "E00290", "D410", "2020-02-03", None


def _leave_row(leave: Leave) -> Row:
    number = f"E{leave.person:05}"
    return (
        leave.id,
        number.lower() if leave.id % 29 == 0 else number,
        leave.kind,
        f"{leave.starts_on:%d.%m.%Y}" if leave.person == 35 else leave.starts_on.isoformat(),
        leave.ends_on.isoformat(),
        leave.half,
        leave.hours,
        leave.status,
    )


def _holiday_rows(today: dt.date) -> Iterator[Row]:
    for holiday in make_holidays(today):
        yield f"{holiday.site or 'ALL'}-{holiday.on}", holiday.on.isoformat(), holiday.name, holiday.site, holiday.half
    # The moon has not been seen yet.
    yield f"CAI-{today.year + 1}-EID", None, "Eid al-Fitr", "CAI", None
