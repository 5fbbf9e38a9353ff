"""The HTTP application: joins routes, dashboard, access and errors. Nothing here listens; see `serve`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response

from backend.api.dashboard import pages
from backend.api.repositories.overview_repository import OverviewRepository
from backend.api.routes import broker, health, v1
from backend.api.routes.access import SECURITY_HEADERS, Access, AccessMiddleware, HeadersMiddleware
from backend.api.routes.context import ApiContext, TaskDescription
from backend.api.routes.problems import Problem, problem_of, problem_response, wants_page
from backend.api.routes.readiness import CHECK_TIMEOUT_SECONDS, Check, Readiness, standard_checks
from backend.db.database import Database
from backend.errors import HrsyncError
from backend.settings import Settings
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)


def create_app(
    database: Database,
    settings: Settings,
    *,
    tasks: Mapping[str, TaskDescription] | None = None,
    broker_check: Check | None = None,
    check_timeout_seconds: float = CHECK_TIMEOUT_SECONDS,
) -> FastAPI:
    """The application, read-only on `database`.

    Args:
        database: hrsync's own database; opened read-only it cannot disturb the scheduler.
        tasks: what can be scheduled, by task code, for /api/v1/tasks.
        broker_check: how to see that the broker answers; by default, the broker of the settings is asked.
        check_timeout_seconds: how long one check of /readyz may take.
    """
    repository = OverviewRepository()
    scheduler_silent = settings.lease_seconds
    worker_silent = max(3 * settings.heartbeat_seconds, settings.orphan_after_seconds)
    checks = standard_checks(
        database,
        repository,
        broker_check=broker_check or broker.broker_check(settings.celery_broker_url.get_secret_value()),
        scheduler_silent_after_seconds=scheduler_silent,
        worker_silent_after_seconds=worker_silent,
        timeout_seconds=check_timeout_seconds,
    )
    app = FastAPI(
        title="hrsync",
        summary="Whether HR data is current, and what was done to keep it so. Read-only, without personal data.",
        version=version("hrsync"),
        # The usual documentation pages load scripts from elsewhere; the description itself is enough.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        telemetry={"auto_configure": False, "logs": False},
        max_body_size=16 * 1024,
    )
    app.state.context = ApiContext(
        database=database,
        settings=settings,
        overview=repository,
        readiness=Readiness(checks, timeout_seconds=check_timeout_seconds),
        # Not asked whether it is empty: that would import every task before the first answer.
        tasks={} if tasks is None else tasks,
        scheduler_silent_after_seconds=scheduler_silent,
        worker_silent_after_seconds=worker_silent,
    )
    token = settings.api_token.get_secret_value()
    access = Access(token) if token else None
    app.state.access = access
    app.state.sign_in_page = pages.sign_in_page
    app.add_middleware(AccessMiddleware, access=access)
    app.add_middleware(HeadersMiddleware)
    app.include_router(health.router)
    app.include_router(v1.router)
    app.include_router(pages.router)
    app.mount("/static", pages.static_files(), name="static")
    for error in (HrsyncError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(error, _answer_error)
    _describe_problems(app)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status >= 500:
        _logger.warning(
            "http_request_failed", path=request.url.path, status=problem.status, error_type=type(error).__name__
        )
    headers = dict(getattr(error, "headers", None) or {})
    response = pages.error_page(request, problem) if wants_page(request) else problem_response(problem, headers)
    # An unforeseen error is answered outside of the middleware that adds these.
    for name, value in (SECURITY_HEADERS | {"Cache-Control": "no-store"}).items():
        response.headers.setdefault(name, value)
    return response


def _describe_problems(app: FastAPI) -> None:
    """Put the problem document into OpenAPI, also in place of FastAPI's own form of validation errors."""

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes, openapi_version="3.1.0"
            )
            models = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = schema["components"]["schemas"]
            schemas |= models.pop("$defs") | {"Problem": models}
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for path in schema["paths"].values():
                for operation in path.values():
                    if "422" in operation["responses"]:
                        operation["responses"]["422"] = {
                            "description": "Unprocessable Content",
                            "content": {
                                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                            },
                        }
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
