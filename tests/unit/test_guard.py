"""What the guard lets pass, at its limits and on both sides of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from backend.domain.employees import Entity
from backend.domain.executions import RowCounts
from backend.domain.mapping import GuardRules
from backend.domain.replication_plan import (
    Concern,
    ConcernKind,
    EntityPlan,
    StreamFacts,
    column_concern,
    find_concerns,
    may_skip_deactivations,
)


def plan(
    *,
    read: int = 1000,
    active: int = 1000,
    deactivated: int = 0,
    rejected: int = 0,
    size: int | None = None,
    filled: Mapping[str, float] | None = None,
    rejected_share: float | None = None,
    is_partial: bool = False,
) -> EntityPlan:
    """A plan of employees; `size` is the number of rows that were accepted."""
    return EntityPlan(
        entity=Entity.EMPLOYEES,
        counts=RowCounts(read=read, inserted=0, updated=0, unchanged=0, deactivated=deactivated, rejected=rejected),
        active_before=active,
        facts=StreamFacts(sizes=[] if size is None else [size], filled=filled or {}, rejected_share=rejected_share),
        is_partial=is_partial,
    )


def kinds(found: EntityPlan, earlier: StreamFacts | None = None, **rules: Any) -> list[ConcernKind]:
    """What the guard minds."""
    return [concern.kind for concern in find_concerns(found, GuardRules(**rules), earlier)]


# --- deactivations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("active", "leaving", "is_held"),
    [
        (0, 0, False),
        (4, 3, False),
        (5, 5, False),
        (10, 5, False),
        (10, 6, True),
        (100, 5, False),
        (100, 6, True),
        (119, 5, False),
        (119, 6, True),
        (120, 6, False),
        (200, 10, False),
        (200, 11, True),
        (10_000, 500, False),
        (10_000, 501, True),
        (300_000, 500, False),
        (300_000, 501, True),
    ],
)
def test_how_many_may_be_deactivated(active: int, leaving: int, is_held: bool) -> None:
    """The larger of 5 % and 5 people, and never more than 500."""
    assert is_held == bool(kinds(plan(read=active, active=active, deactivated=leaving)))


@pytest.mark.parametrize(
    ("rules", "leaving", "is_held"),
    [
        ({"max_deactivations_percent": 0, "max_deactivations_at_least": 0}, 1, True),
        ({"max_deactivations_percent": 0, "max_deactivations_at_least": 1}, 1, False),
        ({"max_deactivations_percent": 100}, 500, False),
        ({"max_deactivations_percent": 100}, 501, True),
        ({"max_deactivations_percent": 100, "max_deactivations": 1000}, 1000, False),
        ({"max_deactivations_percent": 0.25}, 5, False),
        ({"max_deactivations_percent": 0.75}, 7, False),
        ({"max_deactivations_percent": 0.75}, 8, True),
        ({"max_deactivations": 3}, 3, False),
        ({"max_deactivations": 3}, 4, True),
    ],
)
def test_the_limits_of_deactivations_are_settings(rules: dict[str, Any], leaving: int, is_held: bool) -> None:
    """Of 1,000 active people; a fraction of a person is nobody."""
    assert is_held == bool(kinds(plan(deactivated=leaving), **rules))


def test_a_source_without_rows_is_never_let_pass() -> None:
    """However few there are, and whatever the limits: nobody wants to switch off everybody."""
    rules = GuardRules(max_deactivations_percent=100, max_deactivations_at_least=1000, max_deactivations=1000)

    (concern,) = find_concerns(plan(read=0, active=3, deactivated=3), rules)

    assert Concern(ConcernKind.DEACTIVATIONS, "the source has no employees at all, while 3 are active here") == concern


def test_an_empty_source_of_an_empty_target_is_no_trouble() -> None:
    """Before the first people come, and when all that are there have left already."""
    assert [] == kinds(plan(read=0, active=0))


def test_an_incremental_read_may_be_empty() -> None:
    """Nothing has changed; what is said to be gone counts towards the limits."""
    assert [] == kinds(plan(read=0, active=10, is_partial=True))
    assert [] == kinds(plan(read=0, active=10, deactivated=5, is_partial=True))
    assert [ConcernKind.DEACTIVATIONS] == kinds(plan(read=0, active=10, deactivated=6, is_partial=True))


def test_a_concern_has_the_numbers_and_the_setting() -> None:
    """Whoever decides sees how many of how many, and which limit it was."""
    (percent,) = find_concerns(plan(deactivated=51), GuardRules())
    (most,) = find_concerns(plan(active=300_000, deactivated=1501), GuardRules())

    assert (
        "51 of 1,000 active employees would be deactivated, more than the limit of 50 "
        "(max_deactivations_percent = 5, max_deactivations_at_least = 5)"
    ) == percent.message
    assert (
        "1,501 of 300,000 active employees would be deactivated, more than the limit of 500 (max_deactivations)"
    ) == most.message


def test_a_source_of_which_nothing_can_be_taken_is_held() -> None:
    """Where every row is rejected the source says nothing, however few people it would switch off."""
    (concern,) = find_concerns(plan(read=3, rejected=3, active=3, deactivated=3), GuardRules())

    message = "none of the source's 3 employees can be taken, while 3 are active here"
    assert Concern(ConcernKind.DEACTIVATIONS, message) == concern


# --- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "now", "expected"),
    [
        ([1000], 800, []),
        ([1000], 799, [ConcernKind.SHRUNK]),
        ([1000], 1500, []),
        ([1000], 1501, [ConcernKind.GROWN]),
        ([10], 30, []),
        ([10], 31, [ConcernKind.GROWN]),
        ([30], 10, []),
        ([31], 10, [ConcernKind.SHRUNK]),
        ([0], 20, []),
        ([0], 21, [ConcernKind.GROWN]),
        ([1000, 1000, 100], 1000, []),
        ([1000, 1000, 100], 700, [ConcernKind.SHRUNK]),
        ([1000, 2000], 1200, []),
        ([1000, 2000], 1199, [ConcernKind.SHRUNK]),
        ([], 1, []),
    ],
)
def test_an_unusual_number_of_rows(sizes: Sequence[int], now: int, expected: list[ConcernKind]) -> None:
    """20 % fewer or 50 % more than the median of the last runs, but never by 20 rows or fewer."""
    assert expected == kinds(plan(size=now), StreamFacts(sizes=sizes))


def test_the_limits_of_the_size_are_settings() -> None:
    """The percentages, and the difference that is never unusual."""
    earlier = StreamFacts(sizes=[100])

    assert [] == kinds(plan(size=50), earlier, max_shrink_percent=50)
    assert [ConcernKind.SHRUNK] == kinds(plan(size=49), earlier, max_shrink_percent=50)
    assert [ConcernKind.GROWN] == kinds(plan(size=111), earlier, max_growth_percent=10, size_at_least=10)
    assert [] == kinds(plan(size=110), earlier, max_growth_percent=5, size_at_least=10)


def test_a_concern_about_the_size_says_by_how_much() -> None:
    """The rows now, those of the last runs, and the setting."""
    (shrunk,) = find_concerns(plan(size=500), GuardRules(), StreamFacts(sizes=[1000, 4000]))
    (grown,) = find_concerns(plan(size=5000), GuardRules(), StreamFacts(sizes=[1000]))

    assert (
        "the source has 500 readable employees, while the last runs read 2,500: 80 % fewer (max_shrink_percent = 20)"
    ) == shrunk.message
    assert (
        "the source has 5,000 readable employees, while the last runs read 1,000: 400 % more (max_growth_percent = 50)"
    ) == grown.message


@pytest.mark.parametrize("earlier", [None, StreamFacts(sizes=[1000], filled={"email": 1.0})])
def test_nothing_is_unusual_in_a_first_run_or_a_partial_one(earlier: StreamFacts | None) -> None:
    """There is nothing to compare with, or what was read is a part only."""
    odd = plan(size=5, filled={"email": 0.0}, rejected_share=1.0, is_partial=earlier is not None)

    assert [] == kinds(odd, earlier)


# --- content ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "is_held"),
    [(1.0, 0.5, False), (1.0, 0.499, True), (0.5, 0.0, True), (0.499, 0.0, False), (1.0, 0.0, True), (0.0, 1.0, False)],
)
def test_a_field_that_is_suddenly_empty(before: float, now: float, is_held: bool) -> None:
    """Filled in at least half of the rows, and now empty in more than half of them."""
    earlier = StreamFacts(filled={"email": before, "phone": 1.0})

    assert is_held == bool(kinds(plan(filled={"email": now, "phone": 1.0}), earlier))


def test_a_field_that_is_no_longer_known_is_not_empty() -> None:
    """Another version of the mapping may name other fields."""
    assert [] == kinds(plan(filled={"phone": 1.0}), StreamFacts(filled={"email": 1.0}))


def test_every_emptied_field_is_named() -> None:
    """One concern for each, with both shares."""
    found = find_concerns(
        plan(filled={"email": 0.1, "phone": 0.2}), GuardRules(), StreamFacts(filled={"email": 0.9, "phone": 1.0})
    )

    assert [
        "email is empty in 90% of the employees; it was filled in 90% of them (max_emptied_percent = 50)",
        "phone is empty in 80% of the employees; it was filled in 100% of them (max_emptied_percent = 50)",
    ] == [concern.message for concern in found]


@pytest.mark.parametrize(
    ("before", "now", "is_held"),
    [(0.0, 0.5, False), (0.0, 0.501, True), (None, 1.0, False), (0.5, 0.501, True), (0.501, 1.0, False)],
)
def test_a_source_of_which_most_is_rejected(before: float | None, now: float, is_held: bool) -> None:
    """More than half of the rows, once a run before rejected fewer."""
    earlier = StreamFacts(sizes=[1000], rejected_share=before)

    assert is_held == bool(kinds(plan(size=1000, rejected_share=now), earlier))


def test_a_concern_about_rejected_rows_names_the_required_fields() -> None:
    """Most often one of them is empty."""
    (concern,) = find_concerns(plan(rejected_share=0.75), GuardRules(), StreamFacts(rejected_share=0.0))

    assert (
        "75% of the employees would be rejected (max_rejected_percent = 50); look whether employee_no, full_name, "
        "status are still filled"
    ) == concern.message


@pytest.mark.parametrize(("read", "is_held"), [(20, False), (21, True)])
def test_the_content_of_a_handful_of_rows_says_nothing(read: int, is_held: bool) -> None:
    """Of twenty rows one is 5 %."""
    earlier = StreamFacts(filled={"email": 1.0}, rejected_share=0.0)

    found = kinds(plan(read=read, filled={"email": 0.0}, rejected_share=0.9), earlier)

    assert ([ConcernKind.EMPTIED, ConcernKind.REJECTED] if is_held else []) == found


def test_the_limits_of_the_content_are_settings() -> None:
    """The share that counts as filled and as emptied is one setting, that of rejected rows another."""
    earlier = StreamFacts(filled={"email": 0.9}, rejected_share=0.05)
    odd = plan(filled={"email": 0.15}, rejected_share=0.2)

    assert [ConcernKind.EMPTIED] == kinds(odd, earlier)
    assert [] == kinds(odd, earlier, max_emptied_percent=90)
    assert [ConcernKind.REJECTED] == kinds(odd, earlier, max_emptied_percent=90, max_rejected_percent=10)


# --- all together -----------------------------------------------------------------------------------------------------


def test_every_concern_is_told_at_once() -> None:
    """Whoever decides need not find the next one after the first is mended."""
    odd = plan(deactivated=900, size=100, filled={"email": 0.0}, rejected_share=0.9)

    assert [
        ConcernKind.DEACTIVATIONS, ConcernKind.SHRUNK, ConcernKind.EMPTIED, ConcernKind.REJECTED
    ] == kinds(odd, StreamFacts(sizes=[1000], filled={"email": 1.0}, rejected_share=0.0))  # fmt: skip


@pytest.mark.parametrize(
    ("found", "on_guard", "may_skip"),
    [
        ([ConcernKind.DEACTIVATIONS], "hold", False),
        ([ConcernKind.DEACTIVATIONS], "skip_deactivations", True),
        ([ConcernKind.SHRUNK], "skip_deactivations", True),
        ([ConcernKind.DEACTIVATIONS, ConcernKind.SHRUNK], "skip_deactivations", True),
        ([ConcernKind.DEACTIVATIONS, ConcernKind.EMPTIED], "skip_deactivations", False),
        ([ConcernKind.GROWN], "skip_deactivations", False),
        ([ConcernKind.REJECTED], "skip_deactivations", False),
        ([ConcernKind.COLUMNS], "skip_deactivations", False),
        ([], "skip_deactivations", False),
    ],
)
def test_when_all_but_the_deactivations_may_go_on(found: list[ConcernKind], on_guard: Any, may_skip: bool) -> None:
    """The mapping says so, and nothing else is the trouble."""
    concerns = [Concern(kind, "why") for kind in found]

    assert may_skip == may_skip_deactivations(concerns, GuardRules(on_guard=on_guard))


@pytest.mark.parametrize(
    ("gone", "new", "message"),
    [
        (["dept"], [], 'the result of the employees lost dept (contract = "freeze")'),
        ([], ["a", "b"], 'the result of the employees got a, b (contract = "freeze")'),
        (["x"], ["y"], 'the result of the employees lost x and got y (contract = "freeze")'),
    ],
)
def test_a_concern_about_columns_names_them(gone: list[str], new: list[str], message: str) -> None:
    """Those that are gone, and those that are new."""
    assert Concern(ConcernKind.COLUMNS, message) == column_concern(Entity.EMPLOYEES, gone, new)
