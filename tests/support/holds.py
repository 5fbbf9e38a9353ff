"""Held runs for tests of those who show them or decide about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.models.hr import HrHold, HrHoldChange
from backend.utils.identifiers import new_id

HELD_AT = dt.datetime(2031, 5, 4, 2, 30, tzinfo=dt.UTC)
REASON = (
    "4,000 of 4,212 active employees would be deactivated, more than the limit of 210 "
    "(max_deactivations_percent = 5, max_deactivations_at_least = 5)"
)
COUNTS = {
    "departments": {
        "read": 12, "inserted": 0, "updated": 1, "unchanged": 11, "deactivated": 0, "rejected": 0, "reactivated": 0,
        "renumbered": 0, "warnings": 0,
    },
    "employees": {
        "read": 212, "inserted": 1, "updated": 2, "unchanged": 209, "deactivated": 4000, "rejected": 0,
        "reactivated": 0, "renumbered": 1, "warnings": 0,
    },
}  # fmt: skip
CHANGES = (
    ("departments", "OPS", "update", {"name": ["Operations", "Ops"]}),
    ("employees", "1001", "insert", {"full_name": [None, "Ada Example"], "email": [None, "ada@example.com"]}),
    ("employees", "1002", "update", {"department_code": ["OPS", "HR"], "phone": [None, "555 0100"]}),
    ("employees", "1003", "renumber", {"employee_no": ["1003", "2003"]}),
    ("employees", "1004", "deactivate", {"is_active": ["1", "0"]}),
    ("employees", "عائشة", "deactivate", {"is_active": ["1", "0"], "department_code": ["OPS", None]}),
)


async def add_hold(
    session: AsyncSession, *, changes: Sequence[tuple[str, str, str, dict[str, Any]]] = CHANGES, **values: Any
) -> HrHold:
    """Add a held run."""
    defaults: dict[str, Any] = {
        "execution_id": new_id(),
        "fingerprint": bytes(range(16)),
        "status": "held",
        "reasons": [REASON],
        "counts": COUNTS,
        "change_count": len(changes),
        "held_at": HELD_AT,
        "last_seen_at": HELD_AT,
    }
    hold = HrHold(**defaults | values)
    session.add(hold)
    await session.flush()
    for entity, key, action, fields in changes:
        session.add(HrHoldChange(hold_id=hold.id, entity=entity, entity_key=key, action=action, fields=fields))
        await session.flush()
    return hold
