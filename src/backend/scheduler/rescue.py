"""Rescue of executions whose worker has fallen silent, and when a silence proves nothing."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable

from backend.api.repositories.dispatch_repository import DispatchRepository
from backend.db.database import Database
from backend.domain.executions import plan_rescue
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)


def _boot_seconds() -> float:
    # Unlike the monotonic clock it also counts the time that the machine was suspended.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SilenceWatch:
    """Whether missing heartbeats may be held against the workers.

    While the database (or this whole machine) was away, nobody could write a heartbeat; after its return the living
    need a moment to do so. Only then is silence a proof.

    Args:
        hold_off_seconds: that moment.
        gap_seconds: without a sign of the database for so long, it counts as having been away; after an error a
            quarter of that is enough. An error alone is no outage: a deadlock is one, too.
    """

    def __init__(
        self, *, hold_off_seconds: float, gap_seconds: float, clock: Callable[[], float] = _boot_seconds
    ) -> None:
        self._hold_off_seconds = hold_off_seconds
        self._gap_seconds = gap_seconds
        self._clock = clock
        self._was_lost = False
        self._seen_at: float | None = None
        self._clock_offset: float | None = None
        self._trusted_from = float("-inf")

    def record_lost(self) -> None:
        """The database did not answer."""
        self._was_lost = True

    def record_seen(self, database_clock: dt.datetime | None = None) -> None:
        """The database answered, and told its clock: when that was put forward, all heartbeats look old."""
        now = self._clock()
        silent = math.inf if self._seen_at is None else now - self._seen_at
        has_been_away = silent > self._gap_seconds / 4 if self._was_lost else self._gap_seconds < silent < math.inf
        if has_been_away or self._has_jumped(database_clock, now):
            self._trusted_from = now + self._hold_off_seconds
        self._was_lost, self._seen_at = False, now

    def _has_jumped(self, database_clock: dt.datetime | None, now: float) -> bool:
        if database_clock is None:
            return False
        before, self._clock_offset = self._clock_offset, database_clock.timestamp() - now
        return before is not None and self._clock_offset - before > self._gap_seconds

    @property
    def silence_proves_death(self) -> bool:
        """Whether a rescue is safe now."""
        return not self._was_lost and self._clock() >= self._trusted_from


async def rescue_orphans(database: Database, silent_seconds: float, *, timeout_seconds: float) -> int:
    """Take running executions from workers that are silent for so long; how many run again or have ended.

    Raises:
        TransientError: the database is away; the next call goes on.
    """
    repository = DispatchRepository()
    async with database.reader(timeout_seconds=timeout_seconds) as session:
        orphans = await repository.find_orphans(session, silent_seconds)
    rescued = 0
    for orphan in orphans:
        change = plan_rescue(
            attempt=orphan.attempt,
            interruptions=orphan.interruptions,
            max_attempts=orphan.max_attempts,
            idempotent=orphan.idempotent,
            cancel_requested=orphan.cancel_requested,
        )
        async with database.session(timeout_seconds=timeout_seconds) as session:
            is_rescued = await repository.rescue(session, orphan, change)
        if is_rescued:
            rescued += 1
            _logger.warning(
                "execution_rescued",
                execution_id=orphan.id,
                worker_id=orphan.worker_id,
                attempt=orphan.attempt,
                status=str(change.status),
                reason=change.reason,
            )
    return rescued
