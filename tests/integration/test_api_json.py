"""The read-only JSON under /api/v1, on both engines."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import httpx
import pytest

from backend.db.database import Database
from backend.utils.identifiers import new_id
from tests.support.api import (
    add_attempt,
    add_execution,
    add_job,
    add_log,
    add_stream,
    api_settings,
    beat,
    serving,
)

pytestmark = pytest.mark.anyio


async def pages(client: httpx.AsyncClient, **query: Any) -> list[list[str]]:
    """The ids of every page of the executions."""
    found: list[list[str]] = []
    before: str | None = None
    while True:
        answer = await client.get("/api/v1/executions", params=query | ({"before": before} if before else {}))
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found.append([item["id"] for item in body["items"]])
        before = body["next"]
        if before is None:
            return found


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return [one for page in await pages(client, **query) for one in page]


async def test_pages_show_every_execution_once_the_newest_first(database: Database) -> None:
    """Pages join without gap or overlap, also for calls with random ids and for rows of the same instant."""
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    newest_first: list[str] = []
    for minute in range(5):
        at = start + dt.timedelta(minutes=minute)
        together = [
            await add_execution(database, at=at),
            await add_execution(database, at=at, id=str(uuid.uuid4()), triggered_by="direct"),
            await add_execution(database, at=at),
        ]
        newest_first = [*sorted(together, reverse=True), *newest_first]
    async with serving(api_settings(database)) as client:
        found = await pages(client, limit=4)
    assert [len(page) for page in found] == [4, 4, 4, 3]
    assert [one for page in found for one in page] == newest_first


async def test_a_full_last_page_has_no_next(database: Database) -> None:
    """Where the rows end with the page, no empty page follows."""
    for _ in range(4):
        await add_execution(database)
    async with serving(api_settings(database)) as client:
        assert [len(page) for page in await pages(client, limit=2)] == [2, 2]


async def test_executions_are_filtered(database: Database) -> None:
    """Job, task, status (several) and time each restrict the list, and together."""
    nightly = await add_job(database, "nightly")
    old = await add_execution(
        database, "failed", at=dt.datetime(2024, 5, 1, tzinfo=dt.UTC), job_id=nightly, job_code="nightly"
    )
    good = await add_execution(database, "success", job_id=nightly, job_code="nightly")
    missed = await add_execution(database, "missed", job_id=nightly, job_code="nightly", reason="too late")
    other = await add_execution(database, "failed", task_code="send_email")
    async with serving(api_settings(database)) as client:
        assert set(await ids(client)) == {old, good, missed, other}
        assert await ids(client, job="nightly") == [missed, good, old]
        assert await ids(client, job="nightly", limit=1) == [missed, good, old]
        assert await ids(client, task="send_email") == [other]
        assert await ids(client, status="failed") == [other, old]
        assert set(await ids(client, status=["failed", "missed"])) == {old, missed, other}
        assert set(await ids(client, since="2024-05-02T00:00:00Z")) == {good, missed, other}
        assert await ids(client, since="2024-05-02", job="nightly", status="failed") == []
        assert await ids(client, since="2024-05-01T02:00:00+02:00", job="nightly", status="failed") == [old]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/v1/executions?job=nope", 404, "no job 'nope'"),
        ("/api/v1/executions?before=nope", 404, "no execution 'nope'"),
        ("/api/v1/executions?limit=0", 422, "limit: "),
        ("/api/v1/executions?limit=9999", 422, "limit: "),
        ("/api/v1/executions?status=great", 422, "status.0: "),
        ("/api/v1/executions?since=yesterday", 422, "since: "),
        ("/api/v1/executions/00000000", 404, "no execution '00000000'"),
        ("/api/v1/executions/%25", 404, "no execution"),
        ("/api/v1/jobs/nope", 404, "no job 'nope'"),
        ("/api/v1/nothing", 404, "Not Found"),
    ],
)
async def test_errors_are_problem_documents(sqlite_database: Database, path: str, status: int, said: str) -> None:
    """What was wrong with a request is said in words, in the standard form."""
    async with serving(api_settings(sqlite_database)) as client:
        answer = await client.get(path)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in body["detail"]
    assert body["title"]


async def test_refused_parameters_are_listed(sqlite_database: Database) -> None:
    """A 422 names each parameter, for programs."""
    async with serving(api_settings(sqlite_database)) as client:
        body = (await client.get("/api/v1/executions?limit=x&since=y")).json()
    assert {item["parameter"] for item in body["errors"]} == {"limit", "since"}


async def test_a_database_that_is_away_is_a_503_to_try_again() -> None:
    """Without the database, the JSON answers 503 with a time to come back, and tells no password."""
    async with serving(api_settings("mysql+aiomysql://u:s3cret@127.0.0.1:1/hr")) as client:
        answer = await client.get("/api/v1/jobs")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "cannot be reached" in answer.json()["detail"]
    assert "s3cret" not in answer.text


async def test_an_execution_is_told_with_its_attempts(database: Database) -> None:
    """The detail has counts, parameters, result and every attempt, by the id or by its end."""
    one = await add_execution(
        database, "failed", params={"full": True}, rows_read=10, rows_rejected=2, error_type="TransientError",
        error_message="away", attempt=2, max_attempts=4, result={"a": [1]},
    )  # fmt: skip
    await add_attempt(database, one, 1, outcome="retry", error_type="TransientError", error_message="away")
    await add_attempt(database, one, 2, outcome="failed", error_message="away", traceback="Traceback ...")
    async with serving(api_settings(database)) as client:
        body = (await client.get(f"/api/v1/executions/{one}")).json()
        assert (await client.get(f"/api/v1/executions/{one[-8:]}")).json() == body
    assert (body["status"], body["params"], body["result"]) == ("failed", {"full": True}, {"a": [1]})
    assert body["counts"] == {
        "read": 10, "inserted": None, "updated": None, "unchanged": None, "deactivated": None, "rejected": 2,
    }  # fmt: skip
    assert [(item["attempt"], item["outcome"]) for item in body["attempts"]] == [(1, "retry"), (2, "failed")]
    assert body["created_at"].endswith("Z")


async def test_an_end_that_several_ids_share_is_a_conflict(sqlite_database: Database) -> None:
    """An ambiguous reference is a 409 that asks for more of the id."""
    for _ in range(2):
        await add_execution(sqlite_database, id=new_id()[:-8] + "abcdef01")
    async with serving(api_settings(sqlite_database)) as client:
        answer = await client.get("/api/v1/executions/abcdef01")
    assert answer.status_code == 409
    assert "more of the id" in answer.json()["detail"]


async def test_a_log_is_read_page_by_page(database: Database) -> None:
    """Log lines come in their order, and `next` goes on where the page ended."""
    one = await add_execution(database, "running")
    await add_log(database, one, "a", "b", "c", rows=3)
    async with serving(api_settings(database)) as client:
        first = (await client.get(f"/api/v1/executions/{one}/logs", params={"limit": 2})).json()
        rest = (await client.get(f"/api/v1/executions/{one}/logs", params={"after": first["next"]})).json()
    assert [line["event"] for line in first["items"]] == ["a", "b"]
    assert [(line["event"], line["fields"]) for line in rest["items"]] == [("c", {"rows": 3})]
    assert rest["next"] is None


async def test_jobs_tell_their_last_result_and_their_next_fires(database: Database) -> None:
    """Each job has its last telling execution and its next fire; a resting job has none."""
    nightly = await add_job(database, "nightly", timezone="Europe/Berlin", max_runs=3, runs_count=1)
    await add_job(database, "resting", paused_at=dt.datetime.now(dt.UTC))
    await add_job(database, "gone", deleted_at=dt.datetime.now(dt.UTC))
    failed = await add_execution(database, "failed", job_id=nightly, job_code="nightly")
    await add_execution(database, "skipped", job_id=nightly, job_code="nightly", reason="busy")
    async with serving(api_settings(database)) as client:
        jobs = (await client.get("/api/v1/jobs")).json()["items"]
        one = (await client.get("/api/v1/jobs/nightly?fires=5")).json()
        gone = (await client.get("/api/v1/jobs/gone")).json()
    assert [(job["code"], len(job["next_fires"])) for job in jobs] == [("nightly", 1), ("resting", 0)]
    assert (jobs[0]["last_run"]["id"], jobs[0]["last_run"]["status"]) == (failed, "failed")
    assert jobs[1]["last_run"] is None
    # Two of three runs are left.
    assert len(one["next_fires"]) == 2
    assert one["next_fires"][0] < one["next_fires"][1]
    assert gone["deleted_at"] is not None


async def test_a_schedule_that_cannot_be_read_does_not_hide_the_jobs(sqlite_database: Database) -> None:
    """A row that somebody edited by hand is listed without next fires."""
    await add_job(sqlite_database, "broken", trigger_expression="every now and then")
    async with serving(api_settings(sqlite_database)) as client:
        (job,) = (await client.get("/api/v1/jobs")).json()["items"]
    assert job["next_fires"] == []


async def test_streams_tell_how_old_their_data_is(database: Database) -> None:
    """A stream is current, stale, never filled, or without a limit, by the database's clock."""
    await add_stream(database, "a", age=60, stale_after_seconds=3600, row_count=12)
    await add_stream(database, "b", age=7200, stale_after_seconds=3600)
    await add_stream(database, "c", age=None, stale_after_seconds=3600)
    await add_stream(database, "d", age=86400)
    async with serving(api_settings(database)) as client:
        items = (await client.get("/api/v1/streams")).json()["items"]
    assert [(item["code"], item["state"]) for item in items] == [
        ("a", "current"), ("b", "stale"), ("c", "never"), ("d", "no limit"),
    ]  # fmt: skip
    assert 60 <= items[0]["age_seconds"] < 120
    assert items[2]["age_seconds"] is None


