"""Does the broker answer? Redis is asked; the in-process broker lives with its process."""

from __future__ import annotations

import time

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from backend.api.routes.readiness import Check, CheckResult, CheckState

_TIMEOUT_SECONDS = 2.0


def broker_check(url: str) -> Check:
    """The check of Celery's broker at the URL."""
    if url.startswith("memory:"):
        return _embedded
    if not url.startswith(("redis://", "rediss://")):
        return _unknown

    async def ping() -> CheckResult:
        # A connection of its own each time: it tells the truth about connecting, and nothing goes stale between.
        client = Redis.from_url(
            url,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        begun = time.perf_counter()
        try:
            await client.ping()
        except AuthenticationError as error:
            return CheckResult(
                state=CheckState.FAILED,
                detail=f"Redis refused the login ({error}): check the password in CELERY_BROKER_URL",
            )
        except (RedisError, OSError) as error:
            return CheckResult(
                state=CheckState.FAILED,
                detail=f"Redis does not answer ({error}): check that it runs, and CELERY_BROKER_URL",
            )
        finally:
            await client.aclose()
        return CheckResult(
            state=CheckState.OK, detail=f"Redis answered in {(time.perf_counter() - begun) * 1000:.0f} ms"
        )

    return ping


async def _embedded() -> CheckResult:
    return CheckResult(state=CheckState.OK, detail="embedded in the process of hrsync up")


async def _unknown() -> CheckResult:
    return CheckResult(state=CheckState.OK, detail="not checked: only Redis can be asked")
