"""Sends a run that a command has just committed, waits for its end where that is wanted, and shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.cli.exits import ExitCode, exit_code_of_run
from backend.cli.follow import follow_run, is_scheduler_running, run_view
from backend.cli.output import console, facts, note, print_json, short_id, status_text, took
from backend.cli.records import execution_record
from backend.cli.session import actor
from backend.db.maria_database import maria
from backend.db.models.scheduler import JobExecution
from backend.domain.executions import COUNT_NAMES
from backend.errors import TransientError
from backend.execution.dispatch import dispatch_due
from backend.settings import get_settings

if TYPE_CHECKING:
    from rich.console import Console


async def run_task(code: str, params: Mapping[str, Any], *, wait: bool, as_json: bool) -> ExitCode:
    """Ask for a run of a task in the name of whoever gives the command, and go on as `send_and_show`."""
    from backend.celery_bridge import TASK_REGISTRY

    repository = SchedulerRepository()
    async with maria().session() as session:
        execution = await repository.create_execution(
            session, task=TASK_REGISTRY[code], params=params, triggered_by="manual", requested_by=actor()
        )
        details = {"execution": execution.id} | dict(params)
        await repository.record_audit(session, actor(), "task_run_requested", ("task", code), details)
    return await send_and_show(execution, wait=wait, as_json=as_json)


async def send_and_show(execution: JobExecution, *, wait: bool, as_json: bool) -> ExitCode:
    """Send the run, follow it to its end where that is wanted, print it; the exit code."""
    remark = await _send(execution)
    name = execution.job_code or execution.task_code
    if not wait:
        if as_json:
            print_json({"execution": execution_record(execution), "note": remark})
        else:
            console().print(f"{name}: execution {short_id(execution.id)} is waiting to run. {remark}".rstrip())
            note(f"Follow it with: hrsync executions logs {short_id(execution.id)} --follow")
        return ExitCode.DONE
    if remark:
        note(remark)
    try:
        with run_view(as_json) as view:
            ended = await follow_run(execution.id, view)
    except asyncio.CancelledError:  # Ctrl-C
        note(
            f"\n{name} goes on without this command: hrsync executions show {short_id(execution.id)} "
            "(`executions cancel` ends it)."
        )
        raise
    if as_json:
        print_json({"execution": execution_record(ended), "note": remark})
    else:
        show_end(console(), ended)
    return exit_code_of_run(ended)


async def _send(execution: JobExecution) -> str:
    """Send it at once; what there is to say about it, if anything."""
    try:
        if get_settings().celery_broker_url.get_secret_value().startswith("memory:"):
            # The broker lives inside `hrsync up`, whose dispatcher finds the row.
            return "" if await is_scheduler_running() else "Nothing runs it yet: start `hrsync up`."
        from backend.celery_bridge import send_executions

        result = await dispatch_due(maria(), send_executions, only=[execution.id])
    except TransientError as error:
        return f"It could not be sent yet ({error}); the scheduler will send it."
    if result.failed:
        return "The broker does not answer; the run is kept and will be sent by the scheduler when the broker is back."
    if result.waiting:
        return "It waits for an earlier run of the job."
    return ""


def show_end(output: Console, execution: JobExecution) -> None:
    """How a run ended, for people."""
    counts = [f"{name} {value:,}" for name in COUNT_NAMES if (value := getattr(execution, f"rows_{name}")) is not None]
    output.print(
        facts(
            [
                ("run", f"{execution.job_code or execution.task_code} {short_id(execution.id)}"),
                ("status", status_text(execution.status)),
                ("took", took(execution.duration_ms)),
                ("rows", ", ".join(counts) or None),
                ("summary", execution.summary),
                ("reason", execution.reason),
                ("error", execution.error_message and f"{execution.error_type}: {execution.error_message}"),
            ]
        )
    )
