"""The SQL of held runs: look them up, and decide about each of them once. The replication holds and applies them."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.db.models.hr import HrHold, HrHoldChange
from backend.db.models.scheduler import Job, JobExecution
from backend.db.types import db_now
from backend.domain.jobs import TaskTraits
from backend.domain.replication_plan import HoldStatus
from backend.errors import ConflictError, NotFoundError

_ID_PART = re.compile(r"[0-9a-f-]{4,36}")
NOTE_LENGTH = 500


class HoldRepository:
    """Held runs. Nothing here commits: the caller's session does."""

    def __init__(self) -> None:
        self._scheduler = SchedulerRepository()

    async def list_holds(
        self, session: AsyncSession, *, statuses: Collection[HoldStatus] = (), limit: int = 100
    ) -> Sequence[HrHold]:
        """Held runs, the newest first; without statuses all of them."""
        statement = select(HrHold).order_by(HrHold.id.desc()).limit(limit)
        if statuses:
            statement = statement.where(HrHold.status.in_(sorted(statuses)))
        return (await session.scalars(statement)).all()

    async def find_hold(self, session: AsyncSession, execution_id: str) -> HrHold | None:
        """The hold of exactly this execution."""
        return (await session.scalars(select(HrHold).where(HrHold.execution_id == execution_id))).one_or_none()

    async def get_hold(self, session: AsyncSession, text: str) -> HrHold:
        """The hold of the execution with this id, or of the only one whose id ends so (at least 4 characters).

        Raises:
            NotFoundError: there is none.
            ConflictError: several ids end so.
        """
        part = text.strip().lower()
        found: Sequence[HrHold] = ()
        if _ID_PART.fullmatch(part):
            condition = HrHold.execution_id == part if len(part) == 36 else HrHold.execution_id.like(f"%{part}")
            found = (await session.scalars(select(HrHold).where(condition).limit(3))).all()
        if len(found) > 1:
            ids = ", ".join(hold.execution_id for hold in found)
            raise ConflictError(f"Several held runs end in {text!r} ({ids}): write more of the id.")
        if not found:
            raise NotFoundError(f"No run {text!r} is or was held. `hrsync hris holds --all` shows those that were.")
        return found[0]

    async def list_changes(
        self, session: AsyncSession, hold: HrHold, *, after: int = 0, limit: int = 10_000
    ) -> Sequence[HrHoldChange]:
        """What the run would have done, in its order: rows with an id above `after`."""
        statement = select(HrHoldChange).where(HrHoldChange.hold_id == hold.id, HrHoldChange.id > after)
        return (await session.scalars(statement.order_by(HrHoldChange.id).limit(limit))).all()

    async def count_kept(self, session: AsyncSession, hold: HrHold) -> int:
        """How many of the changes are kept."""
        statement = select(func.count()).where(HrHoldChange.hold_id == hold.id)
        return (await session.execute(statement)).scalar_one()

    async def count_changed_fields(self, session: AsyncSession, hold: HrHold) -> Mapping[str, Mapping[str, int]]:
        """By entity, in how many rows of those that are kept each field would have changed, the most frequent first."""
        found: dict[str, Counter[str]] = {}
        # An inserted row has all its fields new, which says nothing.
        statement = select(HrHoldChange.entity, HrHoldChange.fields).where(
            HrHoldChange.hold_id == hold.id, HrHoldChange.action != "insert"
        )
        for entity, fields in await session.execute(statement.order_by(HrHoldChange.id)):
            found.setdefault(entity, Counter()).update(fields.keys())
        return {entity: dict(counter.most_common()) for entity, counter in found.items() if counter}

    # --- decisions ------------------------------------------------------------------------------------------------

    async def approve(
        self, session: AsyncSession, text: str, *, task: TaskTraits, actor: str, note: str | None = None
    ) -> tuple[HrHold, JobExecution]:
        """Let the held run be applied: by a new execution of `task`, which is to be dispatched after the commit.

        The execution belongs to the job of the held one, if any: it waits for the job's other runs, and its end is the
        job's.

        Raises:
            NotFoundError: no such held run.
            ConflictError: somebody has decided already, or the hold has ended.
        """
        hold = await self._decide(session, text, HoldStatus.APPROVED, actor=actor, note=note)
        held = await session.get(JobExecution, hold.execution_id)  # None: cleaned up since
        job = await session.get(Job, held.job_id) if held is not None and held.job_id is not None else None
        execution = await self._scheduler.create_execution(
            session,
            task=task,
            job=job,
            params={"approved": hold.execution_id},
            triggered_by="manual",
            requested_by=actor,
        )
        await session.execute(
            update(HrHold)
            .where(HrHold.id == hold.id)
            .values(applied_execution_id=execution.id)
            .execution_options(synchronize_session=False)
        )
        await session.refresh(hold)
        detail = {"execution": execution.id, "note": note}
        await self._scheduler.record_audit(session, actor, "hold_approved", ("execution", hold.execution_id), detail)
        return hold, execution

    async def reject(self, session: AsyncSession, text: str, *, actor: str, note: str | None = None) -> HrHold:
        """Never apply the held run.

        Raises:
            NotFoundError, ConflictError: as for `approve`.
        """
        hold = await self._decide(session, text, HoldStatus.REJECTED, actor=actor, note=note)
        detail = {"note": note}
        await self._scheduler.record_audit(session, actor, "hold_rejected", ("execution", hold.execution_id), detail)
        return hold

    async def _decide(
        self, session: AsyncSession, text: str, status: HoldStatus, *, actor: str, note: str | None
    ) -> HrHold:
        hold = await self.get_hold(session, text)
        result = await session.execute(
            update(HrHold)
            .where(HrHold.id == hold.id, HrHold.status == HoldStatus.HELD)
            .values(status=status, decided_at=db_now(), decided_by=actor[:200], note=note and note[:NOTE_LENGTH])
            .execution_options(synchronize_session=False)
        )
        assert isinstance(result, CursorResult)
        await session.refresh(hold)
        if not result.rowcount:
            raise ConflictError(
                f"Run {hold.execution_id[-8:]} does not wait for a decision any more: {describe_decision(hold)}. "
                "`hrsync hris holds` shows the runs that do."
            )
        return hold


def describe_decision(hold: HrHold) -> str:
    """What has become of a hold, as a clause: `approved by alice@host at 2031-05-04 12:00:00 UTC`."""
    at = f" at {hold.decided_at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC" if hold.decided_at is not None else ""
    by = f" by {hold.decided_by}{at}" if hold.decided_by else at
    match hold.status:
        case HoldStatus.HELD:
            return "nobody has decided yet"
        case HoldStatus.APPLIED:
            run = f" by run {hold.applied_execution_id[-8:]}" if hold.applied_execution_id else ""
            return f"approved{by}, and applied{run}"
        case HoldStatus.EXPIRED:
            return f"{f'approved{by}, but ' if hold.decided_by else ''}expired, as the HRIS says something else by now"
        case _:
            return f"{hold.status}{by}"
