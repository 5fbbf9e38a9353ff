"""The composition root: builds services' adapters from the settings. Nothing below it knows a setting or a URL."""

from __future__ import annotations

from backend.adapters.hr_store import DatabaseHrStore
from backend.adapters.hris_source import DatabaseHrisSource
from backend.adapters.mapping_file import load_hris_mapping
from backend.adapters.row_spool import open_spool
from backend.db.hris_database import hris
from backend.db.maria_database import maria
from backend.domain.mapping import HrisMapping
from backend.ports import HrisSource, HrStore, OpenSpool
from backend.settings import get_settings

# --- HRIS -----------------------------------------------------------------------------------------------------------


def hris_mapping() -> HrisMapping:
    """The mapping in `hris.toml`, read anew at each call.

    Raises:
        ConfigurationError: the file is missing or wrong.
    """
    return load_hris_mapping(get_settings().config_file("hris.toml"))


def hris_source() -> HrisSource:
    """The HRIS."""
    return DatabaseHrisSource(hris())


def hr_store() -> HrStore:
    """The replicated HR data."""
    return DatabaseHrStore(maria())


open_row_spool: OpenSpool = open_spool
