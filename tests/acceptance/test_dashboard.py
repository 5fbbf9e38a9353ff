"""`hrsync api` as a real process, looked at with a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import html
import http.server
import itertools
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from backend.db.database import Database
from tests.support.api import TOKEN, add_execution, add_job, add_stream, beat
from tests.support.processes import Process
from tests.support.servers import free_port
from tests.support.waiting import eventually

Start = Callable[..., Process]


def browse(url: str, folder: Path, *, seconds: int = 2) -> str:
    """The document of a page after its scripts have run for so long (in the browser's time), as chromium sees it."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs a Chromium: apt install chromium (scripts/test does on Debian)")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'browser'}", f"--virtual-time-budget={seconds * 1000}", "--dump-dom", url,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def words(page: str) -> str:
    """The text of a page on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def serve(start_process: Start, **settings: object) -> tuple[Process, str]:
    """Start `hrsync api` on a free port; the process and its URL once it answers."""
    port = free_port()
    process = start_process("hrsync", "api", env={"api_port": port, **settings})
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.running, process.output()
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers, 60, message="the API answers")
    return process, url


@pytest.mark.anyio
async def test_a_browser_shows_whether_hr_data_is_current(
    sqlite_database: Database, sqlite_url: str, start_process: Start, tmp_path: Path
) -> None:
    """The page works under its own content policy: its script runs, foreign markup is text, the headline is true."""
    await beat(sqlite_database, lease=600)
    job = await add_job(sqlite_database, "nightly", name="Nightly <script>document.title='broken'</script>")
    run = await add_execution(
        sqlite_database, job_id=job, job_code="nightly", rows_read=250, rows_rejected=2, summary="250 people read."
    )
    await add_stream(
        sqlite_database, "hris.employees", stale_after_seconds=3600, row_count=250, execution_id=run, age=600
    )
    _, url = serve(
        start_process, maria_url=sqlite_url, lease_seconds=600, heartbeat_seconds=600, orphan_after_seconds=1200
    )
    page = browse(url, tmp_path)
    assert "<title>HR data is current · hrsync</title>" in page
    text = words(page)
    for said in ("HR data is current", "Employees", "250 rows", "10 min ago", "daily at 02:30", "250 people read."):
        assert said in text
    assert "Nightly <script>document.title='broken'</script>" in text
    # Only a script that ran writes these.
    assert '<html lang="en" class="has-script">' in page
    assert "updated" in text
    assert re.search(r'<time [^>]*title="[^"]* UTC · [^"]* here"', page)


@contextlib.contextmanager
def between(url: str, on_refresh: Callable[[int], tuple[int, str] | None]) -> Iterator[str]:
    """A proxy in front of the API that meddles with an open page's looks for news; its URL.

    Args:
        on_refresh: called with 1, 2, ... before each look; what it returns is the answer, None lets the API answer.
    """
    looks = itertools.count(1)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            meddled = on_refresh(next(looks)) if "x-hrsync-fragment" in self.headers else None
            if meddled is None:
                answer = httpx.get(url + self.path, headers=headers)
                self._send(answer.status_code, answer.content, answer.headers["content-type"])
            else:
                self._send(meddled[0], meddled[1].encode(), "application/problem+json")

        def _send(self, status: int, body: bytes, media_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.anyio
async def test_an_open_page_follows_what_happens(
    sqlite_database: Database, sqlite_url: str, start_process: Start, tmp_path: Path
) -> None:
    """A page that stays open shows the new state by itself, in its headline, its title and for screen readers."""
    await beat(sqlite_database, lease=600)
    await add_stream(sqlite_database, "hris.employees", stale_after_seconds=3600)
    _, url = serve(
        start_process, maria_url=sqlite_url, lease_seconds=600, heartbeat_seconds=600, orphan_after_seconds=1200
    )

    def lose_the_lead(_: int) -> None:
        with contextlib.closing(
            sqlite3.connect(sqlite_database.url.database or "", isolation_level=None)
        ) as connection:
            connection.execute("UPDATE scheduler_lease SET holder = NULL")

    with between(url, lose_the_lead) as proxy:
        page = await asyncio.to_thread(browse, proxy, tmp_path, seconds=8)
    assert "<title>The scheduler is down · hrsync</title>" in page
    assert re.search(r'role="status">The scheduler is down</p>', page)
    assert re.search(r'<link rel="icon"[^>]* href="/static/icon-bad.svg', page)


@pytest.mark.anyio
async def test_an_open_page_says_that_it_is_old_when_no_answer_comes(
    sqlite_database: Database, sqlite_url: str, start_process: Start, tmp_path: Path
) -> None:
    """In an outage the page keeps what it showed, says since when it is old and why, and goes on trying."""
    await beat(sqlite_database, lease=600)
    await add_stream(sqlite_database, "hris.employees", stale_after_seconds=3600)
    _, url = serve(
        start_process, maria_url=sqlite_url, lease_seconds=600, heartbeat_seconds=600, orphan_after_seconds=1200
    )
    looks: list[int] = []

    def fail(look: int) -> tuple[int, str]:
        looks.append(look)
        return 503, json.dumps({"detail": "The database is away."})

    with between(url, fail) as proxy:
        page = await asyncio.to_thread(browse, proxy, tmp_path, seconds=40)
    assert len(looks) >= 3
    assert 'class="is-old"' in page
    assert re.search(r'role="alert">The database is away\. What you see is from [^;]*; trying again\.</div>', page)
    assert "HR data is current" in words(page)


def test_a_browser_without_the_token_sees_the_form(sqlite_url: str, start_process: Start, tmp_path: Path) -> None:
    """The form stands in place of the page and leads there."""
    _, url = serve(start_process, maria_url=sqlite_url, api_token=TOKEN)
    page = browse(f"{url}/executions", tmp_path)
    assert "<h1>Sign in</h1>" in page
    assert 'name="target" value="/executions"' in page


def test_an_open_address_without_a_token_is_refused(sqlite_url: str, start_process: Start) -> None:
    """`hrsync api` on every address ends with exit code 78 and says what to set."""
    process = start_process("hrsync", "api", env={"api_host": "0.0.0.0", "api_port": 0, "maria_url": sqlite_url})
    assert process.wait(30) == 78
    assert "API_TOKEN must be set" in process.output()


def test_the_service_tells_systemd_of_its_life_and_ends_in_order(
    sqlite_url: str, start_process: Start, tmp_path: Path
) -> None:
    """READY comes when it answers, WATCHDOG goes on coming, STOPPING at SIGTERM, and the exit code is 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        process, _ = serve(
            start_process, maria_url=sqlite_url, notify_socket=tmp_path / "notify", watchdog_usec=400_000
        )
        heard = [listener.recv(4096).decode() for _ in range(4)]
        os.kill(process.pid, signal.SIGTERM)
        while "STOPPING=1" not in heard[-1]:
            heard.append(listener.recv(4096).decode())
    assert heard[0].startswith("READY=1\nSTATUS=serving http://127.0.0.1:")
    assert heard[1:4] == ["WATCHDOG=1"] * 3
    assert process.wait(20) == 0
