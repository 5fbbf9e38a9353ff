"""The judgement at the top of the dashboard: is the HR data current, and if not, why and what to do. Pure."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from backend.api.dashboard.words import absolute, brief_error, enumerate_words, plural, relative, shorten, span
from backend.api.repositories.overview_repository import PastRun, Vitals
from backend.db.models import Job, Stream
from backend.db.models.hr import HrHold
from backend.domain.executions import Status

# A due run that waits longer is worth a word even while workers live: they are too few, or stuck.
WAITING_TOO_LONG = dt.timedelta(minutes=2)


class Level(enum.StrEnum):
    """How bad it is; also the name of the colour."""

    OK = "ok"
    IDLE = "idle"
    WARN = "warn"
    BAD = "bad"


class StreamState(enum.StrEnum):
    """How current a stream's data is."""

    CURRENT = "current"
    STALE = "stale"
    NEVER = "never"
    NO_LIMIT = "no limit"


class JobState(enum.StrEnum):
    """How a job is, judged by the last of its executions that came to an end."""

    OK = "ok"
    FAILING = "failing"
    MISSED = "missed"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One sentence of the verdict, with the page that tells more and what to do, if anything."""

    text: str
    advice: str = ""
    href: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The headline and why."""

    level: Level
    headline: str
    detail: str = ""
    reasons: Sequence[Reason] = ()


def stream_state(stream: Stream, now: dt.datetime) -> StreamState:
    """Whether the stream's data is within the age that it may have."""
    if stream.succeeded_at is None:
        return StreamState.NEVER
    if stream.stale_after_seconds is None:
        return StreamState.NO_LIMIT
    age = (now - stream.succeeded_at).total_seconds()
    return StreamState.STALE if age > stream.stale_after_seconds else StreamState.CURRENT


def last_ended(runs: Sequence[PastRun]) -> PastRun | None:
    """The newest of the runs that says how the job is: it did its work, failed to, or never began.

    A skipped run says nothing (another one was doing the work), nor does a cancelled one, or a fire that was missed
    in a pause or a blackout (a person wanted it so).
    """
    return next((run for run in runs if _tells(run)), None)


def _tells(run: PastRun) -> bool:
    if run.status is Status.MISSED:
        return not (run.reason or "").startswith(("paused since", "blackout from"))
    return run.status in (Status.SUCCESS, Status.FAILED)


def job_state(runs: Sequence[PastRun]) -> JobState:
    """How a job is, from its last runs, the newest first."""
    last = last_ended(runs)
    if last is None:
        return JobState.NEVER
    return {Status.FAILED: JobState.FAILING, Status.MISSED: JobState.MISSED}.get(last.status, JobState.OK)


def scheduler_problem(vitals: Vitals, *, silent_after_seconds: float) -> str | None:
    """Why nothing is being scheduled, in words; None while the scheduler does its work."""
    lease, now = vitals.lease, vitals.now
    if lease is None or lease.last_loop_at is None or lease.expires_at is None:
        return "It has never run with this database."
    if lease.holder is None:
        return f"It was stopped {relative(lease.last_loop_at, now)} ({absolute(lease.last_loop_at)})."
    if lease.expires_at <= now or (now - lease.last_loop_at).total_seconds() > silent_after_seconds:
        return f"It was last heard of {relative(lease.last_loop_at, now)} ({absolute(lease.last_loop_at)})."
    return None


