"""Attendance: the punches as the time clocks recorded them, what people have said about them, and the computed days."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Boolean, Date, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db.models.base import TABLE_OPTIONS, Base
from backend.db.models.hr import Digest
from backend.db.types import BigKey, Json, LongText, UTCDateTime, ascii_key, exact_text

# --- from the time clocks -------------------------------------------------------------------------------------------


class Punch(Base):
    """One punch: somebody was at a device at an instant. Written once, never changed.

    A punch belongs to the employee of its user (`PunchUser`); it is kept also when there is none (yet).
    """

    __tablename__ = "attendance_punch"
    __table_args__ = (
        # Nothing says that an event's number is unique beyond its table.
        UniqueConstraint("source", "source_table", "event_key"),
        Index("ix_attendance_punch_user_id_punched_at", "user_id", "punched_at"),
        Index("ix_attendance_punch_punched_at", "punched_at"),
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
    # Codes of `domain.punches.PunchFlag` with commas between them; NULL: nothing is odd about it.
    flags: Mapped[str | None] = mapped_column(ascii_key(64))
    ingested_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    execution_id: Mapped[str] = mapped_column(ascii_key(36))


class PunchUser(Base):
    """A user id of a source that has punched, or that somebody has assigned, and whose it is."""

    __tablename__ = "attendance_user"
    __table_args__ = (Index("ix_attendance_user_employee_no", "employee_no"), TABLE_OPTIONS)

    source: Mapped[str] = mapped_column(ascii_key(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(exact_text(64), primary_key=True)
    # Whose punches these are; NULL: nobody's so far, which is what operators get to see.
    employee_no: Mapped[str | None] = mapped_column(exact_text(100))
    # What somebody has said, which goes before the source's rule.
    assigned_no: Mapped[str | None] = mapped_column(exact_text(100))
    assigned_by: Mapped[str | None] = mapped_column(String(200))
    assigned_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    first_seen_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)


class ClockChange(Base):
    """The clock of a device was set: the punches around it are doubtful."""

    __tablename__ = "attendance_clock_change"
    __table_args__ = (
        UniqueConstraint("source", "source_table", "event_key"),
        Index("ix_attendance_clock_change_changed_at", "changed_at"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    source: Mapped[str] = mapped_column(ascii_key(32))
    source_table: Mapped[str] = mapped_column(ascii_key(64))
    event_key: Mapped[str] = mapped_column(ascii_key(64))
    device_id: Mapped[str] = mapped_column(exact_text(64))
    changed_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    event_code: Mapped[int | None]
    # So far around it the punches of the device are doubtful.
    doubt_seconds: Mapped[int]
    ingested_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    execution_id: Mapped[str] = mapped_column(ascii_key(36))


# --- computed -------------------------------------------------------------------------------------------------------


class Day(Base):
    """One date of one employee, as it was computed last. The totals are those of `domain.attendance.day`."""

    __tablename__ = "attendance_day"
    __table_args__ = (
        UniqueConstraint("employee_no", "work_on"),
        Index("ix_attendance_day_work_on_status", "work_on", "status"),
        # "Which days of the past are still open?"
        Index("ix_attendance_day_is_final_work_on", "is_final", "work_on"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    employee_no: Mapped[str] = mapped_column(exact_text(100))
    work_on: Mapped[dt.date] = mapped_column(Date)
    status: Mapped[str] = mapped_column(ascii_key(16))
    is_final: Mapped[bool] = mapped_column(Boolean)
    policy: Mapped[str] = mapped_column(exact_text(64))
    # Codes of the fixed shifts with a + between them; NULL: there is none.
    shift_code: Mapped[str | None] = mapped_column(exact_text(200))
    timezone: Mapped[str] = mapped_column(ascii_key(64))
    scheduled_seconds: Mapped[int]
    expected_seconds: Mapped[int]
    presence_seconds: Mapped[int]
    worked_seconds: Mapped[int]
    late_seconds: Mapped[int]
    early_seconds: Mapped[int]
    break_seconds: Mapped[int]
    away_seconds: Mapped[int]
    deducted_seconds: Mapped[int]
    rounding_seconds: Mapped[int]
    leave_seconds: Mapped[int]
    overtime_seconds: Mapped[int]
    first_in_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    last_out_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    # Codes of `domain.attendance.day.Anomaly` with commas between them; NULL: none.
    anomalies: Mapped[str | None] = mapped_column(ascii_key(300))
    # The rest of the day as JSON (`domain.attendance.records`): overtime by kind, spans, punches with their fates, ...
    detail: Mapped[str] = mapped_column(LongText)
    # Of everything above; a day that is computed to the same is not written.
    digest: Mapped[bytes] = mapped_column(Digest)
    computed_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    execution_id: Mapped[str] = mapped_column(ascii_key(36))


class DirtyDays(Base):
    """Days of an employee that something has touched, and that are to be computed again."""

    __tablename__ = "attendance_dirty"
    __table_args__ = (Index("ix_attendance_dirty_employee_no", "employee_no"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    employee_no: Mapped[str] = mapped_column(exact_text(100))
    # Both inclusive.
    first_on: Mapped[dt.date] = mapped_column(Date)
    last_on: Mapped[dt.date] = mapped_column(Date)
    # punch, user, clock, correction, override, lock, roster, policy, holiday, leave, employment or site
    reason: Mapped[str] = mapped_column(ascii_key(16))
    marked_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)


class AttendancePerson(Base):
    """What of an employee the last look at the HR data has seen; the next one finds by it what has changed."""

    __tablename__ = "attendance_person"

    employee_no: Mapped[str] = mapped_column(exact_text(100), primary_key=True)
    # Department, site, employment and leaves, as JSON.
    facts: Mapped[str] = mapped_column(LongText)


class AttendanceSetup(Base):
    """The rules and holidays by which days were computed from an instant on. The newest row is the one that counts."""

    __tablename__ = "attendance_setup"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    digest: Mapped[bytes] = mapped_column(Digest)
    # attendance.toml as it was read, the assignments of the table and the holidays, as JSON.
    content: Mapped[str] = mapped_column(LongText)
    used_from: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    execution_id: Mapped[str] = mapped_column(ascii_key(36))


# --- what people say ------------------------------------------------------------------------------------------------


class _Said:
    """Who said something and why; withdrawn, never deleted."""

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True, sort_order=-1)
    made_by: Mapped[str] = mapped_column(String(200), sort_order=1)
    reason: Mapped[str] = mapped_column(String(500), sort_order=1)
    made_at: Mapped[dt.datetime] = mapped_column(UTCDateTime, sort_order=1)
    withdrawn_by: Mapped[str | None] = mapped_column(String(200), sort_order=1)
    withdrawn_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime, sort_order=1)


class Correction(_Said, Base):
    """A punch that somebody has added, edited or taken out; the punch itself stays as it is."""

    __tablename__ = "attendance_correction"

    employee_no: Mapped[str] = mapped_column(exact_text(100), index=True)
    # add, edit or ignore
    action: Mapped[str] = mapped_column(ascii_key(8))
    # The punch that is edited or ignored.
    punch_id: Mapped[int | None] = mapped_column(BigKey)
    punched_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    direction: Mapped[str | None] = mapped_column(ascii_key(16))


class Override(_Said, Base):
    """What somebody has set a day to be; NULL leaves a value as it is computed."""

    __tablename__ = "attendance_override"
    __table_args__ = (Index("ix_attendance_override_employee_no_work_on", "employee_no", "work_on"), TABLE_OPTIONS)

    employee_no: Mapped[str] = mapped_column(exact_text(100))
    work_on: Mapped[dt.date] = mapped_column(Date)
    status: Mapped[str | None] = mapped_column(ascii_key(16))
    worked_seconds: Mapped[int | None]
    late_seconds: Mapped[int | None]
    early_seconds: Mapped[int | None]


class AssignmentRow(_Said, Base):
    """By which pattern and policy somebody works from one date to another; beside those of attendance.toml."""

    __tablename__ = "attendance_assignment"

    # exception, employee, department, site or default
    scope: Mapped[str] = mapped_column(ascii_key(16))
    # An employee number or department code; '' for the default.
    target: Mapped[str] = mapped_column(exact_text(100), index=True)
    # NULL: it says nothing about it; pattern '': work without a schedule.
    pattern: Mapped[str | None] = mapped_column(exact_text(64))
    policy: Mapped[str | None] = mapped_column(exact_text(64))
    # NULL: open.
    first_on: Mapped[dt.date | None] = mapped_column(Date)
    last_on: Mapped[dt.date | None] = mapped_column(Date)


class PeriodLock(_Said, Base):
    """Payroll is closed from one date to another, both inclusive: the days of these dates never change."""

    __tablename__ = "attendance_lock"

    first_on: Mapped[dt.date] = mapped_column(Date)
    last_on: Mapped[dt.date] = mapped_column(Date)


class AdjustmentRow(Base):
    """How a locked day would be if it were computed now: the whole difference to what is locked."""

    __tablename__ = "attendance_adjustment"
    __table_args__ = (
        UniqueConstraint("employee_no", "work_on"),
        Index("ix_attendance_adjustment_settled_at_work_on", "settled_at", "work_on"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    employee_no: Mapped[str] = mapped_column(exact_text(100))
    work_on: Mapped[dt.date] = mapped_column(Date)
    # So much more was worked than is locked, and so much more overtime by kind.
    worked_seconds: Mapped[int]
    overtime: Mapped[dict[str, Any]] = mapped_column(Json)
    # {total: [locked, computed]} of what differs.
    changes: Mapped[dict[str, Any]] = mapped_column(Json)
    # The day as it would be (`domain.attendance.records`); NULL: there would be none.
    detail: Mapped[str | None] = mapped_column(LongText)
    found_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    changed_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    # When it went away again (the day is computed to what is locked); NULL: it stands.
    settled_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    execution_id: Mapped[str] = mapped_column(ascii_key(36))
