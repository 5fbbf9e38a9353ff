"""Reads `attendance.toml`: checks it whole, and says of every mistake where it is and how to mend it.

The keys and their meaning stand in `adapters.attendance_schema`; here they become the rules of `domain.attendance`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import re
import tomllib
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from backend.adapters.attendance_schema import (
    WEEKDAYS,
    AssignmentTable,
    AttendanceTable,
    PatternTable,
    PolicyTable,
    RoundingTable,
    ShiftTable,
    ShiftTimesTable,
    SiteTable,
    read_time,
)
from backend.adapters.public_holidays import find_place_problem
from backend.adapters.toml_problems import KeyPath, TomlProblems, did_you_mean
from backend.domain.attendance.assignments import Assignment, Assignments, Scope
from backend.domain.attendance.calendars import Holiday
from backend.domain.attendance.policies import AutoBreak, BreakRules, OvertimeRules, Policy, Rounding
from backend.domain.attendance.rules import DEFAULT_CODE, AttendanceRules, Site
from backend.domain.attendance.shifts import FlexibleShift, Pattern, Shift, ShiftTimes
from backend.errors import ConfigurationError

_OF_THE_DATABASE = "an assignment of the database (`hrsync attendance amendments` shows it)"
_Made = TypeVar("_Made")
_A_MONDAY = dt.date(2001, 1, 1)
_HINTS = {
    "model_type": "give a table such as { ... }",
    "key": "a name has no blanks around it, no + and no comma, and at most 64 characters",
    "bool_type": "give true or false",
    "literal_error": "it can only be true, or one of the words that docs/attendance-rules.md names",
}


def load_attendance_file(path: Path) -> dict[str, Any]:
    """The content of the file, checked, with every default written out: only what JSON has (dates and times as texts,
    durations as seconds), and the same for files that mean the same.

    Without a file: what holds for an installation that has none, which is one policy, no schedules, and UTC.

    Raises:
        ConfigurationError: the file cannot be read or is wrong; every mistake is named with its place and its mend.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return _canonical(AttendanceTable.model_validate({}))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}. Save it as UTF-8 text.") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from None
    problems = TomlProblems(text, _HINTS)
    tables = problems.validate(AttendanceTable, content, ())
    if tables is not None:
        _Reading(tables=tables, problems=problems).read(())
        for code, site in tables.sites.items():
            if site.public is not None and (problem := find_place_problem(site.public)):
                problems.add(("sites", code, "public"), problem)
    problems.raise_if_any(str(path))
    assert tables is not None
    return _canonical(tables)


def parse_attendance_rules(
    content: Mapping[str, Any],
    *,
    file: str,
    assignments: Iterable[Assignment] = (),
    beside: str = _OF_THE_DATABASE,
) -> AttendanceRules:
    """The rules that a content says, as `load_attendance_file` returns it.

    Args:
        file: its name in messages.
        assignments: those beside the ones of the file.
        beside: what these are in messages, which then name the assignment; "": nothing, as `file` says it.

    Raises:
        ConfigurationError: something is wrong, also together with the given assignments; every mistake is named.
    """
    problems = TomlProblems("", _HINTS)
    tables = problems.validate(AttendanceTable, dict(content), ())
    reading = None if tables is None else _Reading(tables=tables, problems=problems, beside=(beside,) * bool(beside))
    rules = None if reading is None else reading.read(tuple(assignments))
    problems.raise_if_any(file)
    assert rules is not None
    return rules


def _canonical(tables: AttendanceTable) -> dict[str, Any]:
    return tables.model_dump(mode="json", exclude_none=True)


