"""The HRIS replication on real databases: what is written, what is refused, and what a broken run leaves behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from backend.adapters.mapping_file import load_hris_mapping
from backend.db.database import Database
from backend.db.models import Department, Employee, Position, QuarantinedRow, Stream
from backend.demo.company import change_hris, write_hris
from backend.domain.executions import RowCounts
from backend.errors import GuardError, PermanentError, TransientError
from tests.support.hris import MAPPING, Hris, RecordedRun, employee, mapping, read_table, replicate, staff

OTHER_EXECUTION_ID = "01920000-0000-7000-8000-000000000002"
SHAPE = ("employee_no", "full_name", "department_code", "position_code", "manager_no", "status", "is_active")


@pytest.fixture
async def hris(empty_sqlite_url: str) -> AsyncIterator[Hris]:
    """A source on SQLite."""
    source = Hris(empty_sqlite_url)
    yield source
    await source.dispose()


@pytest.fixture
async def any_hris(source_url: str) -> AsyncIterator[Hris]:
    """A source on every engine."""
    source = Hris(source_url)
    yield source
    await source.dispose()


async def quarantined(database: Database) -> set[tuple[Any, ...]]:
    return set(await read_table(database, QuarantinedRow, "entity", "source_key", "severity", "reason", "field"))


# --- what is written --------------------------------------------------------------------------------------------------


async def test_rows_arrive_whole(any_hris: Hris, database: Database) -> None:
    """Every field arrives: trimmed, mapped, resolved, with its custom fields and its marks."""
    await any_hris.fill(
        [
            employee(
                "E1 ", " Ada Example ", mail="ADA@Example.com", dept="D1", job="Lead", state="A", hired="2020-01-02"
            ),
            employee("E2", "Bo Example", dept="D1 ", job="Clerk", boss="E1", hired="1900-01-01", notes="part time"),
            employee("E3", "Cy Example", state="T", boss="E1"),
        ],
        [{"code": "D1", "name": "One", "parent": "D0"}, {"code": "D0", "name": "Top"}],
    )

    report = await replicate(any_hris.reader, database)

    assert [
        ("E1", "Ada Example", "D1", "Lead", None, "active", True),
        ("E2", "Bo Example", "D1", "Clerk", "E1", "active", True),
        ("E3", "Cy Example", None, None, "E1", "left", False),
    ] == await read_table(database, Employee, *SHAPE)
    assert [("ada@example.com", dt.date(2020, 1, 2), {"notes": None}), (None, None, {"notes": "part time"})] == (
        await read_table(database, Employee, "email", "hired_on", "extra")
    )[:2]
    assert [("D1", "One", "D0"), ("D0", "Top", None)] == await read_table(
        database, Department, "code", "name", "parent_code"
    )
    assert {("Lead",), ("Clerk",)} == set(await read_table(database, Position, "code"))
    assert RowCounts(read=7, inserted=7, updated=0, unchanged=0, deactivated=0, rejected=0) == report.counts
    assert "Read 2 departments, 2 positions, 3 employees: 7 inserted." == report.summary


async def test_only_what_changed_is_written(hris: Hris, database: Database) -> None:
    """A second run touches the changed, the new and the gone rows, and names its execution on them."""
    people = [employee("E1", boss="E2"), employee("E2"), employee("E3"), employee("E4")]
    await hris.fill(people)
    await replicate(hris.reader, database)
    before = dict(await read_table(database, Employee, "employee_no", "changed_at"))
    await hris.fill([employee("E1", boss="E3"), employee("E2", "New Name"), employee("E3"), employee("E5")])

    report = await replicate(hris.reader, database, run=RecordedRun(OTHER_EXECUTION_ID))

    assert RowCounts(read=4, inserted=1, updated=2, unchanged=1, deactivated=1, rejected=0) == report.counts
    rows = await read_table(
        database, Employee, "employee_no", "full_name", "manager_no", "is_active", "execution_id", "deactivated_at"
    )
    assert {
        "E1": ("Kim Example", "E3", True, OTHER_EXECUTION_ID),
        "E2": ("New Name", None, True, OTHER_EXECUTION_ID),
        "E3": ("Kim Example", None, True, RecordedRun().execution_id),
        "E4": ("Kim Example", None, False, OTHER_EXECUTION_ID),
        "E5": ("Kim Example", None, True, OTHER_EXECUTION_ID),
    } == {row[0]: row[1:5] for row in rows}
    assert ["E4"] == [row[0] for row in rows if row[5] is not None]
    after = dict(await read_table(database, Employee, "employee_no", "changed_at"))
    assert ["E3"] == [no for no, changed_at in before.items() if after[no] == changed_at]


async def test_who_comes_back_keeps_the_first_sight(hris: Hris, database: Database) -> None:
    """A rehire under the same number is the same row, active again."""
    await hris.fill([employee("E1"), employee("E2")])
    await replicate(hris.reader, database)
    first = await read_table(database, Employee, "id", "employee_no", "first_seen_at")
    await hris.fill([employee("E1")])
    await replicate(hris.reader, database)
    await hris.fill([employee("E1"), employee("E2")])

    report = await replicate(hris.reader, database)

    assert (1, 1) == (report.counts.updated, report.details["entities"]["employees"]["reactivated"])
    assert first == await read_table(database, Employee, "id", "employee_no", "first_seen_at")
    assert [(True, None)] * 2 == await read_table(database, Employee, "is_active", "deactivated_at")


async def test_texts_of_any_kind_arrive(any_hris: Hris, database: Database) -> None:
    """Arabic, Chinese, emoji, quotes, percent signs and backslashes arrive exactly."""
    names = ["ليلى المصري", "王秀兰", "Zoë 👩‍🚀 🏴", 'O\'Brien \\ "x" %s :y ?', "ﷺ" * 50, "x" * 200]
    await any_hris.fill([employee(f"E{number}", name) for number, name in enumerate(names)])

    await replicate(any_hris.reader, database)

    assert names == [name for (name,) in await read_table(database, Employee, "full_name")]


AWKWARD = (
    "O'Brien", '"', '""', 'a"b', 'a""b', ",", '","', '",\n"', "'; DROP TABLE hr_employee; --", "line\nbreak",
    "cr\r\nlf", "tab\tx", "\\", "\\\\", "end\\", "\\N", "\\n", '\\"', "NULL", "null", "N", "%", "%s %(x)s", "100 %%",
    "? :x {0}", "a\x00b", "\x00", "\x1a", "a\x1fb", "\x1e\x1f", "\x7f", "👩‍🚀🏴", "ﷺ ليلى", "e\u0301 é", "a\u2028b",
    "\ufeffx", "\u200f", "a  b", " lead", "trail ", " ", "\n", "\u00a0x\u3000", "0", "0.0", "1e3", "false",
    "2020-01-01", "x" * 200, "字" * 200,
)  # fmt: skip


@pytest.mark.parametrize("copies", [1, 6])
async def test_every_text_arrives_exactly(hris: Hris, database: Database, copies: int) -> None:
    """Few rows and many (which MariaDB takes as a file), inserted and updated: each value is the source's to the byte,
    and a run that compares everything right afterwards finds nothing to do.
    """
    rules = mapping(
        MAPPING.replace('extra.notes = "notes"', 'extra.notes = { column = "notes", strip = false }').replace(
            '"mail", lower = true', '"mail", strip = false'
        )
    )
    count = len(AWKWARD) * copies
    for shift in (0, 1, 7):
        texts = [AWKWARD[(number + shift) % len(AWKWARD)] for number in range(count)]
        await hris.fill(
            [employee(f"E{number:04}", f"n {text}"[:200], mail=text, notes=text) for number, text in enumerate(texts)]
        )

        report = await replicate(hris.reader, database, rules)

        assert (count, 0) == ((report.counts.inserted or 0) + (report.counts.updated or 0), report.counts.rejected)
        rows = await read_table(database, Employee, "employee_no", "full_name", "email", "extra")
        assert [
            (f"E{number:04}", f"n {text}"[:200].strip(), text, {"notes": text}) for number, text in enumerate(texts)
        ] == sorted(rows, key=lambda row: row[0])
        for full in (False, True):
            again = await replicate(hris.reader, database, rules, full=full)
            assert (count, 0) == (again.counts.unchanged, again.counts.updated)


async def test_keys_that_differ_in_case_are_two(any_hris: Hris, database: Database) -> None:
    """Keys are compared exactly, on every engine, unless the mapping folds them."""
    await any_hris.fill([employee("ä1", "One"), employee("Ä1", "Two"), employee("a1", "Three")])
    await replicate(any_hris.reader, database)
    report = await replicate(any_hris.reader, database)

    assert {("ä1", "One"), ("Ä1", "Two"), ("a1", "Three")} == set(
        await read_table(database, Employee, "employee_no", "full_name")
    )
    assert 3 == report.counts.unchanged


async def test_a_query_may_hold_colons_and_percent_signs(any_hris: Hris, database: Database) -> None:
    """The query goes to the source as it is written: a colon is no parameter, a percent sign is no format."""
    await any_hris.fill([employee("E1", "50 %: a:b"), employee("E2", "other")])
    rules = mapping(
        """
        [employees]
        query = "SELECT no, name, ':x ::y 12:30 \\\\: %s %%' AS note FROM emp WHERE name LIKE '50 \\\\%: a:%'"
        columns = { employee_no = "no", full_name = "name", extra.note = "note" }
        """.replace("LIKE '50 \\\\%:", "LIKE '50 %:")
    )

    await replicate(any_hris.reader, database, rules)

    ((name, extra),) = await read_table(database, Employee, "full_name", "extra")
    assert ("50 %: a:b", ":x ::y 12:30 ") == (name, extra["note"][:13])


async def test_streams_move_with_the_data(hris: Hris, database: Database) -> None:
    """Each entity's stream says when it last was current, by which execution, with how many rows."""
    await hris.fill(staff(3), [{"code": "D1", "name": "One"}])

    await replicate(hris.reader, database)

    async with database.session() as session:
        streams = (await session.scalars(select(Stream).order_by(Stream.code))).all()
    assert [("hris.departments", 1), ("hris.employees", 3), ("hris.positions", 0)] == [
        (stream.code, stream.row_count) for stream in streams
    ]
    assert all(stream.succeeded_at is not None for stream in streams)
    assert {RecordedRun().execution_id} == {stream.execution_id for stream in streams}


