"""Whose the user ids of the time clocks are: by rule, by hand, when employees appear, change or share one."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping

import pytest
from sqlalchemy import select, update

from backend.adapters.attendance_store import DatabaseAttendanceStore
from backend.adapters.punch_list import PRE_EMPLOYMENT, PunchFilter, fetch_punches
from backend.adapters.punch_users import DatabasePunchUsers
from backend.db.database import Database
from backend.db.models import Employee, Stream
from backend.db.models.attendance import DirtyDays, PunchUser
from backend.domain.punches import EmployeeRule, PunchRules
from backend.errors import NotFoundError
from backend.services.ingest_punches import ingest_punches
from backend.services.match_users import MatchReport, match_users
from tests.support.biostar import Biostar, event
from tests.support.hris import RecordedRun

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
RULE = EmployeeRule()


async def add_employee(database: Database, number: str, **values: object) -> None:
    """An active employee."""
    usual: dict[str, object] = {
        "employee_no": number, "full_name": f"Employee {number}", "status": "active", "is_active": True,
        "row_hash": b"\0" * 16, "first_seen_at": NOW, "changed_at": NOW, "execution_id": "x",
    }  # fmt: skip
    async with database.session() as session:
        session.add(Employee(**(usual | values)))


async def punch(database: Database, tmp_path: object, **days: tuple[str, ...]) -> None:
    """Let users `u...` punch at these times, and ingest them."""
    biostar = Biostar(f"sqlite+aiosqlite:///{tmp_path}/biostar.db")
    await biostar.install()
    for user, times in days.items():
        for at in times:
            await biostar.add(at[:7].replace("-", ""), event(at, user.removeprefix("u")))
    await ingest(biostar, database)
    await biostar.dispose()


async def ingest(biostar: Biostar, database: Database, rule: EmployeeRule = RULE) -> None:
    await ingest_punches(
        RecordedRun(),
        [biostar.source(dataclasses.replace(PunchRules(), employee=rule))],
        store=DatabaseAttendanceStore(database),
        users=DatabasePunchUsers(database),
        now=NOW,
    )


async def match(database: Database, rule: EmployeeRule = RULE) -> MatchReport:
    return await match_users(DatabasePunchUsers(database), {"biostar": rule})


async def owners(database: Database) -> Mapping[str, str | None]:
    """User id -> employee."""
    async with database.session() as session:
        return {user.user_id: user.employee_no for user in await session.scalars(select(PunchUser))}


async def dirty(database: Database) -> list[tuple[str, str, str, str]]:
    """(employee, first, last, reason) of the marks."""
    async with database.session() as session:
        rows = await session.scalars(select(DirtyDays).order_by(DirtyDays.employee_no, DirtyDays.id))
        return [(row.employee_no, str(row.first_on), str(row.last_on), row.reason) for row in rows]


async def test_punches_go_to_their_employee(database: Database, tmp_path: object) -> None:
    """A run gives new users to the employees who have their id, and marks the days around their punches."""
    await add_employee(database, "E1", biostar_user_id="10001")
    await punch(database, tmp_path, u10001=("2026-11-02 08:00", "2026-11-04 17:00"), u10002=("2026-11-02 08:00",))
    assert {"10001": "E1", "10002": None} == await owners(database)
    assert [("E1", "2026-11-01", "2026-11-05", "user")] == await dirty(database)
    assert MatchReport(matched=1, unmatched=1, changed=0) == await match(database)
    assert 1 == len(await dirty(database))


async def test_punches_wait_for_their_employee(database: Database, tmp_path: object) -> None:
    """When the employee of an unknown user appears, the punches that are there become theirs."""
    await punch(database, tmp_path, u10002=("2026-10-02 08:00", "2026-11-02 08:00"))
    await add_employee(database, "E2", biostar_user_id="10002")
    assert MatchReport(matched=1, unmatched=0, changed=1) == await match(database)
    assert {"10002": "E2"} == await owners(database)
    assert [("E2", "2026-10-01", "2026-11-03", "user")] == await dirty(database)


async def test_an_id_that_goes_to_another_marks_both(database: Database, tmp_path: object) -> None:
    """Whoever loses a user and whoever gains it have other days."""
    await add_employee(database, "E1", biostar_user_id="10001")
    await punch(database, tmp_path, u10001=("2026-11-02 08:00",))
    async with database.session() as session:
        await session.execute(update(Employee).values(biostar_user_id=None))
    await add_employee(database, "E2", biostar_user_id="10001")
    assert 1 == (await match(database)).changed
    marks = [("E1", "2026-11-01", "2026-11-03", "user")] * 2 + [("E2", "2026-11-01", "2026-11-03", "user")]
    assert marks == await dirty(database)


async def test_two_ids_may_be_one_employees(database: Database, tmp_path: object) -> None:
    """Somebody with a second badge is one employee."""
    await add_employee(database, "E1", biostar_user_id="10001")
    await punch(database, tmp_path, u10001=("2026-11-02 08:00",), u10002=("2026-11-02 17:00",))
    await DatabasePunchUsers(database).assign("biostar", "10002", "E1", actor="ann@example.com")
    await match(database)
    assert {"10001": "E1", "10002": "E1"} == await owners(database)


@pytest.mark.parametrize(
    ("active", "owner", "reason"),
    [
        ((True, True), None, "2 employees have this biostar_user_id: E1, E2"),
        ((False, False), None, "2 employees have this biostar_user_id: E1, E2"),
        ((False, True), "E2", "biostar_user_id of the employee"),
    ],
)
async def test_an_id_of_several_employees(
    database: Database, tmp_path: object, active: tuple[bool, bool], owner: str | None, reason: str
) -> None:
    """It is the one's who is active; of several it is nobody's, and the list says why."""
    for number, is_active in zip(("E1", "E2"), active, strict=True):
        await add_employee(database, number, biostar_user_id="10001", is_active=is_active)
    await punch(database, tmp_path, u10001=("2026-11-02 08:00",))
    (facts,) = await DatabasePunchUsers(database).list_users({"biostar": RULE})
    assert (owner, reason, 1) == (facts.employee_no, facts.reason, facts.punch_count)


@pytest.mark.parametrize(
    ("rule", "owner"),
    [
        (EmployeeRule(column="employee_no"), None),
        (EmployeeRule(column="employee_no", ignore_leading_zeros=True), "00123"),
        (EmployeeRule(column="extra.badge"), None),
        (EmployeeRule(column="extra.badge", ignore_leading_zeros=True), "E7"),
        (EmployeeRule(column="extra.other"), "E8"),
    ],
)
async def test_rules_name_the_column(
    database: Database, tmp_path: object, rule: EmployeeRule, owner: str | None
) -> None:
    """A user id may be the employee number, or a custom field, with or without leading zeros."""
    if rule.column == "employee_no":
        await add_employee(database, "00123")
    await add_employee(database, "E7", extra={"badge": "0123", "other": None})
    await add_employee(database, "E8", extra={"badge": None, "other": 123})
    await add_employee(database, "E9", biostar_user_id="123")
    await punch(database, tmp_path, u123=("2026-11-02 08:00",))
    await match(database, rule)
    assert {"123": owner} == await owners(database)


async def test_keys_are_compared_exactly(database: Database, tmp_path: object) -> None:
    """Upper and lower case, accents and trailing blanks are not the same; an empty field is nobody's."""
    for number, user in (("E1", "ab"), ("E2", "AB "), ("E3", "áb"), ("E4", ""), ("E5", None)):
        await add_employee(database, number, biostar_user_id=user, extra={"badge": user})
    await punch(database, tmp_path, uAB=("2026-11-02 08:00",), uáb=("2026-11-02 08:00",))
    assert {"AB": None, "áb": "E3"} == await owners(database)
    await match(database, EmployeeRule(column="extra.badge"))
    assert {"AB": None, "áb": "E3"} == await owners(database)


