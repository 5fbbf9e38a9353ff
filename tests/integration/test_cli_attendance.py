"""`hrsync attendance`: days explained and listed, what people say about them, closed periods, and runs that compute."""

from __future__ import annotations

import asyncio
import datetime as dt
import zoneinfo
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import typer
from sqlalchemy import select

from backend.cli.attendance_words import read_date, read_dates, read_hours, read_instant
from backend.db.models import JobExecution
from backend.settings import Settings
from tests.support.attendance_world import BERLIN, World
from tests.support.cli import Cli, commands_of
from tests.support.databases import make_database

T = TypeVar("T")
MONDAY, TUESDAY, FRIDAY = "2026-11-16", "2026-11-17", "2026-11-20"
# It is yet to come, whenever the tests run.
FAR = "2199-06-03"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """`cli("days")` runs `hrsync attendance days` in this process."""
    with commands_of(capsys, "attendance") as call:
        yield call


class Office:
    """Ada and Ben work in Berlin; each call lets a `World` on hrsync's database do something."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder

    def do(self, *works: Callable[[World], Awaitable[T]]) -> T:
        """What the last one of these gives."""

        async def act() -> T:
            database = make_database(self._url)
            try:
                world = World(database, self._folder)
                for work in works:
                    result = await work(world)
                return result
            finally:
                await database.dispose()

        return asyncio.run(act())

    def open(self) -> None:
        """Ada works on Monday, and forgets to check out on Tuesday; Ben comes late on Monday, and then not any more."""
        self.do(
            lambda world: world.hire("ADA", "BEN", hired_on="2026-11-02"),
            lambda world: world.work("ADA", MONDAY),
            lambda world: world.punch("ADA", f"{TUESDAY} 09:00"),
            lambda world: world.punch("BEN", f"{MONDAY} 10:00", f"{MONDAY} 17:00"),
            lambda world: world.compute(MONDAY, FRIDAY),
            lambda world: world.recompute(),
        )

    def recompute(self) -> None:
        """As `attendance_recompute_dirty`."""
        self.do(lambda world: world.recompute())

    def executions(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Task, status and parameters of what was asked for."""

        async def read(world: World) -> list[tuple[str, str, dict[str, Any]]]:
            async with world.database.reader() as session:
                rows = await session.scalars(select(JobExecution).order_by(JobExecution.id))
                return [(row.task_code, row.status, dict(row.params)) for row in rows]

        return self.do(read)


@pytest.fixture
def office(database_url: str, tmp_path: Path, settings_env: Callable[..., Settings]) -> Office:
    """Their office after a week, on each engine."""
    made = _make(database_url, tmp_path, settings_env)
    made.open()
    return made


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path, settings_env: Callable[..., Settings]) -> Office:
    """The same where the engine does not matter."""
    made = _make(sqlite_url, tmp_path, settings_env)
    made.open()
    return made


def _make(url: str, tmp_path: Path, settings_env: Callable[..., Settings]) -> Office:
    (tmp_path / "config").mkdir()
    settings_env(maria_url=url, hrsync_config_dir=tmp_path / "config", celery_broker_url="memory://")
    return Office(url, tmp_path / "config")


# --- one day ----------------------------------------------------------------------------------------------------------


def test_a_day_is_explained_with_every_punch(office: Office, cli: Cli) -> None:
    """Name, place, rules, totals and punches with their numbers; JSON has the same with stable keys."""
    answer = cli("explain", "BEN", MONDAY)
    assert answer.code == 0
    for said in (
        "BEN Person BEN (Europe/Berlin, policy default)",
        "Monday, 2026-11-16: present",
        "Worked 7 h of 8 h",
        "Late by 1 h",
        "10:00 The first check-in; hours count from here.",
        "Punch numbers, for corrections: 10:00:00 #",
    ):
        assert said in answer.text
    found = cli("explain", "BEN", MONDAY, "--json").json
    assert {
        "employee_no": "BEN", "work_on": MONDAY, "status": "present", "worked_seconds": 7 * 3600, "late_seconds": 3600,
        "timezone": "Europe/Berlin", "policy": "default", "is_final": True, "is_locked": False, "is_marked": False,
        "adjustment": None,
    }.items() <= found.items()  # fmt: skip
    assert ["check_in", "check_out"] == [punch["fate"] for punch in found["punches"]]


