"""Some people's days at a time: from what is stored about them to what is to be written. Pure, and heavy on the CPU."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backend.domain.attendance.corrections import PunchCorrection
from backend.domain.attendance.day import AttendanceDay, DayOverride, WorkPunch
from backend.domain.attendance.engine import EmployeeInput, compute_people, punches_needed
from backend.domain.attendance.locking import Adjustment, DayTotals, LockedPeriod, settle
from backend.domain.attendance.people import PersonFacts
from backend.domain.attendance.records import day_to_record
from backend.domain.attendance.setup import Setup
from backend.domain.attendance.wall_clock import ONE_DAY

DIGEST_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Days of a person that are to be computed, both dates inclusive."""

    employee_no: str
    first_on: dt.date
    last_on: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkInputs:
    """What is stored about the people of a chunk; each mapping is by employee number, or by it and the date.

    Attributes:
        punches: at least those between the instants of `punches_window`.
        locks: those that touch the dates asked for.
        digests: of the days that are stored.
        totals: of those of them that are in a locked period.
    """

    facts: Mapping[str, PersonFacts]
    punches: Mapping[str, Sequence[WorkPunch]] = field(default_factory=dict)
    corrections: Mapping[str, Sequence[PunchCorrection]] = field(default_factory=dict)
    overrides: Mapping[str, Sequence[DayOverride]] = field(default_factory=dict)
    locks: Sequence[LockedPeriod] = ()
    digests: Mapping[tuple[str, dt.date], bytes] = field(default_factory=dict)
    totals: Mapping[tuple[str, dt.date], DayTotals] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedDay:
    """A day as it is stored.

    Attributes:
        detail: the day as JSON.
        digest: of everything; two days with the same one are the same.
    """

    employee_no: str
    day: AttendanceDay
    policy: str
    timezone: str
    detail: str
    digest: bytes


@dataclass(slots=True, kw_only=True)
class ChunkResult:
    """What a chunk comes to.

    Attributes:
        new, changed: days to be written.
        unchanged: how many days are stored as they were computed.
        removed: days that are stored, and are none any more.
        adjustments: how locked days would be, with the day itself (None: there would be none).
        settled: locked days that are as they were locked.
    """

    new: list[ComputedDay] = field(default_factory=list)
    changed: list[ComputedDay] = field(default_factory=list)
    unchanged: int = 0
    removed: list[tuple[str, dt.date]] = field(default_factory=list)
    adjustments: list[tuple[str, Adjustment, ComputedDay | None]] = field(default_factory=list)
    settled: list[tuple[str, dt.date]] = field(default_factory=list)

    @property
    def days(self) -> int:
        """How many days were computed."""
        return len(self.new) + len(self.changed) + self.unchanged + len(self.adjustments) + len(self.settled)


def punches_window(
    setup: Setup, facts: Mapping[str, PersonFacts], asks: Iterable[Ask]
) -> tuple[dt.datetime, dt.datetime]:
    """From when to when (exclusive) punches can have a say in the days of a chunk."""
    first, last = dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=dt.UTC)
    for ask in asks:
        if ask.employee_no in facts:
            person = setup.input_of(ask.employee_no, facts[ask.employee_no])
            for _, _, policy in person.policies:
                begin, end = punches_needed(policy, person.timezone, ask.first_on, ask.last_on, person.shifts)
                first, last = min(first, begin), max(last, end)
    return first, last


def compute_chunk(setup: Setup, asks: Sequence[Ask], inputs: ChunkInputs, *, as_of: dt.datetime) -> ChunkResult:
    """The days of some people, against those that are stored.

    Nobody has days after the date that the place of work has at `as_of`.
    """
    result = ChunkResult()
    for ask in asks:
        if ask.employee_no in inputs.facts:
            _compute_person(setup, ask, inputs, as_of, result)
    return result


