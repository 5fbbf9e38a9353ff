"""`hrsync attendance compute|recompute|lock`: runs that compute days."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backend.cli.attendance_words import read_dates, read_reason
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
    return _run_task("attendance_range", params, wait=wait, as_json=as_json)


def recompute(wait: Wait = True, as_json: AsJson = False) -> int:
    """Compute the days that something has touched: a punch, a correction, a shift, a holiday, a leave."""
    return _run_task("attendance_recompute_dirty", {}, wait=wait, as_json=as_json)


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
    return _run_task("attendance_lock_period", params, wait=wait, as_json=as_json)


def _dates(first: str, last: str) -> dict[str, str]:
    first_on, last_on = read_dates(first, last)
    return {"date_from": first_on.isoformat(), "date_to": last_on.isoformat()}


def _run_task(code: str, params: dict[str, Any], *, wait: bool, as_json: bool) -> int:
    from backend.cli.runs import run_task
    from backend.cli.session import run_async

    return run_async(run_task(code, params, wait=wait, as_json=as_json))