def judge(
    vitals: Vitals,
    streams: Sequence[Stream],
    jobs: Sequence[Job],
    runs: Mapping[int, Sequence[PastRun]],
    *,
    silent_after_seconds: float,
    holds: Sequence[HrHold] = (),
    broker_problem: str = "",
) -> Verdict:
    """What an operator must know first.

    Args:
        runs: the last executions by job id, the newest first.
        holds: the runs that the guard held and nobody has decided about, the newest first.
        silent_after_seconds: age of the scheduler's last loop from which it counts as down.
        broker_problem: why the broker does not answer; empty when it does.
    """
    scheduler = scheduler_problem(vitals, silent_after_seconds=silent_after_seconds)
    if not jobs and not holds and not any(stream.succeeded_at for stream in streams):
        return _nothing_set_up(scheduler)
    down = list(_down(vitals, scheduler, broker_problem))
    stale = _stale(streams, vitals.now)
    troubled = [reason for job in jobs if (reason := _troubled(job, runs.get(job.id, ()), vitals.now, holds))]
    slow = _waiting(vitals) if vitals.workers else []
    reasons = [*stale, *troubled, *slow]
    # The headline says the first of them already.
    gone = [
        Reason(text=f"{'' if part is down[0] and not holds else part.headline + '. '}{part.why}", advice=part.advice)
        for part in down
    ]
    if holds or down or stale:
        if holds:
            headline = f"HR data is not current: run {holds[0].execution_id[-8:]} is held"
        else:
            headline = down[0].headline if down else "HR data is not current"
        held = [_held(hold, vitals.now) for hold in holds]
        nothing = "The guard found it unusual: nothing of it was applied. " if holds else ""
        return Verdict(
            level=Level.BAD,
            headline=headline,
            detail=nothing + _freshness(streams, vitals.now),
            reasons=[*held, *gone, *reasons],
        )
    known = [stream for stream in streams if stream.succeeded_at is not None]
    if reasons:
        headline = f"{plural(len(reasons), 'thing')} {'needs' if len(reasons) == 1 else 'need'} attention"
        return Verdict(level=Level.WARN, headline=headline, detail=_freshness(streams, vitals.now), reasons=reasons)
    if not known:
        return Verdict(
            level=Level.IDLE,
            headline="Waiting for the first data",
            detail=f"{plural(len(jobs), 'job')} set up; no stream has been filled yet.",
        )
    return Verdict(level=Level.OK, headline="HR data is current", detail=_freshness(streams, vitals.now))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gone:
    """A part of the machinery that is away."""

    headline: str
    why: str
    advice: str


def _down(vitals: Vitals, scheduler: str | None, broker_problem: str) -> Iterator[_Gone]:
    if scheduler is not None:
        yield _Gone(
            headline="The scheduler is down",
            why=scheduler,
            advice="No job starts until it runs: systemctl start hrsync-scheduler, or hrsync up.",
        )
    if not vitals.workers:
        waiting = f"{plural(vitals.waiting, 'run')} {'is' if vitals.waiting == 1 else 'are'} waiting."
        yield _Gone(
            headline="No worker is running",
            why=waiting if vitals.waiting else "No heartbeat has come lately.",
            advice="Nothing is executed until one does: systemctl start hrsync-worker, or hrsync worker.",
        )
    if broker_problem:
        yield _Gone(
            headline="The broker is down",
            why=f"{broker_problem[:1].upper()}{broker_problem[1:]}.",
            advice="Nothing is lost: due runs wait until it is back.",
        )


def _nothing_set_up(scheduler: str | None) -> Verdict:
    steps = [] if scheduler is None else [Reason(text="Start scheduler and worker.", advice="hrsync up")]
    return Verdict(
        level=Level.IDLE,
        headline="Nothing is set up yet",
        detail="There are no jobs, so no HR data is kept current. What is left to do:",
        reasons=[
            Reason(text="Check that every system can be reached.", advice="hrsync doctor"),
            *steps,
            Reason(text="Apply the jobs that keep the data current.", advice="hrsync jobs apply config/jobs.toml"),
        ],
    )


