"""Exit codes, and which error means which. The one place that knows them."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from backend.errors import ConfigurationError, GuardError, NotFoundError

if TYPE_CHECKING:
    from backend.db.models.scheduler import JobExecution


class ExitCode(enum.IntEnum):
    """What the process says to its caller (a contract)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    CONFIGURATION = 78
    INTERRUPTED = 130


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code of an error that ended a command."""
    match error:
        case ConfigurationError():
            return ExitCode.CONFIGURATION
        case NotFoundError():
            return ExitCode.NOT_FOUND
        case GuardError():
            return ExitCode.REFUSED
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case _:
            return ExitCode.FAILED


def exit_code_of_run(execution: JobExecution) -> ExitCode:
    """The exit code of a command that waited for a run."""
    if execution.status == "success":
        return ExitCode.DONE
    if execution.error_type == GuardError.__name__:
        return ExitCode.REFUSED
    return ExitCode.FAILED
