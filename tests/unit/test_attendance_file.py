"""attendance.toml: every rule can be written, mistakes are told with their place and mend, and the content is kept."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from backend.adapters import attendance_schema as forms
from backend.adapters.attendance_file import load_attendance_file, parse_attendance_rules
from backend.adapters.public_holidays import find_place_problem, list_public_holidays
from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.calendars import Holiday
from backend.domain.attendance.policies import (
    AutoBreak,
    BreakRules,
    DayRule,
    Hours,
    OvertimeRules,
    Pairing,
    Policy,
    Rounding,
    RoundingMode,
)
from backend.domain.attendance.rounding import round_seconds
from backend.domain.attendance.rules import AttendanceRules, Site
from backend.domain.attendance.shifts import FlexibleShift, Pattern, Shift, ShiftTimes
from backend.domain.employees import DayPart
from backend.errors import ConfigurationError
from tests.support.project import PROJECT_ROOT

SHIPPED = PROJECT_ROOT / "config/attendance.toml"
SCHEMA = PROJECT_ROOT / "config/attendance.schema.json"
SHIFTS = """
[shifts.day]
start = "09:00"
end = "17:00"
[shifts.night]
start = "22:00"
end = "06:00"
[shifts.flex]
required = "8h"
"""
Load = Callable[[str], AttendanceRules]


@pytest.fixture
def content(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The content of a file with the text."""

    def make(text: str) -> dict[str, Any]:
        path = tmp_path / "attendance.toml"
        path.write_text(text, encoding="utf-8")
        return load_attendance_file(path)

    return make


@pytest.fixture
def load(content: Callable[[str], dict[str, Any]]) -> Load:
    """The rules of a file with the text, as they are after having been stored as JSON."""
    return lambda text: parse_attendance_rules(json.loads(json.dumps(content(text))), file="attendance.toml")


# --- what can be written ----------------------------------------------------------------------------------------------


def test_every_rule_of_a_policy_can_be_written(load: Load) -> None:
    """Each field of a policy has its key."""
    rules = load("""
        [policies.all]
        day_rule = "most_worked_day"
        pairing = "by_direction"
        hours = "first_to_last"
        duplicate_within = "90s"
        late_grace = "5m"
        early_grace = 120
        absent_below = "1h"
        half_day_below = "4h30m"
        minimum_time_off = "5h"
        maximum_shift = "15h"
        auto_check_out = true
        auto_check_out_after = "8h"
        unscheduled_work = true
        rounded_lateness = true
        round_in = { unit = "15m", mode = "ceil", grace = "5m", window = "30m" }
        round_out = { unit = "15m", mode = "floor" }
        round_total = { unit = "6m", mode = "nearest" }

        [policies.all.breaks]
        min_gap = "10m"
        max_gap = "2h"
        in_windows = true
        deductions = [{ after = "6h", deduct = "30m" }, { after = "9h", deduct = "45m" }]
        count_taken = true
        paid = "15m"

        [policies.all.overtime]
        over_schedule = true
        before_tolerance = "10m"
        after_tolerance = "15m"
        daily_limit = "10h"
        weekly_limit = "40h"
        week_starts_on = "sunday"
        on_rest_days = true
        on_holidays = true
        by_keys = true
    """)

    assert rules.policies["all"] == Policy(
        code="all",
        day_rule=DayRule.MOST_WORKED,
        pairing=Pairing.BY_DIRECTION,
        hours=Hours.FIRST_TO_LAST,
        duplicate_seconds=90,
        late_grace_seconds=300,
        early_grace_seconds=120,
        absent_below_seconds=3600,
        half_day_below_seconds=16200,
        minimum_time_off_seconds=18000,
        maximum_shift_seconds=54000,
        auto_check_out=True,
        auto_check_out_after_seconds=28800,
        unscheduled_work=True,
        rounded_lateness=True,
        round_in=Rounding(unit_seconds=900, mode=RoundingMode.CEIL, grace_seconds=300, window_seconds=1800),
        round_out=Rounding(unit_seconds=900, mode=RoundingMode.FLOOR),
        round_total=Rounding(unit_seconds=360, mode=RoundingMode.NEAREST),
        breaks=BreakRules(
            min_gap_seconds=600,
            max_gap_seconds=7200,
            in_windows=True,
            deductions=(
                AutoBreak(after_seconds=21600, deduct_seconds=1800),
                AutoBreak(after_seconds=32400, deduct_seconds=2700),
            ),
            count_taken=True,
            paid_seconds=900,
        ),
        overtime=OvertimeRules(
            over_schedule=True,
            before_tolerance_seconds=600,
            after_tolerance_seconds=900,
            daily_limit_seconds=36000,
            weekly_limit_seconds=144000,
            week_starts_on=6,
            on_rest_days=True,
            on_holidays=True,
            by_keys=True,
        ),
    )


