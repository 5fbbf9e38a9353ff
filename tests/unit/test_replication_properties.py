"""What holds for every replication, whatever the source says: tried on small and nasty companies."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.employees import ENTITY_SPECS, TREE_PATH, Entity
from backend.domain.entity_planner import ParentsBy
from backend.domain.executions import RowCounts
from backend.domain.hierarchy import find_cycles, parents_by_path, parents_by_position
from backend.domain.mapping import FieldRule
from backend.domain.replication import plan_replication
from backend.domain.replication_plan import ChangeAction, RowChange, StreamFacts
from backend.domain.row_batches import IS_ACTIVE
from tests.support.planning import (
    EMPLOYEES,
    Person,
    Planned,
    Target,
    apply_changes,
    apply_states,
    contents,
    expected_contents,
    plan_rows,
    read_rows,
    undo_changes,
)

moderate = settings(max_examples=50, deadline=None)

KEYS = ("a", "A", "b", "B", "ä", "a\u0308", "ب", "王", "👩\u200d🚀", "0", "00")
BAD_KEYS = (None, "", " \u3000", "a\x1fb", "x\ud83d", "k" * 101)
NAMES = (
    *("Kim Example", "kim example", " Kim Example\t", "Kim\x1fExample", "\x1f.\x1f.", "a\x00b", "x" * 200),
    *("ليلى المصري", "\u202eKim\u202c", "王秀兰", "👩\u200d🚀", "é", "e\u0301", "ß"),
)
BAD_NAMES = (None, "", "\u3000", "x\ud83d", "x" * 201)
MAILS = (None, "", "KIM@EXAMPLE.COM", "kim@example.com", "İ@example.com", "\x1f@example.com")
CODES = (None, " ", "D1", "d1", "ق")
DATES = (None, "", "2020-01-02", dt.date(2020, 1, 2), dt.datetime(1900, 1, 1), dt.date(9999, 12, 31))
STABLE_KEYS = (None, "1", "2", "3", "٣")

READABLE = st.builds(
    Person,
    no=st.sampled_from(KEYS) | st.sampled_from([f" {key}\n" for key in KEYS]),
    name=st.sampled_from(NAMES),
    boss=st.none() | st.sampled_from([*KEYS, "nobody", "x\x1fy"]),
    mail=st.sampled_from(MAILS),
    dept=st.sampled_from(CODES),
    state=st.sampled_from("AAALT"),
    hired=st.sampled_from(DATES),
    stable=st.sampled_from(STABLE_KEYS),
)
UNREADABLE = st.one_of(
    st.builds(lambda row, key: row._replace(no=key), READABLE, st.sampled_from(BAD_KEYS)),
    st.builds(lambda row, name: row._replace(name=name), READABLE, st.sampled_from(BAD_NAMES)),
    st.builds(lambda row: row._replace(hired="31.02.2019"), READABLE),
    st.builds(lambda row: row._replace(state="?"), READABLE),
)
ANY_ROW = st.one_of(READABLE, READABLE, READABLE, UNREADABLE)


def key_of(row: Person) -> str:
    """The key of a row."""
    return (row.no or "").strip()


def own_key(row: Person) -> object:
    """The key of a row; of a row without one something that no other row has."""
    return key_of(row) or object()


def own_stable_key(row: Person) -> object:
    """As `own_key`, of the stable key."""
    return row.stable or object()


def within(rows: list[Person]) -> list[Person]:
    """The rows, without references to anybody else."""
    keys = {own_key(row) for row in rows}
    return [row if row.boss in keys else row._replace(boss=None) for row in rows]


def without_circles(rows: list[Person]) -> list[Person]:
    """The rows, each with a manager of an earlier key or none."""
    rank = {key: number for number, key in enumerate(KEYS)}
    return [
        row if rank.get(row.boss or "", 99) < rank[(row.no or "").strip()] else row._replace(boss=None) for row in rows
    ]


ANYTHING = st.lists(ANY_ROW, max_size=7)
ONE_OF_A_KEY = st.lists(ANY_ROW, max_size=7, unique_by=(own_key, own_stable_key))
CLOSED = st.lists(READABLE, max_size=7, unique_by=(own_key, own_stable_key)).map(within)
TREES = CLOSED.map(without_circles)


def replicate(*sources: Sequence[Person], target: Target = ()) -> Target:
    """The target after runs with these sources, one after the other."""
    for source in sources:
        target, _ = apply_changes(plan_rows(read_rows(source), target))
    return target


def said(planned: Planned) -> Counter[tuple[object, ...]]:
    """What a plan changes, in no order."""
    return Counter(
        (change.key, change.action, change.new_key, change.row_id, *sorted(change.fields.items()))
        for change in planned.changes
    )


def defects(planned: Planned) -> Counter[bytes]:
    """What goes to quarantine, in no order."""
    return Counter(entry.fingerprint for entry in planned.entries)


# --- source and target ------------------------------------------------------------------------------------------------


@moderate
@given(ANYTHING, ANYTHING, ANYTHING)
def test_the_target_becomes_equal_to_the_source(older: list[Person], old: list[Person], new: list[Person]) -> None:
    """Rows get the source's values, parents that exist and no circles; what is gone is inactive, what is bad stays."""
    target, source = replicate(older, old), read_rows(new)

    after, _ = apply_changes(plan_rows(source, target))

    assert expected_contents(source, target) == contents(after)