def test_why_there_is_no_day_is_told(small: Office, cli: Cli) -> None:
    """Exit code 3, with the reason and what to do: nobody of that number, not employed, to come, marked, or not yet."""
    small.do(lambda world: world.hire("CLEO", hired_on="2020-01-01"))
    for arguments, said in (
        (
            ("NOBODY", MONDAY),
            "There is no employee NOBODY; numbers are those of the HRIS (`hrsync hris history NOBODY`).",
        ),
        (("ADA", "2026-11-01"), "ADA was not employed on 2026-11-01, so there is no day. Employed: 2026-11-02 to now."),
        (("ADA", FAR), f"{FAR} is yet to come."),
        (("CLEO", "2020-06-01"), "`hrsync attendance compute 2020-06-01 2020-06-01 --employee CLEO` does it."),
    ):
        answer = cli("explain", *arguments)
        assert (3, True) == (answer.code, said in answer.complaint), answer
    small.do(lambda world: world.look())
    assert (
        "is marked to be computed for CLEO: `hrsync attendance recompute`" in cli("explain", "CLEO", MONDAY).complaint
    )
    error = cli("explain", "NOBODY", MONDAY, "--json").json["error"]
    assert ("NotFoundError", 3) == (error["type"], error["exit_code"])


def test_a_day_that_was_touched_says_so(small: Office, cli: Cli) -> None:
    """Until it is computed again, the day is shown as it was, with a remark."""
    assert cli("add-punch", "ADA", f"{TUESDAY} 17:00", "--reason", "she called").code == 0
    answer = cli("explain", "ADA", TUESDAY)
    assert "A check-out is missing." in answer.text
    assert "Something has touched the day since; it will be computed again." in answer.text
    assert cli("explain", "ADA", TUESDAY, "--json").json["is_marked"] is True


# --- many days --------------------------------------------------------------------------------------------------------


def test_days_are_listed_by_what_is_asked_for(office: Office, cli: Cli) -> None:
    """By dates, people, status and anomaly; as a table for people and as explained days for programs."""
    week = ("--from", MONDAY, "--to", FRIDAY)
    listed = cli("days", *week, "--employee", "ADA")
    assert listed.code == 0
    assert "Mon 2026-11-16 ADA office present 09:00 17:00 8:00 - - -" in listed.text
    assert "missing_out" in listed.text
    assert "BEN" not in listed.out
    found = cli("days", *week, "--json").json["days"]
    assert 2 * 5 == len(found)
    assert {("ADA", MONDAY), ("BEN", FRIDAY)} <= {(day["employee_no"], day["work_on"]) for day in found}
    assert [("ADA", TUESDAY)] == [
        (day["employee_no"], day["work_on"])
        for day in cli("days", *week, "--anomaly", "missing_out", "--json").json["days"]
    ]
    absent = cli("days", *week, "--status", "absent", "--employee", "BEN", "--json").json["days"]
    assert [TUESDAY, "2026-11-18", "2026-11-19", FRIDAY] == [day["work_on"] for day in absent]
    assert 1 == len(cli("days", "--to", MONDAY, "--employee", "ADA", "--json").json["days"])


def test_days_that_are_not_there_are_told_apart(small: Office, cli: Cli) -> None:
    """Nothing computed, nothing like that, and more than are shown are three different things."""
    assert (
        cli("days", "--to", FAR).text
        == f"No day on {FAR} has been computed; `hrsync attendance compute FROM TO` does it."
    )
    nothing = cli("days", "--from", MONDAY, "--to", FRIDAY, "--department", "D1")
    assert (0, f"None of the computed days from {MONDAY} to {FRIDAY} is one of those that were asked for.") == (
        nothing.code, nothing.text
    )  # fmt: skip
    assert "These are the first 2; --limit gives more." in cli("days", "--from", MONDAY, "--to", FRIDAY, "-n", "2").err
    assert [] == cli("days", "--to", FAR, "--json").json["days"]
    nobody = cli("days", "--employee", "NOBODY", "--json")
    assert (3, "There is no employee NOBODY") == (nobody.code, nobody.json["error"]["message"][:27])


# --- what people say --------------------------------------------------------------------------------------------------