def _fingerprint(tables: AttendanceTable, assignments: Sequence[Assignment]) -> str:
    """32 characters that differ when the rules do; comments, blanks and the order of keys do not count."""
    told = json.dumps([_canonical(tables), sorted(map(repr, assignments))], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What every part of the file is read with.

    Attributes:
        beside: the place of assignments that are not of the file.
    """

    tables: AttendanceTable
    problems: TomlProblems
    beside: KeyPath = ()

    def read(self, more: Sequence[Assignment]) -> AttendanceRules | None:
        """The rules; None where something is wrong, which `problems` then tell."""
        tables = self.tables
        before = self.problems.count
        policies = {DEFAULT_CODE: Policy()}
        policies |= _made((code, self._policy(code, item)) for code, item in tables.policies.items())
        shifts: dict[str, Shift | FlexibleShift] = _made(
            (code, self._shift(code, item)) for code, item in tables.shifts.items()
        )
        patterns = _made((code, self._pattern(code, item, shifts)) for code, item in tables.patterns.items())
        sites = {code: self._site(code, item) for code, item in tables.sites.items()}
        sites = sites or {DEFAULT_CODE: Site(code=DEFAULT_CODE, timezone="UTC", calendar=DEFAULT_CODE)}
        default_site = self._default_site(sites)
        days = tuple(self._company_days(sites))
        own = [*self._assignments()]
        self._check_names(own, more)
        if self.problems.count > before:
            return None
        assignments = self._resolve(own, more, patterns, shifts, policies)
        if assignments is None:
            return None
        return AttendanceRules(
            policies=policies,
            shifts=shifts,
            patterns=patterns,
            assignments=assignments,
            sites=sites,
            default_site=default_site,
            site_field=tables.site_field,
            company_days=days,
            reach_back_days=tables.reach_back_days,
            fingerprint=_fingerprint(tables, more),
        )

    def _say(self, path: KeyPath, message: object) -> None:
        """Note what the domain says, in the words of the file."""
        text = re.sub(r"(?<=[a-z])_seconds\b", "", str(message)).removesuffix(".")
        self.problems.add(path, re.sub(r"(?<=\()\d+(?=\))|\b\d+ s\b", lambda found: _duration(found[0]), text))

    # --- policies -----------------------------------------------------------------------------------------------------

    def _policy(self, code: str, table: PolicyTable) -> Policy | None:
        breaks, overtime = table.breaks, table.overtime
        try:
            return Policy(
                code=code,
                day_rule=table.day_rule,
                pairing=table.pairing,
                hours=table.hours,
                duplicate_seconds=table.duplicate_within,
                late_grace_seconds=table.late_grace,
                early_grace_seconds=table.early_grace,
                absent_below_seconds=table.absent_below,
                half_day_below_seconds=table.half_day_below,
                minimum_time_off_seconds=table.minimum_time_off,
                maximum_shift_seconds=table.maximum_shift,
                auto_check_out=table.auto_check_out,
                auto_check_out_after_seconds=table.auto_check_out_after,
                unscheduled_work=table.unscheduled_work,
                rounded_lateness=table.rounded_lateness,
                round_in=_rounding(table.round_in),
                round_out=_rounding(table.round_out),
                round_total=_rounding(table.round_total),
                breaks=BreakRules(
                    min_gap_seconds=breaks.min_gap,
                    max_gap_seconds=breaks.max_gap,
                    in_windows=breaks.in_windows,
                    deductions=tuple(
                        AutoBreak(after_seconds=item.after, deduct_seconds=item.deduct) for item in breaks.deductions
                    ),
                    count_taken=breaks.count_taken,
                    paid_seconds=breaks.paid,
                ),
                overtime=OvertimeRules(
                    over_schedule=overtime.over_schedule,
                    before_tolerance_seconds=overtime.before_tolerance,
                    after_tolerance_seconds=overtime.after_tolerance,
                    daily_limit_seconds=overtime.daily_limit,
                    weekly_limit_seconds=overtime.weekly_limit,
                    week_starts_on=WEEKDAYS.index(overtime.week_starts_on),
                    on_rest_days=overtime.on_rest_days,
                    on_holidays=overtime.on_holidays,
                    by_keys=overtime.by_keys,
                ),
            )
        except ConfigurationError as error:
            self._say(("policies", code), str(error).removeprefix(f"Policy {code}: "))
            return None

    # --- shifts -------------------------------------------------------------------------------------------------------

    def _shift(self, code: str, table: ShiftTable) -> Shift | FlexibleShift | None:
        path = ("shifts", code)
        fixed = [name for name in ShiftTimesTable.model_fields if getattr(table, name) is not None]
        if table.versions:
            fixed.append("versions")
        if (required := table.required) is not None:
            if fixed:
                self.problems.add(path, f"it has {', '.join(fixed)} and `required`; a shift is fixed or flexible")
                return None
            return self._build(path, lambda: FlexibleShift(code=code, required_seconds=required, name=table.name))
        versions: list[ShiftTimes] = []
        said: dict[str, Any] = {}
        parts: list[tuple[KeyPath, ShiftTimesTable]] = [(path, table)]
        parts += [((*path, "versions", str(number)), item) for number, item in enumerate(table.versions)]
        for place, item in parts:
            said |= {name: value for name in ShiftTimesTable.model_fields if (value := getattr(item, name)) is not None}
            times = self._times(code, place, item, said)
            if times is None:
                return None
            versions.append(times)
        return self._build(path, lambda: Shift(code=code, versions=tuple(versions), name=table.name))

    def _times(self, code: str, path: KeyPath, table: ShiftTimesTable, said: Mapping[str, Any]) -> ShiftTimes | None:
        missing = [name for name in ("start", "end") if name not in said]
        if missing:
            what = " and ".join(f"`{name}`" for name in missing)
            self.problems.add(path, f"{what} missing; give `start` and `end`, or `required` for flexible work")
            return None
        if said["start"] == said["end"]:
            self.problems.add(
                (*path, "end"), f"{said['end']:%H:%M} is the start as well, which is no time at all; give another end"
            )
            return None
        times = ShiftTimes(
            start=said["start"],
            end=said["end"],
            valid_from=getattr(table, "valid_from", dt.date.min),
            check_in_window_seconds=said.get("check_in_window", 3600),
            check_out_window_seconds=said.get("check_out_window", 3600),
            unpaid_break_seconds=said.get("unpaid_break", 0),
            break_windows=tuple(_span(text) for text in said.get("break_windows", ())),
        )
        return times if self._build(path, lambda: Shift(code=code, versions=(times,))) else None

    # --- patterns -----------------------------------------------------------------------------------------------------

    def _pattern(self, code: str, table: PatternTable, shifts: Mapping[str, Shift | FlexibleShift]) -> Pattern | None:
        path = ("patterns", code)
        given = [name for name in ("week", "weeks", "days") if getattr(table, name) is not None]
        if len(given) != 1:
            self.problems.add(path, f"give just one of `week`, `weeks` and `days`, not {' and '.join(given) or 'none'}")
            return None
        (form,) = given
        if (form == "week") != (table.anchor_on is None):
            mend = f"`{form}` is to begin on a date; give one"
            if form == "week":
                mend = "a week begins on Monday; leave it out"
            self.problems.add((*path, "anchor_on"), mend)
            return None
        if form == "weeks" and table.anchor_on is not None and table.anchor_on.weekday():
            self.problems.add((*path, "anchor_on"), f"{table.anchor_on} is a {table.anchor_on:%A}; give a Monday")
            return None
        days = table.days or table.week or [*itertools.chain.from_iterable(table.weeks or ())]
        named = dict.fromkeys(itertools.chain.from_iterable(days))
        unknown = [name for name in named if name not in self.tables.shifts]
        for name in unknown:
            self._miss((*path, form), "shift", name, self.tables.shifts)
        if unknown or any(name not in shifts for name in named):
            return None
        for names in dict.fromkeys(map(tuple, days)):
            self._check_day((*path, form), [shifts[name] for name in names])
        return Pattern(code=code, anchor_on=table.anchor_on or _A_MONDAY, days=tuple(tuple(names) for names in days))

    def _check_day(self, path: KeyPath, shifts: Sequence[Shift | FlexibleShift]) -> None:
        """Several shifts of one day follow each other."""
        if len(shifts) < 2:
            return
        fixed = [shift for shift in shifts if isinstance(shift, Shift)]
        if len(fixed) < len(shifts):
            names = " and ".join(shift.code for shift in shifts)
            self.problems.add(path, f"{names} on one day; a flexible shift stands alone")
            return
        for day in sorted({version.valid_from for shift in fixed for version in shift.versions}):
            timed = [(shift.code, times) for shift in fixed if (times := shift.find_times(day))]
            for (earlier, one), (later, two) in itertools.pairwise(timed):
                if two.dial_start < one.dial_end:
                    self.problems.add(
                        path,
                        f"{earlier} (up to {one.end:%H:%M}) and {later} (from {two.start:%H:%M}) overlap on one day, "
                        "or are not in the order of their start",
                    )
                    return

    # --- sites and holidays -------------------------------------------------------------------------------------------

    def _site(self, code: str, table: SiteTable) -> Site:
        try:
            zoneinfo.ZoneInfo(table.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            hint = did_you_mean(table.timezone, zoneinfo.available_timezones())
            self.problems.add(
                ("sites", code, "timezone"),
                f"there is no time zone {table.timezone}{hint or '; give a name such as Europe/Berlin'}",
            )
        return Site(code=code, timezone=table.timezone, calendar=table.calendar or code, public=table.public)

    def _default_site(self, sites: Mapping[str, Site]) -> str:
        wanted = self.tables.default_site
        if wanted is None:
            if len(sites) > 1:
                self.problems.add(
                    (), f"say which of the sites is the `default_site` of people without one: {', '.join(sites)}"
                )
            return next(iter(sites))
        if wanted not in sites:
            self._miss(("default_site",), "site", wanted, sites)
        return wanted

    def _company_days(self, sites: Mapping[str, Site]) -> Iterator[Holiday]:
        calendars = sorted({site.calendar for site in sites.values()})
        for number, table in enumerate(self.tables.company_days):
            if table.calendar is not None and table.calendar not in calendars:
                self._miss(
                    ("company_days", str(number), "calendar"), "site with the calendar", table.calendar, calendars
                )
            for day in table.on:
                yield Holiday(holiday_on=day, name=table.name, day_part=table.day_part, calendar=table.calendar)

    # --- assignments --------------------------------------------------------------------------------------------------

    def _assignments(self) -> Iterator[tuple[KeyPath, Assignment]]:
        """The assignments of the file, each with its place."""
        for number, table in enumerate(self.tables.assignments):
            path = ("assignments", str(number))
            scopes = [scope for scope in Scope if getattr(table, scope.value) is not None]
            if len(scopes) != 1:
                self.problems.add(
                    path, f"say for whom it is: just one of {', '.join(scope.value for scope in Scope)} (= true)"
                )
                continue
            if table.pattern is None and table.policy is None:
                self.problems.add(path, "it gives neither a `pattern` nor a `policy`")
            for target in _targets(table, scopes[0]):
                yield (
                    path,
                    Assignment(
                        scope=scopes[0],
                        target=target,
                        pattern=table.pattern,
                        policy=table.policy,
                        first_on=table.first_on or dt.date.min,
                        last_on=table.last_on or dt.date.max,
                    ),
                )

    def _check_names(self, own: Sequence[tuple[KeyPath, Assignment]], more: Sequence[Assignment]) -> None:
        """Whatever an assignment names is there."""
        tables = self.tables
        policies = {DEFAULT_CODE, *tables.policies}
        told: set[tuple[KeyPath, str | None, str | None]] = set()
        for path, item in (*own, *((self.beside, item) for item in more)):
            if (key := (path, item.pattern, item.policy)) in told:
                continue
            told.add(key)
            is_own = path != self.beside
            who = "" if is_own else f"{item}: "
            if item.pattern and item.pattern not in tables.patterns:
                self._miss((*path, "pattern") if is_own else path, "pattern", item.pattern, tables.patterns, who)
            if item.policy is not None and item.policy not in policies:
                self._miss((*path, "policy") if is_own else path, "policy", item.policy, policies, who)
        known_sites = {*tables.sites} or {DEFAULT_CODE}
        for path, item in own:
            if item.scope is Scope.SITE and item.target not in known_sites:
                self._miss((*path, "site"), "site", item.target, known_sites)

    def _resolve(
        self,
        own: Sequence[tuple[KeyPath, Assignment]],
        more: Sequence[Assignment],
        patterns: Mapping[str, Pattern],
        shifts: Mapping[str, Shift | FlexibleShift],
        policies: Mapping[str, Policy],
    ) -> Assignments | None:
        """All assignments together; where they cannot be, what is wrong with each target."""
        items = [*own, *((self.beside, item) for item in more)]
        try:
            return Assignments((item for _, item in items), patterns, shifts, policies)
        except ConfigurationError:
            pass
        by_target: dict[tuple[Scope, str], list[tuple[KeyPath, Assignment]]] = {}
        for path, item in items:
            by_target.setdefault((item.scope, item.target), []).append((path, item))
        for group in by_target.values():
            good: list[Assignment] = []
            for path, item in group:
                try:
                    Assignments((*good, item), patterns, shifts, policies)
                    good.append(item)
                except ConfigurationError as error:
                    self._say(path, error)
        return None

    # --- telling ------------------------------------------------------------------------------------------------------

    def _build(self, path: KeyPath, make: Callable[[], _Made]) -> _Made | None:
        try:
            return make()
        except ConfigurationError as error:
            self._say(path, error)
            return None

    def _miss(self, path: KeyPath, what: str, name: str, known: Iterable[str], who: str = "") -> None:
        listed = sorted(known)
        there = f"there are: {', '.join(listed)}" if listed else f"the file has no {what}"
        self.problems.add(path, f"{who}there is no {what} {name}{did_you_mean(name, listed)}; {there}")


def _made(items: Iterable[tuple[str, _Made | None]]) -> dict[str, _Made]:
    return {code: item for code, item in items if item is not None}


def _rounding(table: RoundingTable) -> Rounding:
    return Rounding(unit_seconds=table.unit, mode=table.mode, grace_seconds=table.grace, window_seconds=table.window)


def _duration(seconds: str) -> str:
    """Seconds as people write them in the file: 5400 and 5400 s are 1h30m."""
    left = int(seconds.removesuffix(" s"))
    parts = ((left // 3600, "h"), (left // 60 % 60, "m"), (left % 60, "s"))
    return "".join(f"{value}{unit}" for value, unit in parts if value) or "0s"


def _span(text: str) -> tuple[dt.time, dt.time]:
    opens, _, closes = text.partition("-")
    return read_time(opens), read_time(closes)


def _targets(table: AssignmentTable, scope: Scope) -> Sequence[str]:
    return ("",) if scope is Scope.DEFAULT else [*getattr(table, scope.value)]