async def test_the_run_tells_how_far_it_is(hris: Hris, database: Database) -> None:
    """Counts and progress grow batch by batch, and later runs know about how much there is."""
    await hris.fill(staff(25))
    first, second = RecordedRun(), RecordedRun()
    await replicate(hris.reader, database, run=first, batch_rows=10)
    await replicate(hris.reader, database, run=second, batch_rows=10)

    assert [10, 20, 25] == [counts.read for counts in first.counts]
    reading = [(10, "reading the employees: 10 rows"), (20, "reading the employees: 20 rows")]
    writing = [(number, f"writing the employees: {number} of 25 changes") for number in (10, 20, 25)]
    expected = [*reading, (25, "reading the employees: 25 rows")]
    assert expected == [(current, message) for current, _, message in first.progresses if "reading" in (message or "")]
    assert [*writing, writing[-1]] == [
        (current, message) for current, _, message in first.progresses if "writing the employees" in (message or "")
    ]
    assert [(10, 25), (20, 25), (25, 25)] == [(current, total) for current, total, _ in second.progresses]


async def test_a_full_run_repairs_what_was_altered_by_hand(hris: Hris, database: Database) -> None:
    """An altered row looks unchanged to a normal run; a full run writes it again."""
    await hris.fill([employee("E1")])
    await replicate(hris.reader, database)
    async with database.session() as session:
        await session.execute(update(Employee).values(full_name="Altered"))

    await replicate(hris.reader, database)
    assert [("Altered",)] == await read_table(database, Employee, "full_name")
    await replicate(hris.reader, database, full=True)
    assert [("Kim Example",)] == await read_table(database, Employee, "full_name")


