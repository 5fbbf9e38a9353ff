"""Times rounded to units. Pure."""

from __future__ import annotations

from backend.domain.attendance.policies import Rounding, RoundingMode


def round_seconds(seconds: int, rounding: Rounding) -> int:
    """A number of seconds as a multiple of the unit, which is not 0; the middle between two goes up."""
    unit = rounding.unit_seconds
    into = seconds % unit
    floor = seconds - into
    if rounding.mode is RoundingMode.FLOOR:
        return floor + unit if into and unit - into <= rounding.grace_seconds else floor
    if rounding.mode is RoundingMode.CEIL:
        return floor if into <= rounding.grace_seconds else floor + unit
    return floor + unit if into * 2 >= unit else floor


def round_punch(second: int, rounding: Rounding, *, midnight: int, scheduled: int | None) -> int:
    """The instant that counts for a punch.

    Args:
        midnight: the instant from which units are counted.
        scheduled: the instant at which the shift starts or ends; None: there is no shift.
    """
    if rounding.window_seconds is not None:
        if scheduled is None or abs(second - scheduled) > rounding.window_seconds:
            return second
        if not rounding.unit_seconds:
            stays = RoundingMode.FLOOR if second < scheduled else RoundingMode.CEIL
            return second if rounding.mode is stays else scheduled
    return midnight + round_seconds(second - midnight, rounding)
