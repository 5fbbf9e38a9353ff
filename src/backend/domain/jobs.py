"""A job as people write it: task, schedule, policies; and what is wrong with it.

Pure. The names of the fields are the names of the columns of `scheduler_job`; how a jobs file spells them is in
`domain.jobs_file`.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from backend.domain.schedules import DstRule, Schedule, choose, parse_schedule
from backend.errors import ConfigurationError

_CODE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_LONGEST_SECONDS = 10 * 366 * 86_400


class CatchUp(enum.StrEnum):
    """What happens to fires that came too late (the scheduler or the database was away).

    `SKIP`: none is run. `LAST`: the newest is run. `ALL`: each is run, one after another.
    """

    SKIP = "skip"
    LAST = "last"
    ALL = "all"


class Overlap(enum.StrEnum):
    """What happens to a fire while an earlier execution of the job is waiting or running.

    `SKIP`: it is recorded as skipped. `QUEUE`: it waits. `CANCEL_RUNNING`: the earlier one is cancelled, it waits.
    """

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_RUNNING = "cancel_running"


class TaskTraits(Protocol):
    """What the scheduler must know about a task; every entry of the task registry has it."""

    @property
    def code(self) -> str:
        """What jobs call it."""
        ...

    @property
    def name(self) -> str:
        """Celery's name of it."""
        ...

    @property
    def queue(self) -> str:
        """The queue it is sent to."""
        ...

    @property
    def idempotent(self) -> bool:
        """Whether it may run again by itself when its worker was lost."""
        ...

    @property
    def max_attempts(self) -> int:
        """How often it may be tried in all; 0: for ever."""
        ...

    def validate_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters as they are to be stored.

        Raises:
            ConfigurationError: naming the parameter that is wrong.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """A window (both ends included) in which fires are recorded as missed."""

    start: dt.datetime
    end: dt.datetime
    reason: str = ""

    def covers(self, instant: dt.datetime) -> bool:
        """Whether the instant is within the window."""
        return self.start <= instant <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Everything of a job that a person decides.

    Attributes:
        params: keyword arguments of the task, as JSON holds them.
        trigger_expression: crontab(5) text, an interval (`900`, `15m`), or a date (ISO 8601).
        jitter_seconds: a fire is dispatched up to so much later, at random.
        max_runs: the job ends after so many fires that ran; None: never.
        max_lateness_seconds: a fire that is later than this is never caught up.
    """

    code: str
    task_code: str
    trigger_kind: str
    trigger_expression: str
    name: str = ""
    description: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    timezone: str = "UTC"
    dst_rule: str = DstRule.ONCE
    jitter_seconds: float = 0
    starts_at: dt.datetime | None = None
    ends_at: dt.datetime | None = None
    max_runs: int | None = None
    blackouts: tuple[Blackout, ...] = ()
    catch_up: str = CatchUp.LAST
    max_lateness_seconds: float = 86_400
    overlap: str = Overlap.SKIP
    enabled: bool = True

    def schedule(self, anchor_at: dt.datetime) -> Schedule:
        """The parsed schedule; `anchor_at` is the creation of the job.

        Raises:
            ConfigurationError: as in `parse_schedule`.
        """
        return parse_schedule(
            kind=self.trigger_kind,
            expression=self.trigger_expression,
            anchor_at=anchor_at,
            timezone=self.timezone,
            dst_rule=self.dst_rule,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
        )


# An edit of one of these starts a new schedule: what the old one missed is not caught up by the new one.
SCHEDULE_FIELDS = frozenset(
    {"trigger_kind", "trigger_expression", "timezone", "dst_rule", "starts_at", "ends_at", "enabled"}
)


def validate_job(spec: JobSpec, tasks: Mapping[str, TaskTraits]) -> None:
    """Check every field.

    Args:
        tasks: the task registry, by code.

    Raises:
        ConfigurationError: naming the field, its value and how to mend it.
    """
    if not _CODE.fullmatch(spec.code):
        raise ConfigurationError(
            f"code = {spec.code!r} is not a job code: use up to 100 of a-z, 0-9, `_`, `.`, `-`; "
            "a letter or digit first."
        )
    if spec.task_code not in tasks:
        known = ", ".join(sorted(tasks)) or "none"
        raise ConfigurationError(f"task_code = {spec.task_code!r} is not a task. There are: {known}.")
    for text_field, longest in (("name", 200), ("description", 1000), ("trigger_expression", 200)):
        length = len(getattr(spec, text_field))
        if length > longest:
            raise ConfigurationError(f"{text_field} has {length} characters: at most {longest} fit.")
    choose(CatchUp, "catch_up", spec.catch_up)
    choose(Overlap, "overlap", spec.overlap)
    for number_field in ("jitter_seconds", "max_lateness_seconds"):
        number = getattr(spec, number_field)
        if not (math.isfinite(number) and 0 <= number <= _LONGEST_SECONDS):
            raise ConfigurationError(f"{number_field} = {number!r} is not a time: write seconds from 0 to 10 years.")
    if spec.max_runs is not None and spec.max_runs < 1:
        raise ConfigurationError(f"max_runs = {spec.max_runs}: write at least 1, or leave it out for no limit.")
    for blackout in spec.blackouts:
        if blackout.start.tzinfo is None or blackout.end.tzinfo is None:
            raise ConfigurationError(
                f"blackouts: {blackout.start}..{blackout.end} has no time zone: add Z or an offset."
            )
        if blackout.end < blackout.start:
            raise ConfigurationError(
                f"blackouts: the window from {blackout.start} ends before it starts ({blackout.end})."
            )
    tasks[spec.task_code].validate_params(dict(spec.params))
    spec.schedule(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
