"""Who may ask the API, and what every answer tells the browser."""

from __future__ import annotations

import re

import httpx
import pytest

from backend.api.routes.access import COOKIE, Access, is_local_name, safe_target
from backend.api.serve import bind
from backend.errors import ConfigurationError
from backend.settings import Settings
from tests.support.api import TOKEN, api_settings, serving

pytestmark = pytest.mark.anyio

PAGE = {"Accept": "text/html"}
GUARDED = ("/", "/readyz", "/executions", "/jobs/x", "/api/v1/jobs", "/api/v1/openapi.json", "/no/such/page")


@pytest.fixture
def guarded(sqlite_url: str) -> Settings:
    """Settings with a token."""
    return api_settings(sqlite_url, api_token=TOKEN)


async def test_without_a_token_every_path_but_the_sign_of_life_is_closed(guarded: Settings) -> None:
    """Each path answers 401 as a problem document that says what to send; /healthz answers 200."""
    async with serving(guarded) as client:
        assert (await client.get("/healthz")).status_code == 200
        for path in GUARDED:
            answer = await client.get(path)
            assert (path, answer.status_code) == (path, 401)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert "Authorization: Bearer" in answer.json()["detail"]


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic " + TOKEN, TOKEN, f"Bearer {TOKEN}x", "Bearer é"])
async def test_a_wrong_token_is_refused(guarded: Settings, header: str) -> None:
    """Nothing but exactly the token as a bearer token opens a path."""
    async with serving(guarded) as client:
        answer = await client.get("/api/v1/jobs", headers=[(b"Authorization", header.encode())])
    assert answer.status_code == 401


async def test_the_token_opens_every_path(guarded: Settings) -> None:
    """With the header, the API and the pages answer."""
    async with serving(guarded, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        assert (await client.get("/api/v1/jobs")).json() == {"items": []}
        assert (await client.get("/", headers=PAGE)).status_code == 200


async def test_a_browser_signs_in_and_out_with_a_cookie_that_is_not_the_token(guarded: Settings) -> None:
    """The form takes the token, sets a cookie that scripts and other sites cannot use, and leads on; out ends it."""
    async with serving(guarded) as client:
        form = await client.get("/jobs/x?before=1", headers=PAGE)
        assert form.status_code == 401
        assert 'value="/jobs/x?before=1"' in form.text
        refused = await client.post("/sign-in", data={"token": "guess", "target": "/"}, headers=PAGE)
        assert refused.status_code == 401
        assert COOKIE not in refused.headers.get("set-cookie", "")
        accepted = await client.post("/sign-in", data={"token": TOKEN, "target": "/executions"})
        assert (accepted.status_code, accepted.headers["location"]) == (303, "/executions")
        cookie = accepted.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        page = await client.get("/", headers=PAGE)
        assert page.status_code == 200
        assert "Sign out" in page.text
        assert (await client.get("/api/v1/jobs")).status_code == 200
        left = await client.post("/sign-out")
        assert left.headers["location"] == "/sign-in"
        assert (await client.get("/", headers=PAGE)).status_code == 401


async def test_what_the_form_needs_is_open(guarded: Settings) -> None:
    """The style sheet that the form names can be had without signing in, and is cached for ever."""
    async with serving(guarded) as client:
        form = await client.get("/sign-in", headers=PAGE)
        found = re.search(r'href="(/static/dashboard.css\?v=[0-9a-f]+)"', form.text)
        assert found is not None
        style = await client.get(found[1])
    assert (form.status_code, style.status_code) == (200, 200)
    assert "immutable" in style.headers["cache-control"]


@pytest.mark.parametrize("target", ["//evil.example.com", "https://evil.example.com", "/\\evil.example.com", "x", ""])
async def test_the_sign_in_leads_nowhere_else(guarded: Settings, target: str) -> None:
    """A target that is not a path of this site becomes the front page."""
    assert safe_target(target) == "/"
    async with serving(guarded) as client:
        answer = await client.post("/sign-in", data={"token": TOKEN, "target": target})
    assert answer.headers["location"] == "/"


def test_a_cookie_ends_with_its_time_and_with_its_token() -> None:
    """A cookie whose time or signature was changed, or that another token made, proves nothing."""
    access = Access(TOKEN)
    cookie = access.new_cookie()
    expires, _, signature = cookie.partition(".")
    assert access.is_cookie(cookie)
    assert not Access("another token of this length").is_cookie(cookie)
    for forged in (f"{int(expires) + 1}.{signature}", f"{expires}.{signature[:-1]}", f"0.{signature}", "", ".", "é.é"):
        assert not access.is_cookie(forged)


async def test_without_a_token_only_names_of_this_machine_are_served(sqlite_url: str) -> None:
    """A foreign Host, as in DNS rebinding, is refused; localhost and loopback addresses are served."""
    async with serving(api_settings(sqlite_url)) as client:
        for host in ("localhost:1", "127.0.0.1", "[::1]:80", "app.localhost"):
            assert (host, (await client.get("/api/v1/jobs", headers={"Host": host})).status_code) == (host, 200)
        refused = await client.get("/api/v1/jobs", headers={"Host": "evil.example.com"})
    assert refused.status_code == 421
    assert "API_TOKEN" in refused.json()["detail"]


@pytest.mark.parametrize("host", ["", "localhost.evil.example.com", "127.0.0.1.evil.example.com", "10.0.0.1", "[::1"])
def test_names_that_only_look_local_are_not(host: str) -> None:
    """Only localhost, names under it and loopback addresses are this machine."""
    assert not is_local_name(host)


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/jobs", "/no/such/page", "/static/dashboard.js", "/jobs/no"])
async def test_every_answer_forbids_what_the_pages_do_not_need(sqlite_url: str, path: str) -> None:
    """Each answer, also an error, carries a strict content policy without inline code and foreign sources."""
    async with serving(api_settings(sqlite_url)) as client:
        answer = await client.get(path, headers=PAGE)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["/", "/executions", "/jobs/no", "/sign-in"])
