"""What is known about a task: its names, its limits and the parameters that its signature takes."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from backend.domain.executions import RetryPolicy
from backend.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task as the run wrapper needs it.

    Attributes:
        code: what people and jobs call it, such as `hris_replication`.
        function: `async def function(run, *, ...)`.
        soft_time_limit, time_limit: seconds; None: no limit.
        idempotent: whether it may run again by itself when its worker was lost.
    """

    code: str
    name: str
    queue: str
    function: Callable[..., Awaitable[Any]]
    parameters: type[BaseModel]
    retry: RetryPolicy
    soft_time_limit: float | None = None
    time_limit: float | None = None
    idempotent: bool = True
    description: str = ""

    @property
    def max_attempts(self) -> int:
        """How often it may be tried in all; 0: for ever."""
        return 0 if self.retry.max_retries is None else self.retry.max_retries + 1

    def validate_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, checked against the signature, as JSON can hold them; defaults are left out.

        Raises:
            ConfigurationError: naming the task, each wrong parameter and the right ones.
        """
        return self._parsed(params).model_dump(mode="json", exclude_unset=True)

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as the function wants them (dates as dates, not as text).

        Raises:
            ConfigurationError: as in `validate_params`.
        """
        model = self._parsed(params)
        return {name: getattr(model, name) for name in model.model_fields_set}

    def _parsed(self, params: Mapping[str, Any]) -> BaseModel:
        try:
            return self.parameters.model_validate(dict(params))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in item['loc']) or 'parameters'}: {item['msg']}"
                for item in error.errors(include_input=False, include_url=False)
            )
            known = ", ".join(self.parameters.model_fields) or "none"
            raise ConfigurationError(
                f"Wrong parameters for task {self.code!r}: {problems}. It takes: {known}."
            ) from None


def code_of(task_name: str) -> str:
    """The task code of a Celery task name: `tasks.hris.hris_replication_task` -> `hris_replication`."""
    return task_name.rpartition(".")[2].removesuffix("_task")


def parameters_of(function: Callable[..., Any]) -> type[BaseModel]:
    """A model of the parameters of a task body: all but the first, which is the run.

    Raises:
        TypeError: the function does not have the form of a task body.
    """
    signature = inspect.signature(function)
    names = list(signature.parameters.values())
    if not inspect.iscoroutinefunction(function) or not names:
        raise TypeError(f"A task body is `async def {function.__name__}(run, *, ...)`.")
    fields: dict[str, Any] = {}
    for parameter in names[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise TypeError(
                f"Parameter {parameter.name!r} of task {function.__name__} must be keyword-only: put `*` before it."
            )
        annotation = parameter.annotation
        if isinstance(annotation, str):
            annotation = eval(annotation, function.__globals__)  # noqa: S307 - the developer's own annotation
        if annotation is parameter.empty:
            annotation = Any
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (annotation, Field(default))
    return create_model(
        f"{function.__name__}_parameters",
        __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False),
        **fields,
    )
