"""The company's BioStar 2 database as an SQLite file."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.demo.absences import KNOWN_DAYS, Away, make_calendar
from backend.demo.people import DEFAULT_SEED, SITES, WEEKENDS, Person, make_people
from backend.demo.sqlite_file import Row, insert, new_database

# Days of punches before and with the last one.
PUNCH_DAYS = KNOWN_DAYS

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
# Somebody sets the clock of this reader every other Wednesday, while people arrive; until then it is slow that morning.
_SLOW_DEVICE = 541_000_103
_SLOW_WEEKDAY, _SLOW_SECONDS = 2, 720
_SLOW_FROM, _SET_AT = 5 * 3600, 8 * 3600 + 1980
_VISITOR = "99001"
_WORKS = Away()
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


def write_biostar(path: Path, *, until: dt.date, seed: int = DEFAULT_SEED) -> None:
    """Write the company's BioStar 2 database, replacing the file: the punches of `PUNCH_DAYS` days up to `until`.

    Args:
        until: the last day with punches (each site's own day).

    Raises:
        OSError, sqlite3.Error: the file cannot be written.
    """
    people = make_people(seed)
    events = _make_events(people, until, seed)
    with new_database(path) as connection:
        connection.executescript(_BIOSTAR_TABLES)
        insert(connection, "t_usrgr", [(1, "All Users", 1), (2, "Employees", 2), (3, "Visitors", 2)])
        insert(connection, "t_usr", _user_rows(people))
        insert(connection, "t_dev", [(device.id, device.name, device.ip, "N") for device in _DEVICES])
        insert(connection, "t_evttyp", sorted(_EVENT_NAMES.items()))
        for month, rows in sorted(_by_month(events).items()):
            connection.execute(_EVENT_TABLE.format(month=month))
            insert(connection, f"t_lg{month}", [(number, *row) for number, row in enumerate(rows, 1)])


def _make_events(people: list[Person], until: dt.date, seed: int) -> list[_Event]:
    events: list[_Event] = []
    calendar = make_calendar(people, until, seed)
    first = until - dt.timedelta(days=PUNCH_DAYS - 1)
    for offset in range(PUNCH_DAYS):
        day = first + dt.timedelta(days=offset)
        # By day, so that a later `until` does not change what happened before.
        dice = random.Random(f"punches {seed} {day}")  # noqa: S311
        extra = random.Random(f"extra {seed} {day}")  # noqa: S311
        for site, zone in SITES.items():
            midnight = int(dt.datetime.combine(day, dt.time(), zone).timestamp())
            there = [person for person in people if person.site == site and _is_employed(person, day)]
            if day.weekday() not in WEEKENDS[site]:
                for person in there:
                    away = calendar.get((person.number, day), _WORKS)
                    more = _extra_seconds(person, away, extra)
                    # A few stay away without a leave.
                    if dice.random() < 0.996 and not away.is_whole:
                        events.extend(_work_day(person, away, day, midnight, more, dice))
                if dice.random() < 0.2:
                    events.append(_Event(at=midnight + 36_000, device=_devices(site)[0], user=_VISITOR, code=4102))
            else:
                for person in there:
                    if extra.random() < 0.012 and (person.number, day) not in calendar and not _in_production(person):
                        events.extend(_rest_day(person, midnight, extra))
            if day.weekday() == 6:
                events.extend(
                    _Event(at=midnight + 3 * 3600 + index, device=device, user=None, code=12800)
                    for index, device in enumerate(_devices(site))
                )
    for event in events:
        event.arrived_at = event.at + 2
    events.extend(_slow_clock(events, first, until))
    _delay_offline_device(events, first)
    # Keys are given in the order of arrival.
    events.sort(key=lambda event: event.arrived_at)
    return events


def _is_employed(person: Person, day: dt.date) -> bool:
    return person.status == "A" and person.hired_on <= day


def _in_production(person: Person) -> bool:
    return person.department.startswith("D4") and person.job.startswith("J3")


def _extra_seconds(person: Person, away: Away, dice: random.Random) -> int:
    """How much longer somebody stays that day; mostly not at all."""
    stays, share = dice.random() < 0.02, dice.random()
    if not stays or away.halves or away.hours:
        return 0
    return int(1500 + 1200 * share) if _in_production(person) else int(7200 + 5400 * share)


def _rest_day(person: Person, midnight: int, dice: random.Random) -> Iterator[_Event]:
    """Somebody comes for some hours of a rest day."""
    begin = midnight + 9 * 3600 + dice.randrange(3600)
    for at, key in ((begin, _IN), (begin + dice.randrange(2 * 3600, 5 * 3600), _OUT)):
        yield _Event(at=at, device=_devices(person.site)[0], user=person.badge, code=4865, key=key)


def _work_day(  # noqa: PLR0917 - each of another kind
    person: Person, away: Away, day: dt.date, midnight: int, more: int, dice: random.Random
) -> Iterator[_Event]:
    in_production = _in_production(person)
    devices = _devices(person.site)
    device = devices[1 % len(devices)] if in_production else devices[person.number % len(devices)]
    code = dice.choice((4102, 4865, 4865, 4867))
    if in_production:
        # In turns over the end of the year as well; the crews change at the week-end.
        week = (day.toordinal() + 5 - max(WEEKENDS[person.site])) // 7
        begin, end = _ROTATION[(week + person.number) % 3]
        begin, end = begin - dice.randrange(0, 900), end + dice.randrange(0, 600)
    else:
        begin = 8 * 3600 + 1800 + int(dice.gauss(0, 1200))
        end = begin + 8 * 3600 + 2700 + int(dice.gauss(0, 1500))
    end += more
    middle = (begin + end) // 2
    begin = middle if "AM" in away.halves else begin
    end = (middle if "PM" in away.halves else end) - int(away.hours * 3600)
    punches = [(begin, _IN), (end, _OUT)]
    if person.number % 4 == 0 and end - begin > 6 * 3600:
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


def _slow_clock(events: list[_Event], first: dt.date, until: dt.date) -> Iterator[_Event]:
    """Let the slow reader's events have its time, and set its clock."""
    for offset in range((until - first).days + 1):
        day = first + dt.timedelta(days=offset)
        if day.weekday() == _SLOW_WEEKDAY and day.toordinal() // 7 % 2:
            midnight = int(dt.datetime.combine(day, dt.time(), SITES["BER"]).timestamp())
            for event in events:
                if event.device == _SLOW_DEVICE and midnight + _SLOW_FROM <= event.at < midnight + _SET_AT:
                    event.at -= _SLOW_SECONDS
            at = midnight + _SET_AT
            yield _Event(at=at, device=_SLOW_DEVICE, user=None, code=12800, arrived_at=at + 2)


def _delay_offline_device(events: list[_Event], first: dt.date) -> None:
    zone = SITES["SHA"]
    begin, end = (
        int(dt.datetime.combine(first + dt.timedelta(days=days), dt.time(), zone).timestamp())
        for days in (_OFFLINE_DAYS.start, _OFFLINE_DAYS.stop)
    )
    for event in events:
        if event.device == _OFFLINE_DEVICE and begin <= event.at < end:
            event.arrived_at = end + 9 * 3600


def deliver_punch(path: Path, *, user: str, at: dt.datetime, device: int) -> None:
    """Write a check-out that a reader still had into the table of its month, after everything that is there.

    Raises:
        sqlite3.Error: the file cannot be written, or has no events of that month.
    """
    columns = "SRVDT, DEVDT, DEVUID, DEVLGIDX, USRID, USRGRUID, EVT, TNAKEY"
    arrived = dt.datetime.now(SITES["BER"]).strftime("%Y-%m-%d %H:%M:%S")
    row = (arrived, int(at.timestamp()), device, 0, user, 2, 4865, _OUT)
    table, marks = f"t_lg{at.astimezone(dt.UTC):%Y%m}", ", ".join("?" * len(row))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)  # noqa: S608 - our own names


def _by_month(events: list[_Event]) -> dict[str, list[Row]]:
    """The rows of each month table, without their key, in the order in which they arrived."""
    months: dict[str, list[Row]] = {}
    counters: Counter[int] = Counter()
    for event in events:
        counters[event.device] += 1
        month = dt.datetime.fromtimestamp(event.at, dt.UTC).strftime("%Y%m")
        arrived = dt.datetime.fromtimestamp(event.arrived_at, SITES["BER"]).strftime("%Y-%m-%d %H:%M:%S")
        months.setdefault(month, []).append(
            (
                arrived, event.at, event.device, counters[event.device], event.user, 2 if event.user else 0, event.code,
                event.key, 0, 0, 0, 0, 1, 0, 0, "N", "", 0,
            )
        )  # fmt: skip
    return months


def _user_rows(people: list[Person]) -> list[Row]:
    rows: list[Row] = [
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
