"""An execution that splits its work into parts, which are executions of their own, and sums up what they report.

Pure. `services.run_parts` is how a task does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.domain.executions import ReportedError, RowCounts, RunReport, Status

# The `reason` of a pending execution that waits for its parts. The scheduler knows by it whom to wake.
WAITING_FOR_PARTS = "waiting for its parts"
# The scheduler wakes it as soon as its parts have ended; this is how soon it looks by itself.
LOOK_AGAIN_SECONDS = 3600.0
_NAMED_PARTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """A part as it is now.

    Attributes:
        number: 1, 2, ... in the order of the plan.
        task_code, params: None when the record of its execution has been deleted; then it counts as cancelled.
            (Also None: nobody has asked for the parameters.)
        reason: why it is in its status: the error's class, or the reason of the execution.
        report: of one that ended well.
    """

    number: int
    execution_id: str
    task_code: str | None
    params: Mapping[str, Any] | None
    status: Status
    reason: str | None = None
    report: RunReport = field(default_factory=RunReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsReport:
    """How all the parts of an execution ended."""

    parts: Sequence[PartState]

    @property
    def succeeded(self) -> Sequence[PartState]:
        """The parts that ended well."""
        return [part for part in self.parts if part.status is Status.SUCCESS]

    @property
    def failed(self) -> Sequence[PartState]:
        """The parts that did not: failed, or cancelled."""
        return [part for part in self.parts if part.status is not Status.SUCCESS]

    @property
    def counts(self) -> RowCounts:
        """The sum of the parts' counts."""
        return sum((part.report.counts for part in self.parts), RowCounts())

    def conclude(self, summary: str, details: Mapping[str, Any] | None = None) -> RunReport:
        """The report of the whole: the sum of the counts, `summary`, and `details` with the numbers of parts added.

        Raises:
            PartsFailedError: a part did not end well; the report is kept with it.
        """
        numbers = {"parts": len(self.parts), "parts_failed": [part.execution_id for part in self.failed]}
        report = RunReport(counts=self.counts, summary=summary, details=numbers | dict(details or {}))
        if self.failed:
            raise PartsFailedError(_failure(self), report)
        return report


class PartsFailedError(ReportedError):
    """Parts of the run did not end well. A retry of the execution makes these parts again, and only these."""


def urgent_first(parts: Sequence[PartState]) -> list[PartState]:
    """The parts in the order in which people want to see them: failed, running, waiting, ended well."""
    order = (Status.FAILED, Status.CANCELLED, Status.MISSED, Status.SKIPPED, Status.RUNNING, Status.PENDING)
    return sorted(parts, key=lambda part: order.index(part.status) if part.status in order else len(order))


def describe_progress(*, done: int, total: int, failed: int) -> str:
    """The progress message of an execution that waits: `3 of 12 parts done, 1 of them failed`."""
    return f"{done:,} of {total:,} parts done" + (f", {failed:,} of them failed" if failed else "")


def _failure(report: PartsReport) -> str:
    failed = report.failed
    names = [
        f"{part.number} ({part.execution_id}: {', '.join(filter(None, (part.status, part.reason)))})"
        for part in failed[:_NAMED_PARTS]
    ]
    more = f" and {len(failed) - _NAMED_PARTS:,} more" if len(failed) > _NAMED_PARTS else ""
    return (
        f"{len(failed):,} of {len(report.parts):,} parts did not end well: {', '.join(names)}{more}. "
        "A retry of this execution (`hrsync executions retry`) runs these parts again and keeps the others."
    )
