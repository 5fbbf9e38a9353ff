"""Celery as the rest of the program sees it: which tasks there are, sending executions, a worker in this process."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery.exceptions import OperationalError as CeleryOperationalError
from kombu.exceptions import OperationalError

from backend.celery_app import QUEUES, app, task_modules
from backend.execution.process import begin_shutdown, shut_down
from backend.execution.tracked_task import ROW_HEADER, TrackedTask
from backend.settings import get_settings
from backend.utils.structured_logger import get_structured_logger

if TYPE_CHECKING:
    from backend.execution.dispatch import OutgoingExecution

_logger = get_structured_logger(__name__)

# Publishing fails fast: the dispatcher, not the producer, does the waiting.
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.05, "interval_step": 0.1, "interval_max": 0.2}


class TaskRegistry(Mapping[str, TrackedTask]):
    """Task code -> task: everything that can be scheduled. The task modules are imported at the first look."""

    def __init__(self) -> None:
        self._tasks: dict[str, TrackedTask] | None = None

    def __getitem__(self, code: str) -> TrackedTask:
        return self._loaded()[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def _loaded(self) -> dict[str, TrackedTask]:
        if self._tasks is None:
            for module in task_modules():
                importlib.import_module(module)
            app.finalize(auto=True)
            found: dict[str, TrackedTask] = {}
            for task in sorted(app.tasks.values(), key=lambda task: str(task.name)):
                if isinstance(task, TrackedTask):
                    if task.code in found:
                        raise RuntimeError(
                            f"Tasks {found[task.code].name} and {task.name} share the code {task.code!r}."
                        )
                    found[task.code] = task
            self._tasks = found
        return self._tasks


TASK_REGISTRY: Mapping[str, TrackedTask] = TaskRegistry()


def send_executions(rows: Sequence[OutgoingExecution]) -> list[str]:
    """Send executions to their queues, each under its own id; blocks on the broker.

    Returns:
        The ids that could not be sent.
    """
    sent = 0
    try:
        with app.producer_or_acquire() as producer:
            for row in rows:
                app.send_task(
                    row.task_name,
                    task_id=row.id,
                    queue=row.queue,
                    headers={ROW_HEADER: True},
                    producer=producer,
                    ignore_result=True,
                    retry=True,
                    retry_policy=_RETRY_POLICY,
                )
                sent += 1
    except (OperationalError, CeleryOperationalError, OSError) as error:
        # The dispatcher tells an outage once; this is the detail.
        _logger.debug("executions_not_sent", count=len(rows) - sent, error=str(error))
    return [row.id for row in rows[sent:]]


class EmbeddedWorker:
    """A Celery worker in a thread of this process, for the in-memory broker."""

    def __init__(self, concurrency: int) -> None:
        self._worker: Any = app.WorkController(
            hostname="embedded@localhost",
            concurrency=concurrency,
            pool="threads",
            queues=list(QUEUES),
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
            loglevel="WARNING",
        )
        self._thread = threading.Thread(target=self._worker.start, name="hrsync-worker", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float | None = None) -> None:
        """Let running work finish for the shutdown grace time, hand back the rest, end the worker."""
        from celery.worker import state

        grace = get_settings().shutdown_grace_seconds if timeout_seconds is None else timeout_seconds
        begin_shutdown(grace)
        state.should_stop = 0
        self._thread.join(grace + 10)
        state.should_stop = None
        shut_down()


def start_embedded_worker(concurrency: int) -> EmbeddedWorker:
    """Start a worker in this process; `stop()` ends it."""
    return EmbeddedWorker(concurrency)