async def test_what_somebody_says_goes_before_the_rule(database: Database, tmp_path: object) -> None:
    """An assignment by hand holds until it is taken back; both mark the days."""
    await add_employee(database, "E1", biostar_user_id="10001")
    await add_employee(database, "E2")
    await punch(database, tmp_path, u10001=("2026-11-02 08:00",))
    users = DatabasePunchUsers(database)
    await users.assign("biostar", "10001", "E2", actor="ann@example.com")
    assert 1 == (await match(database)).changed
    (facts,) = await users.list_users({"biostar": RULE})
    assert ("E2", "assigned by ann@example.com") == (facts.employee_no, facts.reason)
    await users.assign("biostar", "10001", None, actor="ann@example.com")
    assert 1 == (await match(database)).changed
    assert {"10001": "E1"} == await owners(database)
    assert ["E1", "E1", "E1", "E2", "E2"] == [number for number, *_ in await dirty(database)]


async def test_an_id_is_assigned_before_it_punches(database: Database, tmp_path: object) -> None:
    """Who is known beforehand has their punches at once."""
    await add_employee(database, "E1")
    await DatabasePunchUsers(database).assign("biostar", "10001", "E1", actor="ann@example.com")
    await match(database)
    assert [] == await dirty(database)
    await punch(database, tmp_path, u10001=("2026-11-02 08:00",))
    assert {"10001": "E1"} == await owners(database)


