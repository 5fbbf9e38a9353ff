"""`hrsync punches`: lists, users, assignments and the check of the sources, on real databases."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from backend.celery_bridge import TASK_REGISTRY
from backend.db.biostar_database import dispose_biostar_engine
from backend.db.maria_database import maria
from backend.db.models.scheduler import AuditEntry
from backend.settings import Settings
from tests.integration.test_punch_users import add_employee
from tests.support.biostar import DENIED, Biostar, event
from tests.support.cli import Cli, commands_of
from tests.support.databases import make_database
from tests.support.hris import RecordedRun
from tests.support.servers import free_port

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0, tzinfo=None)
YESTERDAY, TOMORROW = NOW - dt.timedelta(days=1), NOW + dt.timedelta(days=1)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """`cli("list")` runs `hrsync punches list` in this process."""
    with commands_of(capsys, "punches") as call:
        yield call


@pytest.fixture
def site(sqlite_url: str, settings_env: Callable[..., Settings], tmp_path: Path) -> Path:
    """A BioStar with punches of three users, of which one is an employee's; its folder of settings."""
    source_url = f"sqlite+aiosqlite:///{tmp_path / 'biostar.db'}"
    (tmp_path / "config").mkdir()
    settings_env(maria_url=sqlite_url, biostar_url=source_url, hrsync_config_dir=tmp_path / "config")

    async def fill() -> None:
        biostar, database = Biostar(source_url), make_database(sqlite_url)
        await biostar.install()
        for at, user, code in (
            (YESTERDAY, "10001", 4102),
            (YESTERDAY, "10002", 4865),
            (YESTERDAY, "10003", DENIED),
            (YESTERDAY, None, 12800),
            (TOMORROW, "10003", 4102),
        ):
            stored = (at + dt.timedelta(hours=9, seconds=2)).replace(microsecond=0)  # the server's own zone
            await biostar.add(f"{at:%Y%m}", {**event(at.isoformat(), user, code=code), "SRVDT": stored})
        await add_employee(database, "E1", biostar_user_id="10001", hired_on=YESTERDAY.date() + dt.timedelta(days=2))
        await biostar.dispose()
        await database.dispose()

    asyncio.run(fill())
    return tmp_path / "config"


@pytest.fixture
def ingested(site: Path) -> Path:
    """The same, after the task has run."""

    async def ingest() -> None:
        try:
            await TASK_REGISTRY["attendance_ingest"].body(RecordedRun())
        finally:
            await dispose_biostar_engine()
            await maria().dispose()

    asyncio.run(ingest())
    return site


def test_punches_are_listed_with_what_is_odd(ingested: Path, cli: Cli) -> None:
    """The newest come first, each with its employee and its flags, one of which is only known here."""
    items = cli("list", "--json").json["items"]
    assert [
        ("10003", None, ["future"]), ("10002", None, []), ("10001", "E1", ["pre_employment"])
    ] == [(item["user_id"], item["employee_no"], item["flags"]) for item in items]  # fmt: skip
    assert f"{YESTERDAY.isoformat()}Z" == items[2]["punched_at"]
    assert "10003" in cli("list").text


@pytest.mark.parametrize(
    ("options", "users"),
    [
        (["--employee", "E1"], ["10001"]),
        (["--user", "10002"], ["10002"]),
        (["--flag", "future"], ["10003"]),
        (["--flag", "late"], []),
        (["--flag", "pre_employment"], ["10001"]),
        (["--from", str(TOMORROW.date())], ["10003"]),
        (["--to", str(YESTERDAY.date())], ["10002", "10001"]),
        (["--from", str(NOW.date()), "--to", str(NOW.date())], []),
        (["--limit", "1"], ["10003"]),
    ],
)
def test_punches_are_chosen(ingested: Path, cli: Cli, options: list[str], users: list[str]) -> None:
    """By employee, user, flag and dates."""
    assert users == [item["user_id"] for item in cli("list", "--json", *options).json["items"]]


@pytest.mark.parametrize("options", [["--flag", "odd"], ["--from", "1.2.2026"]])
def test_a_wrong_choice_is_told(ingested: Path, cli: Cli, options: list[str]) -> None:
    """A flag or date that cannot be is a mistake of usage."""
    assert 2 == cli("list", *options).code


def test_users_are_listed(ingested: Path, cli: Cli) -> None:
    """Each user id with its employee, its punches, and why it is whose it is."""
    items = cli("users", "--json").json["items"]
    assert [
        ("10001", "E1", 1, "biostar_user_id of the employee"),
        ("10002", None, 1, "no employee has this biostar_user_id"),
        ("10003", None, 1, "no employee has this biostar_user_id"),
    ] == [(item["user_id"], item["employee_no"], item["punch_count"], item["reason"]) for item in items]
    assert ["10002", "10003"] == [item["user_id"] for item in cli("users", "--unknown", "--json").json["items"]]
    assert "10002" in cli("users", "--unknown").text


def test_a_user_is_assigned_and_given_back(ingested: Path, cli: Cli) -> None:
    """Assigned by hand, a user is that employee's at once; taken back, the rule decides; both are in the audit."""
    answer = cli("users", "assign", "biostar", "10002", "E1")
    assert (0, "") == (answer.code, answer.out)
    assert ["10002", "10001"] == [item["user_id"] for item in cli("list", "--employee", "E1", "--json").json["items"]]
    assert 1 == cli("users", "unassign", "biostar", "10002", "--json").json["changed"]
    assert ["10002", "10003"] == [item["user_id"] for item in cli("users", "--unknown", "--json").json["items"]]

    async def audited() -> list[str]:
        async with maria().session() as session:
            found = list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))
        await maria().dispose()
        return found

    assert ["punch_user_assigned", "punch_user_unassigned"] == asyncio.run(audited())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("assign", "biostar", "10002", "E404"), "no employee 'E404'"),
        (("assign", "gate", "10002", "E1"), "no source 'gate'"),
        (("unassign", "biostar", "10002"), "Nobody has assigned"),
    ],
)
def test_what_is_not_there_cannot_be_assigned(ingested: Path, cli: Cli, arguments: tuple[str, ...], told: str) -> None:
    """Employees, sources and assignments that do not exist are not found."""
    answer = cli("users", *arguments)
    assert 3 == answer.code
    assert told in answer.err