@pytest.mark.parametrize(
    ("rules", "table"),
    [
        (Policy, forms.PolicyTable),
        (Rounding, forms.RoundingTable),
        (BreakRules, forms.BreaksTable),
        (AutoBreak, forms.DeductionTable),
        (OvertimeRules, forms.OvertimeTable),
        (ShiftTimes, forms.ShiftVersionTable),
    ],
)
def test_no_rule_is_without_a_key(rules: Any, table: Any) -> None:
    """The keys of the file are the fields of the domain, with the durations' unit left out."""
    renamed = {"duplicate_seconds": "duplicate_within"}
    fields = {field.name for field in dataclasses.fields(rules)} - {"code"}

    assert {renamed.get(name, name.removesuffix("_seconds")) for name in fields} == set(table.model_fields)


def test_what_is_left_out_is_as_in_the_domain(load: Load) -> None:
    """An empty policy is the default one."""
    assert Policy(code="plain") == load("[policies.plain]").policies["plain"]


def test_shifts_are_fixed_or_flexible(load: Load) -> None:
    """Times, windows and breaks of each version; a later version keeps what it does not say."""
    rules = load("""
        [shifts.night]
        name = "Night shift"
        start = "22:00"
        end = "06:00"
        check_in_window = "30m"
        check_out_window = "2h"
        unpaid_break = "45m"
        break_windows = ["2:00-03:00"]

        [[shifts.night.versions]]
        valid_from = 2026-07-01
        end = "05:30"
        unpaid_break = 0

        [shifts.evening]
        start = 18:00:00
        end = "24:00"

        [shifts.flex]
        name = "Flextime"
        required = "7h30m"
    """)
    breaks = ((dt.time(2), dt.time(3)),)
    first = ShiftTimes(
        start=dt.time(22),
        end=dt.time(6),
        check_in_window_seconds=1800,
        check_out_window_seconds=7200,
        unpaid_break_seconds=2700,
        break_windows=breaks,
    )
    later = dataclasses.replace(first, valid_from=dt.date(2026, 7, 1), end=dt.time(5, 30), unpaid_break_seconds=0)

    assert rules.shifts == {
        "night": Shift(code="night", name="Night shift", versions=(first, later)),
        "evening": Shift(code="evening", versions=(ShiftTimes(start=dt.time(18), end=dt.time(0)),)),
        "flex": FlexibleShift(code="flex", required_seconds=27000, name="Flextime"),
    }


