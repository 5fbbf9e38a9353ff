"""From the punches of one shift to time: pairs of in and out, the gaps between them, and what became of each. Pure."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Sequence

from backend.domain.attendance.day import Anomaly, Fate, PunchUse
from backend.domain.attendance.policies import Hours, Pairing, Policy
from backend.domain.attendance.rounding import round_punch
from backend.domain.attendance.wall_clock import to_instant
from backend.domain.attendance.windows import INS, Event, Slot
from backend.domain.punches import Direction

Pairs = list[tuple[int, int]]
"""Which punch is an in, and which one its out."""


class Kind(enum.Enum):
    """What a stretch of time is."""

    WORK = enum.auto()
    OVERTIME = enum.auto()  # work that was punched as overtime, where that is a kind of its own
    BREAK = enum.auto()
    AWAY = enum.auto()


Tile = tuple[int, int, Kind]
"""From, to, and what it is."""

WORK, OVERTIME, BREAK, AWAY = Kind.WORK, Kind.OVERTIME, Kind.BREAK, Kind.AWAY
_OPEN_IN, _BETWEEN = Fate.OPEN_IN, Fate.BETWEEN


class Work:
    """What the punches of one slot come to. Made by `measure` only; a plain class, as there are millions.

    Attributes:
        tiles: without holes and overlaps from the first in to the last out, after rounding.
        first_in: the second of the first check-in as punched.
        last_out: the second of the last check-out as punched, or as the policy sets it.
        is_open: whether the last check-in has no check-out.
    """

    __slots__ = ("anomalies", "first_in", "is_open", "last_out", "slot", "tiles", "uses")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.tiles: list[Tile] = []
        self.uses: list[PunchUse] = []
        self.anomalies: list[Anomaly] = []
        self.first_in: int | None = None
        self.last_out: int | None = None
        self.is_open = False


def measure(
    slot: Slot, events: Sequence[Event], policy: Policy, *, is_over: bool, expected_end: int | None = None
) -> Work:
    """What the punches of a slot come to.

    Args:
        events: ascending, without duplicates.
        is_over: whether no more punches can come; only then is one missing.
        expected_end: the second at which the policy checks somebody out; None: at the end of the shift.
    """
    work = Work(slot)
    if not events:
        return work
    fates: list[Fate] = [_BETWEEN] * len(events)
    if policy.pairing is Pairing.ALTERNATING:
        pairs, open_in = _pair_alternating(len(events), policy.hours)
        misses_out = len(events) % 2 == 1
    else:
        pairs, open_in = _pair_by_direction(events, fates, policy)
        misses_out = open_in is not None
        _note_ignored(work, events, fates)
    timed: Sequence[Event] = events
    if misses_out and is_over:
        work.anomalies.append(Anomaly.MISSING_OUT)
        ends = slot.ends if expected_end is None else expected_end
        if open_in is not None and (leaves := _find_auto_check_out(slot, events[open_in][0], ends, policy)) is not None:
            work.anomalies.append(Anomaly.AUTO_CHECKED_OUT)
            pairs.append((open_in, len(events)))
            timed = [*events, (leaves, events[open_in][1])]  # a time at which there was no punch
            fates.append(_BETWEEN)
            open_in = None
    if open_in is not None:
        fates[open_in] = _OPEN_IN
        work.is_open = True
        work.first_in = events[open_in][0]
    if pairs:
        _lay_tiles(work, timed, pairs, fates, policy)
    elif open_in is None and Fate.OUT_WITHOUT_IN in fates:
        work.last_out = events[-1 - fates[::-1].index(Fate.OUT_WITHOUT_IN)][0]
    _list_uses(work, events, fates)
    return work


def _pair_alternating(count: int, hours: Hours) -> tuple[Pairs, int | None]:
    pairs = [(index, index + 1) for index in range(0, count - 1, 2)]
    if count % 2 == 0:
        return pairs, None
    if hours is Hours.FIRST_TO_LAST and pairs:
        pairs[-1] = (pairs[-1][0], count - 1)  # whatever it was, the person was there until then
        return pairs, None
    return pairs, count - 1


# From plain work to overtime, and back, without a check-out in between.
_TURNS = frozenset(
    {
        (Direction.IN, Direction.OVERTIME_IN),
        (Direction.BREAK_END, Direction.OVERTIME_IN),
        (Direction.OVERTIME_IN, Direction.IN),
    }
)


def _pair_by_direction(events: Sequence[Event], fates: list[Fate], policy: Policy) -> tuple[Pairs, int | None]:
    pairs: Pairs = []
    turns = Direction.OVERTIME_IN if policy.overtime.by_keys else None
    open_in: int | None = None
    for index, (_, punch) in enumerate(events):
        if punch.direction is None:
            fates[index] = Fate.NO_DIRECTION
        elif punch.direction in INS:
            if open_in is None:
                open_in = index
            elif turns and (events[open_in][1].direction, punch.direction) in _TURNS:
                pairs.append((open_in, index))
                open_in = index
            else:
                fates[index] = Fate.REPEATED_IN
        elif open_in is not None:
            pairs.append((open_in, index))
            open_in = None
        elif pairs and policy.hours is Hours.FIRST_TO_LAST:  # the last out counts
            begins, ends = pairs[-1]
            if turns and events[begins][1].direction is turns and punch.direction is not Direction.OVERTIME_OUT:
                pairs.append((ends, index))  # but not as overtime
            else:
                pairs[-1] = (begins, index)
        else:
            fates[index] = Fate.OUT_WITHOUT_IN
    return pairs, open_in


def _note_ignored(work: Work, events: Sequence[Event], fates: Sequence[Fate]) -> None:
    if Fate.NO_DIRECTION in fates:
        work.anomalies.append(Anomaly.NO_DIRECTION)
    if Fate.REPEATED_IN in fates:
        work.anomalies.append(Anomaly.REPEATED_IN)
    if Fate.OUT_WITHOUT_IN in fates:
        first = next(fate for fate in fates if fate is not Fate.NO_DIRECTION)
        work.anomalies.append(Anomaly.MISSING_IN if first is Fate.OUT_WITHOUT_IN else Anomaly.OUT_WITHOUT_IN)


def _lay_tiles(work: Work, events: Sequence[Event], pairs: Pairs, fates: list[Fate], policy: Policy) -> None:
    work.first_in, work.last_out = events[pairs[0][0]][0], events[pairs[-1][1]][0]
    is_set = Anomaly.AUTO_CHECKED_OUT in work.anomalies  # by the policy, which does not round its own time
    starts, ends = _round_ends(work.slot, events, pairs, policy, is_set=is_set)
    counts_through = policy.hours is Hours.FIRST_TO_LAST
    tiles, since, kind = work.tiles, starts, _kind_from(events[pairs[0][0]], WORK, policy)
    for (_, leaves), (returns, _) in itertools.pairwise(pairs):
        gap_start, gap_end = events[leaves][0], events[returns][0]
        goes_on, gap = _kind_from(events[returns], kind, policy), WORK
        if leaves == returns:
            fates[returns] = Fate.TURNED
        elif _is_break(work.slot, events[leaves], events[returns], policy):
            fates[leaves], fates[returns], gap = Fate.BREAK_START, Fate.BREAK_END, BREAK
        elif not counts_through:
            fates[leaves], fates[returns], gap = Fate.LEFT, Fate.RETURNED, AWAY
        elif goes_on is kind:
            continue
        tiles.append((since, gap_start, kind))
        tiles.append((gap_start, gap_end, gap))
        since, kind = gap_end, goes_on
    tiles.append((since, ends, kind))
    fates[pairs[0][0]], fates[pairs[-1][1]] = Fate.CHECK_IN, Fate.CHECK_OUT


def _kind_from(event: Event, before: Kind, policy: Policy) -> Kind:
    """What kind of work begins with a punch; after a break it is what it was before."""
    direction = event[1].direction
    if not policy.overtime.by_keys:
        return WORK
    if direction is Direction.BREAK_END:
        return before
    return OVERTIME if direction is Direction.OVERTIME_IN else WORK


def _round_ends(slot: Slot, events: Sequence[Event], pairs: Pairs, policy: Policy, *, is_set: bool) -> tuple[int, int]:
    """The counted first in and last out: within the slot's window, and not beyond the punches that follow them."""
    starts, ends = events[pairs[0][0]][0], events[pairs[-1][1]][0]
    if policy.round_in.is_active:
        scheduled = slot.starts if slot.span else None
        rounded = round_punch(starts, policy.round_in, midnight=slot.midnight, scheduled=scheduled)
        starts = min(max(rounded, slot.opens), events[pairs[0][1]][0] if len(pairs) > 1 else slot.closes)
    if policy.round_out.is_active and not is_set:
        scheduled = slot.ends if slot.span else None
        rounded = round_punch(ends, policy.round_out, midnight=slot.midnight, scheduled=scheduled)
        ends = max(min(rounded, slot.closes), events[pairs[-1][0]][0] if len(pairs) > 1 else starts)
    return starts, max(starts, ends)


