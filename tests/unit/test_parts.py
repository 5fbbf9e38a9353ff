"""The pure rules of executions in parts: what they sum up to, and how it is told."""

from __future__ import annotations

import pytest

from backend.domain.executions import RowCounts, RunReport, Status
from backend.domain.parts import PartsFailedError, PartsReport, PartState, describe_progress, urgent_first


def part(number: int, status: Status = Status.SUCCESS, **values: object) -> PartState:
    """A part; one that ended well has read as many rows as its number."""
    report = RunReport(counts=RowCounts(read=number)) if status is Status.SUCCESS else RunReport()
    fields: dict[str, object] = {"execution_id": f"id-{number}", "task_code": "part", "params": {}, "report": report}
    return PartState(number=number, status=status, **(fields | values))  # type: ignore[arg-type]


def test_counts_are_summed_up() -> None:
    """The report of the whole has the sum of the counts, the summary, the number of parts and the details."""
    report = PartsReport(parts=[part(1), part(2)]).conclude("done", {"days": 31})
    details = {"parts": 2, "parts_failed": [], "days": 31}
    assert RunReport(counts=RowCounts(read=3), summary="done", details=details) == report


def test_nothing_to_do_is_a_report() -> None:
    """A whole without parts has counted nothing."""
    assert RowCounts() == PartsReport(parts=[]).conclude("nothing to do").counts


def test_parts_that_did_not_end_well_fail_the_whole() -> None:
    """The error names how many parts and which, with the reason, and carries the report of the others."""
    parts = [part(1), part(2, Status.FAILED, reason="TransientError"), part(3, Status.CANCELLED, reason="not now")]
    with pytest.raises(PartsFailedError) as caught:
        PartsReport(parts=parts).conclude("done")
    said = "2 of 3 parts did not end well: 2 (id-2: failed, TransientError), 3 (id-3: cancelled, not now). "
    assert str(caught.value).startswith(said)
    assert (RowCounts(read=1), ["id-2", "id-3"]) == (
        caught.value.report.counts, caught.value.report.details["parts_failed"]
    )  # fmt: skip


def test_a_part_without_a_reason_is_named_without_one() -> None:
    """What is not known is not said."""
    with pytest.raises(PartsFailedError, match=r"1 of 1 parts did not end well: 1 \(id-1: cancelled\)\."):
        PartsReport(parts=[part(1, Status.CANCELLED)]).conclude("done")


def test_of_many_failed_parts_the_first_are_named() -> None:
    """The message stays short; the details name all of them."""
    with pytest.raises(PartsFailedError, match=r"10 \(id-10: failed\) and 1,190 more\. ") as caught:
        PartsReport(parts=[part(number, Status.FAILED) for number in range(1, 1201)]).conclude("done")
    assert 1200 == len(caught.value.report.details["parts_failed"])


def test_progress_in_words() -> None:
    """Failures are told as soon as they are known."""
    assert ["0 of 3 parts done", "1,200 of 1,300 parts done, 2 of them failed"] == [
        describe_progress(done=0, total=3, failed=0), describe_progress(done=1200, total=1300, failed=2)
    ]  # fmt: skip


def test_urgent_parts_come_first() -> None:
    """Failed, cancelled, running, waiting, done; within each in the order of the plan."""
    order = [Status.SUCCESS, Status.PENDING, Status.RUNNING, Status.FAILED, Status.CANCELLED, Status.FAILED]
    assert [4, 6, 5, 3, 2, 1] == [item.number for item in urgent_first([part(n, s) for n, s in enumerate(order, 1)])]
