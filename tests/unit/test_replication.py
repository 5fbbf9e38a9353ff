"""The pure part of a replication: comparing, resolving parents, finding circles, the guard."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.employees import Entity, SourceRow, parent_path
from backend.domain.quarantine import Defect, QuarantineEntry, ReadRow, Reason
from backend.domain.replication import (
    DeactivationLimit,
    EntityDiff,
    EntityPlan,
    TargetRow,
    check_deactivations,
    find_cycles,
)


class Raw(NamedTuple):
    """A row of the source as these tests write it."""

    key: str
    value: str = "x"
    parent: str | None = None
    is_active: bool = True
    is_bad: bool = False


class Target(NamedTuple):
    """A row of the target as these tests keep it: with its value, so that it can be compared with the source."""

    value: str
    parent: str | None
    is_active: bool


class Reader:
    """Reads `Raw`."""

    def __init__(self, *, by_tree_path: bool = False) -> None:
        self.by_tree_path = by_tree_path

    def read(self, raw: Sequence[object]) -> ReadRow:
        assert isinstance(raw, Raw)
        if raw.is_bad:
            return ReadRow(raw.key, None, None, (Defect(reason=Reason.UNREADABLE_DATE, message="bad"),))
        return ReadRow(raw.key, SourceRow(raw.key, (raw.value,), digest(raw.value), raw.is_active), raw.parent, ())

    def payload(self, raw: Sequence[object]) -> Mapping[str, Any]:
        return {"raw": repr(raw)}


class Outcome(NamedTuple):
    """A target after a plan, and what the plan said."""

    target: dict[str, Target]
    plan: EntityPlan
    entries: list[QuarantineEntry]


def digest(value: str) -> bytes:
    return hashlib.blake2b(value.encode(), digest_size=16).digest()


def replicate(
    source: Sequence[Raw], target: Mapping[str, Target], *, batch: int = 3, by_tree_path: bool = False
) -> Outcome:
    """Plan and apply as the service does, on dictionaries."""
    state = {key: TargetRow(digest(row.value), row.is_active, row.parent) for key, row in target.items()}
    diff = EntityDiff(Entity.EMPLOYEES, Reader(by_tree_path=by_tree_path), state)
    changed: list[SourceRow] = []
    entries: list[QuarantineEntry] = []
    for start in range(0, len(source), batch):
        rows, defects = diff.add(source[start : start + batch])
        changed += rows
        entries += defects
    plan = diff.finish()
    after = dict(target)
    for row in changed:
        after[row.key] = Target(row.values[0] or "", plan.parents.get(row.key), row.is_active)
    for key, parent in plan.parent_changes.items():
        after[key] = after[key]._replace(parent=parent)
    for key in plan.vanished:
        after[key] = after[key]._replace(is_active=False)
    return Outcome(after, plan, entries + list(plan.entries))


KEYS = st.sampled_from("abcdefgh")
ROWS = st.builds(
    Raw,
    KEYS,
    st.sampled_from(["x", "y", "z"]),
    st.none() | st.sampled_from("abcdefghij"),
    st.booleans(),
    st.just(value=False),
)
SOURCES = st.lists(ROWS, max_size=8, unique_by=lambda row: row.key)


@given(SOURCES, SOURCES)
def test_the_target_becomes_equal_to_the_source(before: list[Raw], source: list[Raw]) -> None:
    """After a run the target has the source's rows with their values, and everything else is inactive."""
    target = replicate(before, {}).target

    after = replicate(source, target).target

    assert {row.key: (row.value, row.is_active) for row in source} == {
        key: (row.value, row.is_active) for key, row in after.items() if key in {raw.key for raw in source}
    }
    assert not [key for key, row in after.items() if row.is_active and key not in {raw.key for raw in source}]


@given(SOURCES, SOURCES)
def test_a_parent_is_what_the_source_says_unless_it_is_impossible(before: list[Raw], source: list[Raw]) -> None:
    """A parent is missing only with a defect that says why; parents exist and never form a circle."""
    target = replicate(before, {}).target

    after, _, entries = replicate(source, target)

    explained = {entry.source_key for entry in entries}
    for raw in source:
        assert after[raw.key].parent == raw.parent or (after[raw.key].parent is None and raw.key in explained)
    assert all(row.parent in after for row in after.values() if row.parent is not None)
    assert [] == find_cycles({key: row.parent for key, row in after.items()})


