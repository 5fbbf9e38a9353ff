"""The settings: where they come from, and what is said when they are wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.db.biostar_database import biostar
from backend.db.hris_database import hris
from backend.db.maria_database import maria
from backend.errors import ConfigurationError
from backend.settings import Settings, env_example, get_settings
from tests.support.project import PROJECT_ROOT

SetEnvironment = Callable[..., Settings]


def test_env_example_is_written_from_the_settings() -> None:
    """The example file names every setting with its default and its meaning, as the program has them."""
    assert env_example() == (PROJECT_ROOT / ".env.example").read_text()


def test_the_example_says_what_is_the_default_anyway(tmp_path: Path) -> None:
    """A copy of the example changes nothing."""
    defaults = Settings()
    (tmp_path / ".env").write_text(env_example())

    assert defaults == Settings()


def test_every_setting_has_one_line_of_meaning() -> None:
    """Each setting is described by one sentence."""
    assert [] == [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")]


def test_the_environment_comes_before_the_env_file(tmp_path: Path, settings_env: SetEnvironment) -> None:
    """A variable that is set wins over the same line in `.env`."""
    (tmp_path / ".env").write_text("API_PORT=1111\nLEASE_SECONDS=7\n")

    settings = settings_env(api_port=2222)

    assert (2222, 7) == (settings.api_port, settings.lease_seconds)


def test_settings_are_read_once(settings_env: SetEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process keeps the settings that it began with."""
    settings_env(api_port=2222)
    monkeypatch.setenv("API_PORT", "3333")

    assert 2222 == get_settings().api_port


def test_recipients_are_separated_by_commas(settings_env: SetEnvironment) -> None:
    """Blanks and empty parts of a list do not count."""
    settings = settings_env(mail_summary_to=" hr@example.com, ,it@example.com,")

    assert ("hr@example.com", "it@example.com") == settings.mail_summary_to


def test_wrong_settings_are_named_together_without_their_values(settings_env: SetEnvironment) -> None:
    """One message names every wrong variable and where to mend it, and does not repeat what was written."""
    with pytest.raises(ConfigurationError) as raised:
        settings_env(api_port="geheim", lease_seconds=0, log_level="LOUD")

    text = str(raised.value)
    assert ["API_PORT", "LEASE_SECONDS", "LOG_LEVEL"] == sorted(re.findall(r"[A-Z]+_[A-Z]+(?=: )", text))
    assert ".env" in text
    assert "geheim" not in text


def test_passwords_are_not_in_the_text_of_the_settings(settings_env: SetEnvironment) -> None:
    """Printing the settings shows no secret."""
    settings = settings_env(
        maria_url="mysql+aiomysql://hr:geheim@db/hr",
        celery_broker_url="redis://:geheim@r/0",
        smtp_url="smtp://u:geheim@m",
        api_token="geheim",
    )

    assert "geheim" not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize(("database", "setting"), [(maria, "MARIA_URL"), (hris, "HRIS_URL"), (biostar, "BIOSTAR_URL")])
@pytest.mark.parametrize("url", ["db.example.com", "postgresql+asyncpg://u:geheim@db/x", "sqlite:///x.db", ""])
def test_a_wrong_database_url_names_its_setting(
    settings_env: SetEnvironment, database: Callable[[], object], setting: str, url: str
) -> None:
    """A URL that is none, or of another database, is refused with its setting's name and without its password."""
    settings_env(**{setting.lower(): url})
    with pytest.raises(ConfigurationError, match=setting) as raised:
        database()

    assert "geheim" not in str(raised.value)


def test_redis_is_the_broker_unless_another_is_named(settings_env: Callable[..., Settings]) -> None:
    """REDIS_URL alone makes Redis the broker; CELERY_BROKER_URL has the last word."""
    redis = "redis://127.0.0.1:6379/3"
    assert redis == settings_env(redis_url=redis).celery_broker_url.get_secret_value()
    named = settings_env(redis_url=redis, celery_broker_url="memory://")
    assert "memory://" == named.celery_broker_url.get_secret_value()


def test_heartbeats_that_come_too_late_are_refused(settings_env: Callable[..., Settings]) -> None:
    """A heartbeat that is slower than half the time after which a run counts as lost is a mistake, and said."""
    with pytest.raises(ConfigurationError, match="ORPHAN_AFTER_SECONDS must be at least twice HEARTBEAT_SECONDS"):
        settings_env(heartbeat_seconds=60)
