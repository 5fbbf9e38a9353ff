"""The tree of commands, and what happens when one of them fails."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from backend.cli import attendance, database, doctor, executions, hris, jobs, processes, punches, tasks
from backend.cli.exits import ExitCode, exit_code_of
from backend.cli.output import note, print_json
from backend.errors import HrsyncError

app = typer.Typer(
    name="hrsync",
    help="Keeps a company's HR data moving: HRIS replication, attendance, mail; scheduled, tracked, explained.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
DEBUG_VARIABLE = "HRSYNC_DEBUG"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hrsync {version('hrsync')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the program's log.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


doctor.register(app)
app.add_typer(database.app, name="db")
processes.register(app)
app.add_typer(tasks.app, name="tasks")
app.add_typer(jobs.app, name="jobs")
app.add_typer(executions.app, name="executions")
app.add_typer(hris.app, name="hris")
app.add_typer(punches.app, name="punches")
app.add_typer(attendance.app, name="attendance")


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Errors that are expected are one message, in JSON where JSON was asked for."""
    as_json = "--json" in arguments
    try:
        code: Any = app(args=list(arguments), prog_name="hrsync", standalone_mode=False)
    except TyperException as error:
        return _refuse_usage(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain again when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except HrsyncError as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        return _tell(type(error).__name__, error, exit_code_of(error), as_json)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        message = f"{error or 'no message'} (this is a fault of hrsync; `hrsync --debug ...` shows where)"
        return _tell(type(error).__name__, message, ExitCode.FAILED, as_json)
    return code if isinstance(code, int) else ExitCode.DONE


def _tell(kind: str, error: object, code: ExitCode, as_json: bool) -> int:
    if as_json:
        problems = getattr(error, "problems", None)
        detail: dict[str, Any] = {"type": kind, "message": str(error), "exit_code": int(code)}
        print_json({"error": detail | ({"problems": problems} if problems is not None else {})})
    else:
        note(f"{error}" if getattr(error, "problems", None) else f"Error: {error}")
    return code


def _refuse_usage(error: TyperException, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "hrsync"
    if type(error).__name__ == "NoArgsIsHelpError":
        if as_json:
            return _tell("UsageError", f"{command} needs a command.", ExitCode.USAGE, as_json)
        return ExitCode.USAGE
    _tell("UsageError", error.format_message(), ExitCode.USAGE, as_json)
    if not as_json:
        note(f"`{command} --help` shows how it is used.")
    return ExitCode.USAGE