@given(SOURCES, SOURCES)
def test_a_second_run_is_empty(before: list[Raw], source: list[Raw]) -> None:
    """What has been applied is unchanged in the next run, and its defects are known again by their fingerprints."""
    target = replicate(before, {}).target
    first = replicate(source, target)

    second = replicate(source, first.target)

    assert first.target == second.target
    assert {entry.fingerprint for entry in first.entries} == {entry.fingerprint for entry in second.entries}
    counts = second.plan.counts
    assert (len(source), 0, 0, 0) == (counts.unchanged, counts.inserted, counts.updated, counts.deactivated)


@given(SOURCES, SOURCES, st.integers(1, 9), st.randoms(use_true_random=False))
def test_neither_batches_nor_order_matter(before: list[Raw], source: list[Raw], batch: int, dice: Any) -> None:
    """The same rows give the same end, however they are ordered and split."""
    target = replicate(before, {}).target
    shuffled = list(source)
    dice.shuffle(shuffled)

    assert replicate(source, target).target == replicate(shuffled, target, batch=batch).target


@given(SOURCES, SOURCES)
def test_every_row_counts_once(before: list[Raw], source: list[Raw]) -> None:
    """Read is inserted, updated, unchanged, rejected and those whose status says that they are gone."""
    target = replicate(before, {}).target

    plan = replicate(source, target).plan

    counts = plan.counts
    parts = (counts.inserted, counts.updated, counts.unchanged, counts.rejected, counts.deactivated)
    assert counts.read == sum(part or 0 for part in parts) - len(plan.vanished)


def test_the_first_row_of_a_key_counts() -> None:
    """A second row with the same key is rejected and says so."""
    outcome = replicate([Raw("a", "x"), Raw("a", "y"), Raw("a", "z")], {})

    assert {"a": Target("x", None, is_active=True)} == outcome.target
    assert [Reason.DUPLICATE_KEY] * 2 == [entry.defect.reason for entry in outcome.entries]
    assert 2 == len({entry.fingerprint for entry in outcome.entries})
    assert (1, 2) == (outcome.plan.counts.inserted, outcome.plan.counts.rejected)


def test_a_readable_row_after_an_unreadable_one_counts() -> None:
    """An unreadable row does not take the key from a readable one."""
    outcome = replicate([Raw("a", is_bad=True), Raw("a", "y")], {})

    assert {"a": Target("y", None, is_active=True)} == outcome.target


def test_a_row_that_cannot_be_read_is_left_as_it_was() -> None:
    """Nobody is switched off because the row has become unreadable."""
    target = replicate([Raw("a", "x"), Raw("b", "x")], {}).target

    outcome = replicate([Raw("a", is_bad=True), Raw("b", "x")], target)

    assert target == outcome.target
    assert (0, 1, 1) == (
        outcome.plan.counts.deactivated, outcome.plan.counts.rejected, outcome.plan.counts.unchanged
    )  # fmt: skip


def test_who_comes_back_is_active_again() -> None:
    """A row that was deactivated and is there again is an update that counts as reactivated."""
    first = replicate([Raw("a")], {}).target
    gone = replicate([], first).target

    outcome = replicate([Raw("a")], gone)

    assert first == outcome.target
    assert (1, 1) == (outcome.plan.counts.updated, outcome.plan.reactivated)


def test_a_status_of_gone_deactivates() -> None:
    """A row whose status says that the person has left counts as deactivated, once."""
    target = replicate([Raw("a")], {}).target

    outcome = replicate([Raw("a", is_active=False)], target)

    assert {"a": Target("x", None, is_active=False)} == outcome.target
    assert (1, 0) == (outcome.plan.counts.deactivated, outcome.plan.counts.updated)
    assert 0 == replicate([Raw("a", is_active=False)], outcome.target).plan.counts.deactivated


def test_a_new_manager_alone_is_an_update() -> None:
    """Rows that are otherwise unchanged get their new parent without being written whole."""
    target = replicate([Raw("a"), Raw("b"), Raw("c", parent="a")], {}).target

    plan = replicate([Raw("a"), Raw("b"), Raw("c", parent="b")], target).plan

    assert ({"c": "b"}, 1, 2) == (plan.parent_changes, plan.counts.updated, plan.counts.unchanged)


def test_a_circle_is_named() -> None:
    """Everyone in a circle loses the reference and the message names them in order."""
    source = [Raw("a", parent="b"), Raw("b", parent="c"), Raw("c", parent="a"), Raw("d", parent="a")]

    outcome = replicate(source, {})

    assert {"a": None, "b": None, "c": None, "d": "a"} == {key: row.parent for key, row in outcome.target.items()}
    assert ["a", "b", "c"] == [entry.source_key for entry in outcome.entries]
    assert "a -> b -> c -> a" in outcome.entries[0].defect.message


