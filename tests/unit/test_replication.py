"""The pure part of a replication by example: comparing, renumbering, resolving parents, what may be seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.employees import Entity
from backend.domain.entity_planner import MASKED, EntityPlanner, State, TargetRow, make_mask
from backend.domain.executions import RowCounts
from backend.domain.mapping import EntityMapping, FieldRule, GuardRules
from backend.domain.quarantine import Reason, Severity
from backend.domain.replication import plan_replication, target_batch
from backend.domain.replication_plan import ChangeAction, RowChange, StreamFacts
from backend.domain.row_batches import CanonicalBatch
from backend.domain.row_hashes import hash_keys
from tests.support.planning import (
    EMPLOYEES,
    Person,
    Planned,
    Target,
    apply_changes,
    contents,
    plan_rows,
    read_rows,
)

BY_PATH = replace(
    EMPLOYEES,
    fields={
        **{name: rule for name, rule in EMPLOYEES.fields.items() if name != "manager_no"},
        "tree_path": FieldRule(column="boss"),
    },
)
DEPARTMENTS = EntityMapping(
    entity=Entity.DEPARTMENTS,
    place="hris.toml [departments]",
    query="SELECT 1",
    fields={name: FieldRule(column=name) for name in ("code", "name", "parent_code", "stable_key")},
)


def people(*keys: str, **values: Any) -> list[Person]:
    """A row for each key, all with the same values."""
    return [Person(key, **values) for key in keys]


def applied(source: Sequence[Person], target: Target = (), **options: Any) -> Target:
    """The target after a run."""
    after, _ = apply_changes(plan_rows(read_rows(source), target, **options))
    return after


def parents(target: Target) -> dict[str, str | None]:
    """Everybody's manager."""
    return {row.key: row.parent for row in target}


def only(planned: Planned) -> RowChange:
    """The one change of a plan."""
    (change,) = planned.changes
    return change


# --- rows -------------------------------------------------------------------------------------------------------------


def test_an_empty_source_and_an_empty_target_are_equal() -> None:
    """There is nothing to do, and nothing to divide by."""
    planned = plan_rows([])

    assert ([], [], 0, 0.0) == (
        planned.changes, planned.entries, planned.plan.counts.read, planned.plan.facts.rejected_share
    )  # fmt: skip
    assert {} == planned.plan.facts.filled


def test_a_new_row_is_shown_with_what_it_has() -> None:
    """An insert has the new values alone, the manager among them."""
    change = plan_rows(read_rows([Person("a"), Person("b", boss="a", mail="B@Example.com")])).changes[1]

    assert (ChangeAction.INSERT, "b", None) == (change.action, change.key, change.row_id)
    assert {
        "full_name": (None, "Kim Example"),
        "email": (None, "b@example.com"),
        "status": (None, "active"),
        "manager_no": (None, "a"),
    } == change.fields


def test_an_update_names_the_fields_that_differ() -> None:
    """Old and new value of each, and nothing of the others."""
    target = applied([Person("a", mail="old@example.com", dept="D1")])

    change = only(plan_rows(read_rows([Person("a", mail="new@example.com")]), target))

    assert (ChangeAction.UPDATE, "a", 1) == (change.action, change.key, change.row_id)
    assert {"email": ("old@example.com", "new@example.com"), "department_code": ("D1", None)} == change.fields


def test_the_first_row_of_a_key_counts() -> None:
    """A second row with the same key is rejected and says so."""
    planned = plan_rows(read_rows([Person("a", "x"), Person(" a", "y"), Person("a", "z")], sizes=[2]))

    assert {"a": "x"} == {row.key: row.values[0] for row in apply_changes(planned)[0]}
    assert [(Reason.DUPLICATE_KEY, "y"), (Reason.DUPLICATE_KEY, "z")] == [
        (entry.defect.reason, entry.payload["full_name"]) for entry in planned.entries
    ]
    assert 2 == len({entry.fingerprint for entry in planned.entries})
    assert RowCounts(read=3, inserted=1, updated=0, unchanged=0, deactivated=0, rejected=2) == planned.plan.counts


def test_keys_of_another_case_are_other_keys() -> None:
    """Keys are compared exactly, accents as they are composed included."""
    target = applied(people("ab", "AB", "é", "e\u0301"))

    assert ["ab", "AB", "é", "e\u0301"] == [row.key for row in target]


