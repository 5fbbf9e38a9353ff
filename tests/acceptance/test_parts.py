"""Executions that split into parts, as real processes that are killed and emptied on the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.processes import Process
from tests.support.project import PROJECT_ROOT
from tests.support.spine import Spine
from tests.support.waiting import eventually


def begin(spine: Spine, tmp_path: Path, **params: Any) -> tuple[str, Path]:
    """An execution that will split into parts; its id, and the file in which they note their effects."""
    effects = tmp_path / "effects"
    effects.touch()
    return spine.add_execution("whole", {"effects": str(effects), **params}), effects


def lines(effects: Path) -> Counter[str]:
    """The effects, with how often they came."""
    return Counter(effects.read_text().splitlines())


def expected_ends(count: int) -> Counter[str]:
    """Every part ended once, and one summary."""
    return Counter({**{f"end {number}": 1 for number in range(1, count + 1)}, "summary": 1})


def ends(effects: Path) -> Counter[str]:
    """How often each part ended, and the whole was summed up."""
    return Counter({line: count for line, count in lines(effects).items() if line.startswith(("end", "summary"))})


def parts_of(spine: Spine, execution: str) -> list[Any]:
    """Status, attempts and correlation of the parts, in their order."""
    return spine.sql(
        "SELECT e.status, e.attempt, e.correlation_id, e.id FROM scheduler_execution_part p "
        "JOIN scheduler_job_execution e ON e.id = p.part_execution_id WHERE p.execution_id = :id ORDER BY p.number",
        id=execution,
    )


def test_parts_run_beside_each_other_and_are_summed_up_once(spine: Spine, tmp_path: Path) -> None:
    """The whole waits without a place, its parts each run once, and it is summed up in a second run of its own."""
    spine.start_scheduler()
    spine.start_worker()
    gate = tmp_path / "gate"
    execution, effects = begin(spine, tmp_path, count=5, gate=str(gate))
    eventually(lambda: sum(line.startswith("begin") for line in lines(effects)) == 5, 20)
    waiting = spine.wait_for(execution, "pending")
    assert ("waiting for its parts", 0, 5, "0 of 5 parts done") == (
        waiting["reason"], waiting["progress_current"], waiting["progress_total"], waiting["progress_message"]
    )  # fmt: skip
    gate.touch()
    row = spine.wait_for(execution)
    assert ("success", "5 parts", 15, 5, 5, 5) == (
        row["status"], row["summary"], row["rows_read"], row["rows_inserted"], row["progress_current"],
        row["progress_total"],
    )  # fmt: skip
    assert [{"number": number} for number in range(1, 6)] == json.loads(row["result"])["numbers"]
    assert ["waiting", "succeeded"] == spine.attempts(execution)
    assert [("success", 1, "test")] * 5 == [tuple(part[:3]) for part in parts_of(spine, execution)]
    assert Counter({"plan": 1, **{f"begin {n}": 1 for n in range(1, 6)}}) + expected_ends(5) == lines(effects)


def test_one_place_is_enough(spine: Spine, tmp_path: Path) -> None:
    """A worker that runs one thing at a time brings two wholes and their parts to an end: none holds its place."""
    executions = [begin(spine, tmp_path, count=3)[0] for _ in range(2)]
    spine.start_scheduler()
    spine.start_worker(concurrency=1, pool="solo")
    assert ["success"] * 2 == [spine.wait_for(execution)["status"] for execution in executions]


@pytest.mark.parametrize("crash", ["before waiting", "summing up"])
def test_worker_killed_between_the_steps(spine: Spine, tmp_path: Path, crash: str) -> None:
    """A worker killed after it has made the parts, or while it sums up: nothing is lost, and nothing comes twice."""
    spine.start_scheduler()
    worker = spine.start_worker()
    execution, effects = begin(spine, tmp_path, count=4, crash=crash)
    eventually(lambda: not worker.running, 30)
    spine.start_worker()
    row = spine.wait_for(execution, timeout=40)
    assert ("success", 10) == (row["status"], row["rows_read"])
    assert expected_ends(4) == ends(effects)
    assert 1 == lines(effects)["plan"]


def test_worker_killed_and_broker_emptied_and_scheduler_replaced_while_parts_run(
    spine: Spine, tmp_path: Path, redis_url: str
) -> None:
    """Worker killed with the parts in its hands, Redis emptied, another scheduler: each part and the sum come once."""
    gate = tmp_path / "gate"
    scheduler, worker = spine.start_scheduler(), spine.start_worker()
    execution, effects = begin(spine, tmp_path, count=4, gate=str(gate))
    eventually(lambda: sum(line.startswith("begin") for line in lines(effects)) == 4, 20)
    worker.kill()
    scheduler.kill()
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    gate.touch()
    spine.start_scheduler()
    spine.start_worker()
    row = spine.wait_for(execution, timeout=60)
    assert ("success", 10) == (row["status"], row["rows_read"])
    assert expected_ends(4) == ends(effects)
    assert [("success", 2)] * 4 == [tuple(part[:2]) for part in parts_of(spine, execution)]


def test_parts_without_any_server(
    start_process: Callable[..., Process], tmp_path: Path, sqlite_url: str, free_jobs: str
) -> None:
    """In one process on SQLite, `jobs run --wait` follows a whole through its waiting; `executions show` has its parts;
    a retry after a failed part runs that part alone."""
    mend = tmp_path / "mend"
    effects = tmp_path / "effects"
    (tmp_path / "jobs.toml").write_text(free_jobs.format(effects=effects, mend=mend))
    env: dict[str, object] = {
        "PYTHONPATH": PROJECT_ROOT, "MARIA_URL": sqlite_url, "CELERY_BROKER_URL": "memory://", "API_PORT": "0",
        "TASK_MODULES": "tests.support.probe_tasks",
    }  # fmt: skip

    def run(*arguments: str, code: int = 0) -> str:
        process = start_process("hrsync", *arguments, env=env)
        assert code == process.wait(60), process.output()
        return process.output()

    run("jobs", "apply", "jobs.toml")
    start_process("hrsync", "up", "--json", env=env).wait_for_output('"started"', 60)
    failed = json.loads(run("jobs", "run", "whole", "--wait", "--json", code=1))["execution"]
    assert ("PartsFailedError", 2) == (failed["error_type"], failed["counts"]["inserted"])
    shown = json.loads(run("executions", "show", failed["id"], "--json"))
    assert [(1, "success"), (2, "failed"), (3, "success")] == [
        (part["number"], part["status"]) for part in shown["parts"]
    ]
    bad = shown["parts"][1]
    assert failed["id"] == json.loads(run("executions", "show", bad["execution_id"], "--json"))["part_of"]
    text = " ".join(run("executions", "show", failed["id"]).split())
    assert f"2 {bad['execution_id'][-8:]} failed PermanentError" in text
    mend.touch()
    output = run("executions", "retry", failed["id"], "--wait")
    assert "waiting for its parts" not in output
    assert "3 parts" in output
    assert {"begin 1": 1, "begin 2": 2, "begin 3": 1, "plan": 1} == {
        name: count for name, count in lines(effects).items() if name.startswith(("begin", "plan"))
    }


@pytest.fixture
def free_jobs() -> str:
    """A jobs file with a whole of which the second part fails until it is mended."""
    return """
[[job]]
code = "whole"
task = "whole"
every = "1d"
params = {{ effects = "{effects}", bad = 2, fails_unless = "{mend}" }}
"""
