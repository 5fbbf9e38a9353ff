"""Tasks that send mail."""

from __future__ import annotations

from backend.celery_app import app
from backend.domain.executions import RunReport
from backend.domain.mail import MAX_ATTEMPTS
from backend.errors import TransientError
from backend.ports import Run
from backend.resources import mail_outbox, mailer
from backend.services.send_mail import send_due_messages, send_message


@app.task(
    name="tasks.email.send_email_task",
    queue="email",
    max_retries=MAX_ATTEMPTS - 1,
    retry_backoff=60,
    retry_backoff_max=3600,
    autoretry_for=(TransientError,),
    soft_time_limit=600,
    time_limit=660,
    # The claim in the outbox keeps a message from being sent twice.
    idempotent=True,
)
async def send_email_task(
    run: Run, *, message_id: int | None = None, resend: bool = False, limit: int = 100
) -> RunReport:
    """Send one message of the outbox, or all that are due.

    `resend` sends a failed or uncertain message (again): a person has decided so. `limit` is for all that are due.
    """
    outbox = mail_outbox(send_email_task)
    if message_id is None:
        return await send_due_messages(run, outbox=outbox, mailer=mailer(), limit=limit)
    return await send_message(run, message_id, outbox=outbox, mailer=mailer(), resend=resend)