def test_patterns_are_weeks_or_cycles(load: Load) -> None:
    """A week from Monday on, weeks in turns, and a cycle of any length, also with several shifts a day."""
    rules = load(
        SHIFTS
        + """
        [shifts.evening]
        start = "18:00"
        end = "22:00"
        [patterns.week]
        week = ["day", "day", "day", "day", "flex", "", ""]
        [patterns.turns]
        anchor_on = 2026-01-05
        weeks = [["day", "day", "day", "day", "day", "", ""], ["night", "night", "night", "night", "", "", ""]]
        [patterns.four-two]
        anchor_on = 2026-01-01
        days = ["day", "day", ["day", "evening"], "day", "", ""]
        """
    )
    day, night = ("day",), ("night",)

    assert rules.patterns == {
        "week": Pattern(code="week", anchor_on=dt.date(2001, 1, 1), days=(day, day, day, day, ("flex",), (), ())),
        "turns": Pattern(
            code="turns", anchor_on=dt.date(2026, 1, 5), days=(day,) * 5 + ((), ()) + (night,) * 4 + ((), (), ())
        ),
        "four-two": Pattern(
            code="four-two", anchor_on=dt.date(2026, 1, 1), days=(day, day, ("day", "evening"), day, (), ())
        ),
    }


def test_sites_tell_zone_and_holidays(load: Load) -> None:
    """A site's calendar is its name unless it says so; who has no known site is at the default one."""
    rules = load("""
        site_field = "department_code"
        default_site = "BER"
        reach_back_days = 31
        [sites.BER]
        timezone = "Europe/Berlin"
        public = "DE-BE"
        [sites."New York"]
        timezone = "America/New_York"
        calendar = "US"
        [[company_days]]
        on = [2026-12-24, 2026-12-31]
        name = "Half a day"
        day_part = "second_half"
        [[company_days]]
        on = 2026-11-27
        name = "Day after Thanksgiving"
        calendar = "US"
    """)
    berlin = Site(code="BER", timezone="Europe/Berlin", calendar="BER", public="DE-BE")
    york = Site(code="New York", timezone="America/New_York", calendar="US")

    assert ("department_code", 31) == (rules.site_field, rules.reach_back_days)
    assert [york, berlin, berlin, berlin] == [rules.site_of(value) for value in (" New York", "MUC", "", None)]
    assert rules.company_days == (
        Holiday(holiday_on=dt.date(2026, 12, 24), name="Half a day", day_part=DayPart.SECOND_HALF),
        Holiday(holiday_on=dt.date(2026, 12, 31), name="Half a day", day_part=DayPart.SECOND_HALF),
        Holiday(holiday_on=dt.date(2026, 11, 27), name="Day after Thanksgiving", calendar="US"),
    )


def test_the_nearest_assignment_counts(load: Load) -> None:
    """Exception before employee before department before site before default; several people in one."""
    rules = load(
        SHIFTS
        + """
        [sites.CAI]
        timezone = "Africa/Cairo"
        [policies.strict]
        [patterns.days]
        week = ["day", "day", "day", "day", "day", "", ""]
        [patterns.cairo]
        week = ["day", "day", "day", "day", "", "", "day"]
        [patterns.nights]
        week = ["night", "night", "night", "night", "", "", ""]
        [[assignments]]
        default = true
        pattern = "days"
        [[assignments]]
        site = "CAI"
        pattern = "cairo"
        [[assignments]]
        department = "D4"
        pattern = "nights"
        policy = "strict"
        first_on = 2026-01-01
        [[assignments]]
        employee = ["E1", "E2"]
        pattern = ""
        [[assignments]]
        exception = "E1"
        pattern = "days"
        first_on = 2026-06-01
        last_on = 2026-06-07
        """
    )
    monday, sunday = dt.date(2026, 6, 1), dt.date(2026, 6, 14)

    def shifts(who: str, day: dt.date, *departments: str, site: str = "") -> str:
        plan = rules.for_person(who, departments, site)[0].plan_on(day)
        return "free" if plan.is_flexible else "+".join(code for code, _ in plan.shifts)

    assert ["day", "", "day", "night", "day", "free", "free"] == [
        shifts("E9", monday),
        shifts("E9", sunday),
        shifts("E9", sunday, site="CAI"),
        shifts("E9", monday, "D41", "D4", site="CAI"),
        shifts("E1", monday),
        shifts("E1", dt.date(2026, 6, 8)),
        shifts("E2", monday, "D4"),
    ]
    assert ["default", "strict"] == [policy.code for _, _, policy in rules.for_person("E9", ["D4"])[1]]
    assert dt.date(2026, 1, 1) == rules.for_person("E9", ["D4"])[1][1][0]


