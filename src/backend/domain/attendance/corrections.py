"""What people change by hand: punches added, ignored or edited. Kept apart from the devices' data. Pure.

Corrections are applied anew at each computation, so they survive it. The override of a day (`day.DayOverride`) is
applied by `engine`.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.domain.attendance.day import Origin, WorkPunch
from backend.domain.punches import Direction
from backend.errors import ConfigurationError


class Action(enum.StrEnum):
    """What a correction does."""

    ADD = "add"
    IGNORE = "ignore"
    EDIT = "edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchCorrection:
    """A change to one punch of one person.

    Attributes:
        key: of the correction; also that of the punch it adds. Of two that edit or ignore the same punch, the one with
            the larger key counts.
        punch_key: which punch is ignored or edited.
        punched_at: the time of an added punch, the new time of an edited one (None: stays).
        direction: the same for the direction.
    """

    key: str
    action: Action
    punch_key: str | None = None
    punched_at: dt.datetime | None = None
    direction: Direction | None = None
    made_by: str
    reason: str

    def __post_init__(self) -> None:
        if self.action is Action.ADD and self.punched_at is None:
            raise ConfigurationError(f"Correction {self.key} adds a punch without a time; give it one.")
        if self.action is not Action.ADD and self.punch_key is None:
            raise ConfigurationError(f"Correction {self.key} does not say which punch it is about; name one.")

    @property
    def note(self) -> str:
        """Who and why."""
        return f"{self.made_by}: {self.reason}"


def apply_corrections(punches: Iterable[WorkPunch], corrections: Iterable[PunchCorrection]) -> list[WorkPunch]:
    """The punches as people have corrected them; those that are ignored stay in the list, marked."""
    ordered = sorted(corrections, key=lambda item: item.key)
    changes = {item.punch_key: item for item in ordered if item.action is not Action.ADD}
    corrected = [_change(punch, changes[punch.key]) if punch.key in changes else punch for punch in punches]
    corrected.extend(
        WorkPunch(item.key, item.punched_at, item.direction, origin=Origin.ADDED, note=item.note)
        for item in ordered
        if item.action is Action.ADD and item.punched_at is not None
    )
    return corrected


def find_orphans(punches: Iterable[WorkPunch], corrections: Iterable[PunchCorrection]) -> Sequence[PunchCorrection]:
    """The corrections of punches that there are not."""
    known = {punch.key for punch in punches}
    return [item for item in corrections if item.action is not Action.ADD and item.punch_key not in known]


def _change(punch: WorkPunch, item: PunchCorrection) -> WorkPunch:
    if item.action is Action.IGNORE:
        return punch._replace(origin=Origin.IGNORED, note=item.note)
    return punch._replace(
        punched_at=item.punched_at or punch.punched_at,
        direction=item.direction or punch.direction,
        is_doubtful=punch.is_doubtful and item.punched_at is None,
        origin=Origin.EDITED,
        note=item.note,
    )
