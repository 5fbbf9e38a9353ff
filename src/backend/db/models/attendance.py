"""The punches as the time clocks recorded them."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db.models.base import TABLE_OPTIONS, Base
from backend.db.types import BigKey, UTCDateTime, ascii_key, exact_text


class Punch(Base):
    """One punch: somebody was at a device at an instant. Written once, never changed.

    A punch belongs to the employee whose `biostar_user_id` is its `user_id`; it is kept also when there is none (yet).
    """

    __tablename__ = "attendance_punch"
    __table_args__ = (
        # Nothing says that an event's number is unique beyond its table.
        UniqueConstraint("source", "source_table", "event_key"),
        Index("ix_attendance_punch_user_id_punched_at", "user_id", "punched_at"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    source: Mapped[str] = mapped_column(ascii_key(32))
    source_table: Mapped[str] = mapped_column(ascii_key(64))
    # The event's identity in that table: EVTLGUID for BioStar 2.
    event_key: Mapped[str] = mapped_column(ascii_key(64))
    user_id: Mapped[str] = mapped_column(exact_text(64))
    punched_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    # A code of `domain.punches.Direction`; NULL: the person pressed no key, or one without a meaning.
    direction: Mapped[str | None] = mapped_column(ascii_key(16))
    device_id: Mapped[str | None] = mapped_column(exact_text(64))
    event_code: Mapped[int | None]
    ingested_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    execution_id: Mapped[str] = mapped_column(ascii_key(36))
