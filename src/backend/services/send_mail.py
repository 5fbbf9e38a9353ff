"""Sends what is in the outbox: claimed before it is sent, and never twice by itself.

SMTP cannot say whether a message arrived when the connection breaks after its last byte. Such a message is `uncertain`
and waits for a person.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Sequence

from backend.domain.executions import RowCounts, RunReport
from backend.domain.mail import (
    MAX_ATTEMPTS,
    Accepted,
    Deferred,
    Delivery,
    MailContent,
    MailStatus,
    OutgoingMail,
    Refused,
    Unknown,
    compose_hris_hold,
    compose_hris_summary,
    retry_delay_seconds,
)
from backend.errors import ConfigurationError, NotFoundError, PermanentError, TransientError
from backend.ports import Mailer, MailOutbox, Run

# A claim this old belongs to nobody: the task ends at its time limit, long before.
ABANDONED_AFTER_SECONDS = 900
_UNTIL_A_PERSON_DECIDES = (
    "It is not sent again by itself. Look whether it arrived; to send it (again), run send_email with this message_id "
    "and resend."
)


async def queue_hris_summary(
    outbox: MailOutbox, report: RunReport, *, execution_id: str, finished_at: dt.datetime, recipients: Sequence[str]
) -> int:
    """Put the summary of a replication into the outbox for each recipient; how many were new.

    A second call for the same execution puts nothing in.

    Raises:
        ConfigurationError: a recipient is no address.
    """
    content = compose_hris_summary(report, execution_id=execution_id, finished_at=finished_at)
    return await _queue(outbox, content, f"hris_summary:{execution_id}", execution_id, recipients)


async def queue_hris_hold(outbox: MailOutbox, reason: str, *, execution_id: str, recipients: Sequence[str]) -> int:
    """Put the word that a replication is held into the outbox for each recipient; how many were new.

    Args:
        reason: why, and what to do; no personal data.

    Raises:
        ConfigurationError: a recipient is no address.
    """
    content = compose_hris_hold(reason, execution_id=execution_id)
    return await _queue(outbox, content, f"hris_hold:{execution_id}", execution_id, recipients)


async def _queue(
    outbox: MailOutbox, content: MailContent, key: str, execution_id: str, recipients: Sequence[str]
) -> int:
    queued = [
        await outbox.enqueue(
            business_key=f"{key}:{recipient}"[:200],
            recipient=recipient,
            subject=content.subject,
            text=content.text,
            html=content.html,
            correlation_id=execution_id,
        )
        for recipient in dict.fromkeys(recipients)
    ]
    return sum(message_id is not None for message_id in queued)


async def send_message(
    run: Run, message_id: int, *, outbox: MailOutbox, mailer: Mailer, resend: bool = False
) -> RunReport:
    """Send one message; does nothing when it has been sent.

    Args:
        resend: send it also when it is failed or uncertain: a person has decided so.

    Raises:
        NotFoundError: there is no such message.
        TransientError: it could not be sent now, or another run is sending it.
        PermanentError: it was refused, or nobody knows whether it arrived.
    """
    sender = _Sender(run, outbox, mailer)
    await sender.settle_abandoned()
    mail = await outbox.claim(sender.token, message_id, resend=resend)
    if mail is None:
        return await _explain_unclaimed(outbox, message_id)
    async with mailer:
        delivery = await sender.send(mail)
    match delivery:
        case Accepted():
            return sender.report()
        case Deferred(reason=reason) if mail.attempts < MAX_ATTEMPTS:
            raise TransientError(f"Message {mail.id} was not taken: {reason}. It is tried again.")
        case Deferred(reason=reason):
            raise PermanentError(f"Message {mail.id} was not taken in {MAX_ATTEMPTS} attempts: {reason}.")
        case Refused(reason=reason):
            raise PermanentError(f"Message {mail.id} was refused: {reason}. Mend the address or what it says.")
        case Unknown(reason=reason):
            raise PermanentError(f"Message {mail.id} may have arrived or not: {reason}. {_UNTIL_A_PERSON_DECIDES}")


async def send_due_messages(run: Run, *, outbox: MailOutbox, mailer: Mailer, limit: int = 100) -> RunReport:
    """Send the messages that are due, at most `limit`, over one connection.

    Raises:
        TransientError: the server is away; what is left stays pending.
    """
    sender = _Sender(run, outbox, mailer)
    await sender.settle_abandoned()
    async with mailer:
        for number in range(1, limit + 1):
            await run.checkpoint()
            mail = await outbox.claim(sender.token)
            if mail is None:
                break
            await sender.send(mail)
            run.progress(number, None, f"{number:,} messages")
    return sender.report()


async def _explain_unclaimed(outbox: MailOutbox, message_id: int) -> RunReport:
    status = await outbox.find_status(message_id)
    match status:
        case None:
            raise NotFoundError(f"There is no message {message_id} in the outbox.")
        case MailStatus.SENT:
            return RunReport(
                counts=RowCounts(read=1, unchanged=1), summary=f"Message {message_id} had been sent already."
            )
        case MailStatus.FAILED | MailStatus.UNCERTAIN:
            raise PermanentError(f"Message {message_id} is {status}. {_UNTIL_A_PERSON_DECIDES}")
    raise TransientError(f"Message {message_id} is being sent by another run; this one looks again.")


class _Sender:
    """Sends for one run, and writes down what became of each message."""

    def __init__(self, run: Run, outbox: MailOutbox, mailer: Mailer) -> None:
        self.token = f"{run.execution_id}/{run.attempt}"
        self._run = run
        self._outbox = outbox
        self._mailer = mailer
        self._tally: Counter[str] = Counter()

    async def settle_abandoned(self) -> None:
        """Make the claims uncertain that a killed worker left: its message may have gone out."""
        abandoned = await self._outbox.give_up_claims(
            self.token, execution_id=self._run.execution_id, older_than_seconds=ABANDONED_AFTER_SECONDS
        )
        for message_id in abandoned:
            self._tally["uncertain"] += 1
            self._run.log.warning("mail_became_uncertain", message_id=message_id, reason="its worker was lost")

    async def send(self, mail: OutgoingMail) -> Delivery:
        """Send a claimed message and record the outcome.

        Raises:
            TransientError, ConfigurationError: the server cannot be used; the message is pending again, with no attempt
                counted.
        """
        delivery: Delivery | None
        try:
            delivery = await self._mailer.prepare(mail)
        except (asyncio.CancelledError, TransientError, ConfigurationError) as error:
            # Nothing was handed over, so that the claim can be taken back.
            delay = 0 if isinstance(error, asyncio.CancelledError) else retry_delay_seconds(mail.attempts)
            await asyncio.shield(self._outbox.release(mail.id, self.token, delay_seconds=delay, error=_reason(error)))
            raise
        if delivery is None:
            try:
                delivery = await self._mailer.deliver(mail)
            except BaseException as error:
                await asyncio.shield(self._record(mail, Unknown(reason=_reason(error))))
                raise
        await asyncio.shield(self._record(mail, delivery))
        return delivery

    async def _record(self, mail: OutgoingMail, delivery: Delivery) -> None:
        match delivery:
            case Accepted():
                self._tally["sent"] += 1
                await self._outbox.mark_sent(mail.id, self.token)
                self._run.log.info("mail_sent", message_id=mail.id)
            case Deferred(reason=reason) if mail.attempts < MAX_ATTEMPTS:
                self._tally["deferred"] += 1
                delay = retry_delay_seconds(mail.attempts)
                await self._outbox.release(mail.id, self.token, delay_seconds=delay, error=reason, counts=True)
                self._run.log.warning("mail_deferred", message_id=mail.id, reason=reason, delay_seconds=delay)
            case Deferred(reason=reason) | Refused(reason=reason):
                self._tally["failed"] += 1
                await self._outbox.mark_failed(mail.id, self.token, reason)
                self._run.log.error("mail_failed", message_id=mail.id, reason=reason)
            case Unknown(reason=reason):
                self._tally["uncertain"] += 1
                await self._outbox.mark_uncertain(mail.id, self.token, reason)
                self._run.log.error("mail_became_uncertain", message_id=mail.id, reason=reason)

    def report(self) -> RunReport:
        """What was done."""
        tally = self._tally
        parts = [f"{tally[word]:,} {word}" for word in ("sent", "deferred", "failed", "uncertain") if tally[word]]
        return RunReport(
            counts=RowCounts(read=tally.total(), updated=tally["sent"], rejected=tally["failed"]),
            summary=f"Messages: {', '.join(parts)}." if parts else "No message was due.",
            details=dict(tally),
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "the run was stopped"
    return str(error) or type(error).__name__
