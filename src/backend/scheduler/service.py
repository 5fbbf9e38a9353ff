"""The scheduler as one object: loops that lead or stand by, reload, fire, dispatch, watch the broker and sweep.

Each loop survives any error of its pass. Nothing here judges health by what is scheduled, only by passes that ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from backend.api.repositories.dispatch_repository import DispatchRepository
from backend.api.repositories.lease_repository import LeaseRepository
from backend.api.repositories.parts_repository import PartsRepository
from backend.db.database import Database
from backend.db.maria_database import maria
from backend.domain.jobs import TaskTraits
from backend.errors import FencedError, TransientError
from backend.execution.dispatch import Send, dispatch_due
from backend.scheduler.broker_watch import BrokerAwayError, BrokerWatch
from backend.scheduler.leadership import Leadership
from backend.scheduler.ledger import record_due
from backend.scheduler.loops import SupervisedLoop
from backend.scheduler.mirror import JobMirror
from backend.scheduler.rescue import SilenceWatch, rescue_orphans
from backend.scheduler.timer import Timer
from backend.settings import Settings, get_settings
from backend.utils.structured_logger import get_structured_logger
from backend.utils.systemd import notify

_logger = get_structured_logger(__name__)

DISPATCH_BATCH = 500
# The longest honest pass of a loop: one that waits for each time-out of a dispatch in turn.
STALL_SECONDS = 75.0
# How often the lease is looked at while it runs: a standby notices its end that much later at most.
LEASE_LOOKS = 15
# Fires follow this machine's clock, leases and due times the database's; a second or two does no harm.
CLOCK_SKEW_SECONDS = 5.0
_ALIVE_EVERY_SECONDS = 1.0
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerHealth:
    """How the scheduler of this process is.

    Attributes:
        is_leader: whether it fires; a standby only waits for the lease.
        loop_ages_seconds: loop -> how long ago its last pass ended.
        errors: loop -> why its last pass failed; empty when all is well.
        unreadable_jobs: code -> why the job cannot be evaluated.
    """

    is_leader: bool
    holder: str
    fencing_token: int | None
    jobs: int
    loop_ages_seconds: Mapping[str, float]
    errors: Mapping[str, str]
    unreadable_jobs: Mapping[str, str]

    @property
    def is_alive(self) -> bool:
        """Whether every loop completes its passes (also passes that fail because a server is away)."""
        return max(self.loop_ages_seconds.values()) < STALL_SECONDS


class SchedulerService:
    """Fires jobs, while it leads.

    Args:
        database: hrsync's own database.
        send: sends executions to the broker; blocks; returns the ids that it could not send.
        tasks: the task registry.
        on_alive: called about every second while every loop completes its passes.
    """

    def __init__(
        self,
        database: Database,
        send: Send,
        settings: Settings,
        *,
        tasks: Mapping[str, TaskTraits],
        on_alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._send = send
        self._settings = settings
        self._tasks = tasks
        self._on_alive = on_alive
        self._timeout = settings.db_timeout_seconds
        self._timer = Timer(self._on_due)
        self._mirror = JobMirror(database, self._timer, timeout_seconds=self._timeout)
        self._broker = BrokerWatch(settings.celery_broker_url.get_secret_value())
        # A gap much shorter than the time after which a run counts as lost cannot make a living run look lost; and a
        # gap of a slow sweep must not count as one, or nothing would ever be rescued on a busy machine.
        self._silence = SilenceWatch(
            hold_off_seconds=settings.heartbeat_seconds * 1.5,
            gap_seconds=max(settings.orphan_after_seconds / 2, settings.sweep_seconds * 3),
        )
        self._leadership = Leadership(database, lease_seconds=settings.lease_seconds, timeout_seconds=self._timeout)
        self._token: int | None = None
        self._due: dict[int, dt.datetime] = {}
        self._is_clock_skewed = False
        self._is_broker_known = False
        self._watching_broker = asyncio.Lock()
        sweep = settings.sweep_seconds
        self._lead_loop = self._loop("lead", self._lead, settings.lease_seconds / LEASE_LOOKS)
        self._reload_loop = self._loop("reload", self._reload, settings.reload_seconds)
        self._ledger_loop = self._loop("ledger", self._record_due, sweep)
        self._dispatch_loop = self._loop("dispatch", self._dispatch, sweep)
        self._broker_loop = self._loop("broker", self._watch_broker, sweep)
        self._sweep_loop = self._loop("sweep", self._sweep, sweep)
        self._loops = (
            self._lead_loop,
            self._reload_loop,
            self._ledger_loop,
            self._dispatch_loop,
            self._broker_loop,
            self._sweep_loop,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then give the lease back."""
        self._timer.start()
        running = {asyncio.create_task(loop.run(), name=loop.name): loop for loop in self._loops}
        stopping = asyncio.create_task(stop.wait())
        _logger.info("scheduler_started", holder=self._leadership.holder)
        try:
            while not stopping.done():
                await asyncio.wait({stopping, *running}, timeout=_ALIVE_EVERY_SECONDS, return_when="FIRST_COMPLETED")
                for task in running:
                    if task.done():  # only a defect of the loop itself comes here; systemd starts us anew
                        task.result()
                        raise RuntimeError(f"The loop {task.get_name()} has ended by itself.")
                if self.health().is_alive:
                    self._on_alive()
        finally:
            stopping.cancel()
            await self._shut_down(running.keys())

    def health(self) -> SchedulerHealth:
        """How it is right now."""
        grant = self._leadership.grant
        return SchedulerHealth(
            is_leader=grant is not None,
            holder=self._leadership.holder,
            fencing_token=grant.fencing_token if grant else None,
            jobs=len(self._mirror),
            loop_ages_seconds={loop.name: loop.age_seconds for loop in self._loops},
            errors={loop.name: loop.error for loop in self._loops if loop.error is not None},
            unreadable_jobs=self._mirror.unreadable,
        )

    # --- loops ----------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        if await self._leadership.renew_or_acquire():
            self._silence.record_seen()
        grant = self._leadership.grant
        token = grant.fencing_token if grant else None
        if token != self._token:
            self._token = token
            self._is_broker_known = False
            self._forget()
            self._reload_loop.wake()

    async def _reload(self) -> None:
        if self._leadership.grant is None:
            return
        await self._mirror.reload()
        self._timer.nudge()

    async def _record_due(self) -> None:
        grant = self._leadership.grant
        if grant is None or not self._due:
            return
        due = dict(self._due)
        try:
            result = await record_due(
                self._database,
                due.keys(),
                self._tasks,
                grant,
                # The alarm clock may have rung a moment before its fire time.
                until=lambda: max(dt.datetime.now(dt.UTC), *due.values()),
                timeout_seconds=self._timeout,
                on_progress=self._ledger_loop.beat,
            )
        except FencedError:
            self._lose_lead()
            raise
        for job_id, fire_at in due.items():
            if job_id not in result.changed and self._due.get(job_id) == fire_at:
                del self._due[job_id]
        if result.pending:
            self._dispatch_loop.wake()
        self._check_clock(result.clock_skew_seconds)
        for job_id, error in result.unreadable.items():
            await self._mirror.report_unreadable(job_id, error)

    async def _dispatch(self) -> None:
        if not self._is_broker_known:
            # What an emptied broker has lost is released before anything is sent, or it would be sent twice.
            await self._watch_broker()
        while self._leadership.grant is not None:
            result = await dispatch_due(self._database, self._send, limit=DISPATCH_BATCH, timeout_seconds=self._timeout)
            self._dispatch_loop.beat()
            if result.failed:
                raise BrokerAwayError(
                    f"The broker (CELERY_BROKER_URL) took {len(result.sent)} of "
                    f"{len(result.sent) + len(result.failed)} runs; the others wait in the database until it is back."
                )
            if len(result.sent) < DISPATCH_BATCH:
                return

    async def _watch_broker(self) -> None:
        if self._leadership.grant is None:
            return
        async with self._watching_broker:
            released = 0
            if not await self._broker.is_marked():
                async with self._database.session(timeout_seconds=self._timeout) as session:
                    released = await DispatchRepository().release_all(session)
                # After the release: a crash in between repeats it, which is harmless.
                await self._broker.mark()
            self._is_broker_known = True
        if released:
            _logger.warning("broker_found_empty", executions_sent_again=released)
            self._dispatch_loop.wake()

    async def _sweep(self) -> None:
        grant = self._leadership.grant
        if grant is None:
            return
        # By itself: whoever has a row of an execution locked must not hold up the lease.
        async with self._database.session(timeout_seconds=self._timeout) as session:
            clock = await LeaseRepository().record_loop(session, grant)
        if clock is None:
            self._lose_lead()
            return
        self._silence.record_seen(clock)
        released = await self._tidy()
        if self._silence.silence_proves_death:
            released += await rescue_orphans(
                self._database, self._settings.orphan_after_seconds, timeout_seconds=self._timeout
            )
        if released:
            self._dispatch_loop.wake()

    async def _tidy(self) -> int:
        repository = DispatchRepository()
        patience = self._settings.redispatch_after_seconds
        async with self._database.session(timeout_seconds=self._timeout) as session:
            unknown = await repository.fail_unknown_tasks(session, self._tasks.keys(), patience)
            released = await repository.release_unclaimed(session, patience)
            cancelled = await repository.finish_cancelled(session)
        # By itself: the parts of a large execution may be many.
        async with self._database.session(timeout_seconds=self._timeout) as session:
            cancelled += await PartsRepository().cancel_abandoned(session)
            woken = await PartsRepository().wake_waiting(session)
        if unknown:
            _logger.error("unknown_tasks_failed", executions=unknown)
        if released or cancelled:
            _logger.info("executions_released", sent_again=released, cancelled=cancelled)
        return released + woken

    # --- inside ---------------------------------------------------------------------------------------------------

    def _loop(self, name: str, step: Callable[[], Awaitable[None]], every_seconds: float) -> SupervisedLoop:
        return SupervisedLoop(name, step, every_seconds=every_seconds, on_error=self._on_error)

    def _on_due(self, job_id: int, run_times: Sequence[dt.datetime]) -> None:
        self._due[job_id] = run_times[-1]
        self._ledger_loop.wake()

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, TransientError) and not isinstance(error, BrokerAwayError):
            self._silence.record_lost()

    def _check_clock(self, skew_seconds: float) -> None:
        is_skewed = abs(skew_seconds) > CLOCK_SKEW_SECONDS
        if is_skewed and not self._is_clock_skewed:
            _logger.warning("clock_skew_found", seconds=round(skew_seconds, 1), advice="keep both hosts in step by NTP")
        self._is_clock_skewed = is_skewed

    def _lose_lead(self) -> None:
        self._leadership.give_up()
        self._lead_loop.wake()

    def _forget(self) -> None:
        """Begin a new lead, or a stand-by, with nothing of the last."""
        self._mirror.clear()
        self._due.clear()

    async def _shut_down(self, tasks: Collection[asyncio.Task[None]]) -> None:
        for loop in self._loops:
            loop.stop()
        _, unfinished = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        # Only now: until their end the loops use it.
        self._timer.stop()
        with contextlib.suppress(TransientError):  # then it runs out by itself
            await self._leadership.release()
        await self._broker.close()
        _logger.info("scheduler_stopped", holder=self._leadership.holder)


def run_scheduler() -> None:
    """Run the scheduler of the settings until SIGTERM or SIGINT, under systemd's eyes."""
    from backend.celery_bridge import TASK_REGISTRY, send_executions

    # All task modules are imported now: one that cannot be must keep the scheduler from starting, not from sweeping.
    asyncio.run(_run(send_executions, dict(TASK_REGISTRY)))


async def _run(send: Send, tasks: Mapping[str, TaskTraits]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watchdog = _Watchdog()
    service = SchedulerService(maria(), send, get_settings(), tasks=tasks, on_alive=watchdog.feed)
    try:
        await service.run(stop)
    finally:
        notify("STOPPING=1")
        await maria().dispose()


class _Watchdog:
    """Tells systemd that we are up, then that we live."""

    def __init__(self) -> None:
        self._is_ready = False

    def feed(self) -> None:
        if self._is_ready:
            notify("WATCHDOG=1")
        else:
            self._is_ready = notify("READY=1", "WATCHDOG=1")
