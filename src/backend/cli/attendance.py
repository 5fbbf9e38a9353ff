"""`hrsync attendance`: what days of attendance are, would be and why; by which rules."""

from __future__ import annotations

import typer

from backend.cli import attendance_check, attendance_preview

app = typer.Typer(help="Attendance: its rules, and what they make of punches.", no_args_is_help=True)

attendance_check.register(app)
attendance_preview.register(app)
