"""Notices when Redis has lost its messages: a marker that is gone means that everything else is gone, too."""

from __future__ import annotations

import contextlib

import redis.asyncio
from redis.exceptions import RedisError

from backend.errors import TransientError

MARKER_KEY = "hrsync:broker-epoch"
_TIMEOUT_SECONDS = 3.0
_SCHEMES = {"redis": "redis", "rediss": "rediss", "redis+socket": "unix"}


class BrokerAwayError(TransientError):
    """The broker does not answer; messages wait in the database."""


class BrokerWatch:
    """The marker in the broker's Redis database; for the in-memory broker one in this object, as both end together.

    A broker of another kind has none and is never found emptied.

    Args:
        url: Celery's broker URL.
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        self._url = f"{_SCHEMES[scheme]}://{rest}" if scheme in _SCHEMES else None
        self._is_marked_here = scheme != "memory"
        self._client: redis.asyncio.Redis | None = None

    async def is_marked(self) -> bool:
        """Whether the broker still has what it had when `mark` was called.

        Raises:
            BrokerAwayError: it does not answer.
        """
        client = self._connected()
        if client is None:
            return self._is_marked_here
        try:
            return bool(await client.exists(MARKER_KEY))
        except (RedisError, OSError, ValueError, TypeError) as error:
            raise _away(error) from error

    async def mark(self) -> None:
        """Set the marker.

        Raises:
            BrokerAwayError: the broker does not answer.
        """
        client = self._connected()
        if client is None:
            self._is_marked_here = True
            return
        try:
            await client.set(MARKER_KEY, "1")
        except (RedisError, OSError, ValueError, TypeError) as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    def _connected(self) -> redis.asyncio.Redis | None:
        if self._url is None:
            return None
        if self._client is None:
            try:
                self._client = redis.asyncio.Redis.from_url(
                    self._url,
                    socket_timeout=_TIMEOUT_SECONDS,
                    socket_connect_timeout=_TIMEOUT_SECONDS,
                    max_connections=2,
                )
            except (RedisError, ValueError) as error:
                raise _away(error) from error
        return self._client


def _away(error: Exception) -> BrokerAwayError:
    return BrokerAwayError(
        f"The broker (CELERY_BROKER_URL) does not answer: {error}. Runs wait in the database until it is back."
    )
