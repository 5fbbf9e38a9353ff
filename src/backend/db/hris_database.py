"""The HRIS database and the databases beside it, which hrsync only reads."""

from __future__ import annotations

import functools

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from backend.db.database import Database
from backend.errors import ConfigurationError
from backend.settings import Settings, get_settings

_others: dict[tuple[str, str, str], Database] = {}


@functools.cache
def hris() -> Database:
    """The database of `HRIS_URL`."""
    settings = get_settings()
    return _open("HRIS", "HRIS_URL", settings.hris_url.get_secret_value(), settings)


def source_database(name: str, url_setting: str) -> Database:
    """The database of a further source, by the environment variable (or the line of `.env`) that holds its URL.

    Raises:
        ConfigurationError: the variable is not set, or holds no URL.
    """
    found = (source(Settings).env_vars.get(url_setting.lower()) for source in (EnvSettingsSource, DotEnvSettingsSource))
    url = next(filter(None, found), None)
    if not url:
        raise ConfigurationError(
            f"{url_setting} is not set: [sources.{name}] says that it holds the URL of a database. Set it "
            "in the environment or in .env, as HRIS_URL is."
        )
    key = (name, url_setting, url)
    if key not in _others:
        _others[key] = _open(name, url_setting, url, get_settings())
    return _others[key]


def _open(name: str, setting: str, url: str, settings: Settings) -> Database:
    return Database(
        name,
        setting,
        url,
        pool_size=settings.db_pool_size,
        timeout_seconds=settings.db_timeout_seconds,
        statement_timeout_seconds=settings.source_timeout_seconds,
        read_only=True,
    )


def get_hris_session_maker() -> async_sessionmaker[AsyncSession]:
    """A session factory on the engine of the running loop."""
    return hris().session_maker()


async def dispose_hris_engine() -> None:
    """Close the connections of the running loop, to the databases beside the HRIS too."""
    opened = [hris()] if hris.cache_info().currsize else []
    for database in (*opened, *_others.values()):
        await database.dispose()
