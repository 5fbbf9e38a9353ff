"""Tasks that keep the HR data current."""

from __future__ import annotations

import datetime as dt

from backend.celery_app import app
from backend.domain.executions import RunReport
from backend.errors import GuardError, HrsyncError, TransientError
from backend.ports import Run
from backend.resources import hr_store, hris_mapping, hris_source, mail_outbox, open_row_spool, summary_recipients
from backend.services.send_mail import queue_hris_hold, queue_hris_summary
from backend.tasks.email import send_email_task


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
async def hris_replication_task(run: Run, *, full: bool = False, force: bool = False, approved: str = "") -> RunReport:
    """Replicate departments, positions, employees, leaves and holidays from the HRIS.

    `full` compares what the rows hold now; `force` applies what the guard would hold; `approved` is a held run's id.
    """
    from backend.services.replicate_hris import HeldError, replicate_hris  # it loads Arrow

    mapping = hris_mapping()
    try:
        report = await replicate_hris(
            run,
            mapping,
            source=hris_source(mapping),
            store=hr_store(),
            open_spool=open_row_spool,
            full=full,
            force=force,
            approved=approved,
        )
    except HeldError as error:
        if error.held.is_new:
            await _mail_hold(run, error)
        # Callers know refusals by the name of the class: exit code 4, `error_type` in the API.
        raise GuardError(str(error)) from error
    await _mail_summary(run, report)
    return report


async def _mail_hold(run: Run, error: HrsyncError) -> None:
    """Tell people that their decision is wanted; once for each hold."""
    outbox = mail_outbox(send_email_task)
    for recipient in summary_recipients():
        try:
            await queue_hris_hold(outbox, str(error), execution_id=run.execution_id, recipients=[recipient])
        except HrsyncError as failure:
            run.log.warning("hold_mail_failed", error=str(failure))


async def _mail_summary(run: Run, report: RunReport) -> None:
    """Put the summary into the outbox. The data is in: whatever is wrong with a mail must not fail the run."""
    outbox, finished_at = mail_outbox(send_email_task), dt.datetime.now(dt.UTC)
    for recipient in summary_recipients():
        try:
            await queue_hris_summary(
                outbox, report, execution_id=run.execution_id, finished_at=finished_at, recipients=[recipient]
            )
        except HrsyncError as error:
            run.log.warning("summary_mail_failed", error=str(error))
