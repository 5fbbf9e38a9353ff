"""The SQL of the scheduler's lease: who may fire, by the database's clock."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import CursorResult, Update, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.models.scheduler import Lease
from backend.db.types import db_now
from backend.errors import ConfigurationError, FencedError

LEASE_NAME = "scheduler"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseGrant:
    """The right to fire, as long as nobody has taken the lease over since."""

    holder: str
    fencing_token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    """Who holds the lease, as somebody else sees it.

    Attributes:
        seconds_left: until it expires; negative: it has; None: nobody holds it.
    """

    holder: str | None
    seconds_left: float | None


class LeaseRepository:
    """Take, keep, check and give back the scheduler's lease."""

    async def acquire(
        self, session: AsyncSession, holder: str, lease_seconds: float, *, from_dead: str | None = None
    ) -> LeaseGrant | None:
        """Take the lease if nobody holds it, or its holder let it expire; None: somebody holds it.

        Args:
            from_dead: a holder that is known to have died, whose lease need not expire first.
        """
        free = [Lease.holder.is_(None), Lease.expires_at.is_(None), Lease.expires_at <= db_now()]
        if from_dead is not None:
            free.append(Lease.holder == from_dead)
        taken = await _write(
            session,
            update(Lease)
            .where(Lease.name == LEASE_NAME, or_(*free))
            .values(
                holder=holder,
                fencing_token=Lease.fencing_token + 1,
                acquired_at=db_now(),
                expires_at=db_now(lease_seconds),
            ),
        )
        if not taken:
            return None
        token = await session.scalar(select(Lease.fencing_token).where(Lease.name == LEASE_NAME))
        assert token is not None
        return LeaseGrant(holder=holder, fencing_token=token)

    async def renew(self, session: AsyncSession, grant: LeaseGrant, lease_seconds: float) -> bool:
        """Extend the lease; False: somebody else has it now. An expired lease that nobody took may be extended."""
        return bool(await _write(session, _mine(grant).values(expires_at=db_now(lease_seconds))))

    async def release(self, session: AsyncSession, grant: LeaseGrant) -> None:
        """Give the lease back, so that the next scheduler need not wait for its expiry."""
        await _write(session, _mine(grant).values(holder=None, expires_at=db_now()))

    async def record_loop(self, session: AsyncSession, grant: LeaseGrant) -> dt.datetime | None:
        """Say that the leader has completed a loop; the database's clock, None: it leads no more."""
        if not await _write(session, _mine(grant).values(last_loop_at=db_now())):
            return None
        return await session.scalar(select(Lease.last_loop_at).where(Lease.name == LEASE_NAME))

    async def view(self, session: AsyncSession) -> LeaseView:
        """Who holds the lease, and for how long.

        Raises:
            ConfigurationError: the row of the lease is missing.
        """
        row = (
            await session.execute(
                select(Lease.holder, Lease.expires_at, db_now().label("now")).where(Lease.name == LEASE_NAME)
            )
        ).one_or_none()
        if row is None:
            raise ConfigurationError(
                "The table scheduler_lease has no row 'scheduler': run `hrsync db upgrade`, which puts it there."
            )
        left = None if row.holder is None or row.expires_at is None else (row.expires_at - row.now).total_seconds()
        return LeaseView(holder=row.holder, seconds_left=left)

    async def hold(self, session: AsyncSession, grant: LeaseGrant) -> dt.datetime:
        """Make sure that the lease is held until this transaction ends; the database's clock.

        Raises:
            FencedError: the lease has expired or somebody else has it.
        """
        now = await session.scalar(
            select(db_now())
            .where(
                Lease.name == LEASE_NAME,
                Lease.holder == grant.holder,
                Lease.fencing_token == grant.fencing_token,
                Lease.expires_at > db_now(),
            )
            .with_for_update(read=True)
        )
        if now is None:
            raise FencedError("This scheduler no longer holds the lease; another one fires, or it will be taken again.")
        return now


def _mine(grant: LeaseGrant) -> Update:
    return update(Lease).where(
        Lease.name == LEASE_NAME, Lease.holder == grant.holder, Lease.fencing_token == grant.fencing_token
    )


async def _write(session: AsyncSession, statement: Update) -> int:
    result = await session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount
