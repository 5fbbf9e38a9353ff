"""The services as systemd runs them: started by their units' commands, ready, alive, and ended by SIGTERM."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import Process
from tests.support.project import PROJECT_ROOT

UNITS = ["hrsync-scheduler.service", "hrsync-worker@.service", "hrsync-api.service"]


def _command(unit: str) -> list[str]:
    text = (PROJECT_ROOT / "deploy" / "systemd" / unit).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return ["hrsync", *line.split()[1:]]


def _receive(listener: socket.socket) -> tuple[set[str], int]:
    """The lines of the next message and the process that sent it."""
    data, ancillary, _, _ = listener.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
    ((_, _, credentials),) = ancillary
    pid, _, _ = struct.unpack("3i", credentials)
    return set(data.decode().split("\n")), int(pid)


@pytest.mark.parametrize("unit", UNITS)
def test_a_service_tells_systemd_how_it_is(
    unit: str, tmp_path: Path, mariadb_url: str, redis_url: str, start_process: Callable[..., Process]
) -> None:
    """The main process itself says that it is ready, that it is alive, and that it stops; SIGTERM ends it well."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        process = start_process(
            *_command(unit),
            env={
                "notify_socket": tmp_path / "notify",
                "watchdog_usec": 2_000_000,
                "maria_url": mariadb_url,
                "celery_broker_url": redis_url,
                "api_port": 0,
                "worker_concurrency": 2,
                "shutdown_grace_seconds": 1,
            },
        )
        said: list[str] = []

        def listen_until(expected: str) -> None:
            while expected not in said:
                lines, sender = _receive(listener)
                assert process.pid == sender
                said.extend(lines)

        listen_until("READY=1")
        said.clear()
        listen_until("WATCHDOG=1")
        process.terminate()
        listen_until("STOPPING=1")

    assert 0 == process.returncode
