"""Tasks as the scheduler sees them, without Celery: entries for a task registry of a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInTask:
    """What `TaskTraits` asks for."""

    code: str = "noop"
    name: str = "tasks.test.noop_task"
    queue: str = "default"
    idempotent: bool = True
    max_attempts: int = 3
    parameters: tuple[str, ...] = ("full", "day")

    def validate_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters, when all their names are known."""
        for name in params:
            if name not in self.parameters:
                raise ConfigurationError(f"Wrong parameters for task {self.code!r}: {name}: unknown.")
        return params


TASKS = {
    "noop": StandInTask(),
    "pay": StandInTask(code="pay", name="tasks.test.pay_task", idempotent=False, max_attempts=1),
}
