"""CONTRIBUTING.md, followed to the letter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import Process
from tests.support.project import PROJECT_ROOT
from tests.support.servers import free_port

FILE = re.compile(r"^Create `(?P<name>[^`]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sources, in which a contributor works."""
    folder = tmp_path / "copy"
    for name in ("src", "tests", "config"):
        shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "pyproject.toml", folder)
    return folder


def steps(text: str) -> Iterator[tuple[str, str, str]]:
    """The files to create and the commands to run, in their order: (kind, name or command, text or output)."""
    found = [(match.start(), "file", match["name"], match["text"]) for match in FILE.finditer(text)]
    for block in CONSOLE.finditer(text):
        for command in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
            line, _, output = command.partition("\n")
            found.append((block.start(), "command", line, output))
    # A stable sort keeps the commands of one block in their order.
    for _, kind, name, content in sorted(found, key=lambda item: item[0]):
        yield kind, name, content


def matches(expected: str, printed: str) -> bool:
    """Whether the output is what the text shows; `...` stands for anything, blanks at line ends do not count."""
    pattern = "".join(".*" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", expected.strip()))
    lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(pattern.replace(r".*\n", r"(.*\n)?"), lines, re.DOTALL) is not None


@pytest.mark.timeout(300)
def test_a_task_is_added_as_the_text_says(
    copy: Path, mariadb_server: str, redis_server: str, start_process: Callable[..., Process]
) -> None:
    """Every file is created and every command run; each prints what the text says."""
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # The copy's package, not the installed one.
        "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}",
        "API_PORT": str(free_port()),
        "COLUMNS": "100",
        "TEST_MARIADB_URL": mariadb_server,
        "TEST_REDIS_URL": redis_server,
    }
    done = []
    for kind, name, text in steps((PROJECT_ROOT / "CONTRIBUTING.md").read_text()):
        done.append(name)
        if kind == "file":
            (copy / name).write_text(text)
        elif name == "hrsync up":
            start_process("hrsync", "up", env=dict(environment), cwd=copy)
        else:
            run = subprocess.run(
                ["bash", "-c", name],
                cwd=copy,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            assert 0 == run.returncode, f"$ {name}\n{run.stdout}"
            assert matches(text, run.stdout), f"$ {name}\n{run.stdout}\nis not what the text shows:\n{text}"
    expected = [
        "src/backend/tasks/greet.py", "hrsync tasks list", "greet.toml", "hrsync db upgrade",
        "hrsync jobs apply greet.toml", "hrsync up", "hrsync jobs run greet --wait",
        "tests/integration/test_greet.py", "pytest -q tests/integration/test_greet.py",
    ]  # fmt: skip
    assert expected == done
