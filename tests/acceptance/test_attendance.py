"""Punches of BioStar's month tables become days of attendance, on real processes that are killed on the way."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.attendance_world import BERLIN, World
from tests.support.biostar import Biostar, event
from tests.support.databases import create_mariadb_database, drop_mariadb_database, make_database
from tests.support.processes import Process
from tests.support.spine import Spine
from tests.support.waiting import eventually

ONE_DAY = dt.timedelta(days=1)
TODAY = dt.datetime.now(dt.UTC).date()
CLOCKS = """
[sources.biostar]
kind = "biostar2"
employee = "employee_no"
"""


class Company:
    """People in hrsync's database, and a BioStar with month tables on MariaDB where they punch."""

    def __init__(self, spine: Spine, biostar_url: str, folder: Path) -> None:
        self.spine = spine
        self._folder = folder
        self._runner = asyncio.Runner()
        self._biostar = Biostar(biostar_url)
        self._runner.run(self._biostar.install())
        folder.mkdir()
        (folder / "biostar.toml").write_text(CLOCKS)
        spine.env |= {"BIOSTAR_URL": biostar_url, "HRSYNC_CONFIG_DIR": str(folder)}

    def hire(self, *numbers: str, hired_on: dt.date, left_on: dt.date | None = None) -> None:
        """Let the HR data have these people, who work from 09:00 to 17:00 in Berlin."""

        async def do() -> None:
            database = make_database(self.spine.maria_url)
            await World(database, self._folder).hire(*numbers, hired_on=hired_on.isoformat(), left_on=left_on)
            await database.dispose()

        self._runner.run(do())

    def punch(self, numbers: Sequence[str], days: Sequence[dt.date], *times: str) -> None:
        """Let these people punch on these days at these times of Berlin, in the table of each one's month."""
        months: dict[str, list[dict[str, object]]] = {}
        for day in days:
            for time in times:
                local = dt.datetime.combine(day, dt.time.fromisoformat(time), BERLIN)
                at = local.astimezone(dt.UTC).replace(tzinfo=None)
                months.setdefault(f"{at:%Y%m}", []).extend(event(at.isoformat(), user, key=0) for user in numbers)
        for month, events in months.items():
            self._runner.run(self._biostar.add(month, *events))

    def begin(self, code: str, **params: Any) -> str:
        """An execution of an attendance task; its id."""
        return self.spine.add_execution(
            code, params, task_name=f"tasks.attendance.{code}_task", queue="attendance", max_attempts=4
        )

    def do(self, code: str, **params: Any) -> str:
        """Run an attendance task to its good end; the id of its execution."""
        execution = self.begin(code, **params)
        row = self.spine.wait_for(execution)
        assert row["status"] == "success", row
        return execution

    def written_by(self, execution: str) -> list[tuple[str, dt.date]]:
        """Whose days of which dates an execution has written."""
        rows = self.spine.sql(
            "SELECT employee_no, work_on FROM attendance_day WHERE execution_id = :id ORDER BY 1, 2", id=execution
        )
        return [tuple(row) for row in rows]

    def ask(self, *arguments: str, code: int = 0) -> Any:
        """The JSON of `hrsync attendance ...`, as another program would read it."""
        process = self.spine.start("hrsync", "attendance", *arguments, "--json")
        assert process.wait() == code, process.output()
        return json.loads(process.output()) if code == 0 else process.output()

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._biostar.dispose())
        self._runner.close()


@pytest.fixture
def company(spine: Spine, mariadb_server: str, tmp_path: Path) -> Iterator[Company]:
    """A company without people; no process runs yet."""
    url = create_mariadb_database(mariadb_server)
    made = Company(spine, url, tmp_path / "config")
    yield made
    made.close()
    drop_mariadb_database(url)


def days_between(first: dt.date, last: dt.date) -> list[dt.date]:
    """Every date, both inclusive."""
    return [first + number * ONE_DAY for number in range((last - first).days + 1)]


def is_working_day(day: dt.date) -> bool:
    """Whether the office is open."""
    return day.weekday() < 5


def find_victims(spine: Spine, workers: Sequence[Process]) -> list[Process]:
    """The workers that are in the middle of a part: they compute it, and have stored some of its days."""
    rows = spine.sql(
        "SELECT a.worker_id FROM scheduler_execution_attempt a JOIN scheduler_job_execution e ON e.id = a.execution_id"
        " WHERE e.task_code = 'attendance_range_part' AND e.status = 'running' AND a.finished_at IS NULL"
        " AND EXISTS (SELECT 1 FROM attendance_day d WHERE d.execution_id = e.id)"
    )
    pids = {int(row[0].split(":")[1]) for row in rows}
    return [worker for worker in workers if worker.pid in pids]