def test_a_circle_closes_through_a_row_that_has_left() -> None:
    """Parents that the target keeps take part: no circle remains."""
    target = replicate([Raw("a", parent="b"), Raw("b")], {}).target
    without_a = replicate([Raw("b")], target).target

    outcome = replicate([Raw("b", parent="a")], without_a)

    assert ("b", None) == (outcome.target["a"].parent, outcome.target["b"].parent)
    assert [Reason.REFERENCE_CYCLE] == [entry.defect.reason for entry in outcome.entries]


@pytest.mark.parametrize(
    ("parents", "cycles"),
    [
        ({}, []),
        ({"a": "b", "b": None}, []),
        ({"a": "a"}, [["a"]]),
        ({"c": "a", "a": "b", "b": "a", "d": "c"}, [["a", "b"]]),
        ({"x": "y", "y": "x", "b": "a", "a": "b"}, [["a", "b"], ["x", "y"]]),
        ({"a": "elsewhere"}, []),
    ],
)
def test_cycles(parents: dict[str, str | None], cycles: list[list[str]]) -> None:
    """Every circle is found once, beginning with its smallest key."""
    assert cycles == find_cycles(parents)


@pytest.mark.parametrize(
    ("path", "above"), [("/", None), ("/1/", "/"), ("/1/2/", "/1/"), ("/1/2.1/3/", "/1/2.1/"), ("", None)]
)
def test_parent_path(path: str, above: str | None) -> None:
    """The parent path is the path without its last step."""
    assert above == parent_path(path)


def test_managers_by_tree_path() -> None:
    """The manager is who stands at the parent path, whoever that becomes."""
    source = [Raw("boss", parent="/"), Raw("a", parent="/1/"), Raw("b", parent="/1/1/")]
    target = replicate(source, {}, by_tree_path=True).target
    assert {"boss": None, "a": "boss", "b": "a"} == {key: row.parent for key, row in target.items()}

    swapped = [Raw("boss", parent="/"), Raw("a", parent="/1/2/"), Raw("c", parent="/1/"), Raw("b", parent="/1/1/")]
    target = replicate(swapped, target, by_tree_path=True).target
    assert {"boss": None, "a": "c", "b": "c", "c": "boss"} == {key: row.parent for key, row in target.items()}


def test_defects_of_tree_paths() -> None:
    """Two at one place and nobody above are warnings; several tops without a root are none."""
    source = [
        Raw("a", parent="/1/"),
        Raw("b", parent="/1/"),
        Raw("c", parent="/1/1/"),
        Raw("d", parent="/7/7/"),
        Raw("e"),
    ]

    outcome = replicate(source, {}, by_tree_path=True)

    assert {"a": None, "b": None, "c": "a", "d": None, "e": None} == {
        key: row.parent for key, row in outcome.target.items()
    }
    assert [("b", Reason.AMBIGUOUS_TREE_PATH), ("d", Reason.UNKNOWN_REFERENCE)] == [
        (entry.source_key, entry.defect.reason) for entry in outcome.entries
    ]


@pytest.mark.parametrize(
    ("active", "leaving", "is_refused"),
    [(4, 3, False), (10, 5, False), (10, 6, True), (200, 10, False), (200, 11, True), (0, 0, False), (10, 10, True)],
)
def test_the_guard(active: int, leaving: int, is_refused: bool) -> None:
    """More deactivations than 5 % and than 5, or an empty source, are refused with the numbers."""
    target = replicate([Raw(str(number)) for number in range(active)], {}).target
    plan = replicate([Raw(str(number)) for number in range(leaving, active)], target).plan

    reason = check_deactivations(plan, DeactivationLimit())

    assert is_refused == (reason is not None)
    assert reason is None or str(active) in reason


def test_the_guard_counts_those_whose_status_says_gone() -> None:
    """A status column that suddenly says "left" for everybody is refused as well."""
    target = replicate([Raw(str(number)) for number in range(20)], {}).target
    plan = replicate([Raw(str(number), is_active=number < 3) for number in range(20)], target).plan

    assert "17 of 20 active employees" in (check_deactivations(plan, DeactivationLimit()) or "")


def test_rewriting_takes_every_row_for_changed() -> None:
    """A full run writes the unchanged rows too."""
    diff = EntityDiff(Entity.EMPLOYEES, Reader(), {"a": TargetRow(digest("x"), True, None)}, rewrite=True)

    changed, _ = diff.add([Raw("a")])

    assert (["a"], 1) == ([row.key for row in changed], diff.finish().counts.updated)