# --- quarantine -------------------------------------------------------------------------------------------------------


async def test_bad_rows_are_kept_with_the_reason_and_the_others_go_on(any_hris: Hris, database: Database) -> None:
    """One row of every kind of defect: each is in quarantine, and everybody else has arrived."""
    await any_hris.fill(
        [
            employee("E1", boss="E2", dept="D1"),
            employee("E2", boss="E1"),
            employee("E3", boss="E404"),
            employee("E4", dept="D404"),
            employee("E5", hired="31.02.2019"),
            employee("E6", state="X"),
            employee("E7", "n" * 3000),
            employee("E8", "  "),
            employee("E9", "First"),
            employee("E9 ", "Second"),
            employee(None, "Nobody"),
            employee(" ", "Blank"),
        ],
        [{"code": "D1", "name": "One", "parent": "D404"}, {"code": None, "name": "None"}],
    )

    report = await replicate(any_hris.reader, database)

    assert {
        ("departments", "D1", "warning", "unknown_reference", "parent_code"),
        ("departments", None, "error", "missing_key", "code"),
        ("employees", "E1", "warning", "reference_cycle", "manager_no"),
        ("employees", "E2", "warning", "reference_cycle", "manager_no"),
        ("employees", "E3", "warning", "unknown_reference", "manager_no"),
        ("employees", "E4", "warning", "unknown_reference", "department_code"),
        ("employees", "E5", "error", "unreadable_date", "hired_on"),
        ("employees", "E6", "error", "unmapped_value", "status"),
        ("employees", "E7", "error", "too_long", "full_name"),
        ("employees", "E8", "error", "missing_value", "full_name"),
        ("employees", "E9", "error", "duplicate_key", "employee_no"),
        ("employees", None, "error", "missing_key", "employee_no"),
    } == await quarantined(database)
    assert [("E1", None), ("E2", None), ("E3", None), ("E4", None), ("E9", None)] == await read_table(
        database, Employee, "employee_no", "manager_no"
    )
    assert (8, 5) == (report.counts.rejected, report.details["entities"]["employees"]["warnings"] + 1)
    assert {"duplicate_key": 1, "missing_key": 2}.items() <= report.details["entities"]["employees"]["reasons"].items()