def test_a_readable_row_after_an_unreadable_one_counts() -> None:
    """An unreadable row does not take the key from a readable one."""
    target = applied([Person("a", "x", hired="soon"), Person("a", "y")])

    assert [("a", "y")] == [(row.key, row.values[0]) for row in target]


def test_a_row_that_cannot_be_read_is_left_as_it_was() -> None:
    """Nobody is switched off because the row has become unreadable."""
    target = applied(people("a", "b"))

    planned = plan_rows(read_rows([Person("a", hired="soon"), Person("b")]), target)

    assert ([], 0, 1, 1) == (
        planned.changes, planned.plan.counts.deactivated, planned.plan.counts.rejected, planned.plan.counts.unchanged
    )  # fmt: skip


def test_who_is_gone_is_deactivated() -> None:
    """The row stays, with all that it says; that it went is the only change."""
    target = applied(people("a", "b"))

    planned = plan_rows(read_rows(people("b")), target)

    change = only(planned)
    assert (ChangeAction.DEACTIVATE, "a", {"is_active": ("1", "0")}) == (change.action, change.key, change.fields)
    assert (1, 1, 2) == (planned.plan.counts.deactivated, planned.plan.vanished, planned.plan.active_before)
    assert [("a", False), ("b", True)] == [(row.key, row.is_active) for row in apply_changes(planned)[0]]


def test_who_comes_back_is_active_again() -> None:
    """A row that was deactivated and is there again is an update that counts as reactivated."""
    first = applied(people("a"))

    planned = plan_rows(read_rows(people("a")), applied([], first))

    assert first == apply_changes(planned)[0]
    assert (1, 1, ChangeAction.REACTIVATE) == (
        planned.plan.counts.updated, planned.plan.reactivated, only(planned).action
    )  # fmt: skip


def test_a_status_of_gone_deactivates() -> None:
    """A row whose status says that the person has left counts as deactivated, once, with what else changed."""
    target = applied(people("a"))

    planned = plan_rows(read_rows([Person("a", "New Name", state="T")]), target)

    assert (ChangeAction.DEACTIVATE, {"full_name", "status", "is_active"}) == (
        only(planned).action, set(only(planned).fields)
    )  # fmt: skip
    assert (1, 0, 0) == (planned.plan.counts.deactivated, planned.plan.counts.updated, planned.plan.vanished)
    after, _ = apply_changes(planned)
    assert 0 == plan_rows(read_rows([Person("a", "New Name", state="T")]), after).plan.changes


def test_a_new_manager_alone_is_an_update() -> None:
    """Rows that are otherwise unchanged get their new parent."""
    target = applied([Person("a"), Person("b"), Person("c", boss="a")])

    planned = plan_rows(read_rows([Person("a"), Person("b"), Person("c", boss="b")]), target)

    assert {"manager_no": ("a", "b")} == only(planned).fields
    assert (1, 2) == (planned.plan.counts.updated, planned.plan.counts.unchanged)


def test_the_source_is_asked_for_few_keys_at_a_time() -> None:
    """A run of thousands of changed rows gets every one of them."""
    keys = [str(number) for number in range(2500)]
    target = applied(people(*keys))

    planned = plan_rows(read_rows(people(*keys[:1200], mail="m@example.com")), target)

    assert (1200, 1300) == (planned.plan.counts.updated, planned.plan.counts.deactivated)


def test_a_row_that_has_gone_meanwhile_is_passed_over() -> None:
    """Applying will notice that another run came between; planning does not fail on it."""
    target = applied(people("a"))
    planner = plan_rows(read_rows(people("a", mail="m@example.com")), target).planner

    assert [] == list(planner.compare(read_rows(people("a", mail="m@example.com"))[0].rows, 0, {}))


# --- renumbered rows --------------------------------------------------------------------------------------------------


