"""The Celery application: `celery -A backend.celery_app worker -P gevent`.

Only configuration and the life of worker processes; what a run is, is in `backend.execution`.
"""

from __future__ import annotations

import pkgutil
from importlib.util import find_spec
from typing import Any

from celery import signals

from backend.execution import redis_transport
from backend.execution.process import begin_shutdown, get_executor, loop_thread, shut_down
from backend.execution.tracked_task import TrackedCelery
from backend.resources import preload
from backend.settings import Settings, get_settings
from backend.utils import systemd
from backend.utils.structured_logger import configure_logging, make_logging_native

QUEUES = ("hris", "attendance", "email", "default")


def task_modules() -> list[str]:
    """The modules of the package `backend.tasks` (a new file there is found by itself), and those of the settings."""
    package = find_spec("backend.tasks")
    locations = package.submodule_search_locations if package else None
    own = sorted(f"backend.tasks.{module.name}" for module in pkgutil.iter_modules(locations))
    return [*own, *get_settings().task_modules]


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's settings; the reasons are measured behaviour of Celery on gevent with Redis."""
    broker = settings.celery_broker_url.get_secret_value()
    connections = settings.worker_concurrency * 2 + 20
    return {
        "broker_url": broker,
        "result_backend": settings.celery_result_backend.get_secret_value() or None,
        "task_always_eager": settings.celery_task_always_eager,
        "imports": task_modules(),
        "task_default_queue": "default",
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": not settings.celery_result_backend.get_secret_value(),
        # Without a result backend Celery would make a new object that does nothing for every greenlet.
        "result_backend_thread_safe": not settings.celery_result_backend.get_secret_value(),
        "enable_utc": True,
        "timezone": "UTC",
        # A killed worker's message is not lost; the claim in the database makes a second delivery a no-op.
        "task_acks_late": True,
        # 1 stalls the gevent consumer, which notices acknowledgements only at the end of its poll.
        "worker_prefetch_multiplier": 2,
        "worker_concurrency": settings.worker_concurrency,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_limit": 10,
        "redis_max_connections": connections,
        "broker_transport_options": {
            # The default of 10 makes acknowledgements fail above it, and those messages run twice.
            "max_connections": connections,
            # Redelivery is the database's matter; the broker's own would only make duplicates of long runs.
            "visibility_timeout": 7 * 86400,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
            "socket_keepalive": True,
            "health_check_interval": 25,
        }
        if broker.startswith(("redis", "sentinel"))
        # The broker inside `hrsync up` is looked at once a second by default, which every run would wait for.
        else {"polling_interval": 0.05},
    }


redis_transport.install()
app = TrackedCelery("hrsync")
app.config_from_object({**celery_config(get_settings()), "task_routes": (app.route,)})


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _set_up_logging(**_: Any) -> None:
    settings = get_settings()
    configure_logging(settings.log_format, settings.log_level)


@signals.after_setup_logger.connect  # type: ignore[untyped-decorator]
@signals.after_setup_task_logger.connect  # type: ignore[untyped-decorator]
def _make_logging_native(**_: Any) -> None:
    make_logging_native()


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _start_in_main_process(sender: Any, **_: Any) -> None:
    """Start the loop where tasks run in the worker's own process (every pool but prefork)."""
    pool = str(getattr(sender, "pool_cls", ""))
    if "prefork" not in pool:
        _start(_pool_name(pool))


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _start_in_child(**_: Any) -> None:
    _start("prefork")


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _tell_ready(**_: Any) -> None:
    systemd.notify("READY=1")


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _soften_shutdown(**_: Any) -> None:
    systemd.notify("STOPPING=1")
    begin_shutdown(get_settings().shutdown_grace_seconds)


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _end(**_: Any) -> None:
    shut_down()


def _start(pool: str) -> None:
    preload()
    executor = get_executor(pool=pool, on_pulse=_feed_watchdog)
    loop_thread().call_soon(executor.start)


def _feed_watchdog() -> None:
    systemd.notify("WATCHDOG=1")


def _pool_name(pool: str) -> str:
    return next((name for name in ("gevent", "thread", "solo", "eventlet") if name in pool), pool)