def test_a_missing_punch_is_added_and_taken_back(office: Office, cli: Cli) -> None:
    """The day follows, keeps who and why, and is what it was when the correction is withdrawn."""
    added = cli("add-punch", "ADA", f"{TUESDAY} 17:00", "--direction", "out", "--reason", "she called", "--json")
    assert (0, {"kind": "correction", "number": 1}) == (added.code, added.json)
    office.recompute()
    explained = cli("explain", "ADA", TUESDAY)
    assert "Worked 8 h" in explained.text
    assert "she called" in explained.text
    (amendment,) = cli("amendments", "--json").json["amendments"]
    assert {
        "kind": "correction", "id": 1, "employee_no": "ADA", "action": "add", "punch_id": None, "direction": "out",
        "punched_at": "2026-11-17T16:00:00Z", "reason": "she called", "withdrawn_at": None,
    }.items() <= amendment.items()  # fmt: skip
    assert "correction 1 ADA add 2026-11-17 16:00 UTC out" in cli("amendments", "--employee", "ADA").text

    taken = cli("withdraw", "correction", "1", "--reason", "it was Monday")
    assert (0, True) == (
        taken.code,
        taken.text.startswith("Correction 1 is withdrawn. The days it touches are computed"),
    )
    office.recompute()
    assert "A check-out is missing." in cli("explain", "ADA", TUESDAY).text
    assert cli("amendments").text == "Nobody has corrected, overridden or assigned anything."
    assert "correction 1 (withdrawn)" in cli("amendments", "--withdrawn").text
    again = cli("withdraw", "correction", "1", "--reason", "twice")
    assert (3, True) == (again.code, "There is no correction 1, or it has been withdrawn already." in again.complaint)


def test_a_punch_is_edited_and_ignored(small: Office, cli: Cli) -> None:
    """By the number that `explain` shows; the device's punch itself stays."""
    first, last = (punch["key"] for punch in cli("explain", "BEN", MONDAY, "--json").json["punches"])
    assert cli("edit-punch", "BEN", first, "--at", f"{MONDAY} 09:00", "--reason", "the reader was broken").code == 0
    small.recompute()
    found = cli("explain", "BEN", MONDAY, "--json").json
    assert (8 * 3600, 0, "edited") == (found["worked_seconds"], found["late_seconds"], found["punches"][0]["origin"])
    assert cli("ignore-punch", "BEN", last, "--reason", "that was his brother").code == 0
    small.recompute()
    found = cli("explain", "BEN", MONDAY, "--json").json
    assert (0, "ignored") == (found["worked_seconds"], found["punches"][1]["origin"])
    assert cli("edit-punch", "ADA", first, "--direction", "in", "--reason", "x").code == 3
    answer = cli("ignore-punch", "ADA", first, "--reason", "x")
    assert (3, True) == (
        answer.code,
        f"Employee ADA has no punch {first}; `hrsync attendance explain`" in answer.complaint,
    )


def test_a_day_is_overridden(small: Office, cli: Cli) -> None:
    """What is given replaces what was computed, and is told with who and why."""
    assert (
        cli("override", "BEN", TUESDAY, "--status", "present", "--worked", "7:30", "--reason", "at a customer").code
        == 0
    )
    small.recompute()
    found = cli("explain", "BEN", TUESDAY, "--json").json
    assert ("present", 27_000) == (found["status"], found["worked_seconds"])
    assert "at a customer" in cli("explain", "BEN", TUESDAY).text
    assert "override 1 BEN 2026-11-17: present, worked 7:30" in cli("amendments").text
    assert cli("override", "NOBODY", TUESDAY, "--late", "0:00", "--reason", "x").code == 3


def test_a_schedule_is_assigned(small: Office, cli: Cli) -> None:
    """To an employee or a department, from a date on; what contradicts the rules is refused with code 78."""
    given = cli("assign", "--employee", "BEN", "--pattern", "night", "--from", "2026-11-18", "--reason", "he asked")
    assert given.code == 0
    small.recompute()
    days = cli("days", "--from", MONDAY, "--to", FRIDAY, "--employee", "BEN", "--json").json["days"]
    assert ["office", "office", "night", "night", "night"] == [day["shift"] for day in days]
    assert cli("assign", "--department", "D1", "--policy", "default", "--reason", "x").code == 3
    small.do(lambda world: world.found_department("D1"))
    assert cli("assign", "--department", "D1", "--policy", "default", "--reason", "x").code == 0
    assert (
        cli("assign", "--employee", "BEN", "--exception", "--pattern", "", "--from", FRIDAY, "--reason", "x").code == 0
    )
    said = cli("amendments").text
    for text in (
        "pattern night from 2026-11-18",
        "department D1 policy default",
        f"exception BEN pattern none from {FRIDAY}",
    ):
        assert text in said
    for arguments, problem in (
        (("--pattern", "evening"), "there is no pattern evening"),
        (("--policy", "strict"), "there is no policy strict"),
        (("--pattern", "office", "--from", "2026-11-19"), "overlap"),
        (("--pattern", "office", "--from", FRIDAY, "--to", MONDAY), "it ends before it begins"),
    ):
        answer = cli("assign", "--employee", "BEN", *arguments, "--reason", "x")
        assert (78, True) == (answer.code, problem in answer.complaint), answer
    assert cli("assign", "--employee", "NOBODY", "--pattern", "night", "--reason", "x").code == 3