def test_a_renumbered_row_stays_the_same_one() -> None:
    """Another key with the same stable key is a change of the key, with what else changed."""
    target = applied([Person("a", stable="7"), Person("b", boss="a")])

    planned = plan_rows(read_rows([Person("c", stable="7", mail="m@example.com"), Person("b", boss="c")]), target)

    assert (ChangeAction.RENUMBER, "a", "c", 1) == (
        planned.changes[0].action, planned.changes[0].key, planned.changes[0].new_key, planned.changes[0].row_id
    )  # fmt: skip
    assert {"employee_no": ("a", "c"), "email": (None, "m@example.com")} == planned.changes[0].fields
    assert (1, 0, 0) == (planned.plan.renumbered, planned.plan.counts.inserted, planned.plan.counts.deactivated)
    assert {"c": None, "b": "c"} == parents(apply_changes(planned)[0])


def test_who_comes_back_under_another_number_is_the_same_person() -> None:
    """The row that left is found by its stable key, and is active again."""
    gone = applied([], applied([Person("a", stable="7"), Person("b")]))

    planned = plan_rows(read_rows([Person("c", stable="7")]), gone)

    assert ("a", "c", ("0", "1")) == (only(planned).key, only(planned).new_key, only(planned).fields["is_active"])
    assert (1, 1) == (planned.plan.renumbered, planned.plan.reactivated)


def test_of_two_rows_with_a_stable_key_the_active_one_is_renumbered() -> None:
    """Only where none is active it is the one that came last."""
    both = applied([Person("a", stable="7"), Person("b", stable="7", state="T")])
    none = applied([Person("a", stable="7", state="T"), Person("b", stable="7", state="T")])

    plans = [plan_rows(read_rows([Person("c", stable="7")]), target) for target in (both, none)]

    assert ["a", "b"] == [
        change.key for plan in plans for change in plan.changes if change.action is ChangeAction.RENUMBER
    ]


@pytest.mark.parametrize("there", [Person("a"), Person("a", stable="7"), Person("a", hired="soon")])
def test_a_row_that_is_still_there_is_not_renumbered(there: Person) -> None:
    """Whoever has the old number, or an unreadable row of it, keeps the row."""
    target = applied([Person("a", stable="7")])

    planned = plan_rows(read_rows([there, Person("c", stable="7")]), target)

    assert 0 == planned.plan.renumbered
    assert ["c"] == [change.key for change in planned.changes if change.action is ChangeAction.INSERT]


def test_who_left_under_a_new_number_is_deactivated_like_anybody() -> None:
    """The guard counts the old row, and can keep it as it is; a row that had left before is renumbered."""
    target = applied([Person("a", stable="7")])
    gone = applied([], target)
    source = read_rows([Person("c", stable="7", state="T")])

    planned = plan_rows(source, target)

    assert [(ChangeAction.DEACTIVATE, "a"), (ChangeAction.INSERT, "c")] == [
        (change.action, change.key) for change in planned.changes
    ]
    assert (1, 1, 0) == (planned.plan.counts.deactivated, planned.plan.counts.inserted, planned.plan.renumbered)
    assert (ChangeAction.RENUMBER, "a", "c") == (
        only(plan_rows(source, gone)).action, only(plan_rows(source, gone)).key, only(plan_rows(source, gone)).new_key
    )  # fmt: skip


def test_renumbering_leaves_no_circle_behind() -> None:
    """Who has left and named the old number names the new one, which counts when circles are looked for."""
    target = applied([Person("a", stable="7")], applied([Person("a", stable="7"), Person("x", boss="a")]))

    planned = plan_rows(read_rows([Person("c", stable="7", boss="x")]), target)

    assert {"c": None, "x": "c"} == parents(apply_changes(planned)[0])
    assert [Reason.REFERENCE_CYCLE] == [entry.defect.reason for entry in planned.entries]


# --- parents ----------------------------------------------------------------------------------------------------------


def test_an_unknown_manager_is_a_warning() -> None:
    """The row is kept without; it says who is meant, and the next run knows the defect again."""
    planned = plan_rows(read_rows([Person("a", boss="nobody")]))

    (entry,) = planned.entries
    assert (Reason.UNKNOWN_REFERENCE, Severity.WARNING, "a", {"employee_no": "a", "manager_no": "nobody"}) == (
        entry.defect.reason, entry.defect.severity, entry.source_key, entry.payload
    )  # fmt: skip
    assert (1, {"unknown_reference": 1}, 0) == (
        planned.plan.warnings, planned.plan.reasons, planned.plan.counts.rejected
    )  # fmt: skip
    assert {"a": None} == parents(apply_changes(planned)[0])


