"""Where the project is, and where the data that it does not contain may be."""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
ADVENTUREWORKS = PROJECT_ROOT.parent / "shared" / "data" / "adventureworks"
