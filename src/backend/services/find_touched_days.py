"""Finds the days that are to be computed again because something that they depend on has changed.

A look compares what there is now with what the last look has seen: the rules and holidays, the HR data, the punches.
Everything that a look finds, and what it has seen, is one transaction.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backend.domain.attendance.calendars import Holiday, Leave
from backend.domain.attendance.engine import EmployeeInput
from backend.domain.attendance.people import (
    HrPerson,
    PersonFacts,
    departments_of,
    find_renumbered,
    plan_periods,
    sort_leaves,
)
from backend.domain.attendance.setup import (
    EMPLOYMENT,
    NEAR,
    Comparer,
    Setup,
    assignments_in,
    days_touched_at,
    make_setup,
    ranges_of,
    setup_content,
)
from backend.errors import ConfigurationError
from backend.ports import AttendanceRuleSource, Marking, MarkStore, Run, RunLog

# Above so many new punches, all days between a person's first and last one are marked, and what these may touch.
EXACT_PUNCHES = 50_000
_ONE_DAY = dt.timedelta(days=1)
# Holidays are looked up for so many years before the first look, and one after the current one.
_YEARS_BACK = 5

Mark = tuple[str, dt.date, dt.date, str]


async def find_touched_days(
    run: Run, *, store: MarkStore, rules: AttendanceRuleSource, now: dt.datetime, exact_punches: int = EXACT_PUNCHES
) -> int:
    """Mark the days that are to be computed again; the number of marks.

    The first look of all marks what punches there are, as far as the rules reach back.

    Raises:
        ConfigurationError: the rules are wrong; nothing is marked.
        TransientError: the database is away.
    """
    async with store.marking(run.execution_id) as marking:
        look = _Look(marking, rules, run.log, now=now, exact_punches=exact_punches)
        marks = await look.take()
        await marking.finish()
    if marks:
        run.log.info("days_marked", marks=marks, reasons=look.reasons)
    return marks


class _Look:
    def __init__(
        self, marking: Marking, rules: AttendanceRuleSource, log: RunLog, *, now: dt.datetime, exact_punches: int
    ) -> None:
        self._marking = marking
        self._rules = rules
        self._log = log
        self._now = now
        self._exact_punches = exact_punches
        self.reasons: defaultdict[str, int] = defaultdict(int)

    async def take(self) -> int:
        before = await self._marking.find_setup()
        content = await self._read_setup(before)
        earlier = await self._find_earlier(before)
        setup = earlier if earlier and content == before else await asyncio.to_thread(self._parse, content)
        if content != before:
            await self._marking.save_setup(content)
        is_first = before is None
        marks = await self._look_at_people(earlier or setup, setup, is_first=is_first)
        marks += await self._look_at_punches(setup, is_first=is_first)
        for _, _, _, reason in marks:
            self.reasons[reason] += 1
        return await self._marking.mark(marks)

    # --- rules and holidays ---------------------------------------------------------------------------------------

    async def _read_setup(self, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        # Always from the same year on, so that a year that goes by does not look like holidays that were dropped.
        first_year = before["holidays_from"] if before else self._now.year - _YEARS_BACK
        years = dt.date(first_year, 1, 1), dt.date(self._now.year + 1, 12, 31)
        assignments = await self._marking.list_assignments()

        def read() -> tuple[Mapping[str, Any], Sequence[Holiday]]:
            content = self._rules.load()
            sites = self._rules.parse(content, assignments).sites.values()
            return content, self._rules.public_holidays(sites, *years)

        content, public = await asyncio.to_thread(read)
        holidays = (*public, *await self._marking.list_holidays())
        return setup_content(content, assignments, holidays, first_year)

    async def _find_earlier(self, before: Mapping[str, Any] | None) -> Setup | None:
        if before is None:
            return None
        try:
            return await asyncio.to_thread(self._parse, before)
        except ConfigurationError as error:  # an earlier version of the program could read it
            self._log.warning("earlier_rules_unreadable", error=str(error))
            return None

    def _parse(self, content: Mapping[str, Any]) -> Setup:
        return make_setup(content, self._rules.parse(content["rules"], assignments_in(content)))

    # --- people ---------------------------------------------------------------------------------------------------

    async def _look_at_people(self, earlier: Setup, setup: Setup, *, is_first: bool) -> list[Mark]:
        seen, field = self._marking.seen, setup.rules.site_field
        revision = await self._marking.hr_revision()
        is_current = seen.get("hr") == revision and seen.get("site_field") == field
        if is_current and earlier is setup:
            return []
        known: Mapping[str, str] = await self._marking.read_facts()
        now: Mapping[str, str] = known
        if not is_current:
            people = [some async for some in self._marking.stream_people(field)]
            known = await self._follow_renumbered(known, people)
            now = await self._read_people(people, known)
            new = {number: text for number, text in now.items() if number not in known}
            changed = {number: text for number, text in now.items() if number in known and known[number] != text}
            await self._marking.save_facts(new, changed)
            seen |= {"hr": dict(revision), "site_field": field}
        return [] if is_first else await asyncio.to_thread(self._compare, earlier, setup, known, now)

    async def _follow_renumbered(
        self, known: Mapping[str, str], people: Iterable[Sequence[HrPerson]]
    ) -> Mapping[str, str]:
        """What was known, by the numbers that people have now."""
        now = {person.row_id: person.employee_no for some in people for person in some}
        seen = await asyncio.to_thread(lambda: [(no, PersonFacts.from_text(text).row_id) for no, text in known.items()])
        numbers = find_renumbered(seen, now)
        if not numbers:
            return known
        await self._marking.renumber(numbers)
        return {numbers.get(number, number): text for number, text in known.items()}

    async def _read_people(self, people: Iterable[Sequence[HrPerson]], known: Mapping[str, str]) -> Mapping[str, str]:
        parents = await self._marking.list_parents()
        leaves = await self._marking.read_leaves()
        found = dict(known)
        for some in people:
            found.update(await asyncio.to_thread(_texts, some, known, parents, leaves))
        return found

    def _compare(self, earlier: Setup, setup: Setup, known: Mapping[str, str], now: Mapping[str, str]) -> list[Mark]:
        today = self._now.date() + _ONE_DAY  # somewhere it may be tomorrow
        first = today - dt.timedelta(days=setup.rules.reach_back_days)
        comparer = Comparer(first=first, last=today)
        marks: list[Mark] = []
        for number, text in now.items():
            before = known.get(number)
            if before == text and earlier is setup:
                continue
            after = setup.input_of(number, PersonFacts.from_text(text))
            if before is None:
                days = [day for day in _dates(first, today) if after.employment.covers(day)]
                marks.extend((number, *dates, EMPLOYMENT) for dates in ranges_of(days))
                continue
            then = earlier.input_of(number, PersonFacts.from_text(before))
            for reason, days in comparer.compare(then, after):
                marks.extend((number, *dates, reason) for dates in ranges_of(days))
        return marks

    # --- punches --------------------------------------------------------------------------------------------------

    async def _look_at_punches(self, setup: Setup, *, is_first: bool) -> list[Mark]:
        seen = self._marking.seen
        after, clock_after = seen.get("punch", 0), seen.get("clock", 0)
        punch, clock = self._marking.last_ids
        # Another look may have begun later and ended before this one.
        punch, clock = max(punch, after), max(clock, clock_after)
        marks: list[Mark] = []
        people: dict[str, EmployeeInput] = {}
        if is_first or punch - after > self._exact_punches:
            earliest = self._now.date() - dt.timedelta(days=setup.rules.reach_back_days)
            spans = await self._marking.span_new_punches(after, punch)
            known = await self._marking.find_facts({number for number, _, _ in spans})
            for number, first, last in spans:
                dates = max(first.date() - NEAR, earliest), last.date() + NEAR
                if number in known and dates[0] <= dates[1]:
                    marks.append((number, *dates, "punch"))
        else:
            async for found in self._marking.stream_new_punches(after, punch):
                marks += await self._mark_punches(setup, found, people, "punch")
        if not is_first:
            around = await self._marking.punches_around_changes(clock_after, clock)
            marks += await self._mark_punches(setup, around, people, "clock")
        seen |= {"punch": punch, "clock": clock}
        return marks

    async def _mark_punches(
        self, setup: Setup, punches: Sequence[tuple[str, dt.datetime]], people: dict[str, EmployeeInput], reason: str
    ) -> list[Mark]:
        facts = await self._marking.find_facts({number for number, _ in punches} - people.keys())
        return await asyncio.to_thread(_mark_punches, setup, facts, punches, people, reason)


def _texts(
    people: Iterable[HrPerson],
    known: Mapping[str, str],
    parents: dict[str, str | None],
    leaves: Mapping[str, Sequence[Leave]],
) -> dict[str, str]:
    texts: dict[str, str] = {}
    for person in people:
        number = person.employee_no
        earlier = PersonFacts.from_text(known[number]).periods if number in known else ()
        facts = PersonFacts(
            row_id=person.row_id,
            departments=departments_of(person.department, parents),
            site=person.site,
            periods=plan_periods(person, earlier),
            leaves=sort_leaves(leaves.get(number, ())),
        )
        texts[number] = facts.to_text()
    return texts


def _mark_punches(
    setup: Setup,
    facts: Mapping[str, str],
    punches: Iterable[tuple[str, dt.datetime]],
    people: dict[str, EmployeeInput],
    reason: str,
) -> list[Mark]:
    touched: defaultdict[str, set[dt.date]] = defaultdict(set)
    for number, at in punches:
        if number not in people:
            if number not in facts:
                continue
            people[number] = setup.input_of(number, PersonFacts.from_text(facts[number]))
        touched[number] |= days_touched_at(people[number], at)
    return [(number, *dates, reason) for number, days in touched.items() for dates in ranges_of(sorted(days))]


def _dates(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + number * _ONE_DAY for number in range((last - first).days + 1)]
