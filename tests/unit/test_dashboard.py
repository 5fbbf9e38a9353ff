"""The words and the judgement of the dashboard, without server and database."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.dashboard import words
from backend.api.dashboard.verdict import JobState, Level, Verdict, job_state, judge, stream_title
from backend.api.repositories.overview_repository import PastRun, Vitals
from backend.db.models import Job, Lease, Stream, Worker
from backend.db.models.hr import HrHold
from backend.domain.executions import Status

NOW = dt.datetime(2031, 5, 4, 12, 0, tzinfo=dt.UTC)


def ago(**length: float) -> dt.datetime:
    return NOW - dt.timedelta(**length)


def past(status: Status, reason: str = "", **length: float) -> PastRun:
    at = ago(**length)
    return PastRun(
        id="x", status=status, reason=reason, created_at=at, started_at=at, finished_at=at, duration_ms=5, error=None
    )


def lease(**values: object) -> Lease:
    alive = {"holder": "h", "expires_at": NOW + dt.timedelta(seconds=9), "last_loop_at": ago(seconds=1)}
    return Lease(**alive | values)


HEALTHY = Vitals(now=NOW, lease=lease(), workers=[Worker(host="h")], waiting=0, waiting_since=None, running=0)
CURRENT = Stream(code="hris.employees", succeeded_at=ago(hours=1), stale_after_seconds=7200.0)
STALE = Stream(code="hris.employees", succeeded_at=ago(hours=3), stale_after_seconds=7200.0)
JOB = Job(id=1, code="nightly", name="", enabled=True)


def verdict(
    vitals: Vitals = HEALTHY,
    streams: Sequence[Stream] = (CURRENT,),
    runs: Sequence[PastRun] = (),
    job: Job = JOB,
    broker: str = "",
) -> Verdict:
    return judge(vitals, streams, [job], {1: runs}, silent_after_seconds=15, broker_problem=broker)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (172799, "47 h"), (172800, "2 days")],
)
def test_a_span_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    """Spans round down, so that nothing looks older or later than it is."""
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"), (999, "999 ms"), (1000, "1 s"), (2460, "2.4 s"), (59_999, "59.9 s"), (200_000, "3 min 20 s"),
        (7_500_000, "2 h 05 min"), (90_000_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_a_duration_has_about_three_digits(milliseconds: float, text: str) -> None:
    """Durations are as exact as one wants to know."""
    assert words.duration(milliseconds) == text


@given(st.floats(min_value=-1e9, max_value=1e9))
def test_past_and_future_are_told_apart(seconds: float) -> None:
    """What was is `ago`, what comes is `in`, and what is near is `just now`."""
    text = words.relative(NOW - dt.timedelta(seconds=seconds), NOW)
    if abs(seconds) < 1.99:
        assert text == "just now"
    elif abs(seconds) > 2.01:
        assert text.endswith(" ago") == (seconds > 0)
        assert text.startswith("in ") == (seconds < 0)


@pytest.mark.parametrize(
    ("kind", "expression", "text"),
    [
        ("cron", "* * * * *", "every minute"),
        ("cron", "*/15 * * * *", "every 15 min"),
        ("cron", "*/7 * * * *", "*/7 * * * *"),
        ("cron", "5 * * * *", "hourly at :05"),
        ("cron", "30 2 * * *", "daily at 02:30"),
        ("cron", " 30  2 * * 1-5", "Monday to Friday at 02:30"),
        ("cron", "0 4 * * 0", "Sundays at 04:00"),
        ("cron", "0 4 * * 7", "Sundays at 04:00"),
        ("cron", "0 4 * * 6", "Saturdays at 04:00"),
        ("cron", "0 4 1 * *", "monthly on day 1 at 04:00"),
        ("cron", "0 4 1 * 1", "0 4 1 * 1"),
        ("cron", "0 4,16 * * *", "0 4,16 * * *"),
        ("cron", "@daily", "daily"),
        ("interval", "900", "every 15 min"),
        ("interval", "1d", "every day"),
        ("interval", "1h30m", "every 90 min"),
        ("interval", "soon", "every soon"),
        ("date", "2031-01-31T06:00:00", "once, at 2031-01-31 06:00:00"),
    ],
)
def test_a_schedule_is_told_in_words_or_as_it_is(kind: str, expression: str, text: str) -> None:
    """Common schedules have words; others are not put into wrong ones."""
    assert words.schedule(kind, expression) == text


@given(st.text(max_size=300), st.integers(min_value=1, max_value=200))
def test_a_shortened_text_fits(text: str, length: int) -> None:
    """A shortened text is one line of at most so many characters, and short texts are kept."""
    short = words.shorten(text, length)
    assert len(short) <= length
    assert len(short.splitlines()) <= 1
    if len(" ".join(text.split())) <= length:
        assert short == " ".join(text.split())


def test_items_are_listed_as_in_a_sentence() -> None:
    """One item stands alone, two have `and`, more have commas."""
    listed = [words.enumerate_words(items) for items in (["a"], ["a", "b"], ["a", "b", "c"])]
    assert listed == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("hris.employees", "HRIS employees"),
        ("biostar.t_lg", "BioStar t lg"),
        ("payroll.x", "Payroll x"),
        ("a_b", "A b"),
    ],
)
def test_a_stream_has_a_title(code: str, title: str) -> None:
    """A stream's code becomes words, with the systems' own spelling."""
    assert stream_title(code) == title


def test_fresh_data_and_living_machinery_are_current() -> None:
    """Nothing wrong: the best headline, with the age of the oldest stream."""
    found = verdict(runs=[past(Status.SUCCESS, hours=1)])
    assert (found.level, found.headline) == (Level.OK, "HR data is current")
    assert "1 h ago" in found.detail


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"last_loop_at": None, "expires_at": None, "holder": None}, "never run"),
        ({"holder": None}, "stopped"),
        ({"expires_at": NOW - dt.timedelta(seconds=1)}, "last heard of"),
        ({"last_loop_at": NOW - dt.timedelta(seconds=16)}, "last heard of 16 s ago"),
    ],
)
def test_a_scheduler_that_is_away_comes_first(values: dict[str, object], said: str) -> None:
    """No, an expired or a silent lease is the headline, before stale data and failures."""
    vitals = dataclasses.replace(HEALTHY, lease=lease(**values))
    found = verdict(vitals, [STALE], [past(Status.FAILED, hours=1)])
    assert (found.level, found.headline) == (Level.BAD, "The scheduler is down")
    assert said in found.reasons[0].text
    assert len(found.reasons) == 3


def test_everything_that_is_away_is_told() -> None:
    """Scheduler, workers and broker each have their reason; the first is the headline."""
    vitals = dataclasses.replace(HEALTHY, lease=None, workers=[], waiting=2, waiting_since=NOW)
    found = verdict(vitals, broker="Redis does not answer")
    assert found.headline == "The scheduler is down"
    assert [reason.text for reason in found.reasons[1:]] == [
        "No worker is running. 2 runs are waiting.",
        "The broker is down. Redis does not answer.",
    ]


def test_stale_data_is_bad_and_alike_streams_are_one_reason() -> None:
    """Streams that are equally late are told in one sentence."""
    other = Stream(code="hris.positions", succeeded_at=ago(hours=3), stale_after_seconds=7200.0)
    found = verdict(streams=[STALE, other, CURRENT])
    assert (found.level, found.headline) == (Level.BAD, "HR data is not current")
    assert found.detail == "2 of 3 streams are stale."
    assert [reason.text for reason in found.reasons] == [
        "HRIS employees and HRIS positions: 3 h old, more than the 2 h that the data may be."
    ]


def test_a_stream_on_its_limit_is_current() -> None:
    """Only data that is older than it may be is stale."""
    stream = Stream(code="x", succeeded_at=ago(seconds=7200), stale_after_seconds=7200.0)
    assert verdict(streams=[stream]).level is Level.OK


def test_a_failed_job_is_a_warning_while_the_data_is_current() -> None:
    """One failure does not make current data stale, but it is told with its reason."""
    found = verdict(runs=[past(Status.FAILED, "worker lost", hours=2), past(Status.SUCCESS, hours=26)])
    assert (found.level, found.headline) == (Level.WARN, "1 thing needs attention")
    assert found.reasons[0].text == "nightly failed 2 h ago: worker lost"


def test_a_resting_job_troubles_nobody() -> None:
    """A failure of a paused or switched-off job is not told."""
    for job in (Job(id=1, code="j", name="", enabled=False), Job(id=1, code="j", name="", enabled=True, paused_at=NOW)):
        assert verdict(runs=[past(Status.FAILED, hours=2)], job=job).level is Level.OK


@pytest.mark.parametrize(
    ("runs", "state"),
    [
        ([], JobState.NEVER),
        ([past(Status.RUNNING)], JobState.NEVER),
        ([past(Status.RUNNING), past(Status.FAILED)], JobState.FAILING),
        ([past(Status.SKIPPED), past(Status.CANCELLED), past(Status.SUCCESS)], JobState.OK),
        ([past(Status.PENDING), past(Status.MISSED, "120 s late")], JobState.MISSED),
        ([past(Status.MISSED, "paused since 2031"), past(Status.SUCCESS)], JobState.OK),
        ([past(Status.MISSED, "blackout from 1 to 2"), past(Status.FAILED)], JobState.FAILING),
        ([past(Status.SUCCESS), past(Status.FAILED)], JobState.OK),
    ],
)
def test_a_job_is_as_its_last_telling_run(runs: list[PastRun], state: JobState) -> None:
    """What is under way, was skipped, cancelled, or missed on purpose says nothing about the job."""
    assert job_state(runs) is state


def test_runs_that_wait_long_are_told_while_workers_live() -> None:
    """Due runs that nobody takes for minutes are a warning; a moment's wait is none."""
    for minutes, level in ((1, Level.OK), (3, Level.WARN)):
        vitals = dataclasses.replace(HEALTHY, waiting=4, waiting_since=ago(minutes=minutes))
        assert verdict(vitals).level is level


