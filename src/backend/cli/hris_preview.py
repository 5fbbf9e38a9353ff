"""`hrsync hris preview|reconcile`: what a run would do; whether source and target agree. Neither writes anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
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
    check_choice,
    counts_table,
    tell_of_file,
    writing_csv,
)
from backend.cli.output import AsJson, facts, note, show, table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from backend.domain.replication_plan import EntityPlan, ReplicationPlan, RowChange
    from backend.services.reconcile_hris import Reconciliation

EntityOption = Annotated[str | None, typer.Option("--entity", help="Show only this entity, such as employees.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, max=1_000_000, help="Show so many of the rows.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("preview")(preview)
    app.command("reconcile")(reconcile)


# --- preview ----------------------------------------------------------------------------------------------------------


def preview(  # noqa: PLR0917 - the parameters are options
    diff: Annotated[bool, typer.Option("--diff", help="List the rows that would change, field by field.")] = False,
    csv_file: CsvFile = None,
    entity: EntityOption = None,
    limit: Limit = 100,
    show_data: Annotated[
        bool, typer.Option("--show-data", help="With --diff: the values of new rows as well. Personal data!")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show what a run would do now, and write nothing; exit code 4 when the guard would hold it."""
    from backend.cli.session import run_async
    from backend.domain.employees import Entity

    check_choice("--entity", entity, tuple(Entity))
    plan, changes, written = run_async(_plan(entity, shown=limit if diff else 0, csv_file=csv_file))
    plans = [item for item in plan.entities if entity in (None, item.entity)]
    data: dict[str, Any] = {
        "entities": [_plan_record(item) for item in plans],
        "concerns": plan.concerns,
        "held": _is_held(plan),
        "fingerprint": plan.fingerprint.hex(),
    }
    if diff:
        data["changes"] = [change._asdict() for change in changes]
    total = sum(item.changes for item in plans)

    def render(output: Console) -> None:
        _render_plans(output, plans)
        if changes:
            output.print(changes_table(changes, with_new_rows=show_data))
            output.print()
        _render_verdict(output, plan)
        if diff and len(changes) < total:
            note(f"{len(changes):,} of {total:,} rows are shown; --limit shows more, --csv FILE writes them all.")
        elif total and not diff and csv_file is None:
            note("--diff lists the rows, --csv FILE writes them all.")

    show(as_json, data, render)
    tell_of_file(csv_file, written, "rows that would change", as_json=as_json)
    return ExitCode.REFUSED if _is_held(plan) else ExitCode.DONE


async def _plan(entity: str | None, *, shown: int, csv_file: Path | None) -> tuple[ReplicationPlan, list[Change], int]:
    """The plan, the first of its changes, and how many were written into the file."""
    from backend.resources import hr_store, hris_mapping, hris_source, open_row_spool
    from backend.services.plan_hris import preview_hris

    mapping = hris_mapping()
    written = 0
    async with preview_hris(mapping, source=hris_source(mapping), store=hr_store(), open_spool=open_row_spool) as plan:
        if csv_file is not None:
            with writing_csv(csv_file, CHANGE_COLUMNS) as write:
                for change in _changes(plan, entity):
                    written += 1
                    for line in change_rows(change):
                        write(line)
        return plan, list(itertools.islice(_changes(plan, entity), shown)), written


def _changes(plan: ReplicationPlan, entity: str | None) -> Iterator[Change]:
    return map(_change, (item for item in plan.changes() if entity in (None, item.entity)))


def _change(item: RowChange) -> Change:
    return Change(item.entity.value, item.key, item.action.value, item.fields)


def _is_held(plan: ReplicationPlan) -> bool:
    return bool(plan.concerns) and not plan.skips_deactivations


def _plan_record(plan: EntityPlan) -> dict[str, Any]:
    names = ("reactivated", "renumbered", "vanished", "warnings", "reasons", "changed_fields", "notes", "is_partial")
    return {"entity": plan.entity, "counts": asdict(plan.counts)} | {name: getattr(plan, name) for name in names}


def _render_plans(output: Console, plans: Sequence[EntityPlan]) -> None:
    rows = [
        (
            item.entity.value,
            asdict(item.counts)
            | {"reactivated": item.reactivated, "renumbered": item.renumbered, "warnings": item.warnings},
        )
        for item in plans
    ]
    output.print(counts_table(rows))
    pairs: list[tuple[str, Any]] = []
    for item in plans:
        for name, counts in (("changed", item.changed_fields), ("rejected", item.reasons)):
            pairs.append((f"{item.entity} {name}", changed_fields_text(counts) or None))
        pairs.append((f"{item.entity} note", "\n".join(item.notes) or None))
    if any(value is not None for _, value in pairs):
        output.print()
        output.print(facts(pairs))
    output.print()


def _render_verdict(output: Console, plan: ReplicationPlan) -> None:
    from rich.text import Text

    if not plan.concerns:
        output.print("The guard would let it pass. Nothing was written.")
        return
    verdict = "would leave out the deactivations" if plan.skips_deactivations else "would hold it"
    output.print(Text(f"The guard {verdict}:", style="bold red"))
    for concern in plan.concerns:
        output.print(Text(f"  {concern}"), soft_wrap=True)
    output.print("Nothing was written.")


# --- reconcile --------------------------------------------------------------------------------------------------------


def reconcile(
    entity: EntityOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=1_000_000, help="Show so many of the rows of each entity.")
    ] = 20,
    as_json: AsJson = False,
) -> int:
    """Compare source and target row by row; exit code 1 when they differ."""
    from backend.cli.session import run_async
    from backend.domain.employees import Entity

    check_choice("--entity", entity, tuple(Entity))
    found = [item for item in run_async(_reconcile(limit)) if entity in (None, item.entity)]
    agree = all(item.agrees for item in found)
    data = {
        "agree": agree,
        "entities": [
            {
                "entity": item.entity,
                **{name: getattr(item, name) for name in _RECONCILED},
                "examples": [_change(change)._asdict() for change in item.examples],
            }
            for item in found
        ],
    }
    show(as_json, data, lambda output: _render_reconciled(output, found, agree=agree))
    return ExitCode.DONE if agree else ExitCode.FAILED


_RECONCILED = ("matched", "different", "missing", "extra", "rejected")
_DIFFERENCES = ("different", "missing", "extra")


async def _reconcile(limit: int) -> Sequence[Reconciliation]:
    from backend.resources import hr_store, hris_mapping, hris_source, open_row_spool
    from backend.services.reconcile_hris import reconcile_hris

    mapping = hris_mapping()
    return await reconcile_hris(
        mapping, source=hris_source(mapping), store=hr_store(), open_spool=open_row_spool, examples=limit
    )


def _render_reconciled(output: Console, found: Sequence[Reconciliation], *, agree: bool) -> None:
    from rich.text import Text

    def number(name: str, value: int) -> Text:
        return Text(f"{value:,}", style="red" if value and name in _DIFFERENCES else "")

    output.print(
        table(
            ["ENTITY", *((name.upper(), {"justify": "right"}) for name in _RECONCILED)],
            [(item.entity, *(number(name, getattr(item, name)) for name in _RECONCILED)) for item in found],
            flexible=("ENTITY",),
        )
    )
    changes = [_change(change) for item in found for change in item.examples]
    output.print()
    if changes:
        output.print(changes_table(changes))
        output.print()
    if agree:
        output.print("Source and target agree.")
    else:
        output.print("Source and target differ: missing rows are only in the source, extra ones only in the target.")
        note("`hrsync hris preview --diff` shows what a run would do; `hrsync hris sync --full` repairs the target.")
