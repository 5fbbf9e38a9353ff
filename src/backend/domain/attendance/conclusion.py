"""What has gathered on a date, concluded: expected time, breaks taken off, rounding, overtime, status. Pure."""

from __future__ import annotations

import datetime as dt

from backend.domain.attendance.calendars import Cover
from backend.domain.attendance.dating import Draft
from backend.domain.attendance.day import Anomaly, AttendanceDay, DayOverride, Origin, PunchUse, Status
from backend.domain.attendance.overtime import add_weekly, split_overtime
from backend.domain.attendance.policies import BreakRules, Policy
from backend.domain.attendance.rounding import round_seconds
from backend.domain.attendance.shifts import DayPlan
from backend.domain.attendance.wall_clock import ONE_DAY, second_at, to_instant

_DEVICE = Origin.DEVICE


def _punched_at(use: PunchUse) -> dt.datetime:
    return use.punch.punched_at


def conclude(
    draft: Draft,
    plan: DayPlan,
    cover: Cover,
    override: DayOverride | None,
    policy: Policy,
    *,
    zone: dt.tzinfo,
    until: int,
    regular_before: int,
) -> AttendanceDay:
    """The day.

    Args:
        until: the second up to which punches are known.
        regular_before: what was worked earlier in the week and is no overtime.
    """
    is_rest_day = not draft.spans and not plan.is_flexible
    scheduled = draft.scheduled_seconds if draft.spans else plan.required_seconds
    expected, on_leave = _expect(scheduled, cover)
    closes = draft.closes if draft.spans and draft.closes is not None else _end_of(draft, zone)
    is_final = closes < until

    gross, taken, by_keys = draft.work_seconds, draft.break_seconds, draft.overtime_seconds
    deducted = _deduct(gross, taken, policy.breaks) if policy.breaks.deductions else 0
    paid = min(taken, policy.breaks.paid_seconds)
    worked = gross + paid - deducted
    rounding = round_seconds(worked, policy.round_total) - worked if policy.round_total.unit_seconds else 0
    worked += rounding
    late, early = draft.late_seconds, draft.early_seconds
    if not draft.is_punched:
        missing = Status.ABSENT if is_final else Status.EXPECTED
        status = _judge_absence(cover, scheduled, expected, is_rest_day=is_rest_day) or missing
    elif not is_final:
        status = Status.WORKING
    elif is_rest_day or cover.is_full:
        status = Status.PRESENT
    else:
        status = _judge_work(worked, cover, policy, scheduled)
    outside_start, outside_end = draft.outside_start, draft.outside_end
    if override is not None:
        status = override.status or status
        if override.worked_seconds is not None:
            worked, outside_start, outside_end, by_keys = override.worked_seconds, 0, 0, 0
        late = late if override.late_seconds is None else override.late_seconds
        early = early if override.early_seconds is None else override.early_seconds

    overtime = split_overtime(
        worked,
        None if plan.is_flexible and not scheduled else expected,
        policy.overtime,
        cover=cover,
        is_rest_day=is_rest_day,
        outside_start=outside_start,
        outside_end=outside_end,
        by_keys=by_keys,
    )
    if policy.overtime.weekly_limit_seconds is not None:
        add_weekly(overtime, worked, regular_before, policy.overtime.weekly_limit_seconds)
    presence = gross + taken + draft.away_seconds
    return AttendanceDay(
        work_on=draft.work_on,
        status=status,
        is_final=is_final,
        shifts=tuple(draft.spans),
        scheduled_seconds=scheduled,
        expected_seconds=expected,
        presence_seconds=presence,
        worked_seconds=worked,
        first_in_at=None if draft.first_in is None else to_instant(draft.first_in),
        last_out_at=None if draft.last_out is None else to_instant(draft.last_out),
        late_seconds=late,
        early_seconds=early,
        break_seconds=taken - paid,
        away_seconds=draft.away_seconds,
        deducted_seconds=deducted,
        rounding_seconds=rounding,
        leave_seconds=on_leave,
        overtime=overtime,
        anomalies=_list_anomalies(
            draft,
            cover,
            is_rest_day=is_rest_day,
            is_too_long=presence > policy.maximum_shift_seconds,
            is_final=is_final,
            is_overridden=override is not None,
        ),
        punches=tuple(sorted(draft.uses, key=_punched_at) if draft.is_mixed else draft.uses),
        holidays=cover.holidays,
        leaves=cover.leaves,
        override=override,
    )


def _end_of(draft: Draft, zone: dt.tzinfo) -> int:
    """Without a shift, a date is over at midnight, or when the work that began on it is."""
    midnight = second_at(zone, draft.work_on + ONE_DAY, 0) - 1
    return midnight if draft.closes is None else max(midnight, draft.closes)


def _expect(scheduled: int, cover: Cover) -> tuple[int, int]:
    """What is left of the schedule by holidays and leave, and how much of it is leave."""
    if not cover.holidays and not cover.leaves:
        return scheduled, 0
    holiday_halves = 2 if cover.is_holiday else int(cover.takes_holiday)
    without_leave = scheduled * (2 - holiday_halves) // 2
    with_leave = scheduled * (2 - cover.first_half - cover.second_half) // 2
    expected = max(0, min(without_leave, with_leave) - cover.seconds)
    return expected, without_leave - expected


def _deduct(worked: int, taken: int, rules: BreakRules) -> int:
    """The break that the policy takes off."""
    due = max((item.deduct_seconds for item in rules.deductions if worked >= item.after_seconds), default=0)
    return max(0, due - taken) if rules.count_taken else due


def _judge_work(worked: int, cover: Cover, policy: Policy, scheduled: int) -> Status:
    """A day on which there was to be work, and on which somebody was there."""
    # On half a day, twice the time is measured instead of half the threshold. Leave by hours counts as worked.
    counted = (worked + min(cover.seconds, scheduled)) * (2 if cover.is_half else 1)
    if counted < policy.absent_below_seconds:
        return Status.ABSENT
    return Status.HALF_DAY if counted < policy.half_day_below_seconds else Status.PRESENT


def _judge_absence(cover: Cover, scheduled: int, expected: int, *, is_rest_day: bool) -> Status | None:
    """A day on which nobody was there; None: somebody should have been."""
    if cover.is_holiday:
        return Status.HOLIDAY
    if is_rest_day:
        return Status.REST_DAY
    if cover.is_full or (scheduled and not expected):
        return Status.ON_LEAVE
    return None if scheduled else Status.NOT_SCHEDULED


def _list_anomalies(
    draft: Draft, cover: Cover, *, is_rest_day: bool, is_too_long: bool, is_final: bool, is_overridden: bool
) -> tuple[Anomaly, ...]:
    found = draft.anomalies
    if draft.is_punched:
        if cover.is_holiday:
            found.append(Anomaly.WORKED_ON_HOLIDAY)
        elif is_rest_day:
            found.append(Anomaly.WORKED_ON_REST_DAY)
        elif cover.is_full:
            found.append(Anomaly.WORKED_ON_LEAVE)
        elif draft.missed and is_final and not cover.seconds:
            found.append(Anomaly.MISSED_SHIFT)
    if is_too_long:
        found.append(Anomaly.TOO_LONG)
    for use in draft.uses:
        punch = use.punch
        if punch.origin is not _DEVICE:
            found.append(Anomaly.CORRECTED)
        if punch.is_doubtful:
            found.append(Anomaly.DOUBTFUL_CLOCK)
    if is_overridden:
        found.append(Anomaly.OVERRIDDEN)
    return tuple(sorted(set(found))) if found else ()
