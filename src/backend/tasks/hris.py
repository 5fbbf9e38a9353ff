"""Tasks that keep the HR data current."""

from __future__ import annotations

from backend.celery_app import app
from backend.domain.executions import RunReport
from backend.errors import TransientError
from backend.ports import Run
from backend.resources import hr_store, hris_mapping, hris_source, open_row_spool
from backend.services.replicate_hris import replicate_hris


@app.task(
    name="tasks.hris.hris_replication_task",
    queue="hris",
    max_retries=3,
    retry_backoff=30,
    retry_backoff_max=600,
    autoretry_for=(TransientError,),
    soft_time_limit=1800,
    time_limit=1900,
    idempotent=True,
)
async def hris_replication_task(run: Run, *, full: bool = False, force: bool = False) -> RunReport:
    """Replicate departments, positions and employees from the HRIS.

    `full` writes the unchanged rows as well; `force` applies what the deactivation guard would refuse.
    """
    return await replicate_hris(
        run, hris_mapping(), source=hris_source(), store=hr_store(), open_spool=open_row_spool, full=full, force=force
    )
