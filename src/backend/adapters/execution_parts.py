"""The parts of executions in hrsync's own database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.api.repositories.parts_repository import PartsRepository
from backend.db.database import Database
from backend.domain.jobs import TaskTraits
from backend.domain.parts import PartState


class DatabaseParts:
    """Each call is one transaction, so that parts are there all or not at all."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._repository = PartsRepository()

    async def find(self, execution_id: str) -> Sequence[PartState]:
        """The parts as they are now, in the order of the plan."""
        async with self._database.reader() as session:
            return await self._repository.find(session, execution_id)

    async def create(
        self, execution_id: str, attempt: int, task: TaskTraits, params: Sequence[Mapping[str, Any]]
    ) -> None:
        """Make the parts, unless they are there already."""
        async with self._database.session() as session:
            await self._repository.create(session, execution_id, attempt, task, params)

    async def take_over(self, execution_id: str, attempt: int, task: TaskTraits) -> bool:
        """Take over what an execution that is retried has done; False: there is nothing."""
        async with self._database.session() as session:
            return await self._repository.take_over(session, execution_id, attempt, task)
