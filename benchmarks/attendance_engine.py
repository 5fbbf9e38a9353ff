"""How many employee-days a second the attendance engine computes on one core, with 4 punches a day; goal: 20,000.

No database, no server: `python -m benchmarks.attendance_engine [--people 400] [--json]`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import time
import zoneinfo
from collections.abc import Callable

from backend.domain.attendance.calendars import Calendar, Employment, Holiday, group_holidays
from backend.domain.attendance.day import WorkPunch
from backend.domain.attendance.engine import compute_days
from backend.domain.attendance.policies import AutoBreak, BreakRules, OvertimeRules, Policy, Rounding, RoundingMode
from backend.domain.attendance.shifts import Roster, RosterPart, Shift, ShiftTimes, weekly

GOAL = 20_000
ROUNDS = 3
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
FIRST, LAST = dt.date(2026, 10, 1), dt.date(2026, 10, 31)
DAYS = (LAST - FIRST).days + 1
AS_OF = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
OFFICE = Roster(
    parts=(RosterPart(pattern=weekly("office", *["day"] * 5, None, None)),),
    shifts={"day": Shift(code="day", versions=(ShiftTimes(start=dt.time(9), end=dt.time(17)),))},
)
CALENDAR = Calendar(holidays=group_holidays([Holiday(holiday_on=dt.date(2026, 10, 3), name="Unity")]))
PLAIN = Policy()
RICH = Policy(
    late_grace_seconds=300,
    absent_below_seconds=7200,
    half_day_below_seconds=14_400,
    round_in=Rounding(unit_seconds=900, mode=RoundingMode.CEIL),
    round_out=Rounding(unit_seconds=900),
    breaks=BreakRules(deductions=(AutoBreak(after_seconds=21_600, deduct_seconds=1800),), count_taken=True),
    overtime=OvertimeRules(
        over_schedule=True,
        after_tolerance_seconds=600,
        weekly_limit_seconds=144_000,
        on_rest_days=True,
        on_holidays=True,
    ),
)


def make_punches(person: int) -> list[WorkPunch]:
    """A month of one person, weekends as well, to the minute."""
    found = []
    for number in range(DAYS):
        day = FIRST + dt.timedelta(days=number)
        dial = ((8, 50 + person % 9), (12, person % 7), (12, 40 + person % 11), (17, person % 13))
        for hour, minute in dial:
            instant = dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=BERLIN).astimezone(dt.UTC)
            found.append(WorkPunch(f"{person}-{day}-{hour}-{minute}", instant))
    return found


def measure(people: list[list[WorkPunch]], roster_of: Callable[[], Roster], policy: Policy) -> float:
    """Employee-days a second of processor time, the best of some rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        started = time.process_time()
        for punches in people:
            compute_days(
                punches,
                roster_of(),
                policy,
                CALENDAR,
                Employment(),
                timezone=BERLIN,
                first=FIRST,
                last=LAST,
                as_of=AS_OF,
            )
        best = max(best, len(people) * DAYS / (time.process_time() - started))
    return best


def measure_all(count: int) -> dict[str, float]:
    """Employee-days a second of so many people, by what they have of schedules and rules."""
    people = [make_punches(number) for number in range(count)]
    return {
        "a shared schedule, the default policy": measure(people, lambda: OFFICE, PLAIN),
        "a shared schedule, rules of every kind": measure(people, lambda: OFFICE, RICH),
        "a schedule for each": measure(people, lambda: Roster(parts=OFFICE.parts, shifts=OFFICE.shifts), RICH),
        "no schedule": measure(people, Roster, PLAIN),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure_all(arguments.people)
    if arguments.json:
        print(json.dumps({"goal": GOAL, "employee_days_per_second": {name: round(x) for name, x in figures.items()}}))
        return
    print(f"Employee-days a second on one core, {arguments.people} people x {DAYS} days x 4 punches (goal: {GOAL:,})")
    for name, figure in figures.items():
        print(f"  {figure:>8,.0f}  {name}")


if __name__ == "__main__":
    main()
