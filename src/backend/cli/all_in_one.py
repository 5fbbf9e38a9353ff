"""Everything in one process, for one host without Redis: API, worker, scheduler, started and stopped in their order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

from backend.api.serve import run_api
from backend.celery_bridge import TASK_REGISTRY, send_executions, start_embedded_worker
from backend.db.maria_database import maria
from backend.db.migrate import upgrade
from backend.scheduler.service import SchedulerService
from backend.settings import Settings
from backend.utils import systemd
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)


async def run_all(
    settings: Settings,
    *,
    concurrency: int,
    on_started: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Upgrade the database and run everything until `stop` is set; without it, until SIGTERM or SIGINT.

    Stops in the order of the work: nothing is fired any more, running work finishes or is handed back, then the API.

    Args:
        on_started: called with the address of the API once everything runs.

    Raises:
        ConfigurationError: the API cannot listen where it should.
    """
    stop_api, stop_scheduler = asyncio.Event(), asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(maria().dispose)
        if stop is None:
            stop = asyncio.Event()
            stack.enter_context(stop_on_signals(stop))
        await upgrade(maria())
        api = asyncio.create_task(run_api(settings, stop_api, on_started=address.set_result))
        stack.push_async_callback(_end, api, stop_api)
        waiting: set[asyncio.Future[Any]] = {api, address}
        await asyncio.wait(waiting, return_when="FIRST_COMPLETED")
        if api.done():
            api.result()
        worker = await asyncio.to_thread(start_embedded_worker, concurrency)
        stack.push_async_callback(asyncio.to_thread, worker.stop)
        service = SchedulerService(maria(), send_executions, settings, tasks=TASK_REGISTRY)
        scheduler = asyncio.create_task(service.run(stop_scheduler))
        stack.push_async_callback(_end, scheduler, stop_scheduler)
        systemd.notify("READY=1")
        on_started(address.result())
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({api, scheduler, stopping}, return_when="FIRST_COMPLETED")
        stopping.cancel()
        systemd.notify("STOPPING=1")
        _logger.info("shutdown_begun")
        for task in done - {stopping}:
            task.result()


async def _end(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await asyncio.wait({task})


@contextlib.contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """The first signal stops in order; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
