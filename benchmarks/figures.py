"""What a benchmark shows: values beside their goals, as they come and in the end as a table or as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value, beside its goal or its peer."""

    name: str
    value: str
    goal: str = ""
    met: bool | None = None


class Figures:
    """The figures of one run."""

    def __init__(self) -> None:
        self.noted: list[Figure] = []

    def note(self, name: str, value: str, goal: str = "", met: bool | None = None) -> None:
        """Keep a figure and show it at once."""
        self.noted.append(Figure(name=name, value=value, goal=goal, met=met))
        print(f"  {name}: {value}" + (f"  (goal {goal})" if goal else ""), file=sys.stderr, flush=True)

    def print(self, title: str, *, as_json: bool) -> None:
        """All of them, to standard output."""
        if as_json:
            print(json.dumps([asdict(figure) for figure in self.noted], indent=2))
            return
        table = Table(title=f"{title} on {os.cpu_count()} cores, Python {platform.python_version()}")
        for column in ("measure", "value", "goal", ""):
            table.add_column(column)
        for figure in self.noted:
            met = "" if figure.met is None else "met" if figure.met else "MISSED"
            table.add_row(figure.name, figure.value, figure.goal, met)
        Console(width=120).print(table)
