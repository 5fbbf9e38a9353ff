"""The commands that stay: scheduler, worker, API, all of them in one process, and the demo."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.exits import ExitCode
from backend.cli.output import AsJson, note, print_json

if TYPE_CHECKING:
    from backend.settings import Settings

LogAsJson = Annotated[bool, typer.Option("--json", help="Write the log, and errors, as JSON.")]
_POOLS = ("gevent", "threads", "prefork", "solo")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("scheduler")(scheduler)
    app.command("worker")(worker)
    app.command("api")(api)
    app.command("demo", hidden=True)(demo)


def up(
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Runs at the same time.")] = 8,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Of the API; 0: any free one. Else API_PORT.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run everything in this one process: upgrades the database, then worker, scheduler and API, until Ctrl-C."""
    import asyncio

    from backend.cli.all_in_one import run_all
    from backend.settings import get_settings

    settings = get_settings()
    if port is not None:
        settings = settings.model_copy(update={"api_port": port})
    _start_logging(settings, as_json=as_json)

    def on_started(address: str) -> None:
        if as_json:
            print_json({"event": "started", "url": address})
        else:
            note(f"hrsync is up: {address} (Ctrl-C ends it)")

    asyncio.run(run_all(settings, concurrency=concurrency, on_started=on_started))
    return ExitCode.DONE


def scheduler(as_json: LogAsJson = False) -> int:
    """Run the scheduler: fires what is due, sends it to the workers, rescues what was lost."""
    from backend.db.maria_database import maria
    from backend.scheduler.service import run_scheduler
    from backend.settings import get_settings

    settings = get_settings()
    _refuse_memory_broker(settings, "scheduler")
    maria()  # a wrong URL is told now, not by every loop
    _start_logging(settings, as_json=as_json)
    run_scheduler()
    return ExitCode.DONE


def worker(
    queues: Annotated[
        str | None,
        typer.Option("--queues", "-Q", help="Comma-separated; without it, all: hris,attendance,email,default."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, help="Runs at the same time; else WORKER_CONCURRENCY.")
    ] = None,
    pool: Annotated[str, typer.Option("--pool", "-P", help=f"One of {', '.join(_POOLS)}.")] = "gevent",
    name: Annotated[str | None, typer.Option("--name", help="Celery's name of the worker, such as hris@%h.")] = None,
    as_json: LogAsJson = False,
) -> None:
    """Run a worker: this process becomes `celery -A backend.celery_app worker` with the right options."""
    from backend.db.maria_database import maria
    from backend.settings import get_settings

    if pool not in _POOLS:
        raise typer.BadParameter(f"--pool {pool!r} is not known. There are: {', '.join(_POOLS)}.")
    settings = get_settings()
    _refuse_memory_broker(settings, "worker")
    maria()  # a wrong URL is told now, not by every run
    command = worker_command(settings, queues=queues, concurrency=concurrency, pool=pool, name=name)
    if as_json:
        os.environ["LOG_FORMAT"] = "json"
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - our own interpreter with our own arguments


def worker_command(
    settings: Settings, *, queues: str | None, concurrency: int | None, pool: str, name: str | None
) -> list[str]:
    """The command line of Celery's worker.

    Raises:
        BadParameter: a queue is not one of ours.
    """
    known = ("hris", "attendance", "email", "default")
    wanted = [queue.strip() for queue in queues.split(",")] if queues else list(known)
    if unknown := [queue for queue in wanted if queue not in known]:
        raise typer.BadParameter(f"--queues: {', '.join(unknown)} is not a queue. There are: {', '.join(known)}.")
    return [
        sys.executable, "-m", "celery", "-A", "backend.celery_app", "worker",
        "--pool", pool,
        "--concurrency", str(concurrency or settings.worker_concurrency),
        "--queues", ",".join(wanted),
        "--hostname", name or f"hrsync-{os.getpid()}@%h",
        "--loglevel", settings.log_level,
        # Workers talk through the database; Celery's chatter between workers only costs.
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip


def api(as_json: LogAsJson = False) -> int:
    """Serve the HTTP API and the dashboard; on loopback, or anywhere with API_TOKEN."""
    import asyncio

    from backend.api.serve import run_api
    from backend.settings import get_settings

    settings = get_settings()
    _start_logging(settings, as_json=as_json)
    asyncio.run(run_api(settings))
    return ExitCode.DONE


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the summary.")] = False,
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo lives; emptied first.")] = Path("var/demo"),
    config: Annotated[Path, typer.Option("--config", help="Folder of the example configuration.")] = Path("config"),
) -> int:
    """Show hrsync at work on a fictional company."""
    from backend.cli.demo import run_demo

    return run_demo(folder, config, once=once)


def _start_logging(settings: Settings, *, as_json: bool) -> None:
    from backend.utils.structured_logger import configure_logging

    configure_logging("json" if as_json else settings.log_format, settings.log_level)


def _refuse_memory_broker(settings: Settings, command: str) -> None:
    from backend.errors import ConfigurationError

    if settings.celery_broker_url.get_secret_value().startswith("memory:"):
        raise ConfigurationError(
            f"CELERY_BROKER_URL is memory://, which lives inside one process: `hrsync {command}` alone would be cut "
            "off from the rest. Set it to a Redis (redis://127.0.0.1:6379/0), or run everything with `hrsync up`."
        )
