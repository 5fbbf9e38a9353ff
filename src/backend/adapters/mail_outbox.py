"""The outbox in hrsync's own database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, insert, or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.db.database import Database
from backend.db.models import OutboxMessage
from backend.db.types import db_now
from backend.domain.jobs import TaskTraits
from backend.domain.mail import MailContent, MailStatus, OutgoingMail, check_address, one_line
from backend.errors import ConfigurationError
from backend.utils.identifiers import new_id
from backend.utils.redaction import redact

_OUTBOX = cast(Table, OutboxMessage.__table__)
_KEY_LENGTH = 200
_ERROR_LENGTH = 1000
_RESENDABLE = (MailStatus.PENDING, MailStatus.FAILED, MailStatus.UNCERTAIN)


class DatabaseMailOutbox:
    """The outbox table of a migrated database.

    Args:
        sender: the address of which the domain is that of the Message-IDs.
        sending_task: the task that sends a message, `send_email`.
    """

    def __init__(self, database: Database, *, sender: str, sending_task: TaskTraits) -> None:
        self._database = database
        self._domain = check_address(sender).rpartition("@")[2].encode("idna").decode()
        self._sending_task = sending_task
        self._scheduler = SchedulerRepository()

    async def enqueue(
        self,
        *,
        business_key: str,
        recipient: str,
        subject: str,
        text: str,
        html: str | None = None,
        correlation_id: str | None = None,
    ) -> int | None:
        """Add a message and, in the same transaction, a pending execution that sends it.

        Returns:
            the message's id; None: there is one with this business key already.

        Raises:
            ConfigurationError: the recipient is no address, or the key is empty or too long.
        """
        if not 0 < len(business_key) <= _KEY_LENGTH:
            raise ConfigurationError(f"A business key has 1 to {_KEY_LENGTH} characters, not {len(business_key)}.")
        values = {
            "business_key": business_key,
            "recipient": check_address(recipient),
            "subject": one_line(subject),
            "text_body": text,
            "html_body": html,
            "message_id": f"<{new_id()}@{self._domain}>",
            "status": MailStatus.PENDING,
            "attempts": 0,
            "next_attempt_at": db_now(),
            "created_at": db_now(),
        }
        word = "OR IGNORE" if self._database.dialect == "sqlite" else "IGNORE"
        async with self._database.session() as session:
            result = await session.execute(insert(_OUTBOX).prefix_with(word).values(**values))
            assert isinstance(result, CursorResult)
            if not result.rowcount:
                return None
            message_id = int(result.lastrowid)
            execution = await self._scheduler.create_execution(
                session,
                task=self._sending_task,
                params={"message_id": message_id},
                triggered_by="workflow",
                correlation_id=correlation_id,
            )
            await _change(session, OutboxMessage.id == message_id, execution_id=execution.id)
        return message_id

    async def claim(self, token: str, message_id: int | None = None, *, resend: bool = False) -> OutgoingMail | None:
        """Claim this message, or the one that is due first."""
        claimable = _RESENDABLE if resend else (MailStatus.PENDING,)
        while True:
            async with self._database.session() as session:
                wanted = await _find_due(session) if message_id is None else message_id
                if wanted is None:
                    return None
                claimed = await _change(
                    session,
                    (OutboxMessage.id == wanted) & OutboxMessage.status.in_(claimable),
                    status=MailStatus.CLAIMED,
                    claimed_at=db_now(),
                    claim_token=token,
                    attempts=OutboxMessage.attempts + 1,
                )
                if claimed:
                    return _mail(await session.get_one(OutboxMessage, wanted))
            if message_id is not None:
                return None

    async def find_status(self, message_id: int) -> MailStatus | None:
        """What has become of the message."""
        async with self._database.session() as session:
            status = await session.scalar(select(OutboxMessage.status).where(OutboxMessage.id == message_id))
        return None if status is None else MailStatus(status)

    async def mark_sent(self, message_id: int, token: str) -> None:
        """The server has it."""
        await self._settle(message_id, token, status=MailStatus.SENT, sent_at=db_now(), error=None)

    async def mark_failed(self, message_id: int, token: str, error: str) -> None:
        """It will not be sent."""
        await self._settle(message_id, token, status=MailStatus.FAILED, error=_shortened(error))

    async def mark_uncertain(self, message_id: int, token: str, error: str) -> None:
        """Perhaps it was sent."""
        await self._settle(message_id, token, status=MailStatus.UNCERTAIN, error=_shortened(error))

    async def release(
        self, message_id: int, token: str, *, delay_seconds: float, error: str, counts: bool = False
    ) -> None:
        """Make it pending again, due after the delay."""
        await self._settle(
            message_id,
            token,
            status=MailStatus.PENDING,
            claim_token=None,
            claimed_at=None,
            next_attempt_at=db_now(delay_seconds),
            error=_shortened(error),
            attempts=OutboxMessage.attempts if counts else OutboxMessage.attempts - 1,
        )

    async def give_up_claims(self, token: str, *, execution_id: str, older_than_seconds: float) -> Sequence[int]:
        """Make uncertain what was claimed long ago, or by an earlier attempt of the execution."""
        abandoned = (
            (OutboxMessage.status == MailStatus.CLAIMED)
            & (OutboxMessage.claim_token != token)
            & or_(
                OutboxMessage.claimed_at < db_now(-older_than_seconds),
                OutboxMessage.claim_token.startswith(f"{execution_id}/", autoescape=True),
            )
        )
        async with self._database.session() as session:
            ids = (await session.scalars(select(OutboxMessage.id).where(abandoned).with_for_update())).all()
            if ids:
                error = "its worker was lost while it was being sent"
                await _change(session, OutboxMessage.id.in_(ids), status=MailStatus.UNCERTAIN, error=error)
        return ids

    async def _settle(self, message_id: int, token: str, **values: Any) -> None:
        # Without the claim nothing is written: somebody has given it up, and the message is theirs to judge.
        mine = (OutboxMessage.id == message_id) & (OutboxMessage.claim_token == token)
        async with self._database.session() as session:
            await _change(session, mine & (OutboxMessage.status == MailStatus.CLAIMED), **values)


async def _find_due(session: AsyncSession) -> int | None:
    query = (
        select(OutboxMessage.id)
        .where(OutboxMessage.status == MailStatus.PENDING, OutboxMessage.next_attempt_at <= db_now())
        .order_by(OutboxMessage.next_attempt_at, OutboxMessage.id)
        .limit(1)
    )
    return await session.scalar(query)


async def _change(session: AsyncSession, where: ColumnElement[bool], **values: Any) -> int:
    result = await session.execute(
        update(OutboxMessage).where(where).values(**values).execution_options(synchronize_session=False)
    )
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


def _mail(row: OutboxMessage) -> OutgoingMail:
    return OutgoingMail(
        id=row.id,
        recipient=row.recipient,
        content=MailContent(subject=row.subject, text=row.text_body, html=row.html_body),
        message_id=row.message_id,
        created_at=row.created_at,
        attempts=row.attempts,
    )


def _shortened(error: str) -> str:
    return redact(error)[:_ERROR_LENGTH]
