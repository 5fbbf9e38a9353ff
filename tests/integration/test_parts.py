"""Executions that split into parts, on MariaDB and SQLite: made once, summed up once, whatever is killed."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from sqlalchemy import delete, event, select, update

from backend.api.repositories.dispatch_repository import DispatchRepository
from backend.api.repositories.parts_repository import PartsRepository
from backend.db.database import Database
from backend.db.models import JobExecution
from backend.domain.executions import Interrupted, Problem, RetryIn, RetryPolicy, Status
from backend.errors import ConfigurationError, ConflictError
from backend.execution.executor import Executor, RunRequest
from backend.execution.task_spec import TaskSpec, parameters_of
from backend.ports import Run
from backend.settings import Settings
from tests.support.api import api_settings, serving
from tests.support.parts import BROKEN, PART, Wholes, good
from tests.support.scheduling import RememberingBroker, becomes_leader, running_scheduler
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


@pytest.fixture
def wholes(database: Database) -> Wholes:
    """Executions of three parts each."""
    return Wholes(database)


async def test_first_run_makes_the_parts_and_gives_its_place_back(wholes: Wholes) -> None:
    """The first run leaves one execution for each part and is pending, without a worker or an attempt spent."""
    whole = await wholes.add()
    assert Status.PENDING is await wholes.run_whole(whole)
    row = await wholes.row(whole)
    assert ("waiting for its parts", None, None, 1, 1, 0, 3, "0 of 3 parts done") == (
        row.reason, row.worker_id, row.dispatched_at, row.attempt, row.interruptions, row.progress_current,
        row.progress_total, row.progress_message,
    )  # fmt: skip
    assert row.run_after > dt.datetime.now(dt.UTC) + dt.timedelta(minutes=50)
    assert [({"number": n}, "pending", "workflow", whole, 3, "part") for n in (1, 2, 3)] == [
        (part.params, part.status, part.triggered_by, part.correlation_id, part.max_attempts, part.task_code)
        for part in await wholes.all_parts()
    ]
    assert [part.id for part in await wholes.all_parts()] == [part.execution_id for part in await wholes.states(whole)]


async def test_last_part_makes_the_whole_due_and_it_is_summed_up(wholes: Wholes) -> None:
    """The sweep tells the progress after each part, and after the last one the second run sums their reports up."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    for done, part in enumerate(await wholes.states(whole), start=1):
        assert None is await wholes.run_whole(whole)
        await wholes.run_part(part.execution_id)
        assert (1 if done == 3 else 0) == await wholes.sweep()
        row = await wholes.row(whole)
        assert (done, f"{done} of 3 parts done") == (row.progress_current, row.progress_message)
    assert Status.SUCCESS is await wholes.run_whole(whole)
    row = await wholes.row(whole)
    numbers = [{"number": 1}, {"number": 2}, {"number": 3}]
    assert (6, "all done", {"parts": 3, "parts_failed": [], "numbers": numbers}) == (
        row.rows_read, row.summary, row.result
    )  # fmt: skip
    assert ["waiting", "succeeded"] == await wholes.outcomes(whole)


async def test_plan_without_parts_is_summed_up_at_once(wholes: Wholes) -> None:
    """Where there is nothing to split, the first run is the summary."""
    assert Status.SUCCESS is await wholes.run_whole(await wholes.add(), count=0)


async def test_parts_that_ended_before_the_whole_waits_are_seen(wholes: Wholes) -> None:
    """Parts that are through before the run that made them has ended do not leave it waiting."""
    whole = await wholes.add()
    run = await wholes.claim(whole)
    assert run is not None
    outcome, values = await wholes.body(run)
    for part in await wholes.states(whole):
        await wholes.run_part(part.execution_id)
    assert 0 == await wholes.sweep()
    assert await wholes.end(run, outcome, values)
    assert 1 == await wholes.sweep()
    assert Status.SUCCESS is await wholes.run_whole(whole)


