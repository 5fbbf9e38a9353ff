"""The systemd units and the install text, as systemd and an administrator read them."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backend.settings import Settings
from tests.support.project import PROJECT_ROOT

DEPLOY = PROJECT_ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
INSTALL = (DEPLOY / "INSTALL.md").read_text()


def _instance(name: str) -> str:
    return name.replace("@.", "@1.")


def _options(unit: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.read_text())
    return parser["Service"]


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units with the program's path of this environment, templates as their first instance."""
    program = str(Path(sys.executable).parent / "hrsync")
    paths = []
    for unit in UNITS:
        text = unit.read_text().replace("/opt/hrsync/.venv/bin/hrsync", program)
        path = tmp_path / _instance(unit.name)
        path.write_text(text)
        paths.append(path)
    return paths


def test_systemd_finds_nothing_wrong_in_the_units(installed: list[Path]) -> None:
    """`systemd-analyze verify` accepts every unit without a word."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=one", *map(str, installed)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_services_are_confined(unit: Path, installed: list[Path]) -> None:
    """systemd rates the exposure of every service as low (2 of 10 at most)."""
    path = next(path for path in installed if path.name == _instance(unit.name))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout[-600:] + done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_services_start_a_command_that_exists(unit: Path) -> None:
    """What a unit starts is a command of hrsync with those arguments."""
    program, *arguments = _options(unit)["ExecStart"].split()
    assert "/opt/hrsync/.venv/bin/hrsync" == program

    done = subprocess.run(
        [Path(sys.executable).parent / "hrsync", *arguments, "--help"], capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_services_are_watched_and_come_back(unit: Path) -> None:
    """Every service tells systemd how it is, and is restarted, except after a configuration error."""
    options = _options(unit)
    names = ["Type", "Restart", "RestartPreventExitStatus", "KillSignal", "User", "EnvironmentFile"]

    assert ["notify", "always", "78", "SIGTERM", "hrsync", "/etc/hrsync/hrsync.env"] == [options[n] for n in names]
    assert int(options["WatchdogSec"]) >= 10


def test_a_worker_is_given_more_time_than_it_takes_to_shut_down() -> None:
    """systemd waits longer than the grace that running work gets."""
    stop = int(_options(DEPLOY / "systemd" / "hrsync-worker@.service")["TimeoutStopSec"])

    assert stop >= 2 * Settings.model_fields["shutdown_grace_seconds"].default


def test_the_install_text_names_only_what_exists() -> None:
    """Units, settings and files of the repository that the text names are there."""
    units = set(re.findall(r"hrsync(?:-\w+)?(?:@\d)?\.(?:service|target)", INSTALL))
    units |= {f"{name}.service" for name in re.findall(r"\bhrsync-(?:scheduler|worker@\d|api)\b", INSTALL)}
    settings = set(re.findall(r"^([A-Z_]+)=", INSTALL, re.MULTILINE))
    files = re.findall(r"/opt/hrsync/((?!\.venv)[\w./-]+)", INSTALL)

    assert {re.sub(r"@\d", "@", unit).replace("@.", "@.") for unit in units} <= {unit.name for unit in UNITS}
    assert {name.lower() for name in settings} <= set(Settings.model_fields)
    assert [] == [name for name in files if not (PROJECT_ROOT / name.rstrip("/")).exists()]


def test_the_commands_of_the_install_text_exist() -> None:
    """Every `hrsync` command that the text has an administrator type is one."""
    commands = sorted(set(re.findall(r"\.venv/bin/hrsync ([a-z]+(?: [a-z]+)?)", INSTALL)))
    assert ["db upgrade", "doctor", "jobs apply"] == commands

    for command in commands:
        done = subprocess.run(
            [Path(sys.executable).parent / "hrsync", *command.split(), "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, json.dumps([command, done.stderr])
