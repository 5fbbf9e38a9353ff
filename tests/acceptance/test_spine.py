"""APScheduler fires -> one ledger row -> dispatcher -> Celery gevent worker -> tracked run, on real processes."""

from __future__ import annotations

import datetime as dt
import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from backend.demo.company import write_biostar, write_hris
from tests.support.project import PROJECT_ROOT
from tests.support.servers import MariaDBServer, RedisServer
from tests.support.spine import Spine
from tests.support.waiting import eventually


def test_due_job_runs_and_tells_what_happened(spine: Spine) -> None:
    """A job that is due ends in one successful execution with its counts, summary, result, progress and log."""
    job = spine.add_job("answer", "answer", params=json.dumps({"value": 7}), max_runs=1)
    spine.start_worker()
    spine.start_scheduler()
    eventually(lambda: spine.statuses("job_id = :job", job=job)["success"] == 1, 30)
    (row,) = spine.sql("SELECT id FROM scheduler_job_execution WHERE job_id = :job", job=job)
    execution = spine.execution(row[0])
    expected = {
        "task_name": "tests.answer_task", "queue": "hris", "triggered_by": "schedule", "attempt": 1,
        "rows_read": 7, "rows_inserted": 1, "summary": "The answer is 7.", "result": '{"n": 7}',
        "progress_current": 1, "progress_total": 2, "error_message": None,
    }  # fmt: skip
    assert expected == {name: execution[name] for name in expected}
    assert ["succeeded"] == spine.attempts(row[0])
    assert [("answer_found",)] == spine.sql(
        "SELECT event FROM scheduler_execution_log WHERE execution_id = :id", id=row[0]
    )


def test_killed_worker_is_rescued_and_effects_come_once(spine: Spine, tmp_path: Path) -> None:
    """A worker killed with -9 in mid-run: the run is found, runs again elsewhere, and its effect is there once."""
    gate, effects = tmp_path / "gate", tmp_path / "effects"
    spine.start_scheduler()
    worker = spine.start_worker()
    execution = spine.add_execution("staged", {"gate": str(gate), "effects": str(effects)})
    eventually(lambda: effects.exists() and "begin" in effects.read_text(), 30)
    worker.kill()
    gate.touch()
    spine.start_worker()
    row = spine.wait_for(execution, timeout=30)
    assert ("success", 2) == (row["status"], row["attempt"])
    assert ["lost", "succeeded"] == spine.attempts(execution)
    assert 1 == effects.read_text().count(f"end {execution}")


def test_worker_that_kills_itself_with_a_task_that_may_not_be_repeated(spine: Spine) -> None:
    """A lost run of a task that is not idempotent fails with the reason, and is not run again."""
    spine.start_scheduler()
    spine.start_worker()
    execution = spine.add_execution("suicide", idempotent=False)
    row = spine.wait_for(execution, timeout=30)
    assert ("failed", 1) == (row["status"], row["attempt"])
    assert "not idempotent" in row["reason"]


def test_terminated_worker_hands_its_runs_back(spine: Spine, tmp_path: Path) -> None:
    """SIGTERM: short runs finish, long ones go back to pending without burning an attempt, and the worker ends well."""
    effects = tmp_path / "effects"
    spine.start_scheduler()
    worker = spine.start_worker()
    short = spine.add_execution("sleep", {"seconds": 1.5, "effects": str(effects)})
    long = spine.add_execution("sleep", {"seconds": 60})
    for execution in (short, long):
        spine.wait_for(execution, "running")
    assert 0 == worker.terminate(timeout=20)
    assert "success" == spine.execution(short)["status"]
    row = spine.execution(long)
    assert ("pending", 1) == (row["status"], row["interruptions"])
    assert ["interrupted"] == spine.attempts(long)
    spine.start_worker()
    assert 2 == spine.wait_for(long, "running")["attempt"]


def test_scheduler_killed_between_ledger_and_dispatch(spine: Spine) -> None:
    """A scheduler killed while it fires loses nothing and doubles nothing: its successor sends every row once."""
    for number in range(20):
        spine.add_job(f"job-{number}", "noop", max_runs=3)
    for _ in range(3):
        scheduler = spine.start_scheduler()
        rows = sum(spine.statuses().values())
        # On a slow machine all fires may have come before the next scheduler is up.
        eventually(lambda before=rows: sum(spine.statuses().values()) > before or before == 60, 20)  # type: ignore[misc]
        scheduler.kill()
    spine.start_worker()
    spine.start_scheduler()
    eventually(lambda: spine.statuses() == Counter(success=60), 40)
    (fires,) = spine.sql("SELECT count(*), count(DISTINCT job_id, scheduled_for) FROM scheduler_job_execution")
    assert (60, 60) == tuple(fires)
    assert [(1,)] == spine.sql("SELECT DISTINCT attempt FROM scheduler_job_execution")


