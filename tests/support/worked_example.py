"""The worked example of the page on previews, executed: `python -m tests.support.worked_example` writes it anew."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tempfile
from pathlib import Path

from backend.cli.app import run
from tests.support.project import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs/attendance-preview.md"
_FILE = re.compile(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SESSION = re.compile(r"^```console\n\$ hrsync ([^\n]*)\n.*?^```$", re.MULTILINE | re.DOTALL)


def execute(page: str, folder: Path) -> str:
    """The page with what its commands really print, stdout before stderr, given the files that it shows."""
    for name, content in _FILE.findall(page):
        (folder / name).write_text(content, encoding="utf-8")

    def session(match: re.Match[str]) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            run(shlex.split(match[1]))
        printed = "\n".join(line.rstrip() for line in (out.getvalue() + err.getvalue()).splitlines())
        return f"```console\n$ hrsync {match[1]}\n{printed.rstrip()}\n```"

    return _SESSION.sub(session, page)


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(execute(PAGE.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
