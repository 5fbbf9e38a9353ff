"""Tasks that behave well and badly on purpose, for the tests (`TASK_MODULES=tests.support.probe_tasks`)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from sqlalchemy import text

from backend.celery_app import app
from backend.db.hris_database import hris
from backend.db.maria_database import maria
from backend.domain.executions import Retry, RowCounts, RunReport, Wait
from backend.errors import GuardError, PermanentError, TransientError
from backend.ports import Run
from backend.resources import parts
from backend.services.run_parts import run_in_parts


@app.task(name="tests.noop_task")
async def noop_task(run: Run) -> None:
    """Does nothing."""


@app.task(name="tests.answer_task", queue="hris")
async def answer_task(run: Run, *, value: int = 42) -> RunReport:
    """Returns counts, a summary and details."""
    run.progress(1, 2, "half way")
    run.log.info("answer_found", value=value)
    return RunReport(counts=RowCounts(read=value, inserted=1), summary=f"The answer is {value}.", details={"n": value})


@app.task(name="tests.sleep_task", max_retries=3)
async def sleep_task(run: Run, *, seconds: float, effects: str | None = None) -> None:
    """Waits, then appends one line to the effects file."""
    run.progress(0, 1, "sleeping")
    await asyncio.sleep(seconds)
    if effects:
        append(effects, run.execution_id)


@app.task(name="tests.sql_sleep_task", max_retries=0)
async def sql_sleep_task(run: Run, *, seconds: float) -> None:
    """Waits inside MariaDB."""
    async with maria().session() as session:
        await session.execute(text("SELECT SLEEP(:seconds)"), {"seconds": seconds})


@app.task(name="tests.staged_task", max_retries=5, retry_backoff=0.1, autoretry_for=(TransientError,))
async def staged_task(run: Run, *, gate: str, effects: str) -> None:
    """Notes its attempt, waits for the gate file to appear, then does its one effect."""
    append(effects, f"begin {run.execution_id} {run.attempt}")
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - the gate is a file
        await asyncio.sleep(0.05)
    append(effects, f"end {run.execution_id}")


@app.task(name="tests.fail_task", max_retries=0)
async def fail_task(run: Run, *, message: str = "it broke") -> None:
    """Fails."""
    raise ValueError(message)


@app.task(name="tests.flaky_task", max_retries=3, retry_backoff=0.1, retry_jitter=False)
async def flaky_task(run: Run, *, good_attempt: int) -> dict[str, int]:
    """Asks to be tried again until the given attempt."""
    if run.attempt < good_attempt:
        raise Retry("not yet")
    return {"attempt": run.attempt}


@app.task(name="tests.guarded_task", max_retries=3, autoretry_for=(Exception,))
async def guarded_task(run: Run) -> None:
    """Is refused by a guard."""
    raise GuardError("a guard refused it")


@app.task(name="tests.endless_task", soft_time_limit=1, time_limit=2, max_retries=0)
async def endless_task(run: Run, *, stubborn: bool = False) -> None:
    """Never returns; a stubborn one ignores being cancelled as well."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if not stubborn:
                raise


@app.task(name="tests.odbc_endless_task", soft_time_limit=1, time_limit=3, max_retries=0)
async def odbc_endless_task(run: Run) -> None:
    """Is stuck in a call of the HRIS's driver that does not come back."""
    async with hris().session() as session:
        await session.execute(
            text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000000) "
                "SELECT count(*) FROM n"
            )
        )


@app.task(name="tests.unserialisable_task", max_retries=0)
async def unserialisable_task(run: Run) -> Any:
    """Returns what JSON cannot hold."""
    return {"what": object()}


@app.task(name="tests.suicide_task", max_retries=2, idempotent=False)
async def suicide_task(run: Run) -> None:
    """Kills its worker, and may not be repeated."""
    os.kill(os.getpid(), 9)


@app.task(name="tests.part_task", max_retries=3, retry_backoff=0.1, autoretry_for=(TransientError,))
async def part_task(run: Run, *, number: int, effects: str, gate: str = "", fails_unless: str = "") -> RunReport:
    """Notes that it began, waits for the gate, fails unless a file is there, and notes that it ended."""
    append(effects, f"begin {number}")
    while gate and not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - the gate is a file
        await asyncio.sleep(0.05)
    if fails_unless and not Path(fails_unless).exists():  # noqa: ASYNC240
        raise PermanentError(f"part {number} cannot do it")
    append(effects, f"end {number}")
    return RunReport(counts=RowCounts(read=number, inserted=1), summary=f"part {number}", details={"number": number})


@app.task(name="tests.whole_task", max_retries=3, retry_backoff=0.1, autoretry_for=(TransientError,))
async def whole_task(
    run: Run, *, effects: str, count: int = 3, gate: str = "", bad: int = 0, fails_unless: str = "", crash: str = ""
) -> RunReport:
    """Splits itself into parts, and sums them up; kills its worker once, at the place that `crash` names."""

    async def plan() -> list[dict[str, Any]]:
        append(effects, "plan")
        common = {"effects": effects, "gate": gate}
        return [
            {"number": number, **common, **({"fails_unless": fails_unless} if number == bad else {})}
            for number in range(1, count + 1)
        ]

    try:
        done = await run_in_parts(run, parts(), task=part_task, plan=plan)
    except Wait:
        if crash == "before waiting" and run.attempt == 1:
            os.kill(os.getpid(), 9)
        raise
    if crash == "summing up" and not Path(f"{effects}.crashed").exists():  # noqa: ASYNC240
        Path(f"{effects}.crashed").touch()  # noqa: ASYNC240
        os.kill(os.getpid(), 9)
    append(effects, "summary")
    return done.conclude(f"{len(done.succeeded)} parts", {"numbers": [item.report.details for item in done.parts]})


def append(path: str, line: str) -> None:
    """Add one line in one write, so that lines of several processes never mix."""
    with Path(path).open("a") as file:
        file.write(line + "\n")
