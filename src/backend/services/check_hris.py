"""Holds the mapping against the live HRIS: reads a few rows of every query, and says what would go wrong."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.domain.employees import Entity
from backend.domain.mapping import EntityMapping, HrisMapping, RawRow, RowReader, find_missing_columns
from backend.domain.quarantine import Defect
from backend.errors import HrsyncError
from backend.ports import HrisSource

SAMPLE_ROWS = 200

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what it is about (`hris employees`).
        message: what was found; no personal data.
        mend: what to do; empty when there is nothing to do.
    """

    level: Level
    subject: str
    message: str
    mend: str = ""

    @classmethod
    def of_error(cls, subject: str, error: HrsyncError) -> Finding:
        """What an error says, and behind its dash how to mend it."""
        message, _, mend = str(error).partition(" -- ")
        return cls(level="error", subject=subject, message=message, mend=f"{mend[:1].upper()}{mend[1:]}")


async def check_hris(source: HrisSource, mapping: HrisMapping, *, sample_rows: int = SAMPLE_ROWS) -> list[Finding]:
    """Read the first rows of every query and hold them against the mapping.

    References between the entities are not checked: a sample of one does not show what is in the others.
    """
    findings: list[Finding] = []
    for entity in Entity:
        if entity in mapping.entities:
            findings += await _check_entity(source, mapping.entities[entity], sample_rows)
        else:
            findings.append(
                Finding(level="ok", subject=f"hris {entity}", message=f"not mapped in {mapping.file}; left alone")
            )
    return findings


async def _check_entity(source: HrisSource, mapping: EntityMapping, sample_rows: int) -> list[Finding]:
    subject = f"hris {mapping.entity}"
    sample: list[RawRow] = []
    try:
        async with source.open(mapping) as rows:
            columns = tuple(rows.columns)
            async with contextlib.aclosing(rows.batches()) as batches:
                async for batch in batches:
                    sample += batch[: sample_rows - len(sample)]
                    if len(sample) >= sample_rows:
                        break
    except HrsyncError as error:
        return [Finding.of_error(subject, error)]
    return _check_columns(subject, mapping, columns) or _check_sample(subject, mapping, columns, sample)


def _check_columns(subject: str, mapping: EntityMapping, columns: Sequence[str]) -> list[Finding]:
    return [
        Finding(
            level="error",
            subject=subject,
            message=f"the result has no column {item.column!r}, which {item.field} is mapped to",
            mend=f"{f'Did you mean {item.suggestion!r}? ' if item.suggestion else ''}"
            f"In {mapping.place}, name one of: {', '.join(columns)}.",
        )
        for item in find_missing_columns(mapping, columns)
    ]


def _check_sample(
    subject: str, mapping: EntityMapping, columns: Sequence[str], sample: Sequence[RawRow]
) -> list[Finding]:
    if not sample:
        return [
            Finding(
                level="warning",
                subject=subject,
                message="the query gives no rows",
                mend=f"Mend the query in {mapping.place}; a run refuses an empty source once there are active rows.",
            )
        ]
    reader = RowReader(mapping, columns, {})
    kinds: Counter[tuple[str, str | None]] = Counter()
    first: dict[tuple[str, str | None], Defect] = {}
    rejected = 0
    for raw in sample:
        read = reader.read(raw)
        rejected += read.row is None
        for defect in read.defects:
            kind = (defect.reason, defect.field)
            kinds[kind] += 1
            first.setdefault(kind, defect)
    ok = Finding(
        level="ok",
        subject=subject,
        message=f"{len(sample) - rejected} of the first {len(sample)} rows can be taken; columns: {', '.join(columns)}",
    )
    return [
        ok,
        *(
            Finding(
                level="warning",
                subject=subject,
                message=f"{count} of the first {len(sample)} rows: {reason}" + (f" in {field}" if field else ""),
                mend=f"For example: {first[reason, field].message}",
            )
            for (reason, field), count in kinds.most_common()
        ),
    ]
