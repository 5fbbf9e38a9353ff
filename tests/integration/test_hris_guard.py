"""Held runs: what makes a run wait, what is written meanwhile (nothing), and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from backend.api.repositories.hold_repository import HoldRepository
from backend.celery_bridge import TASK_REGISTRY
from backend.db.database import Database
from backend.db.hris_database import hris as hris_database
from backend.db.models import Employee, ExecutionAttempt, HrHold, HrHoldChange, JobExecution, OutboxMessage
from backend.domain.executions import Status
from backend.errors import ConflictError, NotFoundError, TransientError
from backend.execution.executor import Executor, RunRequest
from backend.services.replicate_hris import HeldError
from backend.settings import Settings, get_settings
from backend.utils.identifiers import new_id
from tests.support.hris import (
    MAPPING,
    Hris,
    RecordedRun,
    dump,
    employee,
    mapping,
    read_facts,
    read_holds,
    read_table,
    replicate,
    run_id,
    staff,
)

HOLDS = HoldRepository()
SKIPPING = mapping(f'{MAPPING}\n[guard]\non_guard = "skip_deactivations"\n')


@pytest.fixture
async def empty_hris(empty_sqlite_url: str) -> AsyncIterator[Hris]:
    """A source."""
    source = Hris(empty_sqlite_url)
    yield source
    await source.dispose()


@pytest.fixture
async def hris(empty_hris: Hris, database: Database) -> Hris:
    """A source of 100 employees and one department, which have been replicated by run 1."""
    await empty_hris.fill(staff(100), [{"code": "D1", "name": "One"}])
    await replicate(empty_hris.reader, database, run=RecordedRun(run_id(1)))
    return empty_hris


async def lose(source: Hris, gone: int = 6, *others: dict[str, str | None]) -> None:
    """Let the source lose employees."""
    await source.fill([*staff(100)[gone:], *others], [{"code": "D1", "name": "One"}])


async def held(source: Hris, database: Database, number: int, rules: Any = None, **options: Any) -> str:
    """Replicate as the run with this number, which is held; what it says."""
    with pytest.raises(HeldError) as caught:
        await replicate(source.reader, database, rules, run=RecordedRun(run_id(number)), **options)
    return str(caught.value)


async def decide(database: Database, number: int, decision: str = "approve") -> None:
    """Decide about the run with this number, as a person would."""
    options = {"task": TASK_REGISTRY["hris_replication"]} if decision == "approve" else {}
    async with database.session() as session:
        await getattr(HOLDS, decision)(session, run_id(number), actor="alice@host", **options)


async def active(database: Database) -> int:
    return sum(is_active for (is_active,) in await read_table(database, Employee, "is_active"))


# --- holding ----------------------------------------------------------------------------------------------------------


async def test_a_held_run_writes_nothing_but_its_hold(hris: Hris, database: Database) -> None:
    """Rows, history, quarantine and streams stay as they are; the hold says what would have been done, and why."""
    before = await dump(database)
    await lose(hris, 6, employee("NEW", "Neu"), employee(None, "No number"))
    run = RecordedRun(run_id(2))

    with pytest.raises(HeldError, match=r"Nothing was applied: 6 of 100 active employees .*approve 00000002"):
        await replicate(hris.reader, database, run=run)

    assert before == await dump(database)
    async with database.reader() as session:
        hold = (await session.scalars(select(HrHold))).one()
        changes = (await session.scalars(select(HrHoldChange).order_by(HrHoldChange.id))).all()
    assert (run_id(2), "held", 7, 6, 1) == (
        hold.execution_id,
        hold.status,
        hold.change_count,
        hold.counts["employees"]["deactivated"],
        hold.counts["employees"]["inserted"],
    )
    assert ["6 of 100 active employees would be deactivated"] == [reason[:46] for reason in hold.reasons]
    gone = {(f"E{number:04}", "deactivate", ("1", "0")) for number in range(6)}
    assert gone == {
        (change.entity_key, change.action, tuple(change.fields["is_active"]))
        for change in changes
        if change.action != "insert"
    }
    (added,) = [change for change in changes if change.action == "insert"]
    assert ("NEW", [None, "Neu"]) == (added.entity_key, added.fields["full_name"])
    assert ["hris_run_held"] == [name for level, name, _ in run.log.lines if level == "error"]


async def test_a_run_that_would_do_the_same_is_the_same_hold(hris: Hris, database: Database) -> None:
    """Nobody is told twice; the hold keeps its first run and gets a new last sight."""
    await lose(hris)
    await held(hris, database, 2)
    ((first, last),) = await read_table(database, HrHold, "held_at", "last_seen_at")
    again = RecordedRun(run_id(3))

    with pytest.raises(HeldError) as caught:
        await replicate(hris.reader, database, run=again)

    assert (False, run_id(2)) == (caught.value.held.is_new, caught.value.held.execution_id)
    assert [] == [name for level, name, _ in again.log.lines if level == "error"]
    assert [(run_id(2), "held")] == await read_holds(database)
    ((held_at, last_seen_at),) = await read_table(database, HrHold, "held_at", "last_seen_at")
    assert (first, True) == (held_at, last_seen_at > last)


async def test_another_order_of_the_rows_is_the_same_hold(hris: Hris, database: Database) -> None:
    """What would be done counts, not in which order the source says it."""
    new = [employee(f"N{number}", f"New {number}") for number in range(5)]
    await lose(hris, 6, *new)
    await held(hris, database, 2)
    await hris.fill([*reversed(new), *reversed(staff(100)[6:])], [{"code": "D1", "name": "One"}])

    await held(hris, database, 3)

    assert [(run_id(2), "held")] == await read_holds(database)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"name": "Other"}, id="value"),
        pytest.param({"no": "NEW2"}, id="key"),
        pytest.param({"boss": "E0050"}, id="parent"),
    ],
)
async def test_a_new_row_that_says_something_else_is_another_hold(
    hris: Hris, database: Database, other: dict[str, str | None]
) -> None:
    """The rows to be inserted are part of what is approved."""
    await lose(hris, 6, employee("NEW"))
    await held(hris, database, 2)
    await lose(hris, 6, employee("NEW") | other)

    await held(hris, database, 3)

    assert [(run_id(2), "expired"), (run_id(3), "held")] == await read_holds(database)


async def test_a_run_that_is_delivered_again_holds_what_it_finds_then(hris: Hris, database: Database) -> None:
    """An execution whose worker was lost after it was held, and that finds something else, has one hold."""
    await lose(hris)
    await held(hris, database, 2)
    await lose(hris, 7)

    await held(hris, database, 2)

    assert [(run_id(2), "held")] == await read_holds(database)
    async with database.reader() as session:
        assert 7 == await session.scalar(select(func.count()).select_from(HrHoldChange))


async def test_the_first_run_is_never_held(empty_hris: Hris, database: Database) -> None:
    """An empty target can lose nothing: whatever the limits, the first run is applied."""
    await empty_hris.fill([*staff(30), *(employee(None, f"Nobody {number}") for number in range(60))])
    strict = mapping(f"{MAPPING}\n[guard]\nmax_growth_percent = 0\nmax_rejected_percent = 1\nsize_at_least = 0\n")

    report = await replicate(empty_hris.reader, database, strict)

    assert (30, 60) == (report.counts.inserted, report.counts.rejected)
    assert [] == await read_holds(database)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        pytest.param(staff(161), "61 % more", id="grown"),
        pytest.param(staff(100)[:70], "30 % fewer", id="shrunk"),
        pytest.param([row | {"mail": None} for row in staff(100)], "email is empty in 100%", id="emptied"),
        pytest.param([row | {"state": "?"} for row in staff(100)], "100% of the employees would be", id="rejected"),
    ],
)
async def test_an_unusual_source_is_held(
    empty_hris: Hris, database: Database, rows: list[dict[str, str | None]], reason: str
) -> None:
    """Much more, much less, a field suddenly empty, rows suddenly unreadable: a person looks at it first."""
    await empty_hris.fill(staff(100, mail="a@example.com"))
    await replicate(empty_hris.reader, database)
    before = await dump(database)
    await empty_hris.fill([{"mail": "a@example.com"} | row for row in rows])

    assert reason in await held(empty_hris, database, 2)

    assert before == await dump(database)


async def test_of_a_huge_hold_the_first_changes_are_kept(empty_hris: Hris, sqlite_database: Database) -> None:
    """A hold keeps 10,000 changes at most, and how many there were."""
    rules = mapping("""
        [employees]
        query = "SELECT no, name FROM emp"
        columns = { employee_no = "no", full_name = "name" }
        """)
    await empty_hris.fill(staff(10_200))
    await replicate(empty_hris.reader, sqlite_database, rules)
    await empty_hris.fill([])

    await held(empty_hris, sqlite_database, 2, rules)

    async with sqlite_database.reader() as session:
        kept = await session.scalar(select(func.count()).select_from(HrHoldChange))
    assert [(10_200,)] == await read_table(sqlite_database, HrHold, "change_count")
    assert 10_000 == kept


# --- deciding ---------------------------------------------------------------------------------------------------------


async def test_what_was_approved_is_applied(hris: Hris, database: Database) -> None:
    """The approved run applies exactly what was held, and the hold names it."""
    await lose(hris, 6, employee("NEW"))
    await held(hris, database, 2)
    await decide(database, 2)

    report = await replicate(hris.reader, database, run=RecordedRun(run_id(3)), approved=run_id(2))

    assert (6, 1) == (report.counts.deactivated, report.counts.inserted)
    assert [("applied", run_id(3))] == await read_table(database, HrHold, "status", "applied_execution_id")


async def test_an_approved_run_that_is_delivered_again_is_a_normal_one(hris: Hris, database: Database) -> None:
    """A worker that is lost after the commit leaves an approval that has been used: the next attempt finds nothing."""
    await lose(hris)
    await held(hris, database, 2)
    await decide(database, 2)
    await replicate(hris.reader, database, run=RecordedRun(run_id(3)), approved=run_id(2))

    report = await replicate(hris.reader, database, run=RecordedRun(run_id(3)), approved=run_id(2))

    assert (95, 0) == (report.counts.unchanged, report.counts.deactivated)
    await lose(hris, 20)
    await held(hris, database, 3, approved=run_id(2))


async def test_what_was_approved_is_not_applied_to_another_source(hris: Hris, database: Database) -> None:
    """When the source says something else by now, the approval is void, and people are asked again."""
    await lose(hris)
    await held(hris, database, 2)
    await decide(database, 2)
    await lose(hris, 7)
    before = await dump(database)

    said = await held(hris, database, 3, approved=run_id(2))

    assert "The source no longer says what was approved." in said
    assert before == await dump(database)
    assert [(run_id(2), "expired"), (run_id(3), "held")] == await read_holds(database)


async def test_an_approval_that_is_not_needed_any_more_is_void(hris: Hris, database: Database) -> None:
    """When the source has been mended meanwhile, the approved run is a normal one."""
    await lose(hris)
    await held(hris, database, 2)
    await decide(database, 2)
    await lose(hris, 1)

    report = await replicate(hris.reader, database, run=RecordedRun(run_id(3)), approved=run_id(2))

    assert 1 == report.counts.deactivated
    assert [(run_id(2), "expired")] == await read_holds(database)


async def test_a_run_that_meets_its_approval_applies_it(hris: Hris, database: Database) -> None:
    """A scheduled run that would do what a person has approved does it, and the approved one finds it done."""
    await lose(hris)
    await held(hris, database, 2)
    await decide(database, 2)

    scheduled = await replicate(hris.reader, database, run=RecordedRun(run_id(3)))
    late = await replicate(hris.reader, database, run=RecordedRun(run_id(4)), approved=run_id(2))

    assert (6, 0) == (scheduled.counts.deactivated, late.counts.deactivated)
    assert [("applied", run_id(3))] == await read_table(database, HrHold, "status", "applied_execution_id")


async def test_what_was_rejected_stays_rejected(hris: Hris, database: Database) -> None:
    """The same plan is refused without asking again, also after others; the person who rejected it is named."""
    await lose(hris)
    await held(hris, database, 2)
    await decide(database, 2, "reject")

    assert "rejected by alice@host" in await held(hris, database, 3)
    await lose(hris, 7)
    await held(hris, database, 4)
    await lose(hris)
    assert "rejected by alice@host" in await held(hris, database, 5)

    assert [(run_id(2), "rejected"), (run_id(4), "expired")] == await read_holds(database)
    with pytest.raises(ConflictError, match="is rejected, not approved"):
        await replicate(hris.reader, database, approved=run_id(2))
    assert 100 == await active(database)


async def test_a_rejection_is_of_its_reason_only(hris: Hris, database: Database) -> None:
    """Two held runs that would change no row are two, when the guard has different things against them."""
    frozen = MAPPING.replace("[employees]\nquery", '[employees]\ncontract = "freeze"\nquery')
    for number, column in ((2, "phone"), (4, "pager")):
        rules = mapping(frozen.replace("hired, notes FROM", f"hired, notes, 1 AS {column} FROM"))
        assert f"got {column}" in await held(hris, database, number, rules)
        if number == 2:
            await decide(database, 2, "reject")
            assert "rejected by" in await held(hris, database, 3, rules)

    assert [(run_id(2), "rejected"), (run_id(4), "held")] == await read_holds(database)


@pytest.mark.parametrize("number", [7, 2])
async def test_only_an_approved_run_can_be_applied(hris: Hris, database: Database, number: int) -> None:
    """A run that was never held, or about which nobody has decided, is refused."""
    await lose(hris)
    await held(hris, database, 2)

    with pytest.raises(NotFoundError if number == 7 else ConflictError):
        await replicate(hris.reader, database, approved=run_id(number))

    assert 100 == await active(database)


async def test_a_hold_ends_when_a_later_run_is_applied(hris: Hris, database: Database) -> None:
    """What was held against a state that is gone cannot be approved any more."""
    await lose(hris)
    await held(hris, database, 2)
    await lose(hris, 0, employee("NEW"))

    await replicate(hris.reader, database, run=RecordedRun(run_id(3)))

    assert [(run_id(2), "expired")] == await read_holds(database)
    with pytest.raises(ConflictError, match="expired"):
        await decide(database, 2)


async def test_force_applies_what_would_be_held(hris: Hris, database: Database) -> None:
    """By force a run passes the guard, and the open hold ends."""
    await lose(hris)
    await held(hris, database, 2)

    report = await replicate(hris.reader, database, force=True)

    assert 6 == report.counts.deactivated
    assert [(run_id(2), "expired")] == await read_holds(database)


async def test_an_approval_outlives_a_failed_attempt(hris: Hris, database: Database) -> None:
    """An approved run that fails while it writes leaves the approval to its next attempt."""
    await lose(hris)
    await held(hris, database, 2)
    await decide(database, 2)

    async def fail(_checkpoint: int) -> None:
        if run.is_writing:
            raise TransientError("away")

    run = RecordedRun(run_id(3), on_checkpoint=fail)
    with pytest.raises(TransientError):
        await replicate(hris.reader, database, approved=run_id(2), run=run)

    assert [(run_id(2), "approved")] == await read_holds(database)
    report = await replicate(hris.reader, database, approved=run_id(2), run=RecordedRun(run_id(3)))
    assert 6 == report.counts.deactivated


# --- skipping the deactivations ---------------------------------------------------------------------------------------


async def test_deactivations_may_wait_while_the_rest_goes_on(hris: Hris, database: Database) -> None:
    """With skip_deactivations everything else is applied, run by run, until a person has decided about them."""
    await lose(hris, 6, employee("NEW"))
    first = await replicate(hris.reader, database, SKIPPING, run=RecordedRun(run_id(2)))
    await lose(hris, 6, employee("NEW", "Changed"), employee("NEW2"))
    second = await replicate(hris.reader, database, SKIPPING, run=RecordedRun(run_id(3)))

    assert [(1, 0, 0, 6), (1, 1, 0, 6)] == [
        (
            report.counts.inserted,
            report.counts.updated,
            report.counts.deactivated,
            report.details["deactivations_skipped"],
        )
        for report in (first, second)
    ]
    assert "6 deactivations skipped by the guard" in second.summary
    assert "hrsync hris approve 00000002" in second.summary
    assert [(run_id(2), "held", 6)] == await read_table(database, HrHold, "execution_id", "status", "change_count")
    async with database.reader() as session:
        assert {"deactivate"} == set(await session.scalars(select(HrHoldChange.action)))
    assert 102 == await active(database)


async def test_skipped_deactivations_are_done_once_they_are_approved(hris: Hris, database: Database) -> None:
    """The approval is of the deactivations: other changes since then do not void it, other deactivations do."""
    await lose(hris, 6)
    await replicate(hris.reader, database, SKIPPING, run=RecordedRun(run_id(2)))
    await decide(database, 2)
    await lose(hris, 6, employee("NEW"))

    report = await replicate(hris.reader, database, SKIPPING, run=RecordedRun(run_id(3)), approved=run_id(2))

    assert (1, 6) == (report.counts.inserted, report.counts.deactivated)
    assert [(run_id(2), "applied")] == await read_holds(database)
    assert 95 == await active(database)


async def test_other_deactivations_than_the_approved_ones_wait(hris: Hris, database: Database) -> None:
    """One more is another plan."""
    await lose(hris, 6)
    await replicate(hris.reader, database, SKIPPING, run=RecordedRun(run_id(2)))
    await decide(database, 2)
    await lose(hris, 7)

    await held(hris, database, 3, SKIPPING, approved=run_id(2))

    assert [(run_id(2), "expired"), (run_id(3), "held")] == await read_holds(database)
    assert 100 == await active(database)


async def test_who_left_by_status_is_skipped_as_well(hris: Hris, database: Database) -> None:
    """Rows that the source still has, with a status that says that they are gone, wait unchanged."""
    rows = staff(100)
    departments = [{"code": "D1", "name": "One"}]
    await hris.fill([*(row | {"state": "T", "name": "Gone"} for row in rows[:6]), *rows[6:]], departments)

    report = await replicate(hris.reader, database, SKIPPING, run=RecordedRun(run_id(2)))

    assert 6 == report.details["deactivations_skipped"]
    assert 100 == await active(database)
    assert "Gone" not in {name for (name,) in await read_table(database, Employee, "full_name")}
    await decide(database, 2)
    await replicate(hris.reader, database, SKIPPING, approved=run_id(2))
    assert 94 == await active(database)


async def test_rejected_deactivations_stay_skipped(hris: Hris, database: Database) -> None:
    """The rest goes on, and the summary says who rejected them."""
    await lose(hris, 6)
    await replicate(hris.reader, database, SKIPPING, run=RecordedRun(run_id(2)))
    await decide(database, 2, "reject")
    await lose(hris, 6, employee("NEW"))

    report = await replicate(hris.reader, database, SKIPPING, run=RecordedRun(run_id(3)))

    assert (1, 0) == (report.counts.inserted, report.counts.deactivated)
    assert "rejected by alice@host" in report.summary
    assert [(run_id(2), "rejected")] == await read_holds(database)


async def test_more_than_deactivations_is_held_whole(hris: Hris, database: Database) -> None:
    """Where something else is unusual as well, adds and updates wait too."""
    rows = staff(100)
    await hris.fill([*(row | {"state": "?"} for row in rows[:60]), *rows[70:]])

    await held(hris, database, 2, SKIPPING)

    assert 100 == await active(database)


async def test_skipping_does_not_forget_what_the_source_looked_like(hris: Hris, database: Database) -> None:
    """The bound of an incremental read stays, so that what was skipped comes by again."""
    before = await read_facts(database)
    await lose(hris, 6)

    await replicate(hris.reader, database, SKIPPING)

    after = await read_facts(database)
    assert (before.revision + 1, before.bound) == (after.revision, after.bound)


# --- as a worker runs it ----------------------------------------------------------------------------------------------


@pytest.fixture
async def installation(
    hris: Hris, app_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Callable[..., Any]]:
    """`await installation(number, **params)` runs the real task as a worker does; the row of its execution."""
    config = tmp_path / "config"
    config.mkdir()
    (config / "hris.toml").write_text(MAPPING)
    monkeypatch.setenv("HRIS_URL", hris.reader.url.render_as_string(hide_password=False))
    monkeypatch.setenv("HRSYNC_CONFIG_DIR", str(config))
    monkeypatch.setenv("MAIL_SUMMARY_TO", "ops@example.com")
    get_settings.cache_clear()
    hris_database.cache_clear()
    executor = Executor(app_database, Settings(heartbeat_seconds=0.2), pool="test")

    async def run(**params: Any) -> JobExecution:
        request = RunRequest(execution_id=new_id(), direct_params=params)
        await executor.execute(TASK_REGISTRY["hris_replication"].spec, request)
        async with app_database.reader() as session:
            return (await session.scalars(select(JobExecution).where(JobExecution.id == request.execution_id))).one()

    yield run
    await executor.close()
    await hris_database().dispose()


async def test_a_held_run_fails_without_retry_and_asks_once(
    hris: Hris, app_database: Database, installation: Callable[..., Any]
) -> None:
    """The execution fails at its first attempt as refused by the guard; one mail goes out, also after a second run."""
    await lose(hris)
    first = await installation()
    second = await installation()

    assert [(Status.FAILED, 1, "GuardError")] * 2 == [
        (row.status, row.attempt, row.error_type) for row in (first, second)
    ]
    async with app_database.reader() as session:
        outcomes = list(await session.scalars(select(ExecutionAttempt.outcome)))
        mails = (await session.execute(select(OutboxMessage.recipient, OutboxMessage.text_body))).all()
    assert ["failed", "failed"] == outcomes
    assert ["ops@example.com"] == [recipient for recipient, _ in mails]
    assert f"hrsync hris approve {first.id[-8:]}" in mails[0].text_body


async def test_an_approved_run_is_applied_by_its_execution(
    hris: Hris, app_database: Database, installation: Callable[..., Any]
) -> None:
    """The execution that an approval makes carries the held run's id, applies it, and reports."""
    await lose(hris)
    first = await installation()
    async with app_database.session() as session:
        _, execution = await HOLDS.approve(
            session, first.id, task=TASK_REGISTRY["hris_replication"], actor="alice@host"
        )
    assert {"approved": first.id} == execution.params

    done = await installation(**execution.params)

    assert (Status.SUCCESS, 95, 6) == (done.status, done.rows_read, done.rows_deactivated)
    assert [(first.id, "applied")] == await read_holds(app_database)
