"""Who may ask, and what every answer tells the browser: bearer token, sign-in cookie, host names, headers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.routes.problems import Problem, problem_response, wants_page

COOKIE = "hrsync_session"
COOKIE_SECONDS = 14 * 86400
SIGN_IN_PATH = "/sign-in"
# What may be had without signing in: the sign of life, the form, and what the form looks like.
_OPEN_PATHS = ("/healthz", SIGN_IN_PATH)
_OPEN_PREFIX = "/static/"

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Access:
    """The token, and what is derived from it."""

    def __init__(self, token: str) -> None:
        self._token = hashlib.sha256(token.encode()).digest()
        self._cookie_key = hmac.digest(token.encode(), b"hrsync dashboard session", "sha256")

    def is_token(self, given: str) -> bool:
        """Whether this is the token; takes the same time for every wrong one."""
        return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), self._token)

    def new_cookie(self) -> str:
        """A cookie that proves the sign-in until it expires or the token changes; it does not contain the token."""
        expires = str(int(time.time()) + COOKIE_SECONDS)
        return f"{expires}.{self._signature(expires)}"

    def is_cookie(self, given: str) -> bool:
        """Whether this cookie was made here and has not expired."""
        expires, _, signature = given.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(expires).encode()):
            return False
        return expires.isdecimal() and int(expires) > time.time()

    def allows(self, headers: Headers) -> bool:
        """Whether the request carries the token or a valid cookie."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(token.strip()):
            return True
        return self.is_cookie(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))

    def _signature(self, expires: str) -> str:
        return hmac.new(self._cookie_key, expires.encode(), "sha256").hexdigest()


class AccessMiddleware:
    """Turns away who may not ask.

    With a token: whoever shows neither it nor the cookie of a sign-in. Without one: whoever names another host than
    this machine, which is what a foreign web page does that had its own name point here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, access: Access | None) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._access is None:
            if is_local_name(headers.get("host", "")):
                await self._app(scope, receive, send)
                return
            problem = Problem(
                title="Misdirected Request",
                status=HTTPStatus.MISDIRECTED_REQUEST,
                detail="Without API_TOKEN only this machine may ask, by the name localhost or its loopback address. "
                "Set API_TOKEN to serve other names.",
            )
            await problem_response(problem)(scope, receive, send)
        elif self._access.allows(headers):
            await self._app(scope, receive, send)
        elif wants_page(request := Request(scope)):
            page = request.app.state.sign_in_page(request, target=_target(scope))
            await page(scope, receive, send)
        else:
            problem = Problem(
                title="Unauthorized",
                status=HTTPStatus.UNAUTHORIZED,
                detail="Send the header `Authorization: Bearer <API_TOKEN>`, or sign in with a browser.",
            )
            response = problem_response(problem, {"WWW-Authenticate": 'Bearer realm="hrsync"'})
            await response(scope, receive, send)

    @staticmethod
    def _is_open(path: str) -> bool:
        return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX)


class HeadersMiddleware:
    """Adds to every answer what keeps a browser from doing harm with it, and keeps answers out of caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def is_local_name(host: str) -> bool:
    """Whether a Host header names this machine: localhost, a name under it, or a loopback address; any port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def safe_target(text: str) -> str:
    """A path of this site to go to after the sign-in; anything else becomes the front page."""
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_path and "\\" not in text else "/"


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a small URL-encoded form, the last of each name."""
    body = (await request.body()).decode("utf-8", errors="replace")
    return {name: values[-1] for name, values in parse_qs(body, max_num_fields=10).items()}


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return safe_target(scope["path"] + (f"?{query}" if query else ""))
