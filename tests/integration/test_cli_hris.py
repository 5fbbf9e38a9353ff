"""`hrsync hris`: previews, held runs, history, days of the past and reconciliation, on a real source and target."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import re
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.cli.hris_history import parse_day
from backend.db.database import Database
from backend.db.models import Employee, HrChange, HrHold, JobExecution
from backend.services.replicate_hris import HeldError
from backend.settings import Settings
from backend.utils.identifiers import new_id
from tests.support.cli import Cli, commands_of
from tests.support.databases import make_database
from tests.support.holds import CHANGES, add_hold
from tests.support.hr_history import HistoryWriter
from tests.support.hris import MAPPING, Hris, RecordedRun, employee, mapping, replicate

T = TypeVar("T")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """`cli("holds")` runs `hrsync hris holds` in this process."""
    with commands_of(capsys, "hris") as call:
        yield call


class Company:
    """An HRIS on SQLite, its mapping, and hrsync's own database."""

    def __init__(self, url: str, source_url: str) -> None:
        self.url = url
        self.source_url = source_url

    def fill(self, employees: Sequence[Mapping[str, Any]]) -> None:
        """Replace what the HRIS has."""

        async def do() -> None:
            source = Hris(self.source_url)
            await source.fill(employees, [{"code": "OPS", "name": "Operations"}, {"code": "HR", "name": "People"}])
            await source.dispose()

        asyncio.run(do())

    def replicate(self, **options: Any) -> str:
        """Run the replication; the id of the run."""
        execution_id = new_id()

        async def do() -> None:
            source, target = Hris(self.source_url), make_database(self.url)
            try:
                await replicate(source.reader, target, mapping(MAPPING), run=RecordedRun(execution_id), **options)
            finally:
                await source.dispose()
                await target.dispose()

        asyncio.run(do())
        return execution_id

    def hold(self, employees: Sequence[Mapping[str, Any]]) -> str:
        """Fill the HRIS so that the guard holds the run; the id of the run."""
        self.fill(employees)
        with pytest.raises(HeldError) as caught:
            self.replicate()
        return caught.value.held.execution_id

    def in_session(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """The result of `work` in a committed session on hrsync's database."""

        async def do() -> T:
            database = Database("hrsync database", "MARIA_URL", self.url)
            try:
                async with database.session() as session:
                    return await work(session)
            finally:
                await database.dispose()

        return asyncio.run(do())

    def count(self, model: Any) -> int:
        """How many rows there are."""

        async def read(session: AsyncSession) -> int:
            return (await session.execute(select(func.count()).select_from(model))).scalar_one()

        return self.in_session(read)


@pytest.fixture
def company(database_url: str, empty_sqlite_url: str, tmp_path: Path, settings_env: Callable[..., Settings]) -> Company:
    """A company whose HRIS is still empty; hrsync's database on each engine."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "hris.toml").write_text(MAPPING)
    settings_env(maria_url=database_url, hris_url=empty_sqlite_url, hrsync_config_dir=tmp_path / "config")
    return Company(database_url, empty_sqlite_url)


@pytest.fixture
def small(sqlite_url: str, settings_env: Callable[..., Settings]) -> Company:
    """hrsync's database alone, where the engine does not matter."""
    settings_env(maria_url=sqlite_url)
    return Company(sqlite_url, "")


def staff(count: int = 20, **values: str | None) -> list[dict[str, str | None]]:
    """So many employees, `E01` and on, in OPS; the first of them is changed by `values`."""
    rows = [employee(f"E{number:02d}", f"Kim Example {number}", dept="OPS") for number in range(1, count + 1)]
    rows[0] |= values
    return rows


# --- preview ----------------------------------------------------------------------------------------------------------


def test_a_preview_of_the_first_load_writes_nothing(company: Company, cli: Cli) -> None:
    """Counts of every entity, what was rejected and what the guard says; the tables stay empty."""
    company.fill([*staff(), employee(None), employee("E21", dept="NOPE")])
    answer = cli("preview")
    assert answer.code == 0
    assert re.search(r"employees +22 +21 ", answer.out)
    assert "employees rejected missing_key 1, unknown_reference 1" in answer.text
    assert "The guard would let it pass. Nothing was written." in answer.text
    found = cli("preview", "--json").json
    departments, _, employees = found["entities"]
    assert (departments["counts"]["inserted"], employees["counts"]["inserted"]) == (2, 21)
    assert (employees["warnings"], employees["reasons"]) == (1, {"missing_key": 1, "unknown_reference": 1})
    assert (found["held"], found["concerns"], len(found["fingerprint"])) == (False, [], 32)
    assert company.count(Employee) == 0


def test_a_preview_lists_what_would_change(company: Company, cli: Cli, tmp_path: Path) -> None:
    """Fields with old and new values; the values of new rows only where they are asked for; the file has all."""
    company.fill(staff())
    company.replicate()
    company.fill([*staff(dept="HR", mail="KIM@example.com"), employee("E21", "Ada Example")])
    answer = cli("preview", "--diff", "--csv", "diff.csv")
    assert answer.code == 0
    assert "E01 update" in answer.text
    assert "department_code: OPS → HR" in answer.text
    assert "email: (empty) → kim@example.com" in answer.text
    assert "E21 insert" in answer.text
    assert "Ada Example" not in answer.out
    assert "full_name: Ada Example" in cli("preview", "--diff", "--show-data").text
    with (tmp_path / "diff.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {
        "entity": "employees", "key": "E01", "action": "update", "field": "department_code", "old": "OPS", "new": "HR",
    } in lines  # fmt: skip
    assert ("E21", "Ada Example") in {(line["key"], line["new"]) for line in lines if line["field"] == "full_name"}
    assert stat.S_IMODE((tmp_path / "diff.csv").stat().st_mode) == 0o600
    found = cli("preview", "--diff", "--entity", "employees", "--limit", "1", "--json").json
    (change,) = found["changes"]
    assert change == {
        "entity": "employees", "key": "E01", "action": "update",
        "fields": {"email": [None, "kim@example.com"], "department_code": ["OPS", "HR"]},
    }  # fmt: skip
    assert found["entities"][0]["changed_fields"] == {"email": 1, "department_code": 1}
    assert company.count(HrChange) == 0


def test_a_preview_says_that_the_guard_would_hold_it(company: Company, cli: Cli) -> None:
    """Exit code 4, the reason, and no hold: a look is not a run."""
    company.fill(staff())
    company.replicate()
    company.fill(staff(8))
    answer = cli("preview")
    assert answer.code == 4
    assert "The guard would hold it: 12 of 20 active employees would be deactivated" in answer.text
    assert cli("preview", "--json").json["held"] is True
    assert company.count(HrHold) == 0


def test_wrong_words_are_wrong_usage(small: Company, cli: Cli) -> None:
    """An entity or a day that there is not, and options that do not go together, end with code 2."""
    for arguments in (
        ["preview", "--entity", "people"],
        ["reconcile", "--entity", "people"],
        ["history", "E1", "--entity", "people"],
        ["as-of", "yesterday"],
        ["as-of", "2031-13-01"],
        ["as-of", "9999-12-31"],
        ["as-of", f"{dt.datetime.now().astimezone().date() + dt.timedelta(days=1)}"],
        ["as-of", "2020-01-01", "--entity", "leaves", "--department", "OPS"],
        ["as-of", "2020-01-01", "--entity", "departments", "--employee", "E1"],
        ["reject", "abcdabcd", "--note", "x" * 501],
    ):
        assert cli(*arguments).code == 2, arguments


def test_a_file_that_cannot_be_written_is_told(company: Company, cli: Cli) -> None:
    """The error names the file and ends the command with code 1."""
    company.fill(staff())
    answer = cli("preview", "--csv", "nowhere/diff.csv")
    assert (answer.code, answer.err.strip()) == (
        1, "Error: nowhere/diff.csv cannot be written: No such file or directory.",
    )  # fmt: skip


# --- held runs --------------------------------------------------------------------------------------------------------


def test_a_held_run_is_shown_and_approved_once(company: Company, cli: Cli, tmp_path: Path) -> None:
    """From the list to the diff, the decision and the run that applies it; a second decision is refused."""
    company.fill(staff())
    company.replicate()
    held = company.hold(staff(8, dept="HR"))
    ref = held[-8:]
    listed = cli("holds")
    assert ref in listed.out
    assert "12 of 20 active employees would be deactivated" in listed.text
    shown = cli("hold", ref, "--csv", "held.csv")
    assert shown.code == 0
    for said in (f"hrsync hris approve {ref}", "department_code: OPS → HR", "E20 deactivate", "is_active 12"):
        assert said in shown.text
    assert len((tmp_path / "held.csv").read_text().splitlines()) == 1 + 1 + 12
    found = cli("hold", ref, "--limit", "2", "--json").json
    assert (found["execution_id"], found["status"], found["change_count"]) == (held, "held", 13)
    assert found["counts"]["employees"]["deactivated"] == 12
    assert found["changed_fields"] == {"employees": {"is_active": 12, "department_code": 1}}
    assert found["changes"][0]["fields"] == {"department_code": ["OPS", "HR"]}
    approved = cli("approve", ref, "--note", "they left", "--no-wait", "--json")
    assert approved.code == 0
    execution = approved.json["execution"]
    assert (execution["task_code"], execution["status"]) == ("hris_replication", "pending")

    async def params(session: AsyncSession) -> Any:
        return (await session.scalars(select(JobExecution.params))).one()

    assert company.in_session(params) == {"approved": held}
    again = cli("approve", ref, "--json")
    assert (again.code, again.json["error"]["type"]) == (1, "ConflictError")
    assert "approved by" in again.json["error"]["message"]
    assert cli("reject", ref).code == 1
    applied = company.replicate(approved=held)
    assert cli("preview").code == 0
    assert cli("holds").out == "No run is held.\n"
    (over,) = cli("holds", "--all", "--json").json["items"]
    assert (over["status"], over["note"], over["applied_execution_id"]) == ("applied", "they left", applied)
    assert f"and applied by run {applied[-8:]}" in cli("hold", held).text


def test_a_rejected_run_stays_rejected(company: Company, cli: Cli) -> None:
    """Nothing is sent; who rejected it and why is shown."""
    company.fill(staff())
    company.replicate()
    ref = company.hold(staff(8))[-8:]
    rejected = cli("reject", ref, "--note", "the filter is broken")
    assert (rejected.code, rejected.text.startswith(f"Run {ref} is rejected.")) == (0, True)
    shown = cli("hold", ref)
    assert "rejected by" in shown.text
    assert "the filter is broken" in shown.text
    assert "hris approve" not in shown.text
    assert company.count(JobExecution) == 0


def test_an_unknown_hold_is_exit_code_3(small: Company, cli: Cli) -> None:
    """The error says where holds are listed."""
    for command in ("hold", "approve", "reject"):
        answer = cli(command, "abcdabcd")
        assert (answer.code, "hrsync hris holds --all" in answer.err) == (3, True)


def test_a_hold_of_which_not_all_is_kept_says_so(small: Company, cli: Cli) -> None:
    """Rows that are not shown, and rows that were not kept, are told apart."""
    small.in_session(lambda session: add_hold(session, execution_id=new_id()[:-4] + "feed", change_count=12_000))
    answer = cli("hold", "feed", "--limit", "2")
    assert "2 of 6 rows are shown" in answer.err
    assert "Of the 12,000 rows that would change the first 6 are kept." in answer.err
    assert len(cli("hold", "feed", "--json").json["changes"]) == len(CHANGES)
    assert "Ada Example" not in cli("hold", "feed").out


# --- history ----------------------------------------------------------------------------------------------------------


def test_the_history_of_an_employee_names_the_runs(company: Company, cli: Cli) -> None:
    """From the first sight on, every field that changed, old and new, with the run that did it."""
    company.fill(staff())
    first = company.replicate()
    company.fill(staff(dept="HR", boss="E02"))
    second = company.replicate()
    company.fill(staff(dept="HR", boss="E02", state="T"))
    third = company.replicate()
    answer = cli("history", "E01")
    assert answer.code == 0
    assert "employee E01, not active" in answer.text
    for said in (f"first seen {first[-8:]}", f"department_code OPS → HR {second[-8:]}"):
        assert said in answer.text
    assert f"is_active not active any more {third[-8:]}" in answer.text
    (row,) = cli("history", "E01", "--json").json["rows"]
    assert (row["key"], row["is_active"], row["first_execution_id"]) == ("E01", False, first)
    changes = {(item["field"], item["old"], item["new"], item["execution_id"]) for item in row["changes"]}
    assert changes == {
        ("department_code", "OPS", "HR", second),
        ("manager_no", None, "E02", second),
        ("status", "active", "left", third),
        ("is_active", "1", "0", third),
    }
    assert len(cli("history", "E01", "--limit", "1", "--json").json["rows"][0]["changes"]) == 1
    assert cli("history", "OPS", "--entity", "departments").code == 0
    unknown = cli("history", "e01")
    assert (unknown.code, "case and blanks count" in unknown.err) == (3, True)


def test_an_old_number_shows_who_had_it(small: Company, cli: Cli) -> None:
    """A number that was given to somebody else shows both, with the number that the first one has now."""

    async def write(session: AsyncSession) -> None:
        writer = HistoryWriter(session)
        person = {"full_name": "Ada Example", "status": "active"}
        first = await writer.insert("1", run=None, **person)
        await writer.change(first, employee_no="2")
        await writer.insert("1", **person)

    small.in_session(write)
    answer = cli("history", "1")
    assert "employee 1, active" in answer.text
    assert "employee 2 (once 1), active" in answer.text
    assert "employee_no 1 → 2" in answer.text
    assert "before history was kept" in answer.err
    assert [row["key"] for row in cli("history", "1", "--json").json["rows"]] == ["1", "2"]


# --- as of ------------------------------------------------------------------------------------------------------------

TODAY = dt.datetime.now().astimezone().replace(hour=12, minute=0, second=0, microsecond=0)


def days_ago(count: float) -> dt.datetime:
    """An instant so many days before noon of today."""
    return TODAY - dt.timedelta(days=count)


@pytest.fixture
def past(small: Company) -> Company:
    """Three people: one moved from OPS to HR five days ago, one left two days ago."""

    async def write(session: AsyncSession) -> None:
        writer = HistoryWriter(session)
        writer.begin_run(days_ago(9), 1)
        person = {"full_name": "Ada Example", "status": "active", "department_code": "OPS"}
        moved = await writer.insert("1", **person, email="ada@example.com", extra={"badge": "٧"})
        gone = await writer.insert("2", **person)
        writer.begin_run(days_ago(5), 2)
        masked = {"email": ("•••", "•••")}
        await writer.change(moved, department_code="HR")
        await writer.change(moved, email="new@example.com", masked=masked)
        await writer.change(moved, employee_no="1001")
        writer.begin_run(days_ago(2), 3)
        await writer.change(gone, is_active=False)
        await writer.insert("3", **person)

    small.in_session(write)
    return small


def test_a_day_of_the_past_is_shown(past: Company, cli: Cli) -> None:
    """Who was there at the end of the day, with the values of then; who was gone only where it is asked for."""
    answer = cli("as-of", f"{days_ago(6).date()}")
    assert answer.code == 0
    assert re.search(r"^1 +Ada Example +OPS", answer.out, re.MULTILINE)
    assert "2 employees at" in answer.text
    assert "email is sensitive: of 1 of them history has the value of then only masked." in answer.err
    today = cli("as-of", f"{days_ago(0).date()}", "--json").json
    assert [item["employee_no"] for item in today["items"]] == ["1001", "3"]
    assert (today["count"], today["inactive_left_out"], today["complete_since"]) == (2, 1, None)
    everybody = cli("as-of", f"{days_ago(0).date()}", "--inactive", "--json").json["items"]
    assert [(item["employee_no"], item["is_active"]) for item in everybody] == [
        ("1001", True), ("2", False), ("3", True),
    ]  # fmt: skip
    before = cli("as-of", f"{days_ago(20).date()}")
    assert (before.code, "No employee was there" in before.out, "are known since" in before.err) == (0, True, True)


def test_a_department_of_the_past_is_shown(past: Company, cli: Cli) -> None:
    """Who was in the department then, not who is now, at an instant with a time zone."""
    then, later = (days_ago(count).astimezone(dt.timezone(dt.timedelta(hours=5))).isoformat() for count in (6, 4))
    for instant, department, there in ((then, "OPS", ["1", "2"]), (later, "OPS", ["2"]), (later, "HR", ["1001"])):
        found = cli("as-of", instant, "--department", department, "--json").json
        assert [item["employee_no"] for item in found["items"]] == there
        assert found["at"] == dt.datetime.fromisoformat(instant).astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def test_one_employee_of_the_past_is_found_by_any_number(past: Company, cli: Cli) -> None:
    """The number of now and the number of then lead to the same row; one that nobody had is exit code 3."""
    for number in ("1", "1001"):
        (item,) = cli("as-of", f"{days_ago(6).date()}", "--employee", number, "--json").json["items"]
        assert (item["employee_no"], item["department_code"], item["masked"]) == ("1", "OPS", ["email"])
        assert (item["email"], item["extra"]) == ("•••", {"badge": "٧"})
    assert cli("as-of", f"{days_ago(6).date()}", "--employee", "7").code == 3
    (left,) = cli("as-of", f"{days_ago(0).date()}", "--employee", "2", "--json").json["items"]
    assert left["is_active"] is False


def test_the_past_goes_into_a_file(past: Company, cli: Cli, tmp_path: Path) -> None:
    """The file has every row and every field, also those that are not shown."""
    answer = cli("as-of", f"{days_ago(6).date()}", "--csv", "then.csv", "--limit", "1")
    assert "1 of 2 are shown" in answer.err
    with (tmp_path / "then.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["employee_no"], first["extra"], first["is_active"]) == ("1", '{"badge": "٧"}', "1")
    assert (second["employee_no"], second["email"]) == ("2", "")


def test_the_leaves_of_an_employee_are_those_of_the_number_then(small: Company, cli: Cli) -> None:
    """With --entity leaves the employee's number of that day chooses."""

    async def write(session: AsyncSession) -> None:
        from backend.domain.employees import Entity

        writer = HistoryWriter(session, Entity.LEAVES)
        writer.begin_run(days_ago(9), 1)
        leave = {"kind": "sick", "starts_on": "2031-01-01", "ends_on": "2031-01-02", "day_part": "full"}
        for number in ("1", "2"):
            await writer.insert(f"L{number}", employee_no=number, **leave)

    small.in_session(write)
    found = cli("as-of", f"{days_ago(6).date()}", "--entity", "leaves", "--employee", "2", "--json").json
    assert [item["code"] for item in found["items"]] == ["L2"]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2019-03-31", "2019-03-31T21:59:59.999999+00:00"),  # the day on which summer time began
        ("2019-03-30", "2019-03-30T22:59:59.999999+00:00"),
        ("2019-03-30T12:00", "2019-03-30T11:00:00+00:00"),
        ("2019-03-30T12:00Z", "2019-03-30T12:00:00+00:00"),
    ],
)
def test_a_day_ends_by_the_local_clock(text: str, instant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date stands for its last moment here; an instant without a zone is local too."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert parse_day(text).isoformat() == instant
    finally:
        monkeypatch.undo()
        time.tzset()


# --- reconcile --------------------------------------------------------------------------------------------------------


def test_reconciliation_finds_what_was_altered(company: Company, cli: Cli) -> None:
    """Source and target agree after a run; what somebody altered in the target by hand is found and named."""
    company.fill(staff())
    company.replicate()
    same = cli("reconcile")
    assert (same.code, "Source and target agree." in same.text) == (0, True)

    async def alter(session: AsyncSession) -> None:
        await session.execute(update(Employee).where(Employee.employee_no == "E02").values(full_name="Somebody Else"))

    company.in_session(alter)
    company.fill([*staff()[:-1], employee("E99")])
    differs = cli("reconcile", "--entity", "employees")
    assert differs.code == 1
    assert "full_name: Somebody Else → Kim Example 2" in differs.text
    found = cli("reconcile", "--json", "--limit", "2")
    assert (found.code, found.json["agree"]) == (1, False)
    employees = found.json["entities"][-1]
    numbers = [employees[name] for name in ("matched", "different", "missing", "extra", "rejected")]
    assert (numbers, len(employees["examples"])) == ([18, 1, 1, 1, 0], 2)
    assert found.json["entities"][0]["matched"] == 2
