"""The command line without a database: words, options, exit codes, and how fast it answers."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import zoneinfo

import pytest
import typer

from backend.cli.app import app, run
from backend.cli.checks import check_python
from backend.cli.doctor import worst_level
from backend.cli.executions import parse_since
from backend.cli.exits import ExitCode, exit_code_of
from backend.cli.jobs import clock_changes, parse_params
from backend.cli.output import jsonable, short_id, table, when
from backend.cli.processes import worker_command
from backend.db.models.scheduler import JobExecution
from backend.domain.employees import Entity
from backend.domain.executions import RowCounts
from backend.domain.jobs_file import FileProblem, JobsFileError
from backend.errors import ConfigurationError, ConflictError, GuardError, NotFoundError, TransientError
from backend.settings import Settings

NOW = dt.datetime(2031, 5, 4, 12, 0, tzinfo=dt.UTC)


def test_a_long_text_pushes_no_column_out_of_a_table() -> None:
    """What may be cut is cut to what the other columns leave, the shorter of two as little as possible."""
    from rich.console import Console

    rows = [("27d515f7", "a-job-with-a-long-name", "failed", "1 ms", "went wrong " * 40)] * 2
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(["ID", "JOB", "STATUS", "TOOK", "WHAT"], rows, flexible=("JOB", "WHAT")))
    heading, _, line, *_ = captured.get().splitlines()
    assert ["ID", "JOB", "STATUS", "TOOK", "WHAT"] == heading.split()
    assert ["27d515f7", "a-job-with-a-long-name", "failed", "1", "ms", "went"] == line.split()[:6]
    assert line.rstrip().endswith("…")


def test_help_needs_no_heavy_module() -> None:
    """`hrsync --help` loads neither the databases nor Celery nor the web server, so that it answers at once."""
    code = (
        "import sys, backend.cli.app as a\n"
        "heavy = {'sqlalchemy', 'celery', 'kombu', 'gevent', 'pydantic', 'fastapi', 'apscheduler', 'alembic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_every_command_offers_json() -> None:
    """Each command that is shown has the option --json."""
    commands = {}

    def collect(group: typer.Typer, prefix: str) -> None:
        for command in group.registered_commands:
            if not command.hidden:
                commands[f"{prefix}{command.name}"] = command.callback
        for inner in group.registered_groups:
            collect(inner.typer_instance, f"{prefix}{inner.name} ")

    collect(app, "")
    assert set(commands) == {
        "doctor", "db upgrade", "up", "scheduler", "worker", "api", "tasks list",
        "jobs list", "jobs show", "jobs apply", "jobs export", "jobs run", "jobs pause", "jobs resume", "jobs next",
        "executions list", "executions show", "executions logs", "executions cancel", "executions retry",
        "hris sync", "hris quarantine", "hris preview", "hris reconcile", "hris holds", "hris hold", "hris approve",
        "hris reject", "hris history", "hris as-of", "hris check",
        "punches list", "punches check", "punches users assign", "punches users unassign",
        "attendance explain", "attendance days", "attendance adjustments", "attendance locks",
        "attendance compute", "attendance recompute", "attendance lock",
        "attendance add-punch", "attendance edit-punch", "attendance ignore-punch", "attendance override",
        "attendance assign", "attendance withdraw", "attendance amendments",
        "attendance check", "attendance preview",
    }  # fmt: skip
    assert [name for name, callback in commands.items() if "as_json" not in callback.__annotations__] == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 78),
        (JobsFileError("f", [FileProblem(line=1, message="x")]), 78),
        (NotFoundError("x"), 3),
        (GuardError("x"), 4),
        (ConflictError("x"), 1),
        (TransientError("x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_has_its_exit_code(error: BaseException, code: int) -> None:
    """The class of an error decides the exit code."""
    assert exit_code_of(error) == code


@pytest.mark.parametrize("arguments", [["bogus"], ["jobs", "show"], ["jobs", "list", "--nope"], ["jobs"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown commands and options, and missing arguments, are told with exit code 2."""
    assert run(arguments) == ExitCode.USAGE
    assert capsys.readouterr() != ("", "")


def test_wrong_usage_is_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json an error is a JSON object on stdout, and stderr is empty."""
    assert run(["jobs", "show", "--json"]) == 2
    output = capsys.readouterr()
    assert json.loads(output.out) == {
        "error": {"type": "UsageError", "message": "Missing argument 'CODE'.", "exit_code": 2}
    }
    assert output.err == ""


def test_a_wrong_setting_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that cannot be read ends every command with 78 and a message that names it, without a traceback."""
    monkeypatch.setenv("DB_POOL_SIZE", "many")
    assert run(["jobs", "list"]) == 78
    output = capsys.readouterr()
    assert "DB_POOL_SIZE" in output.err
    assert "Traceback" not in output.err


