"""The whole system as real processes: scheduler and workers against a real MariaDB and Redis."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from backend.utils.identifiers import new_id
from tests.support.processes import Process
from tests.support.project import PROJECT_ROOT
from tests.support.waiting import eventually

# Short enough for a test, and in the proportions of the defaults.
FAST: Mapping[str, str] = {
    "HEARTBEAT_SECONDS": "1",
    "ORPHAN_AFTER_SECONDS": "4",
    "REDISPATCH_AFTER_SECONDS": "5",
    "LEASE_SECONDS": "3",
    "SHUTDOWN_GRACE_SECONDS": "2",
    "DB_TIMEOUT_SECONDS": "3",
}


class Spine:
    """Starts the processes, and reads and writes the tables as an operator's SQL client would."""

    def __init__(self, folder: Path, maria_url: str, redis_url: str, **settings: str) -> None:
        self.folder = folder
        self.maria_url = maria_url
        self.processes: list[Process] = []
        self.env = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ")},
            "PYTHONPATH": str(PROJECT_ROOT),
            "MARIA_URL": maria_url,
            "CELERY_BROKER_URL": redis_url,
            "HRIS_URL": f"sqlite+aiosqlite:///{folder / 'hris.db'}",
            "BIOSTAR_URL": f"sqlite+aiosqlite:///{folder / 'biostar.db'}",
            "SMTP_URL": f"maildir:///{folder / 'mail'}",
            "TASK_MODULES": "tests.support.probe_tasks",
            "LOG_FORMAT": "json",
            **FAST,
            **settings,
        }
        self._engine = create_engine(maria_url.replace("+aiomysql", "+pymysql"), pool_pre_ping=True)

    def start(self, *command: str, name: str | None = None) -> Process:
        """Start a process of the system."""
        name = name or f"{command[0]}-{len(self.processes)}"
        process = Process(command, env=self.env, cwd=self.folder, log=self.folder / f"{name}.log")
        self.processes.append(process)
        return process

    def start_worker(self, concurrency: int = 50, pool: str = "gevent") -> Process:
        """Start a worker as the contract says, and wait until it is ready."""
        worker = self.start(
            "celery", "-A", "backend.celery_app", "worker", "-P", pool, "-c", str(concurrency),
            "-Q", "hris,attendance,email,default", "-n", f"w{len(self.processes)}@%h", "-l", "INFO",
            name=f"worker-{len(self.processes)}",
        )  # fmt: skip
        known = self.sql("SELECT count(*) FROM scheduler_worker")[0][0]
        eventually(lambda: worker.running and self.sql("SELECT count(*) FROM scheduler_worker")[0][0] > known, 30)
        return worker

    def start_scheduler(self) -> Process:
        """Start a scheduler."""
        return self.start("hrsync", "scheduler", name=f"scheduler-{len(self.processes)}")

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            process.kill()
        self._engine.dispose()

    # --- tables -----------------------------------------------------------------------------------------------------

    def sql(self, statement: str, **values: Any) -> list[Any]:
        """The rows of one statement, committed."""
        with self._engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def add_job(self, code: str, task_code: str, **columns: Any) -> int:
        """A job row, as `jobs apply` would write it; its id."""
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        values: dict[str, Any] = {
            "code": code, "task_code": task_code, "name": "", "description": "", "params": "{}",
            "trigger_kind": "interval", "trigger_expression": "1", "timezone": "UTC", "dst_rule": "once",
            "jitter_seconds": 0, "blackouts": "[]", "catch_up": "all", "max_lateness_seconds": 86400,
            "overlap": "queue", "enabled": True, "runs_count": 0, "revision": 1, "created_at": now, "updated_at": now,
        } | columns  # fmt: skip
        names = ", ".join(values)
        self.sql(
            f"INSERT INTO scheduler_job ({names}) VALUES ({', '.join(':' + name for name in values)})",
            **values,
        )
        return int(self.sql("SELECT id FROM scheduler_job WHERE code = :code", code=code)[0][0])

    def add_execution(self, task_code: str, params: Mapping[str, Any] | None = None, **columns: Any) -> str:
        """A pending execution row, as the API would write it; its id."""
        values: dict[str, Any] = {
            "id": new_id(), "task_code": task_code, "task_name": f"tests.{task_code}_task", "queue": "default",
            "params": json.dumps(params or {}), "triggered_by": "manual", "correlation_id": "test",
            "status": "pending", "dispatch_count": 0, "attempt": 0, "interruptions": 0, "max_attempts": 4,
            "idempotent": True,
        } | columns  # fmt: skip
        names = ", ".join(values)
        self.sql(
            f"INSERT INTO scheduler_job_execution ({names}, run_after, created_at, updated_at) VALUES "
            f"({', '.join(':' + name for name in values)}, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))",
            **values,
        )
        return str(values["id"])

    def execution(self, execution_id: str) -> Mapping[str, Any]:
        """The execution row."""
        with self._engine.begin() as connection:
            row = connection.execute(
                text("SELECT * FROM scheduler_job_execution WHERE id = :id"), {"id": execution_id}
            ).mappings().one()  # fmt: skip
            return dict(row)

    def statuses(self, where: str = "1 = 1", **values: Any) -> Counter[str]:
        """How many executions have which status."""
        rows = self.sql(f"SELECT status, count(*) FROM scheduler_job_execution WHERE {where} GROUP BY status", **values)
        return Counter({row[0]: row[1] for row in rows})

    def wait_for(self, execution_id: str, *statuses: str, timeout: float = 30) -> Mapping[str, Any]:
        """Wait until the execution has one of the statuses (default: any final one); its row."""
        wanted = statuses or ("success", "failed", "cancelled", "missed", "skipped")
        eventually(lambda: self.execution(execution_id)["status"] in wanted, timeout)
        return self.execution(execution_id)

    def attempts(self, execution_id: str) -> list[str]:
        """The outcomes of the attempts, in order."""
        rows = self.sql(
            "SELECT outcome FROM scheduler_execution_attempt WHERE execution_id = :id ORDER BY attempt", id=execution_id
        )
        return [row[0] for row in rows]
