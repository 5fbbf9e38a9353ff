"""Commands against real databases: what they print, change and answer."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.db.database import Database
from backend.db.models.hr import QuarantinedRow
from backend.db.models.scheduler import ExecutionAttempt, ExecutionLog, JobExecution
from backend.settings import Settings
from backend.utils.identifiers import new_id
from tests.support.cli import Answer, Cli, commands_of
from tests.support.servers import free_port

T = TypeVar("T")
NOW = dt.datetime(2031, 5, 4, 12, 0, tzinfo=dt.UTC)
JOBS = """
[[job]]
code = "nightly"
task = "hris_replication"
name = "HRIS"
cron = "30 2 * * *"
timezone = "Europe/Berlin"
params = { full = true }

[[job]]
code = "often"
task = "hris_replication"
every = "15m"
"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """`cli("jobs", "list")` runs a command in this process."""
    with commands_of(capsys) as call:
        yield call


@pytest.fixture
def maria_url(database_url: str, settings_env: Callable[..., Settings]) -> str:
    """The commands' database, migrated, on each engine."""
    settings_env(maria_url=database_url)
    return database_url


@pytest.fixture
def small_url(sqlite_url: str, settings_env: Callable[..., Settings]) -> str:
    """The commands' database, where the engine does not matter."""
    settings_env(maria_url=sqlite_url)
    return sqlite_url


