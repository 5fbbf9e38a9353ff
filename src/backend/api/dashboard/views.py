"""What the templates show, taken from rows: every word and colour is decided here. Pure."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from backend.api.dashboard import words
from backend.api.dashboard.verdict import (
    WAITING_TOO_LONG,
    JobState,
    StreamState,
    job_state,
    last_ended,
    scheduler_problem,
    stream_state,
    stream_system,
    stream_title,
)
from backend.api.repositories.hold_repository import describe_decision
from backend.api.repositories.overview_repository import ExecutionLine, PastRun, Vitals
from backend.api.routes.readiness import CheckResult, CheckState
from backend.db.models import ExecutionAttempt, ExecutionLog, Job, JobExecution, Stream
from backend.db.models.hr import HrHold, HrHoldChange
from backend.domain.executions import COUNT_NAMES, RowCounts, Status
from backend.domain.parts import WAITING_FOR_PARTS, PartState, urgent_first
from backend.domain.replication_plan import HoldStatus

TONES: Mapping[str, str] = {
    Status.PENDING: "idle",
    Status.RUNNING: "busy",
    Status.SUCCESS: "ok",
    Status.FAILED: "bad",
    Status.CANCELLED: "idle",
    Status.MISSED: "warn",
    Status.SKIPPED: "idle",
    "succeeded": "ok",
    "retry": "warn",
    "timed_out": "bad",
    "interrupted": "idle",
    "waiting": "idle",
    "lost": "bad",
}
LABELS: Mapping[str, str] = {
    Status.PENDING: "waiting",
    Status.RUNNING: "running",
    Status.SUCCESS: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.MISSED: "did not run",
    Status.SKIPPED: "skipped",
    "retry": "failed, retried",
    "timed_out": "timed out",
    "lost": "worker lost",
}
TRIGGERS: Mapping[str, str] = {
    "schedule": "on schedule",
    "catch_up": "made up for a missed fire",
    "manual": "by hand",
    "api": "by the API",
    "retry": "run again by hand",
    "workflow": "by a workflow",
    "direct": "by a direct call",
}
Shown = TypeVar("Shown", "StreamView", "JobView")
_COUNT_WORDS = {
    "read": "read",
    "inserted": "new",
    "updated": "changed",
    "unchanged": "unchanged",
    "deactivated": "deactivated",
    "rejected": "rejected",
}
_TICKS = 12
_TICK_HEIGHT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One row count with its word; `loud` when a person should look."""

    name: str
    label: str
    value: int
    loud: bool


def counts(values: RowCounts) -> list[Count]:
    """The counts that a run reported, in their order."""
    return [
        Count(name=name, label=_COUNT_WORDS[name], value=value, loud=name == "rejected" and value > 0)
        for name in COUNT_NAMES
        if (value := getattr(values, name)) is not None
    ]


def brief_counts(values: RowCounts) -> list[Count]:
    """The counts for a line of a list: what was read, and the others that are not zero."""
    return [count for count in counts(values) if count.name == "read" or (count.value and count.name != "unchanged")]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamView:
    """A stream as a card."""

    code: str
    system: str
    title: str
    state: str
    tone: str
    succeeded_at: dt.datetime | None
    row_count: int | None
    limit: str
    execution_id: str | None


def stream_view(stream: Stream, now: dt.datetime) -> StreamView:
    """A stream as a card."""
    state = stream_state(stream, now)
    tones = {StreamState.CURRENT: "ok", StreamState.STALE: "bad", StreamState.NEVER: "idle", StreamState.NO_LIMIT: "ok"}
    labels = {StreamState.NEVER: "never filled", StreamState.NO_LIMIT: "filled"}
    limit = stream.stale_after_seconds
    return StreamView(
        code=stream.code,
        system=stream_system(stream.code),
        title=stream_title(stream.code).removeprefix(stream_system(stream.code)).strip().capitalize(),
        state=labels.get(state, str(state)),
        tone=tones[state],
        succeeded_at=stream.succeeded_at,
        row_count=stream.row_count,
        limit=f"stale after {words.span(limit)}" if limit is not None else "no age limit",
        execution_id=stream.execution_id,
    )


