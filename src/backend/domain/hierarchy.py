"""Who is above whom: parents given by key, by tree path or by position, and the circles that must not be.

Pure. Large hierarchies are arrays: node n's parent is `above[n]`, -1 at the top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from backend.domain.employees import parent_path
from backend.domain.quarantine import Defect, Reason, Severity, shorten

Places = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

_CHUNK = 1 << 16


def find_cycles(parents: Mapping[str, str | None]) -> list[list[str]]:
    """The circles in a parent map, each from its smallest key along the parents, sorted."""
    state: dict[str, int] = {}  # the number of the walk that came by
    cycles: list[list[str]] = []
    for walk, start in enumerate(parents):
        key: str | None = start
        while key is not None and key in parents and key not in state:
            state[key] = walk
            key = parents[key]
        if key is not None and state.get(key) == walk:
            cycle = [key]
            while (above := parents[cycle[-1]]) is not None and above != key:
                cycle.append(above)
            cycles.append(from_smallest(cycle))
    return sorted(cycles)


def from_smallest(cycle: Sequence[str]) -> list[str]:
    """The same circle, from its smallest key on."""
    first = cycle.index(min(cycle))
    return [*cycle[first:], *cycle[:first]]


def find_places(ascending: npt.NDArray[np.uint64], order: Places, wanted: npt.NDArray[np.uint64]) -> Places:
    """For each wanted hash the place of its node, -1 where there is none.

    Args:
        ascending: the hashes of the nodes in ascending order.
        order: the place of each of those.
    """
    found = _search(ascending, wanted)
    return np.where(found < 0, np.int32(-1), order[found]) if len(order) else found


def find_above(
    keys: npt.NDArray[np.uint64],
    refs: npt.NDArray[np.uint64],
    more: npt.NDArray[np.uint64],
    more_refs: npt.NDArray[np.uint64],
) -> Places:
    """The place of each node's parent, -1 where there is none.

    Args:
        keys: hashes of nodes in ascending order; they have the first places.
        refs: the hash of each one's parent.
        more: further nodes, in any order, none of which is in `keys`; they have the places after.
        more_refs: the hash of each one's parent.
    """
    order = np.argsort(more).astype(np.int32)
    ascending, places = more[order], order + np.int32(len(keys))
    above = np.empty(len(keys) + len(more), dtype=np.int32)
    wanted = np.concatenate([refs, more_refs]) if len(more) else refs
    for start in range(0, len(wanted), _CHUNK):  # in parts: a search needs more memory than its result
        part = wanted[start : start + _CHUNK]
        found = _search(keys, part)
        if len(more):
            found = np.where(found < 0, find_places(ascending, places, part), found)
        above[start : start + len(part)] = found
    return above


def _search(ascending: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> Places:
    if not len(ascending):
        return np.full(len(wanted), -1, dtype=np.int32)
    nearest = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    found: Places = np.where(ascending[nearest] == wanted, nearest, -1).astype(np.int32)
    return found


def find_circular(above: Places) -> Mask:
    """Which nodes are in a circle."""
    count = len(above)
    # From every node so many steps up that whoever can reach a top has reached it; `count` stands for beyond the top.
    reached = np.empty(count + 1, dtype=np.int32)
    reached[:count] = above
    reached[:count][above < 0] = count
    reached[count] = count
    for _ in range(max(count, 1).bit_length()):
        for start in range(0, count, _CHUNK):  # in place: some go further than they have to
            reached[start : start + _CHUNK] = reached[reached[start : start + _CHUNK]]
    circular: Mask = reached[:count] != count
    lost = np.flatnonzero(circular)
    if not len(lost):
        return circular
    # They are in a circle, or their way leads into one; and after enough steps every way is in one, all around it.
    up = np.searchsorted(lost, above[lost])
    for _ in range(len(lost).bit_length()):
        up = up[up]
    circular[lost] = False
    circular[lost[up]] = True
    return circular


def walk_circles(above: Places, circular: Mask) -> Iterator[list[int]]:
    """The circles, each as its nodes from child to parent."""
    walked: set[int] = set()
    for start in np.flatnonzero(circular).tolist():
        if start in walked:
            continue
        circle = [start]
        while (node := int(above[circle[-1]])) != start:
            circle.append(node)
        walked.update(circle)
        yield circle


def parents_by_path(
    paths: Mapping[str, str | None], field: str
) -> tuple[dict[str, str], list[tuple[str, Defect, str | None]]]:
    """The parent of each key: who stands at the path above. Of two at one path the smaller key stands there."""
    at: dict[str, str] = {}
    problems: list[tuple[str, Defect, str | None]] = []
    for key, path in paths.items():
        if path is not None:
            at[path] = min(key, at.get(path, key))
    parents: dict[str, str] = {}
    for key, path in paths.items():
        if path is None:
            continue
        if at[path] != key:
            problems.append((key, _ambiguous(field, path, at[path]), path))
        above = parent_path(path)
        if above is None:
            continue
        if above in at:
            parents[key] = at[above]
        elif above != "/":  # a tree may have several tops and nobody at its root
            problems.append((key, _nobody_above(field, above), path))
    return parents, problems


def parents_by_position(
    held: Mapping[str, str | None], active: Mapping[str, bool], reports_to: Mapping[str, str]
) -> dict[str, str]:
    """The manager of each employee: who holds the next position above that somebody holds.

    Of several holders the one with the smallest number counts; who is not active holds none.
    """
    holders: dict[str, str] = {}
    for key, position in held.items():
        if position is not None and active[key]:
            holders[position] = min(key, holders.get(position, key))
    parents: dict[str, str] = {}
    for key, position in held.items():
        seen = {position}
        above = reports_to.get(position) if position is not None else None
        while above is not None and above not in seen and above not in holders:
            seen.add(above)
            above = reports_to.get(above)
        if above is not None and above not in seen:  # whom a circle of positions leads back to is not above
            parents[key] = holders[above]
    return parents


def reference_cycle(field: str, cycle: Sequence[str]) -> Defect:
    """The warning for rows that are above themselves."""
    names = " -> ".join([*cycle[:20], *(["…"] if len(cycle) > 20 else []), cycle[0]])
    return Defect(
        reason=Reason.REFERENCE_CYCLE,
        severity=Severity.WARNING,
        field=field,
        message=f"{field} goes round in a circle ({names}); these rows are kept without it.",
    )


def _ambiguous(field: str, path: str, other: str) -> Defect:
    return Defect(
        reason=Reason.AMBIGUOUS_TREE_PATH,
        severity=Severity.WARNING,
        field=field,
        message=f"{other} has the tree path {shorten(path)} too; whoever is below it gets {other} as {field}.",
    )


def _nobody_above(field: str, above: str) -> Defect:
    return Defect(
        reason=Reason.UNKNOWN_REFERENCE,
        severity=Severity.WARNING,
        field=field,
        message=f"Nobody has the tree path {shorten(above)} above this one; the row is kept without {field}.",
    )