def test_the_check_says_what_a_source_holds(site: Path, cli: Cli) -> None:
    """Before anything is ingested: tables, events by code, what becomes of them, who is unknown, which clock is off."""
    answer = cli("check", "--json")
    (source,) = answer.json["sources"]
    assert (0, "warning") == (answer.code, answer.json["status"])
    assert {"4102": 2, "4865": 1, "6400": 1, "12800": 1} == source["codes"]
    assert {"punches": 3, "not_a_success": 2, "future": 1, "clock_changes": 1} == source["outcomes"]
    assert (3, 2) == (source["users"], source["unknown_users"])
    assert f"{TOMORROW}.000000" == source["last_at"]
    messages = " ".join(finding["message"] for finding in source["findings"])
    assert "1 punches are later than now" in messages
    assert "2 of 3 user ids" in messages
    assert "4102" in cli("check").text


def test_the_check_finds_clocks_that_differ(site: Path, cli: Cli, tmp_path: Path) -> None:
    """A device whose events arrive before they happen is ahead, however the server's own zone is."""

    async def add() -> None:
        biostar = Biostar(f"sqlite+aiosqlite:///{tmp_path / 'biostar.db'}")
        month = f"{TOMORROW:%Y%m}"
        for device, ahead in ((1, 0), (2, 400), (3, 0)):
            for minute in range(5):
                at = TOMORROW + dt.timedelta(minutes=minute)
                stored = at + dt.timedelta(hours=9, seconds=2 - ahead)
                await biostar.add(month, {**event(at.isoformat()), "DEVUID": device, "SRVDT": stored})
        await biostar.dispose()

    biostar = Biostar(f"sqlite+aiosqlite:///{tmp_path / 'biostar.db'}")
    asyncio.run(_forget(biostar, f"{TOMORROW:%Y%m}"))
    asyncio.run(add())
    (source,) = cli("check", "--json").json["sources"]
    assert {"2": -398} == source["clocks"]
    assert any("2 7 min ahead" in finding["message"] for finding in source["findings"])


async def _forget(biostar: Biostar, month: str) -> None:

    async with biostar.writer.session() as session:
        await session.execute(text(f"DROP TABLE IF EXISTS {biostar.table_name(month)}"))
    await biostar.dispose()


def test_the_check_looks_at_every_source(site: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is away, one whose setting is missing and one that fits are all told; exit code 1."""
    monkeypatch.setenv("AWAY_URL", f"mysql+aiomysql://reader:secret-word@127.0.0.1:{free_port()}/biostar2_ac")
    (site / "biostar.toml").write_text("""
        [sources.north]
        kind = "biostar2"
        [sources.south]
        kind = "biostar2"
        url = "AWAY_URL"
        [sources.gate]
        kind = "query"
        url = "GATE_URL"
        query = "SELECT who AS person, at AS time FROM gate WHERE at > :after"
    """)
    answer = cli("check", "--json")
    worst = {source["name"]: source["findings"][-1] for source in answer.json["sources"]}
    assert 1 == answer.code
    assert {"north": "warning", "south": "error", "gate": "error"} == {
        name: finding["level"] for name, finding in worst.items()
    }
    assert "cannot be reached" in f"{worst['south']}"
    assert "GATE_URL is not set" in worst["gate"]["message"]
    assert "secret-word" not in answer.out


def test_the_check_notices_ciphertext(site: Path, cli: Cli, tmp_path: Path) -> None:
    """Where BioStar encrypts personal data, that is an error with what to switch off."""

    async def encrypt() -> None:

        biostar = Biostar(f"sqlite+aiosqlite:///{tmp_path / 'biostar.db'}")
        async with biostar.writer.session() as session:
            for month in {f"{YESTERDAY:%Y%m}", f"{TOMORROW:%Y%m}"}:
                await session.execute(
                    text(f"UPDATE {biostar.table_name(month)} SET USRID = 'q83vEjRWeJCrze8SNFZ4kA==' WHERE USRID <> ''")
                )
        await biostar.dispose()

    asyncio.run(encrypt())
    answer = cli("check")
    assert 1 == answer.code
    assert "Encrypt personal data" in answer.text


def test_the_check_notices_single_ciphertexts(site: Path, cli: Cli, tmp_path: Path) -> None:
    """Where BioStar has begun to encrypt in between, it says how many user ids it is, as a warning."""

    async def encrypt() -> None:
        biostar = Biostar(f"sqlite+aiosqlite:///{tmp_path / 'biostar.db'}")
        table = biostar.table_name(f"{YESTERDAY:%Y%m}")
        async with biostar.writer.session() as session:
            last = f"SELECT max(EVTLGUID) FROM {table} WHERE USRID <> ''"
            changed = f"UPDATE {table} SET USRID = 'q83vEjRWeJCrze8SNFZ4kA==' WHERE EVTLGUID = ({last})"
            await session.execute(text(changed))
        await biostar.dispose()

    asyncio.run(encrypt())
    answer = cli("check")
    assert 0 == answer.code
    assert "encrypted, so that they are rejected" in answer.text
