"""The checks of `hrsync doctor`: each looks at one thing of the installation and says what it found."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import select, text

from backend.db.database import Database
from backend.db.types import db_now
from backend.domain.punches import PunchSourceDefinition
from backend.errors import HrsyncError
from backend.services.hris_findings import Finding, Level
from backend.settings import Settings, get_settings

CHECK_TIMEOUT_SECONDS = 20.0
_HRIS_ROWS = 200  # of each entity; `hrsync hris check` reads all
_CLOCK_WARNING_SECONDS = 2.0
_CLOCK_ERROR_SECONDS = 60.0
_OLDEST_MARIADB = (10, 6)
_DISK_WARNING_BYTES = 2 * 1024**3
_DISK_ERROR_BYTES = 200 * 1024**2
# From these releases on gevent breaks run_in_executor and getaddrinfo (gevent issue 2213).
_FIRST_BROKEN_PYTHONS = {(3, 13): 12, (3, 14): 3}

Check = Callable[[Settings], Awaitable[list[Finding]]]


async def check_installation() -> list[Finding]:
    """Every check, side by side; the findings in the order of the checks.

    A setting that cannot be read is the only finding then: nothing else can be looked at.
    """
    findings = [check_python(sys.version_info[:3])]
    try:
        settings = get_settings()
    except HrsyncError as error:
        return [*findings, Finding.of_error("settings", error)]
    findings.append(_ok("settings", "can be read"))
    checks: dict[str, Check] = {
        "database": check_database,
        "hris": check_hris_source,
        "biostar": check_biostar,
        "attendance rules": check_attendance_rules,
        "broker": check_broker,
        "mail": check_mail,
        "disk": check_disk,
        "jobs file": check_jobs_file,
        "jobs": check_jobs,
        "scheduler": check_processes,
    }
    results = await asyncio.gather(*(_guarded(name, check, settings) for name, check in checks.items()))
    return [*findings, *(finding for found in results for finding in found)]


async def _guarded(name: str, check: Check, settings: Settings) -> list[Finding]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await check(settings)
    except TimeoutError:
        return [
            _error(name, f"no answer within {CHECK_TIMEOUT_SECONDS:g} s", "Check host, port and firewall of its URL.")
        ]
    except HrsyncError as error:
        return [Finding.of_error(name, error)]
    except Exception as error:  # a check that fails in an unforeseen way must not hide the others
        return [_error(name, f"the check itself failed: {type(error).__name__}: {error}")]


# --- this process -----------------------------------------------------------------------------------------------------


def check_python(version: tuple[int, int, int]) -> Finding:
    """Whether gevent works on this Python."""
    written = ".".join(map(str, version))
    broken_from = _FIRST_BROKEN_PYTHONS.get(version[:2])
    if broken_from is not None and version[2] >= broken_from:
        return _warning(
            "python",
            f"{written} has an open fault with gevent (gevent issue 2213), which workers run on",
            "Use Python 3.11 or 3.12, or start workers with --pool threads.",
        )
    return _ok("python", written)


async def check_disk(settings: Settings) -> list[Finding]:
    """Whether the data folder and the temporary folder can be written to, and have room."""
    findings = []
    for subject, folder in (
        ("data folder", settings.hrsync_data_dir),
        ("temporary folder", Path(tempfile.gettempdir())),
    ):
        place = _existing(folder)
        if not os.access(place, os.W_OK):
            findings.append(
                _error(
                    subject,
                    f"{place} cannot be written to by user id {os.getuid()}",
                    "Change its owner or the setting.",
                )
            )
            continue
        free = shutil.disk_usage(place).free
        message = f"{free / 1024**3:.1f} GiB free at {folder}"
        level: Level = "error" if free < _DISK_ERROR_BYTES else "warning" if free < _DISK_WARNING_BYTES else "ok"
        findings.append(
            Finding(level=level, subject=subject, message=message, mend="" if level == "ok" else "Make room there.")
        )
    return findings


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


# --- databases --------------------------------------------------------------------------------------------------------


async def check_database(settings: Settings) -> list[Finding]:
    """Whether hrsync's own database answers, is migrated, is new enough and has the same time as this host."""
    from backend.db.maria_database import maria
    from backend.db.migrate import current_revision, head_revision

    database = maria()
    if missing := _missing_file(database):
        return [_error("database", missing, "Run `hrsync db upgrade`, which creates it; or mend MARIA_URL.")]
    found, head = await current_revision(database), head_revision()
    version, is_mariadb = await _server_version(database)
    findings = [_ok("database", f"{database.safe_url} answers ({version})")]
    if database.dialect == "mysql" and not (is_mariadb and _numbers(version) >= _OLDEST_MARIADB):
        findings.append(
            _error(
                "database",
                f"the server is {version}",
                f"hrsync needs MariaDB {'.'.join(map(str, _OLDEST_MARIADB))} or newer.",
            )
        )
    if found != head:
        state = "has no tables of hrsync" if found is None else f"is at revision {found}, this version needs {head}"
        return [*findings, _error("tables", f"the database {state}", "Run `hrsync db upgrade`.")]
    return [*findings, _ok("tables", f"at revision {found}"), await _check_clock(database)]


