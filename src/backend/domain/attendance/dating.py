"""Which date the work of a shift belongs to, and what gathers on each date. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from backend.domain.attendance.calendars import NO_COVER, Calendar, Cover, Employment
from backend.domain.attendance.day import Anomaly, PunchUse, ShiftSpan
from backend.domain.attendance.pairing import BREAK, OVERTIME, WORK, Tile, Work
from backend.domain.attendance.policies import DayRule, Policy
from backend.domain.attendance.wall_clock import cut_at_midnights, date_at, to_second
from backend.domain.attendance.windows import Slot

Expected = tuple[int, int] | None
"""From when to when somebody is to be there; None: not at all."""


class Draft:
    """A date on which work gathers. A plain class that is filled in, as there are millions.

    Attributes:
        scheduled_seconds: of the fixed shifts.
        outside_start: work before the start of a shift, and `outside_end` after its end; filled where the policy asks.
        closes: the second after which nothing more belongs to the date; None: no shift and no punch.
        missed: shifts without a punch of which holidays and leave have left something.
        overtime_seconds: of the work, what was punched as overtime.
        is_punched: whether the person was there.
        is_mixed: whether the punches come from several places, so that their order is to be restored.
    """

    __slots__ = (
        "anomalies",
        "away_seconds",
        "break_seconds",
        "closes",
        "early_seconds",
        "first_in",
        "is_mixed",
        "is_punched",
        "last_out",
        "late_seconds",
        "missed",
        "outside_end",
        "outside_start",
        "overtime_seconds",
        "scheduled_seconds",
        "spans",
        "uses",
        "work_on",
        "work_seconds",
    )

    def __init__(self, work_on: dt.date) -> None:
        self.work_on = work_on
        self.spans: list[ShiftSpan] = []
        self.uses: list[PunchUse] = []
        self.anomalies: list[Anomaly] = []
        self.scheduled_seconds = 0
        self.work_seconds = 0
        self.overtime_seconds = 0
        self.break_seconds = 0
        self.away_seconds = 0
        self.late_seconds = 0
        self.early_seconds = 0
        self.outside_start = 0
        self.outside_end = 0
        self.first_in: int | None = None
        self.last_out: int | None = None
        self.closes: int | None = None
        self.missed = 0
        self.is_punched = False
        self.is_mixed = False

    def add_tile(self, tile: Tile) -> None:
        """Count a stretch of time."""
        start, end, kind = tile
        if kind is WORK:
            self.work_seconds += end - start
        elif kind is BREAK:
            self.break_seconds += end - start
        elif kind is OVERTIME:
            self.work_seconds += end - start
            self.overtime_seconds += end - start
        else:
            self.away_seconds += end - start

    def add_slot(self, slot: Slot, *, is_missed: bool) -> None:
        """Note a shift or a group of punches."""
        if self.closes is None or slot.closes > self.closes:
            self.closes = slot.closes
        if slot.span is not None:
            self.spans.append(slot.span)
            self.missed += is_missed

    def widen(self, first_in: int | None, last_out: int | None) -> None:
        """Take an earlier check-in and a later check-out."""
        if first_in is not None and (self.first_in is None or first_in < self.first_in):
            self.first_in = first_in
        if last_out is not None and (self.last_out is None or last_out > self.last_out):
            self.last_out = last_out


class Ledger:
    """The drafts of the dates that are asked for, and how work gets there."""

    def __init__(
        self, drafts: dict[dt.date, Draft], policy: Policy, zone: dt.tzinfo, calendar: Calendar, employment: Employment
    ) -> None:
        self.drafts = drafts
        self._policy = policy
        self._zone = zone
        self._cover_on = calendar.cover_on
        self._employment = employment
        self._excused: dict[dt.date, int] = {}
        tolerates = policy.overtime
        self._notes_outside = bool(tolerates.before_tolerance_seconds or tolerates.after_tolerance_seconds)

    def expected_of(self, slot: Slot) -> Expected:
        """From when to when the person is to be there by a shift; None: holidays or leave take all of it."""
        if self._policy.day_rule is DayRule.SPLIT:
            return self._expected_of_parts(slot)
        day = slot.work_on if self._policy.day_rule is not DayRule.END else date_at(self._zone, _last_second(slot))
        return expected_times(slot, self._cover_on(self._settle(day, slot)))

    def file(self, work: Work, *, is_over: bool) -> None:
        """Put the work of a slot on its date, or on its dates."""
        slot = work.slot
        if self._policy.day_rule is DayRule.SPLIT:
            expected = self._expected_of_parts(slot)
            self._file_split(work, is_missed=expected is not None)
            starts, ends = expected or (slot.starts, slot.ends)
            late_on = self._settle(date_at(self._zone, starts), slot)
            early_on = self._settle(date_at(self._zone, max(ends - 1, starts)), slot)
        else:
            late_on = early_on = self._settle(find_date(work, self._policy.day_rule, self._zone), slot)
            draft = self.drafts.get(late_on)
            if draft is None:
                return
            expected = expected_times(slot, self._cover_on(late_on))
            _file_whole(work, draft, is_missed=expected is not None)
        if slot.span is None or not work.uses or expected is None:
            return
        excused_on = slot.work_on if self._policy.day_rule is DayRule.SPLIT else late_on
        late, early = self._find_lateness(work, expected, excused_on)
        if late and (draft := self.drafts.get(late_on)) is not None:
            draft.late_seconds += late
        if early and is_over and (draft := self.drafts.get(early_on)) is not None:
            draft.early_seconds += early
        if self._notes_outside and (draft := self.drafts.get(late_on)) is not None:
            starts, ends = expected
            for start, end, kind in work.tiles:
                if kind is WORK:
                    draft.outside_start += max(0, min(end, starts) - start)
                    draft.outside_end += max(0, end - max(start, ends))

    def _settle(self, day: dt.date, slot: Slot) -> dt.date:
        """The date that counts: after somebody has left, it is that on which the shift began."""
        if day == slot.work_on or day in self.drafts or self._employment.covers(day):
            return day
        return slot.work_on

    def _draft_at(self, second: int, slot: Slot) -> Draft | None:
        """The draft of the date of an instant; None where that date is not asked for."""
        return self.drafts.get(self._settle(date_at(self._zone, second), slot))

    def _find_lateness(self, work: Work, expected: tuple[int, int], excused_on: dt.date) -> tuple[int, int]:
        """Late and early seconds. Leave by hours excuses so much of them on its date, the first ones first."""
        policy, (starts, ends) = self._policy, expected
        late = early = 0
        came, left = work.first_in, work.last_out
        if policy.rounded_lateness and work.tiles:
            came, left = work.tiles[0][0], work.tiles[-1][1]
        if came is not None and Anomaly.MISSING_IN not in work.anomalies:
            late = came - starts
        if left is not None and not work.is_open:
            early = ends - left
        late = late if late > policy.late_grace_seconds else 0
        early = early if early > policy.early_grace_seconds else 0
        if not (late or early):
            return 0, 0
        excuse = self._cover_on(excused_on).seconds - self._excused.get(excused_on, 0)
        if excuse > 0:
            late_excused = min(late, excuse)
            early_excused = min(early, excuse - late_excused)
            self._excused[excused_on] = self._excused.get(excused_on, 0) + late_excused + early_excused
            late, early = late - late_excused, early - early_excused
            late = late if late > policy.late_grace_seconds else 0
            early = early if early > policy.early_grace_seconds else 0
        return late, early

    def _expected_of_parts(self, slot: Slot) -> Expected:
        """Of a shift that is split at midnight, each part by the holidays and the leave of its date."""
        found: list[tuple[int, int]] = []
        for day, start, end, net in _parts_of(slot, self._zone):
            part = slot._replace(starts=start, ends=end, net_seconds=net, before_seconds=0, day_seconds=net)
            if (times := expected_times(part, self._cover_on(self._settle(day, slot)))) is not None:
                found.append(times)
        return (found[0][0], found[-1][1]) if found else None

    def _file_split(self, work: Work, *, is_missed: bool) -> None:
        slot, zone = work.slot, self._zone
        times = [to_second(use.punch.punched_at) for use in work.uses]
        present = {self._settle(day, slot) for day in (*self._split_time(work), *(date_at(zone, at) for at in times))}
        scheduled = (slot.starts, _last_second(slot)) if slot.span is not None else ()
        days = present | {self._settle(date_at(zone, second), slot) for second in scheduled}
        for day in sorted(days):
            draft = self.drafts.get(day)
            if draft is not None:
                draft.add_slot(slot, is_missed=is_missed and day not in present)
                if day in present:
                    draft.is_punched = True
                    draft.anomalies.extend(work.anomalies)
        for second in (work.first_in, work.last_out):
            if second is not None and (draft := self._draft_at(second, slot)) is not None:
                draft.widen(second if second == work.first_in else None, second if second == work.last_out else None)
        for use, second in zip(work.uses, times, strict=True):
            if (draft := self._draft_at(second, slot)) is not None:
                draft.uses.append(use)
                draft.is_mixed = True

    def _split_time(self, work: Work) -> set[dt.date]:
        """Put scheduled and measured time on its dates; those on which there was work."""
        slot, worked = work.slot, set()
        if slot.span is not None:
            for day, _, _, net in _parts_of(slot, self._zone):
                if (draft := self.drafts.get(self._settle(day, slot))) is not None:
                    draft.scheduled_seconds += net
        for start, end, kind in work.tiles:
            for day, part_start, part_end in cut_at_midnights(self._zone, start, end):
                draft = self.drafts.get(self._settle(day, slot))
                if draft is not None and part_end > part_start:
                    draft.add_tile((part_start, part_end, kind))
                    if kind is WORK or kind is OVERTIME:
                        worked.add(day)
        return worked


def find_date(work: Work, rule: DayRule, zone: dt.tzinfo) -> dt.date:
    """The date of a slot as a whole. One that ends at midnight ends on the day that is over then."""
    slot = work.slot
    if rule is DayRule.START:
        return slot.work_on
    if rule is DayRule.END:
        ends = slot.ends if slot.span is not None or work.last_out is None else work.last_out
        return date_at(zone, max(ends - 1, slot.starts))
    totals: dict[dt.date, int] = {}
    for start, end, kind in work.tiles or [(slot.starts, slot.ends, WORK)]:
        if kind is WORK or kind is OVERTIME:
            for day, part_start, part_end in cut_at_midnights(zone, start, end):
                totals[day] = totals.get(day, 0) + part_end - part_start
    return min(totals, key=lambda day: (-totals[day], day))


def _file_whole(work: Work, draft: Draft, *, is_missed: bool) -> None:
    slot = work.slot
    draft.add_slot(slot, is_missed=is_missed and not work.uses)
    draft.scheduled_seconds += slot.net_seconds
    if not work.uses:
        return
    draft.is_mixed = draft.is_punched
    draft.is_punched = True
    draft.uses.extend(work.uses)
    draft.anomalies.extend(work.anomalies)
    draft.widen(work.first_in, work.last_out)
    for tile in work.tiles:
        draft.add_tile(tile)


def _last_second(slot: Slot) -> int:
    return max(slot.ends - 1, slot.starts)


def _parts_of(slot: Slot, zone: dt.tzinfo) -> Iterator[tuple[dt.date, int, int, int]]:
    """A shift in parts of one date each: (date, start, end, scheduled seconds in proportion)."""
    length, given, given_net = max(slot.ends - slot.starts, 1), 0, 0
    for day, start, end in cut_at_midnights(zone, slot.starts, slot.ends):
        given += end - start
        net = slot.net_seconds * given // length - given_net
        given_net += net
        yield day, start, end, net


def expected_times(slot: Slot, cover: Cover) -> Expected:
    """From when to when the person is to be there; None: not at all, as holidays or leave take it.

    Half a day is half of its working time: with an hour's break in nine hours, the morning are the first four hours,
    and the afternoon the last four. Of a date with several shifts it may be just one of them.
    """
    if cover is NO_COVER or slot.span is None:
        return slot.starts, slot.ends
    if cover.is_full:
        return None
    if not cover.is_half:
        return slot.starts, slot.ends
    half = slot.day_seconds // 2
    if cover.first_half:
        left = slot.before_seconds + slot.net_seconds - (slot.day_seconds - half)
        starts = slot.starts if left >= slot.net_seconds else max(slot.starts, slot.ends - left)
        return None if left <= 0 < slot.net_seconds else (starts, slot.ends)
    left = half - slot.before_seconds
    ends = slot.ends if left >= slot.net_seconds else min(slot.ends, slot.starts + left)
    return None if left <= 0 < slot.net_seconds else (slot.starts, ends)
