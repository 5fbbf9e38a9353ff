"""The command line: reads arguments, calls the program, shows the result. No rule of the business lives here."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `hrsync`; ends the process with the exit code."""
    from backend.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
