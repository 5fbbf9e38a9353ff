"""The rules of attendance as services get them: attendance.toml, and the public holidays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.adapters.attendance_file import load_attendance_file, parse_attendance_rules
from backend.adapters.public_holidays import list_public_holidays
from backend.domain.attendance.assignments import Assignment
from backend.domain.attendance.calendars import Holiday
from backend.domain.attendance.rules import AttendanceRules, Site


class FileRuleSource:
    """The rules in a file, read anew at each look."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Mapping[str, Any]:
        """What the file says now, with every default written out.

        Raises:
            ConfigurationError: it is wrong.
        """
        return load_attendance_file(self._path)

    def parse(
        self, content: Mapping[str, Any], assignments: Iterable[Assignment], *, named: str | None = None
    ) -> AttendanceRules:
        """The rules that `load` gave, with further assignments.

        Args:
            named: what an error is about; None: the file.

        Raises:
            ConfigurationError: they contradict each other.
        """
        if named is not None:
            return parse_attendance_rules(content, file=named, assignments=assignments, beside="")
        return parse_attendance_rules(content, file=str(self._path), assignments=assignments)

    def public_holidays(self, sites: Iterable[Site], first: dt.date, last: dt.date) -> Sequence[Holiday]:
        """The public holidays of the sites, both dates inclusive."""
        places = {(site.public, site.calendar) for site in sites if site.public is not None}
        return [
            replace(holiday, calendar=calendar)
            for place, calendar in sorted(places)
            for holiday in list_public_holidays(place, first.year, last.year)
            if first <= holiday.holiday_on <= last
        ]
