"""Held runs over HTTP: the dashboard says first of all that one waits; pages and JSON tell all but the values."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import httpx
import pytest

from backend.db.database import Database
from tests.support.api import add_execution, add_job, add_stream, api_settings, beat, serving
from tests.support.holds import CHANGES, COUNTS, REASON, add_hold

pytestmark = pytest.mark.anyio

PAGE = {"Accept": "text/html"}
VALUES = ("Ada Example", "ada@example.com", "555 0100", "Operations", "2003")


def words(text: str) -> str:
    """The text of a page, without tags, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def headline(page: httpx.Response) -> str:
    """The text of the first heading."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)
    assert found is not None
    return words(found[1])


async def hold_a_run(database: Database, **values: Any) -> str:
    """A living system whose nightly run was held; the run's id."""
    await beat(database)
    job_id = await add_job(database, "nightly", name="HRIS replication")
    run = await add_execution(database, "failed", job_id=job_id, job_code="nightly", error_type="GuardError")
    await add_stream(database, "hris.employees", stale_after_seconds=3600, row_count=4212)
    async with database.session() as session:
        await add_hold(session, execution_id=run, **values)
    return run


async def test_a_held_run_is_the_headline(database: Database) -> None:
    """Before anything else: the data is not current, which run is held, why, and the commands that decide."""
    run = await hold_a_run(database)
    ref = run[-8:]
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get("/")
        status = (await client.get("/api/v1/status")).json()
    assert headline(page) == f"HR data is not current: run {ref} is held"
    assert f"waits for a decision: {REASON}." in words(page.text)
    assert f"hrsync hris approve {ref}" in page.text
    assert f'href="/hris/holds/{run}"' in page.text
    assert (status["level"], status["headline"]) == ("bad", f"HR data is not current: run {ref} is held")
    # The failed job is the same thing, and is not told twice.
    assert len(status["reasons"]) == 1


@pytest.mark.parametrize("status", ["approved", "rejected", "applied", "expired"])
async def test_a_hold_that_is_over_is_no_headline(sqlite_database: Database, status: str) -> None:
    """Once somebody has decided, the front page speaks of other things."""
    await hold_a_run(sqlite_database, status=status)
    async with serving(api_settings(sqlite_database), headers=PAGE) as client:
        page = await client.get("/")
    assert headline(page) == "1 thing needs attention"


async def test_the_page_of_a_hold_tells_all_but_values(database: Database) -> None:
    """Reasons, counts, keys, actions and field names; what the fields hold stays in the database."""
    run = await hold_a_run(database)
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get(f"/hris/holds/{run}")
        short = await client.get(f"/hris/holds/{run[-10:]}")
        execution = await client.get(f"/executions/{run}")
        missing = await client.get("/hris/holds/abcdabcd")
    text = words(page.text)
    assert headline(page) == f"Run {run[-8:]} is held"
    for said in (REASON, "4 000 deactivated", "department_code 2", f"hrsync hris reject {run[-8:]}", "1002", "عائشة"):
        assert said in text
    assert "changed employees 1002 department_code, phone" in text
    assert [value for value in VALUES if value in text] == []
    assert (short.status_code, short.headers["location"]) == (303, f"/hris/holds/{run}")
    assert f'href="/hris/holds/{run}"' in execution.text
    assert (missing.status_code, headline(missing)) == (404, "There is no such page")


async def test_the_page_of_a_decision_says_who_took_it(database: Database) -> None:
    """After the decision the page offers no commands, but the decision, its note and the run that applies it."""
    applied = await add_execution(database)
    run = await hold_a_run(
        database, status="applied", decided_by="alice@host", note="They <left>.", applied_execution_id=applied
    )
    async with serving(api_settings(database), headers=PAGE) as client:
        page = await client.get(f"/hris/holds/{run}")
    assert headline(page) == f"Run {run[-8:]} was held, approved and applied"
    assert f"Approved by alice@host, and applied by run {applied[-8:]}. “They <left>.”" in words(page.text)
    assert f'href="/executions/{applied}"' in page.text
    assert "hrsync hris approve" not in page.text


async def test_many_rows_are_paged(sqlite_database: Database) -> None:
    """Each page leads to the next; together they show every row once."""
    changes = [("employees", f"K{number:03d}", "deactivate", {"is_active": ["1", "0"]}) for number in range(230)]
    run = await hold_a_run(sqlite_database, changes=changes, change_count=12_000)
    found, address = [], f"/hris/holds/{run}"
    async with serving(api_settings(sqlite_database), headers=PAGE) as client:
        while address:
            page = await client.get(address)
            found += re.findall(r"K\d{3}", page.text)
            more = re.search(r'href="([^"]*)" rel="next"', page.text)
            address = html.unescape(more[1]) if more else ""
            assert "The first 230 of 12 000 rows are kept." in words(page.text)
    assert found == [key for _, key, _, _ in changes]


async def test_the_json_has_keys_and_field_names_but_no_values(database: Database) -> None:
    """The list has reasons and counts; one hold has its rows too, page by page, without what is in them."""
    over = await add_execution(database, "failed")
    async with database.session() as session:
        await add_hold(session, execution_id=over, status="rejected", decided_by="bob@host")
    run = await hold_a_run(database)
    async with serving(api_settings(database)) as client:
        everything = (await client.get("/api/v1/hris/holds")).json()
        waiting = (await client.get("/api/v1/hris/holds", params={"status": "held"})).json()
        first = (await client.get(f"/api/v1/hris/holds/{run[-8:]}", params={"limit": 4})).json()
        rest = (await client.get(f"/api/v1/hris/holds/{run}", params={"limit": 4, "after": first["next"]})).json()
        missing = await client.get("/api/v1/hris/holds/abcdabcd")
        refused = await client.post(f"/api/v1/hris/holds/{run}")
    assert [item["execution_id"] for item in everything["items"]] == [run, over]
    (item,) = waiting["items"]
    assert (item["reasons"], item["counts"], item["change_count"]) == ([REASON], COUNTS, 6)
    assert item["held_at"] == "2031-05-04T02:30:00Z"
    rows = [*first["changes"], *rest["changes"]]
    assert [(row["entity"], row["key"], row["action"], row["fields"]) for row in rows] == [
        (entity, key, action, list(fields)) for entity, key, action, fields in CHANGES
    ]
    assert (len(first["changes"]), rest["next"]) == (4, None)
    assert first["changed_fields"]["employees"] == {
        "department_code": 2, "is_active": 2, "phone": 1, "employee_no": 1,
    }  # fmt: skip
    told = json.dumps([everything, waiting, first, rest], ensure_ascii=False)
    assert [value for value in VALUES if value in told] == []
    assert (missing.status_code, refused.status_code) == (404, 405)
