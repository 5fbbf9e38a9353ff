"""Rows that cannot be taken as they are: what is wrong with them, and how the same defect is known again next time."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.domain.employees import Entity, Field


class Severity(enum.StrEnum):
    """`error`: the row is not applied; `warning`: it is applied without what was wrong."""

    ERROR = "error"
    WARNING = "warning"


class Reason(enum.StrEnum):
    """Why a row is in quarantine."""

    MISSING_KEY = "missing_key"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_VALUE = "missing_value"
    TOO_LONG = "too_long"
    UNREADABLE_DATE = "unreadable_date"
    UNREADABLE_TEXT = "unreadable_text"
    UNREADABLE_NUMBER = "unreadable_number"
    UNMAPPED_VALUE = "unmapped_value"
    DATES_REVERSED = "dates_reversed"
    UNKNOWN_REFERENCE = "unknown_reference"
    REFERENCE_CYCLE = "reference_cycle"
    AMBIGUOUS_TREE_PATH = "ambiguous_tree_path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One thing that is wrong with a row.

    Attributes:
        field: the canonical field, where it is about one.
        message: what is wrong and what to do, for the person who mends the source.
    """

    reason: Reason
    message: str
    field: str | None = None
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineEntry:
    """A defect of a row, with the row as it was read.

    Attributes:
        source_key: the business key; None where the row has none.
        payload: the row by result column (values that JSON can hold); personal data, never to be logged.
        fingerprint: 16 bytes; the same for the same defect of the same row in every run.
    """

    entity: Entity
    source_key: str | None
    defect: Defect
    payload: Mapping[str, Any]
    fingerprint: bytes


def defect_fingerprint(
    entity: Entity, source_key: str | None, defect: Defect, payload: Mapping[str, Any], occurrence: int
) -> bytes:
    """What makes a defect the same one in the next run: its row's key (the row itself where it has none) and its kind.

    Args:
        occurrence: how many defects of this kind and key came before it in the run (a key may be there three times).
    """
    row: Any = payload if source_key is None else source_key
    identity = json.dumps([entity, row, defect.reason, defect.field, occurrence], sort_keys=True, default=str)
    return hashlib.blake2b(identity.encode(), digest_size=16).digest()


def unknown_reference(item: Field, code: str) -> Defect:
    """The warning for a row that refers to something that is not there."""
    return Defect(
        reason=Reason.UNKNOWN_REFERENCE,
        severity=Severity.WARNING,
        field=item.name,
        message=f"{item.name} {shorten(code)} is not among the {item.refers_to}; the row is kept without it.",
    )


def shorten(text: str, length: int = 60) -> str:
    """`text` in quotes, cut for a message."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")