async def _check_clock(database: Database) -> Finding:
    async with database.session() as session:
        before = dt.datetime.now(dt.UTC)
        theirs: dt.datetime = (await session.execute(select(db_now()))).scalar_one()
        after = dt.datetime.now(dt.UTC)
    skew = (theirs - (before + (after - before) / 2)).total_seconds()
    if abs(skew) < _CLOCK_WARNING_SECONDS:
        return _ok("clock", f"differs from the database's by {abs(skew):.1f} s")
    level: Level = "error" if abs(skew) > _CLOCK_ERROR_SECONDS else "warning"
    message = f"the database's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this host's"
    return Finding(level=level, subject="clock", message=message, mend="Let NTP (chrony) set the clocks of both hosts.")


async def _server_version(database: Database) -> tuple[str, bool]:
    async with database.session() as session:
        dialect = (await session.connection()).dialect
        if database.dialect == "sqlite":
            return f"SQLite {await session.scalar(text('SELECT sqlite_version()'))}", False
        if database.dialect == "mysql":
            is_mariadb = bool(getattr(dialect, "is_mariadb", False))
            numbers = (getattr(dialect, "server_version_info", None) or ())[:3]
            return f"{'MariaDB' if is_mariadb else 'MySQL'} {'.'.join(map(str, numbers))}", is_mariadb
        numbers = (getattr(dialect, "server_version_info", None) or ())[:2]
        return f"SQL Server {'.'.join(map(str, numbers))}", False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.rpartition(" ")[2].split(".") if part.isdecimal())


async def check_hris_source(_: Settings) -> list[Finding]:
    """Whether the HRIS answers and fits its mapping."""
    from backend.db.hris_database import hris
    from backend.resources import hris_mapping, hris_source
    from backend.services.check_hris import check_hris

    findings, answers = await _check_source("hris", hris)
    try:
        mapping = hris_mapping()
    except HrsyncError as error:
        return [*findings, Finding.of_error("hris mapping", error)]
    findings.append(_ok("hris mapping", f"{mapping.file} is valid; it maps {', '.join(mapping.entities)}"))
    if not answers:
        return findings
    check = await check_hris(hris_source(mapping), mapping, sample_rows=0, max_rows=_HRIS_ROWS)
    return [*findings, *check.findings]


async def check_biostar(_: Settings) -> list[Finding]:
    """Whether the databases of the time clocks answer, and have events."""
    from backend.db.biostar_database import biostar
    from backend.resources import punch_database, punch_definitions

    try:
        definitions = punch_definitions()
    except HrsyncError as error:
        findings, _answers = await _check_source("biostar", biostar)
        return [*findings, Finding.of_error("biostar rules", error)]
    found: list[Finding] = []
    for name, definition in definitions.items():
        subject = "biostar" if len(definitions) == 1 else f"biostar {name}"
        findings, answers = await _check_source(subject, functools.partial(punch_database, definition))
        found += findings
        if answers:
            found += await _check_events(subject, definition)
    return found