def _is_break(slot: Slot, leaving: Event, returning: Event, policy: Policy) -> bool:
    rules = policy.breaks
    if leaving[1].direction is Direction.BREAK_START or returning[1].direction is Direction.BREAK_END:
        return True
    if not rules.detects:
        return policy.hours is Hours.EVERY_PAIR
    if rules.in_windows and any(opens <= leaving[0] <= closes for opens, closes in slot.break_windows):
        return True
    if rules.min_gap_seconds is None and rules.max_gap_seconds is None:
        return False
    gap = returning[0] - leaving[0]
    return (rules.min_gap_seconds or 0) <= gap and (rules.max_gap_seconds is None or gap <= rules.max_gap_seconds)


def _find_auto_check_out(slot: Slot, came_in: int, ends: int, policy: Policy) -> int | None:
    """When the policy checks somebody out who came in and never left; None: not at all."""
    if slot.span is not None:
        leaves = ends if policy.auto_check_out else came_in
    else:
        leaves = min(came_in + policy.auto_check_out_after_seconds, slot.closes)
    return leaves if leaves > came_in else None


def _list_uses(work: Work, events: Sequence[Event], fates: Sequence[Fate]) -> None:
    uses = work.uses
    tiles = work.tiles
    for (second, punch), fate in zip(events, fates, strict=False):
        counted = None
        if fate is Fate.CHECK_IN and tiles[0][0] != second:
            counted = to_instant(tiles[0][0])
        elif fate is Fate.CHECK_OUT and tiles[-1][1] != second:
            counted = to_instant(tiles[-1][1])
        uses.append(PunchUse(punch, fate, counted))
