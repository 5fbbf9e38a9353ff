"""HR history, held runs, leaves and holidays; stable keys and the hierarchy of positions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backend.db import types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision; run again after a break, it goes on where it stopped."""
    op.create_table(
        "hr_change",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("entity", types.ascii_key(16), nullable=False),
        sa.Column("row_id", types.BigKey, nullable=False),
        sa.Column("entity_key", types.exact_text(100), nullable=False),
        sa.Column("field", types.ascii_key(64), nullable=False),
        sa.Column("old_value", types.LongText, nullable=True),
        sa.Column("new_value", types.LongText, nullable=True),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_change")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(
        "ix_hr_change_entity_changed_at", "hr_change", ["entity", "changed_at"], unique=False, if_not_exists=True
    )
    op.create_index(
        "ix_hr_change_entity_entity_key", "hr_change", ["entity", "entity_key"], unique=False, if_not_exists=True
    )
    op.create_index(
        "ix_hr_change_entity_row_id_id", "hr_change", ["entity", "row_id", "id"], unique=False, if_not_exists=True
    )
    op.create_index(op.f("ix_hr_change_execution_id"), "hr_change", ["execution_id"], unique=False, if_not_exists=True)
    op.create_table(
        "hr_hold",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("execution_id", types.ascii_key(36), nullable=False),
        sa.Column(
            "fingerprint",
            sa.LargeBinary(length=16)
            .with_variant(sa.BINARY(length=16), "mariadb")
            .with_variant(sa.BINARY(length=16), "mysql"),
            nullable=False,
        ),
        sa.Column("status", types.ascii_key(16), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("change_count", types.BigKey, nullable=False),
        sa.Column("held_at", types.UTCDateTime(), nullable=False),
        sa.Column("last_seen_at", types.UTCDateTime(), nullable=False),
        sa.Column("decided_at", types.UTCDateTime(), nullable=True),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("note", sa.String(length=500), nullable=True),
        sa.Column("applied_execution_id", types.ascii_key(36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_hold")),
        sa.UniqueConstraint("execution_id", name=op.f("uq_hr_hold_execution_id")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index("ix_hr_hold_status_id", "hr_hold", ["status", "id"], unique=False, if_not_exists=True)
    op.create_table(
        "hr_holiday",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("code", types.exact_text(100), nullable=False),
        sa.Column("holiday_on", sa.Date(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("calendar", types.exact_text(64), nullable=True),
        sa.Column("day_part", types.ascii_key(16), nullable=False),
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
        sa.Column("first_execution_id", types.ascii_key(36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_holiday")),
        sa.UniqueConstraint("code", name=op.f("uq_hr_holiday_code")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(op.f("ix_hr_holiday_holiday_on"), "hr_holiday", ["holiday_on"], unique=False, if_not_exists=True)
    op.create_table(
        "hr_leave",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("code", types.exact_text(100), nullable=False),
        sa.Column("employee_no", types.exact_text(100), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("day_part", types.ascii_key(16), nullable=False),
        sa.Column("hours", sa.Numeric(precision=6, scale=2), nullable=True),
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
        sa.Column("first_execution_id", types.ascii_key(36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_leave")),
        sa.UniqueConstraint("code", name=op.f("uq_hr_leave_code")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(op.f("ix_hr_leave_employee_no"), "hr_leave", ["employee_no"], unique=False, if_not_exists=True)
    op.create_table(
        "hr_hold_change",
        sa.Column("id", types.BigKey, autoincrement=True, nullable=False),
        sa.Column("hold_id", types.BigKey, nullable=False),
        sa.Column("entity", types.ascii_key(16), nullable=False),
        sa.Column("entity_key", types.exact_text(100), nullable=False),
        sa.Column("action", types.ascii_key(16), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hold_id"], ["hr_hold.id"], name=op.f("fk_hr_hold_change_hold_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hr_hold_change")),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
    op.create_index(op.f("ix_hr_hold_change_hold_id"), "hr_hold_change", ["hold_id"], unique=False, if_not_exists=True)
    _add_column("hr_department", sa.Column("first_execution_id", types.ascii_key(36), nullable=True))
    _add_column("hr_department", sa.Column("stable_key", types.exact_text(100), nullable=True))
    op.create_index(
        op.f("ix_hr_department_stable_key"), "hr_department", ["stable_key"], unique=False, if_not_exists=True
    )
    _add_column("hr_employee", sa.Column("first_execution_id", types.ascii_key(36), nullable=True))
    _add_column("hr_employee", sa.Column("stable_key", types.exact_text(100), nullable=True))
    op.create_index(op.f("ix_hr_employee_stable_key"), "hr_employee", ["stable_key"], unique=False, if_not_exists=True)
    _add_column("hr_position", sa.Column("parent_code", types.exact_text(100), nullable=True))
    _add_column("hr_position", sa.Column("first_execution_id", types.ascii_key(36), nullable=True))
    _add_column("hr_position", sa.Column("stable_key", types.exact_text(100), nullable=True))
    op.create_index(
        op.f("ix_hr_position_parent_code"), "hr_position", ["parent_code"], unique=False, if_not_exists=True
    )
    op.create_index(op.f("ix_hr_position_stable_key"), "hr_position", ["stable_key"], unique=False, if_not_exists=True)
    op.drop_index("ix_hr_employee_position_code", table_name="hr_employee", if_exists=True)


def _add_column(table: str, column: sa.Column[str]) -> None:
    # SQLite knows no ADD COLUMN IF NOT EXISTS.
    if column.name not in {item["name"] for item in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
