"""`hrsync tasks`: what can be scheduled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from backend.cli.output import AsJson, facts, show

if TYPE_CHECKING:
    from rich.console import Console

    from backend.execution.tracked_task import TrackedTask

app = typer.Typer(help="What can be scheduled.", no_args_is_help=True)


@app.command("list")
def list_tasks(as_json: AsJson = False) -> None:
    """Show every task: code, Celery name, queue, parameters, limits, retries."""
    from backend.celery_bridge import TASK_REGISTRY

    tasks = [TASK_REGISTRY[code] for code in sorted(TASK_REGISTRY)]
    show(as_json, {"items": [task_record(task) for task in tasks]}, lambda output: _render(output, tasks))


def task_record(task: TrackedTask) -> dict[str, Any]:
    """A task as JSON."""
    return {
        "code": task.code,
        "name": task.name,
        "queue": task.queue,
        "description": task.description,
        "idempotent": task.idempotent,
        "max_attempts": task.max_attempts,
        "soft_time_limit": task.spec.soft_time_limit,
        "time_limit": task.spec.time_limit,
        "parameters": task.parameter_schema(),
    }


def _render(output: Console, tasks: list[TrackedTask]) -> None:
    from rich.text import Text

    for task in tasks:
        attempts = f"at most {task.max_attempts} attempts" if task.max_attempts else "attempts for ever"
        limits = [
            f"{kind} limit {seconds:g} s"
            for kind, seconds in (("soft", task.spec.soft_time_limit), ("hard", task.spec.time_limit))
            if seconds is not None
        ]
        parameters = [parameter_text(name, rule, task) for name, rule in _parameters(task).items()]
        output.print(Text.assemble((task.code, "bold cyan"), f"  {task.description}"))
        output.print(
            facts(
                [
                    ("  name", task.name),
                    ("  queue", task.queue),
                    ("  parameters", "\n".join(parameters) or "none"),
                    ("  runs", ", ".join([attempts, *limits])),
                    ("  repeatable", "yes" if task.idempotent else "no: not run again by itself when a worker is lost"),
                ]
            )
        )
        output.print()


def _parameters(task: TrackedTask) -> Mapping[str, Any]:
    found: Mapping[str, Any] = task.parameter_schema().get("properties", {})
    return found


def parameter_text(name: str, rule: Mapping[str, Any], task: TrackedTask) -> str:
    """A parameter with its type and default: `full: boolean = false`."""
    import json

    kinds = [item.get("format") or item.get("type", "any") for item in rule.get("anyOf", [rule])]
    required = name in task.parameter_schema().get("required", [])
    default = " (required)" if required else f" = {json.dumps(rule.get('default'))}"
    return f"{name}: {' | '.join(kinds)}{default}"
