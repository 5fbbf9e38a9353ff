"""Who is above whom: circles, parents by path and by position, each against the plainest way to find them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.employees import parent_path
from backend.domain.hierarchy import (
    find_circular,
    find_cycles,
    find_places,
    from_smallest,
    parents_by_path,
    parents_by_position,
    reference_cycle,
    walk_circles,
)
from backend.domain.quarantine import Reason, Severity

# --- circles ----------------------------------------------------------------------------------------------------------


@st.composite
def forests(draw: st.DrawFn) -> list[int]:
    """The place of everybody's parent, -1 at the top: trees, circles and trees that hang on circles."""
    count = draw(st.integers(0, 20))
    return draw(st.lists(st.integers(-1, count - 1), min_size=count, max_size=count))


def circle_of(parents: Mapping[str, str | None], start: str) -> list[str] | None:
    """The way from `start` up to itself; None when it does not come back there."""
    way = [start]
    for _ in parents:
        above = parents.get(way[-1])
        if above is None or above == start:
            return way if above == start else None
        way.append(above)
    return None


@given(forests())
def test_circles_are_found_by_name_and_by_place_alike(above: list[int]) -> None:
    """Both find exactly those who come back to themselves on the way up, and the same ways."""
    names = [f"{node:02}" for node in range(len(above))]
    parents = {names[node]: None if up < 0 else names[up] for node, up in enumerate(above)}
    places = np.array(above, dtype=np.int32)

    circular = find_circular(places)

    walked = [circle_of(parents, name) for name in names]
    assert [way is not None for way in walked] == circular.tolist()
    expected = sorted({tuple(from_smallest(way)) for way in walked if way is not None})
    assert expected == [tuple(cycle) for cycle in find_cycles(parents)]
    assert expected == [tuple(names[node] for node in circle) for circle in walk_circles(places, circular)]


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.sampled_from("abcdefghij")))
def test_nobody_outside_the_map_is_in_a_circle(parents: dict[str, str | None]) -> None:
    """A parent that is not a row of its own ends the way up."""
    expected = {tuple(from_smallest(way)) for name in parents if (way := circle_of(parents, name)) is not None}

    assert sorted(expected) == [tuple(cycle) for cycle in find_cycles(parents)]


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


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1023, 1024, 1025])
def test_a_circle_of_all_and_a_line_of_all(count: int) -> None:
    """The longest ways up that there are, at the sizes at which another doubling is needed."""
    ring = np.roll(np.arange(count, dtype=np.int32), 1)
    line = np.arange(-1, count - 1, dtype=np.int32)

    assert ([True] * count, [False] * count) == (find_circular(ring).tolist(), find_circular(line).tolist())
    assert [count] == [len(circle) for circle in walk_circles(ring, find_circular(ring))]


def test_very_many_circles_are_walked_one_after_the_other() -> None:
    """A source may note everybody as their own manager."""
    everybody = np.arange(200_000, dtype=np.int32)

    assert 200_000 == sum(1 for _ in walk_circles(everybody, find_circular(everybody)))


def test_the_warning_of_a_circle_names_it() -> None:
    """In order, and back to the first; of a long one the beginning."""
    short = reference_cycle("manager_no", ["a", "b"])
    long = reference_cycle("parent_code", [str(number) for number in range(21)])

    assert (Reason.REFERENCE_CYCLE, Severity.WARNING, "manager_no") == (short.reason, short.severity, short.field)
    assert "(a -> b -> a)" in short.message
    assert "-> 18 -> 19 -> … -> 0)" in long.message


@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30)))
def test_places_of_what_is_wanted(nodes: list[int], wanted: list[int]) -> None:
    """Each wanted one's place among the nodes as they stand, -1 for what is not there."""
    hashes = np.array(nodes, dtype=np.uint64)
    order = np.argsort(hashes).astype(np.int32)

    found = find_places(hashes[order], order, np.array(wanted, dtype=np.uint64))

    assert [nodes.index(one) if one in nodes else -1 for one in wanted] == found.tolist()


# --- by path ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "above"), [("/", None), ("/1/", "/"), ("/1/2/", "/1/"), ("/1/2.1/3/", "/1/2.1/"), ("", None)]
)
def test_parent_path(path: str, above: str | None) -> None:
    """The parent path is the path without its last step."""
    assert above == parent_path(path)


PATHS = st.lists(st.sampled_from(["1", "2", "2.1", "3"]), max_size=3).map(
    lambda steps: "/" + "".join(f"{step}/" for step in steps)
)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.none() | PATHS))
def test_parents_by_path_are_who_stands_one_step_up(paths: dict[str, str | None]) -> None:
    """The smallest key at the path above; whoever is beside somebody, or below nobody, is told."""
    parents, problems = parents_by_path(paths, "manager_no")

    expected, told = {}, set()
    for key, path in paths.items():
        if path is None:
            continue
        beside = [other for other, place in paths.items() if place == path]
        if key != min(beside):
            told.add((key, Reason.AMBIGUOUS_TREE_PATH))
        if path == "/":
            continue
        above = path[: path.rindex("/", 0, -1) + 1]
        bosses = [other for other, place in paths.items() if place == above]
        if bosses:
            expected[key] = min(bosses)
        elif above != "/":
            told.add((key, Reason.UNKNOWN_REFERENCE))
    assert expected == parents
    assert told == {(key, defect.reason) for key, defect, _ in problems}
    assert {(Severity.WARNING, "manager_no")} >= {(defect.severity, defect.field) for _, defect, _ in problems}
    assert all(paths[key] == reference for key, _, reference in problems)
    assert [] == find_cycles(parents)


# --- by position ------------------------------------------------------------------------------------------------------

POSITIONS = st.sampled_from("uvwxyz")


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.none() | POSITIONS, st.booleans())),
    st.dictionaries(POSITIONS, POSITIONS),
)
def test_parents_by_position_are_the_next_holders_above(
    staff: dict[str, tuple[str | None, bool]], reports_to: dict[str, str]
) -> None:
    """The smallest active key at the first position above that somebody active holds, unless the way comes back."""
    found = parents_by_position(
        {key: position for key, (position, _) in staff.items()},
        {key: is_active for key, (_, is_active) in staff.items()},
        reports_to,
    )

    expected = {}
    for key, (position, _) in staff.items():
        way = [position]
        while way[-1] is not None and reports_to.get(way[-1]) not in way:
            way.append(reports_to.get(way[-1]))
        holders = (
            sorted(other for other, (held, is_active) in staff.items() if is_active and held == above)
            for above in way[1:]
            if above is not None
        )
        manager = next((active[0] for active in holders if active), None)
        if manager is not None:
            expected[key] = manager
    assert expected == found
    assert all(key != manager for key, manager in found.items())
