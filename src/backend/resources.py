"""The composition root: builds services' adapters from the settings. Nothing below it knows a setting or a URL."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
from collections.abc import Mapping
from pathlib import Path

from backend.adapters.biostar_config import load_punch_sources
from backend.adapters.execution_parts import DatabaseParts
from backend.adapters.hris_source import DatabaseHrisSource, HrisSources
from backend.adapters.mail_outbox import DatabaseMailOutbox
from backend.adapters.mailer_url import make_mailer
from backend.adapters.mapping_file import load_hris_mapping
from backend.adapters.row_spool import open_spool
from backend.api.repositories.history_repository import HistoryRepository
from backend.db.biostar_database import biostar
from backend.db.database import Database
from backend.db.hris_database import hris, source_database
from backend.db.maria_database import maria
from backend.domain.jobs import TaskTraits
from backend.domain.mapping import HrisMapping, SourceDefinition
from backend.domain.punches import BIOSTAR_URL_SETTING, PunchSourceDefinition, SourceKind
from backend.ports import (
    AmendmentStore,
    AttendanceRuleSource,
    DayStore,
    History,
    HrisSource,
    HrStore,
    Mailer,
    MailOutbox,
    MarkStore,
    OpenSpool,
    Parts,
    PunchSource,
    PunchStore,
    PunchUsers,
)
from backend.settings import get_settings

# --- HRIS -----------------------------------------------------------------------------------------------------------


def hris_mapping() -> HrisMapping:
    """The mapping in `hris.toml`, read anew at each call.

    Raises:
        ConfigurationError: the file is missing or wrong.
    """
    return load_hris_mapping(get_settings().config_file("hris.toml"))


def hris_source(mapping: HrisMapping | None = None) -> HrisSource:
    """The HRIS, and the sources beside it that the mapping defines; each is looked for when it is first asked."""
    definitions = mapping.sources.values() if mapping else ()
    folder = Path(mapping.file).parent if mapping else Path()
    return HrisSources(
        DatabaseHrisSource(hris()), {item.name: functools.partial(_open_source, item, folder) for item in definitions}
    )


def _open_source(definition: SourceDefinition, folder: Path) -> HrisSource:
    if definition.url_setting is not None:
        return DatabaseHrisSource(source_database(definition.name, definition.url_setting))
    from backend.adapters.csv_source import CsvHrisSource

    return CsvHrisSource(definition.name, folder / (definition.file or ""))


def hr_store() -> HrStore:
    """The replicated HR data."""
    from backend.adapters.hr_store import DatabaseHrStore

    return DatabaseHrStore(maria(), stale_after_seconds=get_settings().hris_stale_after_hours * 3600)


open_row_spool: OpenSpool = open_spool


_M_MMAP_THRESHOLD = -3  # malloc.h


def preload() -> None:
    """Import what is imported late because it loads Arrow: in a worker, before its threads do so at the same time."""
    import pyarrow as pa

    # A worker lives for years: what a large run needed goes back to the system. The pools that Arrow brings keep it,
    # and so does the C library with blocks below a threshold that it raises by itself.
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(AttributeError):  # not every C library has it
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    for module in (
        "adapters.attendance_days",
        "adapters.biostar1_source",
        "adapters.biostar2_source",
        "adapters.csv_source",
        "adapters.hr_store",
        "adapters.odbc_batches",
        "services.ingest_punches",
        "services.reconcile_hris",
    ):
        importlib.import_module(f"backend.{module}")
    # What is there now stays: the garbage collector need not look at it again, for 100 ms with everybody waiting.
    gc.collect()
    gc.freeze()


# --- punches --------------------------------------------------------------------------------------------------------


def punch_definitions() -> Mapping[str, PunchSourceDefinition]:
    """The sources of `biostar.toml` by name, read anew at each call.

    Raises:
        ConfigurationError: the file is wrong.
    """
    return load_punch_sources(get_settings().config_file("biostar.toml"))


def punch_source(definition: PunchSourceDefinition) -> PunchSource:
    """One of them.

    Raises:
        ConfigurationError: the setting with the URL of its database is missing, or holds no URL.
    """
    from backend.adapters.biostar1_source import Biostar1Source
    from backend.adapters.biostar2_source import Biostar2Source
    from backend.adapters.query_source import QuerySource

    database, name, rules = punch_database(definition), definition.name, definition.rules
    match definition.kind:
        case SourceKind.BIOSTAR2:
            return Biostar2Source(name, database, rules)
        case SourceKind.BIOSTAR1:
            return Biostar1Source(name, database, rules, place=definition.place)
        case SourceKind.QUERY:
            return QuerySource(name, database, rules, definition.query, place=definition.place)


def punch_database(definition: PunchSourceDefinition) -> Database:
    """The database of a source.

    Raises:
        ConfigurationError: the setting with its URL is missing, or holds no URL.
    """
    if definition.url_setting.upper() == BIOSTAR_URL_SETTING:
        return biostar()
    return source_database(definition.name, definition.url_setting)


def punch_store() -> PunchStore:
    """The punches."""
    from backend.adapters.attendance_store import DatabaseAttendanceStore

    return DatabaseAttendanceStore(maria(), stale_after_seconds=get_settings().biostar_stale_after_hours * 3600)


def punch_users() -> PunchUsers:
    """The user ids of the time clocks."""
    from backend.adapters.punch_users import DatabasePunchUsers

    return DatabasePunchUsers(maria())


# --- attendance -----------------------------------------------------------------------------------------------------


def attendance_rules() -> AttendanceRuleSource:
    """The rules in `attendance.toml`, and public holidays."""
    from backend.adapters.attendance_rules import FileRuleSource

    return FileRuleSource(get_settings().config_file("attendance.toml"))


def mark_store() -> MarkStore:
    """The marks on days that are to be computed again."""
    from backend.adapters.attendance_marks import DatabaseMarkStore

    return DatabaseMarkStore(maria())


def amendment_store() -> AmendmentStore:
    """What people say about attendance."""
    from backend.adapters.attendance_amendments import DatabaseAmendmentStore

    return DatabaseAmendmentStore(maria())


def day_store() -> DayStore:
    """The computed days."""
    from backend.adapters.attendance_days import DatabaseDayStore

    return DatabaseDayStore(maria(), stale_after_seconds=get_settings().attendance_stale_after_hours * 3600)


# --- mail -----------------------------------------------------------------------------------------------------------


def mail_outbox(sending_task: TaskTraits) -> MailOutbox:
    """The messages to be sent; each gets an execution of `sending_task` (that is `send_email`)."""
    return DatabaseMailOutbox(maria(), sender=get_settings().mail_from, sending_task=sending_task)


def mailer() -> Mailer:
    """Sends what is in the outbox.

    Raises:
        ConfigurationError: SMTP_URL or MAIL_FROM is wrong.
    """
    settings = get_settings()
    return make_mailer(settings.smtp_url.get_secret_value(), settings.mail_from)


def summary_recipients() -> tuple[str, ...]:
    """Who gets the summary of each HRIS run."""
    return get_settings().mail_summary_to


# --- executions in parts --------------------------------------------------------------------------------------------


def parts() -> Parts:
    """The parts of executions."""
    return DatabaseParts(maria())


# --- history --------------------------------------------------------------------------------------------------------


def history() -> History:
    """The executions of the past."""
    return HistoryRepository(maria())


def retention_days() -> tuple[int, int]:
    """For how many days executions, and log lines, are kept."""
    settings = get_settings()
    return settings.keep_executions_days, settings.keep_logs_days
