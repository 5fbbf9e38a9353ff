"""Is the system able to do its work: checks that run side by side, each with a time-out, and their sum."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from backend.api.repositories.overview_repository import OverviewRepository
from backend.api.routes.reading import reading
from backend.db.database import Database
from backend.db.migrate import current_revision, head_revision
from backend.errors import ConfigurationError, HrsyncError, PermanentError
from backend.utils.structured_logger import get_structured_logger

CHECK_TIMEOUT_SECONDS = 2.5

_logger = get_structured_logger(__name__)


class CheckState(enum.StrEnum):
    """How a check came out; only `failed` makes the system not ready."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check found, in a sentence; `age_seconds` is how old the last sign of life is, where there is one."""

    state: CheckState
    detail: str
    age_seconds: float | None = None


Check = Callable[[], Awaitable[CheckResult]]


class Probe:
    """A check that is asked at most once at a time, and is not waited for longer than its time-out.

    Who asks while it is on its way gets the same answer: however many ask, a hanging system is asked once.
    """

    def __init__(self, check: Check, *, timeout_seconds: float = CHECK_TIMEOUT_SECONDS) -> None:
        self._check = check
        self._timeout_seconds = timeout_seconds
        self._task: asyncio.Task[CheckResult] | None = None
        self._asked_at = 0.0

    async def result(self) -> CheckResult:
        """The answer, or that there was none in time. Never raises."""
        if self._task is None or self._task.done():
            self._asked_at = time.monotonic()
            self._task = asyncio.create_task(self._answer())
        task = self._task
        # The task is waited for, not awaited: a driver that ignores its cancellation must not hold up the answer.
        done, _ = await asyncio.wait({task}, timeout=self._timeout_seconds)
        if done and not task.cancelled():
            return task.result()
        waited = time.monotonic() - self._asked_at
        task.cancel()
        return CheckResult(state=CheckState.FAILED, detail=f"no answer for {waited:.1f} s")

    async def _answer(self) -> CheckResult:
        try:
            return await self._check()
        except HrsyncError as error:
            return CheckResult(state=CheckState.FAILED, detail=str(error))
        except Exception as error:
            _logger.exception("readiness_check_failed", error_type=type(error).__name__)
            return CheckResult(state=CheckState.FAILED, detail=f"the check itself failed: {type(error).__name__}")


class Readiness:
    """All checks and their sum."""

    def __init__(self, checks: Mapping[str, Check], *, timeout_seconds: float = CHECK_TIMEOUT_SECONDS) -> None:
        self._probes = {name: Probe(check, timeout_seconds=timeout_seconds) for name, check in checks.items()}

    async def result(self, name: str) -> CheckResult:
        """The result of one check."""
        return await self._probes[name].result()

    async def results(self) -> dict[str, CheckResult]:
        """Every check's result, by name; takes as long as the slowest, at most the time-out."""
        results = await asyncio.gather(*(probe.result() for probe in self._probes.values()))
        return dict(zip(self._probes, results, strict=True))


def standard_checks(
    database: Database,
    repository: OverviewRepository,
    *,
    broker_check: Check,
    scheduler_silent_after_seconds: float,
    worker_silent_after_seconds: float,
    timeout_seconds: float = CHECK_TIMEOUT_SECONDS,
) -> dict[str, Check]:
    """The checks of every installation: database, lease, scheduler, broker, workers."""

    async def check_database() -> CheckResult:
        begun = time.perf_counter()
        try:
            found, wanted = await current_revision(database), head_revision()
        except (ConfigurationError, PermanentError) as error:
            mend = " A new one is made by: hrsync db upgrade" if database.dialect == "sqlite" else ""
            return CheckResult(state=CheckState.FAILED, detail=f"{error}{mend}")
        milliseconds = (time.perf_counter() - begun) * 1000
        if found != wanted:
            what = "has no tables of hrsync" if found is None else f"is at revision {found}, not {wanted}"
            return CheckResult(state=CheckState.FAILED, detail=f"{database.safe_url} {what}: run hrsync db upgrade")
        return CheckResult(state=CheckState.OK, detail=f"answered in {milliseconds:.0f} ms; revision {found}")

    async def check_lease() -> CheckResult:
        async with reading(database, timeout_seconds=timeout_seconds) as session:
            now, lease = await repository.find_lease(session)
        if lease is None or lease.holder is None or lease.expires_at is None:
            return CheckResult(state=CheckState.FAILED, detail="no scheduler holds the lease: start hrsync scheduler")
        left = (lease.expires_at - now).total_seconds()
        if left <= 0:
            return CheckResult(
                state=CheckState.FAILED,
                detail=f"the lease of {lease.holder} expired {-left:.0f} s ago and nobody has taken it over",
                age_seconds=-left,
            )
        return CheckResult(state=CheckState.OK, detail=f"held by {lease.holder}; expires in {left:.0f} s")

    async def check_scheduler() -> CheckResult:
        async with reading(database, timeout_seconds=timeout_seconds) as session:
            now, lease = await repository.find_lease(session)
        if lease is None or lease.last_loop_at is None:
            return CheckResult(state=CheckState.FAILED, detail="the scheduler has never completed a loop")
        age = max((now - lease.last_loop_at).total_seconds(), 0.0)
        late = age > scheduler_silent_after_seconds
        return CheckResult(
            state=CheckState.FAILED if late else CheckState.OK,
            detail=f"last loop {age:.1f} s ago"
            + (f"; more than {scheduler_silent_after_seconds:g} s means that it is down or stuck" if late else ""),
            age_seconds=round(age, 3),
        )

    async def check_workers() -> CheckResult:
        async with reading(database, timeout_seconds=timeout_seconds) as session:
            now, workers = await repository.list_live_workers(session, silent_after_seconds=worker_silent_after_seconds)
        if not workers:
            return CheckResult(
                state=CheckState.WARNING,
                detail=f"no worker has sent a heartbeat for {worker_silent_after_seconds:g} s: nothing is executed",
            )
        age = max((now - max(worker.heartbeat_at for worker in workers)).total_seconds(), 0.0)
        running = sum(worker.running for worker in workers)
        count = f"{len(workers)} worker{'' if len(workers) == 1 else 's'}"
        return CheckResult(state=CheckState.OK, detail=f"{count}, {running} running", age_seconds=round(age, 3))

    return {
        "database": check_database,
        "lease": check_lease,
        "scheduler": check_scheduler,
        "broker": broker_check,
        "workers": check_workers,
    }


def sum_up(results: Mapping[str, CheckResult]) -> tuple[CheckState, Sequence[str]]:
    """The worst state, and why in words: `database: no answer for 2.5 s`."""
    for state in (CheckState.FAILED, CheckState.WARNING):
        reasons = [f"{name}: {result.detail}" for name, result in results.items() if result.state is state]
        if reasons:
            return state, reasons
    return CheckState.OK, []
