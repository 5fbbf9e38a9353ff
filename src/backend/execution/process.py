"""The executor of this process, on the loop thread of this process; made at the first use, after any fork."""

from __future__ import annotations

import os
from collections.abc import Callable

from backend.db.maria_database import maria, open_bookkeeping
from backend.execution.executor import Executor
from backend.execution.loop import LoopThread, close_loop_thread, get_loop_thread
from backend.settings import get_settings

_executors: dict[int, Executor] = {}


def loop_thread() -> LoopThread:
    """The loop thread of this process, with as many native threads as the settings say."""
    return get_loop_thread(get_settings().native_threads)


def get_executor(*, pool: str = "", on_pulse: Callable[[], None] | None = None) -> Executor:
    """The executor of this process."""
    executor = _executors.get(os.getpid())
    if executor is None:
        thread = loop_thread()
        made = Executor(open_bookkeeping(), get_settings(), pool=pool, on_pulse=on_pulse)
        executor = _executors.setdefault(os.getpid(), made)
        if executor is made:
            # Last added, first closed: the runs end before the connections of their tasks.
            thread.on_close += [maria().dispose, executor.close]
    return executor


def begin_shutdown(grace_seconds: float) -> None:
    """Take no more runs in this process; hand back what has not finished after `grace_seconds`."""
    executor = _executors.get(os.getpid())
    if executor is not None:
        loop_thread().call_soon(executor.begin_shutdown, grace_seconds)


def shut_down(timeout_seconds: float = 30) -> bool:
    """End the executor and the loop thread of this process; the next use starts anew."""
    _executors.pop(os.getpid(), None)
    return close_loop_thread(timeout_seconds)