def test_a_wrong_database_url_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A URL with a driver that is not ours is a matter of configuration."""
    monkeypatch.setenv("MARIA_URL", "postgresql://db.example.com/hr")
    assert run(["executions", "list", "--json"]) == 78
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "ConfigurationError"
    assert "MARIA_URL" in error["message"]


@pytest.mark.parametrize("command", ["scheduler", "worker"])
def test_a_lone_process_refuses_the_memory_broker(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scheduler and worker alone cannot use a broker that lives in one process; the message names the way out."""
    assert run([command]) == 78
    assert "hrsync up" in capsys.readouterr().err


def test_a_fault_of_the_program_is_one_line_and_a_traceback_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody foresaw is told in a line as well; HRSYNC_DEBUG shows where it came from."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("backend.cli.checks.check_installation", fail)
    assert run(["doctor"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("HRSYNC_DEBUG", "1")
    assert run(["doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names program and version."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hrsync ")


def test_times_are_local_and_relative() -> None:
    """An instant of today is a time of day, another one has its date; both say how far they are."""
    near, far = NOW + dt.timedelta(minutes=3), NOW - dt.timedelta(days=3)
    assert when(near, NOW) == f"{near.astimezone():%H:%M:%S} (in 3 min)"
    assert when(far, NOW) == f"{far.astimezone():%Y-%m-%d %H:%M} (3 days ago)"
    assert when(None, NOW) == "-"


def test_json_holds_instants_in_utc_and_values_of_ours() -> None:
    """Instants become ISO 8601 in UTC, enums their value, dataclasses objects."""
    berlin = NOW.astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))
    assert jsonable({"at": berlin, "on": NOW.date(), "entity": Entity.EMPLOYEES, "counts": RowCounts(read=1)}) == {
        "at": "2031-05-04T12:00:00Z",
        "on": "2031-05-04",
        "entity": "employees",
        "counts": {
            "read": 1, "inserted": None, "updated": None, "unchanged": None, "deactivated": None, "rejected": None,
        },
    }  # fmt: skip


def test_an_id_is_shown_by_its_end() -> None:
    """Ids that begin in the same millisecond differ at their end."""
    assert short_id("01a1fdf2-8637-7a53-aa0c-a88d75eb696b") == "75eb696b"


def test_changes_of_the_clock_are_marked() -> None:
    """The first fire after a change of the clock says how far it was moved."""
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    days = [dt.datetime(2031, 3, day, 4, tzinfo=zone) for day in (28, 29, 30, 31)]
    assert clock_changes(days) == [None, "clock forward 60 min", None]
    assert clock_changes([dt.datetime(2031, 10, 25, 4, tzinfo=zone), dt.datetime(2031, 10, 27, 4, tzinfo=zone)]) == [
        "clock back 60 min"
    ]


def test_parameters_are_json_or_text() -> None:
    """A value that is JSON is taken as such, any other as text."""
    assert parse_params(["full=true", "limit=5", "since=2031-01-01", "name=a=b"]) == {
        "full": True,
        "limit": 5,
        "since": "2031-01-01",
        "name": "a=b",
    }
    with pytest.raises(typer.BadParameter):
        parse_params(["full"])


def test_since_is_an_age_or_a_date() -> None:
    """`--since` understands ages and ISO dates, and says so about anything else."""
    age = dt.datetime.now(dt.UTC) - parse_since("2h")
    assert abs(age - dt.timedelta(hours=2)) < dt.timedelta(seconds=10)
    assert parse_since("2031-05-04T12:00:00+00:00") == NOW
    with pytest.raises(typer.BadParameter, match="neither an age"):
        parse_since("lately")


def test_the_worker_is_celery_with_the_right_options() -> None:
    """The worker command names application, pool, queues and concurrency, and leaves out Celery's chatter."""
    command = worker_command(
        Settings(worker_concurrency=7), queues="hris, email", concurrency=None, pool="gevent", name="w@%h"
    )
    assert command[1:] == [
        "-m", "celery", "-A", "backend.celery_app", "worker", "--pool", "gevent", "--concurrency", "7",
        "--queues", "hris,email", "--hostname", "w@%h", "--loglevel", "INFO",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
    with pytest.raises(typer.BadParameter, match="payroll"):
        worker_command(Settings(), queues="hris,payroll", concurrency=1, pool="gevent", name=None)


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((3, 11, 2), "ok"),
        ((3, 13, 11), "ok"),
        ((3, 13, 12), "warning"),
        ((3, 14, 2), "ok"),
        ((3, 14, 3), "warning"),
    ],
)
def test_pythons_that_gevent_breaks_on_are_warned_of(version: tuple[int, int, int], level: str) -> None:
    """The doctor knows the releases from which on gevent has an open fault."""
    finding = check_python(version)
    assert finding.level == level
    assert worst_level([finding]) == level


def test_the_exit_code_of_a_run_tells_a_guard_from_a_failure() -> None:
    """A run that a guard refused is 4, any other that did not succeed is 1."""
    from backend.cli.exits import exit_code_of_run

    runs = [
        ("success", None),
        ("failed", "GuardError"),
        ("failed", "ValueError"),
        ("cancelled", None),
        ("missed", None),
    ]
    codes = [exit_code_of_run(JobExecution(status=status, error_type=error)) for status, error in runs]
    assert codes == [0, 4, 1, 1, 1]