def test_a_manager_may_have_left() -> None:
    """Whoever the target still has can be named, even inactive or of an unreadable row."""
    target = applied(people("a", "b"))

    planned = plan_rows(read_rows([Person("b", hired="soon"), Person("c", boss="a"), Person("d", boss="b")]), target)

    assert {"c": "a", "d": "b"} == {k: v for k, v in parents(apply_changes(planned)[0]).items() if v is not None}


def test_a_circle_is_named() -> None:
    """Everyone in a circle loses the reference and the message names them in order."""
    source = [Person("a", boss="b"), Person("b", boss="c"), Person("c", boss="a"), Person("d", boss="a")]

    planned = plan_rows(read_rows(source))

    assert {"a": None, "b": None, "c": None, "d": "a"} == parents(apply_changes(planned)[0])
    assert ["a", "b", "c"] == [entry.source_key for entry in planned.entries]
    assert "a -> b -> c -> a" in planned.entries[0].defect.message


def test_a_long_circle_is_named_in_part() -> None:
    """The message stays short, however many are in the circle."""
    keys = [f"k{number:03}" for number in range(100)]
    source = [Person(key, boss=above) for key, above in zip(keys, [*keys[1:], keys[0]], strict=True)]

    planned = plan_rows(read_rows(source))

    assert 100 == planned.plan.warnings
    assert "k018 -> k019 -> … -> k000)" in planned.entries[0].defect.message


def test_a_circle_closes_through_rows_that_have_left() -> None:
    """Parents that the target keeps take part: no circle remains, and it is told as far as it is known."""
    target = applied([Person("a", boss="x"), Person("x", boss="b"), Person("b")])
    without = applied([Person("b")], target)

    planned = plan_rows(read_rows([Person("b", boss="a")]), without)

    assert {"a": "x", "x": "b", "b": None} == parents(apply_changes(planned)[0])
    assert [Reason.REFERENCE_CYCLE] == [entry.defect.reason for entry in planned.entries]
    assert "(a -> … -> b -> a)" in planned.entries[0].defect.message


def test_who_is_everybodys_own_manager() -> None:
    """A source that notes people as their own managers is no trouble, however many they are."""
    keys = [str(number) for number in range(5000)]

    planned = plan_rows(read_rows([Person(key, boss=key) for key in keys]))

    assert {"reference_cycle": 5000} == planned.plan.reasons


def test_managers_by_tree_path() -> None:
    """The manager is who stands at the parent path, whoever that becomes."""
    source = [Person("boss", boss="/"), Person("a", boss="/1/"), Person("b", boss="/1/1/")]
    target, _ = apply_changes(plan_rows(read_rows(source, BY_PATH), parents_by="path"))
    assert {"boss": None, "a": "boss", "b": "a"} == parents(target)

    swapped = [
        Person("boss", boss="/"),
        Person("a", boss="/1/2/"),
        Person("c", boss="/1/"),
        Person("b", boss="/1/1/"),
    ]
    target, _ = apply_changes(plan_rows(read_rows(swapped, BY_PATH), target, parents_by="path"))
    assert {"boss": None, "a": "c", "b": "c", "c": "boss"} == parents(target)


def test_defects_of_tree_paths() -> None:
    """Two at one place and nobody above are warnings; several tops without a root are none."""
    source = [
        Person("a", boss="/1/"),
        Person("b", boss="/1/"),
        Person("c", boss="/1/1/"),
        Person("d", boss="/7/7/"),
        Person("e"),
    ]

    planned = plan_rows(read_rows(source, BY_PATH), parents_by="path")

    assert {"a": None, "b": None, "c": "a", "d": None, "e": None} == parents(apply_changes(planned)[0])
    assert [("b", Reason.AMBIGUOUS_TREE_PATH), ("d", Reason.UNKNOWN_REFERENCE)] == [
        (entry.source_key, entry.defect.reason) for entry in planned.entries
    ]


# --- incremental reads ------------------------------------------------------------------------------------------------


