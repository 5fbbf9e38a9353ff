"""The mission on a SQL Server: a due job replicates its HRIS through a real scheduler, broker and gevent worker."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.support.adventureworks import install_adventureworks
from tests.support.biostar import Biostar, series
from tests.support.spine import Spine
from tests.support.waiting import eventually

pytestmark = pytest.mark.mssql


@pytest.fixture
def sources(mssql_url: str, adventureworks_dir: Path, project_root: Path, spine: Spine) -> str:
    """HRIS and BioStar are one SQL Server database; its URL."""
    text = (project_root / "config" / "examples" / "adventureworks.toml").read_text(encoding="utf-8")
    if not install_adventureworks(mssql_url, adventureworks_dir):
        text = text.replace(".ToString()", "")
    (spine.folder / "config").mkdir()
    (spine.folder / "config" / "hris.toml").write_text(text, encoding="utf-8")
    spine.env |= {"HRIS_URL": mssql_url, "BIOSTAR_URL": mssql_url}
    return mssql_url


async def test_due_jobs_read_the_sql_server(sources: str, spine: Spine) -> None:
    """The jobs of both sources fire once and succeed, and what the sources hold is there; by hand nothing changes."""
    month = dt.datetime.now(dt.UTC).strftime("%Y%m")
    biostar = Biostar(sources)
    await biostar.install()
    await biostar.add(month, *series(f"{month[:4]}-{month[4:]}-01 00:00", 1500))
    await biostar.dispose()
    spine.add_job("employees", "hris_replication", max_runs=1)
    spine.add_job("punches", "attendance_ingest", max_runs=1)
    spine.start_worker()
    spine.start_scheduler()

    eventually(lambda: spine.statuses()["success"] == 2, 60)

    counts = "SELECT task_code, rows_read, rows_inserted, rows_rejected, attempt FROM scheduler_job_execution"
    assert {("hris_replication", 373, 373, 0, 1), ("attendance_ingest", 1500, 1500, 0, 1)} == {
        tuple(row) for row in spine.sql(counts)
    }
    assert [(290, 289)] == [
        tuple(row) for row in spine.sql("SELECT count(*), count(manager_no) FROM hr_employee WHERE is_active")
    ]
    assert [(1500,)] == [tuple(row) for row in spine.sql("SELECT count(*) FROM attendance_punch")]
    again = spine.add_execution(
        "hris_replication", task_name="tasks.hris.hris_replication_task", queue="hris", max_attempts=1
    )
    row = spine.wait_for(again)
    assert ("success", 373, 0) == (row["status"], row["rows_unchanged"], row["rows_updated"])


def test_refused_login_fails_at_once(sources: str, spine: Spine) -> None:
    """A wrong password is not tried again, and the execution tells what to mend without showing it."""
    spine.env["HRIS_URL"] = sources.replace("://", "://nobody_", 1)
    spine.start_worker()
    spine.start_scheduler()
    execution = spine.add_execution("hris_replication", task_name="tasks.hris.hris_replication_task", queue="hris")

    row = spine.wait_for(execution)

    assert ("failed", 1) == (row["status"], row["attempt"])
    assert "check user and password in HRIS_URL" in row["error_message"]