async def test_workers_tell_whether_they_live(database: Database) -> None:
    """A worker with a fresh heartbeat lives; one that fell silent does not."""
    await beat(database)
    async with serving(api_settings(database)) as client:
        assert [item["alive"] for item in (await client.get("/api/v1/workers")).json()["items"]] == [True]
    async with serving(api_settings(database, heartbeat_seconds=1e-9, orphan_after_seconds=2e-9)) as client:
        assert [item["alive"] for item in (await client.get("/api/v1/workers")).json()["items"]] == [False]


async def test_tasks_are_those_of_the_registry(sqlite_database: Database) -> None:
    """What can be scheduled is listed with the schema of its parameters."""
    async with serving(api_settings(sqlite_database)) as client:
        items = {item["code"]: item for item in (await client.get("/api/v1/tasks")).json()["items"]}
    replication = items["hris_replication"]
    assert replication["name"] == "tasks.hris.hris_replication_task"
    assert replication["parameters"]["properties"]["full"]["type"] == "boolean"


async def test_the_status_is_the_headline_of_the_dashboard(database: Database) -> None:
    """/api/v1/status says in one word and one sentence whether HR data is current, and why not."""
    await beat(database)
    await add_job(database, "nightly")
    await add_stream(database, "hris.employees", age=7200, stale_after_seconds=3600)
    async with serving(api_settings(database)) as client:
        body = (await client.get("/api/v1/status")).json()
    assert (body["level"], body["headline"]) == ("bad", "HR data is not current")
    assert body["reasons"][0]["text"].startswith("HRIS employees: 2 h old, more than the 1 h")


async def test_the_description_is_complete(sqlite_database: Database) -> None:
    """OpenAPI names every route with a summary, every reference leads somewhere, and errors are problem documents."""
    async with serving(api_settings(sqlite_database)) as client:
        schema = (await client.get("/api/v1/openapi.json")).json()
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    assert {"/healthz", "/readyz", "/api/v1/executions", "/api/v1/jobs/{code}"} <= set(schema["paths"])
    assert all(operation["summary"] and operation["description"] for operation in operations)
    references = set(_references(schema))
    assert {reference.rpartition("/")[2] for reference in references} <= set(schema["components"]["schemas"])
    for operation in operations:
        for status, response in operation["responses"].items():
            if int(status) >= 400 and operation["tags"] != ["health"]:
                assert list(response["content"]) == ["application/problem+json"]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in _references(item)]
    if isinstance(value, list):
        return [found for item in value for found in _references(item)]
    return []