async def test_quarantine_keeps_the_row_as_it_was_read(hris: Hris, database: Database) -> None:
    """The payload holds the result columns of the row, so that it can be found in the source."""
    await hris.fill([employee(None, "Nobody", mail="nobody@example.com")])

    await replicate(hris.reader, database)

    ((payload, message),) = await read_table(database, QuarantinedRow, "payload", "message")
    assert ("Nobody", "nobody@example.com", None) == (payload["name"], payload["mail"], payload["no"])
    assert "employee_no" in message


async def test_an_entry_stays_while_the_defect_does_and_leaves_with_it(hris: Hris, database: Database) -> None:
    """First sight is kept over the runs; a mended row arrives and its entry is gone."""
    await hris.fill([employee("E1"), employee("E2", state="X"), employee(None)])
    await replicate(hris.reader, database)
    first = await read_table(database, QuarantinedRow, "id", "first_seen_at")
    await replicate(hris.reader, database, run=RecordedRun(OTHER_EXECUTION_ID))

    assert first == await read_table(database, QuarantinedRow, "id", "first_seen_at")
    assert {(OTHER_EXECUTION_ID,)} == set(await read_table(database, QuarantinedRow, "execution_id"))

    await hris.fill([employee("E1"), employee("E2", state="A"), employee("E3")])
    await replicate(hris.reader, database)

    assert set() == await quarantined(database)
    assert [("E1",), ("E2",), ("E3",)] == await read_table(database, Employee, "employee_no")


async def test_an_unreadable_row_leaves_the_person_as_they_were(hris: Hris, database: Database) -> None:
    """A defect in somebody's row neither changes nor deactivates them."""
    await hris.fill([employee("E1", "Before")])
    await replicate(hris.reader, database)
    await hris.fill([employee("E1", "After", hired="soon")])

    report = await replicate(hris.reader, database)

    assert [("Before", True)] == await read_table(database, Employee, "full_name", "is_active")
    assert (1, 0) == (report.counts.rejected, report.counts.deactivated)