def test_other_assignments_join_those_of_the_file(content: Callable[[str], dict[str, Any]]) -> None:
    """Those of the table count beside the file's, and belong to the fingerprint."""
    kept = content(SHIFTS + '[patterns.days]\nweek = ["day", "", "", "", "", "", ""]')
    own = Assignment(scope=Scope.EMPLOYEE, target="E1", pattern="days")
    alone = parse_attendance_rules(kept, file="f")
    both = parse_attendance_rules(kept, file="f", assignments=[own])

    assert not both.for_person("E1")[0].plan_on(dt.date(2026, 6, 1)).is_flexible
    assert alone.for_person("E1")[0].plan_on(dt.date(2026, 6, 1)).is_flexible
    assert alone.fingerprint != both.fingerprint


def test_without_a_file_there_is_one_policy_and_no_schedule(tmp_path: Path) -> None:
    """An installation that has none works: flexible work, in UTC."""
    rules = parse_attendance_rules(load_attendance_file(tmp_path / "none.toml"), file="none.toml")
    roster, policies = rules.for_person("E1")

    assert roster.plan_on(dt.date(2026, 6, 1)).is_flexible
    assert [(dt.date.min, dt.date.max, Policy())] == policies
    assert "UTC" == rules.site_of(None).timezone


def test_the_content_says_what_the_file_means(content: Callable[[str], dict[str, Any]]) -> None:
    """Comments, order and spelling of durations do not count; values do."""
    one = content('[policies.a]\nlate_grace = "5m"\nhours = "every_pair"')
    same = content('# the same\n[policies.a]\nhours = "every_pair"\nlate_grace = 300')
    other = content('[policies.a]\nlate_grace = "6m"')

    def fingerprint(kept: dict[str, Any]) -> str:
        return parse_attendance_rules(kept, file="f").fingerprint

    assert one == same == json.loads(json.dumps(one))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


# --- mistakes ---------------------------------------------------------------------------------------------------------