async def test_failed_parts_fail_the_whole_with_what_the_others_did(wholes: Wholes) -> None:
    """The summary run fails, names the parts that did not end well and why, and keeps the counts of the others."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    first, second, third = await wholes.states(whole)
    await wholes.run_part(first.execution_id)
    await wholes.run_part(second.execution_id, BROKEN)
    await wholes.cancel(third.execution_id)
    assert 1 == await wholes.sweep()
    assert "3 of 3 parts done, 2 of them failed" == (await wholes.row(whole)).progress_message
    assert Status.FAILED is await wholes.run_whole(whole)
    row = await wholes.row(whole)
    assert ("PartsFailedError", 1, [second.execution_id, third.execution_id]) == (
        row.error_type, row.rows_read, row.result["parts_failed"]
    )  # fmt: skip
    assert row.error_message is not None
    assert row.error_message.startswith(
        f"2 of 3 parts did not end well: 2 ({second.execution_id}: failed, PermanentError), "
        f"3 ({third.execution_id}: cancelled, not now). A retry of this execution"
    )


async def test_retry_makes_only_those_again_that_did_not_end_well(wholes: Wholes) -> None:
    """A retry takes over what ended well, makes the rest again without a new plan, and sums up all of it."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    first, second, third = await wholes.states(whole)
    await wholes.run_part(first.execution_id)
    await wholes.run_part(second.execution_id, BROKEN)
    await wholes.run_part(third.execution_id)
    await wholes.sweep()
    await wholes.run_whole(whole)
    again = await wholes.retry(whole)
    assert Status.PENDING is await wholes.run_whole(again)
    made = await wholes.states(again)
    assert [first.execution_id, third.execution_id] == [made[0].execution_id, made[2].execution_id]
    assert ({"number": 2}, Status.PENDING) == (made[1].params, made[1].status)
    assert await wholes.run_part(made[1].execution_id) is not None
    await wholes.sweep()
    assert Status.SUCCESS is await wholes.run_whole(again)
    assert (6, 1, 4) == ((await wholes.row(again)).rows_read, wholes.plans, len(await wholes.all_parts()))
    assert [Status.SUCCESS, Status.FAILED, Status.SUCCESS] == [part.status for part in await wholes.states(whole)]


async def test_retry_of_a_retry_that_made_no_parts(wholes: Wholes) -> None:
    """A retry that was cancelled before its first run is passed over: what ended well before it is taken over."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    for part in await wholes.states(whole):
        await wholes.run_part(part.execution_id, BROKEN if part.number == 2 else None)
    await wholes.sweep()
    await wholes.run_whole(whole)
    cancelled = await wholes.retry(whole)
    await wholes.cancel(cancelled)
    await wholes.run_whole(await wholes.retry(cancelled))
    assert (1, 4) == (wholes.plans, len(await wholes.all_parts()))


async def test_retry_of_a_whole_that_only_lacks_its_summary(wholes: Wholes) -> None:
    """A whole that was cancelled when all of its parts had ended well is summed up by its retry without any part."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    for part in await wholes.states(whole):
        await wholes.run_part(part.execution_id)
    await wholes.cancel(whole)
    again = await wholes.retry(whole)
    assert Status.SUCCESS is await wholes.run_whole(again)
    assert (1, 3, 6) == (wholes.plans, len(await wholes.all_parts()), (await wholes.row(again)).rows_read)


@pytest.mark.parametrize("why", ["all well", "none well", "deleted"])
async def test_retry_plans_anew_where_there_is_nothing_to_take_over(wholes: Wholes, why: str) -> None:
    """A retry of a whole that succeeded, or failed in every part, or has lost records, asks for a new plan."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    for part in await wholes.states(whole):
        fails = why == "none well" or (why == "deleted" and part.number == 1)
        await wholes.run_part(part.execution_id, BROKEN if fails else None)
    await wholes.sweep()
    await wholes.run_whole(whole)
    if why == "deleted":
        part_id = (await wholes.states(whole))[0].execution_id
        async with wholes.database.session() as session:
            await session.execute(delete(JobExecution).where(JobExecution.id == part_id))
    await wholes.run_whole(await wholes.retry(whole))
    assert (2, 5 if why == "deleted" else 6) == (wholes.plans, len(await wholes.all_parts()))


async def test_deleted_part_counts_as_not_done(wholes: Wholes) -> None:
    """A part whose record is gone neither hangs the whole nor passes for success."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    first, *others = await wholes.states(whole)
    for part in others:
        await wholes.run_part(part.execution_id)
    async with wholes.database.session() as session:
        await session.execute(delete(JobExecution).where(JobExecution.id == first.execution_id))
    assert 1 == await wholes.sweep()
    assert Status.FAILED is await wholes.run_whole(whole)
    assert "its record was deleted" in str((await wholes.row(whole)).error_message)