async def test_a_reference_is_filled_in_when_its_target_appears(hris: Hris, database: Database) -> None:
    """A manager and a department that come later are set then, though the row itself has not changed."""
    await hris.fill([employee("E1", boss="E2", dept="D1")])
    await replicate(hris.reader, database)
    await hris.fill([employee("E1", boss="E2", dept="D1"), employee("E2")], [{"code": "D1", "name": "One"}])

    await replicate(hris.reader, database)

    assert [("D1", "E2"), (None, None)] == await read_table(database, Employee, "department_code", "manager_no")
    assert set() == await quarantined(database)


async def test_logs_hold_no_personal_data(hris: Hris, database: Database) -> None:
    """Neither names nor addresses nor keys of rows are logged, also not of rejected ones."""
    await hris.fill([employee("SECRET-1", "Secret Person", mail="secret@example.com", state="X"), employee("SECRET-2")])
    run = RecordedRun()

    report = await replicate(hris.reader, database, run=run)

    said = json.dumps([run.log.lines, run.progresses, report.summary, report.details])
    assert "secret" not in said.lower()
    assert run.log.lines


# --- the guard --------------------------------------------------------------------------------------------------------


async def test_an_empty_source_is_refused(hris: Hris, database: Database) -> None:
    """A query that suddenly gives nothing deactivates nobody."""
    await hris.fill(staff(3))
    await replicate(hris.reader, database)
    await hris.fill([])

    with pytest.raises(GuardError, match=r"no employees at all, while 3 are active"):
        await replicate(hris.reader, database)

    assert [(True,)] * 3 == await read_table(database, Employee, "is_active")


async def test_too_many_deactivations_are_refused_with_the_numbers(hris: Hris, database: Database) -> None:
    """Above the limit nothing is applied, also not the rows that are fine; by force it is."""
    await hris.fill(staff(100))
    await replicate(hris.reader, database)
    await hris.fill([*staff(94), employee("NEW")])

    with pytest.raises(GuardError, match=r"6 of 100 active employees .* limit of 5 .*hris\.toml \[guard\]"):
        await replicate(hris.reader, database)
    assert 100 == len(await read_table(database, Employee, "id"))

    report = await replicate(hris.reader, database, force=True)
    assert (6, 1) == (report.counts.deactivated, report.counts.inserted)


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("FROM dept", "FROM departmnt", ["departments", "hris.toml [departments]", "departmnt", "HRIS_URL"]),
        ("no, name, mail", "nr, name, mail", ["employees", "hris.toml [employees]", "nr"]),
        (
            'full_name = "name"',
            'full_name = "fullname"',
            ["hris.toml [employees]", "'fullname'", "did you mean 'name'?"],
        ),
    ],
)
async def test_a_missing_table_or_column_is_named(
    any_hris: Hris, sqlite_database: Database, old: str, new: str, expected: list[str]
) -> None:
    """The error names the entity, the place in the mapping, and what is missing; nothing is written."""
    await any_hris.fill(staff(3), [{"code": "D1", "name": "One"}])

    with pytest.raises(PermanentError) as caught:
        await replicate(any_hris.reader, sqlite_database, mapping(MAPPING.replace(old, new)))

    for part in expected:
        assert part in str(caught.value)
    assert [] == await read_table(sqlite_database, Employee, "id")
    assert [] == await read_table(sqlite_database, Department, "id")


async def test_a_source_that_is_not_there_is_transient(database: Database) -> None:
    """A server that does not answer names the system and the setting."""
    source = Database("HRIS", "HRIS_URL", "mysql+aiomysql://u:secret@127.0.0.1:9/hris", read_only=True)

    with pytest.raises(TransientError, match=r"HRIS \(HRIS_URL") as caught:
        await replicate(source, database)

    assert "secret" not in str(caught.value)


