"""Attendance: users of the time clocks, computed days, corrections, locks and assignments; parts of an execution."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backend.db import types

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision; run again after a break, it goes on where it stopped."""
    op.create_table(
        "attendance_adjustment",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("employee_no", types.exact_text(100), nullable=False),
        sa.Column("work_on", sa.Date(), nullable=False),
        sa.Column("worked_seconds", sa.Integer(), nullable=False),
        sa.Column("overtime", sa.JSON(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("detail", types.LongText, nullable=True),
        sa.Column("found_at", types.UTCDateTime(), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("settled_at", types.UTCDateTime(), nullable=True),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_adjustment")),
        sa.UniqueConstraint("employee_no", "work_on", name=op.f("uq_attendance_adjustment_employee_no_work_on")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_attendance_adjustment_settled_at_work_on",
        "attendance_adjustment",
        ["settled_at", "work_on"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "attendance_assignment",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("scope", types.ascii_key(16), nullable=False),
        sa.Column("target", types.exact_text(100), nullable=False),
        sa.Column("pattern", types.exact_text(64), nullable=True),
        sa.Column("policy", types.exact_text(64), nullable=True),
        sa.Column("first_on", sa.Date(), nullable=True),
        sa.Column("last_on", sa.Date(), nullable=True),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("made_at", types.UTCDateTime(), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=200), nullable=True),
        sa.Column("withdrawn_at", types.UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_assignment")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_attendance_assignment_target"), "attendance_assignment", ["target"], unique=False, if_not_exists=True
    )
    op.create_table(
        "attendance_clock_change",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("source", types.ascii_key(32), nullable=False),
        sa.Column("source_table", types.ascii_key(64), nullable=False),
        sa.Column("event_key", types.ascii_key(64), nullable=False),
        sa.Column("device_id", types.exact_text(64), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("event_code", sa.Integer(), nullable=True),
        sa.Column("doubt_seconds", sa.Integer(), nullable=False),
        sa.Column("ingested_at", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_clock_change")),
        sa.UniqueConstraint(
            "source", "source_table", "event_key", name=op.f("uq_attendance_clock_change_source_source_table_event_key")
        ),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_attendance_clock_change_changed_at",
        "attendance_clock_change",
        ["changed_at"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "attendance_correction",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("employee_no", types.exact_text(100), nullable=False),
        sa.Column("action", types.ascii_key(8), nullable=False),
        sa.Column("punch_id", types.BigKey, nullable=True),
        sa.Column("punched_at", types.UTCDateTime(), nullable=True),
        sa.Column("direction", types.ascii_key(16), nullable=True),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("made_at", types.UTCDateTime(), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=200), nullable=True),
        sa.Column("withdrawn_at", types.UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_correction")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_attendance_correction_employee_no"),
        "attendance_correction",
        ["employee_no"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "attendance_day",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("employee_no", types.exact_text(100), nullable=False),
        sa.Column("work_on", sa.Date(), nullable=False),
        sa.Column("status", types.ascii_key(16), nullable=False),
        sa.Column("is_final", sa.Boolean(), nullable=False),
        sa.Column("policy", types.exact_text(64), nullable=False),
        sa.Column("shift_code", types.exact_text(200), nullable=True),
        sa.Column("timezone", types.ascii_key(64), nullable=False),
        sa.Column("scheduled_seconds", sa.Integer(), nullable=False),
        sa.Column("expected_seconds", sa.Integer(), nullable=False),
        sa.Column("presence_seconds", sa.Integer(), nullable=False),
        sa.Column("worked_seconds", sa.Integer(), nullable=False),
        sa.Column("late_seconds", sa.Integer(), nullable=False),
        sa.Column("early_seconds", sa.Integer(), nullable=False),
        sa.Column("break_seconds", sa.Integer(), nullable=False),
        sa.Column("away_seconds", sa.Integer(), nullable=False),
        sa.Column("deducted_seconds", sa.Integer(), nullable=False),
        sa.Column("rounding_seconds", sa.Integer(), nullable=False),
        sa.Column("leave_seconds", sa.Integer(), nullable=False),
        sa.Column("overtime_seconds", sa.Integer(), nullable=False),
        sa.Column("first_in_at", types.UTCDateTime(), nullable=True),
        sa.Column("last_out_at", types.UTCDateTime(), nullable=True),
        sa.Column("anomalies", types.ascii_key(300), nullable=True),
        sa.Column("detail", types.LongText, nullable=False),
        sa.Column(
            "digest",
            sa.LargeBinary(length=16)
            .with_variant(sa.BINARY(length=16), "mariadb")
            .with_variant(sa.BINARY(length=16), "mysql"),
            nullable=False,
        ),
        sa.Column("computed_at", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_day")),
        sa.UniqueConstraint("employee_no", "work_on", name=op.f("uq_attendance_day_employee_no_work_on")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_attendance_day_is_final_work_on",
        "attendance_day",
        ["is_final", "work_on"],
        unique=False,
        if_not_exists=True,
    )
    op.create_index(
        "ix_attendance_day_work_on_status", "attendance_day", ["work_on", "status"], unique=False, if_not_exists=True
    )
    op.create_table(
        "attendance_dirty",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("employee_no", types.exact_text(100), nullable=False),
        sa.Column("first_on", sa.Date(), nullable=False),
        sa.Column("last_on", sa.Date(), nullable=False),
        sa.Column("reason", types.ascii_key(16), nullable=False),
        sa.Column("marked_at", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_dirty")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_attendance_dirty_employee_no", "attendance_dirty", ["employee_no"], unique=False, if_not_exists=True
    )
    op.create_table(
        "attendance_lock",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("first_on", sa.Date(), nullable=False),
        sa.Column("last_on", sa.Date(), nullable=False),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("made_at", types.UTCDateTime(), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=200), nullable=True),
        sa.Column("withdrawn_at", types.UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_lock")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "attendance_override",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("employee_no", types.exact_text(100), nullable=False),
        sa.Column("work_on", sa.Date(), nullable=False),
        sa.Column("status", types.ascii_key(16), nullable=True),
        sa.Column("worked_seconds", sa.Integer(), nullable=True),
        sa.Column("late_seconds", sa.Integer(), nullable=True),
        sa.Column("early_seconds", sa.Integer(), nullable=True),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("made_at", types.UTCDateTime(), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=200), nullable=True),
        sa.Column("withdrawn_at", types.UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_override")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_attendance_override_employee_no_work_on",
        "attendance_override",
        ["employee_no", "work_on"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "attendance_person",
        sa.Column("employee_no", types.exact_text(100), nullable=False),
        sa.Column("facts", types.LongText, nullable=False),
        sa.PrimaryKeyConstraint("employee_no", name=op.f("pk_attendance_person")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "attendance_setup",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column(
            "digest",
            sa.LargeBinary(length=16)
            .with_variant(sa.BINARY(length=16), "mariadb")
            .with_variant(sa.BINARY(length=16), "mysql"),
            nullable=False,
        ),
        sa.Column("content", types.LongText, nullable=False),
        sa.Column("used_from", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_setup")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "attendance_user",
        sa.Column("source", types.ascii_key(32), nullable=False),
        sa.Column("user_id", types.exact_text(64), nullable=False),
        sa.Column("employee_no", types.exact_text(100), nullable=True),
        sa.Column("assigned_no", types.exact_text(100), nullable=True),
        sa.Column("assigned_by", sa.String(length=200), nullable=True),
        sa.Column("assigned_at", types.UTCDateTime(), nullable=True),
        sa.Column("first_seen_at", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", "user_id", name=op.f("pk_attendance_user")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_attendance_user_employee_no", "attendance_user", ["employee_no"], unique=False, if_not_exists=True
    )
    op.create_table(
        "scheduler_execution_part",
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("part_execution_id", types.ascii_key(36), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["scheduler_job_execution.id"],
            name=op.f("fk_scheduler_execution_part_execution_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("execution_id", "number", name=op.f("pk_scheduler_execution_part")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_scheduler_execution_part_part_execution_id"),
        "scheduler_execution_part",
        ["part_execution_id"],
        unique=False,
        if_not_exists=True,
    )
    if "flags" not in {item["name"] for item in sa.inspect(op.get_bind()).get_columns("attendance_punch")}:
        op.add_column("attendance_punch", sa.Column("flags", types.ascii_key(64), nullable=True))
    op.create_index(
        "ix_attendance_punch_punched_at", "attendance_punch", ["punched_at"], unique=False, if_not_exists=True
    )