BROKEN = {
    "unknown key": (
        "[policies.a]\nlate_grce = 5",
        "line 2, policies.a.late_grce: unknown key; did you mean late_grace?",
    ),
    "bad duration": (
        '[policies.a]\nlate_grace = "5 minutes"',
        "line 2, policies.a.late_grace: '5 minutes' is no duration; write seconds, or a text such as 90s, 5m or 1h30m",
    ),
    "bad time": (
        '[shifts.a]\nstart = "25:00"\nend = "6"',
        "shifts.a.start: '25:00' is no time of day; write it as \"09:00\"; line 3, shifts.a.end: '6' is no time",
    ),
    "negative": ("[policies.a]\nlate_grace = -5", "-5 is no duration"),
    "unknown word": (
        '[policies.a]\nhours = "all"',
        "line 2, policies.a.hours: should be 'first_to_last' or 'every_pair'",
    ),
    "no length": (
        '[shifts.night]\nstart = "22:00"\nend = "22:00"',
        "line 3, shifts.night.end: 22:00 is the start as well",
    ),
    "over a day": ('[shifts.a]\nstart = "06:00"\nend = "05:00"', "longer than 24 hours with its windows"),
    "no times": ("[shifts.a]\nunpaid_break = 60", "shifts.a: `start` and `end` missing; give `start` and `end`"),
    "fixed and flexible": (
        '[shifts.a]\nstart = "06:00"\nrequired = "8h"',
        "it has start and `required`; a shift is fixed",
    ),
    "break outside": (
        '[shifts.a]\nstart = "06:00"\nend = "14:00"\nbreak_windows = ["15:00-16:00"]',
        "the break window at 15:00 is not within the shift",
    ),
    "versions in disorder": (
        '[shifts.a]\nstart = "06:00"\nend = "14:00"\n[[shifts.a.versions]]\nvalid_from = 2026-02-01\n'
        "[[shifts.a.versions]]\nvalid_from = 2026-01-01",
        "shifts.a: Shift a: its versions are to begin on different dates, the earliest first",
    ),
    "a bad version": (
        '[shifts.a]\nstart = "06:00"\nend = "14:00"\n[[shifts.a.versions]]\nvalid_from = 2026-02-01\nend = "06:00"',
        "line 6, shifts.a.versions[1].end: 06:00 is the start as well",
    ),
    "thresholds": (
        '[policies.a]\nabsent_below = "4h"\nhalf_day_below = "2h"\nmaximum_shift = "30h"',
        "half_day_below (2h) is not above absent_below (4h), so that nobody could have a half day; raise it, "
        "or set it to 0. maximum_shift is to be above minimum_time_off",
    ),
    "unknown shift": (
        SHIFTS + '[patterns.a]\nweek = ["nigth", "", "", "", "", "", ""]',
        "line 11, patterns.a.week: there is no shift nigth; did you mean night?; there are: day, flex, night",
    ),
    "short week": (
        SHIFTS + '[patterns.a]\nweek = ["day"]',
        "line 11, patterns.a.week: a week has seven days, Monday first, and not 1",
    ),
    "a break that is too long": (
        '[policies.a.breaks]\ndeductions = [{ after = "1h", deduct = "90m" }]',
        "a break of 1h30m after 1h is longer than the work, or not positive; lower `deduct`, or raise `after`",
    ),
    "no form": ("[patterns.a]\nanchor_on = 2026-01-01", "give just one of `week`, `weeks` and `days`, not none"),
    "no anchor": (SHIFTS + '[patterns.a]\ndays = ["day", ""]', "patterns.a.anchor_on: `days` is to begin on a date"),
    "an anchor too many": (
        SHIFTS + '[patterns.a]\nweek = ["day", "", "", "", "", "", ""]\nanchor_on = 2026-01-01',
        "line 12, patterns.a.anchor_on: a week begins on Monday; leave it out",
    ),
    "no Monday": (
        SHIFTS + '[patterns.a]\nweeks = [["day", "", "", "", "", "", ""]]\nanchor_on = 2026-01-01',
        "line 12, patterns.a.anchor_on: 2026-01-01 is a Thursday; give a Monday",
    ),
    "overlap in a day": (
        SHIFTS + '[shifts.late]\nstart = "16:00"\nend = "20:00"\n[patterns.a]\nanchor_on = 2026-01-01\n'
        'days = [["day", "late"]]',
        "day (up to 17:00) and late (from 16:00) overlap on one day",
    ),
    "flexible beside fixed": (
        SHIFTS + '[patterns.a]\nanchor_on = 2026-01-01\ndays = [["day", "flex"]]',
        "day and flex on one day; a flexible shift stands alone",
    ),
    "a day of something": (
        SHIFTS + "[patterns.a]\nanchor_on = 2026-01-01\ndays = [5]",
        'give the name of a shift, "" for',
    ),
    "unknown pattern": (
        SHIFTS
        + '[patterns.days]\nweek = ["day", "", "", "", "", "", ""]\n[[assignments]]\ndefault = true\npattern = "day"',
        "line 14, assignments[1].pattern: there is no pattern day; did you mean days?; there are: days",
    ),
    "unknown policy": (
        '[[assignments]]\nemployee = "E1"\npolicy = "strict"',
        "line 3, assignments[1].policy: there is no policy strict; there are: default",
    ),
    "unknown site": (
        '[sites.BER]\ntimezone = "UTC"\n[[assignments]]\nsite = "BRE"\npolicy = "default"',
        "line 4, assignments[1].site: there is no site BRE; did you mean BER?",
    ),
    "overlapping assignments": (
        '[[assignments]]\nemployee = "E1"\npolicy = "default"\n'
        '[[assignments]]\nemployee = ["E2", "E1"]\npolicy = "default"\nfirst_on = 2026-05-01',
        "line 4, assignments[2]: The assignments of employee E1 and of employee E1 from 2026-05-01 on overlap; end the "
        "first one before the second begins",
    ),
    "backwards": (
        '[[assignments]]\ndefault = true\npolicy = "default"\nfirst_on = 2026-05-01\nlast_on = 2026-04-01',
        "it ends before it begins",
    ),
    "for nobody": (
        '[[assignments]]\npolicy = "default"',
        "say for whom it is: just one of exception, employee, department",
    ),
    "for two": (
        '[[assignments]]\nemployee = "E1"\ndefault = true\npolicy = "default"',
        "say for whom it is: just one of exception, employee, department, site, default (= true)",
    ),
    "of nothing": ("[[assignments]]\ndefault = true", "it gives neither a `pattern` nor a `policy`"),
    "unknown zone": (
        '[sites.BER]\ntimezone = "Europe/Berln"',
        "line 2, sites.BER.timezone: there is no time zone Europe/Berln; did you mean Europe/Berlin?",
    ),
    "unknown country": (
        '[sites.BER]\ntimezone = "UTC"\npublic = "XX"',
        "line 3, sites.BER.public: no public holidays are known of country XX",
    ),
    "unknown region": (
        '[sites.BER]\ntimezone = "UTC"\npublic = "DE-XX"',
        "line 3, sites.BER.public: DE has no region XX; it has: BB, BE",
    ),
    "which site": (
        '[sites.A]\ntimezone = "UTC"\n[sites.B]\ntimezone = "UTC"',
        "say which of the sites is the `default_site` of people without one: A, B",
    ),
    "no such site": (
        'default_site = "C"\n[sites.A]\ntimezone = "UTC"',
        "line 1, default_site: there is no site C; there are: A",
    ),
    "unknown calendar": (
        '[[company_days]]\non = 2026-01-01\nname = "x"\ncalendar = "BER"',
        "line 4, company_days[1].calendar: there is no site with the calendar BER",
    ),
    "no TOML": ("[policies", "is not valid TOML"),
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_mistake_is_told_with_its_place(load: Load, text: str, expected: str) -> None:
    """Where it is, what is wrong, and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    assert expected in str(caught.value)


def test_all_mistakes_are_told_at_once(load: Load) -> None:
    """So that a file is mended in one go."""
    with pytest.raises(ConfigurationError) as caught:
        load("\n".join(BROKEN[name][0] for name in ("unknown policy", "unknown zone", "no length", "thresholds")))
    text = str(caught.value)
    assert [] == [word for word in ("strict", "Berln", "22:00", "half_day_below (2h)") if word not in text]


def test_mistakes_of_given_assignments_say_whose_they_are(content: Callable[[str], dict[str, Any]]) -> None:
    """They are in no line of the file."""
    kept = content('[[assignments]]\nemployee = "E1"\npolicy = "default"')
    unknown = Assignment(scope=Scope.EMPLOYEE, target="E2", pattern="gone")
    twice = Assignment(scope=Scope.EMPLOYEE, target="E1", policy="default")

    with pytest.raises(ConfigurationError, match=r"wrong: an assignment of the database .*: employee E2: there is no"):
        parse_attendance_rules(kept, file="attendance.toml", assignments=[unknown])
    with pytest.raises(ConfigurationError, match=r"shows it\): The assignments of employee E1 .* overlap"):
        parse_attendance_rules(kept, file="attendance.toml", assignments=[twice])
    with pytest.raises(ConfigurationError, match=r"^who\.csv is wrong: employee E2: there is no pattern gone"):
        parse_attendance_rules(kept, file="who.csv", assignments=[unknown], beside="")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    (tmp_path / "rules.toml").write_text('\ufeff[policies.a]\nlate_grace = "5m"\n', encoding="utf-8")
    assert "a" in load_attendance_file(tmp_path / "rules.toml")["policies"]


# --- public holidays --------------------------------------------------------------------------------------------------


def test_public_holidays_are_those_of_the_region() -> None:
    """Women's Day is one in Berlin, not in all of Germany; names are English."""
    country = {item.holiday_on: item for item in list_public_holidays("DE", 2026, 2026)}
    region = {item.holiday_on: item for item in list_public_holidays("DE-BE", 2026, 2026)}

    assert dt.date(2026, 3, 8) not in country
    assert dt.date(2026, 3, 8) in region
    assert Holiday(holiday_on=dt.date(2026, 4, 3), name="Good Friday") == country[dt.date(2026, 4, 3)]
    assert [None, "give DE, or a region after the dash"] == [find_place_problem("DE"), find_place_problem("DE-")]
    with pytest.raises(ConfigurationError, match="Public holidays of DE-XX: DE has no region XX"):
        list_public_holidays("DE-XX", 2026, 2026)


# --- what is shipped --------------------------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """The content of a TOML file as editors hold it against a schema: dates are texts."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, dt.date | dt.time) else value


def test_the_shipped_rules_are_in_order() -> None:
    """They can be read, an editor finds nothing wrong with them, and every pattern is somebody's."""
    text = SHIPPED.read_text(encoding="utf-8")
    rules = parse_attendance_rules(load_attendance_file(SHIPPED), file=SHIPPED.name)

    assert [] == [
        error.message for error in Draft7Validator(forms.json_schema()).iter_errors(as_json(tomllib.loads(text)))
    ]
    assert text.startswith("#:schema ./attendance.schema.json\n")
    assert {"BER", "CAI", "SHA"} == {*rules.sites}


def test_the_schema_in_the_repository_is_the_one_that_is_made() -> None:
    """After a change: python -m backend.adapters.attendance_schema > config/attendance.schema.json."""
    assert forms.json_schema() == json.loads(SCHEMA.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", ["unknown key", "bad duration", "bad time", "negative", "unknown word", "short week", "a day of something"]
)
def test_an_editor_sees_mistakes_of_form(name: str) -> None:
    """What needs no other part of the file to be wrong breaks the schema."""
    assert [*Draft7Validator(forms.json_schema()).iter_errors(as_json(tomllib.loads(BROKEN[name][0])))]


def test_the_page_explains_every_key() -> None:
    """Whatever may be written in the file is on the page, and the examples there are files that can be read."""
    page = (PROJECT_ROOT / "docs/attendance-rules.md").read_text(encoding="utf-8")
    tables = (value for value in vars(forms).values() if isinstance(value, type) and issubclass(value, forms.Table))
    keys = {name for table in tables for name in table.model_fields}

    assert [] == sorted(key for key in keys if f"`{key}`" not in page)


def test_the_examples_on_the_page_can_be_read(load: Load) -> None:
    """Each is a whole file."""
    page = (PROJECT_ROOT / "docs/attendance-rules.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    assert 8 < len(blocks)
    assert all(load(block).policies for block in blocks)


def test_times_are_rounded_as_the_page_says(load: Load) -> None:
    """The example of rounding on the page."""
    page = (PROJECT_ROOT / "docs/attendance-rules.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(# In: 8:51.*?)^```$", page, re.MULTILINE | re.DOTALL)
    policy = load(block).policies["quarters"]

    def arrives(minute: int) -> int:
        return round_seconds(minute * 60, policy.round_in) // 60

    assert [525, 540, 540, 555, 555] == [arrives(minute) for minute in (530, 531, 545, 546, 560)]
    assert 8 * 3600 == round_seconds(7 * 3600 + 58 * 60, policy.round_total)
