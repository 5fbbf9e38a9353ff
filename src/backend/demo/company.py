"""A fictional company, made the same way every time: its HRIS and its BioStar 2 database as plain SQLite files.

Both know the same people and are as untidy as real ones; what a careful replication must find in them is always there,
whatever the seed. People, addresses and numbers are invented.

The HRIS, in the style of a bought product (dates are text; none is NULL, 1900-01-01 or 9999-12-31):

    HR_DEPARTMENT      DEPT_ID, DEPT_NAME, PARENT_DEPT_ID, COST_CENTRE, ACTIVE_FLAG (Y/N)
    HR_JOB             JOB_CODE, JOB_TITLE, JOB_GRADE, ACTIVE_FLAG (Y/N)
    HR_EMPLOYEE        EMP_ROW_ID, EMP_NO, EMP_STINT (2: rehired under the same number), FIRST_NAME, LAST_NAME,
                       DISPLAY_NAME, EMAIL, PHONE, JOB_CODE, MANAGER_EMP_NO, EMP_STATUS (A active, L on leave,
                       S suspended, T terminated), HIRE_DATE, TERM_DATE, BADGE_ID (the BioStar user), WORK_SITE,
                       LAST_CHANGED
    HR_EMP_DEPARTMENT  ASSIGNMENT_ID, EMP_NO, DEPT_ID, FROM_DATE, TO_DATE

The warts of the HRIS by employee number: 20 a terminated manager; 60-62 manage each other in a circle, 63 himself, 64
is managed by nobody known; 70-75 numbers in lower case, 76-85 with trailing blanks; 90/91 and 92/93 share an e-mail
address; 100 and 101 rehired under their number, 102 under a new one (290); 103-130 dates that mean none; 120 twice in
different case; 131 and 132 unreadable dates; 133-136 two open department rows; 137 an unknown status; 138 an unknown
department; 139 no name; 140 no department; 141 no job. Two employees, a department and a job have no key; the parent of
D790 does not exist. References to keys come in any case and with blanks.

BioStar: T_LGyyyymm by device time in UTC, T_USR, T_USRGR, T_DEV, T_EVTTYP (lower case, as on MariaDB). People of three
sites punch in and out with the keys 1 and 2, some also for breaks (3, 4); some forget to, punch twice or press no key;
readers refuse fingers, set their clocks, and one reader was offline and delivered its punches days later. A visitor's
card belongs to no employee.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

DEFAULT_SEED = 7
# Days of punches before and with the last one: three months, touching four month tables.
PUNCH_DAYS = 92
EMPLOYEES = 272

_NONE_EARLY, _NONE_LATE = "1900-01-01", "9999-12-31"

_GIVEN = {
    "BER": (
        "Anna Bastian Clara David Elif Felix Greta Henrik Ida Jonas Katja Lars Mila Nils Olga Paul Renate Stefan Tilda "
        "Uwe Vera Wim Yara Zoe Jürgen Søren Chloé Łucja Björn Agnès"
    ),
    "CAI": "أحمد فاطمة محمود ليلى خالد مريم يوسف نور عمر سلمى طارق هدى كريم رانيا سامي دينا حسن منى علي آية",
    "SHA": "伟 芳 娜 敏 静 丽 强 磊 军 洋 勇 艳 杰 娟 涛 明 超 秀兰 霞 平",
}
_FAMILY = {
    "BER": (
        "Albers Brandt Carstens Dorn Ehlers Falk Gruber Hartwig Ivers Jansen Köhler Lindqvist Möller Nowak O'Brien "
        "Petersen Quast Rossi Schäfer Thomsen Ullrich Vogt Weiß Yılmaz Zander D'Angelo Müller-Lüdenscheidt García "
        "Nguyễn Østergård"
    ),
    "CAI": "المصري حسن السيد عبدالله إبراهيم منصور الشريف سليمان فاروق رمضان نجيب الحداد زكي صالح عثمان",
    "SHA": "王 李 张 刘 陈 杨 赵 黄 周 吴 徐 孙 胡 朱 高",
}
_SITES = {"BER": ZoneInfo("Europe/Berlin"), "CAI": ZoneInfo("Africa/Cairo"), "SHA": ZoneInfo("Asia/Shanghai")}
_WEEKENDS = {"BER": (5, 6), "CAI": (4, 5), "SHA": (5, 6)}

_DEPARTMENTS = (
    ("D100", "Management", None),
    ("D200", "Sales", "D100"),
    ("D210", "Sales Europe", "D200"),
    ("D220", "Sales Middle East", "D200"),
    ("D230", "Sales Asia", "d200"),
    ("D300", "Research & Development", "D100"),
    ("D310", "Electronics", "D300"),
    ("D320", "Software", "d300  "),
    ("D330", "Test Laboratory   ", "D300"),
    ("D400", "Production", "D100"),
    ("D410", "Assembly", "D400"),
    ("D420", "Calibration", "D400 "),
    ("D430", "Warehouse", "D400"),
    ("D500", "Finance", "D100"),
    ("D510", "Accounting", "D500"),
    ("D520", "Controlling", "D500"),
    ("D600", "People", "D100"),
    ("D610", "Payroll", "D600"),
    ("D620", "Training", "D600"),
    ("D790", "Facility Services", "D700"),
    ("D800", "Information Technology", "D100"),
    ("D810", "Service Desk", "D800"),
    ("D820", "Infrastructure", "D800"),
    ("D900", "Legacy Products", "D300"),
    (None, "Project Phoenix (not released)", "D300"),
)
_DIVISIONS = ("D200", "D300", "D400", "D500", "D600", "D800")
_TEAMS = tuple(
    code
    for code, _, parent in _DEPARTMENTS
    if code and code != "D900" and code not in _DIVISIONS and parent is not None
)
_JOBS = (
    ("J001", "Managing Director", 20), ("J002", "Division Head", 17), ("J003", "Team Lead", 14),
    ("J101", "Sales Representative", 9), ("J102", "Key Account Manager", 12), ("J103", "Sales Assistant", 6),
    ("J104", "Application Engineer", 11), ("J201", "Electronics Engineer", 11), ("J202", "Software Engineer", 11),
    ("J203", "Senior Software Engineer", 13), ("J204", "Laboratory Technician", 7), ("J205", "Test Engineer", 10),
    ("J206", "Product Manager", 13), ("J301", "Assembly Worker", 4), ("J302", "Assembly Specialist", 6),
    ("J303", "Calibration Technician", 7), ("J304", "Warehouse Clerk", 4), ("J305", "Forklift Driver", 4),
    ("J306", "Production Planner", 9), ("J401", "Accountant", 8), ("J402", "Controller", 11), ("J403", "Treasurer", 12),
    ("J501", "HR Business Partner", 11), ("J502", "Payroll Clerk", 7), ("J503", "Trainer", 9),
    ("J601", "Technician", 5), ("J602", "Receptionist", 4), ("J701", "Service Desk Agent", 6),
    ("J702", "System Engineer", 11), ("J703", "Database Administrator", 12),
)  # fmt: skip
_STAFF_JOBS = {
    "D2": ("J101", "J102", "J103", "J104"), "D3": ("J201", "J202", "J203", "J204", "J205", "J206"),
    "D4": ("J301", "J302", "J303", "J304", "J305", "J306"), "D5": ("J401", "J402", "J403"),
    "D6": ("J501", "J502", "J503"), "D7": ("J601", "J602"), "D8": ("J701", "J702", "J703"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Person:
    number: int
    site: str
    first_name: str
    last_name: str
    email: str
    phone: str
    department: str
    job: str
    manager: int | None
    status: str
    hired_on: dt.date
    left_on: dt.date | None

    @property
    def employee_no(self) -> str:
        return f"E{self.number:05}"

    @property
    def badge(self) -> str:
        return str(10_000 + self.number)


def write_hris(path: Path, *, seed: int = DEFAULT_SEED) -> None:
    """Write the company's HRIS, replacing the file. The same seed gives the same content.

    Raises:
        OSError, sqlite3.Error: the file cannot be written.
    """
    people = _make_people(seed)
    with _new_database(path) as connection:
        connection.executescript(_HRIS_TABLES)
        _insert(connection, "HR_DEPARTMENT", _department_rows())
        _insert(connection, "HR_JOB", _job_rows())
        _insert(connection, "HR_EMPLOYEE", [(index, *row) for index, row in enumerate(_employee_rows(people, seed), 1)])
        _insert(connection, "HR_EMP_DEPARTMENT", [(i, *row) for i, row in enumerate(_assignment_rows(people), 1)])


def change_hris(path: Path, *, on: dt.date | None = None) -> list[str]:
    """Edit the HRIS as a working day does: a hire, a leaver, a move, a rename, a new department name.

    Each call picks other people. Returns what was done, a line for each edit.

    Args:
        on: the day that the edits take effect; today (UTC) by default.
    """
    today = (on or dt.datetime.now(dt.UTC).date()).isoformat()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        (newest,) = connection.execute("SELECT MAX(CAST(SUBSTR(EMP_NO, 2) AS INTEGER)) FROM HR_EMPLOYEE").fetchone()
        hired = max(int(newest) + 1, 301)
        turn = hired - 301
        leaver, mover, renamed = (f"E{first + turn % 20:05}" for first in (150, 180, 200))
        team = _TEAMS[turn % len(_TEAMS)]
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


def write_biostar(path: Path, *, until: dt.date, seed: int = DEFAULT_SEED) -> None:
    """Write the company's BioStar 2 database, replacing the file: the punches of `PUNCH_DAYS` days up to `until`.

    Args:
        until: the last day with punches (each site's own day).

    Raises:
        OSError, sqlite3.Error: the file cannot be written.
    """
    people = _make_people(seed)
    events = _make_events(people, until, seed)
    with _new_database(path) as connection:
        connection.executescript(_BIOSTAR_TABLES)
        _insert(connection, "t_usrgr", [(1, "All Users", 1), (2, "Employees", 2), (3, "Visitors", 2)])
        _insert(connection, "t_usr", _user_rows(people))
        _insert(connection, "t_dev", [(device.id, device.name, device.ip, "N") for device in _DEVICES])
        _insert(connection, "t_evttyp", sorted(_EVENT_NAMES.items()))
        for month, rows in sorted(_by_month(events).items()):
            connection.execute(_EVENT_TABLE.format(month=month))
            _insert(connection, f"t_lg{month}", [(number, *row) for number, row in enumerate(rows, 1)])


# --- the people -----------------------------------------------------------------------------------------------------


def _make_people(seed: int) -> list[_Person]:
    """The company as it would be if everything were in order: who terminated managers and circles are comes later."""
    dice = random.Random(f"people {seed}")  # noqa: S311 - play, not secrets
    taken: set[tuple[str, str]] = set()
    people = []
    for number in range(1, EMPLOYEES + 1):
        site = dice.choices(("BER", "CAI", "SHA"), (6, 2, 2))[0]
        first, last = _draw_name(dice, site, taken)
        department, job, manager = _draw_place(dice, number)
        left = number == 20 or (number > 230 and dice.random() < 0.4)
        hired_on = dt.date(2008, 1, 7) + dt.timedelta(days=dice.randrange(6000))
        people.append(
            _Person(
                number=number,
                site=site,
                first_name=first,
                last_name=last,
                email=f"staff{number:03}@aldermere.example",
                phone=f"+{ {'BER': '49 30', 'CAI': '20 2', 'SHA': '86 21'}[site] } 5550 {number:04}",
                department=department,
                job=job,
                manager=manager,
                status="T" if left else dice.choices("ALS", (95, 4, 1))[0],
                hired_on=hired_on,
                left_on=hired_on + dt.timedelta(days=dice.randrange(90, 500)) if left else None,
            )
        )
    return people


def _draw_name(dice: random.Random, site: str, taken: set[tuple[str, str]]) -> tuple[str, str]:
    while True:
        name = dice.choice(_GIVEN[site].split()), dice.choice(_FAMILY[site].split())
        if name not in taken:
            taken.add(name)
            return name


def _draw_place(dice: random.Random, number: int) -> tuple[str, str, int | None]:
    """Department, job and manager: 1 directs, 2-7 head the divisions, 8-23 lead the teams, the others work there."""
    heads, leads = 2, 2 + len(_DIVISIONS)
    if number < heads:
        return "D100", "J001", None
    if number < leads:
        return _DIVISIONS[number - heads], "J002", 1
    if number < leads + len(_TEAMS):
        team = _TEAMS[number - leads]
        division = f"{team[:2]}00"
        return team, "J003", heads + _DIVISIONS.index(division) if division in _DIVISIONS else 1
    # Production is where most people work.
    index = dice.choices(range(len(_TEAMS)), [5 if team.startswith("D4") else 2 for team in _TEAMS])[0]
    return _TEAMS[index], dice.choice(_STAFF_JOBS[_TEAMS[index][:2]]), leads + index


# --- the HRIS -------------------------------------------------------------------------------------------------------

_HRIS_TABLES = """
CREATE TABLE HR_DEPARTMENT (DEPT_ID TEXT, DEPT_NAME TEXT, PARENT_DEPT_ID TEXT, COST_CENTRE TEXT, ACTIVE_FLAG TEXT);
CREATE TABLE HR_JOB (JOB_CODE TEXT, JOB_TITLE TEXT, JOB_GRADE INTEGER, ACTIVE_FLAG TEXT);
CREATE TABLE HR_EMPLOYEE (
    EMP_ROW_ID INTEGER PRIMARY KEY, EMP_NO TEXT, EMP_STINT INTEGER, FIRST_NAME TEXT, LAST_NAME TEXT, DISPLAY_NAME TEXT,
    EMAIL TEXT, PHONE TEXT, JOB_CODE TEXT, MANAGER_EMP_NO TEXT, EMP_STATUS TEXT, HIRE_DATE TEXT, TERM_DATE TEXT,
    BADGE_ID TEXT, WORK_SITE TEXT, LAST_CHANGED TEXT);
CREATE TABLE HR_EMP_DEPARTMENT (
    ASSIGNMENT_ID INTEGER PRIMARY KEY, EMP_NO TEXT, DEPT_ID TEXT, FROM_DATE TEXT, TO_DATE TEXT);
"""

_Row = tuple[object, ...]


def _department_rows() -> list[_Row]:
    return [
        (code, name, parent, f"CC{code[1:]}0" if code else None, "N" if code == "D900" else "Y")
        for code, name, parent in _DEPARTMENTS
    ]


def _job_rows() -> list[_Row]:
    rows: list[_Row] = [(f"{code}  " if code == "J204" else code, title, grade, "Y") for code, title, grade in _JOBS]
    return [*rows, (None, "Intern (draft)", 1, "N")]


def _employee_rows(people: list[_Person], seed: int) -> Iterator[_Row]:
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


def _employee_row(person: _Person, dice: random.Random) -> dict[str, object]:
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


def _assignment_rows(people: list[_Person]) -> Iterator[_Row]:
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


# --- BioStar --------------------------------------------------------------------------------------------------------

_BIOSTAR_TABLES = """
CREATE TABLE t_usr (
    USRUID INTEGER PRIMARY KEY AUTOINCREMENT, USRID VARCHAR(32), NM VARCHAR(128), EML VARCHAR(128), DSBDUSR CHAR(1),
    DEL CHAR(1), STTDT DATETIME, EXPDT DATETIME, USRGRUID INT, LSTMODDT DATETIME);
CREATE TABLE t_usrgr (USRGRUID INTEGER PRIMARY KEY, NM VARCHAR(128), DEP INT);
CREATE TABLE t_dev (DEVID INTEGER PRIMARY KEY, NM VARCHAR(128), IP VARCHAR(64), DEL CHAR(1));
CREATE TABLE t_evttyp (EVT INTEGER PRIMARY KEY, NM VARCHAR(128));
"""
_EVENT_TABLE = """
CREATE TABLE t_lg{month} (
    EVTLGUID INTEGER PRIMARY KEY AUTOINCREMENT, SRVDT DATETIME, DEVDT INT, DEVUID INT, DEVLGIDX INT, USRID VARCHAR(32),
    USRGRUID INT, EVT INT, TNAKEY INT, DRUID INT, ZNUID INT, CRDSL INT, IS_DST INT, TMZN_HOUR INT, TMZN_HALF INT,
    TMZN_NEGTV INT, USRUDTBYDEV CHAR(1), HINT VARCHAR(64), TEMPER INT)
"""
_EVENT_NAMES = {
    4097: "VERIFY_SUCCESS_ID_PIN", 4098: "VERIFY_SUCCESS_ID_FINGER", 4102: "VERIFY_SUCCESS_CARD", 4352: "VERIFY_FAIL",
    4865: "IDENTIFY_SUCCESS_FINGER", 4867: "IDENTIFY_SUCCESS_FACE", 5120: "IDENTIFY_FAIL", 6400: "ACCESS_DENIED",
    12800: "TIME_SET", 12801: "TIME_ZONE_SET", 12802: "DST_SET",
}  # fmt: skip
_IN, _OUT, _BREAK_START, _BREAK_END = 1, 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    id: int
    name: str
    ip: str
    site: str


_DEVICES = (
    _Device(id=541_000_101, name="BER main entrance", ip="192.0.2.11", site="BER"),
    _Device(id=541_000_102, name="BER production gate", ip="192.0.2.12", site="BER"),
    _Device(id=541_000_103, name="BER car park", ip="192.0.2.13", site="BER"),
    _Device(id=541_000_201, name="CAI entrance", ip="198.51.100.21", site="CAI"),
    _Device(id=541_000_301, name="SHA entrance", ip="203.0.113.31", site="SHA"),
    _Device(id=541_000_302, name="SHA laboratory", ip="203.0.113.32", site="SHA"),
)
# This reader lost its network for a while and delivered afterwards.
_OFFLINE_DEVICE = 541_000_302
_OFFLINE_DAYS = range(30, 44)
_VISITOR = "99001"
# Shifts of production by week: seconds after midnight of begin and end.
_ROTATION = ((6 * 3600, 14 * 3600), (14 * 3600, 22 * 3600), (22 * 3600, 30 * 3600))


@dataclass(slots=True, kw_only=True)
class _Event:
    """One line of an event table; a plain value that the generator makes by the ten thousand."""

    at: int
    device: int
    user: str | None
    code: int
    key: int = 0
    arrived_at: int = 0


def _make_events(people: list[_Person], until: dt.date, seed: int) -> list[_Event]:
    events: list[_Event] = []
    first = until - dt.timedelta(days=PUNCH_DAYS - 1)
    for offset in range(PUNCH_DAYS):
        day = first + dt.timedelta(days=offset)
        # By day, so that a later `until` does not change what happened before.
        dice = random.Random(f"punches {seed} {day}")  # noqa: S311
        for site, zone in _SITES.items():
            midnight = int(dt.datetime.combine(day, dt.time(), zone).timestamp())
            if day.weekday() not in _WEEKENDS[site]:
                for person in people:
                    if person.site == site and _is_employed(person, day) and dice.random() < 0.92:
                        events.extend(_work_day(person, day, midnight, dice))
                if dice.random() < 0.2:
                    events.append(_Event(at=midnight + 36_000, device=_devices(site)[0], user=_VISITOR, code=4102))
            if day.weekday() == 6:
                events.extend(
                    _Event(at=midnight + 3 * 3600 + index, device=device, user=None, code=12800)
                    for index, device in enumerate(_devices(site))
                )
    for event in events:
        event.arrived_at = event.at + 2
    _delay_offline_device(events, first)
    # Keys are given in the order of arrival.
    events.sort(key=lambda event: event.arrived_at)
    return events


def _is_employed(person: _Person, day: dt.date) -> bool:
    return person.status == "A" and person.hired_on <= day and person.number != 102


def _work_day(person: _Person, day: dt.date, midnight: int, dice: random.Random) -> Iterator[_Event]:
    in_production = person.department.startswith("D4") and person.job.startswith("J3")
    devices = _devices(person.site)
    device = devices[1 % len(devices)] if in_production else devices[person.number % len(devices)]
    code = dice.choice((4102, 4865, 4865, 4867))
    if in_production:
        begin, end = _ROTATION[(day.isocalendar().week + person.number) % 3]
        begin, end = begin - dice.randrange(0, 900), end + dice.randrange(0, 600)
    else:
        begin = 8 * 3600 + 1800 + int(dice.gauss(0, 1200))
        end = begin + 8 * 3600 + 2700 + int(dice.gauss(0, 1500))
    punches = [(begin, _IN), (end, _OUT)]
    if person.number % 4 == 0:
        pause = begin + 4 * 3600 + dice.randrange(-900, 900)
        punches[1:1] = [(pause, _BREAK_START), (pause + dice.randrange(1500, 3300), _BREAK_END)]
    if dice.random() < 0.015:
        punches.pop()  # forgot to punch out
    for second, key in punches:
        at = midnight + second
        oddity = dice.random()
        if oddity < 0.03:
            yield _Event(at=at - 4, device=device, user=None, code=5120)  # the finger was not recognised at first
        elif oddity < 0.035:
            yield _Event(at=at - 5, device=device, user=person.badge, code=6400, key=key)
        elif oddity < 0.055:
            yield _Event(at=at + 7, device=device, user=person.badge, code=code, key=key)  # punched twice
        elif oddity < 0.065:
            key = 0  # noqa: PLW2901 - pressed no key
        yield _Event(at=at, device=device, user=person.badge, code=code, key=key)


def _devices(site: str) -> list[int]:
    return [device.id for device in _DEVICES if device.site == site]


def _delay_offline_device(events: list[_Event], first: dt.date) -> None:
    zone = _SITES["SHA"]
    begin, end = (
        int(dt.datetime.combine(first + dt.timedelta(days=days), dt.time(), zone).timestamp())
        for days in (_OFFLINE_DAYS.start, _OFFLINE_DAYS.stop)
    )
    for event in events:
        if event.device == _OFFLINE_DEVICE and begin <= event.at < end:
            event.arrived_at = end + 9 * 3600


def _by_month(events: list[_Event]) -> dict[str, list[_Row]]:
    """The rows of each month table, without their key, in the order in which they arrived."""
    months: dict[str, list[_Row]] = {}
    counters: Counter[int] = Counter()
    for event in events:
        counters[event.device] += 1
        month = dt.datetime.fromtimestamp(event.at, dt.UTC).strftime("%Y%m")
        arrived = dt.datetime.fromtimestamp(event.arrived_at, _SITES["BER"]).strftime("%Y-%m-%d %H:%M:%S")
        months.setdefault(month, []).append(
            (
                arrived, event.at, event.device, counters[event.device], event.user, 2 if event.user else 0, event.code,
                event.key, 0, 0, 0, 0, 1, 0, 0, "N", "", 0,
            )
        )  # fmt: skip
    return months


def _user_rows(people: list[_Person]) -> list[_Row]:
    rows: list[_Row] = [
        (
            number, person.badge, f"{person.first_name} {person.last_name}", person.email,
            "Y" if person.status == "T" else "N", "N", "2001-01-01 00:00:00", "2030-12-31 23:59:00", 2,
            "2025-12-01 08:00:00",
        )
        for number, person in enumerate(people, 1)
    ]  # fmt: skip
    visitor = (
        len(rows) + 1, _VISITOR, "Visitor 1", None, "N", "N", "2001-01-01 00:00:00", "2030-12-31 23:59:00", 3,
        "2025-12-01 08:00:00",
    )  # fmt: skip
    return [*rows, visitor]


# --- SQLite ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _new_database(path: Path) -> Iterator[sqlite3.Connection]:
    """A new file that takes the place of the old one when it is complete; readers of the old one are not disturbed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(draft)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        with connection:
            yield connection
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    draft.replace(path)


def _insert(connection: sqlite3.Connection, table: str, rows: list[_Row]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own names