async def test_the_pages_obey_their_own_policy(sqlite_url: str, path: str) -> None:
    """No page has inline scripts, inline styles, event attributes or addresses elsewhere."""
    async with serving(
        api_settings(sqlite_url, api_token=TOKEN), headers={"Authorization": f"Bearer {TOKEN}"}
    ) as client:
        text = (await client.get(path, headers=PAGE)).text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert not re.search(r"(?:href|src|action)=\"(?!/|#)", text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_an_open_address_needs_a_token(host: str) -> None:
    """Anything but loopback is refused without a token, and the message says how to make one."""
    with pytest.raises(ConfigurationError, match="API_TOKEN must be set"):
        bind(Settings(api_host=host, api_port=0))


def test_an_open_address_needs_a_token_that_cannot_be_guessed() -> None:
    """A short token does not guard a network."""
    with pytest.raises(ConfigurationError, match="too short"):
        bind(Settings(api_host="0.0.0.0", api_port=0, api_token="hunter2"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    """On loopback the API listens without a token."""
    bind(Settings(api_host=host, api_port=0)).close()


def test_an_address_that_cannot_be_had_is_named() -> None:
    """A port that is taken, and a host that is not this machine, are errors that say what to change."""
    taken = bind(Settings(api_host="127.0.0.1", api_port=0))
    with taken, pytest.raises(ConfigurationError, match="API_PORT"):
        bind(Settings(api_host="127.0.0.1", api_port=taken.getsockname()[1]))
    with pytest.raises(ConfigurationError, match="is not an address of this machine"):
        bind(Settings(api_host="no.such.host.invalid", api_port=0, api_token=TOKEN))


async def test_a_large_body_is_refused(guarded: Settings) -> None:
    """Nobody can fill the memory through the sign-in form."""
    async with serving(guarded) as client:
        answer = await client.post("/sign-in", content=b"token=" + b"x" * 100_000)
    assert answer.status_code == 413


async def test_nothing_can_be_written(sqlite_url: str) -> None:
    """The API has no route that changes anything: other methods are 405 problems."""
    async with serving(api_settings(sqlite_url)) as client:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer: httpx.Response = await client.request(method, "/api/v1/jobs")
            assert (method, answer.status_code, answer.json()["status"]) == (method, 405, 405)
