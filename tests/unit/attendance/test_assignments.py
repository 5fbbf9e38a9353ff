"""Whose schedule and whose policy."""

from __future__ import annotations

import datetime as dt

import pytest

from backend.domain.attendance.assignments import Assignment, Assignments, Scope
from backend.domain.attendance.shifts import FlexibleShift, Pattern, weekly
from backend.errors import ConfigurationError
from tests.support.attendance import MONDAY, shift

SHIFTS = {
    "day": shift("9:00-17:00", "day"),
    "night": shift("22:00-6:00", "night"),
    "flex": FlexibleShift(code="flex", required_seconds=3600),
}
PATTERNS = {
    "office": weekly("office", "day", "day", "day", "day", "day", None, None),
    "nights": weekly("nights", *["night"] * 7),
    "free": weekly("free", *["flex"] * 7),
}


def assignments(*items: Assignment) -> Assignments:
    return Assignments(items, PATTERNS, SHIFTS, ["standard", "strict"])


def on(day: int) -> dt.date:
    return dt.date(2026, 6, day)


DEFAULT = Assignment(scope=Scope.DEFAULT, pattern="office", policy="standard")


def test_the_nearest_assignment_counts() -> None:
    """Exception, then employee, then department from the nearest up, then the default."""
    found = assignments(
        DEFAULT,
        Assignment(scope=Scope.DEPARTMENT, target="plant", pattern="nights"),
        Assignment(scope=Scope.DEPARTMENT, target="lab", pattern="free"),
        Assignment(scope=Scope.EMPLOYEE, target="7", pattern="office", first_on=on(3), last_on=on(4)),
        Assignment(scope=Scope.EXCEPTION, target="7", pattern="nights", first_on=on(4), last_on=on(4)),
    )
    roster = found.roster_of("7", ["lab", "plant"])
    plans = [roster.plan_on(on(day)) for day in range(2, 6)]
    assert [["flex"], ["day"], ["night"], ["flex"]] == [
        [code for code, _ in plan.shifts] or [plan.code] for plan in plans
    ]
    assert ["night"] == [code for code, _ in found.roster_of("8", ["plant"]).plan_on(MONDAY).shifts]
    assert ["day"] == [code for code, _ in found.roster_of("9").plan_on(MONDAY).shifts]


def test_an_assignment_can_end_the_schedule() -> None:
    """An empty pattern is work without a schedule; a policy alone says nothing about it."""
    found = assignments(
        DEFAULT,
        Assignment(scope=Scope.EMPLOYEE, target="7", pattern=""),
        Assignment(scope=Scope.EMPLOYEE, target="8", policy="strict", first_on=on(3)),
        Assignment(scope=Scope.EMPLOYEE, target="8", policy="standard", last_on=on(1)),
    )
    assert found.roster_of("7").plan_on(MONDAY).is_flexible
    assert found.roster_of("8") is found.roster_of("9")
    assert ["standard", "strict"] == [period.code for period in found.policies_of("8")]
    assert [on(2), on(3)] == [found.policies_of("8")[0].last_on, found.policies_of("8")[1].first_on]


def test_without_any_assignment_there_is_no_schedule_and_no_policy() -> None:
    """Nothing is made up."""
    found = assignments()
    assert found.roster_of("7").plan_on(MONDAY).is_flexible
    assert [None] == [period.code for period in found.policies_of("7")]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Assignment(scope=Scope.DEFAULT, pattern="ofice")], "Assignment of default names pattern ofice"),
        ([Assignment(scope=Scope.DEFAULT, policy="lax")], "names policy lax.*there are: standard, strict"),
        ([DEFAULT, DEFAULT], "overlap; end the first one"),
        ([Assignment(scope=Scope.DEFAULT, first_on=on(2), last_on=on(1))], "it ends before it begins"),
    ],
)
def test_wrong_assignments_are_refused(items: list[Assignment], message: str) -> None:
    """The message names the assignment and what there is instead."""
    with pytest.raises(ConfigurationError, match=message):
        assignments(*items)


@pytest.mark.parametrize(
    ("days", "message"),
    [((("dya",),), "names shift dya"), ((("day", "flex"),), "stands alone"), ((), "has no days")],
)
def test_wrong_patterns_are_refused(days: tuple[tuple[str, ...], ...], message: str) -> None:
    """Unknown shifts, and days that cannot be."""
    with pytest.raises(ConfigurationError, match=message):
        Assignments([], {"p": Pattern(code="p", anchor_on=MONDAY, days=days)}, SHIFTS)
