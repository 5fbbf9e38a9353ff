"""What an execution can be, how an attempt ends, and what follows from that.

Pure: the caller brings the time and the dice.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.errors import ConfigurationError, GuardError, PermanentError


class Status(enum.StrEnum):
    """Status codes of an execution (a contract with the tables' readers)."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MISSED = "missed"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen to the execution any more."""
        return self not in (Status.PENDING, Status.RUNNING)


STATUS_NAMES: Mapping[Status, str] = {
    Status.PENDING: "waiting to run",
    Status.RUNNING: "running",
    Status.SUCCESS: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.MISSED: "did not run",
    Status.SKIPPED: "skipped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """How many rows a run touched. A count that makes no sense for the task stays None."""

    read: int | None = None
    inserted: int | None = None
    updated: int | None = None
    unchanged: int | None = None
    deactivated: int | None = None
    rejected: int | None = None

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(
            **{
                name: None
                if getattr(self, name) is None and getattr(other, name) is None
                else (getattr(self, name) or 0) + (getattr(other, name) or 0)
                for name in COUNT_NAMES
            }
        )


COUNT_NAMES = ("read", "inserted", "updated", "unchanged", "deactivated", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a task returns.

    Attributes:
        counts: rows touched, for the columns of the run list.
        summary: one sentence for people; no personal data.
        details: anything else that JSON can hold.
    """

    counts: RowCounts = field(default_factory=RowCounts)
    summary: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Celery's retry options with Celery's meaning.

    Attributes:
        max_retries: further attempts after the first; None: for ever.
        autoretry_for: exceptions that are retried.
        dont_autoretry_for: exceptions of those that are not.
        default_retry_delay_seconds: delay without backoff.
        backoff_seconds: first delay of the exponential backoff; None: no backoff.
        backoff_max_seconds: longest delay.
        jitter: draw the delay between zero and the computed one.
    """

    max_retries: int | None = 3
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    default_retry_delay_seconds: float = 180
    backoff_seconds: float | None = None
    backoff_max_seconds: float = 600
    jitter: bool = True

    def delay_seconds(self, retries: int, dice: float) -> float:
        """How long to wait before the next attempt.

        Args:
            retries: retries made so far (0 after the first attempt).
            dice: a number in [0, 1).
        """
        if self.backoff_seconds is None:
            return self.default_retry_delay_seconds
        # The exponent is bounded: 2.0 ** 1024 overflows, and the maximum is reached long before.
        delay = min(self.backoff_seconds * 2.0 ** min(retries, 60), self.backoff_max_seconds)
        return dice * delay if self.jitter else delay


class Retry(Exception):  # noqa: N818 - control flow, named as in Celery
    """Raised by a task body to be tried again (`raise Retry("...", delay_seconds=30)`)."""

    def __init__(self, message: str = "", *, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


class Wait(Exception):  # noqa: N818 - control flow, as `Retry`
    """Raised by a task body to give its place back and be run again later; no attempt is used up by it."""

    def __init__(self, reason: str, *, delay_seconds: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.delay_seconds = delay_seconds


class ReportedError(PermanentError):
    """The run failed for good, and has something to report nevertheless."""

    def __init__(self, message: str, report: RunReport) -> None:
        super().__init__(message)
        self.report = report


# --- how an attempt ended -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as it is shown to people."""

    type: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The task returned."""

    report: RunReport
    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryIn:
    """The task failed in a way that may pass."""

    delay_seconds: float
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The task failed for good. `report` is what it had to say nevertheless."""

    problem: Problem
    report: RunReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The task ran longer than its soft or hard limit."""

    limit: str
    seconds: float
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Somebody cancelled the run."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The worker is shutting down; the run goes back without burning an attempt."""

    reason: str = "the worker was shut down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The task waits for something, and is run again then; no attempt is burnt."""

    delay_seconds: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """The run lost its claim; nothing of it may be written any more."""


Outcome = Succeeded | RetryIn | Failed | TimedOut | Cancelled | Interrupted | Waiting | Fenced

OUTCOME_CODES: Mapping[type, str] = {
    Succeeded: "succeeded",
    RetryIn: "retry",
    Failed: "failed",
    TimedOut: "timed_out",
    Cancelled: "cancelled",
    Interrupted: "interrupted",
    Waiting: "waiting",
}


def attempts_left(*, attempt: int, interruptions: int, max_attempts: int) -> bool:
    """Whether another attempt may follow; `max_attempts` 0 means for ever.

    Interruptions are not counted; an attempt that ended in waiting is one.
    """
    return max_attempts == 0 or attempt - interruptions < max_attempts


def classify_error(
    error: BaseException,
    problem: Problem,
    *,
    policy: RetryPolicy,
    attempt: int,
    interruptions: int,
    max_attempts: int,
    dice: float,
) -> Failed | RetryIn:
    """Whether a failed attempt is tried again, and when.

    `Retry` and what `autoretry_for` names are retried while attempts are left. What a person must mend (configuration,
    a guard, a permanent error) is not retried, unless the policy names exactly that class.
    """
    retries = attempt - interruptions - 1
    failed = Failed(problem=problem, report=error.report if isinstance(error, ReportedError) else None)
    if not attempts_left(attempt=attempt, interruptions=interruptions, max_attempts=max_attempts):
        return failed
    if isinstance(error, Retry):
        delay = error.delay_seconds if error.delay_seconds is not None else policy.delay_seconds(retries, dice)
        return RetryIn(delay_seconds=delay, problem=problem)
    hopeless = isinstance(error, ConfigurationError | GuardError | PermanentError)
    if hopeless and type(error) not in policy.autoretry_for:
        return failed
    if isinstance(error, policy.autoretry_for) and not isinstance(error, policy.dont_autoretry_for):
        return RetryIn(delay_seconds=policy.delay_seconds(retries, dice), problem=problem)
    return failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What the end of an attempt makes of the execution.

    Attributes:
        status: the execution's next status.
        outcome: the attempt's outcome code.
        delay_seconds: for `pending`: how long until it is due again.
        burns_attempt: False when the attempt does not count.
    """

    status: Status
    outcome: str
    reason: str | None = None
    problem: Problem | None = None
    report: RunReport | None = None
    result: Any = None
    delay_seconds: float | None = None
    burns_attempt: bool = True


def transition(outcome: Succeeded | RetryIn | Failed | TimedOut | Cancelled | Interrupted | Waiting) -> Transition:
    """The execution's next state after an attempt that ended in `outcome`."""
    code = OUTCOME_CODES[type(outcome)]
    match outcome:
        case Succeeded(report=report, result=result):
            return Transition(status=Status.SUCCESS, outcome=code, report=report, result=result)
        case RetryIn(delay_seconds=delay, problem=problem):
            return Transition(
                status=Status.PENDING, outcome=code, reason="waiting for a retry", problem=problem, delay_seconds=delay
            )
        case Failed(problem=problem, report=report):
            return Transition(status=Status.FAILED, outcome=code, problem=problem, report=report)
        case TimedOut(limit=limit, seconds=seconds, problem=problem):
            return Transition(
                status=Status.FAILED, outcome=code, reason=f"{limit} time limit of {seconds:g} s", problem=problem
            )
        case Cancelled(reason=reason):
            return Transition(status=Status.CANCELLED, outcome=code, reason=reason)
        case Interrupted(reason=reason) | Waiting(reason=reason):
            delay = outcome.delay_seconds if isinstance(outcome, Waiting) else 0
            return Transition(
                status=Status.PENDING, outcome=code, reason=reason, delay_seconds=delay, burns_attempt=False
            )


def plan_rescue(
    *, attempt: int, interruptions: int, max_attempts: int, idempotent: bool, cancel_requested: bool
) -> Transition:
    """What becomes of a running execution whose worker has fallen silent."""
    problem = Problem(type="WorkerLost", message="The worker stopped sending heartbeats; it was killed or cut off.")
    if cancel_requested:
        return Transition(status=Status.CANCELLED, outcome="lost", reason="cancelled; its worker was lost")
    if not idempotent:
        return Transition(
            status=Status.FAILED,
            outcome="lost",
            reason="worker lost; the task is not idempotent, so it is not run again by itself",
            problem=problem,
        )
    if not attempts_left(attempt=attempt, interruptions=interruptions, max_attempts=max_attempts):
        return Transition(
            status=Status.FAILED, outcome="lost", reason="worker lost and no attempts are left", problem=problem
        )
    return Transition(
        status=Status.PENDING, outcome="lost", reason="worker lost; runs again", problem=problem, delay_seconds=0
    )
