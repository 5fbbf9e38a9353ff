"""The lines that the program writes, as their readers get them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from backend.utils.structured_logger import bind_run_context, configure_logging, get_structured_logger

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines() -> Lines:
    """What has been logged as JSON since the test began."""
    stream = io.StringIO()
    configure_logging("json", "INFO", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(lines: Lines) -> None:
    """An event leaves as one JSON object with time, level, logger and fields, line breaks and all."""
    get_structured_logger("backend.x").info("rows_read", rows=3, note="a\nb")

    (line,) = lines()
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert {"level": "info", "event": "rows_read", "logger": "backend.x", "rows": 3, "note": "a\nb"} == line


def test_the_start_of_a_run_has_its_fields(lines: Lines) -> None:
    """The start event carries what the contract names."""
    get_structured_logger("t").log_celery_task_start("tasks.hris.x", "e1", "c1", "host", "schedule", {"attempt": 2})

    (line,) = lines()
    assert {
        "event": "run_started",
        "task_name": "tasks.hris.x",
        "execution_id": "e1",
        "celery_task_id": "c1",
        "worker_host": "host",
        "triggered_by": "schedule",
        "task_metadata": {"attempt": 2},
    }.items() <= line.items()


@pytest.mark.parametrize(("status", "level"), [("success", "info"), ("failed", "error"), ("pending", "info")])
def test_the_end_of_a_run_is_one_canonical_line(lines: Lines, status: str, level: str) -> None:
    """The end event carries status, duration, error and counts, and is an error only when the run failed."""
    get_structured_logger("t").log_celery_task_complete("tasks.hris.x", "e1", status, 12, None, rows_read=7)

    (line,) = lines()
    assert {
        "level": level,
        "event": "run_finished",
        "task_name": "tasks.hris.x",
        "execution_id": "e1",
        "final_status": status,
        "duration_ms": 12,
        "error_message": None,
        "rows_read": 7,
    }.items() <= line.items()


def test_libraries_write_the_same_lines(lines: Lines) -> None:
    """A record of stdlib logging becomes such a line too, with its arguments filled in."""
    logging.getLogger("some.library").warning("%s rows in %d s", "many", 3)

    (line,) = lines()
    assert {"level": "warning", "event": "many rows in 3 s", "logger": "some.library"}.items() <= line.items()


def test_warnings_become_lines(lines: Lines) -> None:
    """Python's warnings go the same way."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old thing used", stacklevel=1)

    (line,) = lines()
    assert "old thing used" in line["event"]


def test_run_context_is_on_every_line_of_its_task_only(lines: Lines) -> None:
    """Ids bound in one asyncio task are on its lines, libraries' included, and on nobody else's."""

    async def run(execution_id: str) -> None:
        bind_run_context(execution_id=execution_id, job_code=None)
        await asyncio.sleep(0)
        get_structured_logger("ours").info("run_stepped", who=execution_id)
        logging.getLogger("theirs").warning(execution_id)

    async def main() -> None:
        await asyncio.gather(run("a"), run("b"))
        get_structured_logger("ours").info("all_done")

    asyncio.run(main())

    *of_runs, last = lines()
    seen = sorted((line.get("who", line["event"]), line["execution_id"]) for line in of_runs)
    assert [("a", "a"), ("a", "a"), ("b", "b"), ("b", "b")] == seen
    assert {"execution_id", "job_code"}.isdisjoint(last)


def test_nothing_secret_or_personal_is_written(lines: Lines) -> None:
    """Passwords and personal data are in no line: not from fields, messages, exceptions or tracebacks."""
    url = "mysql+aiomysql://hr:geheim-1@db/hr"
    logger = get_structured_logger("ours")
    logger.info("engine_made", url=url, settings={"api_token": "geheim-2", "email": "jane@example.com"})
    logging.getLogger("theirs").error("cannot connect to %s for %s", url, "jane@example.com")
    for log in (logger, logging.getLogger("theirs")):
        try:
            try:
                raise ConnectionError(f"no answer from {url}")
            except ConnectionError as error:
                raise RuntimeError("sync of jane@example.com failed, PWD=geheim-3;") from error
        except RuntimeError:
            log.exception("sync_failed")

    written = json.dumps(lines())
    assert 4 == len(lines())
    assert "RuntimeError" in written
    assert "ConnectionError" in written
    assert "geheim" not in written
    assert "jane" not in written


def test_values_of_any_kind_can_be_logged(lines: Lines) -> None:
    """A field that JSON cannot hold is written as its text instead of losing the line."""
    get_structured_logger("ours").info("odd_logged", value=object, data=b"x", broken="\ud800")

    (line,) = lines()
    assert "<class 'object'>" == line["value"]


def test_levels_below_the_configured_one_are_not_written(lines: Lines) -> None:
    """At INFO no debug line appears, and libraries that talk per statement are quiet."""
    get_structured_logger("ours").debug("detail_seen")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    logging.getLogger("celery.app.trace").info("Task succeeded")

    assert [] == lines()


def test_configuring_again_replaces_the_handler(lines: Lines) -> None:
    """A second call does not double the lines."""
    stream = io.StringIO()
    configure_logging("console", "INFO", stream)
    get_structured_logger("ours").info("thing_done", rows=3)

    assert [] == lines()
    assert "thing_done" in stream.getvalue()
    assert "rows=3" in stream.getvalue()
    assert 1 == len(stream.getvalue().splitlines())


def test_auto_is_json_where_there_is_no_terminal() -> None:
    """A pipe or a file gets JSON."""
    stream = io.StringIO()
    configure_logging("auto", "INFO", stream)
    get_structured_logger("ours").info("thing_done")

    assert "thing_done" == json.loads(stream.getvalue())["event"]


_HAMMER = """
from gevent import monkey
monkey.patch_all()
import logging, sys
import gevent
from backend.utils.structured_logger import configure_logging, get_structured_logger

configure_logging("json", "INFO", sys.stdout)
start_native = monkey.get_original("_thread", "start_new_thread")
ours, theirs = get_structured_logger("ours"), logging.getLogger("theirs")
finished = []

def hammer(who, count, pause):
    for number in range(count):
        ours.info("line_written", who=who, number=number)
        theirs.warning("%s %d", who, number)
        pause()
    finished.append(who)

start_native(hammer, ("native", 5000, lambda: None))
greenlets = [gevent.spawn(hammer, f"greenlet-{n}", 500, lambda: gevent.sleep(0)) for n in range(10)]
gevent.joinall(greenlets)
while len(finished) < 11:
    gevent.sleep(0.01)
"""


def test_logging_from_greenlets_and_a_native_thread_does_not_freeze() -> None:
    """In a gevent-patched process 20,000 lines from greenlets and an OS thread at once all arrive, each whole."""
    done = subprocess.run([sys.executable, "-c", _HAMMER], capture_output=True, text=True, timeout=90, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    whole = [json.loads(line) for line in done.stdout.splitlines()]
    assert 20_000 == len(whole)
