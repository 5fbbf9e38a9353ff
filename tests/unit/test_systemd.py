"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.utils import systemd
from backend.utils.identifiers import new_id


@pytest.fixture(params=["path", "abstract"])
def listener(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A socket as systemd listens on one, named in the environment."""
    name = str(tmp_path / "n") if request.param == "path" else "@hrsync-test-" + new_id()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name.replace("@", "\0", 1))
        server.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield server


def test_notify_sends_its_lines_in_one_message(listener: socket.socket) -> None:
    """Several assignments arrive together, one a line."""
    assert systemd.notify("READY=1", "STATUS=Zürich läuft")

    assert "READY=1\nSTATUS=Zürich läuft" == listener.recv(1000).decode()


def test_notify_outside_systemd_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a socket in the environment nothing is sent and nothing fails."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert systemd.notify("READY=1") is False


def test_notify_survives_a_systemd_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A socket that nobody serves is no error for the service."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "missing"))

    assert systemd.notify("WATCHDOG=1") is False


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", "own", 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("", None, None),
        ("soon", None, None),
    ],
)
def test_watchdog_interval_is_half_of_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str | None, expected: float | None
) -> None:
    """Only the process that systemd watches is told how often to answer."""
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)

    assert expected == systemd.watchdog_interval()
