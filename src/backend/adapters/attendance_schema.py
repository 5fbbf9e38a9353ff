"""The form of `attendance.toml`: its tables and keys, and the JSON schema that editors check it by.

`python -m backend.adapters.attendance_schema` prints that schema; `config/attendance.schema.json` is its output. What a
form cannot say (contradictions, names that must exist) is checked by `adapters.attendance_file`.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from backend.domain.attendance.policies import BreakRules, DayRule, Hours, OvertimeRules, Pairing, Policy, RoundingMode
from backend.domain.employees import DayPart
from backend.domain.schedules import parse_interval
from backend.errors import ConfigurationError

NAME_PATTERN = r"^[^\s+,]([^+,]{0,62}[^\s+,])?$"
_POLICY, _BREAKS, _OVERTIME = Policy(), BreakRules(), OvertimeRules()
_DURATION = r"^([0-9]+|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$"
_SPAN = r"^\s*([0-9]{1,2}:[0-9]{2})\s*-\s*([0-9]{1,2}:[0-9]{2})\s*$"


def read_duration(value: object) -> int:
    """Seconds of a duration: a number of them, or a text such as 90s, 5m or 1h30m.

    Raises:
        ValueError: it is no duration.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        if re.fullmatch(r"0+[smhd]?", value.strip()):
            return 0
        try:
            return parse_interval(value)
        except ConfigurationError:
            pass
    raise ValueError(f"{value!r} is no duration; write seconds, or a text such as 90s, 5m or 1h30m")


def read_time(value: object) -> dt.time:
    """A time of day: 09:00, 9:00 or 09:00:30; 24:00 is 00:00.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, dt.time):
        return value
    match = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", value.strip()) if isinstance(value, str) else None
    if match is not None:
        hour, minute, second = (int(part or 0) for part in match.groups())
        if (hour, minute, second) == (24, 0, 0):
            return dt.time()
        if hour < 24 and minute < 60 and second < 60:
            return dt.time(hour, minute, second)
    raise ValueError(f'{value!r} is no time of day; write it as "09:00"')


def read_date(value: object) -> dt.date:
    """A date: a date of TOML, or its text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"{value!r} is no date; write it as 2026-03-31")


def read_span(value: object) -> str:
    """Two times of day with a dash between them, as `12:00-13:00`.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str) and (match := re.fullmatch(_SPAN, value)):
        return "-".join(f"{read_time(part):%H:%M}" for part in match.groups())
    raise ValueError(f'{value!r} is no span of time; write it as "12:00-13:00"')


def _read_day(value: object) -> list[str]:
    """The shifts of one day: the name of one, "" for a rest day, or a list of several."""
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
        return value
    raise ValueError('give the name of a shift, "" for a rest day, or a list such as ["morning", "evening"]')


def _read_week(value: object) -> object:
    if isinstance(value, list) and len(value) != len(WEEKDAYS):
        raise ValueError(f"a week has seven days, Monday first, and not {len(value)}")
    return value


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _text_schema(pattern: str, *also: str) -> WithJsonSchema:
    text: dict[str, Any] = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [text, *({"type": kind, "minimum": 0} for kind in also)]} if also else text)


_Duration = Annotated[int, BeforeValidator(read_duration), _text_schema(_DURATION, "integer")]
_Time = Annotated[dt.time, BeforeValidator(read_time), _text_schema(r"^[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?$")]
_Date = Annotated[dt.date, BeforeValidator(read_date), _text_schema(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
_Dates = Annotated[
    list[_Date],
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    ),
]
_Span = Annotated[
    str, BeforeValidator(read_span), _text_schema(r"^\s*[0-9]{1,2}:[0-9]{2}\s*-\s*[0-9]{1,2}:[0-9]{2}\s*$")
]
_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Target = Annotated[str, Field(min_length=1, max_length=100)]
_Targets = Annotated[
    list[_Target],
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]
_PatternDay = Annotated[
    list[str],
    BeforeValidator(_read_day),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "minLength": 1}}]}),
]
_Week = Annotated[list[_PatternDay], Field(min_length=7, max_length=7), BeforeValidator(_read_week)]


_Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[str, ...] = get_args(_Weekday)


def _choice(choices: type[Any]) -> WithJsonSchema:
    return WithJsonSchema({"enum": [item.value for item in choices]})


_DayRule = Annotated[DayRule, Field(strict=False), _choice(DayRule)]
_Pairing = Annotated[Pairing, Field(strict=False), _choice(Pairing)]
_Hours = Annotated[Hours, Field(strict=False), _choice(Hours)]
_Mode = Annotated[RoundingMode, Field(strict=False), _choice(RoundingMode)]
_Part = Annotated[DayPart, Field(strict=False), _choice(DayPart)]


class Table(BaseModel):
    """A table of the file: no unknown keys, no values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RoundingTable(Table):
    """How one kind of time is rounded."""

    unit: _Duration = Field(0, description="To multiples of this; 0: not at all.")
    mode: _Mode = Field(RoundingMode.NEAREST, description="Where a time between two units goes.")
    grace: _Duration = Field(
        0,
        description="How far into a unit a time may be, seen from where it is not rounded to, and still go there: with "
        "15 minutes up and a grace of 5, 9:05 becomes 9:00 and 9:06 becomes 9:15. Not with `nearest`.",
    )
    window: _Duration | None = Field(
        None,
        description="Only punches as near as this to the scheduled time are changed; without a unit they become the "
        "scheduled time: those before it with `ceil`, those after it with `floor`, both with `nearest`. Not for "
        "round_total.",
    )


