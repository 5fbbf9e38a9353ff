"""The pure rules of an execution: retries, classification, transitions, rescue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.executions import (
    Cancelled,
    Failed,
    Interrupted,
    Problem,
    ReportedError,
    Retry,
    RetryIn,
    RetryPolicy,
    RowCounts,
    RunReport,
    Status,
    Succeeded,
    TimedOut,
    Waiting,
    attempts_left,
    classify_error,
    plan_rescue,
    transition,
)
from backend.errors import ConfigurationError, GuardError, PermanentError, TransientError

PROBLEM = Problem(type="X", message="x")


def classify(error: Exception, **changes: object) -> Failed | RetryIn:
    """`classify_error` with a policy that retries transient errors."""
    arguments: dict[str, object] = {
        "policy": RetryPolicy(max_retries=3, autoretry_for=(TransientError,), backoff_seconds=10, jitter=False),
        "attempt": 1,
        "interruptions": 0,
        "max_attempts": 4,
        "dice": 0.5,
    }
    return classify_error(error, PROBLEM, **(arguments | changes))  # type: ignore[arg-type]


def test_backoff_doubles_up_to_its_maximum() -> None:
    """The delay doubles with each retry and stops at the maximum."""
    policy = RetryPolicy(backoff_seconds=10, backoff_max_seconds=60, jitter=False)
    assert [10, 20, 40, 60, 60] == [policy.delay_seconds(n, 0.9) for n in range(5)]


@given(
    retries=st.integers(0, 10_000),
    dice=st.floats(0, 1, exclude_max=True),
    backoff=st.floats(0.1, 1e4),
    maximum=st.floats(0.1, 1e5),
)
def test_jittered_delay_stays_in_bounds(retries: int, dice: float, backoff: float, maximum: float) -> None:
    """A jittered delay lies between zero and the maximum, however many retries there were."""
    policy = RetryPolicy(backoff_seconds=backoff, backoff_max_seconds=maximum)
    assert 0 <= policy.delay_seconds(retries, dice) <= maximum


def test_without_backoff_the_default_delay_holds() -> None:
    """Without backoff every retry waits for the default delay."""
    assert 180 == RetryPolicy().delay_seconds(2, 0.1)


def test_transient_error_is_retried() -> None:
    """What `autoretry_for` names is retried after the backoff."""
    assert RetryIn(delay_seconds=20, problem=PROBLEM) == classify(TransientError("x"), attempt=2)


def test_interrupted_attempts_do_not_count() -> None:
    """Three hand-backs use up no attempt and do not lengthen the backoff."""
    assert RetryIn(delay_seconds=10, problem=PROBLEM) == classify(TransientError("x"), attempt=4, interruptions=3)


def test_last_attempt_fails() -> None:
    """When the attempts are used up even a transient error fails the execution."""
    assert Failed(problem=PROBLEM) == classify(TransientError("x"), attempt=4)


@pytest.mark.parametrize("error", [ConfigurationError("x"), GuardError("x"), PermanentError("x"), ValueError("x")])
def test_hopeless_error_fails_at_once(error: Exception) -> None:
    """An error that nobody asked to retry fails the execution at the first attempt."""
    assert Failed(problem=PROBLEM) == classify(error)


def test_broad_autoretry_leaves_guards_alone() -> None:
    """`autoretry_for=(Exception,)` does not turn a refused run into a retry loop."""
    policy = RetryPolicy(autoretry_for=(Exception,), backoff_seconds=1)
    assert Failed(problem=PROBLEM) == classify(GuardError("x"), policy=policy)


def test_retry_with_its_own_delay() -> None:
    """A body that raises Retry says itself when it runs again."""
    assert RetryIn(delay_seconds=7, problem=PROBLEM) == classify(Retry("later", delay_seconds=7))


@given(attempt=st.integers(1, 50), interruptions=st.integers(0, 50))
def test_zero_maximum_means_for_ever(attempt: int, interruptions: int) -> None:
    """A maximum of zero attempts never runs out."""
    assert attempts_left(attempt=attempt, interruptions=interruptions, max_attempts=0)


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (Succeeded(report=RunReport()), Status.SUCCESS, "succeeded"),
        (RetryIn(delay_seconds=5, problem=PROBLEM), Status.PENDING, "retry"),
        (Failed(problem=PROBLEM), Status.FAILED, "failed"),
        (TimedOut(limit="hard", seconds=3, problem=PROBLEM), Status.FAILED, "timed_out"),
        (Cancelled(reason="by hand"), Status.CANCELLED, "cancelled"),
        (Interrupted(), Status.PENDING, "interrupted"),
        (Waiting(delay_seconds=9, reason="for others"), Status.PENDING, "waiting"),
    ],
)
def test_every_outcome_has_its_transition(outcome: object, status: Status, code: str) -> None:
    """Each way an attempt can end leads to one status and is named in the attempt."""
    change = transition(outcome)  # type: ignore[arg-type]
    assert (status, code) == (change.status, change.outcome)


def test_waiting_is_due_again_later() -> None:
    """An execution that waits says why, and when it looks again."""
    change = transition(Waiting(delay_seconds=9, reason="for others"))
    assert (9, "for others") == (change.delay_seconds, change.reason)


def test_failure_keeps_what_it_has_to_report() -> None:
    """An error with a report fails for good, and the report is kept."""
    report = RunReport(summary="half of it")
    assert Failed(problem=PROBLEM, report=report) == classify(ReportedError("x", report))


def test_only_an_interruption_or_waiting_burns_no_attempt() -> None:
    """A hand-back at shutdown or to wait is not counted as a try; a retry is."""
    assert [False, False, True] == [
        transition(Interrupted()).burns_attempt,
        transition(Waiting(delay_seconds=1, reason="for others")).burns_attempt,
        transition(RetryIn(delay_seconds=1, problem=PROBLEM)).burns_attempt,
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Status.PENDING),
        ({"idempotent": False}, Status.FAILED),
        ({"attempt": 3}, Status.FAILED),
        ({"attempt": 3, "interruptions": 1}, Status.PENDING),
        ({"cancel_requested": True}, Status.CANCELLED),
    ],
)
def test_rescue_of_a_lost_run(changes: dict[str, object], expected: Status) -> None:
    """A lost run is repeated only when it is idempotent, has attempts left and nobody wants it cancelled."""
    state: dict[str, object] = {
        "attempt": 1, "interruptions": 0, "max_attempts": 3, "idempotent": True, "cancel_requested": False,
    }  # fmt: skip
    assert expected == plan_rescue(**(state | changes)).status  # type: ignore[arg-type]


def test_counts_add_up_and_unknown_stays_unknown() -> None:
    """Adding counts adds what is known; what neither side knows stays unknown."""
    assert RowCounts(read=3, inserted=1) == RowCounts(read=1, inserted=1) + RowCounts(read=2)
