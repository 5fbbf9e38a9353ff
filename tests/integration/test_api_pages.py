"""The pages of the dashboard as the server sends them, on both engines; `test_dashboard` looks with a browser."""

from __future__ import annotations

import datetime as dt
import html
import re

import httpx
import pytest

from backend.db.database import Database
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

PAGE = {"Accept": "text/html"}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


def words(page: httpx.Response | str) -> str:
    """The text of a page, without tags, on one line."""
    text = page if isinstance(page, str) else page.text
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def headline(page: httpx.Response) -> str:
    """The text of the first heading."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)
    assert found is not None
    return words(found[1])


async def fill(database: Database) -> str:
    """A system in which everything is well; the id of its last run."""
    await beat(database)
    job = await add_job(database, "nightly", name="HRIS replication", timezone="Europe/Berlin")
    run = await add_execution(
        database, job_id=job, job_code="nightly", rows_read=250, rows_inserted=3, rows_updated=0, rows_unchanged=246,
        rows_rejected=1, summary="250 employees read.",
    )  # fmt: skip
    await add_attempt(database, run, 1, outcome="succeeded", duration_ms=1500)
    await add_log(database, run, "batch_written", entity="employees")
    await add_stream(database, "hris.employees", stale_after_seconds=3600, row_count=1250, execution_id=run)
    return run


async def test_a_healthy_system_is_seen_at_once(database: Database) -> None:
    """The headline says that HR data is current; streams, jobs and runs follow with their numbers."""
    await fill(database)
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/")
    assert headline(page) == "HR data is current"
    text = words(page)
    assert "1 250 rows" in text
    assert "daily at 02:30 Europe/Berlin" in text
    assert "250 read 3 new 1 rejected 250 employees read." in text


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        ({"lease": None}, "The scheduler is down"),
        ({"loop_age": 900}, "The scheduler is down"),
        ({"worker_age": None}, "No worker is running"),
    ],
)
async def test_dead_machinery_is_the_headline(database: Database, signs: dict[str, float | None], said: str) -> None:
    """When nothing is scheduled or executed, the page says that first, and how to start it."""
    await add_job(database, "nightly")
    await beat(database, **signs)  # type: ignore[arg-type]
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/")
    assert headline(page) == said
    assert "systemctl start hrsync-" in page.text


async def test_a_broker_that_is_away_is_the_headline(sqlite_database: Database) -> None:
    """A Redis that does not answer is told, with the comfort that nothing is lost."""
    await fill(sqlite_database)
    settings = api_settings(sqlite_database, celery_broker_url="redis://127.0.0.1:1/0")
    async with serving(settings, headers=PAGE) as client:
        page = await client.get("/")
    assert headline(page) == "The broker is down"
    assert "Nothing is lost" in page.text


async def test_a_fresh_installation_says_what_to_do(database: Database) -> None:
    """Without jobs and data the page is no alarm, but a list of the next steps."""
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/")
    assert headline(page) == "Nothing is set up yet"
    assert "hrsync jobs apply config/jobs.toml" in page.text


async def test_a_failed_job_is_told_with_its_reason(database: Database) -> None:
    """The reason of the failure stands on the front page, without the URL in it, and leads to the run."""
    await beat(database)
    job = await add_job(database, "nightly", name="HRIS replication")
    run = await add_execution(
        database, "failed", job_id=job, job_code="nightly", error_type="TransientError",
        error_message="HRIS (HRIS_URL = mssql+aioodbc://reader:***@sql:1433/HR): Login timeout -- check the firewall",
    )  # fmt: skip
    await add_stream(database, "hris.employees", stale_after_seconds=3600)
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/")
        detail = await client.get(f"/executions/{run}")
    assert headline(page) == "1 thing needs attention"
    assert "HRIS replication failed just now: HRIS: Login timeout; check the firewall" in words(page)
    assert f'href="/executions/{run}"' in page.text
    assert headline(detail) == "HRIS replication has failed"
    assert "mssql+aioodbc://reader:***@sql:1433/HR" in detail.text


async def test_one_execution_tells_its_story(database: Database) -> None:
    """Its page shows counts, attempts, log and facts, by the id; the end of the id leads there."""
    run = await fill(database)
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get(f"/executions/{run}")
        short = await client.get(f"/executions/{run[-8:]}")
    text = words(page)
    assert headline(page) == "HRIS replication has succeeded"
    assert "Attempt 1 succeeded after 1.5 s" in text
    assert "batch_written entity= employees" in text
    assert "1 of 1" in text
    assert (short.status_code, short.headers["location"]) == (303, f"/executions/{run}")


@pytest.mark.parametrize("status", ["pending", "running", "success", "failed", "cancelled", "missed", "skipped"])
async def test_every_status_has_its_page(sqlite_database: Database, status: str) -> None:
    """An execution in any status, without job, counts and log, is shown."""
    run = await add_execution(sqlite_database, status, reason="because of the weather")
    async with serving(api_settings(sqlite_database), headers=PAGE) as client:
        page = await client.get(f"/executions/{run}")
        listed = await client.get("/executions", params={"status": status})
    assert page.status_code == 200
    assert "Because of the weather." in words(page)
    assert run[-8:] in listed.text


async def test_a_running_execution_shows_its_progress(database: Database) -> None:
    """Progress is a bar with numbers and a message, on the list and on its page."""
    run = await add_execution(
        database, "running", progress_current=30, progress_total=120, progress_message="employees"
    )
    async with serving(api_settings(database), headers=PAGE) as client:
        for path in ("/", f"/executions/{run}"):
            page = await client.get(path)
            assert '<progress value="30" max="120"' in page.text
            assert "30 of 120" in words(page)


async def test_one_job_tells_its_schedule_and_its_runs(database: Database) -> None:
    """Its page shows schedule, policy, the next fires and its own runs, page by page."""
    await fill(database)
    job = await add_job(database, "busy", trigger_kind="interval", trigger_expression="15m", overlap="queue")
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    for minute in range(30):
        at = start + dt.timedelta(minutes=minute)
        await add_execution(database, job_id=job, job_code="busy", at=at, summary=f"run number {minute};")
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/jobs/busy")
        older = re.search(r'href="(/jobs/busy\?before=[^"]+)"', page.text)
        assert older is not None
        rest = await client.get(html.unescape(older[1]))
    text = words(page)
    assert "every 15 min" in text
    assert "queues a fire while it is busy" in text
    assert page.text.count("UTC</span></li>") == 5
    numbers = [int(number) for part in (page, rest) for number in re.findall(r"run number (\d+);", part.text)]
    assert numbers == list(range(29, -1, -1))
    assert "HRIS replication" not in words(rest)


async def test_the_list_of_runs_filters_and_pages(database: Database) -> None:
    """Older pages keep the filter; together they show each run once."""
    for _ in range(60):
        await add_execution(database, "failed")
    await add_execution(database, "success")
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/executions?status=failed&job=")
        older = re.search(r'href="(/executions\?status=failed&amp;before=[^"]+)"', page.text)
        assert older is not None
        rest = await client.get(html.unescape(older[1]))
        unknown = await client.get("/executions?status=nonsense")
    found = re.findall(r'<a href="/executions/([0-9a-f-]{36})"', page.text + rest.text)
    assert (len(found), len(set(found))) == (60, 60)
    assert "← Newest" in rest.text
    assert unknown.status_code == 200


@pytest.mark.parametrize("path", ["/", "/executions", "/jobs/evil", "/executions/{run}"])
async def test_what_jobs_and_errors_say_is_text_and_never_markup(database: Database, path: str) -> None:
    """Names, messages, log lines and parameters with markup in them are shown as they are written."""
    await beat(database)
    job = await add_job(database, "evil", name=EVIL, description=EVIL, params={"x": EVIL}, timezone="UTC")
    run = await add_execution(
        database, "failed", job_id=job, job_code="evil", error_message=EVIL, error_type=EVIL[:50], reason=EVIL,
        requested_by=EVIL, params={"x": EVIL}, worker_host=EVIL, summary=EVIL, progress_message=EVIL,
    )  # fmt: skip
    await add_attempt(database, run, 1, error_message=EVIL, traceback=EVIL, outcome="failed")
    await add_log(database, run, EVIL, field=EVIL)
    await add_stream(database, "evil." + EVIL, stale_after_seconds=1, age=100)
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get(path.format(run=run))
    assert page.status_code == 200
    assert "alert(1)" in page.text
    assert "<script>alert" not in page.text
    assert "<img" not in page.text
    assert "\"'>" not in page.text
    assert "{{7*7}}" in html.unescape(page.text)


async def test_the_page_asks_only_for_what_changes(database: Database) -> None:
    """With the header of the page's own refreshing, only the changing part is sent, and errors are problems."""
    await fill(database)
    async with serving(api_settings(database), headers=PAGE | {"X-Hrsync-Fragment": "1"}) as client:
        part = await client.get("/")
        gone = await client.get("/executions/00000000")
    assert part.text.lstrip().startswith('<div id="live"')
    assert "<html" not in part.text
    assert 'data-title="HR data is current"' in part.text
    assert gone.headers["content-type"] == "application/problem+json"


