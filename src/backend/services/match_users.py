"""Finds out whose the user ids of the time clocks are, after new ones have punched or the HR data have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.domain.punches import EmployeeRule
from backend.ports import PunchUsers

# More keep the loop busy for longer at a time.
_USERS_AT_ONCE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchReport:
    """How many user ids belong to an employee, how many to nobody, and how many are another's than before."""

    matched: int = 0
    unmatched: int = 0
    changed: int = 0


async def match_users(store: PunchUsers, rules: Mapping[str, EmployeeRule]) -> MatchReport:
    """Give every user id to the employee that somebody has assigned, else to the one that its source's rule names.

    The days of the punches of a user who is another's now are marked to be computed again, for both, in the transaction
    that changes it. An id that fits several employees belongs to the one who is active, if just one is.

    Args:
        rules: of each source; users of other sources stay as they are.

    Raises:
        TransientError: the database went away.
    """
    matched = unmatched = changed = 0
    async with store.matching(sorted(rules)) as users:
        for source in sorted(rules):
            after = ""
            while changes := await users.find_changes(source, rules[source], after=after, limit=_USERS_AT_ONCE):
                await users.apply(source, changes)
                after = changes[-1].user_id
                changed += len(changes)
            counts = await users.count(source)
            matched, unmatched = matched + counts[0], unmatched + counts[1]
    return MatchReport(matched=matched, unmatched=unmatched, changed=changed)
