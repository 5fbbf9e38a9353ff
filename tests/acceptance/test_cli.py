"""The command line on a running system: following runs, interrupting commands, stopping processes in order."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Process
from tests.support.project import PROJECT_ROOT
from tests.support.waiting import eventually

Start = Callable[..., Process]
JOBS = """
[[job]]
code = "good"
task = "answer"
every = "1d"

[[job]]
code = "bad"
task = "fail"
every = "1d"

[[job]]
code = "guarded"
task = "guarded"
every = "1d"

[[job]]
code = "slow"
task = "sleep"
every = "1d"
params = { seconds = 8 }
"""


class System:
    """Starts commands that share one installation on SQLite."""

    def __init__(self, start: Start, folder: Path, maria_url: str, **settings: str) -> None:
        self._start = start
        self._env: Mapping[str, object] = {
            "PYTHONPATH": PROJECT_ROOT,
            "MARIA_URL": maria_url,
            "TASK_MODULES": "tests.support.probe_tasks",
            "SHUTDOWN_GRACE_SECONDS": "1",
            "HEARTBEAT_SECONDS": "1",
            "API_PORT": "0",
        } | settings
        (folder / "jobs.toml").write_text(JOBS)

    def start(self, *arguments: str) -> Process:
        """A command of hrsync."""
        return self._start("hrsync", *arguments, env=self._env)

    def run(self, *arguments: str, code: int = 0) -> str:
        """The output of a command that ends with the exit code."""
        process = self.start(*arguments)
        assert process.wait(60) == code, process.output()
        return process.output()

    def run_json(self, *arguments: str, code: int = 0) -> Any:
        """The JSON that a command prints."""
        return json.loads(self.run(*arguments, "--json", code=code))


@pytest.fixture
def embedded(start_process: Start, tmp_path: Path, sqlite_url: str) -> System:
    """An installation without any server, for `hrsync up`."""
    system = System(start_process, tmp_path, sqlite_url, CELERY_BROKER_URL="memory://")
    system.run("jobs", "apply", "jobs.toml")
    return system


@pytest.fixture
def up(embedded: System) -> Iterator[Process]:
    """`hrsync up`, running."""
    process = embedded.start("up", "--json")
    process.wait_for_output('"started"', 60)
    return process


def test_following_a_run_ends_with_its_outcome(embedded: System, up: Process) -> None:
    """`jobs run --wait` shows the log and the end of the run; 0 when it did its work, 1 when it failed, 4 when a
    guard refused it."""
    output = embedded.run("jobs", "run", "good", "--wait")
    assert "answer_found" in output
    assert "The answer is 42." in output
    assert embedded.run_json("jobs", "run", "good", "--wait")["execution"]["status"] == "success"
    assert "it broke" in embedded.run("jobs", "run", "bad", "--wait", code=1)
    assert "a guard refused it" in embedded.run("jobs", "run", "guarded", "--wait", code=4)


def test_interrupting_the_command_leaves_the_run_running(embedded: System, up: Process) -> None:
    """Ctrl-C ends the waiting, not the run, and says so."""
    waiting = embedded.start("jobs", "run", "slow", "--wait")
    waiting.wait_for_output("running", 30)
    waiting.send(signal.SIGINT)
    assert waiting.wait(20) == 130
    assert "goes on without this command" in waiting.output()
    assert "Traceback" not in waiting.output()
    latest = embedded.run_json("executions", "list", "--job", "slow")["items"][0]
    assert latest["status"] == "running"
    cancelled = embedded.run_json("executions", "cancel", latest["id"][-8:])
    assert cancelled["execution"]["cancel_requested_at"] is not None
    eventually(lambda: embedded.run_json("executions", "show", latest["id"])["status"] == "cancelled", 20, interval=0.2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_stops_in_order(embedded: System, up: Process, number: signal.Signals) -> None:
    """A signal ends everything in order: what runs is handed back, the lease is free, nothing complains."""
    embedded.run("jobs", "run", "slow")
    eventually(
        lambda: embedded.run_json("executions", "list", "--job", "slow")["items"][0]["status"] == "running",
        30,
        interval=0.2,
    )
    up.send(number)
    assert up.wait(30) == 0
    assert "Traceback" not in up.output()
    latest = embedded.run_json("executions", "list", "--job", "slow")["items"][0]
    assert (latest["status"], latest["reason"]) == ("pending", "the worker was shut down")
    findings = {item["subject"]: item["level"] for item in embedded.run_json("doctor", code=78)["findings"]}
    assert (findings["scheduler"], findings["workers"]) == ("warning", "warning")


def test_up_refuses_a_port_that_is_taken(embedded: System, up: Process) -> None:
    """A second one on the same port ends with 78 and leaves no trace of a crash."""
    started = next(json.loads(line) for line in _json_documents(up.output()) if "started" in line)
    port = started["url"].rpartition(":")[2]
    output = embedded.run("up", "--port", port, code=78)
    assert "API_PORT" in output
    assert "Traceback" not in output


def test_a_worker_of_its_own_takes_what_a_command_sends(
    start_process: Start, tmp_path: Path, sqlite_url: str, redis_url: str
) -> None:
    """With Redis, `hrsync worker` runs what `jobs run` sends by itself, also while no scheduler is there."""
    system = System(start_process, tmp_path, sqlite_url, CELERY_BROKER_URL=redis_url)
    system.run("jobs", "apply", "jobs.toml")
    worker = system.start("worker", "--concurrency", "4", "--queues", "default,hris", "--json")
    output = system.run("jobs", "run", "good", "--wait")
    assert "The answer is 42." in output
    assert worker.terminate() == 0
    assert "Traceback" not in worker.output()


def test_hris_sync_replicates_the_company(embedded: System, start_process: Start, tmp_path: Path) -> None:
    """`hris sync` follows the replication to its end; one that the guard holds is exit code 4, and can be approved."""
    from backend.demo.company import write_hris

    write_hris(tmp_path / "hris.db")
    system = System(
        start_process,
        tmp_path,
        str(embedded._env["MARIA_URL"]),
        CELERY_BROKER_URL="memory://",
        HRIS_URL=f"sqlite+aiosqlite:///{tmp_path / 'hris.db'}",
        HRSYNC_CONFIG_DIR=str(PROJECT_ROOT / "config"),
    )
    system.start("up", "--json").wait_for_output('"started"', 60)
    first = system.run_json("hris", "sync")["execution"]
    assert first["status"] == "success"
    assert first["counts"]["inserted"] > 250
    second = system.run_json("hris", "sync")["execution"]
    assert (second["counts"]["inserted"], second["counts"]["updated"]) == (0, 0)
    _empty_employees(tmp_path / "hris.db")
    refused = system.run_json("hris", "sync", code=4)["execution"]
    assert (refused["status"], refused["error_type"]) == ("failed", "GuardError")
    assert (refused["counts"]["deactivated"], refused["counts"]["updated"]) == (None, None)
    entries = system.run_json("hris", "quarantine", "--entity", "employees")["items"]
    assert {"missing_key", "missing_value", "unmapped_value"} <= {entry["reason"] for entry in entries}
    (held,) = system.run_json("hris", "holds")["items"]
    assert held["execution_id"] == refused["id"]
    approved = system.run_json("hris", "approve", refused["id"][-8:])["execution"]
    assert (approved["status"], approved["counts"]["deactivated"]) == ("success", held["change_count"])
    assert system.run_json("hris", "holds") == {"items": []}
    assert "applied by run" in system.run("hris", "approve", refused["id"], code=1)


def _empty_employees(path: Path) -> None:
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM HR_EMPLOYEE WHERE EMP_NO > 'E00100'")


def _json_documents(output: str) -> list[str]:
    """The indented JSON documents among the lines of a log."""
    documents: list[str] = []
    lines: list[str] = []
    for line in output.splitlines():
        if line == "{" or lines:
            lines.append(line)
        if line == "}" and lines:
            documents.append("\n".join(lines))
            lines = []
    return documents
