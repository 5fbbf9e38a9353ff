"""Who fires: holding the lease, and knowing without the database when it must be given up."""

from __future__ import annotations

import os
import socket
import time
import uuid
from pathlib import Path

from backend.api.repositories.lease_repository import LeaseGrant, LeaseRepository
from backend.db.database import Database
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)


class Leadership:
    """The lease as this process sees it.

    The database's clock decides who may take it. This process's own monotonic clock decides how long it may believe to
    have it: the deadline counts from before the request that extended it, so that it ends here first.
    """

    def __init__(self, database: Database, *, lease_seconds: float, timeout_seconds: float) -> None:
        self.holder = make_holder()
        self._database = database
        self._repository = LeaseRepository()
        self._lease_seconds = lease_seconds
        self._timeout_seconds = min(timeout_seconds, lease_seconds / 3)
        self._grant: LeaseGrant | None = None
        self._deadline = 0.0

    @property
    def grant(self) -> LeaseGrant | None:
        """The right to fire; None: this process must not fire now."""
        return self._grant if time.monotonic() < self._deadline else None

    async def renew_or_acquire(self) -> bool:
        """Extend the lease when a third of it has passed, or try to get it; to be called more often than that.

        Returns:
            Whether the database was asked.

        Raises:
            TransientError: the database is away; an earlier grant runs out by itself.
        """
        if self._grant is not None and self._deadline - time.monotonic() >= self._lease_seconds * 2 / 3:
            return False
        if self._grant is not None:
            await self._renew(self._grant)
        if self._grant is None:
            await self._acquire()
        return True

    async def release(self) -> None:
        """Give the lease back if we have it.

        Raises:
            TransientError: the database is away; the lease runs out by itself.
        """
        grant, self._grant = self._grant, None
        if grant is not None:
            async with self._database.session(timeout_seconds=self._timeout_seconds) as session:
                await self._repository.release(session, grant)
            _logger.info("lease_released", holder=self.holder, fencing_token=grant.fencing_token)

    def give_up(self) -> None:
        """Believe no longer to have the lease (somebody has told us)."""
        if self._grant is not None:
            _logger.warning("lease_lost", holder=self.holder, fencing_token=self._grant.fencing_token)
        self._grant = None

    async def _renew(self, grant: LeaseGrant) -> None:
        asked_at = time.monotonic()
        async with self._database.session(timeout_seconds=self._timeout_seconds) as session:
            is_ours = await self._repository.renew(session, grant, self._lease_seconds)
        if is_ours:
            self._deadline = asked_at + self._lease_seconds
        else:
            self.give_up()

    async def _acquire(self) -> None:
        asked_at = time.monotonic()
        async with self._database.reader(timeout_seconds=self._timeout_seconds) as session:
            view = await self._repository.view(session)
        dead = view.holder if view.holder is not None and has_died_here(view.holder) else None
        if dead is None and view.seconds_left is not None and view.seconds_left > 0:
            return
        async with self._database.session(timeout_seconds=self._timeout_seconds) as session:
            grant = await self._repository.acquire(session, self.holder, self._lease_seconds, from_dead=dead)
        if grant is not None:
            self._grant, self._deadline = grant, asked_at + self._lease_seconds
            _logger.info("lease_acquired", holder=self.holder, fencing_token=grant.fencing_token)


def make_holder() -> str:
    """A name that no other process ever had, and that tells where the process is."""
    return f"{socket.gethostname()[:60]}:{_pid_namespace()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def has_died_here(holder: str) -> bool:
    """Whether the holder was a process of this very machine (and container) that is no more.

    Then its lease need not expire first: a restart after a crash goes on at once. Being wrong would do no harm,
    because the fencing token stops whoever has lost the lease.
    """
    host, namespace, pid, _ = ([*holder.rsplit(":", 3), "", "", ""])[:4]
    if host != socket.gethostname()[:60] or namespace != _pid_namespace() or not namespace or not pid.isdecimal():
        return False
    try:
        # The state follows the command, which is in parentheses and may hold anything.
        state = Path(f"/proc/{int(pid)}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    except (OSError, IndexError):
        return False
    return state in ("Z", "X")  # ended, and nobody has looked yet


def _pid_namespace() -> str:
    try:
        return "".join(filter(str.isdecimal, str(Path("/proc/self/ns/pid").readlink())))
    except OSError:
        return ""
