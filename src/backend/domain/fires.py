"""What becomes of the fires that are due: which run, which do not, and why.

Pure: the caller brings the fires (`domain.schedules`), the time, the dice and what of the job is active.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backend.domain.executions import Status
from backend.domain.jobs import Blackout, CatchUp, Overlap
from backend.domain.schedules import DueFires

# A fire that is less late than this counts as punctual: a change of the leading scheduler (lease 15 s, looked at every
# few seconds) or a restart must not make a fire of the catch-up policy out of a normal one.
ON_TIME_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FirePolicy:
    """The policies of a job (see `JobSpec`) and how often it has run."""

    catch_up: CatchUp = CatchUp.LAST
    max_lateness_seconds: float = 86_400
    overlap: Overlap = Overlap.SKIP
    jitter_seconds: float = 0
    blackouts: tuple[Blackout, ...] = ()
    max_runs: int | None = None
    runs_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveExecution:
    """An execution of the job that is pending or running."""

    id: str
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFire:
    """A row of the ledger.

    Attributes:
        status: pending, missed or skipped; the latter two with a reason.
        delay_seconds: how long from now it is due (the jitter).
        triggered_by: `schedule`, or `catch_up` for a late fire that runs.
    """

    scheduled_for: dt.datetime
    status: Status
    reason: str | None = None
    delay_seconds: float = 0
    triggered_by: str = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirePlan:
    """What is to be written for one job.

    Attributes:
        last_fire_at: the new watermark; None: nothing was due.
        cancel_active: cancel what of the job is active, for its overlap policy.
    """

    fires: tuple[PlannedFire, ...] = ()
    last_fire_at: dt.datetime | None = None
    cancel_active: bool = False

    @property
    def runs(self) -> int:
        """How many of the fires run."""
        return sum(fire.status is Status.PENDING for fire in self.fires)


def plan_fires(
    policy: FirePolicy,
    due: DueFires,
    *,
    now: dt.datetime,
    active: Sequence[ActiveExecution] = (),
    dice: Callable[[], float],
    obstacle: str | None = None,
) -> FirePlan:
    """Decide what becomes of the due fires of a job.

    Args:
        due: ascending; everything in it ends up in the ledger, unless the job has had all its runs.
        active: what of the job is pending or running, oldest first.
        dice: numbers in [0, 1), for the jitter.
        obstacle: why nothing of the job may run now (paused, task unknown); None: nothing is in the way.
    """
    if not due.fires:
        return FirePlan()
    runs_left = None if policy.max_runs is None else max(0, policy.max_runs - policy.runs_count)
    plan = _Plan(policy, now=now, active=active, dice=dice, runs_left=runs_left)
    if due.older_count and runs_left != 0:
        plan.rows.append(_collapsed(due, obstacle))
    barriers = [obstacle or _barrier(policy, fire, now) for fire in due.fires]
    newest = max((fire for fire, barrier in zip(due.fires, barriers, strict=True) if barrier is None), default=None)
    for fire, barrier in zip(due.fires, barriers, strict=True):
        if plan.is_exhausted:
            break
        is_late = _is_late(fire, now)
        if barrier is not None:
            plan.miss(fire, barrier)
        elif is_late and policy.catch_up is CatchUp.LAST and newest is not None and fire < newest:
            plan.miss(fire, f"{_lateness(fire, now)}; replaced by the fire of {_text(newest)} (catch_up = last)")
        else:
            plan.run(fire, is_late=is_late)
    return FirePlan(fires=tuple(plan.rows), last_fire_at=due.fires[-1], cancel_active=plan.cancel_active)


class _Plan:
    """The rows so far, and what follows from them for the next fire."""

    def __init__(
        self,
        policy: FirePolicy,
        *,
        now: dt.datetime,
        active: Sequence[ActiveExecution],
        dice: Callable[[], float],
        runs_left: int | None,
    ) -> None:
        self.rows: list[PlannedFire] = []
        self.cancel_active = False
        self._policy = policy
        self._now = now
        self._active = active
        self._dice = dice
        self._runs_left = runs_left
        # The newest row of this plan that runs and does not merely stand in the queue of a catch-up.
        self._waiting: int | None = None

    @property
    def is_exhausted(self) -> bool:
        return self._runs_left is not None and self._runs_left <= 0

    def miss(self, fire: dt.datetime, reason: str) -> None:
        self.rows.append(PlannedFire(scheduled_for=fire, status=Status.MISSED, reason=reason))

    def run(self, fire: dt.datetime, *, is_late: bool) -> None:
        row = PlannedFire(
            scheduled_for=fire,
            status=Status.PENDING,
            delay_seconds=self._dice() * self._policy.jitter_seconds,
            triggered_by="catch_up" if is_late else "schedule",
            reason=f"caught up: {_lateness(fire, self._now)}" if is_late else None,
        )
        # Fires that are all caught up are meant to run one after another.
        queues = self._policy.overlap is Overlap.QUEUE or (is_late and self._policy.catch_up is CatchUp.ALL)
        if not queues and self._policy.overlap is Overlap.SKIP and (busy := self._busy()):
            self.rows.append(replace(row, status=Status.SKIPPED, reason=f"{busy} (overlap = skip)", delay_seconds=0))
            return
        if not queues and self._policy.overlap is Overlap.CANCEL_RUNNING:
            self._make_room(fire)
        if not queues:
            self._waiting = len(self.rows)
        self.rows.append(row)
        if self._runs_left is not None:
            self._runs_left -= 1

    def _busy(self) -> str | None:
        if self._active:
            oldest = self._active[0]
            state = "running" if oldest.status is Status.RUNNING else "waiting"
            return f"execution {oldest.id} was still {state}"
        ahead = [row for row in self.rows if row.status is Status.PENDING]
        return f"the fire of {_text(ahead[0].scheduled_for)} was still waiting" if ahead else None

    def _make_room(self, fire: dt.datetime) -> None:
        self.cancel_active = self.cancel_active or bool(self._active)
        if self._waiting is None:
            return
        self.rows[self._waiting] = replace(
            self.rows[self._waiting],
            status=Status.SKIPPED,
            reason=f"replaced by the fire of {_text(fire)} before it could start (overlap = cancel_running)",
            delay_seconds=0,
        )
        if self._runs_left is not None:
            self._runs_left += 1


def _barrier(policy: FirePolicy, fire: dt.datetime, now: dt.datetime) -> str | None:
    """Why the fire cannot run; None: it can."""
    for blackout in policy.blackouts:
        # A fire from before the window must not be caught up inside it either.
        if blackout.covers(fire) or blackout.covers(now):
            because = f": {blackout.reason}" if blackout.reason else ""
            return f"blackout from {_text(blackout.start)} to {_text(blackout.end)}{because}"[:400]
    if not _is_late(fire, now):
        return None
    if policy.catch_up is CatchUp.SKIP:
        return f"{_lateness(fire, now)} (catch_up = skip)"
    if (now - fire).total_seconds() > policy.max_lateness_seconds:
        return f"{_lateness(fire, now)}, more than max_lateness_seconds = {policy.max_lateness_seconds:g}"
    return None


def _collapsed(due: DueFires, obstacle: str | None) -> PlannedFire:
    assert due.older_first is not None
    assert due.older_last is not None
    count = f"{due.older_count:,}" if due.older_is_exact else f"more than {due.older_count:,}"
    because = f" ({obstacle})" if obstacle else ""
    return PlannedFire(
        scheduled_for=due.older_last,
        status=Status.MISSED,
        reason=f"{count} fires from {_text(due.older_first)} to {_text(due.older_last)} did not run{because}; "
        f"only the {len(due.fires):,} after them are listed one by one",
    )


def _is_late(fire: dt.datetime, now: dt.datetime) -> bool:
    return (now - fire).total_seconds() >= ON_TIME_SECONDS


def _lateness(fire: dt.datetime, now: dt.datetime) -> str:
    return f"{round((now - fire).total_seconds())} s late: no scheduler could fire it in time"


def _text(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