def test_a_partial_read_switches_off_only_who_is_said_to_be_gone() -> None:
    """What was not read is as it was; a key that is gone but there again is not."""
    target = applied(people("a", "b", "c", "d"))

    planned = plan_rows(read_rows(people("d", mail="m@example.com")), target, is_partial=True, gone=["b", "d", "zz"])

    assert [("d", ChangeAction.UPDATE), ("b", ChangeAction.DEACTIVATE)] == [
        (change.key, change.action) for change in planned.changes
    ]
    assert (1, 1, True) == (planned.plan.counts.read, planned.plan.vanished, planned.plan.is_partial)


def test_a_partial_read_may_name_managers_that_it_did_not_read() -> None:
    """The target's rows are there to be referred to, and take part in circles."""
    target = applied([Person("a"), Person("b", boss="a")])

    planned = plan_rows(read_rows([Person("c", boss="b"), Person("a", boss="c")]), target, is_partial=True)

    assert {"a": None, "b": "a", "c": None} == parents(apply_changes(planned)[0])


# --- whole companies --------------------------------------------------------------------------------------------------


def read(entity: Entity, rows: Sequence[tuple[str | None, ...]], *columns: str) -> list[CanonicalBatch]:
    """Rows whose result columns have the names of the fields."""
    fields = {name: FieldRule(column=name) for name in columns}
    if entity is Entity.EMPLOYEES:
        fields["full_name"] = FieldRule(constant="Kim Example")
    mapping = EntityMapping(
        entity=entity,
        place="hris.toml",
        query="SELECT 1",
        fields=fields,
        manager_by_position=entity is Entity.EMPLOYEES,
    )
    return read_rows(rows, mapping, columns)


def test_managers_by_position_come_from_the_positions_of_the_same_run() -> None:
    """Who holds the next position above that is held; the circle of two positions is no way up."""
    positions = [("dev", "Developer", "lead"), ("lead", "Lead", "head"), ("head", "Head", None), ("x", "X", "x")]
    staff = [("1", "head"), ("2", "dev"), ("3", "dev"), ("4", "x"), ("5", None)]

    plan = plan_replication(
        {
            Entity.POSITIONS: read(Entity.POSITIONS, positions, "code", "title", "parent_code"),
            Entity.EMPLOYEES: read(Entity.EMPLOYEES, staff, "employee_no", "position_code"),
        },
        {},
        parents_by={Entity.EMPLOYEES: "position"},
    )

    managers = {
        change.key: change.fields["manager_no"][1] for change in plan.changes() if "manager_no" in change.fields
    }
    assert {"2": "1", "3": "1"} == managers
    assert [(Entity.POSITIONS, 4), (Entity.EMPLOYEES, 5)] == [
        (item.entity, item.counts.inserted) for item in plan.entities
    ]
    assert RowCounts(read=9, inserted=9, updated=0, unchanged=0, deactivated=0, rejected=0) == plan.counts


def test_departments_have_parents_and_stable_keys_too() -> None:
    """A renamed code is a change of the department, and those below it follow."""
    columns = ("code", "name", "parent_code", "stable_key")
    old = read_rows([("D1", "Sales", None, "1"), ("D2", "Field", "D1", "2")], DEPARTMENTS, columns)
    new = read_rows([("S1", "Sales", None, "1"), ("D2", "Field", "S1", "2")], DEPARTMENTS, columns)
    target, _ = apply_changes(plan_rows(old, entity=Entity.DEPARTMENTS))

    planned = plan_rows(new, target, entity=Entity.DEPARTMENTS)

    assert [("D1", "S1"), ("D2", None)] == [(change.key, change.new_key) for change in planned.changes]
    assert {"S1": None, "D2": "S1"} == parents(apply_changes(planned)[0])


def test_a_leave_has_no_parent() -> None:
    """An entity without a hierarchy is planned like any other."""
    columns = ("code", "employee_no", "starts_on", "ends_on")
    rows = [("L1", "1", "2024-05-01", "2024-05-02"), ("L2", "1", "2024-06-01", "2024-06-01")]
    mapping = EntityMapping(
        entity=Entity.LEAVES,
        place="hris.toml [leaves]",
        query="SELECT 1",
        fields={name: FieldRule(column=name) for name in columns},
    )
    target, _ = apply_changes(plan_rows(read_rows(rows, mapping, columns), entity=Entity.LEAVES))

    planned = plan_rows(read_rows(rows[:1], mapping, columns), target, entity=Entity.LEAVES)

    assert ("L2", ChangeAction.DEACTIVATE) == (only(planned).key, only(planned).action)
    assert {None} == {row.parent for row in contents(target).values()}


