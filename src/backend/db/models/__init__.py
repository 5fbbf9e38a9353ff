"""Every table of hrsync's own database; importing this package registers them all."""

from backend.db.models.attendance import Punch
from backend.db.models.base import Base
from backend.db.models.hr import (
    Department,
    Employee,
    Holiday,
    HrChange,
    HrHold,
    HrHoldChange,
    Leave,
    Position,
    QuarantinedRow,
)
from backend.db.models.mail import OutboxMessage
from backend.db.models.scheduler import (
    AuditEntry,
    ExecutionAttempt,
    ExecutionLog,
    ExecutionStatus,
    Job,
    JobExecution,
    Lease,
    Stream,
    Worker,
)

__all__ = [
    "AuditEntry",
    "Base",
    "Department",
    "Employee",
    "ExecutionAttempt",
    "ExecutionLog",
    "ExecutionStatus",
    "Holiday",
    "HrChange",
    "HrHold",
    "HrHoldChange",
    "Job",
    "JobExecution",
    "Lease",
    "Leave",
    "OutboxMessage",
    "Position",
    "Punch",
    "QuarantinedRow",
    "Stream",
    "Worker",
]
