"""The history of the HR data: whose key it is, what changed, and the rows as they were at any instant."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.api.repositories.hr_history_repository import Beginning, HrHistoryRepository, RowAt
from backend.db.database import Database
from backend.db.types import db_now
from backend.domain.employees import Entity
from backend.domain.entity_planner import make_mask
from tests.support.databases import make_database
from tests.support.hr_history import HistoryWriter, as_state, at, run_id
from tests.support.hris import MAPPING, Hris, RecordedRun, employee, mapping, replicate

HISTORY = HrHistoryRepository()
PERSON: dict[str, Any] = {"full_name": "Ada Example", "status": "active", "department_code": "OPS"}


async def as_of(
    database: Database, instant: dt.datetime, entity: Entity = Entity.EMPLOYEES, **options: Any
) -> list[RowAt]:
    """The rows at the instant."""
    async with database.reader() as session:
        return [row async for row in HISTORY.stream_as_of(session, entity, instant, **options)]


# --- the property -----------------------------------------------------------------------------------------------------

KEYS = ["1", "2", "A", "a", "ä", "工号"]
# What a run does to one row: which row (by its place), which field, what it becomes.
CHANGES = st.tuples(
    st.integers(0, 5),
    st.one_of(
        st.tuples(st.just("full_name"), st.sampled_from(["Ada", "ada ", "عائشة", "阿达"])),
        st.tuples(st.just("department_code"), st.sampled_from(["OPS", "ops", "HR", None])),
        st.tuples(st.just("manager_no"), st.sampled_from(["1", "2", None])),
        st.tuples(st.just("left_on"), st.sampled_from(["2031-03-02", "9999-12-31", None])),
        st.tuples(st.just("extra"), st.sampled_from([{"badge": "7", "floor": None}, {"badge": "ß"}, None])),
        st.tuples(st.just("is_active"), st.booleans()),
        st.tuples(st.just("employee_no"), st.sampled_from(KEYS)),
    ),
)
RUNS = st.lists(st.tuples(st.lists(st.sampled_from(KEYS), max_size=2), st.lists(CHANGES, max_size=5)), max_size=6)


async def write_runs(writer: HistoryWriter, runs: Sequence[Any]) -> list[dict[int, dict[str, Any]]]:
    """Write the runs, one an hour; the state after each of them."""
    states = []
    for number, (new, changes) in enumerate(runs):
        writer.begin_run(at(number), number)
        for place, (name, value) in changes:
            if place < len(writer.rows):
                row_id = list(writer.rows)[place]
                is_taken = name == "employee_no" and writer.id_of(value) is not None
                if writer.rows[row_id][name] != value and not is_taken:
                    await writer.change(row_id, **{name: value})
        for key in new:
            if writer.id_of(key) is None:
                await writer.insert(key, **PERSON)
        states.append(writer.state())
    return states


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(runs=RUNS)
def test_history_replayed_to_an_instant_is_the_state_at_that_instant(sqlite_url: str, runs: Sequence[Any]) -> None:
    """After any runs, taking back what came later gives the rows exactly as each run had left them."""

    async def scenario() -> None:
        database = make_database(sqlite_url)
        try:
            async with database.session() as session:
                writer = HistoryWriter(session)
                await writer.clear()
                states = await write_runs(writer, runs)
            assert as_state(await as_of(database, at(-1))) == {}
            for number, state in enumerate(states):
                assert as_state(await as_of(database, at(number))) == state
                assert as_state(await as_of(database, at(number + 0.5))) == state
                there = {row_id: row for row_id, row in state.items() if row["department_code"] == "OPS"}
                assert as_state(await as_of(database, at(number), where={"department_code": "OPS"})) == there
        finally:
            await database.dispose()

    asyncio.run(scenario())


@pytest.mark.anyio
async def test_the_past_is_the_same_on_each_engine(database: Database) -> None:
    """Renumbered, moved, left, back again and changed twice in one run: every hour is as it was."""
    runs = [
        (["1", "A", "a"], []),
        (["工号"], [(0, ("department_code", "HR")), (0, ("department_code", "ops")), (2, ("is_active", False))]),
        ([], [(0, ("employee_no", "ä")), (1, ("full_name", "阿达")), (1, ("extra", {"badge": "ß"}))]),
        (["1"], [(2, ("is_active", True)), (1, ("left_on", "9999-12-31")), (3, ("manager_no", "A"))]),
        ([], [(0, ("department_code", "OPS")), (1, ("extra", None)), (1, ("left_on", None))]),
    ]
    async with database.session() as session:
        states = await write_runs(HistoryWriter(session), runs)
    assert [len(state) for state in states] == [3, 4, 4, 5, 5]
    for number, state in enumerate(states):
        assert as_state(await as_of(database, at(number))) == state
    rows = await as_of(database, at(1), where={"department_code": "OPS"})
    assert [row.key for row in rows] == ["A", "a", "工号"]


@pytest.mark.anyio
async def test_every_entity_is_replayed(database: Database) -> None:
    """Numbers and dates come back as the canonical texts that history has."""
    leave = {
        "employee_no": "1", "kind": "sick", "starts_on": "2031-03-03", "ends_on": "2031-03-04", "day_part": "full",
        "hours": "7.5",
    }  # fmt: skip
    holiday = {"holiday_on": "2031-05-01", "name": "Labour Day", "day_part": "full"}
    async with database.session() as session:
        cases: list[tuple[Entity, str, dict[str, Any], dict[str, Any]]] = [
            (Entity.DEPARTMENTS, "OPS", {"name": "Operations"}, {"parent_code": "HQ"}),
            (Entity.POSITIONS, "DEV", {"title": "Developer"}, {"title": "Engineer"}),
            (Entity.LEAVES, "L1", leave, {"ends_on": "2031-03-05", "hours": "10"}),
            (Entity.HOLIDAYS, "H1", holiday, {"holiday_on": "2031-05-02"}),
        ]
        for entity, key, values, later in cases:
            writer = HistoryWriter(session, entity)
            await writer.insert(key, **values)
            states = [writer.state()]
            writer.begin_run(at(1), 1)
            await writer.change(next(iter(writer.rows)), **later)
            states.append(writer.state())
            for number, state in enumerate(states):
                rows = [row async for row in HISTORY.stream_as_of(session, entity, at(number))]
                assert as_state(rows) == state


@pytest.mark.anyio
async def test_more_rows_than_a_page_are_all_there(sqlite_database: Database) -> None:
    """Rows come page by page in the order of their keys, none twice and none left out."""
    async with sqlite_database.session() as session:
        writer = HistoryWriter(session)
        for number in range(4100):
            await writer.insert(f"{number:05d}", **PERSON)
        writer.begin_run(at(1), 1)
        for row_id in list(writer.rows)[::7]:
            await writer.change(row_id, department_code="HR")
    rows = await as_of(sqlite_database, at(0))
    assert [row.key for row in rows] == [f"{number:05d}" for number in range(4100)]
    assert {row.values["department_code"] for row in rows} == {"OPS"}
    assert len(await as_of(sqlite_database, at(1), where={"department_code": "HR"})) == 586


@pytest.mark.anyio
async def test_a_masked_past_says_so(database: Database) -> None:
    """Where history keeps a value masked, the row names the field; a value that has not changed since is known."""
    async with database.session() as session:
        writer = HistoryWriter(session)
        changed = await writer.insert("1", **PERSON, email="old@example.com", extra={"iban": "X1"})
        await writer.insert("2", **PERSON, email="same@example.com")
        writer.begin_run(at(1), 1)
        mask = make_mask({"email": "mask", "extra": "hash"}, "salt")
        hashes = mask("extra", '{"iban":"X1"}'), mask("extra", '{"iban":"X2"}')
        masks = {"email": (mask("email", "old@example.com"), mask("email", "new@example.com")), "extra": hashes}
        await writer.change(changed, masked=masks, email="new@example.com", extra={"iban": "X2"})
    first, second = await as_of(database, at(0))
    assert (first.values["email"], first.values["extra"]) == ("•••", hashes[0])
    assert first.masked == {"email", "extra"}
    assert (second.values["email"], second.masked) == ("same@example.com", set())


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(3))
async def test_the_history_that_runs_leave_gives_every_state_back(
    database: Database, empty_sqlite_url: str, seed: int
) -> None:
    """Moved, renumbered, gone, back: after each run of the replication, all states before it can still be seen."""
    dice = random.Random(seed)
    rules = mapping(MAPPING.replace('extra.notes = "notes"', 'extra.notes = "notes"\nstable_key = "notes"'))
    departments = [{"code": code, "name": code, "parent": None} for code in ("OPS", "HR", "IT")]
    people = [employee(f"E{number}", dept="OPS", notes=f"person {number}") for number in range(12)]
    source = Hris(empty_sqlite_url)
    states: list[tuple[dt.datetime, dict[Entity, dict[int, dict[str, Any]]]]] = []
    try:
        for number in range(6):
            here = [row for row in people if dice.random() < 0.8]
            await source.fill(here, departments)
            await replicate(source.reader, database, rules, run=RecordedRun(run_id(number)), force=True)
            async with database.reader() as session:
                instant = (await session.execute(select(db_now()))).scalar_one()
            states.append((instant, {entity: as_state(await as_of(database, instant, entity)) for entity in SEEN}))
            for row in dice.sample(people, 5):
                match dice.randrange(5):
                    case 0:
                        row["no"] = f"{row['no']}x"
                    case 1:
                        row["dept"] = dice.choice(["OPS", "HR", "IT"])
                    case 2:
                        row["boss"] = dice.choice(people)["no"]
                    case 3:
                        row["state"] = "T" if row["state"] == "A" else "A"
                    case _:
                        row["hired"], row["job"] = dice.choice(["2019-02-28", None]), dice.choice(["Dev", None])
            department = dice.choice(departments)
            department["parent"] = None if department["parent"] else "OPS" if department["code"] != "OPS" else None
        assert len({len(state[Entity.EMPLOYEES]) for _, state in states}) > 1
        for instant, state in states:
            assert {entity: as_state(await as_of(database, instant, entity)) for entity in SEEN} == state
    finally:
        await source.dispose()


SEEN = (Entity.DEPARTMENTS, Entity.POSITIONS, Entity.EMPLOYEES)


# --- one row ----------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_old_number_leads_to_who_had_it(database: Database) -> None:
    """The row that has the number comes first, then those that had it; letters of another case are other numbers."""
    async with database.session() as session:
        writer = HistoryWriter(session)
        first = await writer.insert("A1", **PERSON)
        writer.begin_run(at(1), 1)
        await writer.change(first, employee_no="B1")
        second = await writer.insert("A1", **PERSON)
        writer.begin_run(at(2), 2)
        await writer.change(second, employee_no="C1")
        third = await writer.insert("A1", **PERSON)
    async with database.reader() as session:
        found = [(row.id, row.key) for row in await HISTORY.find_rows(session, Entity.EMPLOYEES, "A1")]
        assert found == [(third, "A1"), (first, "B1"), (second, "C1")]
        assert [row.id for row in await HISTORY.find_rows(session, Entity.EMPLOYEES, "B1")] == [first]
        assert await HISTORY.find_rows(session, Entity.EMPLOYEES, "a1") == []
        assert await HISTORY.find_rows(session, Entity.DEPARTMENTS, "A1") == []


@pytest.mark.anyio
async def test_the_changes_of_a_row_are_told_with_their_runs(database: Database) -> None:
    """Every field with its values before and after, the newest last, and of a long history its end."""
    async with database.session() as session:
        writer = HistoryWriter(session)
        row_id = await writer.insert("1", **PERSON)
        other = await writer.insert("2", **PERSON)
        writer.begin_run(at(1), 1)
        await writer.change(row_id, department_code="HR", manager_no="2")
        await writer.change(other, full_name="Somebody Else")
        writer.begin_run(at(2), 2)
        await writer.change(row_id, is_active=False)
        changes = await HISTORY.list_changes(session, Entity.EMPLOYEES, row_id)
        assert [(item.field, item.old, item.new, item.changed_at, item.execution_id) for item in changes] == [
            ("department_code", "OPS", "HR", at(1), run_id(1)),
            ("manager_no", None, "2", at(1), run_id(1)),
            ("is_active", "1", "0", at(2), run_id(2)),
        ]
        assert await HISTORY.list_changes(session, Entity.EMPLOYEES, row_id, limit=1) == changes[-1:]


@pytest.mark.anyio
async def test_the_beginning_of_the_knowledge_is_known(database: Database) -> None:
    """Rows from before history was kept are told apart: their past is known only since then."""
    async with database.session() as session:
        writer = HistoryWriter(session)
        assert await HISTORY.read_beginning(session, Entity.EMPLOYEES) == Beginning(
            first_seen_at=None, complete_since=None
        )
        old = await writer.insert("1", **PERSON)
        assert (await HISTORY.read_beginning(session, Entity.EMPLOYEES)).complete_since is None
        writer.begin_run(at(-5), 0)
        await writer.insert("0", run=None, **PERSON)
        beginning = await HISTORY.read_beginning(session, Entity.EMPLOYEES)
        assert beginning == Beginning(first_seen_at=at(-5), complete_since=at(0))
        writer.begin_run(at(-1), 1)
        await writer.change(old, full_name="Ada E.")
        assert (await HISTORY.read_beginning(session, Entity.EMPLOYEES)).complete_since == at(-1)
