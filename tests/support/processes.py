"""Real processes of the program under test: started, watched, signalled, and ended with the test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.servers import die_with_parent
from tests.support.waiting import eventually

BIN = Path(sys.executable).parent


class Process:
    """A process with its output (stdout and stderr together) in a file.

    Args:
        command: program and arguments; `hrsync` and `celery` mean those of this environment.
        env: the whole environment.
        cwd: its working directory.
        log: the file for its output.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        own = BIN / command[0]
        self.command = [str(own) if own.exists() else command[0], *command[1:]]
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def name(self) -> str:
        """The command as a line."""
        return " ".join([Path(self.command[0]).name, *self.command[1:]])

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """Its exit code (negative: the signal); None while it runs."""
        return self._popen.poll()

    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def json_lines(self) -> list[dict[str, Any]]:
        """The lines of its output that are JSON objects."""
        found = []
        for line in self.output().splitlines():
            if line.startswith("{"):
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
        return found

    def wait_for_output(self, text: str, timeout: float = 30) -> None:
        """Wait until it has printed the text; fails at once when it ends without it."""

        def printed() -> bool:
            ended = not self.running
            if text in self.output():
                return True
            if ended:
                raise ProcessLookupError(f"{self.name} ended with {self.returncode} before printing {text!r}")
            return False

        eventually(printed, timeout, message=f"{text!r} in the output of {self.name}")

    def wait(self, timeout: float = 30) -> int:
        """Wait until it has ended; its exit code."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout:g} s") from None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def terminate(self, timeout: float = 30) -> int:
        """SIGTERM, and wait; its exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to it and its children; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
