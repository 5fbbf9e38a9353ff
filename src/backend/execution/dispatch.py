"""Sends due executions to the broker: stamp in one transaction, send, take back what could not be sent.

Whoever committed an execution may call it: the scheduler for all that is due, a command or the API for its own row.
Neither Celery nor SQL is spoken here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.api.repositories.dispatch_repository import DispatchRepository, StampedExecution
from backend.db.database import Database
from backend.errors import TransientError
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)

# Publishing a full batch takes about a second; a broker that hangs must not hold the dispatcher for ever.
SEND_TIMEOUT_SECONDS = 30.0
_GIVE_BACK_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingExecution:
    """What the broker must know of an execution; its parameters stay in the database."""

    id: str
    task_name: str
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchResult:
    """What became of the executions that were looked at, by id.

    Attributes:
        failed: those that could not be sent; they wait for the next call.
        waiting: of those that were asked for by `only`: not due, behind another of their job, sent before, or ended.
    """

    sent: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


Send = Callable[[Sequence[OutgoingExecution]], list[str]]


async def dispatch_due(
    database: Database,
    send: Send,
    *,
    limit: int = 500,
    only: Sequence[str] | None = None,
    timeout_seconds: float | None = 10,
) -> DispatchResult:
    """Send at most `limit` executions that are due; of a job only the oldest active one.

    Args:
        send: blocks, and returns the ids that it could not send; runs in a thread.
        only: look at no others than these.
        timeout_seconds: for each of the two transactions.

    Raises:
        TransientError: the database is away; nothing was sent, or what was sent stays marked as sent.
    """
    repository = DispatchRepository()
    async with database.session(timeout_seconds=timeout_seconds) as session:
        stamped = await repository.take_due(session, limit=limit, only=only)
    unsent = await _send(stamped, send) if stamped else frozenset()
    if unsent:
        await _give_back(database, [item for item in stamped if item.id in unsent], timeout_seconds)
    sent = tuple(item.id for item in stamped if item.id not in unsent)
    return DispatchResult(
        sent=sent,
        failed=tuple(item.id for item in stamped if item.id in unsent),
        waiting=tuple(sorted(set(only or ()) - {item.id for item in stamped})),
    )


async def _send(stamped: Sequence[StampedExecution], send: Send) -> frozenset[str]:
    """The ids that were not sent. A copy that gets through nevertheless is harmless: only one can be claimed."""
    rows = [OutgoingExecution(id=item.id, task_name=item.task_name, queue=item.queue) for item in stamped]
    try:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            return frozenset(await asyncio.to_thread(send, rows))
    except Exception as error:  # whatever the broker's client raises, the rows must not be lost
        _logger.debug("dispatch_send_failed", count=len(rows), error=str(error) or type(error).__name__)
        return frozenset(item.id for item in stamped)


async def _give_back(database: Database, unsent: Sequence[StampedExecution], timeout_seconds: float | None) -> None:
    # Without this the rows would wait for their redelivery, so a moment's trouble is worth another try.
    for attempt in range(1, _GIVE_BACK_ATTEMPTS + 1):
        try:
            async with database.session(timeout_seconds=timeout_seconds) as session:
                await DispatchRepository().give_back(session, unsent)
        except TransientError:
            if attempt == _GIVE_BACK_ATTEMPTS:
                raise
            await asyncio.sleep(0.1 * attempt)
        else:
            return
