"""The pages: they read, have `views` and `verdict` put it into words, and render. They need no JavaScript."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from backend.api.dashboard import views, words
from backend.api.repositories.overview_repository import ExecutionFilter
from backend.api.routes.access import COOKIE, COOKIE_SECONDS, SIGN_IN_PATH, Access, read_form, safe_target
from backend.api.routes.context import Context, job_id_of, next_fires
from backend.api.routes.overview import read_overview
from backend.api.routes.problems import Problem
from backend.domain.executions import Status

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_STATIC = Path(__file__).parent / "static"
_RECENT = 25
_PAGE = 50
_LOG_LINES = 300
_ATTEMPTS = 50
_PARTS = 100
_HOLD_ROWS = 100
# Seconds between two looks of an open page.
_REFRESH = 5
_REFRESH_UNCHANGING = 60

_templates = Environment(
    loader=PackageLoader("backend.api.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "absolute": words.absolute,
    "duration": words.duration,
    "number": words.number,
    "iso": lambda instant: instant.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    "relative": words.relative,
    "shorten": words.shorten,
}


@router.get("/")
async def show_overview(request: Request, context: Context) -> Response:
    """Is the HR data current? Streams, jobs, recent runs, machinery."""
    overview = await read_overview(context)
    async with context.session() as session:
        lines = await context.overview.list_executions(session, ExecutionFilter(), limit=_RECENT)
    now = overview.vitals.now
    names = {job.code: job.name or job.code for job in overview.jobs}
    return _page(
        request,
        "overview.html",
        now=now,
        title=overview.verdict.headline,
        level=overview.verdict.level,
        verdict=overview.verdict,
        streams=views.worst_first([views.stream_view(stream, now) for stream in overview.streams]),
        jobs=views.worst_first(
            [views.job_view(job, overview.runs[job.id], next_fires(job, now, 1)) for job in overview.jobs]
        ),
        runs=[views.run_view(line, names, now) for line in lines],
        machinery=views.machinery(
            overview.vitals,
            broker=overview.broker,
            scheduler_silent_after_seconds=context.scheduler_silent_after_seconds,
        ),
    )


@router.get("/executions")
async def show_executions(
    request: Request,
    context: Context,
    *,
    job: str = "",
    task: str = "",
    status: str = "",
    before: Annotated[str, Query(max_length=36)] = "",
) -> Response:
    """All executions, filtered, page by page."""
    statuses = [Status(status)] if status in set(Status) else []
    async with context.session() as session:
        now = await context.overview.read_clock(session)
        jobs = await context.scheduler.list_jobs(session)
        wanted = ExecutionFilter(
            job_id=await job_id_of(context, session, job),
            task_code=task or None,
            statuses=statuses,
            before_id=before or None,
        )
        lines = await context.overview.list_executions(session, wanted, limit=_PAGE + 1)
    names = {row.code: row.name or row.code for row in jobs}
    chosen = {"job": job, "task": task, "status": status if statuses else ""}
    query = {name: value for name, value in chosen.items() if value}
    more = len(lines) > _PAGE
    return _page(
        request,
        "executions.html",
        now=now,
        title="Runs",
        runs=[views.run_view(line, names, now) for line in lines[:_PAGE]],
        names=names if not job or job in names else names | {job: job},
        chosen=chosen,
        statuses=[(member.value, views.LABELS[member]) for member in Status],
        older=f"/executions?{urlencode(query | {'before': lines[_PAGE - 1].id})}" if more else "",
        newest=f"/executions?{urlencode(query)}" if before else "",
        # Older pages do not change but for what still runs on them.
        refresh=_REFRESH_UNCHANGING if before else _REFRESH,
    )


@router.get("/executions/{reference}")
async def show_execution(request: Request, context: Context, reference: str) -> Response:
    """One execution: what it did, its attempts, its log."""
    async with context.session() as session:
        row = await context.scheduler.get_execution(session, reference)
        now = await context.overview.read_clock(session)
        attempts = await context.scheduler.list_attempts(session, row.id)
        parts = await context.parts.find(session, row.id, details=False)
        part_of = await context.parts.find_parent(session, row.id)
        log = await context.overview.list_log_end(session, row.id, limit=_LOG_LINES + 1)
        jobs = await context.scheduler.list_jobs(session)
        hold = await context.holds.find_hold(session, row.id)
    if reference != row.id:
        return RedirectResponse(f"/executions/{row.id}", HTTPStatus.SEE_OTHER)
    view = views.run_view(row, {job.code: job.name or job.code for job in jobs}, now)
    return _page(
        request,
        "execution.html",
        now=now,
        title=f"{view.title}: {view.label}",
        level=view.tone,
        row=row,
        run=view,
        hold=hold,
        counts=views.counts(views.counts_of(row)),
        facts=views.facts(row),
        attempts=[views.attempt_view(attempt) for attempt in attempts[-_ATTEMPTS:]],
        runs_of_parts=views.part_views(parts)[:_PARTS],
        parts_count=len(parts),
        part_of=part_of,
        log=[views.log_view(line) for line in log[-_LOG_LINES:]],
        log_is_cut=len(log) > _LOG_LINES,
        refresh=_REFRESH_UNCHANGING if view.is_final else 2,
    )


@router.get("/hris/holds/{reference}")
async def show_hold(
    request: Request, context: Context, reference: str, after: Annotated[int, Query(ge=0)] = 0
) -> Response:
    """A run that the guard held: why, and what it would have done to which rows. No values."""
    async with context.session() as session:
        hold = await context.holds.get_hold(session, reference)
        now = await context.overview.read_clock(session)
        fields = await context.holds.count_changed_fields(session, hold)
        rows = await context.holds.list_changes(session, hold, after=after, limit=_HOLD_ROWS + 1)
        kept = await context.holds.count_kept(session, hold)
    here = f"/hris/holds/{hold.execution_id}"
    if reference != hold.execution_id:
        return RedirectResponse(here, HTTPStatus.SEE_OTHER)
    view = views.hold_view(hold, fields)
    return _page(
        request,
        "hold.html",
        now=now,
        title=view.headline,
        level=view.tone,
        row=hold,
        hold=view,
        changes=[views.hold_change_view(row) for row in rows[:_HOLD_ROWS]],
        kept=kept,
        older=f"{here}?{urlencode({'after': rows[_HOLD_ROWS - 1].id})}" if rows[_HOLD_ROWS:] else "",
        newest=here if after else "",
        refresh=_REFRESH if view.is_open else _REFRESH_UNCHANGING,
    )


@router.get("/jobs/{code}")
async def show_job(
    request: Request, context: Context, code: str, before: Annotated[str, Query(max_length=36)] = ""
) -> Response:
    """One job: when it fires, by which rules, and how its runs went."""
    async with context.session() as session:
        job = await context.scheduler.get_job(session, code, include_deleted=True)
        now = await context.overview.read_clock(session)
        past = (await context.overview.list_last_runs(session, [job.id]))[job.id]
        wanted = ExecutionFilter(job_id=job.id, before_id=before or None)
        lines = await context.overview.list_executions(session, wanted, limit=_RECENT + 1)
    view = views.job_view(job, past, next_fires(job, now, 5))
    return _page(
        request,
        "job.html",
        now=now,
        title=view.name,
        level=view.tone,
        job=view,
        row=job,
        runs=[views.run_view(line, {code: view.name}, now) for line in lines[:_RECENT]],
        older=f"/jobs/{code}?{urlencode({'before': lines[_RECENT - 1].id})}" if lines[_RECENT:] else "",
        newest=f"/jobs/{code}" if before else "",
    )


# --- signing in -------------------------------------------------------------------------------------------------------


@router.get(SIGN_IN_PATH)
async def show_sign_in(request: Request, target: str = "/") -> Response:
    """The form that asks for the token."""
    if request.app.state.access is None:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    return sign_in_page(request, target=safe_target(target), status=HTTPStatus.OK)


@router.post(SIGN_IN_PATH)
async def sign_in(request: Request) -> Response:
    """Exchange the token for a cookie."""
    access: Access | None = request.app.state.access
    form = await read_form(request)
    target = safe_target(form.get("target", "/"))
    if access is None:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    if not access.is_token(form.get("token", "").strip()):
        return sign_in_page(request, target=target, problem="This is not the token of this installation.")
    response = RedirectResponse(target, HTTPStatus.SEE_OTHER)
    response.set_cookie(
        COOKIE,
        access.new_cookie(),
        max_age=COOKIE_SECONDS,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/sign-out")
async def sign_out() -> Response:
    """Forget the sign-in of this browser."""
    response = RedirectResponse(SIGN_IN_PATH, HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def sign_in_page(
    request: Request, *, target: str, problem: str = "", status: HTTPStatus = HTTPStatus.UNAUTHORIZED
) -> Response:
    """The form that asks for the token, in place of the page `target`."""
    return _page(request, "sign_in.html", status=status, title="Sign in", target=target, problem=problem, refresh=0)


def error_page(request: Request, problem: Problem) -> Response:
    """A problem for people; one that may pass looks again by itself."""
    passing = problem.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INTERNAL_SERVER_ERROR)
    return _page(
        request,
        "error.html",
        status=HTTPStatus(problem.status),
        title=_ERROR_TITLES.get(HTTPStatus(problem.status), problem.title),
        level="bad" if passing else "",
        problem=problem,
        refresh=_REFRESH if passing else 0,
    )


_ERROR_TITLES = {
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.CONFLICT: "That is not clear",
    HTTPStatus.SERVICE_UNAVAILABLE: "The database cannot be read",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong here",
}


# --- rendering --------------------------------------------------------------------------------------------------------


def _page(
    request: Request,
    template: str,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    now: dt.datetime | None = None,
    level: str = "",
    refresh: int = _REFRESH,
    **values: Any,
) -> HTMLResponse:
    """The page, or only its changing part when the page itself asks."""
    fragment = "x-hrsync-fragment" in request.headers
    text = _templates.get_template(template).render(
        layout="fragment.html" if fragment else "layout.html",
        path=request.url.path,
        has_nav=template != "sign_in.html",
        can_sign_out=request.app.state.access is not None and template != "sign_in.html",
        version=version("hrsync"),
        static=_static_url,
        now=now or dt.datetime.now(dt.UTC),
        level=str(level),
        refresh=refresh,
        **values,
    )
    return HTMLResponse(text, status_code=status, headers={"Vary": "X-Hrsync-Fragment"})


@functools.cache
def _static_url(name: str) -> str:
    """The address of a static file; it changes with the content, so that browsers may keep it for ever."""
    digest = hashlib.sha256((_STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


class _CachedFiles(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == HTTPStatus.OK and b"v=" in scope["query_string"]:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def static_files() -> StaticFiles:
    """The style sheet, the script and the icons."""
    return _CachedFiles(directory=_STATIC)
