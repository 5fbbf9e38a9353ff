"""Jobs files: every problem with its line, and the round trip of what is written."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.executions import RetryPolicy
from backend.domain.jobs import Blackout, JobSpec
from backend.domain.jobs_file import JobsFileError, format_jobs_file, parse_jobs_file
from backend.execution.task_spec import TaskSpec, parameters_of
from tests.support.job_specs import JSON_VALUES, job_specs


async def _sync(run: Any, *, full: bool = False, since: dt.date | None = None, limit: int = 0) -> None: ...


async def _anything(run: Any, *, value: Any = None) -> None: ...


class _Task:
    """A task of the registry without Celery: the same specification underneath."""

    def __init__(self, code: str, function: Any) -> None:
        self.spec = TaskSpec(
            code=code,
            name=f"tasks.{code}",
            queue="hris",
            function=function,
            parameters=parameters_of(function),
            retry=RetryPolicy(),
        )

    def parameter_schema(self) -> dict[str, Any]:
        return self.spec.parameters.model_json_schema()

    def validate_params(self, params: dict[str, Any]) -> dict[str, Any]:
        return self.spec.validate_params(params)


TASKS = {"hris_replication": _Task("hris_replication", _sync), "anything": _Task("anything", _anything)}


def problems_of(text: str) -> list[tuple[int, str]]:
    """The lines and messages of what is wrong with the text."""
    with pytest.raises(JobsFileError) as caught:
        parse_jobs_file(text, TASKS)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_a_job_with_every_key_is_read() -> None:
    """All keys arrive in the fields that they stand for, times as instants and durations as seconds."""
    (spec,) = parse_jobs_file(
        """
        [[job]]
        code = "hris.nightly"
        task = "hris_replication"
        name = "HRIS"
        description = "Every night."
        cron = "30 2 * * 1-5"
        timezone = "Europe/Berlin"
        dst = "skip"
        jitter = "2m"
        starts_at = 2026-01-01T00:00:00
        ends_at = 2027-01-01T00:00:00Z
        max_runs = 10
        catch_up = "all"
        max_lateness = "12h"
        overlap = "queue"
        blackout = [
          { start = 2026-12-24T00:00:00, end = 2026-12-26T00:00:00, reason = "holidays" },
        ]
        params = { full = true, since = 2026-01-31 }
        enabled = false
        """,
        TASKS,
    )
    assert spec == JobSpec(
        code="hris.nightly",
        task_code="hris_replication",
        name="HRIS",
        description="Every night.",
        trigger_kind="cron",
        trigger_expression="30 2 * * 1-5",
        timezone="Europe/Berlin",
        dst_rule="skip",
        jitter_seconds=120,
        starts_at=dt.datetime(2025, 12, 31, 23, tzinfo=dt.UTC),
        ends_at=dt.datetime(2027, 1, 1, tzinfo=dt.UTC),
        max_runs=10,
        catch_up="all",
        max_lateness_seconds=43_200,
        overlap="queue",
        blackouts=(
            Blackout(
                start=dt.datetime(2026, 12, 23, 23, tzinfo=dt.UTC),
                end=dt.datetime(2026, 12, 25, 23, tzinfo=dt.UTC),
                reason="holidays",
            ),
        ),
        params={"full": True, "since": "2026-01-31"},
        enabled=False,
    )


def test_the_three_triggers_are_read() -> None:
    """cron, every and at become the trigger kinds; numbers and TOML dates are accepted where they make sense."""
    specs = parse_jobs_file(
        """
        [[job]]
        code = "a"
        task = "anything"
        every = 900
        [[job]]
        code = "b"
        task = "anything"
        every = "15m"
        [[job]]
        code = "c"
        task = "anything"
        at = 2026-03-01T08:00:00
        """,
        TASKS,
    )
    assert [(spec.trigger_kind, spec.trigger_expression) for spec in specs] == [
        ("interval", "900"),
        ("interval", "15m"),
        ("date", "2026-03-01T08:00:00"),
    ]


def test_an_empty_file_holds_no_jobs() -> None:
    """A file without jobs is right, and means none."""
    assert parse_jobs_file("# nothing yet\n", TASKS) == []


def test_all_problems_are_told_with_their_lines() -> None:
    """Nothing stops at the first problem, and each is told at the line of its key."""
    found = problems_of(
        """# jobs
[[job]]
code = "one"   # the first
task = "hris_replicaton"
cron = "61 * * * *"
timezone = "Europe/Berln"
colour = "red"