async def test_without_script_the_page_reloads_itself(database: Database) -> None:
    """A browser without JavaScript reloads, and sees when the page was made."""
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/")
    assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in page.text
    assert re.search(r"<noscript>as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; reloads", page.text)


async def test_times_are_relative_with_the_instant_beside_them(database: Database) -> None:
    """Each time is machine-readable, has UTC in its title, and reads relative to the database's clock."""
    await add_execution(database, at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=3, minutes=5))
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/executions")
    assert re.search(r'<time datetime="\S+Z" title="\d{4}-\S+ \S+ UTC" data-relative>3 h ago</time>', page.text)


@pytest.mark.parametrize("path", ["/no/such/page", "/jobs/nope", "/executions/00000000"])
async def test_a_wrong_address_leads_back(sqlite_database: Database, path: str) -> None:
    """A page that does not exist is a 404 page with the way to the overview."""
    async with serving(api_settings(sqlite_database), headers=PAGE) as client:
        page = await client.get(path)
    assert page.status_code == 404
    assert headline(page) == "There is no such page"
    assert '<a href="/">To the overview</a>' in page.text


async def test_a_database_that_is_away_is_a_page_that_tries_again() -> None:
    """People see what is wrong and how to mend it, without a password, and the page goes on looking."""
    async with serving(api_settings("mysql+aiomysql://u:s3cret@127.0.0.1:1/hr"), headers=PAGE) as client:
        page = await client.get("/")
        part = await client.get("/", headers={"X-Hrsync-Fragment": "1"})
    assert (page.status_code, headline(page)) == (503, "The database cannot be read")
    assert "the server cannot be reached" in page.text
    assert "dashboard.js" in page.text
    assert part.headers["content-type"] == "application/problem+json"
    assert "s3cret" not in page.text + part.text


async def test_a_database_without_tables_is_a_page_that_says_what_to_run(empty_mariadb_url: str) -> None:
    """Before `hrsync db upgrade` the page names that command."""
    async with serving(api_settings(empty_mariadb_url), headers=PAGE) as client:
        page = await client.get("/")
    assert page.status_code == 503
    assert "hrsync db upgrade" in page.text
