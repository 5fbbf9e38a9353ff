"""Serves the HTTP API: binds, guards the address, tells systemd, and ends when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import uvicorn

from backend.api.app import create_app
from backend.celery_bridge import TASK_REGISTRY
from backend.db.database import Database
from backend.errors import ConfigurationError
from backend.settings import Settings
from backend.utils import systemd
from backend.utils.structured_logger import get_structured_logger

# A token that guards a network is not to be guessed: 16 random letters are the least.
_SHORTEST_TOKEN = 16
_GRACE_SECONDS = 5
_CONNECTIONS = 200

_logger = get_structured_logger(__name__)


class _Server(uvicorn.Server):
    """A server that says when it answers, and whose signals are somebody else's business."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run_api(
    settings: Settings, stop: asyncio.Event | None = None, *, on_started: Callable[[str], None] | None = None
) -> None:
    """Serve until `stop` is set; without it, until SIGTERM or SIGINT, telling systemd of the start and of life.

    Args:
        stop: set by the owner of the process (`hrsync up`), which then also talks to systemd.
        on_started: called with the URL, such as `http://127.0.0.1:8765`, once it answers.

    Raises:
        ConfigurationError: the address is not this machine's alone and no good token is set, or it cannot be bound.
    """
    owns_process = stop is None
    stop = stop or asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings))
        url = url_of(listener)
        database = reading_database(settings)
        stack.push_async_callback(database.dispose)
        server = _Server(
            uvicorn.Config(
                create_app(database, settings, tasks=TASK_REGISTRY),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_keep_alive=20,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        if owns_process:
            stack.enter_context(_stop_on_signals(stop))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _first(serving, server.answers.wait())
            if server.started:
                _logger.info("api_started", url=url, asks_for_sign_in=bool(settings.api_token.get_secret_value()))
                if on_started is not None:
                    on_started(url)
                if owns_process:
                    systemd.notify("READY=1", f"STATUS=serving {url}")
                    await stack.enter_async_context(_watchdog())
            await _first(serving, stop.wait())
            if owns_process:
                systemd.notify("STOPPING=1")
        finally:
            server.should_exit = True
            await serving
            _logger.info("api_stopped", url=url)


def reading_database(settings: Settings) -> Database:
    """hrsync's own database for the API: read-only, and with a limit on every statement."""
    return Database(
        "hrsync database",
        "MARIA_URL",
        settings.maria_url.get_secret_value(),
        pool_size=settings.db_pool_size,
        timeout_seconds=settings.db_timeout_seconds,
        statement_timeout_seconds=settings.db_timeout_seconds,
        read_only=True,
    )


def bind(settings: Settings) -> socket.socket:
    """A socket that listens at the settings' address.

    Raises:
        ConfigurationError: others could reach it and no good token is set, or it cannot be bound.
    """
    host, port = settings.api_host, settings.api_port
    try:
        family, _, _, _, target = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(f"API_HOST = {host!r} is not an address of this machine: {error}.") from None
    token = settings.api_token.get_secret_value()
    if not ipaddress.ip_address(str(target[0]).partition("%")[0]).is_loopback:
        if not token:
            raise ConfigurationError(
                f"API_HOST = {host!r} can be reached from other machines, so API_TOKEN must be set (make one with: "
                "openssl rand -hex 32). Or keep API_HOST = 127.0.0.1."
            )
        if len(token) < _SHORTEST_TOKEN:
            raise ConfigurationError(
                f"API_TOKEN is too short to guard API_HOST = {host!r}: give it at least {_SHORTEST_TOKEN} characters "
                "(make one with: openssl rand -hex 32)."
            )
    try:
        return socket.create_server(target[:2], family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"The API cannot listen at {host} port {port}: {error.strerror}. Choose another API_PORT (0: any free one) "
            "or API_HOST, or end what listens there."
        ) from None


def url_of(listener: socket.socket) -> str:
    """The URL of a listening socket; of all addresses, the loopback one."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _first(task: asyncio.Task[None], event: Coroutine[Any, Any, Any]) -> None:
    """Wait until the task ends or the event comes."""
    waiting = asyncio.create_task(event)
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


@contextlib.contextmanager
def _stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _watchdog() -> AsyncIterator[None]:
    """Feed systemd's watchdog as long as the event loop turns."""
    interval = systemd.watchdog_interval()

    async def feed() -> None:
        while interval is not None:
            systemd.notify("WATCHDOG=1")
            await asyncio.sleep(interval)

    feeding = asyncio.create_task(feed())
    try:
        yield
    finally:
        feeding.cancel()
