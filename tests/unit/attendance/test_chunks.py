"""How the days of many people are put into chunks."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backend.domain.attendance.chunks import Ask, merge_asks, plan_chunks

FIRST = dt.date(2026, 1, 1)
ASKS = st.builds(
    lambda number, start, length: Ask(
        employee_no=f"E{number}",
        first_on=FIRST + dt.timedelta(days=start),
        last_on=FIRST + dt.timedelta(days=start + length),
    ),
    st.integers(0, 4),
    st.integers(0, 90),
    st.integers(0, 90),
)


def _days(asks: list[Ask]) -> Counter[tuple[str, dt.date]]:
    return Counter(
        (ask.employee_no, ask.first_on + dt.timedelta(days=number))
        for ask in asks
        for number in range((ask.last_on - ask.first_on).days + 1)
    )


@given(asks=st.lists(ASKS, max_size=12))
def test_each_day_that_is_asked_for_is_in_one_chunk(asks: list[Ask]) -> None:
    """However often it was asked for; no chunk has more people or days than it may."""
    chunks = list(plan_chunks(list(merge_asks(asks)), days=20, people=3))

    assert dict.fromkeys(_days(asks), 1) == dict(_days([ask for chunk in chunks for ask in chunk]))
    assert all(len(chunk) <= 3 for chunk in chunks)
    assert all((max(a.last_on for a in chunk) - min(a.first_on for a in chunk)).days < 20 for chunk in chunks)
    assert all(before[0].first_on <= after[0].first_on for before, after in pairwise(chunks))


def test_people_whose_days_begin_apart_share_chunks() -> None:
    """Long asks are cut at the same dates for everybody."""
    asks = [
        Ask(employee_no=f"E{number:02}", first_on=FIRST + dt.timedelta(days=number), last_on=dt.date(2026, 6, 29))
        for number in range(40)
    ]

    chunks = list(plan_chunks(asks, days=45, people=100))

    assert [40, 40, 40, 40] == [len(chunk) for chunk in chunks]
