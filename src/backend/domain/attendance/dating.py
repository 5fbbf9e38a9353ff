"""Which date the work of a shift belongs to, and what gathers on each date. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from backend.domain.attendance.calendars import NO_COVER, Cover
from backend.domain.attendance.day import Anomaly, PunchUse, ShiftSpan
from backend.domain.attendance.pairing import BREAK, WORK, Tile, Work
from backend.domain.attendance.policies import DayRule, Policy
from backend.domain.attendance.wall_clock import cut_at_midnights, date_at, to_second
from backend.domain.attendance.windows import Slot


class Draft:
    """A date on which work gathers. A plain class that is filled in, as there are millions.

    Attributes:
        scheduled_seconds: of the fixed shifts.
        outside_start: work before the start of a shift, and `outside_end` after its end; filled where the policy asks.
        closes: the second after which nothing more belongs to the date; None: no shift and no punch.
        missed: shifts without a punch.
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
        else:
            self.away_seconds += end - start

    def add_slot(self, slot: Slot, *, is_punched: bool) -> None:
        """Note a shift or a group of punches."""
        if self.closes is None or slot.closes > self.closes:
            self.closes = slot.closes
        if slot.span is not None:
            self.spans.append(slot.span)
            if not is_punched:
                self.missed += 1

    def widen(self, first_in: int | None, last_out: int | None) -> None:
        """Take an earlier check-in and a later check-out."""
        if first_in is not None and (self.first_in is None or first_in < self.first_in):
            self.first_in = first_in
        if last_out is not None and (self.last_out is None or last_out > self.last_out):
            self.last_out = last_out


DraftOf = Callable[[dt.date], Draft | None]
"""The draft of a date; None where the date is not asked for."""


def file_work(
    work: Work,
    policy: Policy,
    zone: dt.tzinfo,
    draft_of: DraftOf,
    cover_on: Callable[[dt.date], Cover],
    *,
    is_over: bool,
) -> None:
    """Put the work of a slot on its date, or on its dates."""
    slot = work.slot
    if policy.day_rule is DayRule.SPLIT:
        _file_split(work, zone, draft_of)
        cover = cover_on(slot.work_on)
        late_on, early_on = slot.work_on, date_at(zone, max(slot.ends - 1, slot.starts))
    else:
        late_on = early_on = find_date(work, policy.day_rule, zone)
        draft = draft_of(late_on)
        if draft is None:
            return
        _file_whole(work, draft)
        cover = cover_on(late_on)
    if slot.span is None or not work.uses or cover.is_full:
        return
    starts, ends = expected_times(slot, cover)
    late, early = _find_lateness(work, starts, ends, cover, policy, is_over=is_over)
    if late and (draft := draft_of(late_on)) is not None:
        draft.late_seconds += late
    if early and (draft := draft_of(early_on)) is not None:
        draft.early_seconds += early
    if (policy.overtime.before_tolerance_seconds or policy.overtime.after_tolerance_seconds) and (
        draft := draft_of(late_on)
    ) is not None:
        for start, end, kind in work.tiles:
            if kind is WORK:
                draft.outside_start += max(0, min(end, starts) - start)
                draft.outside_end += max(0, end - max(start, ends))


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
        if kind is WORK:
            for day, part_start, part_end in cut_at_midnights(zone, start, end):
                totals[day] = totals.get(day, 0) + part_end - part_start
    return min(totals, key=lambda day: (-totals[day], day))


def _file_whole(work: Work, draft: Draft) -> None:
    slot = work.slot
    draft.add_slot(slot, is_punched=bool(work.uses))
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


def _file_split(work: Work, zone: dt.tzinfo, draft_of: DraftOf) -> None:
    slot = work.slot
    punched = {date_at(zone, to_second(use.punch.punched_at)) for use in work.uses}
    punched |= _split_tiles(work, zone, draft_of)
    if slot.span is not None:
        _split_schedule(slot, zone, draft_of)
    for second in (work.first_in, work.last_out):
        if second is not None and (draft := draft_of(date_at(zone, second))) is not None:
            draft.widen(second if second == work.first_in else None, second if second == work.last_out else None)
    for day in sorted({slot.work_on, *punched, date_at(zone, max(slot.ends - 1, slot.starts))}):
        draft = draft_of(day)
        if draft is None or (slot.span is None and day not in punched):
            continue
        draft.add_slot(slot, is_punched=day in punched)
        if day in punched:
            draft.is_punched = True
            draft.anomalies.extend(work.anomalies)
    for use in work.uses:
        if (draft := draft_of(date_at(zone, to_second(use.punch.punched_at)))) is not None:
            draft.uses.append(use)
            draft.is_mixed = True


def _split_tiles(work: Work, zone: dt.tzinfo, draft_of: DraftOf) -> set[dt.date]:
    """Put each stretch of time on its date; the dates on which there was work."""
    worked_on: set[dt.date] = set()
    for start, end, kind in work.tiles:
        for day, part_start, part_end in cut_at_midnights(zone, start, end):
            draft = draft_of(day)
            if draft is None or part_end == part_start:
                continue
            draft.add_tile((part_start, part_end, kind))
            if kind is WORK:
                worked_on.add(day)
    return worked_on


def _split_schedule(slot: Slot, zone: dt.tzinfo, draft_of: DraftOf) -> None:
    """Put the scheduled time of a shift on its dates, in proportion."""
    length, given, given_net = max(slot.ends - slot.starts, 1), 0, 0
    for day, part_start, part_end in cut_at_midnights(zone, slot.starts, slot.ends):
        given += part_end - part_start
        net = slot.net_seconds * given // length - given_net
        given_net += net
        if (draft := draft_of(day)) is not None:
            draft.scheduled_seconds += net


def expected_times(slot: Slot, cover: Cover) -> tuple[int, int]:
    """From when to when the person is to be there: half of the shift where a holiday or leave takes the other half."""
    if cover is NO_COVER or not cover.is_half:
        return slot.starts, slot.ends
    middle = (slot.starts + slot.ends) // 2
    return (middle, slot.ends) if cover.first_half else (slot.starts, middle)


def _find_lateness(
    work: Work, starts: int, ends: int, cover: Cover, policy: Policy, *, is_over: bool
) -> tuple[int, int]:
    """Late and early seconds. Leave by hours excuses so much of them, the late ones first."""
    late = early = 0
    if work.first_in is not None and work.first_in > starts + policy.late_grace_seconds:
        late = work.first_in - starts
    if is_over and not work.is_open and work.last_out is not None and work.last_out < ends - policy.early_grace_seconds:
        early = ends - work.last_out
    if cover.seconds:
        excused = min(late, cover.seconds)
        late, early = late - excused, max(0, early - (cover.seconds - excused))
    return late, early