def in_session(url: str, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """The result of `work` in a committed session."""

    async def do() -> T:
        database = Database("hrsync database", "MARIA_URL", url)
        try:
            async with database.session() as session:
                return await work(session)
        finally:
            await database.dispose()

    return asyncio.run(do())


def add(url: str, *rows: Any) -> None:
    """Write rows."""

    async def write(session: AsyncSession) -> None:
        for row in rows:
            session.add(row)
            await session.flush()

    in_session(url, write)


def execution(**values: Any) -> JobExecution:
    """An execution row."""
    return JobExecution(
        **{
            "id": new_id(),
            "task_code": "hris_replication",
            "task_name": "tasks.hris.hris_replication_task",
            "queue": "hris",
            "params": {},
            "triggered_by": "manual",
            "correlation_id": "test",
            "status": "success",
            "run_after": NOW,
            "created_at": NOW,
            "updated_at": NOW,
        }
        | values
    )


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_jobs_go_from_a_file_into_the_database_and_out_again(maria_url: str, cli: Cli, tmp_path: Path) -> None:
    """apply creates the jobs, list and show tell them, export writes a file that changes nothing."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    applied = cli("jobs", "apply", "jobs.toml", "--json")
    assert applied.code == 0
    assert [(job["code"], job["outcome"]) for job in applied.json["jobs"]] == [
        ("nightly", "created"),
        ("often", "created"),
    ]
    listed = cli("jobs", "list", "--json").json["items"]
    assert [(job["code"], job["trigger_expression"], len(job["next_fires"])) for job in listed] == [
        ("nightly", "30 2 * * *", 1),
        ("often", "15m", 1),
    ]
    assert cli("jobs", "show", "nightly", "--json").json["params"] == {"full": True}
    assert cli("jobs", "export", "out.toml").code == 0
    again = cli("jobs", "apply", "out.toml", "--prune", "--json").json["jobs"]
    assert [job["outcome"] for job in again] == ["unchanged", "unchanged"]


def test_apply_tells_what_it_changes_and_prunes(small_url: str, cli: Cli, tmp_path: Path) -> None:
    """A changed job tells old and new values; with --prune, what the file does not have is deleted."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    cli("jobs", "apply", "jobs.toml")
    (tmp_path / "jobs.toml").write_text(JOBS.partition('[[job]]\ncode = "often"')[0].replace("30 2", "45 3"))
    dry = cli("jobs", "apply", "jobs.toml", "--prune", "--dry-run", "--json")
    wet = cli("jobs", "apply", "jobs.toml", "--prune", "--json")
    assert dry.json["jobs"] == wet.json["jobs"]
    assert wet.json["jobs"] == [
        {
            "code": "nightly",
            "outcome": "updated",
            "changes": {"trigger_expression": {"from": "30 2 * * *", "to": "45 3 * * *"}},
        },
        {"code": "often", "outcome": "pruned", "changes": {}},
    ]
    assert [job["code"] for job in cli("jobs", "list", "--json").json["items"]] == ["nightly"]


def test_apply_with_any_problem_changes_nothing(small_url: str, cli: Cli, tmp_path: Path) -> None:
    """All problems are told as FILE:LINE: reason with exit code 78, and not even the good jobs are applied."""
    (tmp_path / "bad.toml").write_text(
        JOBS + '\n[[job]]\ncode = "x"\ntask = "hris_replicaton"\ncron = "99 * * * *"\nparams = { fulll = 1 }\n'
    )
    answer = cli("jobs", "apply", "bad.toml")
    assert answer.code == 78
    assert [line.split(" ")[0] for line in answer.err.splitlines()] == ["bad.toml:17:", "bad.toml:18:"]
    assert "did you mean 'hris_replication'?" in answer.err
    assert cli("jobs", "list", "--json").json["items"] == []
    problems = cli("jobs", "apply", "bad.toml", "--json").json["error"]["problems"]
    assert [problem["line"] for problem in problems] == [17, 18]


def test_apply_refuses_wrong_parameters_with_their_line(small_url: str, cli: Cli, tmp_path: Path) -> None:
    """Parameters are checked against the signature of the task."""
    (tmp_path / "bad.toml").write_text(JOBS.replace("full = true", "full = true, fource = true"))
    answer = cli("jobs", "apply", "bad.toml")
    assert answer.code == 78
    assert answer.err.startswith("bad.toml:8: unknown parameter 'fource' (did you mean 'force'?).")


def test_apply_without_a_file_takes_the_configured_one(small_url: str, cli: Cli, tmp_path: Path) -> None:
    """The default is jobs.toml in HRSYNC_CONFIG_DIR; a missing file is a matter of configuration."""
    missing = cli("jobs", "apply")
    assert missing.code == 78
    assert "config/jobs.toml" in missing.err
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jobs.toml").write_text(JOBS)
    assert cli("jobs", "apply").code == 0


def test_a_paused_job_says_so_until_it_is_resumed(maria_url: str, cli: Cli, tmp_path: Path) -> None:
    """pause and resume change the job, and `next` says why nothing fires."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    cli("jobs", "apply", "jobs.toml")
    assert cli("jobs", "pause", "nightly", "--json").json["job"]["paused_at"] is not None
    assert "paused" in cli("jobs", "next", "nightly").out
    assert cli("jobs", "next", "nightly", "--json").json["fires"] == []
    resumed = cli("jobs", "resume", "nightly", "--json").json["job"]
    assert (resumed["paused_at"], len(resumed["next_fires"])) == (None, 5)


def test_next_foresees_the_changes_of_the_clock(small_url: str, cli: Cli, tmp_path: Path) -> None:
    """A year of nightly fires in Berlin has one change of the clock in each direction, marked at the first fire."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    cli("jobs", "apply", "jobs.toml")
    fires = cli("jobs", "next", "nightly", "-n", "366", "--json").json["fires"]
    assert len(fires) == 366
    changes = [fire["clock_change"] for fire in fires if fire["clock_change"]]
    assert sorted(set(changes)) == ["clock back 60 min", "clock forward 60 min"]
    assert all(fire["utc"].endswith("Z") for fire in fires)


def test_a_job_that_does_not_exist_is_exit_code_3(small_url: str, cli: Cli) -> None:
    """Every command on one job says that there is none."""
    for command in (["show"], ["run"], ["pause"], ["resume"], ["next"]):
        answer = cli("jobs", *command, "nope", "--json")
        assert (answer.code, answer.json["error"]["type"]) == (3, "NotFoundError")


def test_a_run_is_kept_when_nothing_runs_it_yet(maria_url: str, cli: Cli, tmp_path: Path) -> None:
    """`jobs run` without a scheduler makes a pending execution, says what is missing, and ends with 0."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    cli("jobs", "apply", "jobs.toml")
    answer = cli("jobs", "run", "often", "-p", "force=true", "--json")
    assert answer.code == 0
    assert "hrsync up" in answer.json["note"]
    found = cli("executions", "show", answer.json["execution"]["id"], "--json").json
    assert (found["status"], found["params"], found["triggered_by"]) == ("pending", {"force": True}, "manual")


def test_a_run_with_wrong_parameters_is_refused(small_url: str, cli: Cli, tmp_path: Path) -> None:
    """Parameters of `jobs run` are checked, and nothing is left behind."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    cli("jobs", "apply", "jobs.toml")
    assert cli("jobs", "run", "often", "-p", "nope=1").code == 78
    assert cli("executions", "list", "--json").json["items"] == []


def test_a_broker_that_is_down_loses_no_run(
    sqlite_url: str, settings_env: Callable[..., Settings], start_process: Callable[..., Any], cli: Cli, tmp_path: Path
) -> None:
    """With the broker away, `jobs run` keeps the run, says when it will be sent, and ends with 0."""
    settings_env(maria_url=sqlite_url)
    (tmp_path / "jobs.toml").write_text(JOBS)
    cli("jobs", "apply", "jobs.toml")
    process = start_process(
        "hrsync", "jobs", "run", "often", "--json", env={"CELERY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"}
    )
    assert process.wait(60) == 0
    answer = json.loads(process.output())
    assert answer["note"] == (
        "The broker does not answer; the run is kept and will be sent by the scheduler when the broker is back."
    )
    found = cli("executions", "show", answer["execution"]["id"], "--json").json
    assert (found["status"], found["dispatched_at"]) == ("pending", None)


# --- executions -------------------------------------------------------------------------------------------------------


def test_executions_are_listed_filtered_and_shown(maria_url: str, cli: Cli) -> None:
    """The list has the newest first and can be restricted; an execution is found by the end of its id."""
    first, second = sorted([new_id(), new_id()])  # ids of one millisecond are in no order
    old = execution(id=first, status="failed", error_type="ValueError", error_message="it broke")
    new = execution(id=second, rows_read=312)
    add(
        maria_url,
        old,
        new,
        ExecutionAttempt(
            execution_id=old.id,
            attempt=1,
            claim_token="t",
            worker_id="w",
            worker_host="host.example.com",
            started_at=NOW,
            outcome="failed",
            error_type="ValueError",
            error_message="it broke",
            traceback="Traceback ...",
        ),
    )
    assert [item["id"] for item in cli("executions", "list", "--json").json["items"]] == [new.id, old.id]
    assert [item["id"] for item in cli("executions", "list", "--status", "failed", "--json").json["items"]] == [old.id]
    assert cli("executions", "list", "--task", "nope", "--json").json["items"] == []
    shown = cli("executions", "show", old.id[-8:], "--json").json
    assert (shown["error_message"], shown["attempts"][0]["traceback"]) == ("it broke", "Traceback ...")
    assert cli("executions", "show", new.id[-8:], "--json").json["counts"]["read"] == 312
    text = cli("executions", "list").out
    assert old.id[-8:] in text
    assert "it broke" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_an_unknown_execution_is_exit_code_3(small_url: str, cli: Cli) -> None:
    """Every command on one execution says that there is none."""
    for command in ("show", "logs", "cancel", "retry"):
        assert cli("executions", command, "deadbeef", "--json").code == 3


def test_logs_are_shown_in_their_order(small_url: str, cli: Cli) -> None:
    """The lines of a run appear with level, event and fields, also of one attempt alone."""
    row = execution()
    lines = [
        ExecutionLog(
            execution_id=row.id, attempt=1, logged_at=NOW, level="info", event="rows_read", fields={"count": 5}
        ),
        ExecutionLog(execution_id=row.id, attempt=2, logged_at=NOW, level="warning", event="row_rejected", fields={}),
    ]
    add(small_url, row, *lines)
    assert [line["event"] for line in cli("executions", "logs", row.id, "--json").json["items"]] == [
        "rows_read",
        "row_rejected",
    ]
    assert [line["event"] for line in cli("executions", "logs", row.id, "--attempt", "2", "--json").json["items"]] == [
        "row_rejected"
    ]
    assert "rows_read  count=5" in cli("executions", "logs", row.id).out


def test_following_a_run_that_has_failed_ends_with_1(small_url: str, cli: Cli) -> None:
    """`logs --follow` shows the end of the run and answers with its exit code."""
    failed, refused = (
        execution(status="failed", error_type=kind, error_message="it broke", started_at=NOW, finished_at=NOW)
        for kind in ("ValueError", "GuardError")
    )
    add(small_url, failed, refused)
    answer = cli("executions", "logs", failed.id, "--follow")
    assert answer.code == 1
    assert "it broke" in answer.out
    assert cli("executions", "logs", refused.id, "--follow").code == 4


def test_cancel_and_retry(maria_url: str, cli: Cli) -> None:
    """A waiting execution is cancelled at once; what has ended cannot be cancelled but run once more."""
    row, done = execution(status="pending", params={"full": True}), execution()
    add(maria_url, row, done)
    cancelled = cli("executions", "cancel", row.id[-8:], "--reason", "wrong day", "--json")
    assert (cancelled.json["execution"]["status"], cancelled.json["execution"]["reason"]) == ("cancelled", "wrong day")
    refused = cli("executions", "cancel", done.id, "--json")
    assert (refused.code, refused.json["error"]["type"]) == (1, "ConflictError")
    retried = cli("executions", "retry", row.id, "--json")
    assert retried.code == 0
    new = cli("executions", "show", retried.json["execution"]["id"], "--json").json
    assert (new["retry_of"], new["params"], new["status"]) == (row.id, {"full": True}, "pending")


def test_commands_are_in_the_audit(small_url: str, cli: Cli, tmp_path: Path) -> None:
    """Who changed what by command can be found out."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    for command in (["apply", "jobs.toml"], ["pause", "often"], ["resume", "often"], ["run", "often"]):
        cli("jobs", *command)
    cli("hris", "sync", "--no-wait")
    entries = in_session(small_url, lambda session: SchedulerRepository().list_audit(session))
    assert [entry.action for entry in entries] == [
        "task_run_requested",
        "job_run_requested",
        "job_resumed",
        "job_paused",
        "job_created",
        "job_created",
    ]
    assert all("@" in entry.actor for entry in entries)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_the_quarantine_shows_no_personal_data(maria_url: str, cli: Cli) -> None:
    """Keys and reasons are shown; the row itself only with --show-data."""
    entries = [
        QuarantinedRow(
            entity=entity,
            source_key=key,
            fingerprint=bytes([number]) * 16,
            severity=severity,
            reason="missing_value",
            field="full_name",
            message="The row has no full_name.",
            payload={"EMAIL": "somebody@example.com"},
            first_seen_at=NOW,
            last_seen_at=NOW,
            execution_id=new_id(),
        )
        for number, (entity, key, severity) in enumerate(
            [("employees", "E1", "error"), ("employees", None, "error"), ("positions", "P1", "warning")]
        )
    ]
    add(maria_url, *entries)
    for options in ([], ["--json"]):
        answer = cli("hris", "quarantine", *options)
        assert answer.code == 0
        assert "E1" in answer.out
        assert "somebody@example.com" not in answer.out
        assert "somebody@example.com" in cli("hris", "quarantine", "--show-data", *options).out
    found = cli("hris", "quarantine", "--entity", "positions", "--json").json
    assert [item["source_key"] for item in found["items"]] == ["P1"]
    assert found["counts"] == [
        {"entity": "employees", "severity": "error", "reason": "missing_value", "count": 2},
        {"entity": "positions", "severity": "warning", "reason": "missing_value", "count": 1},
    ]
    assert cli("hris", "quarantine", "--entity", "people").code == 2


def test_tasks_are_listed_with_their_parameters(small_url: str, cli: Cli) -> None:
    """What can be scheduled is told with queue, limits and the schema of the parameters."""
    tasks = {task["code"]: task for task in cli("tasks", "list", "--json").json["items"]}
    task = tasks["hris_replication"]
    assert (task["name"], task["queue"], task["idempotent"]) == ("tasks.hris.hris_replication_task", "hris", True)
    assert task["parameters"]["properties"]["full"]["type"] == "boolean"
    assert "full: boolean = false" in cli("tasks", "list").out


def test_db_upgrade_creates_the_tables_and_can_be_repeated(
    empty_url: str, settings_env: Callable[..., Settings], cli: Cli
) -> None:
    """The first call brings an empty database to this version, the second finds it there."""
    settings_env(maria_url=empty_url)
    first = cli("db", "upgrade", "--json")
    second = cli("db", "upgrade", "--json")
    assert (first.code, first.json["from"]) == (0, None)
    assert (second.code, second.json["from"]) == (0, first.json["to"])


def test_a_database_without_tables_is_told(empty_url: str, settings_env: Callable[..., Settings], cli: Cli) -> None:
    """A command on a database that was never upgraded says what to run."""
    settings_env(maria_url=empty_url)
    answer = cli("jobs", "list")
    assert answer.code != 0
    assert "hrsync db upgrade" in answer.err


# --- doctor -----------------------------------------------------------------------------------------------------------


def findings_of(answer: Answer) -> dict[str, tuple[str, str]]:
    """Subject -> (level, message and mend) of the worst finding on it."""
    found: dict[str, tuple[str, str]] = {}
    for item in answer.json["findings"]:
        text = f"{item['message']} {item['mend']}"
        if item["subject"] not in found or item["level"] == "error":
            found[item["subject"]] = (item["level"], text)
    return found


def test_the_doctor_finds_a_sound_installation_sound(
    database_url: str,
    settings_env: Callable[..., Settings],
    cli: Cli,
    tmp_path: Path,
    project_root: Path,
    redis_url: str,
) -> None:
    """With everything in place nothing is an error, and the exit code is 0."""
    from backend.demo.company import write_biostar, write_hris

    write_hris(tmp_path / "hris.db")
    write_biostar(tmp_path / "biostar.db", until=dt.date(2031, 5, 4))
    settings_env(
        maria_url=database_url,
        hris_url=f"sqlite+aiosqlite:///{tmp_path / 'hris.db'}",
        biostar_url=f"sqlite+aiosqlite:///{tmp_path / 'biostar.db'}",
        celery_broker_url=redis_url,
        hrsync_config_dir=project_root / "config",
    )
    answer = cli("doctor", "--json")
    found = findings_of(answer)
    assert [subject for subject, (level, _) in found.items() if level == "error"] == []
    assert answer.code == 0
    assert found["biostar tables"][0] == "ok"
    assert found["hris employees"][1].startswith("19")  # of 200 rows of the sample most can be taken
    assert found["workers"][0] == "warning"
    assert cli("doctor").code == 0


def test_the_doctor_names_what_is_wrong_and_how_to_mend_it(
    empty_sqlite_url: str, settings_env: Callable[..., Settings], cli: Cli, tmp_path: Path
) -> None:
    """Every broken part is one finding with its mend; one broken part does not hide another."""
    sqlite3.connect(empty_sqlite_url.partition("///")[2]).close()
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jobs.toml").write_text("[[job]]\ncode = 1\n")
    settings_env(
        maria_url=empty_sqlite_url,
        hris_url="mssql+aioodbc://reader:secret-word@db.example.com/hr?driver=No+Such+Driver",
        celery_broker_url=f"redis://127.0.0.1:{free_port()}/0",
        smtp_url=f"smtp://127.0.0.1:{free_port()}",
    )
    answer = cli("doctor", "--json")
    found = findings_of(answer)
    assert answer.code == 78
    errors = {subject: text for subject, (level, text) in found.items() if level == "error"}
    assert "hrsync db upgrade" in errors["tables"]
    assert "No Such Driver" in errors["hris"]
    assert "tdsodbc" in errors["hris"]
    assert "hris.toml" in errors["hris mapping"]
    assert "BIOSTAR_URL" in errors["biostar"]
    assert "Redis does not answer" in errors["broker"]
    assert "SMTP_URL" in errors["mail"]
    assert "config/jobs.toml:2:" in errors["jobs file"]
    assert "secret-word" not in answer.out


def test_the_doctor_tells_a_wrong_setting(settings_env: Callable[..., Settings], cli: Cli, monkeypatch: Any) -> None:
    """When the settings cannot be read, that is the finding."""
    monkeypatch.setenv("LEASE_SECONDS", "soon")
    answer = cli("doctor", "--json")
    assert answer.code == 78
    assert "LEASE_SECONDS" in findings_of(answer)["settings"][1]


def test_the_doctor_finds_a_refused_login(mariadb_server: str, settings_env: Callable[..., Settings], cli: Cli) -> None:
    """A wrong password is told as such, without the password."""
    host = mariadb_server.rpartition("@")[2]
    settings_env(maria_url=f"mysql+aiomysql://nobody:wrong-secret@{host}/nothing")
    answer = cli("doctor", "--json")
    level, text = findings_of(answer)["database"]
    assert level == "error"
    assert "MARIA_URL" in text
    assert "wrong-secret" not in answer.out
