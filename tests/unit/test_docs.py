"""The documentation speaks of what is there: links, commands, settings, and the table of clock changes."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest
import typer.main

from backend.cli.app import app
from backend.domain.schedules import fires_between, parse_schedule
from backend.settings import Settings
from tests.support.project import PROJECT_ROOT

PAGES = sorted([*PROJECT_ROOT.glob("*.md"), *PROJECT_ROOT.glob("docs/**/*.md"), *PROJECT_ROOT.glob("deploy/*.md")])
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file or folder of the project."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [] == [target for target in targets if not (page.parent / target).exists()]


@by_page
def test_commands_exist(page: Path) -> None:
    """Every `hrsync COMMAND` is one, with the options that it is shown with."""
    root = typer.main.get_command(app)
    wrong = []
    for line in re.findall(r"(?:`|^\$ |^sudo -u hrsync \S*/)hrsync ([^`#\n]+)", page.read_text(), re.MULTILINE):
        words = line.split()
        command = root
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        if getattr(command, "commands", {}) and (not words or not words[0].startswith("-")):
            wrong.append(f"{line.strip()}: no such command")
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        wrong += [f"{line.strip()}: {word}" for word in words if word.startswith("-") and word not in options]
    assert [] == wrong


@by_page
def test_settings_exist(page: Path) -> None:
    """Every name in the form of a setting of ours is one."""
    known = {name.upper() for name in Settings.model_fields}
    endings = "_(?:URL|SECONDS|DAYS|HOURS|DIR|TOKEN|TO|FROM|FORMAT|LEVEL)"
    named = set(re.findall(rf"`([A-Z]+(?:_[A-Z]+)*{endings})`", page.read_text()))
    assert set() == {name for name in named if not name.startswith("TEST_")} - known


@pytest.mark.parametrize(
    ("rule", "spring", "autumn"),
    [
        ("skip", [], ["00:30"]),
        ("once", ["01:00"], ["00:30"]),
        ("twice", ["01:00"], ["00:30", "01:30"]),
    ],
)
def test_clock_changes_are_as_the_table_says(rule: str, spring: list[str], autumn: list[str]) -> None:
    """02:30 in Berlin on the two days of 2027 on which the clock changes, in UTC."""
    schedule = parse_schedule(
        kind="cron",
        expression="30 2 * * *",
        anchor_at=dt.datetime(2027, 1, 1, tzinfo=dt.UTC),
        timezone="Europe/Berlin",
        dst_rule=rule,
    )

    def times(day: dt.datetime) -> list[str]:
        return [f"{fire:%H:%M}" for fire in fires_between(schedule, day, day + dt.timedelta(hours=20))]

    assert spring == times(dt.datetime(2027, 3, 28, tzinfo=dt.UTC))
    assert autumn == times(dt.datetime(2027, 10, 31, tzinfo=dt.UTC))
