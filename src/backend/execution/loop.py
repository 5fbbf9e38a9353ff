"""One event loop per process, on a real OS thread, under every worker pool.

All greenlets of a gevent worker share one OS thread, and asyncio allows one running loop per OS thread; so tasks run
on a loop in a thread of its own, and a greenlet (or a thread) waits for its coroutine without blocking the others.
The loop's blocking calls (ODBC, DNS) run on real threads too: patched ones would be greenlets on the loop's thread.
"""

from __future__ import annotations

import _queue
import asyncio
import collections
import contextlib
import contextvars
import os
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Protocol

from backend.utils.native import current_os_thread, is_gevent_patched, original

DEFAULT_NATIVE_THREADS = 32


class NativeThreads:
    """A capped pool of OS threads for blocking calls of one event loop. To be used from the loop's thread only.

    A call whose future was cancelled goes on in its thread until the driver lets it go; the pool may then grow by
    one, so that stuck calls never use up the capacity.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self._limit = limit
        self._calls: _queue.SimpleQueue[_NativeCall | None] = _queue.SimpleQueue()
        self._threads = 0
        self._unfinished = 0
        self._abandoned = 0

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Run `function(*args)` on a thread; the future gives its result."""
        call = _NativeCall(function, args, self._loop.create_future())
        call.future.add_done_callback(lambda future: self._on_future_done(call, future))
        self._unfinished += 1
        self._calls.put(call)
        self._grow()
        return call.future

    def _grow(self) -> None:
        if self._threads < min(self._unfinished, self._limit + self._abandoned):
            self._threads += 1
            original("_thread", "start_new_thread")(self._work, ())

    def close(self) -> None:
        """Let the threads end when they have done what was submitted."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
            try:
                self._loop.call_soon_threadsafe(self._on_call_done, call)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _on_call_done(self, call: _NativeCall) -> None:
        self._unfinished -= 1
        call.is_done = True
        if call.future.cancelled():
            self._abandoned -= 1
        elif call.error is not None:
            call.future.set_exception(call.error)
        else:
            call.future.set_result(call.result)

    def _on_future_done(self, call: _NativeCall, future: asyncio.Future[Any]) -> None:
        if future.cancelled() and not call.is_done:
            self._abandoned += 1
            self._grow()


class _NativeCall:
    __slots__ = ("args", "error", "function", "future", "is_done", "result")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], future: asyncio.Future[Any]) -> None:
        self.function = function
        self.args = args
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False

    def run(self) -> None:
        if self.future.cancelled():
            return
        try:
            self.result = self.function(*self.args)
        except StopIteration as error:  # a future cannot carry it
            self.error = RuntimeError(f"the call raised StopIteration: {error}")
        except BaseException as error:
            self.error = error


class NativeEventLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose selector, blocking calls and name look-ups are untouched by gevent."""

    def __init__(self, native_threads: int) -> None:
        super().__init__(original("selectors", "DefaultSelector")())
        self._native_threads = NativeThreads(self, native_threads)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """As in asyncio, but the default executor is a pool of real threads."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        self._check_closed()  # type: ignore[attr-defined]
        return self._native_threads.submit(func, args)

    def _check_thread(self) -> None:
        # asyncio's debug mode compares thread identifiers, which under gevent are those of greenlets.
        if self.is_running() and current_os_thread() != self._os_thread:
            raise RuntimeError("Non-thread-safe operation invoked on an event loop other than the current one.")

    def run_forever(self) -> None:
        """As in asyncio."""
        self._os_thread = current_os_thread()
        super().run_forever()

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """As in asyncio, on a real thread."""
        return await self.run_in_executor(
            None, original("socket", "getaddrinfo"), host, port, family, type, proto, flags
        )

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """As in asyncio, on a real thread."""
        return await self.run_in_executor(None, original("socket", "getnameinfo"), sockaddr, flags)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Let the native threads end."""
        self._native_threads.close()


# --- waiting for the loop from outside ------------------------------------------------------------------------------


