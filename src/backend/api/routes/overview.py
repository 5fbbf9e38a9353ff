"""Everything that the judgement needs, read at once: for the dashboard and for /api/v1/status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.api.dashboard.verdict import Verdict, judge
from backend.api.repositories.overview_repository import PastRun, Vitals
from backend.api.routes.context import ApiContext
from backend.api.routes.readiness import CheckResult, CheckState
from backend.db.models import Job, Stream
from backend.domain.replication_plan import HoldStatus

# Open holds that are told of: more than one at a time are rare.
_HOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state of the whole system at one moment; `runs` are the last executions by job id, the newest first."""

    vitals: Vitals
    broker: CheckResult
    streams: Sequence[Stream]
    jobs: Sequence[Job]
    runs: Mapping[int, Sequence[PastRun]]
    verdict: Verdict


async def read_overview(context: ApiContext) -> Overview:
    """Read the state and judge it.

    Raises:
        TransientError: the database is away or too slow.
    """
    asked = asyncio.ensure_future(context.readiness.result("broker"))
    async with context.session() as session:
        vitals = await context.overview.read_vitals(session, silent_after_seconds=context.worker_silent_after_seconds)
        streams = await context.scheduler.list_streams(session)
        jobs = await context.scheduler.list_jobs(session)
        runs = await context.overview.list_last_runs(session, [job.id for job in jobs])
        holds = await context.holds.list_holds(session, statuses=(HoldStatus.HELD,), limit=_HOLDS)
    broker = await asked
    verdict = judge(
        vitals,
        streams,
        jobs,
        runs,
        holds=holds,
        silent_after_seconds=context.scheduler_silent_after_seconds,
        broker_problem=broker.detail if broker.state is CheckState.FAILED else "",
    )
    return Overview(vitals=vitals, broker=broker, streams=streams, jobs=jobs, runs=runs, verdict=verdict)
