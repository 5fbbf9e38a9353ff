"""hrsync's own replication, as a gevent worker runs it: on the loop's thread, with the adapters of the settings.

A process of its own: `python -m benchmarks.hris_replica`, to which `benchmarks.hris` gives the settings.
"""

# ruff: noqa: E402
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

from backend import resources
from backend.celery_app import app
from backend.db.hris_database import dispose_hris_engine
from backend.db.maria_database import maria
from backend.execution.loop import close_loop_thread, get_loop_thread
from backend.services.replicate_hris import replicate_hris
from backend.utils.identifiers import new_id
from benchmarks.meter import Cost, measured, watch_loop
from tests.support.hris import RecordedRun


async def replicate() -> Cost:
    """One replication, and the largest gap of the loop meanwhile."""
    try:
        mapping = resources.hris_mapping()
        run = RecordedRun(new_id())
        with measured() as cost:
            async with watch_loop(cost):
                report = await replicate_hris(
                    run,
                    mapping,
                    source=resources.hris_source(mapping),
                    store=resources.hr_store(),
                    open_spool=resources.open_row_spool,
                )
    finally:
        await dispose_hris_engine()
        await maria().dispose()
    cost.note = report.summary
    return cost


def main() -> None:
    """Replicate once and print the cost."""
    app.loader.import_default_modules()
    resources.preload()
    cost = get_loop_thread().run(replicate())
    close_loop_thread()
    cost.print()


if __name__ == "__main__":
    main()
