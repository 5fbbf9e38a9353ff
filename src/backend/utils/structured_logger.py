"""Structured logs: structlog's events and the libraries' records leave as the same redacted lines.

An event is a constant `noun_past_verb`; what varies is in the fields. Everything goes through stdlib logging to one
stream; files, rotation and shipping are the business of systemd.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from backend.utils.redaction import redact_fields

LogFormat = Literal["auto", "json", "console"]

# What these say at a lower level is either ours to say (one line per run) or said per statement.
_QUIET = {
    "aiosqlite": logging.WARNING,
    "alembic": logging.WARNING,
    "apscheduler": logging.WARNING,
    "asyncio": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    "celery.worker.strategy": logging.WARNING,
    "sqlalchemy": logging.WARNING,
}


class StructuredLogger(structlog.stdlib.BoundLogger):
    """structlog's logger (`debug`, `info`, ..., `bind`) with the two events that every run has."""

    def log_celery_task_start(  # noqa: PLR0917 - a fixed signature
        self,
        task_name: str,
        execution_id: str,
        celery_task_id: str,
        worker_host: str,
        triggered_by: str,
        task_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A run has begun."""
        self.info(
            "run_started",
            task_name=task_name,
            execution_id=execution_id,
            celery_task_id=celery_task_id,
            worker_host=worker_host,
            triggered_by=triggered_by,
            task_metadata=dict(task_metadata or {}),
        )

    def log_celery_task_complete(
        self,
        task_name: str,
        execution_id: str,
        final_status: str,
        duration_ms: int,
        error_message: str | None = None,
        **fields: Any,
    ) -> None:
        """The canonical line of a run: what it was, how it ended, how long it took; an error when it failed."""
        level = logging.ERROR if final_status == "failed" else logging.INFO
        self.log(
            level,
            "run_finished",
            task_name=task_name,
            execution_id=execution_id,
            final_status=str(final_status),
            duration_ms=duration_ms,
            error_message=error_message,
            **fields,
        )


def get_structured_logger(name: str) -> StructuredLogger:
    """The logger of a module (`__name__`); may be made before `configure_logging`."""
    return StructuredLogger(logging.getLogger(name), processors=_PROCESSORS, context={})


def bind_run_context(**ids: str | None) -> None:
    """Put these ids on every further line of the current asyncio task, greenlet or thread (None: nothing is put).

    Called with execution_id, task_id, job_code and correlation_id at the start of a run.
    """
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value is not None})


def configure_logging(format: LogFormat = "auto", level: str = "INFO", stream: TextIO | None = None) -> None:  # noqa: A002
    """Send all logs of the process to the stream; calling it again replaces what was set before.

    Args:
        format: `json` (one object a line), `console`, or `auto`: console on a terminal, else json.
        level: the least level written.
        stream: where to; stderr when None.
    """
    stream = sys.stderr if stream is None else stream
    if format == "auto":
        format = "console" if stream.isatty() else "json"  # noqa: A001
    renderer: Processor = structlog.processors.JSONRenderer()
    if format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, _redact],
            processors=[ProcessorFormatter.remove_processors_meta, _in_order, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(True)
    make_logging_native()


def make_logging_native() -> None:
    """Give logging real locks where gevent has patched the process; safe to call at any time, also again.

    A patched lock that greenlets and the loop's OS thread share loses wake-ups, and the worker freezes on its next
    log line. A real lock is held only for one write, which does not switch greenlets. To be called again after
    somebody else has added handlers.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return
    # Not threading.RLock: under gevent its original is a function that makes patched locks.
    native_lock = monkey.get_original("_thread", "RLock")
    # Looking up the current thread makes patched objects in threads that gevent does not know.
    logging.logThreads = False
    logging._lock = native_lock()  # type: ignore[attr-defined]
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if handler is not None:
            handler.lock = native_lock()


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # The formatter's own notes (`_record`, ...) are objects that are removed before anything is written.
    private = {key: value for key, value in event.items() if key.startswith("_")}
    return redact_fields({key: value for key, value in event.items() if key not in private}) | private


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    first = ("timestamp", "level", "event")
    ordered: MutableMapping[str, Any] = {key: event.pop(key) for key in first if key in event}
    ordered.update(event)
    return ordered


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]
_PROCESSORS: list[Processor] = [
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.PositionalArgumentsFormatter(),
    _redact,
    cast(Processor, ProcessorFormatter.wrap_for_formatter),
]
