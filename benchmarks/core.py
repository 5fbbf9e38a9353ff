"""`scripts/bench core`: the execution core against bare Celery and against its own goals, in one run.

Every figure comes from the same servers within minutes of each other; times of runs are the database's own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import redis
from sqlalchemy import text

from backend.utils.identifiers import new_id
from benchmarks.figures import Figures
from tests.support.databases import create_mariadb_database, migrate_database
from tests.support.processes import Process
from tests.support.project import PROJECT_ROOT
from tests.support.spine import Spine
from tests.support.waiting import eventually

CONCURRENCY = 100


class CoreBench(Figures):
    """The measurements, on one database and one Redis."""

    def __init__(self, folder: Path, maria_url: str, redis_url: str, scale: float) -> None:
        super().__init__()
        self.folder = folder
        self.scale = scale
        self.spine = Spine(
            folder, maria_url, redis_url,
            HEARTBEAT_SECONDS="10", ORPHAN_AFTER_SECONDS="28", LEASE_SECONDS="15", REDISPATCH_AFTER_SECONDS="60",
            LOG_LEVEL="WARNING",
        )  # fmt: skip

    def run(self) -> None:
        """Every measurement, from the smallest part to the whole."""
        self.bridge()
        bare = self.bare_celery()
        self.tracked_noop(bare)
        tracked = self.tracked_sleep()
        self.naive(tracked)
        self.dispatch_rate()
        self.scheduler()

    # --- parts ------------------------------------------------------------------------------------------------------

    def bridge(self) -> None:
        """What one trip from a greenlet to the loop's thread and back costs."""
        code = """
import sys
if sys.argv[1] == "gevent":
    from gevent import monkey; monkey.patch_all()
import time
from backend.execution.loop import get_loop_thread, close_loop_thread
thread = get_loop_thread()
async def noop(): pass
for _ in range(500): thread.run(noop())
begun = time.perf_counter()
for _ in range(5000): thread.run(noop())
print((time.perf_counter() - begun) / 5000 * 1e6)
close_loop_thread()
"""
        for pool in ("gevent", "threads"):
            done = subprocess.run(  # noqa: S603 - our own code
                [sys.executable, "-c", code, pool], capture_output=True, text=True, check=True
            )
            self.note(f"bridge overhead per call ({pool})", f"{float(done.stdout):.0f} us")

    def peer(self, task: str, count: int, **arguments: Any) -> tuple[float, int]:
        """Tasks a second and failures of a peer's task, all queued before its worker starts."""
        from benchmarks.peers import app

        with app.producer_or_acquire() as producer:
            for _ in range(count):
                app.send_task(task, kwargs={"total": count, **arguments}, producer=producer)
        out = self.folder / f"{task}.out"
        self.spine.env["BENCH_OUT"] = str(out)
        worker = self.spine.start(
            "celery", "-A", "benchmarks.peers", "worker", "-P", "gevent", "-c", str(CONCURRENCY), "-Q", "peers",
            "-l", "CRITICAL",
        )  # fmt: skip
        eventually(lambda: out.exists() and out.read_text(), 180)
        seconds, failures = out.read_text().split()
        worker.kill()
        return count / float(seconds), int(failures)

    def bare_celery(self) -> float:
        """Bare Celery's no-op tasks."""
        rate, _ = self.peer("peers.noop", self.count(3000))
        self.note("bare Celery no-op tasks", f"{rate:.0f}/s")
        return rate

    def tracked_noop(self, bare: float) -> None:
        """Tracked no-op runs, as a share of bare Celery's."""
        rate, failed, _ = self.tracked("noop", self.count(3000), {})
        share = rate / bare
        self.note("tracked no-op runs", f"{rate:.0f}/s = {share:.0%} of bare", "60 % of bare", share >= 0.6)
        if failed:
            self.note("failed tracked no-op runs", str(failed), "0", False)

    def tracked_sleep(self) -> float:
        """Tracked runs that wait in the database."""
        rate, failed, _ = self.tracked("sql_sleep", self.count(1500), {"seconds": 0.05})
        self.note(f"tracked SELECT SLEEP(0.05) at -c {CONCURRENCY}", f"{rate:.0f}/s, {failed} failed")
        return rate

    def naive(self, tracked: float) -> None:
        """The published pattern on the same work."""
        count = self.count(300)
        rate, failures = self.peer("peers.naive_sleep", count, seconds=0.05)
        self.note(
            "published pattern (asyncio.run per task) on the same work",
            f"{failures} of {count} failed, {rate * (count - failures) / count:.0f} good/s against {tracked:.0f}/s",
        )

    def tracked(self, task: str, count: int, params: dict[str, Any]) -> tuple[float, int, Process]:
        """Tracked runs a second and how many failed, all queued before the worker starts."""
        from backend.celery_app import app

        self.empty()
        self.spine.env |= {"DB_POOL_SIZE": "60", "WORKER_CONCURRENCY": str(CONCURRENCY)}
        ids = self.insert_pending(task, count, params, dispatched=True)
        with app.producer_or_acquire() as producer:
            for number in ids:
                app.send_task(
                    f"tests.{task}_task", task_id=number, queue="default", headers={"hrsync_row": True},
                    producer=producer, ignore_result=True,
                )  # fmt: skip
        worker = self.spine.start_worker(concurrency=CONCURRENCY)
        eventually(lambda: not self.spine.statuses("status IN ('pending', 'running')"), 180, interval=0.3)
        ((seconds,),) = self.spine.sql(
            "SELECT timestampdiff(MICROSECOND, min(started_at), max(finished_at)) / 1e6 FROM scheduler_job_execution"
        )
        failed = count - self.spine.statuses()["success"]
        worker.kill()
        return count / float(seconds), failed, worker

    def dispatch_rate(self) -> None:
        """How fast due rows are sent, without a worker."""
        from backend.celery_bridge import send_executions
        from backend.db.database import Database
        from backend.execution.dispatch import dispatch_due

        self.empty()
        count = self.count(5000)
        self.insert_pending("noop", count, {}, dispatched=False)

        async def send_all() -> float:
            database = Database("hrsync database", "MARIA_URL", self.spine.maria_url)
            begun = time.perf_counter()
            sent = 0
            while sent < count:
                sent += len((await dispatch_due(database, send_executions)).sent)
            seconds = time.perf_counter() - begun
            await database.dispose()
            return count / seconds

        rate = asyncio.run(send_all())
        self.note("dispatch", f"{rate:.0f} rows/s", "1,000/s", rate >= 1000)

    def scheduler(self) -> None:
        """From the fire time to the ledger and to the claim; memory of the idle processes."""
        self.empty()
        worker = self.spine.start_worker(concurrency=CONCURRENCY)
        scheduler = self.spine.start_scheduler()
        eventually(lambda: self.spine.sql("SELECT holder FROM scheduler_lease WHERE holder IS NOT NULL"), 30)
        fires = self.count(30)
        self.spine.add_job("single", "noop", max_runs=fires)
        eventually(lambda: self.spine.statuses()["success"] >= fires, fires * 2 + 30)
        delays = sorted(
            float(row[0])
            for row in self.spine.sql(
                "SELECT timestampdiff(MICROSECOND, scheduled_for, started_at) / 1000 FROM scheduler_job_execution"
            )
        )
        middle, worst = delays[len(delays) // 2], delays[min(len(delays) - 1, round(len(delays) * 0.99))]
        self.note("fire to claim, p50", f"{middle:.0f} ms", "100 ms", middle <= 100)
        self.note("fire to claim, p99", f"{worst:.0f} ms", "500 ms", worst <= 500)
        for name, process in (("worker", worker), ("scheduler", scheduler)):
            self.note(f"memory of an idle {name}", f"{memory_mib(process):.0f} MiB")
        worker.kill()
        self.empty()
        jobs = 1000
        due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=8)
        with self.spine._engine.begin() as connection:  # one transaction, so that all jobs are known in time
            now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
            connection.execute(
                text(
                    "INSERT INTO scheduler_job (code, task_code, name, description, params, trigger_kind, "
                    "trigger_expression, timezone, dst_rule, jitter_seconds, blackouts, catch_up, "
                    "max_lateness_seconds, overlap, enabled, runs_count, revision, created_at, updated_at) VALUES "
                    "(:code, 'noop', '', '', '{}', 'date', :at, 'UTC', 'once', 0, '[]', 'all', 3600, 'queue', 1, 0, 1,"
                    " :now, :now)"
                ),
                [{"code": f"mass-{n}", "at": due.isoformat(), "now": now} for n in range(jobs)],
            )
        eventually(lambda: sum(self.spine.statuses().values()) >= jobs, 60)
        ((millis,),) = self.spine.sql(
            "SELECT timestampdiff(MICROSECOND, min(scheduled_for), max(created_at)) / 1000 FROM scheduler_job_execution"
        )
        self.note("ledger of 1,000 jobs due in one second", f"{float(millis):.0f} ms", "1000 ms", float(millis) <= 1000)

    # --- rows -------------------------------------------------------------------------------------------------------

    def count(self, number: int) -> int:
        """The number of tasks, scaled."""
        return max(10, round(number * self.scale))

    def empty(self) -> None:
        """Forget all jobs, executions and messages."""
        with redis.Redis.from_url(self.spine.env["CELERY_BROKER_URL"]) as client:
            client.flushdb()
        self.spine.sql("DELETE FROM scheduler_job_execution")
        self.spine.sql("DELETE FROM scheduler_job")

    def insert_pending(self, task: str, count: int, params: dict[str, Any], *, dispatched: bool) -> list[str]:
        """Pending executions; their ids."""
        ids = [new_id() for _ in range(count)]
        with self.spine._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO scheduler_job_execution (id, task_code, task_name, queue, params, triggered_by, "
                    "correlation_id, status, dispatch_count, dispatched_at, attempt, interruptions, max_attempts, "
                    "idempotent, run_after, created_at, updated_at) VALUES (:id, :task, :name, 'default', :params, "
                    "'manual', 'bench', 'pending', 0, :dispatched, 0, 0, 4, 1, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), "
                    "UTC_TIMESTAMP(6))"
                ),
                [
                    {
                        "id": number, "task": task, "name": f"tests.{task}_task", "params": json.dumps(params),
                        "dispatched": dt.datetime.now(dt.UTC).replace(tzinfo=None) if dispatched else None,
                    }
                    for number in ids
                ],
            )  # fmt: skip
        return ids


def memory_mib(process: Process) -> float:
    """Resident memory of a process."""
    return psutil.Process(process.pid).memory_info().rss / 2**20


@contextlib.contextmanager
def bench(scale: float) -> Iterator[CoreBench]:
    """A bench on the servers of the environment (`python -m tests.support.servers` starts them)."""
    with tempfile.TemporaryDirectory(prefix="hrsync-bench-") as folder:
        url = create_mariadb_database(os.environ["TEST_MARIADB_URL"])
        migrate_database(url)
        redis_url = os.environ["TEST_REDIS_URL"]
        os.environ |= {
            "MARIA_URL": url, "CELERY_BROKER_URL": redis_url, "TASK_MODULES": "tests.support.probe_tasks",
        }  # fmt: skip
        core = CoreBench(Path(folder), url, redis_url, scale)
        try:
            yield core
        finally:
            core.spine.close()


def main() -> int:
    """Run the benchmark; 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="scripts/bench core", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of tasks (0.1 for a quick look)")
    options = parser.parse_args()
    sys.path.insert(0, str(PROJECT_ROOT))
    with bench(options.scale) as core:
        core.run()
    core.print("hrsync core", as_json=options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
