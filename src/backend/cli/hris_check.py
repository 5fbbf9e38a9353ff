"""`hrsync hris check`: holds the mapping against the live sources before anything is replicated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.exits import ExitCode
from backend.cli.hris_words import cell, check_choice
from backend.cli.output import AsJson, show, table

if TYPE_CHECKING:
    from rich.console import Console

    from backend.services.check_hris import HrisCheck

_WIDEST_VALUE = 30


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    rows: Annotated[int, typer.Option("--rows", min=0, max=1000, help="Show so many rows as they would arrive.")] = 20,
    entity: Annotated[str | None, typer.Option("--entity", help="Only this entity, such as employees.")] = None,
    show_data: Annotated[
        bool, typer.Option("--show-data", help="Show personal values as they are. Personal data!")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Run every query of the mapping and hold the results against it; exit code 1 when they contradict it.

    Exit code 78: the mapping itself is wrong. Nothing is written.
    """
    from backend.cli.doctor import worst_level
    from backend.cli.session import run_async
    from backend.domain.employees import Entity
    from backend.errors import ConfigurationError
    from backend.resources import hris_mapping, hris_source
    from backend.services.check_hris import check_hris

    check_choice("--entity", entity, tuple(Entity))
    mapping = hris_mapping()
    if entity is not None and entity not in mapping.entities:
        raise ConfigurationError(f"{mapping.file} does not map the {entity}; it has no table [{entity}].")
    wanted = tuple(Entity) if entity is None else (Entity(entity),)
    result = run_async(
        check_hris(hris_source(mapping), mapping, entities=wanted, sample_rows=rows, show_data=show_data)
    )
    worst = worst_level(result.findings)
    data = {"status": worst, "file": mapping.file, "queries": [_record(query) for query in result.queries]}
    show(as_json, data, lambda output: _render(output, result, worst))
    if worst != "error":
        return ExitCode.DONE
    return ExitCode.CONFIGURATION if result.misconfigured else ExitCode.FAILED


def _record(query: Any) -> dict[str, Any]:
    return {name: getattr(query, name) for name in ("subject", "rows", "columns", "findings", "sample")}


def _render(output: Console, result: HrisCheck, worst: str) -> None:
    from rich.text import Text

    from backend.cli.doctor import render_findings

    for query in result.queries:
        render_findings(output, query.findings)
        if query.sample:
            _render_sample(output, query.sample)
    output.print()
    if worst == "error":
        output.print(Text("The sources contradict the mapping; a run would fail.", style="bold red"))
    elif worst == "warning":
        output.print(Text("A run can take this; what is warned of would be missing.", style="yellow"))
    else:
        output.print(Text("Everything fits.", style="green"))


def _render_sample(output: Console, sample: Sequence[Mapping[str, str | None]]) -> None:
    """The rows as tables that are not too wide; each begins with the key."""
    key, *others = sample[0]
    widths = {
        name: max(len(name), *(min(len(row[name] or ""), _WIDEST_VALUE) for row in sample)) + 3
        for name in (key, *others)
    }
    parts: list[list[str]] = [[]]
    for name in others:
        if parts[-1] and sum(widths[other] for other in (key, *parts[-1], name)) > output.width:
            parts.append([])
        parts[-1].append(name)
    for part in parts:
        names = [key, *part]
        output.print()
        rows = [[cell(row[name], "-") for name in names] for row in sample]
        output.print(table([name.upper() for name in names], rows, flexible=[name.upper() for name in part]))
    output.print()
