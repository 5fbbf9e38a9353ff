"""`hrsync hris`: replicate the HRIS now, and look at the rows that could not be taken; the commands beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli import hris_check, hris_history, hris_holds, hris_preview
from backend.cli.hris_words import check_choice
from backend.cli.output import AsJson, note, show, table

if TYPE_CHECKING:
    from rich.console import Console

    from backend.db.models.hr import QuarantinedRow

app = typer.Typer(
    help="The HRIS: what a run would do, does and did; what was held; what could not be taken.", no_args_is_help=True
)


@app.command("sync")
def sync(
    full: Annotated[bool, typer.Option("--full", help="Write the unchanged rows as well.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Apply also what the guard would hold.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")] = True,
    as_json: AsJson = False,
) -> int:
    """Replicate the HRIS now; exit code 4 when the guard held it."""
    from backend.cli.hris_holds import TASK_CODE
    from backend.cli.runs import run_task
    from backend.cli.session import run_async

    params = {name: True for name, wanted in (("full", full), ("force", force)) if wanted}
    return run_async(run_task(TASK_CODE, params, wait=wait, as_json=as_json))


@app.command("quarantine")
def quarantine(
    entity: Annotated[str | None, typer.Option("--entity", help="Only of this entity, such as employees.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Only with this reason.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 100,
    show_data: Annotated[
        bool, typer.Option("--show-data", help="Show the rows as they were read. Personal data!")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the rows of the HRIS that were rejected, or kept with a warning, and why."""
    from backend.api.repositories.quarantine_repository import QuarantineRepository
    from backend.cli.session import run_async
    from backend.db.maria_database import maria
    from backend.domain.employees import Entity
    from backend.domain.quarantine import Reason

    check_choice("--entity", entity, tuple(Entity))
    check_choice("--reason", reason, tuple(Reason))

    async def read() -> tuple[Sequence[QuarantinedRow], Sequence[tuple[str, str, str, int]]]:
        repository = QuarantineRepository()
        async with maria().session() as session:
            rows = await repository.list_entries(session, entity=entity, reason=reason, limit=limit)
            return rows, await repository.count_entries(session)

    rows, counts = run_async(read())
    data = {
        "items": [quarantine_record(row, show_data=show_data) for row in rows],
        "counts": [
            {"entity": kind, "severity": severity, "reason": why, "count": count}
            for kind, severity, why, count in counts
        ],
    }
    show(as_json, data, lambda output: _render(output, rows, counts, show_data=show_data))


def quarantine_record(row: QuarantinedRow, *, show_data: bool) -> dict[str, Any]:
    """An entry as JSON; the row itself only where it was asked for."""
    names = ("entity", "source_key", "severity", "reason", "field", "message", "first_seen_at", "last_seen_at")
    record = {name: getattr(row, name) for name in (*names, "execution_id")}
    return record | ({"payload": row.payload} if show_data else {})


def _render(
    output: Console,
    rows: Sequence[QuarantinedRow],
    counts: Sequence[tuple[str, str, str, int]],
    *,
    show_data: bool,
) -> None:
    import json

    from rich.text import Text

    if not rows:
        output.print("Nothing is in quarantine." if not counts else "Nothing in quarantine is like that.")
        return
    styles = {"error": "red", "warning": "yellow"}
    output.print(
        table(
            ["ENTITY", "KEY", "SEVERITY", "REASON", ("WHAT AND WHAT TO DO", {"no_wrap": False, "overflow": "fold"})],
            (
                (
                    row.entity,
                    row.source_key or "-",
                    Text(row.severity, style=styles.get(row.severity, "")),
                    row.reason,
                    row.message
                    + (f"\n{json.dumps(row.payload, ensure_ascii=False, default=str)}" if show_data else ""),
                )
                for row in rows
            ),
        )
    )
    total = sum(count for *_, count in counts)
    rejected = sum(count for _, severity, _, count in counts if severity == "error")
    output.print(f"{total} entries in quarantine: {rejected} rejected, {total - rejected} kept with a warning.")
    if len(rows) < total:
        note(f"{len(rows)} of them are shown; --limit, --entity and --reason choose others.")


hris_check.register(app)
hris_preview.register(app)
hris_holds.register(app)
hris_history.register(app)
