"""What the tests themselves stand on: servers that stop, processes that end, waits that give up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pymysql
import pytest
import redis
from sqlalchemy.engine import make_url

from tests.support.processes import Process
from tests.support.project import PROJECT_ROOT
from tests.support.servers import MARIADB_PASSWORD, MARIADB_USER, MariaDBServer, RedisServer
from tests.support.waiting import eventually, eventually_async

WITH_SERVERS = [sys.executable, "-m", "tests.support.servers"]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"TEST_MARIADB_URL", "TEST_REDIS_URL"}}


def _query(server: MariaDBServer, *statements: str) -> object:
    with pymysql.connect(
        host="127.0.0.1", port=server.port, user=MARIADB_USER, password=MARIADB_PASSWORD, autocommit=True
    ) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchone()


def test_mariadb_keeps_what_was_committed_when_it_is_killed(private_mariadb: MariaDBServer) -> None:
    """A killed server comes back on the same port with every committed row."""
    _query(private_mariadb, "CREATE DATABASE d", "CREATE TABLE d.t (n INT)", "INSERT INTO d.t VALUES (7)")

    private_mariadb.kill()
    private_mariadb.start()

    assert (7,) == _query(private_mariadb, "SELECT n FROM d.t")


def test_redis_is_empty_after_a_restart(private_redis: RedisServer) -> None:
    """A restarted Redis has the same address and nothing in it."""
    with redis.Redis.from_url(private_redis.url) as client:
        client.set("a", 1)
        private_redis.restart()

        assert [] == client.keys()


def test_the_exit_code_of_the_tests_is_the_exit_code_of_the_run() -> None:
    """A run under servers fails as its command does, and leaves no server behind."""
    print_servers = 'echo "$TEST_MARIADB_URL $TEST_REDIS_URL"; exit 7'
    done = subprocess.run(
        [*WITH_SERVERS, "sh", "-c", print_servers],
        cwd=PROJECT_ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert 7 == done.returncode
    mariadb_url, redis_url = done.stdout.split()
    for url in (mariadb_url, redis_url):
        address = make_url(url)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(address.host), int(address.port or 0)), timeout=5)


def test_servers_that_are_given_are_used_as_they_are() -> None:
    """A URL that is set already is handed on, and no server is started for it."""
    done = subprocess.run(
        [*WITH_SERVERS, "sh", "-c", 'echo "$TEST_MARIADB_URL $TEST_REDIS_URL"'],
        cwd=PROJECT_ROOT,
        env={**_environment(), "TEST_MARIADB_URL": "mysql+aiomysql://a@b", "TEST_REDIS_URL": "redis://c"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "mysql+aiomysql://a@b redis://c\n" == done.stdout


def test_a_terminated_run_stops_its_servers(tmp_path: Path) -> None:
    """SIGTERM to the run ends its servers as well."""
    run = subprocess.Popen(
        [*WITH_SERVERS, "sh", "-c", f"touch {tmp_path / 'ready'}; exec sleep 60"], cwd=PROJECT_ROOT, env=_environment()
    )
    eventually((tmp_path / "ready").exists, 60, message="the servers' start")
    children = psutil.Process(run.pid).children(recursive=True)
    assert {"mariadbd", "redis-server", "sleep"} == {child.name() for child in children}

    run.send_signal(signal.SIGTERM)

    assert 130 == run.wait(60)
    assert [] == psutil.wait_procs(children, timeout=10)[1]


def test_a_process_shows_what_it_printed_and_how_it_ended(start_process: Callable[..., Process]) -> None:
    """Output and exit code of a started process can be read, and its environment is what was asked for."""
    process = start_process("sh", "-c", 'echo "{\\"url\\": \\"$MARIA_URL\\"}"; exit 3', env={"maria_url": "x"})

    assert 3 == process.wait()
    assert [{"url": "x"}] == process.json_lines()


def test_waiting_for_output_ends_with_the_process(start_process: Callable[..., Process]) -> None:
    """A process that ends without printing what is waited for fails the wait at once."""
    process = start_process("sh", "-c", "echo something else; exit 3")

    with pytest.raises(ProcessLookupError, match="ended with 3"):
        process.wait_for_output("ready")


async def test_waiting_gives_up_at_its_deadline() -> None:
    """What never comes true is reported with the last thing seen."""

    async def never() -> int:
        return 0

    def wrong() -> None:
        assert not MARIADB_USER

    with pytest.raises(AssertionError, match=r"rows did not come true within 0\.05 s; last seen: 0"):
        await eventually_async(never, 0.05, message="rows")
    with pytest.raises(AssertionError, match="last seen: AssertionError"):
        eventually(wrong, 0.05)
