"""All rules of attendance of a company: policies, shifts, patterns, whose they are, and the places of work. Pure.

How they are written down is the business of `adapters.attendance_file`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.domain.attendance.assignments import Assignments
from backend.domain.attendance.calendars import Holiday
from backend.domain.attendance.policies import Policy
from backend.domain.attendance.shifts import FlexibleShift, Pattern, Roster, Shift

DEFAULT_CODE = "default"
"""The policy that holds where no assignment names one, and the site of a company that has named none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place of work.

    Attributes:
        timezone: the name of a zone, such as Europe/Berlin; dates and times of day are those of its clock.
        calendar: the holidays of this calendar count here, beside those of everybody.
        public: country, or country and region (DE-BE), whose public holidays count here as well; None: no others.
    """

    code: str
    timezone: str
    calendar: str
    public: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttendanceRules:
    """The rules by which the days of everybody are computed.

    Attributes:
        policies: by code; `DEFAULT_CODE` is always one of them.
        shifts: by code.
        patterns: by code.
        assignments: which pattern and which policy are whose.
        sites: by code; at least one.
        default_site: the code of the site of those of whom none is known.
        site_field: the field of an employee that tells the site: `extra.NAME`, `department_code` or `position_code`.
        company_days: the holidays that the rules themselves name.
        reach_back_days: how many days back a change of the rules reaches.
        fingerprint: differs when anything of the above does.
    """

    policies: Mapping[str, Policy]
    shifts: Mapping[str, Shift | FlexibleShift]
    patterns: Mapping[str, Pattern]
    assignments: Assignments
    sites: Mapping[str, Site]
    default_site: str
    site_field: str
    company_days: tuple[Holiday, ...]
    reach_back_days: int
    fingerprint: str

    def site_of(self, value: str | None) -> Site:
        """The site that an employee's field names; the default one where it names none that is known."""
        return self.sites.get((value or "").strip()) or self.sites[self.default_site]

    def for_person(
        self, employee_no: str, departments: Sequence[str] = (), site: str = ""
    ) -> tuple[Roster, list[tuple[dt.date, dt.date, Policy]]]:
        """The schedule of a person, and the policies with the first and the last date of each, without gaps.

        Args:
            departments: the person's department, then those above it.
            site: the code of the person's site.
        """
        periods = self.assignments.policies_of(employee_no, departments, site)
        return (
            self.assignments.roster_of(employee_no, departments, site),
            [(item.first_on, item.last_on, self.policies[item.code or DEFAULT_CODE]) for item in periods],
        )
