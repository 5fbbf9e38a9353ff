"""`hrsync attendance compute|recompute|lock`: runs that compute days."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backend.cli.attendance_words import read_dates, read_reason
from backend.cli.exits import ExitCode
from backend.cli.output import AsJson

First = Annotated[str, typer.Argument(metavar="FROM", help="The first day: YYYY-MM-DD, today or yesterday.")]
Last = Annotated[str, typer.Argument(metavar="TO", help="The last day, inclusive.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("compute")(compute)
    app.command("recompute")(recompute)
    app.command("lock")(lock)


def compute(  # noqa: PLR0917 - the parameters are options
    first: First,
    last: Last,
    employee: Annotated[list[str] | None, typer.Option("--employee", help="Only this one; may be repeated.")] = None,
    department: Annotated[str, typer.Option("--department", help="Only those in it or below it.")] = "",
    wait: Wait = True,
    as_json: AsJson = False,
) -> int:
    """Compute the days from FROM to TO, in parts that run side by side."""
    params: dict[str, Any] = _dates(first, last)
    if employee:
        params["employees"] = employee
    if department:
        params["department"] = department
    return _run("attendance_range", params, wait=wait, as_json=as_json)


def recompute(wait: Wait = True, as_json: AsJson = False) -> int:
    """Compute the days that something has touched: a punch, a correction, a shift, a holiday, a leave."""
    return _run("attendance_recompute_dirty", {}, wait=wait, as_json=as_json)


def lock(
    first: First,
    last: Last,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with it.")] = "payroll is closed",
    wait: Wait = True,
    as_json: AsJson = False,
) -> int:
    """Lock a period: its days never change again; what would be different becomes an adjustment."""
    from backend.cli.session import actor

    params = _dates(first, last) | {"reason": read_reason(reason), "made_by": actor()}
    return _run("attendance_lock_period", params, wait=wait, as_json=as_json)


def _dates(first: str, last: str) -> dict[str, str]:
    first_on, last_on = read_dates(first, last)
    return {"date_from": first_on.isoformat(), "date_to": last_on.isoformat()}


def _run(task_code: str, params: dict[str, Any], *, wait: bool, as_json: bool) -> int:
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.celery_bridge import TASK_REGISTRY
    from backend.cli.runs import send_and_show
    from backend.cli.session import actor, run_async
    from backend.db.maria_database import maria

    async def start() -> ExitCode:
        repository = SchedulerRepository()
        async with maria().session() as session:
            execution = await repository.create_execution(
                session, task=TASK_REGISTRY[task_code], params=params, triggered_by="manual", requested_by=actor()
            )
            await repository.record_audit(
                session, actor(), "task_run_requested", ("task", task_code), {"execution": execution.id} | params
            )
        return await send_and_show(execution, wait=wait, as_json=as_json)

    return run_async(start())
