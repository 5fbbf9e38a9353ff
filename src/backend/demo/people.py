"""The people of the fictional company: who they would be if everything were in order; made the same every time."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from zoneinfo import ZoneInfo

DEFAULT_SEED = 7
EMPLOYEES = 272

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
SITES = {"BER": ZoneInfo("Europe/Berlin"), "CAI": ZoneInfo("Africa/Cairo"), "SHA": ZoneInfo("Asia/Shanghai")}
WEEKENDS = {"BER": (5, 6), "CAI": (4, 5), "SHA": (5, 6)}

DEPARTMENTS = (
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
TEAMS = tuple(
    code for code, _, parent in DEPARTMENTS if code and code != "D900" and code not in _DIVISIONS and parent is not None
)
JOBS = (
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
class Person:
    """Somebody; `left_on` and `status` are of the HRIS: A active, L on leave, S suspended, T terminated."""

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
        # 102 has come back under another number, and with another badge.
        return str(10_000 + (290 if self.number == 102 else self.number))


def make_people(seed: int) -> list[Person]:
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
            Person(
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
    if number < leads + len(TEAMS):
        team = TEAMS[number - leads]
        division = f"{team[:2]}00"
        return team, "J003", heads + _DIVISIONS.index(division) if division in _DIVISIONS else 1
    # Production is where most people work.
    index = dice.choices(range(len(TEAMS)), [5 if team.startswith("D4") else 2 for team in TEAMS])[0]
    return TEAMS[index], dice.choice(_STAFF_JOBS[TEAMS[index][:2]]), leads + index