class _Waiter(Protocol):
    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Whether it was woken in time."""
        ...

    def wake(self) -> None:
        """May be called from any OS thread."""
        ...


class _ThreadWaiter:
    def __init__(self) -> None:
        self._lock = original("_thread", "allocate_lock")()
        self._lock.acquire()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        return bool(self._lock.acquire(True, -1 if timeout_seconds is None else timeout_seconds))

    def wake(self) -> None:
        self._lock.release()


class _Hub:
    """Wakes greenlets of one gevent hub from other OS threads.

    The watcher must be started while somebody waits (or an otherwise idle hub ends with LoopExit), and stopped when
    nobody does (or the hub would never end).
    """

    _of: ClassVar[weakref.WeakKeyDictionary[Any, _Hub]] = weakref.WeakKeyDictionary()

    def __init__(self, hub: Any) -> None:
        self._watcher = hub.loop.async_()
        self._woken: collections.deque[Any] = collections.deque()
        self._waiting = 0

    @classmethod
    def current(cls) -> _Hub:
        import gevent

        hub = gevent.get_hub()
        bridge = cls._of.get(hub)
        if bridge is None:
            bridge = cls._of[hub] = cls(hub)
        return bridge

    def wait(self, event: Any, timeout_seconds: float | None) -> bool:
        self._waiting += 1
        if self._waiting == 1:
            self._watcher.start(self._drain)
            # Starting forgets a wake-up that was sent while the watcher was stopped; its event is in the queue.
            self._drain()
        try:
            return bool(event.wait(timeout_seconds))
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._watcher.stop()

    def wake(self, event: Any) -> None:
        self._woken.append(event)
        self._watcher.send()

    def _drain(self) -> None:
        while self._woken:
            self._woken.popleft().set()


class _GreenletWaiter:
    def __init__(self) -> None:
        from gevent.event import Event

        self._hub = _Hub.current()
        self._event = Event()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        return self._hub.wait(self._event, timeout_seconds)

    def wake(self) -> None:
        self._hub.wake(self._event)


class _Call:
    """One coroutine on its way through the loop's thread."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waiter: _Waiter) -> None:
        self.coroutine = coroutine
        self.waiter = waiter
        self.task: asyncio.Task[Any] | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.coroutine)
        self.task.add_done_callback(self._finish)

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def give_up(self) -> None:
        """The loop has ended before the coroutine."""
        if self.task is None:
            self.coroutine.close()
        if not self.is_done:
            self.error = RuntimeError("The event loop of this process has been shut down.")
            self.is_done = True
            self.waiter.wake()

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self.is_done = True
        if task.cancelled():
            self.error = asyncio.CancelledError()
        else:
            self.error = task.exception()
            self.result = None if self.error else task.result()
        self.waiter.wake()


