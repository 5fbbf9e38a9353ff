"""The rules by which attendance is computed, as data. Pure.

Each group of rules is applied in a module of its own; what they say together is checked here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from backend.domain.attendance.wall_clock import DAY_SECONDS
from backend.errors import ConfigurationError

HOUR = 3600


class DayRule(enum.StrEnum):
    """The date of a shift that touches two."""

    START = "start_day"
    END = "end_day"
    MOST_WORKED = "most_worked_day"
    SPLIT = "split_at_midnight"


class Pairing(enum.StrEnum):
    """How punches become ins and outs."""

    ALTERNATING = "alternating"
    BY_DIRECTION = "by_direction"


class Hours(enum.StrEnum):
    """What counts as worked.

    `FIRST_TO_LAST`: from the first check-in to the last check-out, without breaks; with alternating punches, the last
    punch is the last check-out even where their number is odd, which is reported. `EVERY_PAIR`: each pair of check-in
    and check-out; an odd last punch counts nothing.
    """

    FIRST_TO_LAST = "first_to_last"
    EVERY_PAIR = "every_pair"


class RoundingMode(enum.StrEnum):
    """Where a time goes that is between two units."""

    FLOOR = "floor"
    CEIL = "ceil"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """How one kind of time is rounded.

    Attributes:
        unit_seconds: 0: not at all.
        grace_seconds: how far into a unit a time may be, seen from where it is not rounded to, and still go there: with
            15 minutes up and a grace of 5, 9:05 becomes 9:00 and 9:06 becomes 9:15.
        window_seconds: only punches that are as near as this to the scheduled time are changed; without a unit they
            become the scheduled time: those before it with `CEIL`, those after it with `FLOOR`, both with `NEAREST`.
            None: all punches are rounded. It has no meaning for a day's total.
    """

    unit_seconds: int = 0
    mode: RoundingMode = RoundingMode.NEAREST
    grace_seconds: int = 0
    window_seconds: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether it changes anything."""
        return self.unit_seconds > 0 or self.window_seconds is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoBreak:
    """Who has worked `after_seconds` has had a break of `deduct_seconds`, punched or not."""

    after_seconds: int
    deduct_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakRules:
    """What is a break, and which one is taken off without being punched.

    A gap between punches is a break when it was punched with the break keys. With `in_windows`, so is one that begins
    in a break window of the shift; with `min_gap_seconds` or `max_gap_seconds`, one of that length. Where none of the
    three is given, every gap between two pairs is a break (`Hours.EVERY_PAIR`), or only those of the keys
    (`Hours.FIRST_TO_LAST`).

    Attributes:
        deductions: of those whose `after_seconds` are reached, the longest counts.
        count_taken: whether breaks that were taken count towards the deduction, which then tops them up.
        paid_seconds: so much of the breaks that were taken counts as work.
    """

    min_gap_seconds: int | None = None
    max_gap_seconds: int | None = None
    in_windows: bool = False
    deductions: tuple[AutoBreak, ...] = ()
    count_taken: bool = False
    paid_seconds: int = 0

    @property
    def detects(self) -> bool:
        """Whether anything but the keys tells a break."""
        return self.in_windows or self.min_gap_seconds is not None or self.max_gap_seconds is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class OvertimeRules:
    """What of the worked time is overtime; by default, nothing.

    Attributes:
        over_schedule: what is worked beyond the scheduled time.
        before_tolerance_seconds: so much before the start, or less, is no time over the schedule.
        after_tolerance_seconds: the same after the end.
        daily_limit_seconds: what is worked beyond it in a day.
        weekly_limit_seconds: what is worked beyond it in a week, as far as it is no overtime already.
        week_starts_on: 0 is Monday.
        on_rest_days: everything that is worked on one.
        on_holidays: everything that is worked on a full holiday, and what is over the schedule on half of one.
        by_keys: on other days, what is worked from a check-in with the key for overtime on. With
            `Pairing.BY_DIRECTION` it need not follow a check-out: plain work ends there.
    """

    over_schedule: bool = False
    before_tolerance_seconds: int = 0
    after_tolerance_seconds: int = 0
    daily_limit_seconds: int | None = None
    weekly_limit_seconds: int | None = None
    week_starts_on: int = 0
    on_rest_days: bool = False
    on_holidays: bool = False
    by_keys: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All rules for a group of people.

    Attributes:
        duplicate_seconds: punches that follow one within this time are the same one, inclusive.
        late_grace_seconds: a check-in is late when it is more than this after the start.
        early_grace_seconds: a check-out is early when it is more than this before the end.
        absent_below_seconds: who has worked less is absent; 0: that rule is off. Half of it counts on half a day.
        half_day_below_seconds: who has worked less has a half day; 0: that rule is off.
        minimum_time_off_seconds: without a schedule, a check-in this long after a check-out begins a new shift.
        maximum_shift_seconds: without a schedule, a punch later than this after the first one begins a new shift. Which
            punches begin one besides is told by `grouping`.
        auto_check_out: who did not check out of a scheduled shift is checked out at its end.
        auto_check_out_after_seconds: who did not check out without a schedule is checked out this long after the
            check-in; 0: is not.
        unscheduled_work: punches outside the windows of a shift are work of their own on every day, and not only on
            days without a shift and holidays.
        rounded_lateness: late and early are judged by the rounded punch, and not by the punch itself.
        round_in: the first check-in of a shift.
        round_out: the last check-out of a shift.
        round_total: the worked time of the day.

    Raises:
        ConfigurationError: the rules contradict each other.
    """

    code: str = "default"
    day_rule: DayRule = DayRule.START
    pairing: Pairing = Pairing.ALTERNATING
    hours: Hours = Hours.EVERY_PAIR
    duplicate_seconds: int = 60
    late_grace_seconds: int = 0
    early_grace_seconds: int = 0
    absent_below_seconds: int = 0
    half_day_below_seconds: int = 0
    minimum_time_off_seconds: int = 4 * HOUR
    maximum_shift_seconds: int = 16 * HOUR
    auto_check_out: bool = False
    auto_check_out_after_seconds: int = 0
    unscheduled_work: bool = False
    rounded_lateness: bool = False
    round_in: Rounding = Rounding()
    round_out: Rounding = Rounding()
    round_total: Rounding = Rounding()
    breaks: BreakRules = BreakRules()
    overtime: OvertimeRules = field(default_factory=OvertimeRules)

    def __post_init__(self) -> None:
        if problems := self._problems():
            raise ConfigurationError(f"Policy {self.code}: {' '.join(problems)}")

    def _problems(self) -> list[str]:
        breaks, overtime = self.breaks, self.overtime
        seconds = {
            "duplicate_seconds": self.duplicate_seconds,
            "late_grace_seconds": self.late_grace_seconds,
            "early_grace_seconds": self.early_grace_seconds,
            "absent_below_seconds": self.absent_below_seconds,
            "half_day_below_seconds": self.half_day_below_seconds,
            "auto_check_out_after_seconds": self.auto_check_out_after_seconds,
            "minimum_time_off_seconds": self.minimum_time_off_seconds,
            "before_tolerance_seconds": overtime.before_tolerance_seconds,
            "after_tolerance_seconds": overtime.after_tolerance_seconds,
            "min_gap_seconds": breaks.min_gap_seconds or 0,
            "max_gap_seconds": breaks.max_gap_seconds or 0,
            "paid_seconds": breaks.paid_seconds,
            "daily_limit_seconds": overtime.daily_limit_seconds or 0,
            "weekly_limit_seconds": overtime.weekly_limit_seconds or 0,
        }
        problems = [f"{name} is {value}; it cannot be negative." for name, value in seconds.items() if value < 0]
        if 0 < self.half_day_below_seconds <= self.absent_below_seconds:
            problems.append(
                f"half_day_below_seconds ({self.half_day_below_seconds}) is not above absent_below_seconds "
                f"({self.absent_below_seconds}), so that nobody could have a half day; raise it, or set it to 0."
            )
        if not self.minimum_time_off_seconds < self.maximum_shift_seconds <= DAY_SECONDS:
            problems.append("maximum_shift_seconds is to be above minimum_time_off_seconds and 24 hours at most.")
        if self.auto_check_out_after_seconds > self.maximum_shift_seconds:
            problems.append("auto_check_out_after_seconds is above maximum_shift_seconds; lower it.")
        if (
            breaks.min_gap_seconds is not None
            and breaks.max_gap_seconds is not None
            and breaks.min_gap_seconds > breaks.max_gap_seconds
        ):
            problems.append("min_gap_seconds is above max_gap_seconds, so that no gap would be a break; lower it.")
        problems.extend(
            f"a break of {item.deduct_seconds} s after {item.after_seconds} s is longer than the work, or not "
            "positive; lower `deduct`, or raise `after`."
            for item in breaks.deductions
            if not 0 < item.deduct_seconds <= item.after_seconds
        )
        if not 0 <= overtime.week_starts_on <= 6:
            problems.append(f"week_starts_on is {overtime.week_starts_on}; it goes from 0 (Monday) to 6 (Sunday).")
        if overtime.weekly_limit_seconds is not None and overtime.weekly_limit_seconds > 7 * DAY_SECONDS:
            problems.append("weekly_limit_seconds is longer than a week; lower it.")
        for name in ("round_in", "round_out", "round_total"):
            problems.extend(_rounding_problems(name, getattr(self, name)))
        return problems


def _rounding_problems(name: str, rounding: Rounding) -> list[str]:
    problems = []
    if not 0 <= rounding.unit_seconds <= 6 * HOUR:
        problems.append(f"{name}: unit_seconds is {rounding.unit_seconds}; it goes from 0 to 21600.")
    if rounding.grace_seconds < 0 or (rounding.grace_seconds and rounding.grace_seconds >= rounding.unit_seconds):
        problems.append(f"{name}: grace_seconds is to be less than the unit; lower it.")
    if rounding.grace_seconds and rounding.mode is RoundingMode.NEAREST:
        problems.append(f"{name}: a grace has no meaning when rounding to the nearest unit; use floor or ceil.")
    if rounding.window_seconds is not None and (rounding.window_seconds < 0 or name == "round_total"):
        problems.append(f"{name}: window_seconds is for punches, and cannot be negative; leave it out.")
    return problems