def test_two_schedulers_fire_each_time_once(spine: Spine) -> None:
    """Two schedulers for 200 fires make 200 rows."""
    for number in range(40):
        spine.add_job(f"job-{number}", "noop", max_runs=5)
    spine.start_worker()
    first = spine.start_scheduler()
    spine.start_scheduler()
    eventually(lambda: sum(spine.statuses().values()) >= 80, 30)
    first.kill()
    eventually(lambda: spine.statuses() == Counter(success=200), 60)
    (fires,) = spine.sql("SELECT count(*), count(DISTINCT job_id, scheduled_for) FROM scheduler_job_execution")
    assert (200, 200) == tuple(fires)


def test_empty_redis_loses_nothing(fragile_spine: tuple[Spine, MariaDBServer, RedisServer]) -> None:
    """Redis restarted empty: the runs that waited in it are sent again."""
    spine, _, redis = fragile_spine
    spine.start_scheduler()
    executions = [spine.add_execution("noop") for _ in range(30)]
    sent = "SELECT count(*) FROM scheduler_job_execution WHERE dispatched_at IS NOT NULL"
    eventually(lambda: spine.sql(sent)[0][0] == 30, 20)
    redis.restart()
    spine.start_worker()
    eventually(lambda: spine.statuses() == Counter(success=30), 40)
    assert 30 == len(executions)


def test_redis_away_for_a_while(fragile_spine: tuple[Spine, MariaDBServer, RedisServer]) -> None:
    """Redis gone while jobs fire: the fires wait as rows, and run when it is back, with the same processes."""
    spine, _, redis = fragile_spine
    spine.start_scheduler()
    spine.start_worker()
    job = spine.add_job("every-second", "noop", overlap="queue")
    eventually(lambda: spine.statuses()["success"] >= 2, 30)
    redis.stop()
    waiting = sum(spine.statuses().values())
    eventually(lambda: sum(spine.statuses().values()) >= waiting + 5, 30)
    redis.start()
    spine.sql("UPDATE scheduler_job SET enabled = 0, revision = revision + 1 WHERE id = :job", job=job)
    eventually(lambda: set(spine.statuses()) <= {"success", "missed"}, 40)
    assert spine.statuses()["success"] >= 7


def test_mariadb_away_for_20_seconds(fragile_spine: tuple[Spine, MariaDBServer, RedisServer], tmp_path: Path) -> None:
    """MariaDB stopped for 20 s in mid-run: scheduler and worker live on, the run ends well, later fires run."""
    spine, mariadb, _ = fragile_spine
    effects = tmp_path / "effects"
    scheduler = spine.start_scheduler()
    worker = spine.start_worker()
    spine.add_job("every-second", "noop")
    running = spine.add_execution("sleep", {"seconds": 5, "effects": str(effects)})
    spine.wait_for(running, "running")
    mariadb.stop()
    # The outage itself is what is tested: nothing can be polled in the meantime but the processes.
    with pytest.raises(AssertionError):
        eventually(lambda: not (scheduler.running and worker.running), 20, interval=0.5)
    mariadb.start()
    row = spine.wait_for(running, timeout=10)
    assert ("success", 1) == (row["status"], row["attempt"])
    assert 1 == effects.read_text().count(running)
    done = spine.statuses()["success"]
    eventually(lambda: spine.statuses()["success"] > done + 1, 10)


def test_500_runs_at_once(spine: Spine, tmp_path: Path) -> None:
    """500 tracked runs under gevent -c 100: none fails, none is doubled."""
    effects = tmp_path / "effects"
    spine.start_scheduler()
    spine.start_worker(concurrency=100)
    ids = {spine.add_execution("sleep", {"seconds": 0.2, "effects": str(effects)}) for _ in range(500)}
    eventually(lambda: spine.statuses() == Counter(success=500), 60)
    done = effects.read_text().split()
    assert (500, ids) == (len(done), set(done))
    assert [(500,)] == spine.sql("SELECT count(*) FROM scheduler_execution_attempt")


@pytest.mark.parametrize("pool", ["threads", "prefork", "solo"])
def test_other_pools_work_too(spine: Spine, pool: str) -> None:
    """Threads, prefork and solo workers run tracked tasks as gevent does."""
    spine.start_scheduler()
    spine.start_worker(concurrency=4, pool=pool)
    ids = [spine.add_execution("answer", {"value": 1}, queue="hris") for _ in range(8)]
    for execution in ids:
        assert "success" == spine.wait_for(execution)["status"]


def test_direct_celery_call_is_tracked(spine: Spine) -> None:
    """`celery call` of a task by its name gets an execution row under the Celery task id."""
    spine.start_worker()
    call = spine.start("celery", "-A", "backend.celery_app", "call", "tests.answer_task", "--kwargs", '{"value": 5}')
    assert 0 == call.wait()
    execution = call.output().split()[-1]
    eventually(lambda: spine.statuses()["success"] == 1, 20)
    row = spine.execution(execution)
    assert ("direct", 5) == (row["triggered_by"], row["rows_read"])