# --- kills ------------------------------------------------------------------------------------------------------------


async def test_run_that_is_killed_before_it_waits_finds_its_parts(wholes: Wholes) -> None:
    """Killed after it has made the parts, the whole waits for those at its next attempt, and plans nothing twice."""
    whole = await wholes.add()
    run = await wholes.claim(whole)
    assert run is not None
    await wholes.body(run)
    await wholes.lose(whole)
    assert Status.PENDING is await wholes.run_whole(whole)
    assert (3, 1) == (len(await wholes.all_parts()), wholes.plans)
    assert ["lost", "waiting"] == await wholes.outcomes(whole)


async def test_attempt_that_was_given_up_makes_no_parts(wholes: Wholes) -> None:
    """A worker that was cut off and comes back after its rescue cannot make parts beside those of its successor."""
    whole = await wholes.add()
    late = await wholes.claim(whole)
    assert late is not None
    await wholes.lose(whole)
    with pytest.raises(ConflictError):
        await wholes.body(late)
    successor = await wholes.claim(whole)
    assert successor is not None
    with pytest.raises(ConflictError):
        await wholes.body(late)
    await wholes.body(successor)
    assert 3 == len(await wholes.all_parts())


async def test_parts_are_made_once_however_many_ask(wholes: Wholes) -> None:
    """Of several calls at once, one makes the parts; the others leave them alone."""
    whole = await wholes.add()
    run = await wholes.claim(whole)
    assert run is not None
    plan = [{"number": number} for number in range(1, 4)]
    await asyncio.gather(*(wholes.parts.create(whole, run.attempt, PART, plan) for _ in range(5)))
    assert [1, 2, 3] == [part.number for part in await wholes.states(whole)]
    assert 3 == len(await wholes.all_parts())


async def test_wrong_parameters_leave_no_part(wholes: Wholes) -> None:
    """A plan that the task does not take makes nothing, not even its first parts."""
    whole = await wholes.add()
    run = await wholes.claim(whole)
    assert run is not None
    with pytest.raises(ConfigurationError):
        await wholes.parts.create(whole, run.attempt, PART, [{"number": 1}, {"nonsense": 2}])
    assert [] == await wholes.all_parts()


async def test_lost_part_runs_again_and_counts_once(wholes: Wholes) -> None:
    """A part whose worker was killed is rescued like any execution; one that is lost for good ends the whole, too."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    first, *others = await wholes.states(whole)
    for part in others:
        await wholes.run_part(part.execution_id)
    for _ in range(3):
        assert await wholes.claim(first.execution_id) is not None
        assert 0 == await wholes.sweep()
        await wholes.lose(first.execution_id)
    assert 1 == await wholes.sweep()
    assert Status.FAILED is await wholes.run_whole(whole)
    assert "1 of 3 parts did not end well" in str((await wholes.row(whole)).error_message)


async def test_killed_summary_is_made_again(wholes: Wholes) -> None:
    """A worker that is killed while it sums up: the next attempt sums up, and no part runs again."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    for part in await wholes.states(whole):
        await wholes.run_part(part.execution_id)
    await wholes.sweep()
    run = await wholes.claim(whole)
    assert run is not None
    await wholes.lose(whole)
    assert Status.SUCCESS is await wholes.run_whole(whole)
    assert ["waiting", "lost", "succeeded"] == await wholes.outcomes(whole)
    assert [1, 1, 1] == [part.attempt for part in await wholes.all_parts()]


async def test_retry_delay_of_a_summary_is_kept(wholes: Wholes) -> None:
    """A whole that is to sum up again later is not woken early because its parts have ended."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    for part in await wholes.states(whole):
        await wholes.run_part(part.execution_id)
    await wholes.sweep()
    run = await wholes.claim(whole)
    assert run is not None
    await wholes.end(run, RetryIn(delay_seconds=600, problem=Problem(type="TransientError", message="away")))
    assert (0, None) == (await wholes.sweep(), await wholes.claim(whole))


async def test_whole_that_nobody_wakes_looks_by_itself(wholes: Wholes) -> None:
    """When its time has come it looks, and waits on while a part runs; that uses up no attempt."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    for _ in range(5):
        async with wholes.database.session() as session:
            past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
            await session.execute(update(JobExecution).where(JobExecution.id == whole).values(run_after=past))
        assert Status.PENDING is await wholes.run_whole(whole)
    row = await wholes.row(whole)
    assert (6, 6, 3) == (row.attempt, row.interruptions, row.max_attempts)


