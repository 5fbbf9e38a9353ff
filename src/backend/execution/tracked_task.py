"""The Celery edge: a Celery task whose every call is a tracked run on the process's event loop."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject

from backend.domain.executions import RetryPolicy, Status
from backend.errors import RunFailedError
from backend.execution.executor import RunRequest, RunResult
from backend.execution.process import get_executor, loop_thread
from backend.execution.task_spec import TaskSpec, code_of, parameters_of
from backend.utils.identifiers import new_id

# The message header of calls that belong to an existing execution row; its parameters are in the row.
ROW_HEADER = "hrsync_row"


class TrackedTask(Task):  # type: ignore[misc]
    """A task whose body is `async def body(run, *, ...)`; everything around the body is the executor's.

    Celery's own option names are honoured (`max_retries`, `autoretry_for`, `retry_backoff`, `retry_backoff_max`,
    `retry_jitter`, `default_retry_delay`, `soft_time_limit`, `time_limit`, `rate_limit`, `queue`); retries and delays
    live in the database, and the limits work on every pool.
    """

    abstract = True
    idempotent = True
    max_retries: int | None = 3
    acks_late = True
    # A failed run is an expected end; its row and the log already tell it, Celery need not print a traceback.
    throws = (RunFailedError,)

    @functools.cached_property
    def spec(self) -> TaskSpec:
        """What the run wrapper needs to know of this task."""
        backoff = getattr(self, "retry_backoff", False)
        body = self.body
        return TaskSpec(
            code=code_of(self.name),
            name=self.name,
            queue=self.tracked_queue,
            function=body,
            parameters=parameters_of(body),
            retry=RetryPolicy(
                max_retries=self.max_retries,
                autoretry_for=tuple(getattr(self, "tracked_autoretry_for", ())),
                dont_autoretry_for=tuple(getattr(self, "dont_autoretry_for", ())),
                default_retry_delay_seconds=self.default_retry_delay,
                backoff_seconds=float(backoff) if backoff else None,
                backoff_max_seconds=float(getattr(self, "retry_backoff_max", 600)),
                jitter=bool(getattr(self, "retry_jitter", True)),
            ),
            soft_time_limit=self.tracked_soft_time_limit,
            time_limit=self.tracked_time_limit,
            idempotent=self.idempotent,
            description=inspect.cleandoc(body.__doc__ or "").partition("\n\n")[0].replace("\n", " "),
        )

    # Celery enforces limits in its pools (prefork kills the process), and is giving up queues as attributes of tasks;
    # ours are enforced by the run wrapper and given to the router, so they are kept under other names.
    tracked_queue = "default"
    tracked_soft_time_limit: float | None = None
    tracked_time_limit: float | None = None

    @property
    def body(self) -> Any:
        """The function as its author wrote it."""
        return type(self).__dict__["__wrapped__"]

    @property
    def code(self) -> str:
        """What jobs and people call the task."""
        return self.spec.code

    @property
    def queue(self) -> str:
        """The queue that its calls go to."""
        return self.tracked_queue

    @property
    def description(self) -> str:
        """The first paragraph of the body's docstring."""
        return self.spec.description

    @property
    def max_attempts(self) -> int:
        """How often a run may be tried; 0: for ever."""
        return self.spec.max_attempts

    def parameter_schema(self) -> dict[str, Any]:
        """JSON schema of the parameters."""
        return self.spec.parameters.model_json_schema()

    def validate_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters, checked against the signature.

        Raises:
            ConfigurationError: naming the task and the parameter.
        """
        return self.spec.validate_params(params)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run one delivered (or direct, or eager) call.

        Raises:
            RunFailedError: the run failed for good; the execution row says why.
            Reject: the call could not be noted anywhere; the broker delivers it again.
        """
        request = self.request
        has_row = bool(request.get(ROW_HEADER) or (request.headers or {}).get(ROW_HEADER))
        run_request = RunRequest(
            execution_id=request.id or new_id(),
            direct_params=None if has_row else self._named(args, kwargs),
            requested_by=None if has_row else request.get("origin"),
        )
        result: RunResult = loop_thread().run(get_executor().execute(self.spec, run_request))
        if result.must_come_back:
            raise Reject("the worker is shutting down and the database is away", requeue=True)
        if result.status in (Status.FAILED, Status.CANCELLED):
            raise RunFailedError(f"Execution {result.execution_id} {result.status}: {result.error}")
        return {
            "execution_id": result.execution_id,
            "status": result.status,
            "result": result.result,
        }

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        names = list(self.spec.parameters.model_fields)
        if len(args) > len(names):
            raise TypeError(f"Task {self.name} takes at most {len(names)} parameters: {', '.join(names) or 'none'}.")
        return dict(zip(names, args, strict=False)) | kwargs


class TrackedCelery(Celery):  # type: ignore[misc]
    """A Celery application whose tasks are tracked."""

    def task(self, *args: Any, **options: Any) -> Any:
        """As in Celery, for `async def body(run, *, ...)`."""
        if str(options.get("name", "")).startswith("celery."):  # Celery's own tasks, made in the same way
            return super().task(*args, **options)
        options.setdefault("base", TrackedTask)
        # `run` is handed in by us, so Celery's signature check must not ask callers for it.
        options.setdefault("bind", True)
        # Celery would wrap the body in a retry of its own, and kill processes for limits.
        for name in ("autoretry_for", "soft_time_limit", "time_limit", "queue"):
            if name in options:
                options[f"tracked_{name}"] = options.pop(name)
        return super().task(*args, **options)

    def route(self, name: str, *_: Any, **__: Any) -> dict[str, str] | None:
        """The queue of a task by its name, also for a caller that has not imported it (`celery call`)."""
        if name not in self.tasks:
            self.loader.import_default_modules()
        task = self.tasks.get(name)
        return {"queue": task.queue} if isinstance(task, TrackedTask) else None
