"""/healthz and /readyz of a real server."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from backend.api.routes.readiness import CheckResult, CheckState, Readiness
from backend.db.database import Database
from tests.conftest import make_database
from tests.support.api import api_settings, beat, serving
from tests.support.servers import MariaDBServer, RedisServer
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


async def readiness(client: httpx.AsyncClient) -> tuple[int, dict[str, str], str]:
    """The status, the state of each check, and the reason."""
    answer = await client.get("/readyz")
    body = answer.json()
    return answer.status_code, {name: check["state"] for name, check in body["checks"].items()}, body["reason"]


async def test_a_living_process_says_so_without_its_database(tmp_path: object) -> None:
    """/healthz answers 200 although no database can be reached."""
    async with serving(api_settings("mysql+aiomysql://a:b@127.0.0.1:1/nothing")) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_complete_system_is_ready(database: Database) -> None:
    """With database, lease, a fresh loop, broker and worker, /readyz answers 200 and `ready`."""
    await beat(database)
    async with serving(api_settings(database)) as client:
        answer = await client.get("/readyz")
    body = answer.json()
    assert (answer.status_code, body["status"], body["reason"]) == (200, "ready", "")
    assert set(body["checks"]) == {"database", "lease", "scheduler", "broker", "workers"}
    assert body["checks"]["scheduler"]["age_seconds"] < 15


@pytest.mark.parametrize(
    ("signs", "failed", "said"),
    [
        ({"lease": None}, {"lease"}, "no scheduler holds the lease"),
        ({"lease": -5}, {"lease"}, "expired"),
        ({"loop_age": 60}, {"scheduler"}, "last loop 60."),
    ],
)
async def test_a_scheduler_that_does_not_work_makes_the_system_not_ready(
    database: Database, signs: dict[str, float | None], failed: set[str], said: str
) -> None:
    """A lease that is free or expired, or a loop too long ago, is a 503 that names it."""
    await beat(database, **signs)  # type: ignore[arg-type]
    async with serving(api_settings(database)) as client:
        status, states, reason = await readiness(client)
    assert status == 503
    assert {name for name, state in states.items() if state == "failed"} == failed
    assert said in reason


async def test_missing_workers_are_a_warning(database: Database) -> None:
    """Without a fresh heartbeat of a worker the system is degraded, not down: runs wait and nothing is lost."""
    await beat(database, worker_age=3600)
    async with serving(api_settings(database)) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "no worker has sent a heartbeat" in answer.json()["reason"]


async def test_a_database_without_tables_is_not_ready_and_says_what_to_run(empty_url: str) -> None:
    """Missing migrations are a 503 with the command that mends them."""
    async with serving(api_settings(empty_url)) as client:
        status, states, reason = await readiness(client)
    assert (status, states["database"]) == (503, "failed")
    assert "hrsync db upgrade" in reason


async def test_a_redis_that_goes_away_and_comes_back_is_noticed(
    sqlite_database: Database, private_redis: RedisServer
) -> None:
    """/readyz follows the broker: ready, 503 while it is away, ready again."""
    await beat(sqlite_database, lease=600)
    settings = api_settings(sqlite_database, celery_broker_url=private_redis.url, lease_seconds=600)
    async with serving(settings) as client:
        assert (await readiness(client))[0] == 200
        private_redis.stop()
        status, states, reason = await readiness(client)
        assert (status, states["broker"]) == (503, "failed")
        assert "Redis does not answer" in reason
        private_redis.start()
        assert (await readiness(client))[0] == 200


async def test_a_frozen_redis_does_not_hold_up_the_answer(
    sqlite_database: Database, private_redis: RedisServer
) -> None:
    """A broker that accepts connections and says nothing is reported within three seconds."""
    await beat(sqlite_database)
    async with serving(api_settings(sqlite_database, celery_broker_url=private_redis.url)) as client:
        private_redis.suspend()
        begun = time.monotonic()
        status, states, _ = await readiness(client)
        private_redis.resume()
    assert (status, states["broker"]) == (503, "failed")
    assert time.monotonic() - begun < 4


async def test_a_frozen_database_does_not_hold_up_the_answer(private_mariadb: MariaDBServer) -> None:
    """With a database that says nothing, /readyz still answers in about three seconds, and recovers with it."""
    url = f"{private_mariadb.url}/mysql"
    async with serving(api_settings(url)) as client:
        assert (await readiness(client))[1]["broker"] == "ok"
        private_mariadb.suspend()
        try:
            for _ in range(2):
                begun = time.monotonic()
                status, states, reason = await readiness(client)
                assert time.monotonic() - begun < 4
                assert (status, states["database"], states["broker"]) == (503, "failed", "ok")
                assert "no answer" in reason
            begun = time.monotonic()
            assert (await client.get("/healthz")).status_code == 200
            assert time.monotonic() - begun < 1
            page = await client.get("/", headers={"Accept": "text/html"})
            assert page.status_code == 503
            assert time.monotonic() - begun < 9
        finally:
            private_mariadb.resume()

        async def answers() -> bool:
            return "hrsync db upgrade" in (await readiness(client))[2]

        assert await eventually_async(answers)


async def test_a_database_that_is_away_is_named_without_its_password() -> None:
    """The reason for a 503 names the system and the setting, and never the password."""
    async with serving(api_settings("mysql+aiomysql://reader:s3cret@127.0.0.1:1/hr")) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "MARIA_URL" in answer.text
    assert "s3cret" not in answer.text


async def test_many_who_ask_at_once_ask_a_hanging_system_once() -> None:
    """A check on its way is shared: 20 questions are one call."""
    calls = 0

    async def hangs() -> CheckResult:
        nonlocal calls
        calls += 1
        await asyncio.Event().wait()
        raise AssertionError

    readiness = Readiness({"slow": hangs}, timeout_seconds=0.2)
    answers = await asyncio.gather(*(readiness.results() for _ in range(20)))
    assert calls == 1
    assert {answer["slow"].state for answer in answers} == {CheckState.FAILED}


async def test_a_check_that_ignores_its_cancellation_is_not_waited_for() -> None:
    """A driver that swallows cancellation cannot hold up the answer."""
    release = asyncio.Event()

    async def stubborn() -> CheckResult:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return CheckResult(state=CheckState.OK, detail="at last")

    readiness = Readiness({"slow": stubborn}, timeout_seconds=0.1)
    assert (await readiness.results())["slow"].state is CheckState.FAILED
    assert (await readiness.results())["slow"].state is CheckState.FAILED
    release.set()
    assert (await readiness.results())["slow"].detail == "at last"


async def test_looking_does_not_write(sqlite_url: str) -> None:
    """The API reads while another process holds SQLite's write lock."""
    database = make_database(sqlite_url)
    await beat(database)
    async with serving(api_settings(sqlite_url)) as client, database.session() as session:
        await session.connection()  # the write lock is taken here
        status, _, _ = await readiness(client)
        page = await client.get("/", headers={"Accept": "text/html"})
    assert (status, page.status_code) == (200, 200)
    await database.dispose()