def test_cancel_of_a_running_and_of_a_stubborn_run(spine: Spine) -> None:
    """A cancel request ends a running run, also one that ignores it, and the reason is kept."""
    spine.start_scheduler()
    spine.start_worker()
    ids = [spine.add_execution("sleep", {"seconds": 60}), spine.add_execution("endless", {"stubborn": True})]
    spine.wait_for(ids[0], "running")
    spine.sql("UPDATE scheduler_job_execution SET cancel_requested_at = UTC_TIMESTAMP(6), cancel_reason = 'enough'")
    row = spine.wait_for(ids[0], timeout=5)
    assert ("cancelled", "enough") == (row["status"], row["reason"])
    assert spine.wait_for(ids[1])["status"] in ("cancelled", "failed")


def test_limits_end_what_never_returns(spine: Spine) -> None:
    """A task that never returns is ended at its limit, whether it waits or refuses, and the worker goes on."""
    spine.start_scheduler()
    spine.start_worker()
    ids = [spine.add_execution("endless", {"stubborn": stubborn}) for stubborn in (False, True)]
    rows = [spine.wait_for(execution) for execution in ids]
    assert ["soft time limit of 1 s", "hard time limit of 2 s"] == [row["reason"] for row in rows]
    assert "success" == spine.wait_for(spine.add_execution("noop"))["status"]


def test_failures_say_what_happened(spine: Spine) -> None:
    """A task that raises, is refused, or returns what cannot be kept, fails with a message; a flaky one is repeated."""
    spine.start_scheduler()
    spine.start_worker()
    ids = {
        "fail": spine.add_execution("fail", {"message": "no such thing"}),
        "guarded": spine.add_execution("guarded"),
        "unserialisable": spine.add_execution("unserialisable"),
        "wrong": spine.add_execution("sleep", {"secs": 3}),
        "flaky": spine.add_execution("flaky", {"good_attempt": 3}),
    }
    rows = {name: spine.wait_for(execution) for name, execution in ids.items()}
    assert ("failed", "ValueError", "no such thing") == tuple(
        rows["fail"][name] for name in ("status", "error_type", "error_message")
    )
    assert ("failed", "GuardError", 1) == tuple(rows["guarded"][name] for name in ("status", "error_type", "attempt"))
    assert "JSON cannot hold" in rows["unserialisable"]["error_message"]
    assert "seconds: Field required" in rows["wrong"]["error_message"]
    assert ("success", 3) == (rows["flaky"]["status"], rows["flaky"]["attempt"])
    assert ["retry", "retry", "succeeded"] == spine.attempts(ids["flaky"])


def test_the_companys_data_arrives_and_no_log_names_a_person(spine: Spine, tmp_path: Path) -> None:
    """Jobs fire the HRIS replication and the ingestion on a gevent worker; rows tell counts, logs no names."""
    write_hris(tmp_path / "hris.db")
    write_biostar(tmp_path / "biostar.db", until=dt.date(2026, 11, 20))
    spine.env |= {"HRSYNC_CONFIG_DIR": str(PROJECT_ROOT / "config"), "MAIL_SUMMARY_TO": "hr-it@example.com"}
    jobs = [
        spine.add_job("hris", "hris_replication", max_runs=2),
        spine.add_job("punches", "attendance_ingest", max_runs=1, params=json.dumps({"full": True})),
    ]
    spine.start_worker()
    spine.start_scheduler()
    eventually(lambda: spine.statuses("job_id IN :jobs", jobs=tuple(jobs))["success"] == 3, 60)
    first, second = spine.sql(
        "SELECT rows_inserted, rows_unchanged, rows_rejected, summary FROM scheduler_job_execution "
        "WHERE job_id = :job ORDER BY scheduled_for",
        job=jobs[0],
    )
    (employees,) = spine.sql("SELECT count(*) FROM hr_employee WHERE is_active = 1")
    assert employees[0] >= 250
    assert first[0] == second[1]
    assert (0, first[2]) == (second[0], second[2])
    assert "nothing changed" in second[3]
    (punches,) = spine.sql("SELECT rows_inserted FROM scheduler_job_execution WHERE job_id = :job", job=jobs[1])
    assert [(punches[0],)] == spine.sql("SELECT count(*) FROM attendance_punch")
    eventually(lambda: spine.sql("SELECT count(*) FROM mail_outbox WHERE status = 'sent'")[0][0] == 2, 30)
    people = spine.sql("SELECT full_name, email FROM hr_employee")
    private = {text for row in people for text in row if text} | {"hr-it@example.com"}
    printed = "".join(process.output() for process in spine.processes)
    assert [] == sorted(text for text in private if text in printed)


def test_logs_and_tables_hold_no_secret(spine: Spine) -> None:
    """No process prints the password of a URL, also not when a connection fails."""
    spine.start_scheduler()
    worker = spine.start_worker()
    execution = spine.add_execution("fail", {"message": f"cannot connect to {spine.maria_url}"})
    row = spine.wait_for(execution)
    worker.send(signal.SIGTERM)
    worker.wait(20)
    secret = spine.maria_url.split(":")[2].split("@")[0]
    everything = "".join(process.output() for process in spine.processes) + str(row["error_message"])
    assert secret not in everything
