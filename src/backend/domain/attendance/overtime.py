"""What of the worked time is overtime, and of which kind. Pure."""

from __future__ import annotations

from backend.domain.attendance.calendars import Cover
from backend.domain.attendance.day import Overtime
from backend.domain.attendance.policies import OvertimeRules


def split_overtime(
    worked: int,
    expected: int | None,
    rules: OvertimeRules,
    *,
    cover: Cover,
    is_rest_day: bool,
    outside_start: int = 0,
    outside_end: int = 0,
    by_keys: int = 0,
) -> dict[Overtime, int]:
    """The overtime of a day, as far as the day alone tells it. No second is in two kinds.

    Args:
        expected: what was to be worked; None: there is no schedule.
        outside_start: work before the start of the shift, which counts only above the tolerance.
        outside_end: the same after its end.
        by_keys: of the work, what was punched as overtime.
    """
    if worked <= 0:
        return {}
    if cover.is_holiday and rules.on_holidays:
        return {Overtime.HOLIDAY: worked}
    if is_rest_day and rules.on_rest_days:
        return {Overtime.REST_DAY: worked}
    found: dict[Overtime, int] = {}
    if by_keys > 0:
        found[Overtime.BY_KEYS] = min(by_keys, worked)
        worked -= found[Overtime.BY_KEYS]
    over_day = max(0, worked - rules.daily_limit_seconds) if rules.daily_limit_seconds is not None else 0
    over_schedule = 0
    half_holiday = cover.takes_holiday and rules.on_holidays
    if expected is not None and worked > expected and (rules.over_schedule or half_holiday):
        tolerated = outside_start if outside_start <= rules.before_tolerance_seconds else 0
        tolerated += outside_end if outside_end <= rules.after_tolerance_seconds else 0
        over_schedule = max(0, worked - expected - tolerated - over_day)
    if over_schedule:
        found[Overtime.HOLIDAY if half_holiday else Overtime.OVER_SCHEDULE] = over_schedule
    if over_day:
        found[Overtime.DAILY_LIMIT] = over_day
    return found


def add_weekly(overtime: dict[Overtime, int], worked: int, regular_before: int, limit: int) -> None:
    """Add to a day's overtime what is beyond the weekly limit.

    Args:
        regular_before: what was worked earlier in the week and is no overtime.
    """
    regular = worked - sum(overtime.values())
    beyond = min(regular, max(0, regular_before + regular - limit))
    if beyond > 0:
        overtime[Overtime.WEEKLY_LIMIT] = beyond