@moderate
@given(ANYTHING, ANYTHING, ANYTHING)
def test_the_changes_say_what_is_written(older: list[Person], old: list[Person], new: list[Person]) -> None:
    """The rows that are written whole hold what the field by field changes say, and nothing else."""
    planned = plan_rows(read_rows(new), replicate(older, old))

    after, _ = apply_changes(planned)

    assert contents(after) == apply_states(planned)


@moderate
@given(ANYTHING, ANYTHING, ANYTHING)
def test_a_second_plan_is_empty(older: list[Person], old: list[Person], new: list[Person]) -> None:
    """Nothing is left to do, and the same defects are known again."""
    target = replicate(older, old)
    first = plan_rows(read_rows(new), target)

    second = plan_rows(read_rows(new), apply_changes(first)[0])

    assert ([], 0) == (second.changes, second.plan.changes)
    assert defects(first) == defects(second)
    assert first.plan.reasons == second.plan.reasons


@moderate
@given(ONE_OF_A_KEY, ONE_OF_A_KEY, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(old: list[Person], new: list[Person], dice: Any) -> None:
    """The same rows in any order are the same plan, as long as no two have one key."""
    target, shuffled = replicate(old), list(new)
    dice.shuffle(shuffled)

    one, other = plan_rows(read_rows(new), target), plan_rows(read_rows(shuffled), target)

    assert said(one) == said(other)
    assert (one.fingerprint, one.plan.counts, one.plan.reasons) == (
        other.fingerprint, other.plan.counts, other.plan.reasons
    )  # fmt: skip
    assert defects(one) == defects(other)
    assert contents(apply_changes(one)[0]) == contents(apply_changes(other)[0])


@moderate
@given(ANYTHING, ANYTHING, st.lists(st.integers(0, 4), max_size=6), st.integers(1, 5))
def test_the_batches_do_not_matter(old: list[Person], new: list[Person], sizes: list[int], target_batches: int) -> None:
    """The same rows in batches of any size, empty ones too, are the same plan."""
    target = replicate(old)

    one = plan_rows(read_rows(new), target)
    other = plan_rows(read_rows(new, sizes=sizes), target, target_batches=target_batches)

    assert (one.changes, one.fingerprint, one.plan) == (other.changes, other.fingerprint, other.plan)
    assert defects(one) == defects(other)


@moderate
@given(st.lists(CLOSED, min_size=2, max_size=4))
def test_the_last_source_alone_says_who_is_active(sources: list[list[Person]]) -> None:
    """Whatever came before, the active rows are those of the last source."""
    after, alone = replicate(*sources), replicate(sources[-1])

    assert {key: row for key, row in contents(alone).items() if row.is_active} == {
        key: row for key, row in contents(after).items() if row.is_active
    }


@moderate
@given(st.lists(ANYTHING, min_size=1, max_size=4))
def test_the_history_leads_back_to_every_earlier_state(sources: list[list[Person]]) -> None:
    """Undoing the changes run by run gives the target as it was before each, ids and all."""
    states: list[Target] = [()]
    histories: list[list[RowChange]] = []
    for source in sources:
        target, history = apply_changes(plan_rows(read_rows(source), states[-1]))
        states.append(target)
        histories.append(history)

    target = states.pop()
    while states:
        target = undo_changes(target, histories.pop())
        assert states.pop() == target


# --- incremental reads ------------------------------------------------------------------------------------------------


@moderate
@given(TREES, TREES, TREES)
def test_the_changed_rows_alone_do_what_all_rows_do(older: list[Person], old: list[Person], new: list[Person]) -> None:
    """A partial plan of what changed, and of the keys that are gone, gives what a full one gives."""
    target = replicate(older, old)
    changed = [row for row in new if row not in old]
    keys = {key_of(row) for row in new}
    gone = [key_of(row) for row in old if key_of(row) not in keys]

    partial = plan_rows(read_rows(changed), target, is_partial=True, gone=gone)

    full = plan_rows(read_rows(new), target)
    assert contents(apply_changes(full)[0]) == contents(apply_changes(partial)[0])
    assert said(full) == said(partial)
    assert (full.fingerprint, len(changed)) == (partial.fingerprint, partial.plan.counts.read)


@moderate
@given(ANYTHING, ANYTHING, st.lists(st.sampled_from([*KEYS, "nobody"]), max_size=4))
def test_a_partial_read_leaves_alone_what_it_does_not_name(
    old: list[Person], new: list[Person], gone: list[str]
) -> None:
    """Only rows that were read, and those that are gone, change; nobody is switched off for not being there."""
    target = replicate(old)

    planned = plan_rows(read_rows(new), target, is_partial=True, gone=gone)

    given_keys = {key for batch in planned.batches for key in batch.column(0).to_pylist()}
    assert {change.new_key or change.key for change in planned.changes} <= given_keys | set(gone)
    switched_off = {change.key for change in planned.changes if change.action is ChangeAction.DEACTIVATE}
    assert switched_off - given_keys <= set(gone)
    assert planned.plan.vanished == len(switched_off - given_keys)


# --- counts and fingerprints ------------------------------------------------------------------------------------------


@moderate
@given(ANYTHING, ANYTHING, ANYTHING)
def test_the_counts_add_up(older: list[Person], old: list[Person], new: list[Person]) -> None:
    """Every row read is counted once, every change once, and the target's active rows are those before and after."""
    target = replicate(older, old)

    planned = plan_rows(read_rows(new), target)

    plan, counts, after = planned.plan, planned.plan.counts, apply_changes(planned)[0]
    actions = Counter(change.action for change in planned.changes)
    went = sum(change.fields.get(IS_ACTIVE, ("", ""))[1] == "0" for change in planned.changes)
    came = sum(change.fields.get(IS_ACTIVE, ("", ""))[1] == "1" for change in planned.changes)
    assert (
        RowCounts(
            read=len(new),
            inserted=actions[ChangeAction.INSERT],
            updated=len(planned.changes) - actions[ChangeAction.INSERT] - went,
            unchanged=counts.unchanged,
            deactivated=went,
            rejected=counts.rejected,
        )
        == counts
    )
    parts = [counts.inserted, counts.updated, counts.unchanged, counts.rejected, counts.deactivated]
    assert len(new) == sum(part or 0 for part in parts) - plan.vanished
    assert (came, actions[ChangeAction.RENUMBER]) == (plan.reactivated, plan.renumbered)
    assert (len(planned.changes), len(planned.entries)) == (plan.changes, sum(plan.reasons.values()))
    assert sum(row.is_active for row in target) == plan.active_before
    new_and_active = sum(row.is_active for row in after[len(target) :])
    assert sum(row.is_active for row in after) == plan.active_before - went + came + new_and_active
    changed = Counter(
        name for change in planned.changes if change.action is not ChangeAction.INSERT for name in change.fields
    )
    assert changed == Counter(plan.changed_fields)


@moderate
@given(ANYTHING, ANYTHING)
def test_the_guard_is_told_how_full_the_source_is(old: list[Person], new: list[Person]) -> None:
    """The number of rows that are taken, the share of those with a value, and the share that is rejected."""
    planned = plan_rows(read_rows(new), replicate(old))

    rows = [line for batch in planned.batches for line in batch.to_pylist()]
    facts = planned.plan.facts
    assert [len({row["employee_no"] for row in rows})] == list(facts.sizes)
    assert round(1 - len(rows) / len(new) if new else 0, 4) == facts.rejected_share
    names = ENTITY_SPECS[Entity.EMPLOYEES].value_names if rows else ()
    filled = {name: round(sum(row[name] is not None for row in rows) / len(rows), 4) for name in names}
    assert filled == facts.filled


@moderate
@given(ONE_OF_A_KEY, ONE_OF_A_KEY, st.integers(0, len(Person._fields) - 1), st.randoms(use_true_random=False))
def test_a_fingerprint_stands_for_what_is_done(old: list[Person], new: list[Person], place: int, dice: Any) -> None:
    """Plans of rows that swap a value have different fingerprints, unless they do the same."""
    target, column = replicate(old), [row[place] for row in new]
    dice.shuffle(column)
    swapped = [Person._make((*row[:place], value, *row[place + 1 :])) for row, value in zip(new, column, strict=True)]

    one, other = plan_rows(read_rows(new), target), plan_rows(read_rows(swapped), target)

    assert (said(one) == said(other)) == (one.fingerprint == other.fingerprint)


@moderate
@given(ANYTHING, ANYTHING, ANYTHING)
def test_other_changes_have_another_fingerprint(old: list[Person], one: list[Person], other: list[Person]) -> None:
    """Two sources have the same fingerprint for a target only if they change the same in it."""
    target = replicate(old)

    plans = [plan_rows(read_rows(source), target) for source in (one, other)]

    assert (said(plans[0]) == said(plans[1])) == (plans[0].fingerprint == plans[1].fingerprint)


@moderate
@given(ANYTHING, ANYTHING)
def test_the_pure_plan_is_that_of_the_steps(old: list[Person], new: list[Person]) -> None:
    """`plan_replication` says in one call what the planner says step by step."""
    target, source = replicate(old), read_rows(new)
    planned = plan_rows(source, target)

    plan = plan_replication({Entity.EMPLOYEES: source}, {Entity.EMPLOYEES: target})

    assert (planned.changes, [planned.plan]) == (list(plan.changes()), plan.entities)
    assert planned.plan.counts == plan.counts


# --- parents by path and by position ----------------------------------------------------------------------------------

PATHS = ("/", "1", "/1/", "/1/1/", " /1/2", "/2/7/", "/2/", "/1/1/1/", None)
JOBS = ("dev", "lead", "head", "Head", "loop", None)
BY_PATH = replace(
    EMPLOYEES,
    fields={name: rule for name, rule in EMPLOYEES.fields.items() if name != "manager_no"}
    | {TREE_PATH: FieldRule(column="boss")},
)
BY_POSITION = replace(EMPLOYEES, manager_by_position=True)
PLACED = st.lists(
    st.builds(
        lambda row, path, job: row._replace(boss=path, job=job), ANY_ROW, st.sampled_from(PATHS), st.sampled_from(JOBS)
    ),
    max_size=7,
)
REPORTS_TO = st.dictionaries(
    st.sampled_from([job for job in JOBS if job]), st.sampled_from([*(job for job in JOBS if job), "vacant"])
)


@moderate
@given(PLACED, PLACED, st.sampled_from(["path", "position"]), REPORTS_TO, st.randoms(use_true_random=False))
def test_parents_that_are_not_keys(
    old: list[Person], new: list[Person], by: ParentsBy, positions: dict[str, str], dice: Any
) -> None:
    """Managers by tree path or position are who stands there now, whatever was before; a second plan is empty."""
    rules = BY_PATH if by == "path" else BY_POSITION
    target, _ = apply_changes(plan_rows(read_rows(old, rules), parents_by=by, positions={}))
    source = read_rows(new, rules, sizes=[2])

    planned = plan_rows(source, target, parents_by=by, positions=positions)

    after, _ = apply_changes(planned)
    rows: dict[str, Any] = {}
    for line in (line for batch in planned.batches for line in batch.to_pylist()):
        rows.setdefault(line["employee_no"], line)
    refs = {key: line["parent_ref"] for key, line in rows.items()}
    active = {key: line["is_active"] for key, line in rows.items()}
    parents = parents_by_path(refs, "manager_no")[0] if by == "path" else parents_by_position(refs, active, positions)
    for key in [key for cycle in find_cycles(parents) for key in cycle]:
        del parents[key]
    assert parents == {key: row.parent for key, row in contents(after).items() if key in rows and row.parent}
    assert contents(after) == apply_states(planned)
    second = plan_rows(source, after, parents_by=by, positions=positions)
    assert ([], defects(planned)) == (second.changes, defects(second))


# --- whole companies --------------------------------------------------------------------------------------------------


@moderate
@given(ANYTHING, ANYTHING)
def test_the_facts_of_earlier_runs_are_carried_on(old: list[Person], new: list[Person]) -> None:
    """A plan leaves the sizes of the runs before and its own, and keeps what it knows nothing about."""
    earlier = StreamFacts(revision=3, sizes=[7], columns=["no"], salt="s")

    plan = plan_replication(
        {Entity.EMPLOYEES: read_rows(new)},
        {Entity.EMPLOYEES: replicate(old)},
        facts={Entity.EMPLOYEES: earlier},
    )

    (entity,) = plan.entities
    accepted = {key for batch in read_rows(new) for key in batch.rows.column(0).to_pylist()}
    assert (3, [7, len(accepted)], ["no"], "s") == (
        entity.facts.revision, entity.facts.sizes, entity.facts.columns, entity.facts.salt
    )  # fmt: skip
