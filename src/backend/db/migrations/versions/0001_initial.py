"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backend.db import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision; run again after a break, it goes on where it stopped."""
    op.create_table(
        "attendance_punch",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("source", types.ascii_key(32), nullable=False),
        sa.Column("source_table", types.ascii_key(64), nullable=False),
        sa.Column("event_key", types.ascii_key(64), nullable=False),
        sa.Column("user_id", types.exact_text(64), nullable=False),
        sa.Column("punched_at", types.UTCDateTime(), nullable=False),
        sa.Column("direction", types.ascii_key(16), nullable=True),
        sa.Column("device_id", types.exact_text(64), nullable=True),
        sa.Column("event_code", sa.Integer(), nullable=True),
        sa.Column("ingested_at", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance_punch")),
        sa.UniqueConstraint(
            "source", "source_table", "event_key", name=op.f("uq_attendance_punch_source_source_table_event_key")
        ),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_attendance_punch_user_id_punched_at",
        "attendance_punch",
        ["user_id", "punched_at"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "hr_department",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("code", types.exact_text(100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("parent_code", types.exact_text(100), nullable=True),
        sa.Column("extra", sa.JSON(none_as_null=True), nullable=True),
        sa.Column(
            "row_hash",
            sa.LargeBinary(length=16)
            .with_variant(sa.BINARY(length=16), "mariadb")
            .with_variant(sa.BINARY(length=16), "mysql"),
            nullable=False,
        ),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("deactivated_at", types.UTCDateTime(), nullable=True),
        sa.Column("first_seen_at", types.UTCDateTime(), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_department")),
        sa.UniqueConstraint("code", name=op.f("uq_hr_department_code")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_hr_department_parent_code"), "hr_department", ["parent_code"], unique=False, if_not_exists=True
    )
    op.create_table(
        "hr_employee",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("employee_no", types.exact_text(100), nullable=False),
        sa.Column("full_name", sa.String(length=200), nullable=False),
        sa.Column("first_name", sa.String(length=200), nullable=True),
        sa.Column("last_name", sa.String(length=200), nullable=True),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("phone", sa.String(length=64), nullable=True),
        sa.Column("department_code", types.exact_text(100), nullable=True),
        sa.Column("position_code", types.exact_text(100), nullable=True),
        sa.Column("manager_no", types.exact_text(100), nullable=True),
        sa.Column("status", types.ascii_key(16), nullable=False),
        sa.Column("hired_on", sa.Date(), nullable=True),
        sa.Column("left_on", sa.Date(), nullable=True),
        sa.Column("biostar_user_id", types.exact_text(64), nullable=True),
        sa.Column("extra", sa.JSON(none_as_null=True), nullable=True),
        sa.Column(
            "row_hash",
            sa.LargeBinary(length=16)
            .with_variant(sa.BINARY(length=16), "mariadb")
            .with_variant(sa.BINARY(length=16), "mysql"),
            nullable=False,
        ),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("deactivated_at", types.UTCDateTime(), nullable=True),
        sa.Column("first_seen_at", types.UTCDateTime(), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_employee")),
        sa.UniqueConstraint("employee_no", name=op.f("uq_hr_employee_employee_no")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_hr_employee_biostar_user_id"), "hr_employee", ["biostar_user_id"], unique=False, if_not_exists=True
    )
    op.create_index(
        op.f("ix_hr_employee_department_code"), "hr_employee", ["department_code"], unique=False, if_not_exists=True
    )
    op.create_index(op.f("ix_hr_employee_manager_no"), "hr_employee", ["manager_no"], unique=False, if_not_exists=True)
    op.create_index(
        op.f("ix_hr_employee_position_code"), "hr_employee", ["position_code"], unique=False, if_not_exists=True
    )
    op.create_table(
        "hr_position",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("code", types.exact_text(100), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("extra", sa.JSON(none_as_null=True), nullable=True),
        sa.Column(
            "row_hash",
            sa.LargeBinary(length=16)
            .with_variant(sa.BINARY(length=16), "mariadb")
            .with_variant(sa.BINARY(length=16), "mysql"),
            nullable=False,
        ),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("deactivated_at", types.UTCDateTime(), nullable=True),
        sa.Column("first_seen_at", types.UTCDateTime(), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_position")),
        sa.UniqueConstraint("code", name=op.f("uq_hr_position_code")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "hr_quarantine",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("entity", types.ascii_key(16), nullable=False),
        sa.Column("source_key", types.exact_text(100), nullable=True),
        sa.Column(
            "fingerprint",
            sa.LargeBinary(length=16)
            .with_variant(sa.BINARY(length=16), "mariadb")
            .with_variant(sa.BINARY(length=16), "mysql"),
            nullable=False,
        ),
        sa.Column("severity", types.ascii_key(8), nullable=False),
        sa.Column("reason", types.ascii_key(32), nullable=False),
        sa.Column("field", types.ascii_key(64), nullable=True),
        sa.Column("message", sa.String(length=1000), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("first_seen_at", types.UTCDateTime(), nullable=False),
        sa.Column("last_seen_at", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_quarantine")),
        sa.UniqueConstraint("entity", "fingerprint", name=op.f("uq_hr_quarantine_entity_fingerprint")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_hr_quarantine_entity_source_key",
        "hr_quarantine",
        ["entity", "source_key"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "mail_outbox",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("business_key", types.exact_text(200), nullable=False),
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("subject", sa.String(length=500), nullable=False),
        sa.Column("text_body", types.LongText, nullable=False),
        sa.Column("html_body", types.LongText, nullable=True),
        sa.Column("message_id", types.ascii_key(200), nullable=False),
        sa.Column("status", types.ascii_key(16), nullable=False),
        sa.Column("claimed_at", types.UTCDateTime(), nullable=True),
        sa.Column("claim_token", types.ascii_key(64), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", types.UTCDateTime(), nullable=False),
        sa.Column("sent_at", types.UTCDateTime(), nullable=True),
        sa.Column("error", sa.String(length=1000), nullable=True),
        sa.Column("execution_id", types.ascii_key(36), nullable=True),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_outbox")),
        sa.UniqueConstraint("business_key", name=op.f("uq_mail_outbox_business_key")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_mail_outbox_status_next_attempt_at",
        "mail_outbox",
        ["status", "next_attempt_at"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "scheduler_audit",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("at", types.UTCDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", types.ascii_key(40), nullable=False),
        sa.Column("object_type", types.ascii_key(40), nullable=False),
        sa.Column("object_id", sa.String(length=120), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_audit")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(op.f("ix_scheduler_audit_at"), "scheduler_audit", ["at"], unique=False, if_not_exists=True)
    op.create_table(
        "scheduler_execution_log",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("logged_at", types.UTCDateTime(), nullable=False),
        sa.Column("level", types.ascii_key(10), nullable=False),
        sa.Column("event", sa.String(length=500), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_execution_log")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_scheduler_execution_log_execution_id_id",
        "scheduler_execution_log",
        ["execution_id", "id"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "scheduler_execution_status",
        sa.Column("code", types.ascii_key(16), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("is_final", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_scheduler_execution_status")),
        sa.UniqueConstraint("id", name=op.f("uq_scheduler_execution_status_id")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "scheduler_job",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("code", types.ascii_key(100), nullable=False),
        sa.Column("task_code", types.ascii_key(100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("trigger_kind", types.ascii_key(16), nullable=False),
        sa.Column("trigger_expression", sa.String(length=200), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("dst_rule", types.ascii_key(8), nullable=False),
        sa.Column("jitter_seconds", sa.Double(), nullable=False),
        sa.Column("starts_at", types.UTCDateTime(), nullable=True),
        sa.Column("ends_at", types.UTCDateTime(), nullable=True),
        sa.Column("max_runs", sa.Integer(), nullable=True),
        sa.Column("blackouts", sa.JSON(), nullable=False),
        sa.Column("catch_up", types.ascii_key(8), nullable=False),
        sa.Column("max_lateness_seconds", sa.Double(), nullable=False),
        sa.Column("overlap", types.ascii_key(16), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("paused_at", types.UTCDateTime(), nullable=True),
        sa.Column("deleted_at", types.UTCDateTime(), nullable=True),
        sa.Column("last_fire_at", types.UTCDateTime(), nullable=True),
        sa.Column("runs_count", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_job")),
        sa.UniqueConstraint("code", name=op.f("uq_scheduler_job_code")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "scheduler_lease",
        sa.Column("name", types.ascii_key(32), nullable=False),
        sa.Column("holder", types.ascii_key(120), nullable=True),
        sa.Column("fencing_token", types.BigKey, nullable=False),
        sa.Column("acquired_at", types.UTCDateTime(), nullable=True),
        sa.Column("expires_at", types.UTCDateTime(), nullable=True),
        sa.Column("last_loop_at", types.UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_scheduler_lease")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "scheduler_worker",
        sa.Column("id", types.ascii_key(120), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pool", sa.String(length=32), nullable=False),
        sa.Column("started_at", types.UTCDateTime(), nullable=False),
        sa.Column("heartbeat_at", types.UTCDateTime(), nullable=False),
        sa.Column("stopped_at", types.UTCDateTime(), nullable=True),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("loop_gap_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_worker")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "sync_stream",
        sa.Column("code", types.exact_text(150), nullable=False),
        sa.Column("watermark", sa.JSON(), nullable=False),
        sa.Column("succeeded_at", types.UTCDateTime(), nullable=True),
        sa.Column("execution_id", types.ascii_key(36), nullable=True),
        sa.Column("row_count", types.BigKey, nullable=True),
        sa.Column("stale_after_seconds", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_sync_stream")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_table(
        "scheduler_job_execution",
        sa.Column("id", types.ascii_key(36), nullable=False),
        sa.Column("job_id", types.BigKey, nullable=True),
        sa.Column("job_code", types.ascii_key(100), nullable=True),
        sa.Column("task_code", types.ascii_key(100), nullable=False),
        sa.Column("task_name", types.ascii_key(200), nullable=False),
        sa.Column("queue", types.ascii_key(64), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("scheduled_for", types.UTCDateTime(), nullable=True),
        sa.Column("triggered_by", types.ascii_key(16), nullable=False),
        sa.Column("requested_by", sa.String(length=200), nullable=True),
        sa.Column("correlation_id", types.ascii_key(64), nullable=False),
        sa.Column("retry_of", types.ascii_key(36), nullable=True),
        sa.Column("status", types.ascii_key(16), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("run_after", types.UTCDateTime(), nullable=False),
        sa.Column("dispatched_at", types.UTCDateTime(), nullable=True),
        sa.Column("dispatch_count", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("interruptions", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("idempotent", sa.Boolean(), nullable=False),
        sa.Column("claim_token", types.ascii_key(36), nullable=True),
        sa.Column("worker_id", types.ascii_key(120), nullable=True),
        sa.Column("worker_host", sa.String(length=200), nullable=True),
        sa.Column("heartbeat_at", types.UTCDateTime(), nullable=True),
        sa.Column("cancel_requested_at", types.UTCDateTime(), nullable=True),
        sa.Column("cancel_reason", sa.String(length=500), nullable=True),
        sa.Column("started_at", types.UTCDateTime(), nullable=True),
        sa.Column("finished_at", types.UTCDateTime(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("progress_current", types.BigKey, nullable=True),
        sa.Column("progress_total", types.BigKey, nullable=True),
        sa.Column("progress_message", sa.String(length=500), nullable=True),
        sa.Column("rows_read", types.BigKey, nullable=True),
        sa.Column("rows_inserted", types.BigKey, nullable=True),
        sa.Column("rows_updated", types.BigKey, nullable=True),
        sa.Column("rows_unchanged", types.BigKey, nullable=True),
        sa.Column("rows_deactivated", types.BigKey, nullable=True),
        sa.Column("rows_rejected", types.BigKey, nullable=True),
        sa.Column("summary", sa.String(length=1000), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error_type", sa.String(length=200), nullable=True),
        sa.Column("error_message", types.LongText, nullable=True),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.Column("updated_at", types.UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["scheduler_job.id"], name=op.f("fk_scheduler_job_execution_job_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["status"], ["scheduler_execution_status.code"], name=op.f("fk_scheduler_job_execution_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_job_execution")),
        sa.UniqueConstraint("job_id", "scheduled_for", name=op.f("uq_scheduler_job_execution_job_id_scheduled_for")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_scheduler_job_execution_created_at",
        "scheduler_job_execution",
        ["created_at"],
        unique=False,
        if_not_exists=True,
    )
    op.create_index(
        "ix_scheduler_job_execution_job_id_id",
        "scheduler_job_execution",
        ["job_id", "id"],
        unique=False,
        if_not_exists=True,
    )
    op.create_index(
        "ix_scheduler_job_execution_job_id_status_id",
        "scheduler_job_execution",
        ["job_id", "status", "id"],
        unique=False,
        if_not_exists=True,
    )
    op.create_index(
        "ix_scheduler_job_execution_status_run_after",
        "scheduler_job_execution",
        ["status", "run_after"],
        unique=False,
        if_not_exists=True,
    )
    op.create_index(
        "ix_scheduler_job_execution_worker_id_status",
        "scheduler_job_execution",
        ["worker_id", "status"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "scheduler_execution_attempt",
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("claim_token", types.ascii_key(36), nullable=False),
        sa.Column("worker_id", types.ascii_key(120), nullable=False),
        sa.Column("worker_host", sa.String(length=200), nullable=False),
        sa.Column("started_at", types.UTCDateTime(), nullable=False),
        sa.Column("finished_at", types.UTCDateTime(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("outcome", types.ascii_key(16), nullable=True),
        sa.Column("error_type", sa.String(length=200), nullable=True),
        sa.Column("error_message", types.LongText, nullable=True),
        sa.Column("traceback", types.LongText, nullable=True),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["scheduler_job_execution.id"],
            name=op.f("fk_scheduler_execution_attempt_execution_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("execution_id", "attempt", name=op.f("pk_scheduler_execution_attempt")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