# --- cancelling -------------------------------------------------------------------------------------------------------


async def test_cancelled_whole_cancels_its_parts(wholes: Wholes) -> None:
    """Parts that wait are cancelled with it, those that run are asked to end, and those that ended stay as they are."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    done, running, _ = await wholes.states(whole)
    await wholes.run_part(done.execution_id)
    await wholes.claim(running.execution_id)
    await wholes.cancel(whole)
    assert Status.CANCELLED is await wholes.status(whole)
    assert [(Status.SUCCESS, None), (Status.RUNNING, None), (Status.CANCELLED, "not now")] == [
        (part.status, part.reason) for part in await wholes.states(whole)
    ]
    assert (await wholes.row(running.execution_id)).cancel_requested_at is not None


async def test_whole_that_is_cancelled_while_it_makes_parts(wholes: Wholes) -> None:
    """Asked to end in the middle of its first run, it ends with all the parts that it still made."""
    whole = await wholes.add()
    run = await wholes.claim(whole)
    assert run is not None
    await wholes.cancel(whole)
    outcome, values = await wholes.body(run)
    await wholes.end(run, outcome, values)
    await wholes.sweep()
    assert Status.CANCELLED is await wholes.status(whole)
    assert ["cancelled"] * 3 == [part.status for part in await wholes.all_parts()]


async def test_part_of_an_execution_that_has_ended_is_not_begun(wholes: Wholes) -> None:
    """A part that is claimed although its whole has failed is given up before its body begins, with the reason."""
    whole = await wholes.add()
    run = await wholes.claim(whole)
    assert run is not None
    await wholes.body(run)
    await wholes.end(run, BROKEN)
    first, *_ = await wholes.states(whole)
    executor = Executor(wholes.database, Settings())
    began: list[int] = []

    async def part(run: Run, *, number: int) -> None:
        """Notes that it began."""
        began.append(number)

    spec = TaskSpec(
        code="part", name=PART.name, queue="default", function=part, parameters=parameters_of(part),
        retry=RetryPolicy(),
    )  # fmt: skip
    result = await executor.execute(spec, RunRequest(execution_id=first.execution_id))
    await executor.close()
    said = f"part of execution {whole}, which has ended (failed)"
    assert (Status.CANCELLED, said, []) == (result.status, result.error, began)
    await wholes.sweep()
    assert [(Status.CANCELLED, said)] * 3 == [(item.status, item.reason) for item in await wholes.states(whole)]


async def test_running_parts_of_an_execution_that_has_ended_are_asked_to_end(wholes: Wholes) -> None:
    """The sweep asks them once, and leaves alone what belongs to an execution that goes on."""
    whole, other = await wholes.add(), await wholes.add()
    await wholes.run_whole(other)
    run = await wholes.claim(whole)
    assert run is not None
    await wholes.body(run)
    first, *_ = await wholes.states(whole)
    running = await wholes.claim(first.execution_id)
    assert running is not None
    await wholes.end(run, BROKEN)
    async with wholes.database.session() as session:
        assert 3 == await PartsRepository().cancel_abandoned(session)
        assert 0 == await PartsRepository().cancel_abandoned(session)
    assert (await wholes.row(first.execution_id)).cancel_requested_at is not None
    await wholes.end(running, good(running))
    assert Status.SUCCESS is await wholes.status(first.execution_id)
    assert [Status.PENDING] * 3 == [part.status for part in await wholes.states(other)]


async def test_handed_back_part_is_no_end(wholes: Wholes) -> None:
    """A part that goes back to pending because its worker shut down keeps the whole waiting."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    for part in await wholes.states(whole):
        await wholes.run_part(part.execution_id, Interrupted())
    assert 0 == await wholes.sweep()


# --- reading ----------------------------------------------------------------------------------------------------------


