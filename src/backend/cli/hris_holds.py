"""`hrsync hris holds|hold|approve|reject`: runs that the guard held, and what a person decides about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.exits import ExitCode
from backend.cli.hris_words import (
    CHANGE_COLUMNS,
    Change,
    CsvFile,
    change_rows,
    changed_fields_text,
    changes_table,
    counts_table,
    tell_of_file,
    writing_csv,
)
from backend.cli.output import AsJson, facts, note, short_id, show, table, when

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from backend.db.models.hr import HrHold, HrHoldChange

TASK_CODE = "hris_replication"
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="The run that was held: its id, or the end of it as the lists show it.")
]
Note = Annotated[str | None, typer.Option("--note", help="Why; kept with the decision.")]
_STATUS_STYLES = {"held": "bold red", "approved": "cyan", "applied": "green", "rejected": "yellow", "expired": "dim"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("holds")(list_holds)
    app.command("hold")(show_hold)
    app.command("approve")(approve)
    app.command("reject")(reject)


def list_holds(
    include_all: Annotated[bool, typer.Option("--all", help="Also those that were decided or have expired.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the runs that the guard held and that wait for a decision, the newest first."""
    from backend.api.repositories.hold_repository import HoldRepository
    from backend.api.repositories.overview_repository import OverviewRepository
    from backend.cli.records import hold_record
    from backend.cli.session import run_async
    from backend.db.maria_database import maria
    from backend.domain.replication_plan import HoldStatus

    async def read() -> tuple[dt.datetime, Sequence[HrHold]]:
        statuses = () if include_all else (HoldStatus.HELD,)
        async with maria().session() as session:
            found = await HoldRepository().list_holds(session, statuses=statuses, limit=limit)
            return await OverviewRepository().read_clock(session), found

    now, holds = run_async(read())
    show(as_json, {"items": [hold_record(hold) for hold in holds]}, lambda output: _render_list(output, holds, now))