# --- closed periods ---------------------------------------------------------------------------------------------------


def test_what_changes_in_a_locked_period_is_an_adjustment(office: Office, cli: Cli) -> None:
    """The day stays, the difference is listed; when the lock is withdrawn, the day follows."""
    assert cli("locks").text == "No period is locked. `hrsync attendance lock FROM TO --reason ...` locks one."
    assert cli("adjustments").text.startswith("No adjustments:")
    office.do(lambda world: world.lock(MONDAY, TUESDAY))
    (lock,) = cli("locks", "--json").json["locks"]
    assert (MONDAY, TUESDAY, "payroll", "closed") == tuple(
        lock[name] for name in ("first_on", "last_on", "made_by", "reason")
    )
    assert f"{MONDAY} {TUESDAY}" in cli("locks").text

    cli("add-punch", "ADA", f"{TUESDAY} 17:00", "--reason", "she called")
    office.recompute()
    explained = cli("explain", "ADA", TUESDAY)
    assert "The day is in a locked period: it stays as it is." in explained.text
    assert "! Computed now it would be different:" in explained.text
    assert "worked - -> 8:00" in explained.text
    (adjustment,) = cli("adjustments", "--json").json["adjustments"]
    assert ("ADA", TUESDAY, 8 * 3600, None) == tuple(
        adjustment[name] for name in ("employee_no", "work_on", "worked_seconds", "settled_at")
    )
    assert "2026-11-17 ADA +8:00" in cli("adjustments", "--employee", "ADA").text
    assert [] == cli("adjustments", "--employee", "BEN", "--json").json["adjustments"]

    assert cli("withdraw", "lock", str(lock["id"]), "--reason", "payroll opens again").code == 0
    office.recompute()
    found = cli("explain", "ADA", TUESDAY, "--json").json
    assert (8 * 3600, False, None) == (found["worked_seconds"], found["is_locked"], found["adjustment"])
    assert [] == cli("adjustments", "--json").json["adjustments"]
    assert 1 == len(cli("adjustments", "--settled", "--json").json["adjustments"])


# --- runs -------------------------------------------------------------------------------------------------------------


def test_runs_are_asked_for_with_their_parameters(small: Office, cli: Cli) -> None:
    """`compute`, `recompute` and `lock` make an execution that a worker takes; `--no-wait` says how to follow it."""
    computed = cli("compute", MONDAY, FRIDAY, "--employee", "ADA", "--employee", "BEN", "--no-wait", "--json")
    assert computed.code == 0
    assert ("attendance_range", "pending") == tuple(
        computed.json["execution"][name] for name in ("task_code", "status")
    )
    assert cli("compute", MONDAY, MONDAY, "--department", "D1", "--no-wait").code == 0
    recomputed = cli("recompute", "--no-wait")
    assert recomputed.text.startswith("attendance_recompute_dirty: execution ")
    assert "hrsync executions logs " in recomputed.err
    assert cli("lock", MONDAY, TUESDAY, "--reason", "paid", "--no-wait").code == 0
    *others, (task, status, params) = small.executions()
    assert [
        ("attendance_range", "pending", {"date_from": MONDAY, "date_to": FRIDAY, "employees": ["ADA", "BEN"]}),
        ("attendance_range", "pending", {"date_from": MONDAY, "date_to": MONDAY, "department": "D1"}),
        ("attendance_recompute_dirty", "pending", {}),
    ] == others
    assert ("attendance_lock_period", "pending", "paid", True) == (
        task, status, params["reason"], "@" in params["made_by"]
    )  # fmt: skip


