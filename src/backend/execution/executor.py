"""The one run wrapper: claim -> perform -> classify -> transition -> finish -> report.

One `Executor` serves a process and lives on its event loop. It owns the bookkeeping of every run of the process:
who they are, the heartbeat, progress, cancel requests, and what happens to them when the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.api.repositories.run_repository import (
    ClaimedRun,
    ClaimRequest,
    DirectCall,
    RunEnd,
    RunProgress,
    RunRepository,
    WorkerIdentity,
)
from backend.db.database import Database
from backend.domain.executions import (
    Cancelled,
    Failed,
    Fenced,
    Interrupted,
    Outcome,
    Problem,
    RetryIn,
    RunReport,
    Status,
    Succeeded,
    TimedOut,
    Transition,
    Wait,
    Waiting,
    classify_error,
    transition,
)
from backend.errors import SoftTimeLimitExceeded, TimeLimitExceeded, TransientError
from backend.execution.batching import Batcher
from backend.execution.perform import Stopped, Verdict, perform, problem_of
from backend.execution.run_context import RunContext, count_columns
from backend.execution.task_spec import TaskSpec
from backend.settings import Settings
from backend.utils.redaction import redact
from backend.utils.structured_logger import bind_run_context, get_structured_logger

_logger = get_structured_logger(__name__)

PULSE_SECONDS = 0.5
# A result is looked at in lists and on a page; data belongs into tables.
LONGEST_RESULT = 1_000_000
# How long the end of a run is kept in memory while the database is away; then the rescue has long taken over.
FINISH_PATIENCE_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A delivered call: `params` only for a call that may have no row yet."""

    execution_id: str
    direct_params: Mapping[str, Any] | None = None
    requested_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What became of a delivered call; `status` None: it was not to be had (another delivery has it).

    `must_come_back`: the message is the only trace of the call, so the broker has to deliver it again.
    """

    execution_id: str
    status: Status | None
    must_come_back: bool = False
    result: Any = None
    error: str | None = None


class _ActiveRun:
    """A run that this process owns."""

    def __init__(self, claimed: ClaimedRun, context: RunContext) -> None:
        self.claimed = claimed
        self.context = context
        self.stop: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    def end(self, verdict: Verdict) -> None:
        if not self.stop.done():
            self.stop.set_result(verdict)


class Executor:
    """Runs tasks of this process. All methods belong to the event loop's thread.

    Args:
        database: hrsync's own database.
        pool: name of the worker pool, for the list of workers.
        on_pulse: called about twice a second from a loop that is alive (feeds the watchdog).
    """

    def __init__(
        self, database: Database, settings: Settings, *, pool: str = "", on_pulse: Callable[[], None] | None = None
    ) -> None:
        host = socket.gethostname()
        self.worker = WorkerIdentity(id=f"{host}:{os.getpid()}:{uuid.uuid4().hex[:8]}", host=host, pid=os.getpid())
        self._database = database
        self._settings = settings
        self._pool = pool
        self._on_pulse = on_pulse
        self._repository = RunRepository()
        self._runs: dict[str, _ActiveRun] = {}
        self._left_behind: set[asyncio.Future[Any]] = set()
        self._claims: Batcher[ClaimRequest, ClaimedRun | None] = Batcher(self._claim_many)
        self._ends: Batcher[RunEnd, bool] = Batcher(self._finish_many)
        # Tokens of claims whose transaction may have been committed although its answer was lost.
        self._doubtful: dict[str, set[str]] = {}
        self._life: tuple[asyncio.Task[None], ...] = ()
        self._closing = asyncio.Event()
        self._gap_ms = 0
        self._is_stopping = False
        self._is_interrupted = False
        self._deadline: asyncio.TimerHandle | None = None

    # --- life of the process ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to send heartbeats; done by itself at the first run."""
        if not self._life:
            create = asyncio.get_running_loop().create_task
            self._life = (create(self._beat()), create(self._keep_alive()))

    def begin_shutdown(self, grace_seconds: float) -> None:
        """Take nothing more; running work has `grace_seconds` to finish, then it is handed back."""
        if not self._is_stopping:
            self._is_stopping = True
            self._deadline = asyncio.get_running_loop().call_later(grace_seconds, self.interrupt_all)
            _logger.info("worker_shutdown_begun", running=len(self._runs), grace_seconds=grace_seconds)

    def interrupt_all(self) -> None:
        """Hand every running execution back to be run again elsewhere, also those that are just being claimed."""
        self._is_interrupted = True
        for run in list(self._runs.values()):
            run.end(Interrupted())

    async def close(self) -> None:
        """Hand back what still runs, say goodbye and stop the pulse."""
        self._is_stopping = True
        if self._deadline is not None:
            self._deadline.cancel()
        self.interrupt_all()
        deadline = time.monotonic() + self._settings.db_timeout_seconds
        # Runs end in many places, and this happens once in the life of a process: look rather than be told.
        while self._runs and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if self._life:
            # They end between two looks at the database; one that is cut off leaves an error of the pool in the log.
            self._closing.set()
            _, late = await asyncio.wait(self._life, timeout=self._settings.db_timeout_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
            try:
                async with self._session() as session:
                    await self._repository.stop_worker(session, self.worker)
            except Exception as error:
                _logger.warning("worker_stop_not_recorded", worker_id=self.worker.id, error=str(error))
        await self._database.dispose()

    # --- one run ----------------------------------------------------------------------------------------------------

    async def execute(self, spec: TaskSpec, request: RunRequest) -> RunResult:
        """Run one delivered call to its end and record it."""
        claimed = await self._claim(spec, request)
        if isinstance(claimed, RunResult):
            _logger.info("delivery_dropped", execution_id=request.execution_id, task_code=spec.code)
            return claimed
        context = RunContext(claimed, self._settings.attempt_log_lines)
        run = self._runs[claimed.execution_id] = _ActiveRun(claimed, context)
        if self._is_interrupted:
            run.end(Interrupted())
        if claimed.abandoned is not None:
            run.end(Cancelled(reason=claimed.abandoned))
        bind_run_context(
            execution_id=claimed.execution_id,
            task_id=claimed.execution_id,
            job_code=claimed.job_code,
            correlation_id=claimed.correlation_id,
        )
        _logger.log_celery_task_start(
            task_name=spec.name,
            execution_id=claimed.execution_id,
            celery_task_id=claimed.execution_id,
            worker_host=self.worker.host,
            triggered_by=claimed.triggered_by,
            task_metadata={"task_code": spec.code, "attempt": claimed.attempt, "job_code": claimed.job_code},
        )
        started_at = time.monotonic()
        try:
            outcome: Outcome = run.stop.result() if run.stop.done() else await self._perform(spec, run)
            return await asyncio.shield(self._finish(spec, run, outcome, started_at))
        finally:
            context.close()
            self._runs.pop(claimed.execution_id, None)

    async def _claim(self, spec: TaskSpec, request: RunRequest) -> ClaimedRun | RunResult:
        self.start()
        not_had = RunResult(execution_id=request.execution_id, status=None)
        direct = None
        if request.direct_params is not None:
            direct = DirectCall(
                task_code=spec.code,
                task_name=spec.name,
                queue=spec.queue,
                params=request.direct_params,
                max_attempts=spec.max_attempts,
                idempotent=spec.idempotent,
                requested_by=request.requested_by,
            )
        claim = ClaimRequest(execution_id=request.execution_id, direct=direct)
        pause = 0.2
        while not self._is_stopping:
            try:
                return await self._claims(claim) or not_had
            except TransientError as error:
                # The message stays with us, unacknowledged, until the database is back.
                _logger.warning("claim_delayed", execution_id=request.execution_id, error=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
        try:
            async with self._session() as session:
                await self._repository.hand_back(session, claim)
        except TransientError as error:  # what has a row is sent again by the dispatcher after its time-out
            _logger.warning("hand_back_failed", execution_id=request.execution_id, error=str(error))
            return replace(not_had, must_come_back=direct is not None)
        return not_had

    async def _perform(self, spec: TaskSpec, run: _ActiveRun) -> Outcome:
        claimed = run.claimed
        try:
            value = await perform(
                spec.function(run.context, **spec.arguments(claimed.params)),
                run.stop,
                soft_time_limit=spec.soft_time_limit,
                time_limit=spec.time_limit,
                left_behind=self._left_behind,
            )
            return _succeeded(spec, value)
        except Stopped as stopped:
            if isinstance(stopped.verdict, Interrupted) and not spec.idempotent:
                return Failed(problem=_INTERRUPTED_FOR_GOOD)
            return stopped.verdict
        except Wait as wait:
            return Waiting(delay_seconds=wait.delay_seconds, reason=wait.reason)
        except Exception as error:
            decided = classify_error(
                error,
                problem_of(error),
                policy=spec.retry,
                attempt=claimed.attempt,
                interruptions=claimed.interruptions,
                max_attempts=claimed.max_attempts,
                dice=random.random(),  # noqa: S311 - jitter, not a secret
            )
            if isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded) and isinstance(decided, Failed):
                is_soft = isinstance(error, SoftTimeLimitExceeded)
                seconds = (spec.soft_time_limit if is_soft else spec.time_limit) or 0
                return TimedOut(limit="soft" if is_soft else "hard", seconds=seconds, problem=decided.problem)
            return decided

    async def _finish(self, spec: TaskSpec, run: _ActiveRun, outcome: Outcome, started_at: float) -> RunResult:
        claimed = run.claimed
        duration_ms = round((time.monotonic() - started_at) * 1000)
        change = None if isinstance(outcome, Fenced) else transition(outcome)
        written = change is not None and await self._record_end(run, change, duration_ms)
        if change is None or not written:
            _logger.warning("run_fenced", execution_id=claimed.execution_id, task_name=spec.name)
            return RunResult(execution_id=claimed.execution_id, status=None)
        _logger.log_celery_task_complete(
            task_name=spec.name,
            execution_id=claimed.execution_id,
            final_status=change.status,
            duration_ms=duration_ms,
            error_message=change.problem.message if change.problem else None,
            outcome=change.outcome,
            attempt=claimed.attempt,
            task_code=spec.code,
            reason=change.reason,
            **_counts_for_log(run.context.values),
        )
        return RunResult(
            execution_id=claimed.execution_id,
            status=change.status,
            result=change.result,
            error=change.problem.message if change.problem else change.reason,
        )

    async def _record_end(self, run: _ActiveRun, change: Transition, duration_ms: int) -> bool:
        """Write the end of the attempt, however long the database is away; False when the claim was lost."""
        report = change.report or RunReport()
        values = run.context.values | count_columns(report.counts)
        run.context.values = values
        run.context.close()
        values = values | {
            "status": change.status,
            "reason": change.reason and change.reason[:500],
            "summary": redact(report.summary)[:1000] or None,
            "result": change.result if change.result is not None else (dict(report.details) or None),
            "error_type": change.problem and change.problem.type[:200],
            "error_message": change.problem and change.problem.message,
        }
        end = RunEnd(
            execution_id=run.claimed.execution_id,
            claim_token=run.claimed.claim_token,
            attempt=run.claimed.attempt,
            started_at=run.claimed.started_at,
            transition=change,
            duration_ms=duration_ms,
            values=values,
            log=run.context.log.take_lines(),
        )
        patience = time.monotonic() + FINISH_PATIENCE_SECONDS
        pause = 0.2
        while True:
            try:
                return await self._ends(end)
            except Exception as error:
                if time.monotonic() > patience:
                    raise
                _logger.warning("finish_delayed", execution_id=end.execution_id, error=str(error))
                if not isinstance(error, TransientError):
                    # Something in it cannot be stored: an end without that is better than a run that never ends.
                    end = _bare(end, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    # --- transactions -----------------------------------------------------------------------------------------------

    def _session(self) -> Any:
        return self._database.session(timeout_seconds=self._settings.db_timeout_seconds)

    async def _claim_many(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimedRun | None]:
        ids = [request.execution_id for request in requests]
        token = uuid.uuid4().hex
        doubtful = {name: frozenset(self._doubtful[name]) for name in ids if name in self._doubtful}
        try:
            async with self._session() as session:
                claimed = await self._repository.claim(session, requests, self.worker, token, doubtful)
        except TransientError:
            for name in ids:
                self._doubtful.setdefault(name, set()).add(token)
            raise
        for name in ids:
            self._doubtful.pop(name, None)
        # Popped: two deliveries of one execution may be in the same batch, and only one of them has it.
        return [claimed.pop(request.execution_id, None) for request in requests]

    async def _finish_many(self, ends: Sequence[RunEnd]) -> Sequence[bool]:
        async with self._session() as session:
            written = await self._repository.finish(session, ends, self.worker)
        return [end.execution_id in written for end in ends]

    # --- pulse ------------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Progress, logs and cancel requests of all runs, until the process closes."""
        clock = time.monotonic
        while not self._closing.is_set():
            slept_at = clock()
            if await self._pause(PULSE_SECONDS):
                return
            late = clock() - slept_at - PULSE_SECONDS
            self._gap_ms = max(self._gap_ms, round(late * 1000))
            if late > 1:
                _logger.warning("loop_blocked", gap_ms=round(late * 1000), runs=sorted(self._runs))
            if self._on_pulse is not None:
                self._on_pulse()
            # What keeps one of them from working must not keep the others.
            for step in (self._poll_cancels, self._flush_progress, self._flush_logs):
                try:
                    await step()
                except Exception as error:
                    _logger.warning("pulse_failed", error=str(error), error_type=type(error).__name__)

    async def _keep_alive(self) -> None:
        """Heartbeats, in a task of their own: whatever else waits for the database, the living must say so."""
        while not self._closing.is_set():
            gap_ms, self._gap_ms = self._gap_ms, 0
            pause = self._settings.heartbeat_seconds
            try:
                async with self._session() as session:
                    await self._repository.heartbeat(
                        session,
                        self.worker,
                        {run.claimed.execution_id: run.claimed.claim_token for run in self._runs.values()},
                        pool=self._pool,
                        loop_gap_ms=gap_ms,
                    )
            except Exception as error:
                _logger.warning("heartbeat_failed", error=str(error), error_type=type(error).__name__)
                self._gap_ms = max(self._gap_ms, gap_ms)
                pause = min(pause, PULSE_SECONDS)
            await self._pause(pause)

    async def _pause(self, seconds: float) -> bool:
        """Wait so long; True, and at once, when the process is closing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        return self._closing.is_set()

    async def _flush_progress(self) -> None:
        changed = {
            run: values for run in list(self._runs.values()) if (values := run.context.take_changes()) is not None
        }
        if not changed:
            return
        progress = [
            RunProgress(execution_id=run.claimed.execution_id, claim_token=run.claimed.claim_token, values=values)
            for run, values in changed.items()
        ]
        try:
            async with self._session() as session:
                lost = await self._repository.write_progress(session, progress)
        except TransientError:
            for run in changed:
                run.context.put_back_changes()
            raise
        for run in changed:
            if run.claimed.execution_id in lost:
                run.end(Fenced())

    async def _flush_logs(self) -> None:
        taken = {run: lines for run in list(self._runs.values()) if (lines := run.context.log.take_lines())}
        if not taken:
            return
        try:
            async with self._session() as session:
                await self._repository.write_log(session, [line for lines in taken.values() for line in lines])
        except TransientError:
            for run, lines in taken.items():
                run.context.log.put_back(lines)
            raise

    async def _poll_cancels(self) -> None:
        if not self._runs:
            return
        async with self._database.reader(timeout_seconds=self._settings.db_timeout_seconds) as session:
            requests = await self._repository.find_cancel_requests(session, self.worker)
        for execution_id, reason in requests.items():
            if run := self._runs.get(execution_id):
                run.end(Cancelled(reason=reason))


def _succeeded(spec: TaskSpec, value: Any) -> Succeeded | Failed | RetryIn:
    """The outcome of a body that returned `value`: a RunReport, or anything that JSON can hold."""
    report = value if isinstance(value, RunReport) else RunReport()
    result = dict(report.details) or None if isinstance(value, RunReport) else value
    try:
        text = json.dumps(result, allow_nan=False)
        if len(text) > LONGEST_RESULT:
            raise ValueError(f"{len(text):,} characters, more than the {LONGEST_RESULT:,} that are kept")
    except (TypeError, ValueError, RecursionError) as error:
        wrong = TypeError(
            f"Task {spec.code!r} returned something that JSON cannot hold ({error}). Its work is done, but its result "
            "cannot be kept: return a RunReport, or plain dicts, lists, texts and numbers."
        )
        return Failed(problem=problem_of(wrong), report=RunReport(counts=report.counts, summary=report.summary))
    return Succeeded(report=report, result=result)


_INTERRUPTED_FOR_GOOD = Problem(
    type="WorkerShutDown",
    message="The worker was shut down while it ran. The task is not idempotent, so it is not run again by itself.",
)


def _bare(end: RunEnd, error: Exception) -> RunEnd:
    """The same end as a failure that holds nothing of the run but the reason why the rest could not be stored."""
    problem = Problem(
        type=type(error).__name__, message=f"How the run ended could not be stored: {redact(str(error))[:2000]}"
    )
    return replace(
        end,
        transition=Transition(status=Status.FAILED, outcome="failed", problem=problem),
        values={"status": Status.FAILED, "error_type": problem.type, "error_message": problem.message},
        log=(),
    )


def _counts_for_log(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name.startswith("rows_") and value is not None}