async def test_only_what_is_there_can_be_said_or_taken_back(database: Database) -> None:
    """An employee who does not exist, and an assignment that nobody has made, are not found."""
    users = DatabasePunchUsers(database)
    with pytest.raises(NotFoundError, match="no employee 'E404'"):
        await users.assign("biostar", "10001", "E404", actor="ann@example.com")
    with pytest.raises(NotFoundError, match="Nobody has assigned"):
        await users.assign("biostar", "10001", None, actor="ann@example.com")
    assert {} == await owners(database)


async def test_many_users_are_matched(database: Database, tmp_path: object) -> None:
    """More users than fit into one statement are all matched."""
    biostar = Biostar(f"sqlite+aiosqlite:///{tmp_path}/biostar.db")
    await biostar.install()
    await biostar.add("202611", *(event("2026-11-02 08:00", str(user)) for user in range(1200)))
    async with database.session() as session:
        session.add_all(
            Employee(
                employee_no=f"E{user}", full_name="x", status="active", is_active=True, row_hash=b"\0" * 16,
                first_seen_at=NOW, changed_at=NOW, execution_id="x", biostar_user_id=str(user),
            )
            for user in range(1200)
        )  # fmt: skip
    await ingest(biostar, database)
    await biostar.dispose()
    assert {str(user): f"E{user}" for user in range(1200)} == await owners(database)
    assert 1200 == len(await dirty(database))


async def test_punches_before_the_first_day_are_told(database: Database, tmp_path: object) -> None:
    """What is before an employee's first day wherever they work is pre-employment, and can be asked for."""
    await add_employee(database, "E1", biostar_user_id="10001", hired_on=dt.date(2026, 11, 3))
    await punch(database, tmp_path, u10001=("2026-11-02 09:59:59", "2026-11-02 10:00:00"))
    assert [[], ["pre_employment"]] == [item.flags for item in await fetch_punches(database, PunchFilter(), limit=10)]
    found = await fetch_punches(database, PunchFilter(flag=PRE_EMPLOYMENT), limit=10)
    assert [("E1", dt.datetime(2026, 11, 2, 9, 59, 59, tzinfo=dt.UTC), ["pre_employment"])] == [
        (item.employee_no, item.punched_at, item.flags) for item in found
    ]


async def test_a_poll_matches_when_the_employees_have_changed(database: Database, tmp_path: object) -> None:
    """Without new events users are matched again only after a replication, or with another rule."""
    await punch(database, tmp_path, u10001=("2026-11-02 08:00",))
    await add_employee(database, "10001", biostar_user_id="10001")
    biostar = Biostar(f"sqlite+aiosqlite:///{tmp_path}/biostar.db")
    await ingest(biostar, database)
    assert {"10001": None} == await owners(database)
    async with database.session() as session:
        session.add(Stream(code="hris.employees", watermark={"revision": 1}))
    await ingest(biostar, database)
    assert {"10001": "10001"} == await owners(database)
    await ingest(biostar, database, EmployeeRule(column="extra.badge"))
    assert {"10001": None} == await owners(database)
    await biostar.dispose()
