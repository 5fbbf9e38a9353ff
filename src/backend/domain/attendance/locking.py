"""Computed days against stored ones: what is written, and what a locked period turns into an adjustment. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backend.domain.attendance.day import AttendanceDay, Overtime, Status


class DayTotals(NamedTuple):
    """What payroll takes from a day.

    Attributes:
        overtime: kind and seconds, in the order of the kinds.
    """

    status: Status
    scheduled_seconds: int = 0
    worked_seconds: int = 0
    late_seconds: int = 0
    early_seconds: int = 0
    break_seconds: int = 0
    deducted_seconds: int = 0
    leave_seconds: int = 0
    overtime: tuple[tuple[Overtime, int], ...] = ()


class LockedPeriod(NamedTuple):
    """Payroll is closed from one date to another, both inclusive."""

    first_on: dt.date
    last_on: dt.date

    def covers(self, day: dt.date) -> bool:
        """Whether a date is in it."""
        return self.first_on <= day <= self.last_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """How a locked day would be different if it were computed now; for HR, as the day itself stays.

    It is the whole difference to what is locked, so that a later one takes the place of an earlier one.

    Attributes:
        locked: None: the day was not there when the period was locked.
        computed: None: the day would not be there.
    """

    work_on: dt.date
    locked: DayTotals | None
    computed: DayTotals | None

    @property
    def worked_seconds(self) -> int:
        """So much more was worked; negative: less."""
        return _worked(self.computed) - _worked(self.locked)

    @property
    def overtime(self) -> dict[Overtime, int]:
        """So much more overtime of each kind; only kinds that differ."""
        before = dict(self.locked.overtime) if self.locked else {}
        after = dict(self.computed.overtime) if self.computed else {}
        differences = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in Overtime}
        return {kind: seconds for kind, seconds in differences.items() if seconds}

    @property
    def changed_fields(self) -> tuple[str, ...]:
        """The names of the values that differ."""
        if self.locked is None or self.computed is None:
            return DayTotals._fields
        pairs = zip(DayTotals._fields, self.locked, self.computed, strict=True)
        return tuple(name for name, before, after in pairs if before != after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What is to be done with computed days.

    Attributes:
        written: new days, and those whose totals or details may have changed.
        removed: dates that are stored, and are no days any more.
        adjustments: of locked days.
        settled: locked dates whose totals are what was locked: an adjustment from before no longer holds.
    """

    written: tuple[AttendanceDay, ...]
    removed: tuple[dt.date, ...]
    adjustments: tuple[Adjustment, ...]
    settled: tuple[dt.date, ...]


def total(day: AttendanceDay) -> DayTotals:
    """The totals of a day."""
    return DayTotals(
        status=day.status,
        scheduled_seconds=day.scheduled_seconds,
        worked_seconds=day.worked_seconds,
        late_seconds=day.late_seconds,
        early_seconds=day.early_seconds,
        break_seconds=day.break_seconds,
        deducted_seconds=day.deducted_seconds,
        leave_seconds=day.leave_seconds,
        overtime=tuple((kind, day.overtime[kind]) for kind in Overtime if kind in day.overtime),
    )


def settle(
    computed: Iterable[AttendanceDay],
    stored: Mapping[dt.date, DayTotals],
    locks: Sequence[LockedPeriod],
    *,
    asked: Iterable[dt.date],
) -> Settlement:
    """What becomes of computed days: those of locked periods are never written.

    Args:
        stored: the totals of the days as they are stored, by date.
        asked: the dates that were computed; one without a day has none.
    """
    days = {day.work_on: day for day in computed}
    written: list[AttendanceDay] = []
    removed: list[dt.date] = []
    adjustments: list[Adjustment] = []
    settled: list[dt.date] = []
    for date in sorted(set(asked)):
        day, before = days.get(date), stored.get(date)
        if not any(lock.covers(date) for lock in locks):
            if day is not None:
                written.append(day)
            elif before is not None:
                removed.append(date)
            continue
        after = None if day is None else total(day)
        if before == after:
            settled.append(date)
        else:
            adjustments.append(Adjustment(work_on=date, locked=before, computed=after))
    return Settlement(
        written=tuple(written), removed=tuple(removed), adjustments=tuple(adjustments), settled=tuple(settled)
    )


def _worked(totals: DayTotals | None) -> int:
    return 0 if totals is None else totals.worked_seconds