def _freshness(streams: Sequence[Stream], now: dt.datetime) -> str:
    """How current the data is, apart from everything else: `3 of 4 streams are current, ...`."""
    known = [stream for stream in streams if stream.succeeded_at is not None]
    if not known:
        return "No data has arrived yet."
    stale = sum(stream_state(stream, now) is StreamState.STALE for stream in known)
    never = len(streams) - len(known)
    oldest = min(stream.succeeded_at for stream in known if stream.succeeded_at is not None)
    if stale:
        return f"{stale} of {plural(len(streams), 'stream')} {'is' if stale == 1 else 'are'} stale."
    unfilled = f" {plural(never, 'stream')} {'was' if never == 1 else 'were'} never filled." if never else ""
    if len(known) == 1:
        return f"One stream, updated {relative(oldest, now)}.{unfilled}"
    is_limited = all(stream.stale_after_seconds is not None for stream in known)
    within = "each updated within its limit; " if is_limited else ""
    return f"{len(known)} streams, {within}the oldest updated {relative(oldest, now)}.{unfilled}"


def _stale(streams: Sequence[Stream], now: dt.datetime) -> list[Reason]:
    """One sentence for all streams of the same age and limit, which have the same cause."""
    alike: dict[tuple[str, str, str | None], list[str]] = {}
    for stream in streams:
        if stream_state(stream, now) is StreamState.STALE:
            assert stream.succeeded_at is not None
            assert stream.stale_after_seconds is not None
            age = span((now - stream.succeeded_at).total_seconds())
            key = (age, span(stream.stale_after_seconds), stream.execution_id)
            alike.setdefault(key, []).append(stream_title(stream.code))
    return [
        Reason(
            text=f"{enumerate_words(titles)}: {age} old, more than the {limit} that the data may be.",
            href=f"/executions/{execution_id}" if execution_id else None,
        )
        for (age, limit, execution_id), titles in alike.items()
    ]


def _held(hold: HrHold, now: dt.datetime) -> Reason:
    ref = hold.execution_id[-8:]
    why = "; ".join(hold.reasons)
    return Reason(
        text=f"Run {ref} was held {relative(hold.held_at, now)} and waits for a decision: {shorten(why, 400)}.",
        advice=f"Look at what it would do. Then: hrsync hris approve {ref}, or: hrsync hris reject {ref}.",
        href=f"/hris/holds/{hold.execution_id}",
    )


def _troubled(job: Job, runs: Sequence[PastRun], now: dt.datetime, holds: Sequence[HrHold]) -> Reason | None:
    last = last_ended(runs)
    if last is None or job.paused_at is not None or not job.enabled:
        return None
    # The hold itself is told already, and later runs that were held for the same.
    if any(hold.execution_id == last.id or hold.execution_id[-8:] in (last.error or "") for hold in holds):
        return None
    state = job_state(runs)
    if state is JobState.OK:
        return None
    when = relative(last.finished_at or last.created_at, now)
    why = shorten(brief_error(last.error or last.reason or "no reason was recorded"), 200)
    verb = "failed" if state is JobState.FAILING else "did not run"
    return Reason(text=f"{job.name or job.code} {verb} {when}: {why}", href=f"/executions/{last.id}")


def _waiting(vitals: Vitals) -> list[Reason]:
    since = vitals.waiting_since
    if since is None or vitals.now - since < WAITING_TOO_LONG:
        return []
    return [
        Reason(
            text=f"{plural(vitals.waiting, 'run')} waiting for a worker, the first for "
            f"{span((vitals.now - since).total_seconds())}.",
            advice="Add workers or look at what runs so long; check the broker.",
            href="/executions?status=pending",
        )
    ]


def stream_system(code: str) -> str:
    """The system that a stream comes from: `hris.employees` -> `HRIS`; empty when its code names none."""
    system, _, rest = code.partition(".")
    known = {"hris": "HRIS", "biostar": "BioStar"}
    return known.get(system, system.replace("_", " ").capitalize()) if rest else ""


def stream_title(code: str) -> str:
    """A stream's code for people: `hris.employees` -> `HRIS employees`."""
    system = stream_system(code)
    rest = code.partition(".")[2] if system else code
    name = rest.replace("_", " ").replace(".", " ")
    return f"{system} {name}" if system else name.capitalize()
