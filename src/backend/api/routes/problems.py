"""Errors as RFC 9457 problem documents (application/problem+json)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from backend.errors import (
    ConfigurationError,
    ConflictError,
    GuardError,
    HrsyncError,
    NotFoundError,
    PermanentError,
    TransientError,
)

MEDIA_TYPE = "application/problem+json"


class InvalidParameter(BaseModel):
    """A parameter that was refused."""

    parameter: str
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(description="The meaning of the status, always the same for it.")
    status: int
    detail: str = Field(description="What happened, to what, and what to do.")
    errors: list[InvalidParameter] = Field(default_factory=list, description="Refused parameters, with status 422.")


def problem_of(error: Exception) -> Problem:
    """The problem that an error is for whoever asked."""
    match error:
        case HTTPException():
            return _problem(HTTPStatus(error.status_code), str(error.detail))
        case RequestValidationError():
            errors = [
                InvalidParameter(parameter=".".join(str(part) for part in item["loc"][1:]), detail=item["msg"])
                for item in error.errors()
            ]
            told = "; ".join(f"{item.parameter}: {item.detail}" for item in errors)
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"The request is wrong: {told}.", errors)
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return _problem(status, str(error))
    # The log has the error; whoever asked could do nothing with it.
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"hrsync failed with {type(error).__name__}; its log tells more.")


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """The problem as a response."""
    extra = dict(headers or {})
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra.setdefault("Retry-After", "5")
    content = problem.model_dump(exclude_defaults=True) | {"type": problem.type}
    return JSONResponse(content, status_code=problem.status, headers=extra, media_type=MEDIA_TYPE)


def wants_page(request: Request) -> bool:
    """Whether the answer is for a person who looks at a page, not for a program or the page's own refreshing."""
    if request.url.path.startswith(("/api/", "/healthz", "/readyz")) or "x-hrsync-fragment" in request.headers:
        return False
    return "text/html" in request.headers.get("accept", "")


def responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The problems of a route for OpenAPI."""
    return {
        int(status): {"description": status.phrase, "content": {MEDIA_TYPE: {"schema": _SCHEMA}}} for status in statuses
    }


_STATUSES: dict[type[HrsyncError], HTTPStatus] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    GuardError: HTTPStatus.FORBIDDEN,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
    # Reading fails for good only where the database is not set up; mended, the same request succeeds.
    PermanentError: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
}
# Python changed this phrase between its versions.
_TITLES = {HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content"}
_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def _problem(status: HTTPStatus, detail: str, errors: list[InvalidParameter] | None = None) -> Problem:
    return Problem(title=_TITLES.get(status, status.phrase), status=status, detail=detail, errors=errors or [])
