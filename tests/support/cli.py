"""Commands of hrsync run in this process."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from backend.cli.app import run


class Answer(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """What people read, on one line."""
        return " ".join(self.out.split())

    @property
    def complaint(self) -> str:
        """What was wrong, on one line."""
        return " ".join(self.err.split())


Cli = Callable[..., Answer]


@contextlib.contextmanager
def commands_of(capsys: pytest.CaptureFixture[str], *group: str) -> Iterator[Cli]:
    """`call("holds")` runs `hrsync hris holds` where the group is `hris`; what a command does to the log is undone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = run([*group, *arguments])
        return Answer(code, *capsys.readouterr())

    yield call
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