# --- wrong usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["explain", "ADA", "16.11.2026"],
            "date '16.11.2026' is no date; write it as YYYY-MM-DD, or today or yesterday.",
        ),
        (["explain", "ADA"], "Missing argument 'DATE'"),
        (["days", "--from", "soon"], "--from 'soon' is no date"),
        (["days", "--from", FRIDAY, "--to", MONDAY], f"The last day ({MONDAY}) is before the first one ({FRIDAY})."),
        (["days", "--status", "ill"], "--status 'ill' is not known. There are: present,"),
        (["days", "--anomaly", "late"], "--anomaly 'late' is not known. There are: missing_in,"),
        (["days", "--limit", "0"], "--limit"),
        (["compute", MONDAY, "0001-01-01"], "TO '0001-01-01' is out of reach"),
        (["compute", FRIDAY, MONDAY], "is before the first one"),
        (["lock", FRIDAY, MONDAY], "is before the first one"),
        (["lock", MONDAY, FRIDAY, "--reason", ""], "--reason is empty"),
        (["add-punch", "ADA", f"{MONDAY} 09:00"], "Missing option '--reason'"),
        (["add-punch", "ADA", f"{MONDAY} 09:00", "--reason", " "], "--reason is empty"),
        (["add-punch", "ADA", MONDAY, "--reason", "x"], "has no time of day; write it as '2026-11-21 08:30'."),
        (["add-punch", "ADA", "9 o'clock", "--reason", "x"], "is no time; write it as '2026-11-21 08:30'"),
        (
            ["add-punch", "ADA", f"{MONDAY} 09:00", "--reason", "x", "--direction", "up"],
            "--direction 'up' is not known",
        ),
        (["edit-punch", "ADA", "1", "--reason", "x"], "Give --at, --direction, or both."),
        (["edit-punch", "ADA", "one", "--reason", "x", "--direction", "in"], "PUNCH"),
        (
            ["override", "ADA", MONDAY, "--reason", "x"],
            "Say what the day is to be: --status, --worked, --late or --early.",
        ),
        (["override", "ADA", MONDAY, "--reason", "x", "--worked", "25"], "--worked '25' are no hours of a day"),
        (["override", "ADA", MONDAY, "--reason", "x", "--status", "ill"], "--status 'ill' is not known"),
        (["assign", "--reason", "x", "--pattern", "night"], "Give --employee or --department, one of them."),
        (["assign", "--reason", "x", "--employee", "A", "--department", "D"], "Give --employee or --department"),
        (["assign", "--reason", "x", "--department", "D", "--exception", "--pattern", "night"], "is for an --employee"),
        (["assign", "--reason", "x", "--employee", "ADA"], "Give --pattern, --policy, or both."),
        (["withdraw", "punch", "1", "--reason", "x"], "KIND 'punch' is not known. There are: correction,"),
        (["withdraw", "lock", "1"], "Missing option '--reason'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_and_changes_nothing(
    sqlite_url: str, tmp_path: Path, settings_env: Callable[..., Settings], cli: Cli, arguments: list[str], said: str
) -> None:
    """Exit code 2 and what to write instead; nothing is asked of the database."""
    _make(sqlite_url, tmp_path, settings_env).do(lambda world: world.hire("ADA"))
    answer = cli(*arguments)
    assert (2, True) == (answer.code, said in answer.complaint), answer


def test_an_instant_is_read_by_the_clock_of_the_place() -> None:
    """Without an offset it is that clock's; times that it skips or shows twice must be written with one."""
    assert dt.datetime(2026, 11, 16, 8, tzinfo=dt.UTC) == read_instant("2026-11-16 09:00", BERLIN)
    assert dt.datetime(2026, 10, 25, 1, 30, tzinfo=dt.UTC) == read_instant("2026-10-25 02:30+01:00", BERLIN)
    assert dt.datetime(2026, 10, 25, 1, 30, tzinfo=dt.UTC) == read_instant(
        "2026-10-25T09:30", zoneinfo.ZoneInfo("Asia/Shanghai")
    )
    with pytest.raises(typer.BadParameter, match="There is no 2026-03-29 02:30 in Europe/Berlin"):
        read_instant("2026-03-29 02:30", BERLIN)
    with pytest.raises(
        typer.BadParameter, match=r"twice .* '2026-10-25 02:30:00\+02:00' or '2026-10-25 02:30:00\+01:00'"
    ):
        read_instant("2026-10-25 02:30", BERLIN)
    with pytest.raises(typer.BadParameter, match="the years 1970 to 2199 are known"):
        read_instant("2206-11-16 09:00", BERLIN)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7:30", 27_000), ("7.5", 27_000), ("0", 0), ("24:00", 86_400), ("0:05", 300), ("7", 25_200)]
)
def test_hours_are_read_as_people_write_them(text: str, seconds: int) -> None:
    """Hours and minutes, or decimal hours."""
    assert seconds == read_hours(text, "--worked")


@pytest.mark.parametrize("text", ["", "7:5", "7:60", "24:01", "-1", "inf", "nan", "7:30:00", "seven", "1e3", "7,5"])
def test_what_are_no_hours_of_a_day_is_refused(text: str) -> None:
    """Also what Python would take as a number."""
    with pytest.raises(typer.BadParameter, match=r"are no hours of a day; write them as 7:30 or 7\.5"):
        read_hours(text, "--worked")


def test_dates_have_words() -> None:
    """Today and yesterday are those of this machine's clock, and go in the right order."""
    yesterday, today = read_dates("yesterday", "today")
    assert (today, today - dt.timedelta(days=1)) == (read_date("today"), yesterday)