async def _check_events(subject: str, definition: PunchSourceDefinition) -> list[Finding]:
    from backend.domain.punches import IngestState, SourceKind
    from backend.resources import punch_source

    if definition.kind is SourceKind.QUERY:
        return []  # only running it would tell: hrsync punches check
    try:
        plan = await punch_source(definition).plan(IngestState(), dt.datetime.now(dt.UTC))
    except HrsyncError as error:
        return [Finding.of_error(f"{subject} tables", error)]
    if not plan.portions:
        advice = f"Check that {definition.url_setting} names the database with the events: hrsync punches check"
        return [_warning(f"{subject} tables", f"there are no events since {plan.first_month}", advice)]
    tables = sorted({portion.table for portion in plan.portions})
    span = tables[0] if len(tables) == 1 else f"{tables[0]} to {tables[-1]}"
    return [_ok(f"{subject} tables", f"there are events since {plan.first_month}: {span}")]


async def _check_source(subject: str, make: Callable[[], Database]) -> tuple[list[Finding], bool]:
    try:
        database = make()
        if missing := _missing_file(database):
            return [_error(subject, missing, f"Mend {database.setting}.")], False
        if (driver := odbc_problem(database)) is not None:
            return [_error(subject, *driver)], False
        version, _ = await _server_version(database)
    except HrsyncError as error:
        return [Finding.of_error(subject, error)], False
    return [_ok(subject, f"{database.safe_url} answers ({version})")], True


def odbc_problem(database: Database) -> tuple[str, str] | None:
    """What is wrong with the ODBC driver of a SQL Server URL, and the mend; None: nothing."""
    if database.dialect != "mssql":
        return None
    driver = str(database.url.query.get("driver", ""))
    packages = (
        "For driver=FreeTDS: apt install unixodbc tdsodbc. For driver=ODBC+Driver+18+for+SQL+Server: install "
        "msodbcsql18 from Microsoft's package source."
    )
    try:
        import pyodbc  # type: ignore[import-not-found]
    except ImportError as error:
        return f"ODBC cannot be loaded ({error})", f"The library is in the package unixodbc. {packages}"
    if not driver:
        return f"{database.setting} names no ODBC driver", f"Add ?driver=NAME. {packages}"
    installed = pyodbc.drivers()
    if driver.startswith("/"):
        return None if Path(driver).exists() else (f"the ODBC driver {driver} does not exist", packages)
    if driver.lower() not in {name.lower() for name in installed}:
        there_are = ", ".join(installed) or "none"
        return f"the ODBC driver {driver!r} is not installed (there are: {there_are})", packages
    return None


async def _has_tables(database: Database) -> bool:
    """Whether the database can be asked for jobs; where it cannot, its own check says why."""
    from backend.db.migrate import is_up_to_date

    try:
        return _missing_file(database) is None and await is_up_to_date(database)
    except HrsyncError:
        return False


def _missing_file(database: Database) -> str | None:
    # SQLite would create an empty file where there is none.
    path = database.url.database
    if database.dialect != "sqlite" or not path or path == ":memory:" or database.url.query.get("uri"):
        return None
    return None if Path(path).exists() else f"there is no file {path} ({database.setting})"


# --- what runs --------------------------------------------------------------------------------------------------------


async def check_broker(settings: Settings) -> list[Finding]:
    """Whether Celery's broker answers."""
    from backend.api.routes.broker import broker_check
    from backend.api.routes.readiness import CheckState

    url = settings.celery_broker_url.get_secret_value()
    if url.startswith("memory:"):
        return [_ok("broker", "inside `hrsync up`; workers of their own need Redis (CELERY_BROKER_URL)")]
    result = await broker_check(url)()
    if result.state is CheckState.OK:
        return [_ok("broker", result.detail)]
    return [
        Finding(
            level="error" if result.state is CheckState.FAILED else "warning", subject="broker", message=result.detail
        )
    ]


