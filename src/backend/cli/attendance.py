"""`hrsync attendance`: what days of attendance are, would be and why; by which rules."""

from __future__ import annotations

import typer

from backend.cli import attendance_amend, attendance_check, attendance_preview, attendance_runs, attendance_show

app = typer.Typer(
    help="Attendance: its rules, what they make of punches, and why; corrections and closed periods.",
    no_args_is_help=True,
)

attendance_show.register(app)
attendance_runs.register(app)
attendance_amend.register(app)
attendance_check.register(app)
attendance_preview.register(app)
