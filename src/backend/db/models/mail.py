"""The outbox: every message that is to be sent, with what became of it."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.db.models.base import TABLE_OPTIONS, Base
from backend.db.types import BigKey, LongText, UTCDateTime, ascii_key, exact_text


class OutboxMessage(Base):
    """One message to one recipient; sent at most once by itself."""

    __tablename__ = "mail_outbox"
    __table_args__ = (Index("ix_mail_outbox_status_next_attempt_at", "status", "next_attempt_at"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    # What the message is about, such as hris_summary:EXECUTION:RECIPIENT; a second one with the same key is not taken.
    business_key: Mapped[str] = mapped_column(exact_text(200), unique=True)
    recipient: Mapped[str] = mapped_column(String(320))
    subject: Mapped[str] = mapped_column(String(500))
    text_body: Mapped[str] = mapped_column(LongText)
    html_body: Mapped[str | None] = mapped_column(LongText)
    # The Message-ID header, fixed for ever, so that a doubled message can be recognised.
    message_id: Mapped[str] = mapped_column(ascii_key(200))
    # A code of `domain.mail.MailStatus`.
    status: Mapped[str] = mapped_column(ascii_key(16))
    claimed_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    claim_token: Mapped[str | None] = mapped_column(ascii_key(64))
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    sent_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    error: Mapped[str | None] = mapped_column(String(1000))
    # The execution of send_email that was made for it.
    execution_id: Mapped[str | None] = mapped_column(ascii_key(36))
    created_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
