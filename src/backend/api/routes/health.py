"""/healthz and /readyz, for service managers, load balancers and monitoring."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Response

from backend.api.routes.context import Context
from backend.api.routes.models import CheckReport, Life, ReadinessReport
from backend.api.routes.readiness import CheckState, sum_up

router = APIRouter(tags=["health"])

_STATUSES: Mapping[CheckState, Literal["ready", "degraded", "not ready"]] = {
    CheckState.OK: "ready",
    CheckState.WARNING: "degraded",
    CheckState.FAILED: "not ready",
}


@router.get("/healthz")
async def healthz() -> Life:
    """Says that the process lives and serves; looks at nothing else. Needs no token."""
    return Life()


@router.get(
    "/readyz", responses={HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": ReadinessReport, "description": "Not ready"}}
)
async def readyz(context: Context, response: Response) -> ReadinessReport:
    """Checks database, lease, scheduler, broker and workers side by side; answers within three seconds.

    503 when one of them failed. Missing workers are a warning (`degraded`, 200): runs wait and nothing is lost.
    """
    results = await context.readiness.results()
    worst, reasons = sum_up(results)
    if worst is CheckState.FAILED:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = "5"
    return ReadinessReport(
        status=_STATUSES[worst],
        reason="; ".join(reasons),
        checks={name: CheckReport.model_validate(result) for name, result in results.items()},
    )
