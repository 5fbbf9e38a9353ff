"""`hrsync db`: the tables of hrsync's own database."""

from __future__ import annotations

import typer

from backend.cli.output import AsJson, show

app = typer.Typer(help="hrsync's own database.", no_args_is_help=True)


@app.command("upgrade")
def upgrade_database(as_json: AsJson = False) -> None:
    """Create the tables, or bring them to this version; safe to call at any time."""
    from backend.cli.session import run_async
    from backend.db.maria_database import maria
    from backend.db.migrate import current_revision, upgrade

    async def run() -> tuple[str | None, str]:
        before = await current_revision(maria())
        return before, await upgrade(maria())

    before, after = run_async(run())
    text = f"{maria().safe_url} is at revision {after}" + (" already." if before == after else " now.")
    data = {"url": maria().safe_url, "from": before, "to": after}
    show(as_json, data, lambda output: output.print(text, soft_wrap=True))
