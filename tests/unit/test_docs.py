"""The documentation speaks of what is there: links, commands, settings, and the table of clock changes."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import typer.main

from backend.cli.app import app
from backend.domain.employees import ENTITY_SPECS
from backend.domain.jobs_file import JOB_KEYS
from backend.domain.mail import MailStatus
from backend.domain.punches import Direction
from backend.domain.quarantine import Reason
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


def test_the_example_of_the_mapping_is_the_one_of_the_file() -> None:
    """The page on mappings shows the employees of the AdventureWorks example as they are there."""
    page = (PROJECT_ROOT / "docs/hris-mapping.md").read_text()
    blocks = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (shown,) = [block for block in blocks if "OrganizationNode" in block]
    example = tomllib.loads((PROJECT_ROOT / "config/examples/adventureworks.toml").read_text())
    assert example["employees"] == tomllib.loads(shown)["employees"]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("docs/schedule.md", JOB_KEYS),
        ("docs/hris-mapping.md", [field.name for spec in ENTITY_SPECS.values() for field in spec.all_fields()]),
        ("docs/hris-mapping.md", Reason),
        ("docs/biostar.md", Direction),
        ("docs/mail.md", MailStatus),
        ("docs/reference/settings.md", [name.upper() for name in Settings.model_fields]),
    ],
    ids=["keys of jobs", "fields", "reasons", "directions", "states of mail", "settings"],
)
def test_nothing_is_left_out(page: str, words: Iterable[str]) -> None:
    """Every word that people can write or meet is on the page that explains it."""
    text = (PROJECT_ROOT / page).read_text()
    assert [] == [word for word in words if f"`{word}`" not in text]
