"""The errors of hrsync, classed by what the caller does about them.

A message says what happened, to what, and what to do. HTTP statuses and exit codes are the business of the API and
the command line, which map these classes.
"""


class HrsyncError(Exception):
    """Base of every error that hrsync raises on purpose."""


class ConfigurationError(HrsyncError):
    """The settings or a configuration file are wrong; a person must mend them (exit code 78)."""


class TransientError(HrsyncError):
    """A system is away or busy for now; the same call may succeed later (retried)."""


class PermanentError(HrsyncError):
    """The same call will fail again; retrying is useless."""


class NotFoundError(HrsyncError):
    """The thing that was named does not exist (exit code 3, HTTP 404)."""


class ConflictError(HrsyncError):
    """The thing is in a state that does not allow this (HTTP 409)."""


class GuardError(HrsyncError):
    """A safety rule refused the operation (exit code 4)."""


class FencedError(HrsyncError):
    """This run no longer owns its execution: somebody else has claimed, finished or cancelled it."""


class SoftTimeLimitExceeded(HrsyncError):  # noqa: N818 - Celery's name
    """The run took longer than its soft time limit and was asked to end."""


class TimeLimitExceeded(HrsyncError):  # noqa: N818 - Celery's name
    """The run took longer than its hard time limit and was ended."""


class RunFailedError(HrsyncError):
    """The run failed; its execution row says why. Raised to the Celery caller only."""
