"""Finds out whose the user ids of the time clocks are, after new ones have punched or the HR data have changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from backend.domain.punches import EmployeeRule
from backend.ports import PunchUsers, UserMatching

# More keep the loop busy for longer at a time.
_USERS_AT_ONCE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchReport:
    """How many user ids belong to an employee, how many to nobody, and how many are another's than before."""

    matched: int = 0
    unmatched: int = 0
    changed: int = 0


async def match_users(
    store: PunchUsers, rules: Mapping[str, EmployeeRule], *, touched: Collection[str] | None = None
) -> MatchReport:
    """Give every user id to the employee that somebody has assigned, else to the one that its source's rule names.

    The days of the punches of a user who is another's now are marked to be computed again, for both, in the transaction
    that changes it. An id that fits several employees belongs to the one who is active, if just one is.

    Args:
        rules: of each source; users of other sources stay as they are.
        touched: the sources that may have new users; the others are only matched when their rule or the employees have
            changed since they were. None: all are matched.

    Raises:
        TransientError: the database went away.
    """
    matched = unmatched = changed = 0
    async with store.matching(sorted(rules)) as users:
        for source in sorted(rules):
            rule = rules[source]
            if touched is None or source in touched or not await users.is_current(source, rule):
                changed += await _match(users, source, rule)
            counts = await users.count(source)
            matched, unmatched = matched + counts[0], unmatched + counts[1]
    return MatchReport(matched=matched, unmatched=unmatched, changed=changed)


async def _match(users: UserMatching, source: str, rule: EmployeeRule) -> int:
    """Match all users of a source; how many are another's now."""
    changed, after = 0, ""
    while changes := await users.find_changes(source, rule, after=after, limit=_USERS_AT_ONCE):
        await users.apply(source, changes)
        after = changes[-1].user_id
        changed += len(changes)
    await users.note_matched(source, rule)
    return changed