def show_hold(
    run: Run,
    csv_file: CsvFile = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=10_000, help="Show so many of the rows.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show a held run: why it was held, and what it would have done to whom."""
    from backend.api.repositories.hold_repository import HoldRepository
    from backend.api.repositories.overview_repository import OverviewRepository
    from backend.cli.records import hold_record
    from backend.cli.session import run_async
    from backend.db.maria_database import maria

    async def read() -> tuple[HrHold, Sequence[HrHoldChange], Mapping[str, Mapping[str, int]], dt.datetime]:
        repository = HoldRepository()
        async with maria().session() as session:
            hold = await repository.get_hold(session, run)
            rows = await repository.list_changes(session, hold)
            fields = await repository.count_changed_fields(session, hold)
            return hold, rows, fields, await OverviewRepository().read_clock(session)

    hold, rows, fields, now = run_async(read())
    changes = [Change(row.entity, row.entity_key, row.action, row.fields) for row in rows]
    if csv_file is not None:
        with writing_csv(csv_file, CHANGE_COLUMNS) as write:
            for change in changes:
                for line in change_rows(change):
                    write(line)
    data = hold_record(hold).model_dump() | {
        "changed_fields": fields,
        "changes": [change._asdict() for change in changes[:limit]],
    }

    def render(output: Console) -> None:
        _render_hold(output, hold, fields, now)
        if changes[:limit]:
            output.print()
            output.print(changes_table(changes[:limit]))
        _tell_what_is_left_out(hold, shown=min(len(changes), limit), kept=len(changes))

    show(as_json, data, render)
    tell_of_file(csv_file, len(changes), "rows that would change", as_json=as_json)


def approve(
    run: Run,
    reason: Note = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the new run to its end.")] = True,
    as_json: AsJson = False,
) -> int:
    """Apply a held run after all: exactly what it would have done, if the HRIS still says the same."""
    from backend.api.repositories.hold_repository import HoldRepository
    from backend.celery_bridge import TASK_REGISTRY
    from backend.cli.runs import send_and_show
    from backend.cli.session import actor, run_async
    from backend.db.maria_database import maria

    _check_note(reason)

    async def start() -> ExitCode:
        async with maria().session() as session:
            hold, execution = await HoldRepository().approve(
                session, run, task=TASK_REGISTRY[TASK_CODE], actor=actor(), note=reason
            )
        if not as_json:
            note(f"Run {short_id(hold.execution_id)} is approved; run {short_id(execution.id)} applies it.")
        return await send_and_show(execution, wait=wait, as_json=as_json)

    return run_async(start())


def reject(run: Run, reason: Note = None, as_json: AsJson = False) -> None:
    """Decide that a held run shall never be applied."""
    from backend.api.repositories.hold_repository import HoldRepository
    from backend.cli.records import hold_record
    from backend.cli.session import actor, run_async
    from backend.db.maria_database import maria

    _check_note(reason)

    async def write() -> HrHold:
        async with maria().session() as session:
            return await HoldRepository().reject(session, run, actor=actor(), note=reason)

    hold = run_async(write())
    show(
        as_json,
        {"hold": hold_record(hold)},
        lambda output: output.print(
            f"Run {short_id(hold.execution_id)} is rejected. Mend the HRIS, or config/hris.toml, before the next run."
        ),
    )


# --- words ------------------------------------------------------------------------------------------------------------


def _check_note(text: str | None) -> None:
    from backend.api.repositories.hold_repository import NOTE_LENGTH

    if text is not None and len(text) > NOTE_LENGTH:
        raise typer.BadParameter(f"--note may have {NOTE_LENGTH} characters; this one has {len(text)}.")


def _render_list(output: Console, holds: Sequence[HrHold], now: dt.datetime) -> None:
    from rich.text import Text

    if not holds:
        output.print("No run is held.")
        return
    output.print(
        table(
            [
                "RUN",
                "STATUS",
                "HELD",
                ("CHANGES", {"justify": "right"}),
                ("WHY", {"no_wrap": False, "overflow": "fold"}),
            ],
            [
                (
                    Text(short_id(hold.execution_id), style="cyan"),
                    _status(hold),
                    when(hold.held_at, now),
                    f"{hold.change_count:,}",
                    "\n".join(hold.reasons),
                )
                for hold in holds
            ],
        )
    )
    note("hrsync hris hold RUN shows what a run would do; hrsync hris approve RUN or reject RUN decides.")


def _render_hold(output: Console, hold: HrHold, fields: Mapping[str, Mapping[str, int]], now: dt.datetime) -> None:
    from backend.api.repositories.hold_repository import describe_decision
    from backend.domain.replication_plan import HoldStatus

    ref, applying = short_id(hold.execution_id), hold.applied_execution_id
    is_open = hold.status == HoldStatus.HELD
    pairs: list[tuple[str, Any]] = [
        ("run", hold.execution_id),
        ("status", _status(hold)),
        ("held", when(hold.held_at, now)),
        ("seen again", when(hold.last_seen_at, now) if hold.last_seen_at > hold.held_at else None),
        ("why", "\n".join(hold.reasons)),
        ("decision", None if is_open else describe_decision(hold)),
        ("note", hold.note),
        ("applied by", f"run {short_id(applying)}" if applying and hold.status == HoldStatus.APPROVED else None),
        ("approve", f"hrsync hris approve {ref}" if is_open else None),
        ("reject", f"hrsync hris reject {ref}" if is_open else None),
    ]
    output.print(facts(pairs))
    if hold.counts:
        output.print()
        output.print(counts_table(list(hold.counts.items())))
    if fields:
        output.print()
        output.print(facts((f"{entity} changed", changed_fields_text(counts)) for entity, counts in fields.items()))


def _tell_what_is_left_out(hold: HrHold, *, shown: int, kept: int) -> None:
    if shown < kept:
        note(f"{shown:,} of {kept:,} rows are shown; --limit shows more, --csv FILE writes them all.")
    if kept < hold.change_count:
        note(f"Of the {hold.change_count:,} rows that would change the first {kept:,} are kept.")


def _status(hold: HrHold) -> Text:
    from rich.text import Text

    return Text(hold.status, style=_STATUS_STYLES.get(hold.status, ""))