def test_the_guard_looks_at_every_entity_and_at_what_was_before() -> None:
    """A plan carries the concerns of all its entities; without any it carries none."""
    target = applied(people(*map(str, range(40))))
    source = read_rows(people(*map(str, range(30))))

    first = plan_replication({Entity.EMPLOYEES: source}, {Entity.EMPLOYEES: target})
    later = plan_replication(
        {Entity.EMPLOYEES: source},
        {Entity.EMPLOYEES: target},
        rules=GuardRules(max_deactivations_percent=50, size_at_least=5, on_guard="skip_deactivations"),
        facts={Entity.EMPLOYEES: StreamFacts(sizes=[40])},
    )
    harmless = plan_replication({Entity.EMPLOYEES: read_rows(people("1"))}, {})

    assert ["10 of 40 active employees would be deactivated"] == [text.split(",")[0] for text in first.concerns]
    assert (False, True) == (first.skips_deactivations, later.skips_deactivations)
    assert ["25 % fewer"] == [text.split(": ")[1].split(" (")[0] for text in later.concerns]
    assert ([], False) == (list(harmless.concerns), harmless.skips_deactivations)


def test_what_may_be_referred_to() -> None:
    """The keys of the source and those that the target keeps, with the new numbers instead of the old ones."""
    target = applied([Person("a", stable="7"), Person("b")])

    known = plan_rows(read_rows([Person("c", stable="7"), Person("d", hired="soon")]), target).planner.known_keys()

    assert [False, True, True, False] == known.find(hash_keys(pa.array(["a", "b", "c", "d"]))).tolist()


def test_a_planner_says_what_it_has_of_a_key() -> None:
    """Read and accepted, or read and rejected; what only the target has is not the source's."""
    planner = plan_rows(read_rows([Person("a"), Person("b", hired="soon")]), applied(people("c"))).planner

    assert [True, True, False] == [planner.has(key) for key in "abc"]
    assert (1, RowCounts(read=2, rejected=1)) == (planner.accepted, planner.read_so_far)


def test_defects_of_other_queries_are_entries_of_the_entity() -> None:
    """What a supplement's rows have wrong with them counts like what the entity's own have."""
    (batch,) = read_rows([Person("a", hired="soon")])
    planner = EntityPlanner(Entity.EMPLOYEES)

    entries = [*planner.take_defects(batch.defects), *planner.take_defects(batch.defects)]

    assert 2 == len({entry.fingerprint for entry in entries})
    assert ["a", "a"] == [entry.source_key for entry in entries]


def test_the_states_are_what_the_store_writes_by() -> None:
    """One state for each row of the source, in its order."""
    target = applied([Person("same"), Person("other"), Person("left"), Person("old", stable="7")])
    source = [
        Person("new"),
        Person("same"),
        Person("other", mail="m@example.com"),
        Person("new"),
        Person("left", state="T"),
        Person("again", stable="7"),
    ]

    states = plan_rows(read_rows(source, sizes=[2, 2]), target).planner.states

    assert [
        State.INSERT, State.SAME, State.COMPARE, State.DUPLICATE, State.GONE, State.RENUMBER
    ] == states.tolist()  # fmt: skip


def test_what_waits_for_a_person() -> None:
    """All of a held plan; where the deactivations alone are skipped, these, with a fingerprint of their own."""
    target = applied(people(*map(str, range(20))))
    rules = GuardRules(on_guard="skip_deactivations")

    held = plan_replication({Entity.EMPLOYEES: read_rows(people("0", "new"))}, {Entity.EMPLOYEES: target})
    skipping, alone = (
        plan_replication({Entity.EMPLOYEES: read_rows(people(*keys))}, {Entity.EMPLOYEES: target}, rules=rules)
        for keys in (["0", "new"], ["0"])
    )

    assert held is held.waiting
    assert {ChangeAction.DEACTIVATE} == {change.action for change in skipping.waiting.changes()}
    assert RowCounts(deactivated=19) == skipping.waiting.counts
    assert skipping.fingerprint != alone.fingerprint
    assert skipping.waiting.fingerprint == alone.waiting.fingerprint


