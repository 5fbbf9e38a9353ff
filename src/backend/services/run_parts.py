"""Splits a run into parts that run as executions of their own, and sums them up in a last run of its own.

A run that waits for its parts holds no place of a worker. Parts and what they report are in the database alone, so
that neither a killed worker nor an emptied broker loses or doubles one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from backend.domain.executions import Wait
from backend.domain.jobs import TaskTraits
from backend.domain.parts import LOOK_AGAIN_SECONDS, WAITING_FOR_PARTS, PartsReport, PartState, describe_progress
from backend.ports import Parts, Run

Plan = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]


async def run_in_parts(run: Run, parts: Parts, *, task: TaskTraits, plan: Plan) -> PartsReport:
    """How the parts of this run ended; on the runs before that: make them, and wait.

    Call it at the beginning of a task's body: what stands after it runs once, when all parts have ended. A retry of
    an execution that had parts which did not end well takes the others over, and makes only those again.

    Args:
        task: what each part runs.
        plan: the parameters of the parts, in their order; asked when there is nothing to take over. It may be asked
            again when the worker is killed meanwhile, so it must not write.

    Raises:
        Wait: the parts have not all ended; let it pass.
        ConfigurationError: the task does not take the parameters of the plan.
        ConflictError: this attempt is no longer the one that counts.
    """
    found = await parts.find(run.execution_id)
    if not found and not await parts.take_over(run.execution_id, run.attempt, task):
        await parts.create(run.execution_id, run.attempt, task, await plan())
    found = found or await parts.find(run.execution_id)
    report = PartsReport(parts=found)
    done = sum(part.status.is_final for part in found)
    _tell(run, found, done)
    if done < len(found):
        raise Wait(WAITING_FOR_PARTS, delay_seconds=LOOK_AGAIN_SECONDS)
    return report


def _tell(run: Run, found: Sequence[PartState], done: int) -> None:
    failed = sum(part.status.is_final for part in PartsReport(parts=found).failed)
    run.progress(done, len(found), describe_progress(done=done, total=len(found), failed=failed))