def worst_first(found: Sequence[Shown]) -> list[Shown]:
    """What needs a look before what is well; what rests or never ran comes last; otherwise in its order."""
    order = {"bad": 0, "warn": 1, "ok": 2, "idle": 3}
    return sorted(found, key=lambda item: order[item.tone if not getattr(item, "resting", "") else "idle"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One past run in the strip of a job's history: a bar whose height is its share of the longest."""

    x: int
    y: int
    height: int
    tone: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as a line."""

    code: str
    name: str
    description: str
    task_code: str
    state: str
    tone: str
    resting: str
    last: PastRun | None
    last_words: str
    running: PastRun | None
    schedule: str
    expression: str
    timezone: str
    policies: Sequence[str]
    next_fires: Sequence[dt.datetime]
    ticks: Sequence[Tick]
    history: str


def job_view(job: Job, runs: Sequence[PastRun], next_fires: Sequence[dt.datetime]) -> JobView:
    """A job as a line.

    Args:
        runs: its last executions, the newest first.
        next_fires: when it fires next; empty when it does not.
    """
    last = last_ended(runs)
    labels = {
        JobState.OK: ("succeeded", "ok"),
        JobState.FAILING: ("failed", "bad"),
        JobState.MISSED: ("did not run", "warn"),
        JobState.NEVER: ("not run yet", "idle"),
    }
    state, tone = labels[job_state(runs)]
    return JobView(
        code=job.code,
        name=job.name or job.code,
        description=job.description,
        task_code=job.task_code,
        state=state,
        tone=tone,
        resting=_resting(job, next_fires),
        last=last,
        last_words=_last_words(last),
        running=next((run for run in runs if run.status is Status.RUNNING), None),
        schedule=words.schedule(job.trigger_kind, job.trigger_expression),
        expression=job.trigger_expression,
        timezone=job.timezone,
        policies=_policies(job),
        next_fires=next_fires,
        ticks=_ticks(runs),
        history=_history(runs),
    )


def _last_words(last: PastRun | None) -> str:
    if last is None or last.status is Status.SUCCESS:
        return ""
    return words.shorten(words.brief_error(last.error or last.reason or ""), 150)


def _resting(job: Job, next_fires: Sequence[dt.datetime]) -> str:
    if job.deleted_at is not None:
        return "deleted"
    if not job.enabled:
        return "switched off"
    if job.paused_at is not None:
        return "paused"
    if job.max_runs is not None and job.runs_count >= job.max_runs:
        return "all runs done"
    return "" if next_fires else "no further fire"


def _policies(job: Job) -> list[str]:
    lateness = f" within {words.span(job.max_lateness_seconds)}" if job.catch_up != "skip" else ""
    return [
        words.CATCH_UP.get(job.catch_up, job.catch_up) + lateness,
        words.OVERLAP.get(job.overlap, job.overlap),
        *([f"spread over {words.span(job.jitter_seconds)}"] if job.jitter_seconds else []),
        *([f"{job.runs_count} of {job.max_runs} runs done"] if job.max_runs is not None else []),
    ]


def _ticks(runs: Sequence[PastRun]) -> list[Tick]:
    shown = list(reversed(runs[:_TICKS]))
    longest = max((run.duration_ms or 0 for run in shown), default=0) or 1
    return [
        Tick(
            x=index * 7,
            height=(height := max(5, round(_TICK_HEIGHT * (run.duration_ms or 0) / longest))),
            y=_TICK_HEIGHT - height,
            tone=TONES[run.status],
            title=f"{words.absolute(run.started_at or run.created_at)}: {LABELS[run.status]}"
            + (f" in {words.duration(run.duration_ms)}" if run.duration_ms is not None else ""),
        )
        for index, run in enumerate(shown, start=_TICKS - len(shown))
    ]


def _history(runs: Sequence[PastRun]) -> str:
    """The strip in words, for those who do not see it: `last 12 runs: 11 succeeded, 1 failed`."""
    shown = runs[:_TICKS]
    if not shown:
        return "no runs yet"
    numbers = {status: sum(run.status is status for run in shown) for status in Status}
    told = ", ".join(f"{number} {LABELS[status]}" for status, number in numbers.items() if number)
    return f"last {words.plural(len(shown), 'run')}: {told}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """An execution as a line."""

    id: str
    short_id: str
    job_code: str | None
    title: str
    trigger: str
    label: str
    tone: str
    at: dt.datetime
    duration: str
    counts: Sequence[Count]
    note: str
    progress_current: int | None
    progress_total: int | None
    is_final: bool


def run_view(run: ExecutionLine | JobExecution, names: Mapping[str, str], now: dt.datetime) -> RunView:
    """An execution as a line.

    Args:
        names: names of jobs by code.
    """
    status = Status(run.status)
    is_under_way = status is Status.RUNNING or _waits_for_parts(run, status)
    return RunView(
        id=run.id,
        short_id=run.id[-8:],
        job_code=run.job_code,
        title=(names.get(run.job_code, run.job_code) if run.job_code else None) or run.task_code,
        trigger=TRIGGERS.get(run.triggered_by, run.triggered_by),
        label=_label(run, status, now),
        tone=TONES[status],
        at=run.started_at or run.scheduled_for or run.created_at,
        duration=_duration(run, status, now),
        counts=brief_counts(counts_of(run)),
        note=_note(run, status),
        progress_current=run.progress_current if is_under_way else None,
        progress_total=run.progress_total if is_under_way else None,
        is_final=status.is_final,
    )


def counts_of(run: ExecutionLine | JobExecution) -> RowCounts:
    """The row counts of an execution."""
    if isinstance(run, ExecutionLine):
        return run.counts
    return RowCounts(**{name: getattr(run, f"rows_{name}") for name in COUNT_NAMES})


def _label(run: ExecutionLine | JobExecution, status: Status, now: dt.datetime) -> str:
    if status is Status.RUNNING and run.cancel_requested_at is not None:
        return "being cancelled"
    if _waits_for_parts(run, status):
        return WAITING_FOR_PARTS
    if status is Status.PENDING and run.attempt and run.run_after > now:
        return f"retries in {words.span((run.run_after - now).total_seconds())}"
    return LABELS[status]


def _waits_for_parts(run: ExecutionLine | JobExecution, status: Status) -> bool:
    return status is Status.PENDING and run.reason == WAITING_FOR_PARTS


def _duration(run: ExecutionLine | JobExecution, status: Status, now: dt.datetime) -> str:
    if status is Status.RUNNING and run.started_at is not None:
        return words.duration(max((now - run.started_at).total_seconds(), 0) // 1 * 1000)
    return words.duration(run.duration_ms) if run.duration_ms is not None else ""


def _note(run: ExecutionLine | JobExecution, status: Status) -> str:
    if status is Status.SUCCESS:
        return words.shorten(run.summary or "", 200)
    if status is Status.RUNNING or _waits_for_parts(run, status):
        return words.shorten(run.progress_message or "", 200)
    parts = [run.error_message or run.error_type, run.reason, run.summary]
    return words.shorten(words.brief_error(next((part for part in parts if part), None) or ""), 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartView:
    """A part of an execution as a line."""

    number: int
    id: str
    short_id: str
    label: str
    tone: str
    reason: str


def part_views(parts: Sequence[PartState]) -> list[PartView]:
    """The parts of an execution, those that ended badly first."""
    return [
        PartView(
            number=part.number,
            id=part.execution_id,
            short_id=part.execution_id[-8:],
            label=LABELS[part.status],
            tone=TONES[part.status],
            reason=words.shorten(part.reason or part.report.summary, 150),
        )
        for part in urgent_first(parts)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One try as a point of the timeline."""

    number: int
    label: str
    tone: str
    worker: str
    started_at: dt.datetime
    finished_at: dt.datetime | None
    duration: str
    error_type: str
    error_message: str
    traceback: str


def attempt_view(attempt: ExecutionAttempt) -> AttemptView:
    """One try as a point of the timeline."""
    outcome = attempt.outcome or Status.RUNNING
    return AttemptView(
        number=attempt.attempt,
        label=LABELS.get(outcome, outcome),
        tone=TONES.get(outcome, "idle"),
        worker=attempt.worker_host,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        duration=words.duration(attempt.duration_ms) if attempt.duration_ms is not None else "",
        error_type=attempt.error_type or "",
        error_message=attempt.error_message or "",
        traceback=attempt.traceback or "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """One logged line; `fields` as `name=value`."""

    at: dt.datetime
    attempt: int
    level: str
    tone: str
    event: str
    fields: Sequence[tuple[str, str]]


def log_view(line: ExecutionLog) -> LogView:
    """One logged line."""
    tones = {"warning": "warn", "error": "bad", "critical": "bad", "debug": "idle"}
    return LogView(
        at=line.logged_at,
        attempt=line.attempt,
        level=line.level.lower(),
        tone=tones.get(line.level.lower(), ""),
        event=line.event,
        fields=[(name, value if isinstance(value, str) else json.dumps(value)) for name, value in line.fields.items()],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and a value of an execution: text, code, or an instant."""

    name: str
    text: str = ""
    code: str = ""
    at: dt.datetime | None = None


def facts(row: JobExecution) -> list[Fact]:
    """What else there is to know about an execution, in the order in which people ask."""
    runs_again = row.status == Status.PENDING and row.reason != WAITING_FOR_PARTS
    allowed = row.max_attempts + row.interruptions if row.max_attempts else "any number"
    found = [
        Fact(name="Due", at=row.scheduled_for),
        Fact(name="Created", at=row.created_at),
        Fact(name="Sent", at=row.dispatched_at),
        Fact(name="Started", at=row.started_at),
        Fact(name="Finished", at=row.finished_at),
        Fact(name="Runs again", at=row.run_after if runs_again else None),
        Fact(name="Last heartbeat", at=row.heartbeat_at if row.status == Status.RUNNING else None),
        Fact(name="Started by", text=TRIGGERS.get(row.triggered_by, row.triggered_by)),
        Fact(name="Requested by", text=row.requested_by or ""),
        Fact(name="Cancel asked for", at=row.cancel_requested_at),
        Fact(name="Attempts", text=f"{row.attempt} of {allowed}" if row.attempt else ""),
        Fact(name="Worker", text=row.worker_host or ""),
        Fact(name="Task", code=row.task_code),
        Fact(name="Queue", code=row.queue),
        Fact(name="Parameters", code=json.dumps(row.params, ensure_ascii=False) if row.params else ""),
        Fact(name="Correlation", code=row.correlation_id if row.correlation_id != row.id else ""),
        Fact(name="Id", code=row.id),
    ]
    return [fact for fact in found if fact.text or fact.code or fact.at is not None]


# --- held runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldView:
    """A run that the guard held.

    Attributes:
        counts: by entity, what the run would have done, as far as that is not nothing.
        fields: by entity, the names of the fields that would have changed, with the number of rows.
    """

    ref: str
    headline: str
    tone: str
    is_open: bool
    decision: str
    reasons: Sequence[str]
    counts: Sequence[tuple[str, Sequence[Count]]]
    fields: Sequence[tuple[str, Sequence[tuple[str, int]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldChangeView:
    """A row that a held run would have changed: no values."""

    entity: str
    key: str
    label: str
    tone: str
    fields: Sequence[str]


def hold_view(hold: HrHold, fields: Mapping[str, Mapping[str, int]]) -> HoldView:
    """A run that the guard held.

    Args:
        fields: in how many rows each field would have changed, by entity.
    """
    ref = hold.execution_id[-8:]
    said, tone = _HOLDS.get(hold.status, (hold.status, "idle"))
    is_open = hold.status == HoldStatus.HELD
    return HoldView(
        ref=ref,
        headline=f"Run {ref} {said}",
        tone=tone,
        is_open=is_open,
        decision="" if is_open else words.sentence(describe_decision(hold)),
        reasons=[words.sentence(reason) for reason in hold.reasons],
        counts=[(entity, _hold_counts(numbers)) for entity, numbers in hold.counts.items()],
        fields=[(entity, list(numbers.items())) for entity, numbers in fields.items()],
    )


def _hold_counts(numbers: Mapping[str, int | None]) -> list[Count]:
    return [
        Count(name=name, label=label, value=value, loud=name in ("deactivated", "rejected", "warnings"))
        for name, label in _HOLD_COUNTS.items()
        if (value := numbers.get(name)) or (name == "read" and value is not None)
    ]


def hold_change_view(change: HrHoldChange) -> HoldChangeView:
    """A row that a held run would have changed."""
    label, tone = _ACTIONS.get(change.action, (change.action, "idle"))
    # All fields of a new row are new, and the action says itself what becomes of `is_active`.
    names = [] if change.action == "insert" else [name for name in change.fields if name != "is_active"]
    return HoldChangeView(entity=change.entity, key=change.entity_key, label=label, tone=tone, fields=names)


_HOLDS: Mapping[str, tuple[str, str]] = {
    HoldStatus.HELD: ("is held", "bad"),
    HoldStatus.APPROVED: ("was held and is approved", "busy"),
    HoldStatus.APPLIED: ("was held, approved and applied", "ok"),
    HoldStatus.REJECTED: ("was held and rejected", "idle"),
    HoldStatus.EXPIRED: ("was held and has expired", "idle"),
}
_HOLD_COUNTS = _COUNT_WORDS | {"reactivated": "reactivated", "renumbered": "renumbered", "warnings": "with a warning"}
_ACTIONS = {
    "insert": ("new", "ok"),
    "update": ("changed", "busy"),
    "reactivate": ("active again", "ok"),
    "renumber": ("renumbered", "warn"),
    "deactivate": ("deactivated", "bad"),
}


# --- machinery --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the machinery and how it is."""

    name: str
    label: str
    tone: str
    detail: str
    at: dt.datetime | None = None


def machinery(vitals: Vitals, *, broker: CheckResult, scheduler_silent_after_seconds: float) -> list[Part]:
    """Scheduler, workers, broker and queue."""
    problem = scheduler_problem(vitals, silent_after_seconds=scheduler_silent_after_seconds)
    lease = vitals.lease
    ever = lease is not None and lease.last_loop_at is not None
    hosts = sorted({worker.host for worker in vitals.workers})
    late = vitals.waiting_since is not None and vitals.now - vitals.waiting_since >= WAITING_TOO_LONG
    return [
        Part(
            name="Scheduler",
            label=("down" if ever else "not started") if problem else "running",
            tone=("bad" if ever else "idle") if problem else "ok",
            detail=f"lead: {lease.holder}" if lease is not None and lease.holder else "nobody has the lead",
            at=lease.last_loop_at if lease is not None else None,
        ),
        Part(
            name="Workers",
            label=f"{len(vitals.workers)} alive" if vitals.workers else "none",
            tone="ok" if vitals.workers else "bad" if ever else "idle",
            detail=words.shorten(", ".join(hosts), 60) or "no heartbeat",
            at=max((worker.heartbeat_at for worker in vitals.workers), default=None),
        ),
        Part(
            name="Broker",
            label="down" if broker.state is CheckState.FAILED else "up",
            tone="bad" if broker.state is CheckState.FAILED else "ok",
            detail=broker.detail,
        ),
        Part(
            name="Queue",
            label=f"{words.number(vitals.running)} running",
            tone="warn" if late else "busy" if vitals.running else "idle",
            detail=f"{words.number(vitals.waiting)} due and waiting, the first was due"
            if vitals.waiting_since is not None
            else "nothing waits",
            at=vitals.waiting_since,
        ),
    ]