class DeductionTable(Table):
    """A break that is taken off, punched or not."""

    after: _Duration = Field(description="Who has worked this long ...")
    deduct: _Duration = Field(description="... has had a break of this length.")


class BreaksTable(Table):
    """What is a break, and which one is taken off without being punched."""

    min_gap: _Duration | None = Field(None, description="A gap between punches of at least this length is a break.")
    max_gap: _Duration | None = Field(None, description="A gap of at most this length is a break.")
    in_windows: bool = Field(
        _BREAKS.in_windows, description="A gap that begins in a break window of the shift is a break."
    )
    deductions: list[DeductionTable] = Field(
        [], description="Breaks that are taken off; of those whose `after` is reached, the longest counts."
    )
    count_taken: bool = Field(
        _BREAKS.count_taken, description="Breaks that were taken count towards the deduction, which then tops them up."
    )
    paid: _Duration = Field(_BREAKS.paid_seconds, description="So much of the breaks that were taken counts as work.")


class OvertimeTable(Table):
    """What of the worked time is overtime; by default, nothing."""

    over_schedule: bool = Field(_OVERTIME.over_schedule, description="What is worked beyond the scheduled time.")
    before_tolerance: _Duration = Field(0, description="So much before the start, or less, is no overtime.")
    after_tolerance: _Duration = Field(0, description="So much after the end, or less, is no overtime.")
    daily_limit: _Duration | None = Field(None, description="What is worked beyond this in a day.")
    weekly_limit: _Duration | None = Field(
        None, description="What is worked beyond this in a week, as far as it is no overtime already."
    )
    week_starts_on: _Weekday = Field("monday", description="The first day of the week of the weekly limit.")
    on_rest_days: bool = Field(_OVERTIME.on_rest_days, description="Everything that is worked on a rest day.")
    on_holidays: bool = Field(
        _OVERTIME.on_holidays,
        description="Everything that is worked on a holiday, and what is over the schedule on half of one.",
    )
    by_keys: bool = Field(
        _OVERTIME.by_keys,
        description="On other days, what is worked from a punch with the key for overtime on. With pairing by "
        "direction that key is no second check-in, but the end of plain work.",
    )


_NO_ROUNDING = RoundingTable.model_validate({})
_NO_BREAKS = BreaksTable.model_validate({})
_NO_OVERTIME = OvertimeTable.model_validate({})