async def check_mail(settings: Settings) -> list[Finding]:
    """Whether the mail server takes login and sender, or the maildir can be written to; no message is sent."""
    from backend.domain.mail import MailContent, OutgoingMail
    from backend.resources import mailer

    recipient = (*settings.mail_summary_to, settings.mail_from)[0]
    trial = OutgoingMail(
        id=0,
        recipient=recipient,
        content=MailContent(subject="", text=""),
        message_id="",
        created_at=dt.datetime.now(dt.UTC),
        attempts=1,
    )
    async with mailer() as client:
        refusal = await client.prepare(trial)
    url = urlsplit(settings.smtp_url.get_secret_value())
    where = f"the maildir {url.path.removeprefix('/')}" if url.scheme == "maildir" else f"{url.scheme}://{url.hostname}"
    if refusal is not None:
        return [_error("mail", f"{where} does not take mail for {recipient}: {refusal.reason}", "Check MAIL_FROM.")]
    found = [_ok("mail", f"{where} takes mail from {settings.mail_from}")]
    if not settings.mail_summary_to:
        found.append(_ok("mail summary", "nobody gets the summary of HRIS runs (MAIL_SUMMARY_TO is empty)"))
    return found


async def check_attendance_rules(_: Settings) -> list[Finding]:
    """Whether attendance.toml says what can be computed by."""
    from backend.resources import attendance_rules

    source = attendance_rules()
    rules = source.parse(await asyncio.to_thread(source.load), ())
    number = len(rules.policies)
    return [_ok("attendance rules", f"{number} policies, {len(rules.shifts)} shifts, {len(rules.patterns)} patterns")]


async def check_jobs_file(settings: Settings) -> list[Finding]:
    """Whether the jobs file is valid, where there is one."""
    from backend.celery_bridge import TASK_REGISTRY
    from backend.domain.jobs_file import parse_jobs_file

    path = settings.config_file("jobs.toml")
    if not path.is_file():
        return []
    specs = parse_jobs_file(path.read_text(encoding="utf-8"), TASK_REGISTRY, file_name=str(path))
    return [_ok("jobs file", f"{path}: {len(specs)} jobs, all valid")]


async def check_jobs(_: Settings) -> list[Finding]:
    """Whether the jobs in the database are valid."""
    from backend.api.repositories.job_rows import spec_of
    from backend.api.repositories.scheduler_repository import SchedulerRepository
    from backend.celery_bridge import TASK_REGISTRY
    from backend.db.maria_database import maria
    from backend.domain.jobs import validate_job

    if not await _has_tables(maria()):
        return []
    async with maria().session() as session:
        jobs = await SchedulerRepository().list_jobs(session)
    wrong = []
    for job in jobs:
        try:
            validate_job(spec_of(job), TASK_REGISTRY)
        except HrsyncError as error:
            wrong.append(
                _error("jobs", f"{job.code}: {error}", "Mend it in the jobs file and run `hrsync jobs apply`.")
            )
    if wrong:
        return wrong
    if not jobs:
        return [_warning("jobs", "nothing is scheduled", "Run `hrsync jobs apply FILE`.")]
    return [_ok("jobs", f"{len(jobs)} scheduled, all valid")]


async def check_processes(_: Settings) -> list[Finding]:
    """Whether a scheduler leads and workers live."""
    from backend.cli.follow import read_vitals, scheduler_leads
    from backend.db.maria_database import maria

    if not await _has_tables(maria()):
        return []
    vitals = await read_vitals()
    findings = []
    if vitals.lease is not None and scheduler_leads(vitals):
        findings.append(_ok("scheduler", f"{vitals.lease.holder} leads"))
    else:
        findings.append(
            _warning("scheduler", "none is running: nothing fires", "Start `hrsync scheduler` or `hrsync up`.")
        )
    if vitals.workers:
        findings.append(_ok("workers", f"{len(vitals.workers)} alive, {vitals.running} runs running"))
    else:
        findings.append(
            _warning("workers", "none is running: nothing is executed", "Start `hrsync worker` or `hrsync up`.")
        )
    return findings


# --- findings ---------------------------------------------------------------------------------------------------------


def _ok(subject: str, message: str) -> Finding:
    return Finding(level="ok", subject=subject, message=message)


def _warning(subject: str, message: str, mend: str = "") -> Finding:
    return Finding(level="warning", subject=subject, message=message, mend=mend)


def _error(subject: str, message: str, mend: str = "") -> Finding:
    return Finding(level="error", subject=subject, message=message, mend=mend)
