"""The task: from the settings and the mapping file to the data and the mail, as a worker runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from backend.celery_bridge import TASK_REGISTRY
from backend.db.database import Database
from backend.db.hris_database import hris
from backend.db.models import Employee, OutboxMessage
from backend.demo.company import write_hris
from backend.domain.executions import RunReport
from backend.errors import ConfigurationError, TransientError
from backend.settings import get_settings
from tests.support.hris import RecordedRun, read_table

Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Changes settings and keeps hrsync's own database as it is."""

    def change(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name.upper(), str(value))
        get_settings.cache_clear()
        hris.cache_clear()

    return change


@pytest.fixture
async def company(
    app_database: Database, configure: Configure, tmp_path: Path, project_root: Path
) -> AsyncIterator[Database]:
    """hrsync's own database, with the settings of an installation that reads the fictional company."""
    write_hris(tmp_path / "company.db")
    configure(
        hris_url=f"sqlite+aiosqlite:///{tmp_path / 'company.db'}",
        hrsync_config_dir=project_root / "config",
        mail_summary_to="ops@example.com, hr@example.com",
    )
    yield app_database
    await hris().dispose()


async def run_task(run: RecordedRun, **params: bool) -> RunReport:
    report = await TASK_REGISTRY["hris_replication"].body(run, **params)
    assert isinstance(report, RunReport)
    return report


def test_the_task_as_the_scheduler_sees_it() -> None:
    """Name, queue, retries and parameters are what jobs and workers rely on."""
    task = TASK_REGISTRY["hris_replication"]

    assert ("tasks.hris.hris_replication_task", "hris", True, 4) == (
        task.name, task.queue, task.idempotent, task.max_attempts,
    )  # fmt: skip
    assert {"full": True} == task.validate_params({"full": True})
    with pytest.raises(ConfigurationError, match="fulll"):
        task.validate_params({"fulll": True})


async def test_it_replicates_and_mails_the_summary_once(company: Database) -> None:
    """The data arrives, and every recipient gets one message a run, also when the run is repeated."""
    run = RecordedRun()
    report = await run_task(run)
    await run_task(run)

    assert 250 < len(await read_table(company, Employee, "id"))
    async with company.session() as session:
        messages = (await session.execute(select(OutboxMessage.recipient, OutboxMessage.text_body))).all()
    assert ["hr@example.com", "ops@example.com"] == sorted(recipient for recipient, _ in messages)
    assert all(report.summary in text for _, text in messages)


async def test_a_wrong_address_does_not_fail_the_run(company: Database, configure: Configure) -> None:
    """The data is in; the address is a warning, and the next one gets its message."""
    configure(mail_summary_to="nobody, ops@example.com")
    run = RecordedRun()

    await run_task(run)

    assert ["summary_mail_failed"] == [event for level, event, _ in run.log.lines if level == "warning"]
    async with company.session() as session:
        assert ["ops@example.com"] == list(await session.scalars(select(OutboxMessage.recipient)))


async def test_a_missing_mapping_is_a_matter_of_configuration(
    company: Database, configure: Configure, tmp_path: Path
) -> None:
    """Without a mapping file the run fails with the path, and is not tried again."""
    configure(hrsync_config_dir=tmp_path)

    with pytest.raises(ConfigurationError, match=r"hris\.toml"):
        await run_task(RecordedRun())


async def test_an_hris_that_is_away_is_tried_again(company: Database, configure: Configure) -> None:
    """A refused connection is transient, and names the HRIS."""
    configure(hris_url="mysql+aiomysql://reader:pw@127.0.0.1:9/hris")

    with pytest.raises(TransientError, match="HRIS"):
        await run_task(RecordedRun())