def _compute_person(setup: Setup, ask: Ask, inputs: ChunkInputs, as_of: dt.datetime, result: ChunkResult) -> None:
    number = ask.employee_no
    person = replace(
        setup.input_of(number, inputs.facts[number]),
        punches=inputs.punches.get(number, ()),
        corrections=inputs.corrections.get(number, ()),
        overrides=inputs.overrides.get(number, ()),
    )
    last = min(ask.last_on, as_of.astimezone(person.timezone).date())
    ((_, days),) = compute_people([person], first=ask.first_on, last=last, as_of=as_of)
    dates = _dates(ask.first_on, ask.last_on)
    stored = {date: inputs.totals.get((number, date)) for date in dates if (number, date) in inputs.digests}
    if not inputs.locks:
        written: Iterable[AttendanceDay] = days
        found = {day.work_on for day in days}
        result.removed.extend((number, date) for date in stored if date not in found)
    else:
        totals = {date: total for date, total in stored.items() if total is not None}
        unlocked = [date for date in stored if date not in totals]
        settlement = settle(days, totals, inputs.locks, asked=dates)
        written = settlement.written
        found = {day.work_on for day in written}
        result.removed.extend((number, date) for date in unlocked if date not in found)
        by_date = {day.work_on: day for day in days}
        result.adjustments.extend(
            (number, item, _stored(person, by_date[item.work_on]) if item.work_on in by_date else None)
            for item in settlement.adjustments
        )
        result.settled.extend((number, date) for date in settlement.settled if date in by_date or date in stored)
    for day in written:
        computed = _stored(person, day)
        known = inputs.digests.get((number, day.work_on))
        if known is None:
            result.new.append(computed)
        elif known == computed.digest:
            result.unchanged += 1
        else:
            result.changed.append(computed)


def _stored(person: EmployeeInput, day: AttendanceDay) -> ComputedDay:
    policy = next(item.code for first, last, item in person.policies if first <= day.work_on <= last)
    zone = str(person.timezone)
    detail = json.dumps(day_to_record(day), ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.blake2b(f"{policy}\n{zone}\n{detail}".encode(), digest_size=DIGEST_SIZE).digest()
    return ComputedDay(
        employee_no=person.employee_no, day=day, policy=policy, timezone=zone, detail=detail, digest=digest
    )


def plan_chunks(asks: Collection[Ask], *, days: int, people: int) -> Iterator[list[Ask]]:
    """Asks in chunks of similar dates.

    Args:
        days: longer asks are cut, all at the same dates, so many days from each other.
        people: so many asks of a chunk at most.
    """
    begin = min((ask.first_on for ask in asks), default=dt.date.min)
    stretches: defaultdict[int, list[Ask]] = defaultdict(list)
    for ask in asks:
        first = ask.first_on
        while first <= ask.last_on:
            stretch = (first - begin).days // days
            last = min(ask.last_on, begin + ((stretch + 1) * days - 1) * ONE_DAY)
            stretches[stretch].append(replace(ask, first_on=first, last_on=last))
            first = last + ONE_DAY
    for _, pieces in sorted(stretches.items()):
        pieces.sort(key=lambda item: (item.first_on, item.employee_no))
        yield from (pieces[start : start + people] for start in range(0, len(pieces), people))


def merge_asks(asks: Iterable[Ask]) -> Iterator[Ask]:
    """The same days, each of them once."""
    ordered = sorted(asks, key=lambda item: (item.employee_no, item.first_on))
    for number, group in itertools.groupby(ordered, key=lambda item: item.employee_no):
        first = last = None
        for ask in group:
            if first is None or last is None:
                first, last = ask.first_on, ask.last_on
            elif ask.first_on <= last + ONE_DAY:
                last = max(last, ask.last_on)
            else:
                yield Ask(employee_no=number, first_on=first, last_on=last)
                first, last = ask.first_on, ask.last_on
        if first is not None and last is not None:
            yield Ask(employee_no=number, first_on=first, last_on=last)


def _dates(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + number * ONE_DAY for number in range((last - first).days + 1)]