[[job]]
code = "one"
task = "hris_replication"
description = '''
several
lines = [
'''
every = "soon"
dst = "never"
jitter = "a bit"
overlap = 3
blackout = [
  { start = 2026-01-01T00:00:00Z, end = 2025-01-01T00:00:00Z },
]
enabled = "yes"
[job.params]
full = "perhaps"
ful = true

[[job]]
task = "anything"
"""
    )
    assert [line for line, _ in found] == [4, 5, 6, 7, 10, 16, 17, 18, 19, 20, 23, 25, 26, 28, 28]
    messages = [message for _, message in found]
    assert messages[0] == (
        "task = 'hris_replicaton' is not a task (did you mean 'hris_replication'?). "
        "There are: anything, hris_replication."
    )
    assert messages[1].startswith("cron = '61 * * * *' is not crontab(5) text: the field minute is wrong.")
    assert messages[2].startswith("timezone = 'Europe/Berln' is not a time zone")
    assert messages[3] == "unknown key 'colour'."
    assert messages[4] == "code = 'one' is already the job of line 3."
    assert messages[5].startswith("every = 'soon' is not an interval")
    assert messages[6] == "dst = 'never' is not known: use one of skip, once, twice."
    assert messages[7].startswith('jitter = "a bit" is not a time')
    assert messages[8] == "overlap = 3 is not a text: put it in quotes."
    assert messages[9].startswith("blackout: the window from")
    assert messages[10] == 'enabled = "yes" is neither true nor false.'
    assert messages[11].startswith("Wrong parameters for task 'hris_replication': full: ")
    assert messages[12] == "unknown parameter 'ful' (did you mean 'full'?). The task takes: full, since, limit."
    assert messages[13:] == [
        "the job has no trigger: give it one of cron, every or at.",
        "the job has no 'code'.",
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('a = 1\nb = "x\n', 2, "not TOML: Illegal character '\\n'."),
        ("[[job]]\ncode =\n", 2, "not TOML: Invalid value."),
        ("x = 1\n", 1, "unknown key 'x': a jobs file holds [[job]] tables."),
        ("\n[job]\ncode = 'a'\n", 2, "write each job as a table headed [[job]]."),
        (
            "[[job]]\ncode = 'a'\ntask = 'anything'\nevery = 60\ncron = '@daily'\n",
            4,
            "cron and every exclude each other: a job has one trigger.",
        ),
        ("[[job]]\ncode = 'a'\ntask = 'anything'\nevery = 60\nparams = 'x'\n", 5, None),
        ("[[job]]\ncode = 'a'\ntask = 'anything'\nevery = 60\nmax_runs = 0\n", 5, None),
        ("[[job]]\ncode = 'a'\ntask = 'anything'\nevery = 60\nmax_runs = true\n", 5, None),
        ("[[job]]\ncode = 'A B'\ntask = 'anything'\nevery = 60\n", 2, None),
        ("[[job]]\ncode = 'a'\ntask = 'anything'\ncron = 5\n", 4, None),
        ("[[job]]\ncode = 'a'\ntask = 'anything'\nevery = 60\nstarts_at = 2026-01-01\n", 5, None),
        ("[[job]]\ncode = 'a'\ntask = 'anything'\nevery = 60\nblackout = [{ start = 1 }]\n", 5, None),
        ("[[job]]\ncode = 'a'\ntask = 'anything'\nevery = 60\nstarts_at = 0001-01-01T00:00:00+14:00\n", 5, None),
    ],
)
def test_one_problem_is_told_at_its_line(text: str, line: int, message: str | None) -> None:
    """What is wrong is told once, at the line where it stands."""
    ((found_line, found_message),) = problems_of(text)
    assert found_line == line
    if message is not None:
        assert found_message == message


def test_the_message_is_in_the_form_of_a_compiler() -> None:
    """The error's text is FILE:LINE: reason, one a line."""
    with pytest.raises(JobsFileError) as caught:
        parse_jobs_file("x = 1\ny = 2\n", TASKS, file_name="config/jobs.toml")
    assert [line.partition(" ")[0] for line in str(caught.value).splitlines()] == [
        "config/jobs.toml:1:",
        "config/jobs.toml:2:",
    ]


PARAMS = st.just({}) | st.builds(lambda value: {"value": value}, JSON_VALUES)


@given(st.lists(job_specs("anything", PARAMS), max_size=3, unique_by=lambda spec: spec.code))
def test_what_is_written_is_read_back_the_same(specs: list[JobSpec]) -> None:
    """Writing jobs and reading them again gives the same jobs."""
    assert parse_jobs_file(format_jobs_file(specs), TASKS) == specs
