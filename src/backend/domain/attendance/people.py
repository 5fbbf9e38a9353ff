"""What the HR data says about a person as far as attendance depends on it. Pure.

It is kept as a text with every computation, so that the next look at the HR data finds what has changed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backend.domain.attendance.calendars import Employment, Leave
from backend.domain.employees import DayPart

Period = tuple[dt.date | None, dt.date | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HrPerson:
    """An employee as the HR tables have it now.

    Attributes:
        row_id: stays when the number changes.
        department: its code.
        site: what the field says that tells the place of work.
        gone_on: when the HRIS first did not have the person any more, or said so; None: it has.
    """

    row_id: int
    employee_no: str
    department: str | None
    site: str | None
    hired_on: dt.date | None
    left_on: dt.date | None
    gone_on: dt.date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """What attendance depends on.

    Attributes:
        row_id: of the HR data, where it is from there.
        departments: the person's own, then those above it.
        site: what the HR data says about the place of work.
        periods: of employment, ascending; the first and the last date of each.
        leaves: in the order of their dates.
    """

    row_id: int = 0
    departments: tuple[str, ...] = ()
    site: str | None = None
    periods: tuple[Period, ...] = ()
    leaves: tuple[Leave, ...] = ()

    @property
    def employment(self) -> Employment:
        """When the person belongs to the company."""
        return Employment(periods=self.periods)

    def to_text(self) -> str:
        """As JSON; the same text for the same facts."""
        content = {
            "row_id": self.row_id,
            "departments": self.departments,
            "site": self.site,
            "periods": [[_text(first), _text(last)] for first, last in self.periods],
            "leaves": [
                [leave.kind, _text(leave.starts_on), _text(leave.ends_on), leave.day_part, leave.hours]
                for leave in self.leaves
            ],
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> PersonFacts:
        """What `to_text` wrote."""
        content = json.loads(text)
        return cls(
            row_id=content["row_id"],
            departments=tuple(content["departments"]),
            site=content["site"],
            periods=tuple((_date(first), _date(last)) for first, last in content["periods"]),
            leaves=tuple(
                Leave(
                    kind=kind,
                    starts_on=dt.date.fromisoformat(first),
                    ends_on=dt.date.fromisoformat(last),
                    day_part=DayPart(part),
                    hours=hours,
                )
                for kind, first, last, part, hours in content["leaves"]
            ),
        )


def plan_periods(person: HrPerson, earlier: Iterable[Period]) -> tuple[Period, ...]:
    """The periods of employment, with those that the HR data has told before and tells no more.

    The HRIS knows one date of joining. One after the end of what was known is that of somebody who was hired again;
    any other one corrects the last period.
    """
    last_on = person.left_on if person.left_on is not None else person.gone_on
    now: Period = (person.hired_on, last_on)
    before = tuple(earlier)
    if not before:
        return (now,)
    ended_on = before[-1][1]
    if ended_on is not None and person.hired_on is not None and person.hired_on > ended_on:
        return (*before, now)
    return (*before[:-1], now)


def find_renumbered(known: Iterable[tuple[str, int]], now: Mapping[int, str]) -> dict[str, str]:
    """The new numbers of people who have one, by their old ones.

    Args:
        known: numbers and row ids, as they were seen before.
        now: the number of each row id.
    """
    return {number: now[row_id] for number, row_id in known if now.get(row_id, number) != number}


def sort_leaves(leaves: Iterable[Leave]) -> tuple[Leave, ...]:
    """In an order that does not depend on that of the source."""
    return tuple(sorted(leaves, key=lambda leave: (leave.starts_on, leave.ends_on, leave.kind, leave.day_part)))


def departments_of(code: str | None, parents: dict[str, str | None]) -> tuple[str, ...]:
    """A department and those above it; a circle ends where it closes.

    Args:
        parents: of each department.
    """
    found: list[str] = []
    while code is not None and code not in found:
        found.append(code)
        code = parents.get(code)
    return tuple(found)


def _text(day: dt.date | None) -> str | None:
    return None if day is None else day.isoformat()


def _date(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)