def test_a_range_is_computed_once_although_a_worker_is_killed_in_the_middle(company: Company) -> None:
    """Month tables on MariaDB -> ingestion -> a range in parts over two gevent workers, of which one is killed with -9:
    every day of everybody is there once, and the range is summed up once."""
    spine = company.spine
    last = TODAY - ONE_DAY
    # So long a range that it has four parts of ten people, and each of them days to store at its beginning and its end.
    first, dates = last - 3600 * ONE_DAY, 150
    left, people = ([f"{number}" for number in range(begin, 1041, 2)] for begin in (1001, 1002))
    company.hire(*left, hired_on=first, left_on=first + (dates - 1) * ONE_DAY)
    company.hire(*people, hired_on=last - (dates - 1) * ONE_DAY)
    worked = [day for day in days_between(last - 40 * ONE_DAY, last - ONE_DAY) if is_working_day(day)]
    company.punch(people, worked, "09:00", "17:00")
    spine.start_scheduler()
    workers = [spine.start_worker(concurrency=2) for _ in range(2)]
    company.do("attendance_ingest")

    execution = company.begin("attendance_range", date_from=first.isoformat(), date_to=last.isoformat())
    eventually(lambda: find_victims(spine, workers), 30, message="a part that is being computed")[0].kill()
    row = spine.wait_for(execution, timeout=40)

    days = dates * len(left + people)
    assert ("success", days, f"{first} to {last}") == (row["status"], row["rows_read"], row["summary"].split(":")[0])
    assert ["waiting", "succeeded"] == spine.attempts(execution)
    assert [(1,)] == spine.sql("SELECT count(*) FROM scheduler_job_execution WHERE task_code = 'attendance_range'")
    parts = spine.sql("SELECT status, attempt FROM scheduler_job_execution WHERE task_code = 'attendance_range_part'")
    assert ["success"] * 4 == [part.status for part in parts]
    assert 2 == max(part.attempt for part in parts)
    assert [(days, days)] == spine.sql("SELECT count(*), count(DISTINCT employee_no, work_on) FROM attendance_day")
    assert [(len(worked) * len(people), 8 * 3600)] == spine.sql(
        "SELECT count(*), max(worked_seconds) FROM attendance_day WHERE status = 'present'"
    )


def test_a_late_punch_changes_its_day_until_the_day_is_locked(company: Company) -> None:
    """A punch that comes late into last month's table changes its day and no other one; after payroll has closed the
    day stays as it is, and the next late punch becomes an adjustment. `hrsync attendance explain --json` tells both."""
    spine = company.spine
    end_of_month = TODAY.replace(day=1) - ONE_DAY
    day = next(on for on in (end_of_month - number * ONE_DAY for number in range(7)) if is_working_day(on))
    before = day - 3 * ONE_DAY
    company.hire("1001", "1002", hired_on=before)
    company.punch(["1001", "1002"], [day], "09:00")
    company.punch(["1002"], [day], "17:00")
    spine.start_scheduler()
    spine.start_worker()
    company.do("attendance_ingest")
    company.do("attendance_recompute_dirty")
    told = company.ask("explain", "1001", day.isoformat())
    assert (0, ["missing_out"]) == (told["worked_seconds"], [anomaly["code"] for anomaly in told["anomalies"]])

    company.punch(["1001"], [day], "17:00")
    company.do("attendance_ingest")
    run = company.do("attendance_recompute_dirty")
    assert [("1001", day)] == company.written_by(run)
    told = company.ask("explain", "1001", day.isoformat())
    assert ("present", 8 * 3600, run) == (told["status"], told["worked_seconds"], told["execution_id"])

    locked = company.ask("lock", before.isoformat(), day.isoformat(), "--reason", "paid")
    assert "success" == locked["execution"]["status"]
    assert "GuardError" in company.ask("lock", day.isoformat(), day.isoformat(), code=4)
    company.punch(["1001"], [day], "08:30", "08:45")
    company.do("attendance_ingest")
    late = company.do("attendance_recompute_dirty")
    assert [] == company.written_by(late)
    told = company.ask("explain", "1001", day.isoformat())
    assert (8 * 3600, True, False) == (told["worked_seconds"], told["is_locked"], told["is_marked"])
    assert [8 * 3600, 8 * 3600 + 900] == told["adjustment"]["changes"]["worked_seconds"]
    assert "There is no employee 4711" in company.ask("explain", "4711", day.isoformat(), code=3)
