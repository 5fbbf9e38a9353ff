"""The replicated HR data and the quarantine. The columns of an entity are the fields of `domain.employees`."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Date, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from backend.db.models.base import TABLE_OPTIONS, Base
from backend.db.types import BigKey, Json, UTCDateTime, ascii_key, exact_text

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


class Department(_Replicated, Base):
    """A department of the HRIS."""

    __tablename__ = "hr_department"

    code: Mapped[str] = mapped_column(exact_text(100), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    parent_code: Mapped[str | None] = mapped_column(exact_text(100), index=True)


class Position(_Replicated, Base):
    """A position (job title) of the HRIS."""

    __tablename__ = "hr_position"

    code: Mapped[str] = mapped_column(exact_text(100), unique=True)
    title: Mapped[str] = mapped_column(String(200))


class Employee(_Replicated, Base):
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
    position_code: Mapped[str | None] = mapped_column(exact_text(100), index=True)
    manager_no: Mapped[str | None] = mapped_column(exact_text(100), index=True)
    # active, on_leave, suspended, inactive or left: what the HRIS says.
    status: Mapped[str] = mapped_column(ascii_key(16))
    hired_on: Mapped[dt.date | None] = mapped_column(Date)
    left_on: Mapped[dt.date | None] = mapped_column(Date)
    biostar_user_id: Mapped[str | None] = mapped_column(exact_text(64), index=True)


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