async def test_parts_are_told_in_json_and_on_the_page(wholes: Wholes) -> None:
    """The API tells the parts of a whole and the whole of a part; the page links them, those that failed first."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    first, second, third = await wholes.states(whole)
    await wholes.run_part(second.execution_id, BROKEN)
    await wholes.sweep()
    async with serving(api_settings(wholes.database)) as client:
        told = (await client.get(f"/api/v1/executions/{whole}")).json()
        part = (await client.get(f"/api/v1/executions/{second.execution_id}")).json()
        page = (await client.get(f"/executions/{whole}", headers={"Accept": "text/html"})).text
        part_page = (await client.get(f"/executions/{first.execution_id}", headers={"Accept": "text/html"})).text
    assert [
        {"number": 1, "execution_id": first.execution_id, "status": "pending", "reason": None},
        {"number": 2, "execution_id": second.execution_id, "status": "failed", "reason": "PermanentError"},
        {"number": 3, "execution_id": third.execution_id, "status": "pending", "reason": None},
    ] == told["parts"]
    assert (None, whole, []) == (told["part_of"], part["part_of"], part["parts"])
    places = [page.index(f"/executions/{item.execution_id}") for item in (second, first, third)]
    assert sorted(places) == places
    assert "whole is waiting for its parts" in page
    assert "1 of 3 parts done, 1 of them failed" in page
    assert "Runs again" not in page
    assert f'<a href="/executions/{whole}">' in part_page


# --- costs, and the scheduler itself ----------------------------------------------------------------------------------


async def test_ordinary_runs_pay_nothing(wholes: Wholes) -> None:
    """Claim and end of an execution that no workflow has made touch no table of parts."""
    whole = await wholes.add()
    statements: list[str] = []

    def note(*args: object) -> None:
        statements.append(str(args[2]))

    event.listen(wholes.database.engine.sync_engine, "before_cursor_execute", note)
    run = await wholes.claim(whole)
    assert run is not None
    await wholes.end(run, BROKEN)
    event.remove(wholes.database.engine.sync_engine, "before_cursor_execute", note)
    assert [] == [text for text in statements if "scheduler_execution_part" in text]


async def test_sweep_passes_over_what_somebody_has_locked(mariadb_database: Database) -> None:
    """Rows that an operator holds in a transaction keep neither the other wholes nor the other parts waiting."""
    wholes = Wholes(mariadb_database)
    held, free, abandoned = [await wholes.add() for _ in range(3)]
    for whole in (held, free):
        await wholes.run_whole(whole)
        for part in await wholes.states(whole):
            await wholes.run_part(part.execution_id)
    run = await wholes.claim(abandoned)
    assert run is not None
    await wholes.body(run)
    await wholes.end(run, BROKEN)
    first, *others = [part.execution_id for part in await wholes.states(abandoned)]
    async with mariadb_database.session() as session:
        await session.execute(
            select(JobExecution.id)
            .where(JobExecution.id.in_([held, first]))
            .order_by(JobExecution.id)
            .with_for_update()
        )
        async with asyncio.timeout(5):
            assert 1 == await wholes.sweep()
        assert [Status.CANCELLED] * 2 == [await wholes.status(part) for part in others]
    assert 1 == await wholes.sweep()
    assert [Status.SUCCESS] * 2 == [await wholes.run_whole(whole) for whole in (held, free)]
    assert Status.CANCELLED is await wholes.status(first)


async def test_part_whose_task_the_program_no_longer_has(wholes: Wholes) -> None:
    """It is failed like an execution of a job, so that the whole does not wait for ever."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    parts = [part.execution_id for part in await wholes.states(whole)]
    async with wholes.database.session() as session:
        repository = DispatchRepository()
        await repository.take_due(session, limit=10)
        assert parts == list(await repository.fail_unknown_tasks(session, {"whole"}, 0))
    assert 1 == await wholes.sweep()
    assert Status.FAILED is await wholes.run_whole(whole)


async def test_scheduler_sends_parts_and_then_the_whole(wholes: Wholes) -> None:
    """A leading scheduler sends each part once, and the whole again when they have ended."""
    whole = await wholes.add()
    await wholes.run_whole(whole)
    parts = [part.execution_id for part in await wholes.states(whole)]
    broker = RememberingBroker()
    async with running_scheduler(wholes.database, broker) as service:
        await becomes_leader(service)

        async def parts_are_sent() -> bool:
            return sorted(broker.sent) == sorted(parts)

        await eventually_async(parts_are_sent, 10)
        for part in parts:
            await wholes.run_part(part)

        async def whole_is_sent() -> bool:
            return broker.sent[3:] == [whole]

        await eventually_async(whole_is_sent, 10)
    assert Status.SUCCESS is await wholes.run_whole(whole)