async def test_a_full_disk_leaves_the_previous_state(hris: Hris, sqlite_database: Database) -> None:
    """When the disk is full the run says so, and the next one, with room, finishes the job."""
    await hris.fill(staff(2000))
    async with sqlite_database.session() as session:
        pages = await session.scalar(text("PRAGMA page_count"))
    await sqlite_database.dispose()

    def limit(connection: Any, _record: Any) -> None:
        connection.cursor().execute(f"PRAGMA max_page_count = {pages + 20}")

    event.listen(sqlite_database.engine.sync_engine, "connect", limit)
    with pytest.raises(PermanentError, match="the disk is full: make room"):
        await replicate(hris.reader, sqlite_database)
    assert [] == await read_table(sqlite_database, Employee, "id")

    await sqlite_database.dispose()
    report = await replicate(hris.reader, sqlite_database)
    assert 2000 == report.counts.inserted


async def test_two_runs_do_not_interleave(hris: Hris, database: Database) -> None:
    """A run that was overtaken while it was reading writes nothing and is told to try again."""
    await hris.fill([*staff(10), employee("OLD")])

    async def be_overtaken(checkpoint: int) -> None:
        if checkpoint == 1:
            await hris.fill([*staff(10), employee("NEW")])
            await replicate(hris.reader, database)

    with pytest.raises(TransientError, match="Another HRIS replication was applied"):
        await replicate(hris.reader, database, run=RecordedRun(on_checkpoint=be_overtaken))

    keys = {no for (no,) in await read_table(database, Employee, "employee_no")}
    assert {f"E{number:04}" for number in range(10)} | {"NEW"} == keys


async def test_runs_at_the_same_time_end_in_a_right_state(hris: Hris, database: Database) -> None:
    """Of several runs that write together one wins; the others fail in a way that is retried."""
    await hris.fill(staff(50))

    results = await asyncio.gather(*(replicate(hris.reader, database) for _ in range(4)), return_exceptions=True)

    assert {True} == {not isinstance(result, BaseException) or isinstance(result, TransientError) for result in results}
    assert 50 == len(await read_table(database, Employee, "id"))
    report = await replicate(hris.reader, database)
    assert 50 == report.counts.unchanged


@pytest.mark.parametrize("checkpoint", [1, 4, 6, 7])
async def test_a_cancelled_run_leaves_the_previous_state(hris: Hris, database: Database, checkpoint: int) -> None:
    """Cancelled while reading, while writing, or before the commit: nothing of the run is there."""
    await hris.fill(staff(30))
    await replicate(hris.reader, database)
    before = await read_table(database, Employee, *SHAPE)
    await hris.fill([employee(row["no"], "Renamed") for row in staff(30)])

    async def cancel(number: int) -> None:
        if number == checkpoint:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await replicate(hris.reader, database, run=RecordedRun(on_checkpoint=cancel), batch_rows=10)

    assert before == await read_table(database, Employee, *SHAPE)
    report = await replicate(hris.reader, database)
    assert 30 == report.counts.updated


# --- the demo's company -----------------------------------------------------------------------------------------------


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "company.db"
    write_hris(path)
    source = Database("HRIS", "HRIS_URL", f"sqlite+aiosqlite:///{path}", read_only=True)
    yield source
    await source.dispose()


async def test_the_company_of_the_demo_arrives(company: Database, database: Database, project_root: Path) -> None:
    """The shipped mapping takes the fictional company: its warts are in quarantine, everybody else is there."""
    rules = load_hris_mapping(project_root / "config" / "hris.toml")
    first = await replicate(company, database, rules)
    second = await replicate(company, database, rules)

    assert 250 < (first.details["entities"]["employees"]["inserted"])
    assert {
        ("employees", "E00120", "error", "duplicate_key", "employee_no"),
        ("employees", "E00131", "error", "unreadable_date", "hired_on"),
        ("employees", "E00137", "error", "unmapped_value", "status"),
        ("employees", "E00138", "warning", "unknown_reference", "department_code"),
        ("employees", "E00139", "error", "missing_value", "full_name"),
        ("employees", "E00060", "warning", "reference_cycle", "manager_no"),
        ("departments", "D790", "warning", "unknown_reference", "parent_code"),
    } <= await quarantined(database)
    assert (0, 0, 0) == (second.counts.inserted, second.counts.updated, second.counts.deactivated)

    change_hris(Path(company.url.database or ""))
    third = await replicate(company, database, rules)
    assert (1, 3, 1) == (third.counts.inserted, third.counts.updated, third.counts.deactivated)
