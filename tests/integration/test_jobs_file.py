"""Jobs files through the database: what is exported and applied again changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.api.repositories.job_rows import spec_of
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.celery_bridge import TASK_REGISTRY
from backend.cli.jobs import save_jobs
from backend.db.maria_database import maria
from backend.domain.jobs import JobSpec
from backend.domain.jobs_file import format_jobs_file, parse_jobs_file
from backend.settings import Settings
from tests.support.job_specs import job_specs

PARAMS = st.dictionaries(st.sampled_from(["full", "force"]), st.booleans())


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(specs=st.lists(job_specs("hris_replication", PARAMS), min_size=1, max_size=3, unique_by=lambda spec: spec.code))
def test_what_is_exported_is_applied_as_unchanged(
    specs: list[JobSpec], sqlite_url: str, settings_env: Callable[..., Settings]
) -> None:
    """Jobs that went into the database come out as a file that the database already agrees with."""
    settings_env(maria_url=sqlite_url)

    async def round_trip() -> list[tuple[str, str]]:
        try:
            await save_jobs(specs, prune=True, dry_run=False, actor="test")
            async with maria().session() as session:
                text = format_jobs_file([spec_of(job) for job in await SchedulerRepository().list_jobs(session)])
            again = parse_jobs_file(text, TASK_REGISTRY)
            return [
                (item.code, item.outcome) for item in await save_jobs(again, prune=True, dry_run=False, actor="test")
            ]
        finally:
            await maria().dispose()

    assert asyncio.run(round_trip()) == [(code, "unchanged") for code in sorted(spec.code for spec in specs)]
