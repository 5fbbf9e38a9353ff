"""The demo: a fictional company's HRIS and BioStar, everything in this process, the real way from schedule to summary.

Here are its folder, its environment and the system that it starts; what it then shows is in `demo_story`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from backend.cli.exits import ExitCode
from backend.cli.output import console, note
from backend.demo.company import write_biostar, write_hris
from backend.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from backend.cli.demo_story import Story

# In the folder of every demo: only a folder with it is emptied.
_MARKER = ".hrsync-demo"
_SUMMARY_TO = "hr-it@aldermere.example"


def run_demo(folder: Path, config: Path, *, once: bool) -> ExitCode:
    """Run the demo in the folder; its exit code.

    Args:
        folder: emptied first; only what an earlier demo left there.
        config: folder of the example mappings and jobs.
        once: end after the summary instead of staying up.
    """
    output = console()
    begun = time.monotonic()
    _make_folder(folder)
    _set_environment(folder.absolute(), config.absolute())
    _say(output, f"A fictional company's HRIS and three months of BioStar punches are written to {folder}.")
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)  # of today not everybody has punched yet
    write_hris(folder / "hris.db", until=yesterday)
    write_biostar(folder / "biostar.db", until=yesterday)
    from backend.cli.demo_story import DemoError, Story
    from backend.db.maria_database import maria
    from backend.settings import get_settings
    from backend.utils.structured_logger import configure_logging

    get_settings.cache_clear()
    maria.cache_clear()
    with (folder / "hrsync.log").open("w", encoding="utf-8") as log:
        configure_logging("json", "INFO", log)
        try:
            return asyncio.run(_run(output, Story(output, folder, begun, yesterday), once=once))
        except DemoError as error:
            note(f"The demo failed: {error}\nIts log: {folder / 'hrsync.log'}")
            return ExitCode.FAILED
        finally:
            configure_logging("json", "CRITICAL", sys.stderr)


async def _run(output: Console, story: Story, *, once: bool) -> ExitCode:
    """Start everything, show the runs, stop (or stay)."""
    from backend.cli.all_in_one import run_all, stop_on_signals
    from backend.cli.demo_story import DemoError
    from backend.settings import get_settings

    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    system = asyncio.create_task(run_all(get_settings(), concurrency=4, on_started=address.set_result, stop=stop))

    async def show() -> None:
        await asyncio.shield(address)
        await story.tell()

    interrupted = asyncio.Event()
    with stop_on_signals(interrupted):
        waiting = asyncio.create_task(interrupted.wait())
        showing = asyncio.create_task(show())
        try:
            done, _ = await asyncio.wait({system, showing, waiting}, return_when="FIRST_COMPLETED")
            if system in done:
                system.result()
                raise DemoError("the system ended by itself")
            if showing in done:
                showing.result()
                if not once:
                    _invite(output, address.result())
                    await asyncio.wait({system, waiting}, return_when="FIRST_COMPLETED")
        finally:
            showing.cancel()
            waiting.cancel()
            stop.set()
            await asyncio.gather(system, showing, return_exceptions=True)
    if interrupted.is_set() and once:
        return ExitCode.INTERRUPTED
    _say(output, "Stopped in order.")
    return ExitCode.DONE


def _invite(output: Console, address: str) -> None:
    _say(output, f"\nThe dashboard: {address}", style="bold")
    _say(output, "It stays up and the example jobs stay scheduled; Ctrl-C ends it. In another terminal:")
    for command in (
        "jobs list",
        "executions list",
        "hris holds --all",
        "attendance days --from yesterday --to yesterday",
    ):
        _say(output, f"  MARIA_URL={os.environ['MARIA_URL']} .venv/bin/hrsync {command}")


def _say(output: Console, text: str, style: str = "") -> None:
    output.print(Text(text, style=style), soft_wrap=True)


# --- the folder -------------------------------------------------------------------------------------------------------


def _make_folder(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise ConfigurationError(
            f"{folder} is not empty and no demo made it, so it is left alone. Name another one with --folder."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARKER).write_text("Made by the demo of hrsync, which empties this folder.\n")


def _set_environment(folder: Path, config: Path) -> None:
    """Everything embedded, whatever the environment or a .env file of this place says: no real system is touched."""
    os.environ |= {
        "MARIA_URL": f"sqlite+aiosqlite:///{folder / 'hrsync.db'}",
        "HRIS_URL": f"sqlite+aiosqlite:///{folder / 'hris.db'}",
        "BIOSTAR_URL": f"sqlite+aiosqlite:///{folder / 'biostar.db'}",
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "",
        "CELERY_TASK_ALWAYS_EAGER": "false",
        "TASK_MODULES": "",
        "SMTP_URL": f"maildir:///{folder / 'mail'}",
        "MAIL_SUMMARY_TO": _SUMMARY_TO,
        "HRSYNC_CONFIG_DIR": str(config),
        "HRSYNC_DATA_DIR": str(folder),
        "API_HOST": "127.0.0.1",
        "API_PORT": "0",
        "API_TOKEN": "",
        "RELOAD_SECONDS": "0.2",
        "SHUTDOWN_GRACE_SECONDS": "3",
    }