class PolicyTable(Table):
    """All rules for a group of people."""

    day_rule: _DayRule = Field(_POLICY.day_rule, description="The date of a shift that touches two.")
    pairing: _Pairing = Field(
        _POLICY.pairing, description="How punches become ins and outs: by turns, or by what they say."
    )
    hours: _Hours = Field(
        _POLICY.hours,
        description="What counts: from the first check-in to the last check-out, or each pair of them.",
    )
    duplicate_within: _Duration = Field(
        _POLICY.duplicate_seconds, description="Punches that follow one within this time are the same one."
    )
    late_grace: _Duration = Field(
        _POLICY.late_grace_seconds, description="A check-in is late when it is more than this after the start."
    )
    early_grace: _Duration = Field(
        _POLICY.early_grace_seconds, description="A check-out is early when it is more than this before the end."
    )
    absent_below: _Duration = Field(
        _POLICY.absent_below_seconds, description="Who has worked less is absent; 0: that rule is off."
    )
    half_day_below: _Duration = Field(
        _POLICY.half_day_below_seconds, description="Who has worked less has a half day; 0: that rule is off."
    )
    minimum_time_off: _Duration = Field(
        _POLICY.minimum_time_off_seconds,
        description="Without a schedule, a check-in this long after a check-out begins a new shift.",
    )
    maximum_shift: _Duration = Field(
        _POLICY.maximum_shift_seconds,
        description="Without a schedule, a punch later than this after the first one begins a new shift.",
    )
    auto_check_out: bool = Field(
        _POLICY.auto_check_out,
        description="Who did not check out of a scheduled shift is checked out at its end.",
    )
    auto_check_out_after: _Duration = Field(
        _POLICY.auto_check_out_after_seconds,
        description="Who did not check out without a schedule is checked out this long after the check-in; 0: is not.",
    )
    unscheduled_work: bool = Field(
        _POLICY.unscheduled_work,
        description="Punches outside the windows of a shift are work of their own on every day, and not only on days "
        "without a shift and holidays.",
    )
    rounded_lateness: bool = Field(
        _POLICY.rounded_lateness, description="Late and early are judged by the rounded punch."
    )
    round_in: RoundingTable = Field(
        RoundingTable.model_validate({}), description="How the first check-in of a shift is rounded."
    )
    round_out: RoundingTable = Field(
        RoundingTable.model_validate({}), description="How the last check-out of a shift is rounded."
    )
    round_total: RoundingTable = Field(
        RoundingTable.model_validate({}), description="How the worked time of the day is rounded."
    )
    breaks: BreaksTable = Field(
        BreaksTable.model_validate({}), description="What is a break, and which one is taken off."
    )
    overtime: OvertimeTable = Field(
        OvertimeTable.model_validate({}), description="What of the worked time is overtime."
    )


class ShiftTimesTable(Table):
    """The times of a shift with fixed ones."""

    start: _Time | None = Field(None, description='When it starts, by the clock of the place: "06:00".')
    end: _Time | None = Field(None, description="When it ends; a time that is before the start is on the next day.")
    check_in_window: _Duration | None = Field(
        None, description="How long before its start a punch belongs to the shift (1h unless you say otherwise)."
    )
    check_out_window: _Duration | None = Field(
        None, description="How long after its end a punch belongs to the shift (1h unless you say otherwise)."
    )
    unpaid_break: _Duration | None = Field(None, description="The part of the shift that is no working time.")
    break_windows: list[_Span] | None = Field(
        None, description='When its breaks are: ["12:00-13:00"]; for policies with breaks.in_windows.'
    )


class ShiftVersionTable(ShiftTimesTable):
    """Other times of a shift from a date on; what is left out stays as it was before."""

    valid_from: _Date = Field(description="The first date on which a shift with these times starts.")


class ShiftTable(ShiftTimesTable):
    """A shift: with fixed times, or flexible (`required`)."""

    name: str = Field("", max_length=200, description="What people call it.")
    required: _Duration | None = Field(
        None,
        description="Work without fixed times: so long is to be worked in the day; 0: nothing, so that nobody is "
        "absent. In place of `start` and `end`.",
    )
    versions: list[ShiftVersionTable] = Field([], description="Its times from later dates on, the earliest first.")