def test_a_new_installation_is_no_alarm() -> None:
    """Without jobs and data, even a scheduler that never ran is only the next step."""
    found = judge(dataclasses.replace(HEALTHY, lease=None, workers=[]), [], [], {}, silent_after_seconds=15)
    assert (found.level, found.headline) == (Level.IDLE, "Nothing is set up yet")
    assert [reason.advice for reason in found.reasons] == [
        "hrsync doctor", "hrsync up", "hrsync jobs apply config/jobs.toml",
    ]  # fmt: skip


def test_jobs_without_data_yet_wait_for_it() -> None:
    """With jobs but before the first run, the page waits."""
    assert verdict(streams=[]).headline == "Waiting for the first data"


def test_a_held_run_is_told_before_all_else() -> None:
    """Also where scheduler and workers are down; what else is wrong follows, and the run's own failure only once."""
    hold = HrHold(execution_id="01930000-0000-7000-8000-0000000000aa", reasons=["a", "b"], held_at=ago(hours=1))
    failed = dataclasses.replace(past(Status.FAILED, hours=1), error="see hrsync hris hold 000000aa")
    dead = dataclasses.replace(HEALTHY, lease=None, workers=[])
    for vitals, others in ((HEALTHY, 0), (dead, 2)):
        found = judge(vitals, [CURRENT], [JOB], {1: [failed]}, silent_after_seconds=15, holds=[hold])
        assert (found.level, found.headline) == (Level.BAD, "HR data is not current: run 000000aa is held")
        assert found.reasons[0].text == "Run 000000aa was held 1 h ago and waits for a decision: a; b."
        assert "hrsync hris approve 000000aa" in found.reasons[0].advice
        assert len(found.reasons) == 1 + others
    assert [reason.text.partition(".")[0] for reason in found.reasons[1:]] == [
        "The scheduler is down", "No worker is running",
    ]  # fmt: skip
