"""Whose schedule and whose policy: assignments to a person, a department, a site or everybody, with dates. Pure."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.domain.attendance.shifts import FlexibleShift, Pattern, Roster, RosterPart, Shift
from backend.domain.attendance.wall_clock import ONE_DAY
from backend.errors import ConfigurationError


class Scope(enum.StrEnum):
    """For whom an assignment is; the first one that says something counts."""

    EXCEPTION = "exception"  # a person for some days: a shift that was swapped
    EMPLOYEE = "employee"
    DEPARTMENT = "department"
    SITE = "site"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """From one date to another, somebody works by a pattern, is measured by a policy, or both.

    Attributes:
        target: the employee number, department code or site; "" for `DEFAULT`.
        pattern: a pattern's code, "" for work without a schedule; None: the assignment says nothing about it.
        policy: a policy's code; None: the assignment says nothing about it.
        last_on: inclusive.
    """

    scope: Scope
    target: str = ""
    pattern: str | None = None
    policy: str | None = None
    first_on: dt.date = dt.date.min
    last_on: dt.date = dt.date.max

    def __str__(self) -> str:
        words = [self.scope.value, self.target]
        if self.first_on > dt.date.min:
            words.append(f"from {self.first_on}" + (" on" if self.last_on == dt.date.max else ""))
        if self.last_on < dt.date.max:
            words.append(f"to {self.last_on}" if self.first_on > dt.date.min else f"up to {self.last_on}")
        return " ".join(filter(None, words))


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What an assignment gives from one date to another, both inclusive."""

    first_on: dt.date
    last_on: dt.date
    code: str | None


class Assignments:
    """All assignments, patterns and shifts of a company, checked; finds what is valid for one person.

    Raises:
        ConfigurationError: a pattern names an unknown shift, an assignment an unknown pattern or policy, or two
            assignments of one target overlap.
    """

    def __init__(
        self,
        assignments: Iterable[Assignment],
        patterns: Mapping[str, Pattern],
        shifts: Mapping[str, Shift | FlexibleShift],
        policies: Iterable[str] = (),
    ) -> None:
        self._patterns = patterns
        self._shifts = shifts
        self._by_target: dict[tuple[Scope, str], list[Assignment]] = {}
        self._rosters: dict[tuple[Period, ...], Roster] = {}
        for pattern in patterns.values():
            _check_pattern(pattern, shifts)
        known_policies = frozenset(policies)
        for item in assignments:
            _check_assignment(item, patterns, known_policies)
            self._by_target.setdefault((item.scope, item.target), []).append(item)
        for items in self._by_target.values():
            items.sort(key=lambda item: item.first_on)
            _check_overlaps([item for item in items if item.pattern is not None])
            _check_overlaps([item for item in items if item.policy is not None])

    def roster_of(self, employee_no: str, departments: Sequence[str] = (), site: str = "") -> Roster:
        """The schedule of a person; the same object for everybody who has the same one.

        Args:
            departments: the person's department, then those above it.
            site: the person's place of work.
        """
        periods = tuple(self._resolve(employee_no, departments, site, lambda item: item.pattern))
        if periods not in self._rosters:
            parts = tuple(
                RosterPart(
                    first_on=period.first_on,
                    last_on=period.last_on,
                    pattern=self._patterns[period.code] if period.code else None,
                )
                for period in periods
            )
            self._rosters[periods] = Roster(parts=parts, shifts=self._shifts)
        return self._rosters[periods]

    def policies_of(self, employee_no: str, departments: Sequence[str] = (), site: str = "") -> list[Period]:
        """Which policy is valid when for a person; a code of None where none is."""
        return self._resolve(employee_no, departments, site, lambda item: item.policy)

    def targets(self) -> list[tuple[Scope, str]]:
        """For whom there is an assignment."""
        return [*self._by_target]

    def _resolve(
        self, employee_no: str, departments: Sequence[str], site: str, what: Callable[[Assignment], str | None]
    ) -> list[Period]:
        keys = [
            (Scope.EXCEPTION, employee_no),
            (Scope.EMPLOYEE, employee_no),
            *((Scope.DEPARTMENT, code) for code in departments),
            (Scope.SITE, site),
            (Scope.DEFAULT, ""),
        ]
        ranked = [item for key in keys for item in self._by_target.get(key, ()) if what(item) is not None]
        edges = {dt.date.min}
        for item in ranked:
            edges.add(item.first_on)
            if item.last_on < dt.date.max:
                edges.add(item.last_on + ONE_DAY)
        starts = sorted(edges)
        periods: list[Period] = []
        for start, following in itertools.zip_longest(starts, starts[1:]):
            end = dt.date.max if following is None else following - ONE_DAY
            code = next((what(item) for item in ranked if item.first_on <= start <= item.last_on), None)
            if periods and periods[-1].code == code:
                periods[-1] = Period(first_on=periods[-1].first_on, last_on=end, code=code)
            else:
                periods.append(Period(first_on=start, last_on=end, code=code))
        return periods


def _check_pattern(pattern: Pattern, shifts: Mapping[str, Shift | FlexibleShift]) -> None:
    for codes in pattern.days:
        for code in codes:
            if code not in shifts:
                raise ConfigurationError(
                    f"Pattern {pattern.code} names shift {code}, which there is not; "
                    f"there are: {', '.join(sorted(shifts)) or 'none'}."
                )
        if len(codes) > 1 and any(isinstance(shifts[code], FlexibleShift) for code in codes):
            raise ConfigurationError(
                f"Pattern {pattern.code} has {' and '.join(codes)} on one day; a flexible shift stands alone."
            )


def _check_assignment(item: Assignment, patterns: Mapping[str, Pattern], policies: frozenset[str]) -> None:
    if item.first_on > item.last_on:
        raise ConfigurationError(f"Assignment of {item}: it ends before it begins.")
    if item.pattern and item.pattern not in patterns:
        raise ConfigurationError(
            f"Assignment of {item} names pattern {item.pattern}, which there is not; "
            f"there are: {', '.join(sorted(patterns)) or 'none'}."
        )
    if item.policy is not None and item.policy not in policies:
        raise ConfigurationError(
            f"Assignment of {item} names policy {item.policy}, which there is not; "
            f"there are: {', '.join(sorted(policies)) or 'none'}."
        )


def _check_overlaps(items: Sequence[Assignment]) -> None:
    for earlier, later in itertools.pairwise(items):
        if later.first_on <= earlier.last_on:
            raise ConfigurationError(
                f"The assignments of {earlier} and of {later} overlap; end the first one before the second begins, or "
                "make the shorter one an exception."
            )
