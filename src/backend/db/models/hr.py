"""The replicated HR data and the quarantine. The columns of an entity are the fields of `domain.employees`."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

from sqlalchemy import JSON, Date, ForeignKey, Index, LargeBinary, Numeric, String, UniqueConstraint
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from backend.db.models.base import TABLE_OPTIONS, Base
from backend.db.types import BigKey, Json, LongText, UTCDateTime, ascii_key, exact_text

Digest = LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")


class _Replicated:
    """What every replicated row carries."""

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True, sort_order=-1)
    # Custom fields of the mapping (`extra.NAME`).
    extra: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), sort_order=1)
    row_hash: Mapped[bytes] = mapped_column(Digest, sort_order=1)
    # False: gone from the source, or the source says that it is gone. Rows are never deleted.
    is_active: Mapped[bool] = mapped_column(sort_order=1)
    deactivated_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime, sort_order=1)
    first_seen_at: Mapped[dt.datetime] = mapped_column(UTCDateTime, sort_order=1)
    changed_at: Mapped[dt.datetime] = mapped_column(UTCDateTime, sort_order=1)
    # The execution that changed the row last.
    execution_id: Mapped[str] = mapped_column(ascii_key(36), sort_order=1)
    # The execution that inserted it; NULL where that was before revision 0002.
    first_execution_id: Mapped[str | None] = mapped_column(ascii_key(36), sort_order=2)


class _Renumberable:
    """What rows carry whose key may change in the source."""

    # The source's own name for the row, which stays when the key changes.
    stable_key: Mapped[str | None] = mapped_column(exact_text(100), index=True, sort_order=2)


class Department(_Replicated, _Renumberable, Base):
    """A department of the HRIS."""

    __tablename__ = "hr_department"

    code: Mapped[str] = mapped_column(exact_text(100), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    parent_code: Mapped[str | None] = mapped_column(exact_text(100), index=True)


class Position(_Replicated, _Renumberable, Base):
    """A position (job title) of the HRIS."""

    __tablename__ = "hr_position"

    code: Mapped[str] = mapped_column(exact_text(100), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    # The position that this one reports to.
    parent_code: Mapped[str | None] = mapped_column(exact_text(100), index=True, sort_order=2)


class Employee(_Replicated, _Renumberable, Base):
    """An employee of the HRIS.

    `department_code`, `position_code` and `manager_no` always name an existing row (active or not), and managers never
    form a circle: a reference that would break this is left empty and is in the quarantine as a warning.
    """

    __tablename__ = "hr_employee"

    employee_no: Mapped[str] = mapped_column(exact_text(100), unique=True)
    full_name: Mapped[str] = mapped_column(String(200))
    first_name: Mapped[str | None] = mapped_column(String(200))
    last_name: Mapped[str | None] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(254))
    phone: Mapped[str | None] = mapped_column(String(64))
    department_code: Mapped[str | None] = mapped_column(exact_text(100), index=True)
    # Not indexed: nobody asks who holds a position, and a company's first load takes a tenth less time.
    position_code: Mapped[str | None] = mapped_column(exact_text(100))
    manager_no: Mapped[str | None] = mapped_column(exact_text(100), index=True)
    # active, on_leave, suspended, inactive or left: what the HRIS says.
    status: Mapped[str] = mapped_column(ascii_key(16))
    hired_on: Mapped[dt.date | None] = mapped_column(Date)
    left_on: Mapped[dt.date | None] = mapped_column(Date)
    biostar_user_id: Mapped[str | None] = mapped_column(exact_text(64), index=True)


class Leave(_Replicated, Base):
    """A leave of an employee, from `starts_on` to `ends_on`, both included."""

    __tablename__ = "hr_leave"

    code: Mapped[str] = mapped_column(exact_text(100), unique=True)
    employee_no: Mapped[str] = mapped_column(exact_text(100), index=True)
    kind: Mapped[str] = mapped_column(String(64))
    starts_on: Mapped[dt.date] = mapped_column(Date)
    ends_on: Mapped[dt.date] = mapped_column(Date)
    # full, first_half or second_half: of each day.
    day_part: Mapped[str] = mapped_column(ascii_key(16))
    # Hours of each day, where the leave is not whole or half days.
    hours: Mapped[decimal.Decimal | None] = mapped_column(Numeric(6, 2))


class Holiday(_Replicated, Base):
    """A holiday of the company, or of one of its calendars."""

    __tablename__ = "hr_holiday"

    code: Mapped[str] = mapped_column(exact_text(100), unique=True)
    holiday_on: Mapped[dt.date] = mapped_column(Date, index=True)
    name: Mapped[str] = mapped_column(String(200))
    # Whose holiday it is (a site, a country); NULL: everybody's.
    calendar: Mapped[str | None] = mapped_column(exact_text(64))
    day_part: Mapped[str] = mapped_column(ascii_key(16))


class HrChange(Base):
    """One field of one replicated row that a run changed. Rows that a run inserted say so themselves.

    The state at an instant is the state of now, with what was changed later taken back.
    """

    __tablename__ = "hr_change"
    __table_args__ = (
        Index("ix_hr_change_entity_row_id_id", "entity", "row_id", "id"),
        Index("ix_hr_change_entity_changed_at", "entity", "changed_at"),
        Index("ix_hr_change_entity_entity_key", "entity", "entity_key"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    entity: Mapped[str] = mapped_column(ascii_key(16))
    # The id of the row in its table: it stays when the key changes.
    row_id: Mapped[int] = mapped_column(BigKey)
    # The key that the row had before the change.
    entity_key: Mapped[str] = mapped_column(exact_text(100))
    # A column of the table; also the key itself, `is_active` ("1" or "0") and the parent.
    field: Mapped[str] = mapped_column(ascii_key(64))
    # Canonical texts; hashed or masked where the mapping says that the field is sensitive.
    old_value: Mapped[str | None] = mapped_column(LongText)
    new_value: Mapped[str | None] = mapped_column(LongText)
    changed_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    execution_id: Mapped[str] = mapped_column(ascii_key(36), index=True)


class HrHold(Base):
    """A run that the guard held: what it would have done, why it did not, and what somebody decided."""

    __tablename__ = "hr_hold"
    __table_args__ = (Index("ix_hr_hold_status_id", "status", "id"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    # The run that was held first; later ones that would do the same move `last_seen_at`.
    execution_id: Mapped[str] = mapped_column(ascii_key(36), unique=True)
    # The same for two runs that would do exactly the same.
    fingerprint: Mapped[bytes] = mapped_column(Digest)
    # held, approved, rejected, applied, or expired: the source has changed since.
    status: Mapped[str] = mapped_column(ascii_key(16))
    # Sentences.
    reasons: Mapped[list[str]] = mapped_column(Json)
    # By entity: inserted, updated, reactivated, deactivated, ...
    counts: Mapped[dict[str, Any]] = mapped_column(Json)
    # How many changes there were; `hr_hold_change` keeps the first of them.
    change_count: Mapped[int] = mapped_column(BigKey)
    held_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    last_seen_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    decided_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    decided_by: Mapped[str | None] = mapped_column(String(200))
    note: Mapped[str | None] = mapped_column(String(500))
    applied_execution_id: Mapped[str | None] = mapped_column(ascii_key(36))


class HrHoldChange(Base):
    """One row that a held run would have changed."""

    __tablename__ = "hr_hold_change"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    hold_id: Mapped[int] = mapped_column(ForeignKey("hr_hold.id", ondelete="CASCADE"), index=True)
    entity: Mapped[str] = mapped_column(ascii_key(16))
    entity_key: Mapped[str] = mapped_column(exact_text(100))
    # insert, update, reactivate, deactivate or renumber
    action: Mapped[str] = mapped_column(ascii_key(16))
    # {field: [old, new]}; sensitive ones hashed or masked.
    fields: Mapped[dict[str, Any]] = mapped_column(Json)


class QuarantinedRow(Base):
    """A row of the source with what is wrong with it. It leaves when a run finds the defect gone."""

    __tablename__ = "hr_quarantine"
    __table_args__ = (
        UniqueConstraint("entity", "fingerprint"),
        Index("ix_hr_quarantine_entity_source_key", "entity", "source_key"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    entity: Mapped[str] = mapped_column(ascii_key(16))
    # NULL where the row has no key.
    source_key: Mapped[str | None] = mapped_column(exact_text(100))
    fingerprint: Mapped[bytes] = mapped_column(Digest)
    # error: the row was not applied; warning: it was applied without the value in question.
    severity: Mapped[str] = mapped_column(ascii_key(8))
    reason: Mapped[str] = mapped_column(ascii_key(32))
    field: Mapped[str | None] = mapped_column(ascii_key(64))
    message: Mapped[str] = mapped_column(String(1000))
    # The row as it was read, by result column. Personal data: never logged.
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    first_seen_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    last_seen_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    execution_id: Mapped[str] = mapped_column(ascii_key(36))