class LoopThread:
    """An event loop on its own OS thread.

    `on_close` holds coroutine functions that run, last added first, before the loop ends.
    """

    def __init__(self, native_threads: int = DEFAULT_NATIVE_THREADS) -> None:
        self.loop = NativeEventLoop(native_threads)
        self.on_close: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._submitted: collections.deque[tuple[_Call, contextvars.Context]] = collections.deque()
        self._waited_for: set[_Call] = set()
        self._is_woken = False
        self._thread_id = 0
        self._is_closed = False
        self._ended = original("_thread", "allocate_lock")()
        self._ended.acquire()
        started = original("_thread", "allocate_lock")()
        started.acquire()
        original("_thread", "start_new_thread")(self._main, (started,))
        started.acquire()

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout_seconds: float | None = None) -> Any:
        """Run the coroutine on the loop; wait for it without stopping other greenlets or threads.

        A caller that is interrupted (a killed greenlet, Ctrl-C) cancels the coroutine.

        Raises:
            TimeoutError: it took longer; it is being cancelled.
            RuntimeError: called on the loop's own thread (await the coroutine there), or the loop has ended.
        """
        if current_os_thread() == self._thread_id:
            coroutine.close()
            raise RuntimeError(
                "This runs on the event loop's own thread: await the coroutine instead of blocking on it."
            )
        if self._is_closed:
            coroutine.close()
            raise RuntimeError("The event loop of this process has been shut down.")
        call = _Call(coroutine, _GreenletWaiter() if is_gevent_patched() else _ThreadWaiter())
        self._waited_for.add(call)
        self._submitted.append((call, contextvars.copy_context()))
        if not self._is_woken:
            # One wake-up (a system call) serves all calls that are submitted before the loop has got to them.
            self._is_woken = True
            self.loop.call_soon_threadsafe(self._start_submitted)
        try:
            if not call.waiter.wait(timeout_seconds):
                raise TimeoutError(f"The event loop did not answer within {timeout_seconds} s.")
        except BaseException:
            self.call_soon(call.cancel)
            raise
        finally:
            self._waited_for.discard(call)
        if call.error is not None:
            raise call.error
        return call.result

    def _start_submitted(self) -> None:
        self._is_woken = False
        while self._submitted:
            call, context = self._submitted.popleft()
            context.run(call.start)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Have the loop call a plain function soon; from any thread. Nothing happens when it has ended."""
        if not self._is_closed:
            with contextlib.suppress(RuntimeError):  # closed at this very moment
                self.loop.call_soon_threadsafe(function, *args)

    def close(self, timeout_seconds: float = 30) -> bool:
        """Run the closing coroutines, cancel what is left, end the loop and its thread.

        Returns:
            False when the thread did not end in time: something blocks the loop.
        """
        if self._is_closed:
            return True
        with contextlib.suppress(TimeoutError):
            self.run(self._wind_up(timeout_seconds / 3), timeout_seconds / 2)
        self._is_closed = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        return bool(self._ended.acquire(True, timeout_seconds / 2))

    async def _wind_up(self, timeout_seconds: float) -> None:
        while self.on_close:
            try:
                await asyncio.wait_for(self.on_close.pop()(), timeout_seconds)
            except Exception as error:
                self.loop.call_exception_handler({"message": "closing the loop", "exception": error})
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=timeout_seconds)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()

    def _main(self, started: Any) -> None:
        self._thread_id = current_os_thread()
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(started.release)
        try:
            self.loop.run_forever()
        finally:
            self._is_closed = True
            self.loop.close()
            for call in list(self._waited_for):
                call.give_up()
            self._ended.release()


_threads: dict[int, LoopThread] = {}
_creating = original("_thread", "allocate_lock")()


def get_loop_thread(native_threads: int = DEFAULT_NATIVE_THREADS) -> LoopThread:
    """The loop thread of this process, started at the first use (so after a fork, in the child)."""
    thread = _threads.get(os.getpid())
    if thread is not None:
        return thread
    with _creating:
        thread = _threads.get(os.getpid())
        if thread is None:
            _make_aiosqlite_native()
            thread = _threads[os.getpid()] = LoopThread(native_threads)
    return thread


def close_loop_thread(timeout_seconds: float = 30) -> bool:
    """End the loop thread of this process, if there is one; the next use starts another."""
    thread = _threads.pop(os.getpid(), None)
    return thread is None or thread.close(timeout_seconds)


def _make_aiosqlite_native() -> None:
    """Give aiosqlite real threads: it starts one per connection, which under gevent would be a greenlet."""
    if not is_gevent_patched():
        return
    import aiosqlite.core

    aiosqlite.core.SimpleQueue = _queue.SimpleQueue  # type: ignore[attr-defined]
    aiosqlite.core.Thread = _NativeThread  # type: ignore[assignment,attr-defined]


class _NativeThread:
    """As much of `threading.Thread` as aiosqlite uses, on a real OS thread."""

    def __init__(self, target: Callable[..., Any], args: tuple[Any, ...] = ()) -> None:
        self._target = target
        self._args = args
        self.daemon = True

    def start(self) -> None:
        original("_thread", "start_new_thread")(self._target, self._args)
