"""Private MariaDB and Redis servers: on a free loopback port, with their data in a folder of their own.

As a program, `python -m tests.support.servers COMMAND...` starts both, runs the command with `TEST_MARIADB_URL` and
`TEST_REDIS_URL` set, stops them whatever happens, and ends with the command's exit code. A URL that is already set is
left alone, and no server is started for it.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Self

import pymysql
import redis

START_SECONDS = 60.0
STOP_SECONDS = 30.0
# Deliberately awkward in a URL, and easy to find where it must not appear.
MARIADB_USER = "hrsync"
MARIADB_PASSWORD = "s3cret-pa:ss/w@rd"
MARIADB_PASSWORD_QUOTED = "s3cret-pa%3Ass%2Fw%40rd"


class ServerError(Exception):
    """A server did not come up; the message holds the end of its log."""


class Server(abc.ABC):
    """A server process on one port and one data folder, which may be stopped, killed and started again.

    Args:
        directory: an empty or earlier used folder of this server alone.
    """

    name = "server"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start and wait until it answers.

        Raises:
            ServerError: it ended, or did not answer in time.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} did not start:\n" + log.read_text(errors="replace")[-4000:])
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Shut down in good order; nothing happens when it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would; nothing happens when it is not running."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, and start on the same port and data."""
        self.stop()
        self.start()

    def suspend(self) -> None:
        """Freeze the process: connections stay open and nothing answers (see `resume`)."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `suspend`."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @abc.abstractmethod
    def _command(self) -> list[str]: ...

    @abc.abstractmethod
    def _answers(self) -> bool: ...


class MariaDBServer(Server):
    """A MariaDB server with its default durability and one user who may do everything."""

    name = "MariaDB"

    @property
    def url(self) -> str:
        """The server's URL, without a database."""
        return f"mysql+aiomysql://{MARIADB_USER}:{MARIADB_PASSWORD_QUOTED}@127.0.0.1:{self.port}"

    def database_url(self, name: str) -> str:
        """The URL of one database of the server."""
        return f"{self.url}/{name}"

    def start(self) -> Self:
        data = self.directory / "data"
        if not (data / "mysql").exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            self._install(data)
            (self.directory / "init.sql").write_text(
                f"CREATE USER IF NOT EXISTS '{MARIADB_USER}'@'127.0.0.1' IDENTIFIED BY '{MARIADB_PASSWORD}';\n"
                f"GRANT ALL PRIVILEGES ON *.* TO '{MARIADB_USER}'@'127.0.0.1' WITH GRANT OPTION;\n"
            )
        return super().start()

    def _install(self, data: Path) -> None:
        command = [
            find_program("mariadb-install-db", "mysql_install_db"),
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
            "--skip-test-db",
            *_as_this_user(),
        ]
        # Servers that are made at the same time would use the same names of temporary tables in a shared folder.
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(temporary)}
        done = subprocess.run(command, capture_output=True, check=False, env=environment, preexec_fn=die_with_parent)
        if done.returncode:
            raise ServerError(f"mariadb-install-db failed:\n{done.stdout.decode()}{done.stderr.decode()}"[-4000:])

    def _command(self) -> list[str]:
        return [
            find_program("mariadbd", "mysqld"),
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--tmpdir={self.directory / 'tmp'}",
            f"--socket={self.directory / 's'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--max-connections=400",
            "--character-set-server=utf8mb4",
            f"--init-file={self.directory / 'init.sql'}",
            *_as_this_user(),
        ]

    def _answers(self) -> bool:
        try:
            pymysql.connect(
                host="127.0.0.1", port=self.port, user=MARIADB_USER, password=MARIADB_PASSWORD, connect_timeout=5
            ).close()
        except pymysql.MySQLError:
            return False
        return True


class RedisServer(Server):
    """A Redis server that keeps nothing on disk: started again, it is empty."""

    name = "Redis"

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        return [
            find_program("redis-server"),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
            *("--save", "", "--appendonly", "no"),
        ]

    def _answers(self) -> bool:
        client = redis.Redis(port=self.port, socket_timeout=5)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def _as_this_user() -> list[str]:
    # mariadbd refuses to run as root unless it is told to.
    return ["--user=root"] if os.geteuid() == 0 else []


def find_program(*names: str) -> str:
    """The path of the first program that is installed; also looks where a normal user's PATH does not.

    Raises:
        ServerError: none is.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/local/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise ServerError(f"{names[0]} is not installed; scripts/test installs what the tests need.")


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """Make the kernel kill this child when its parent dies, however it dies (for `preexec_fn`; Linux).

    Also where the tests run in the background, whose children ignore Ctrl-C unless they are told not to.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def main(command: Sequence[str]) -> int:
    """Run the command with servers; its exit code."""
    # A terminated run must still stop its servers.
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="hrsync-test-", ignore_cleanup_errors=True))
        )
        environment = dict(os.environ)
        if not environment.get("TEST_MARIADB_URL"):
            environment["TEST_MARIADB_URL"] = stack.enter_context(MariaDBServer(folder / "mariadb")).url
        if not environment.get("TEST_REDIS_URL"):
            environment["TEST_REDIS_URL"] = stack.enter_context(RedisServer(folder / "redis")).url
        with subprocess.Popen(list(command), env=environment) as child:
            try:
                return child.wait()
            except BaseException as error:
                # The servers stay until the command has put its things in order. Ctrl-C reaches it by itself.
                if isinstance(error, _Terminated):
                    child.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                    child.wait(STOP_SECONDS)
                child.kill()
                raise


class _Terminated(KeyboardInterrupt):
    """This process is to end."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise _Terminated


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except ServerError as error:
        sys.exit(str(error))