class PatternTable(Table):
    """Shifts that repeat; just one of `week`, `weeks` and `days`."""

    week: _Week | None = Field(
        None, description='Seven days, Monday first: a shift, "" for a rest day, or a list of several shifts.'
    )
    weeks: list[_Week] | None = Field(
        None, min_length=1, description="Weeks that follow each other in turns, each as in `week`; needs `anchor_on`."
    )
    days: list[_PatternDay] | None = Field(
        None, min_length=1, max_length=3660, description="Days of a cycle of any length; needs `anchor_on`."
    )
    anchor_on: _Date | None = Field(
        None, description="A date on which the cycle begins (any one; it goes on before it, too). Of weeks, a Monday."
    )


class AssignmentTable(Table):
    """Whose pattern, policy or both; just one of `exception`, `employee`, `department`, `site` and `default`."""

    exception: _Targets | None = Field(
        None, description="Employee numbers, for some days: before every other assignment."
    )
    employee: _Targets | None = Field(None, description="Employee numbers.")
    department: _Targets | None = Field(None, description="Department codes; those below them are included.")
    site: _Targets | None = Field(None, description="Sites.")
    default: Literal[True] | None = Field(None, description="true: everybody who has no other assignment.")
    pattern: str | None = Field(None, description='The pattern; "": work without a schedule.')
    policy: str | None = Field(None, description="The policy.")
    first_on: _Date | None = Field(None, description="From this date on; left out: ever since.")
    last_on: _Date | None = Field(None, description="Up to this date, inclusive; left out: for good.")


class SiteTable(Table):
    """A place of work."""

    timezone: str = Field(description="Its time zone, such as Europe/Berlin.")
    calendar: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="The `calendar` of the HRIS's holidays that count here, beside those of everybody; the site's own "
        "name when left out.",
    )
    public: str | None = Field(
        None, description="Country, or country and region, whose public holidays count here as well: DE or DE-BE."
    )


class CompanyDayTable(Table):
    """A holiday of the company."""

    on: _Dates = Field(description="The date, or several.")
    name: str = Field(min_length=1, max_length=200, description="What it is.")
    day_part: _Part = Field(DayPart.FULL, description="How much of the day is free.")
    calendar: str | None = Field(None, min_length=1, description="The calendar it is in; left out: for everybody.")


class AttendanceTable(Table):
    """The whole file."""

    reach_back_days: Annotated[int, Field(ge=0, le=3660)] = Field(
        92, description="How many days back a change of this file is computed anew. Locked periods stay as they are."
    )
    site_field: Annotated[
        str, Field(pattern=r"^(department_code|position_code|extra\.[A-Za-z][A-Za-z0-9_]{0,49})$")
    ] = Field("extra.site", description="Which field of an employee tells the site.")
    default_site: str | None = Field(
        None, description="The site of those of whom none is known. Needed where there are several."
    )
    sites: dict[Annotated[str, Field(pattern=r"^\S(.{0,98}\S)?$")], SiteTable] = Field(
        {}, description="The places of work. Without any, all clocks show UTC."
    )
    policies: dict[_Name, PolicyTable] = Field(
        {}, description="Rules by name; `default` holds where no assignment names one."
    )
    shifts: dict[_Name, ShiftTable] = Field({}, description="Shifts by name.")
    patterns: dict[_Name, PatternTable] = Field({}, description="Shifts that repeat, by name.")
    assignments: list[AssignmentTable] = Field([], description="Whose pattern and policy.")
    company_days: list[CompanyDayTable] = Field([], description="Holidays of the company, beside those of the HRIS.")


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 7) of the file."""
    made: dict[str, Any] = _for_editors(AttendanceTable.model_json_schema())
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "attendance.toml of hrsync"} | made


def _for_editors(schema: Any) -> Any:
    """The schema without pydantic's titles and defaults that say nothing, and without null, which TOML has not."""
    if isinstance(schema, list):
        return [_for_editors(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        name: {key: _for_editors(item) for key, item in value.items()}
        if name in ("properties", "$defs")
        else _for_editors(value)
        for name, value in schema.items()
        if not (name == "title" or (name == "default" and (value is None or isinstance(value, list | dict))))
    }
    choices = [item for item in made.get("anyOf", ()) if item != {"type": "null"}]
    if len(choices) == 1:
        del made["anyOf"]
        made = choices[0] | made
    elif choices:
        made["anyOf"] = choices
    return made


def main() -> None:
    """Print the schema."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
