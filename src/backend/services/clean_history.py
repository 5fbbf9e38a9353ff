"""Retention: what is older than it must be kept is deleted, batch by batch, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from backend.domain.executions import RunReport
from backend.errors import ConfigurationError
from backend.ports import History, Run

BATCH_EXECUTIONS = 200
BATCH_LOGS = 1000
_DAY_SECONDS = 86_400


async def clean_history(run: Run, *, history: History, executions_days: int, logs_days: int) -> RunReport:
    """Delete finished executions, with their attempts and logs, and log lines that are older than so many days.

    Returns:
        a report with the numbers in `details`: nothing of it is a row count of data.

    Raises:
        ConfigurationError: a number of days is less than 1.
    """
    for name, days in (("executions_days", executions_days), ("logs_days", logs_days)):
        if days < 1:
            raise ConfigurationError(f"{name} = {days}: history is kept for at least 1 day.")

    def delete_executions() -> Awaitable[int]:
        return history.delete_executions(older_than_seconds=executions_days * _DAY_SECONDS, limit=BATCH_EXECUTIONS)

    def delete_logs() -> Awaitable[int]:
        return history.delete_logs(older_than_seconds=logs_days * _DAY_SECONDS, limit=BATCH_LOGS)

    executions = await _repeat(run, "executions", delete_executions)
    logs = await _repeat(run, "log lines", delete_logs)
    run.log.info("history_deleted", executions=executions, log_lines=logs)
    return RunReport(
        summary=f"Deleted {executions:,} executions older than {executions_days} days and {logs:,} log lines older "
        f"than {logs_days} days.",
        details={"executions_deleted": executions, "log_lines_deleted": logs},
    )


async def _repeat(run: Run, noun: str, delete: Callable[[], Awaitable[int]]) -> int:
    total = 0
    while deleted := await delete():
        total += deleted
        run.progress(total, None, f"deleted {total:,} {noun}")
        await run.checkpoint()
    return total