def test_a_row_that_was_stored_with_another_digest_is_unchanged() -> None:
    """An older version may have made digests in another way: what the fields hold is what counts."""
    (row,) = applied(people("a"))
    (source,) = read_rows(people("a"))
    planner = EntityPlanner(Entity.EMPLOYEES)
    planner.add_source(source)
    planner.end_source()
    shown = target_batch([row])
    planner.add_target(shown._replace(digests=shown.digests + np.uint64(1)))
    planner.resolve_parents(lambda: [source.rows])
    planner.end_target()

    assert (["a"], []) == (planner.keys_to_compare(source.rows, 0), list(planner.compare(source.rows, 0, {"a": row})))
    assert RowCounts(read=1, inserted=0, updated=0, unchanged=1, deactivated=0, rejected=0) == (
        planner.finish(StreamFacts()).counts
    )


def test_managers_who_are_each_others_by_position() -> None:
    """Two positions may report to each other where they come from another source; both managers are left out."""
    source = read_rows([Person("a", job="x"), Person("b", job="y")], replace(EMPLOYEES, manager_by_position=True))

    planned = plan_rows(source, parents_by="position", positions={"x": "y", "y": "x"})

    assert {"a": None, "b": None} == parents(apply_changes(planned)[0])
    assert {"reference_cycle": 2} == planned.plan.reasons


# --- sensitive fields -------------------------------------------------------------------------------------------------

VALUES = st.text(min_size=1)
SALTS = st.text("0123456789abcdef", min_size=16, max_size=16)


@settings(deadline=None)
@given(VALUES, VALUES, SALTS, SALTS)
def test_a_hashed_value_can_be_told_from_others_and_no_more(one: str, other: str, salt: str, other_salt: str) -> None:
    """Its hash is the same for one salt and field, another for another salt, field or value."""
    mask = make_mask({"email": "hash", "phone": "hash"}, salt)

    assert mask("email", one) == make_mask({"email": "hash"}, salt)("email", one)
    assert (one == other) == (mask("email", one) == mask("email", other))
    assert mask("email", one) != mask("phone", one)
    assert (salt == other_salt) == (mask("email", one) == make_mask({"email": "hash"}, other_salt)("email", one))
    assert (1 + 16, "#") == (len(mask("email", one) or ""), (mask("email", one) or "")[0])


@settings(deadline=None)
@given(VALUES, SALTS)
def test_dots_show_nothing(value: str, salt: str) -> None:
    """Every value of a masked field looks the same; that there is none is seen, and other fields are as they are."""
    mask = make_mask({"phone": "mask", "email": "hash"}, salt)

    assert (MASKED, None, None, value, None) == (
        mask("phone", value), mask("phone", None), mask("email", None), mask("full_name", value),
        mask("full_name", None),
    )  # fmt: skip


def test_sensitive_values_are_masked_in_every_change_but_told_apart() -> None:
    """No change shows them, and yet plans that differ in one of them only have different fingerprints."""
    mask = make_mask({"email": "mask", "full_name": "hash"}, "salt")
    target = applied([Person("a", mail="old@example.com")])

    plans = [
        plan_rows(read_rows([Person("a", "New Name", mail=mail), Person("b", mail=mail)]), target, mask=mask)
        for mail in ("one@example.com", "two@example.com")
    ]

    for planned in plans:
        assert "example" not in repr([change.fields for change in planned.changes]).lower()
        assert (MASKED, MASKED) == planned.changes[0].fields["email"]
        assert (None, MASKED) == planned.changes[1].fields["email"]
    assert plans[0].changes == plans[1].changes
    assert plans[0].fingerprint != plans[1].fingerprint


def test_a_target_row_is_compared_by_what_it_holds() -> None:
    """A row that was altered by hand differs, whatever its values look like when they are put together."""
    source = read_rows([Person("a", "x\x1fy")])
    (row,) = target = applied([Person("a", "x\x1fy")])
    altered = TargetRow(row.row_id, row.key, ("x", "y", *row.values[2:]), row.parent, row.is_active)

    assert [] == plan_rows(source, target).changes
    assert {"full_name": ("x", "x\x1fy"), "first_name": ("y", None)} == only(plan_rows(source, (altered,))).fields
