"""`hrsync doctor`: looks at everything that hrsync needs, and says of each thing how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from backend.cli.exits import ExitCode
from backend.cli.output import AsJson, show

if TYPE_CHECKING:
    from rich.console import Console

    from backend.services.hris_findings import Finding

_MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "error": ("error  ", "bold red")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: AsJson = False) -> int:
    """Check settings, databases, HRIS, BioStar, broker, mail, disk and jobs; exit code 78 if anything is wrong."""
    from backend.cli.checks import check_installation
    from backend.cli.session import run_async

    findings = run_async(check_installation())
    worst = worst_level(findings)
    show(as_json, {"status": worst, "findings": findings}, lambda output: _render(output, findings))
    return ExitCode.CONFIGURATION if worst == "error" else ExitCode.DONE


def worst_level(findings: Sequence[Finding]) -> str:
    """`error`, `warning` or `ok`."""
    levels = {finding.level for finding in findings}
    return next((level for level in ("error", "warning") if level in levels), "ok")


def render_findings(output: Console, findings: Sequence[Finding]) -> None:
    """Print each finding with its mend."""
    from rich.padding import Padding
    from rich.text import Text

    for finding in findings:
        mark, style = _MARKS[finding.level]
        output.print(
            Text.assemble((mark, style), "  ", (finding.subject, "bold"), f": {finding.message}"), soft_wrap=True
        )
        if finding.mend:
            output.print(Padding(Text(f"-> {finding.mend}"), (0, 0, 0, 9)))


def _render(output: Console, findings: Sequence[Finding]) -> None:
    from rich.text import Text

    render_findings(output, findings)
    counts = {level: sum(finding.level == level for finding in findings) for level in _MARKS}
    output.print()
    if counts["error"]:
        output.print(Text(f"{counts['error']} of {len(findings)} checks found errors.", style="bold red"))
    elif counts["warning"]:
        output.print(Text(f"It works; {counts['warning']} warnings.", style="yellow"))
    else:
        output.print(Text("Everything is in order.", style="green"))
