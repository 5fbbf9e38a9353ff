"""Every setting of hrsync, read from the environment (and an `.env` file in the working directory).

`.env.example` is generated from this module (`python -m backend.settings`) and a test keeps them in step.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.errors import ConfigurationError

LogFormat = Literal["auto", "json", "console"]


class Settings(BaseSettings):
    """Settings by their environment name; the defaults run everything embedded, without any server."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, case_sensitive=False
    )

    # --- databases -------------------------------------------------------------------------------------------------
    maria_url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///var/hrsync.db"),
        description="hrsync's own database: mysql+aiomysql://user:password@host/db (MariaDB 10.6+), or SQLite.",
    )
    hris_url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///var/hris.db"),
        description="The HRIS, only read: mssql+aioodbc://..., mysql+aiomysql://... or sqlite+aiosqlite:///...",
    )
    biostar_url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///var/biostar.db"),
        description="The BioStar access-control database, only read; the same kinds of URL as HRIS_URL.",
    )
    db_pool_size: int = Field(10, ge=1, le=500, description="Connections a process keeps to each database.")
    db_timeout_seconds: float = Field(
        10, gt=0, description="Longest wait for a connection, and for one bookkeeping statement."
    )
    source_timeout_seconds: float = Field(
        300, gt=0, description="Longest single query at the HRIS or BioStar before it is given up."
    )

    # --- Celery ----------------------------------------------------------------------------------------------------
    celery_broker_url: SecretStr = Field(
        SecretStr("memory://"),
        description="Celery's broker: redis://[:password@]host:6379/0, or memory:// (hrsync up).",
    )
    celery_result_backend: SecretStr = Field(
        SecretStr(""), description="Celery's result backend; empty: none (results are in the execution tables)."
    )
    celery_task_always_eager: bool = Field(False, description="Run tasks in the calling process (debugging only).")
    task_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Further Python modules that define tasks of your own; comma-separated."
    )
    redis_url: SecretStr = Field(
        SecretStr(""), description="Redis, when CELERY_BROKER_URL is not set: then it is the broker as well."
    )

    # --- mail ------------------------------------------------------------------------------------------------------
    smtp_url: SecretStr = Field(
        SecretStr("maildir:///var/mail"),
        description="smtp://user:password@host:587?starttls=1, smtps://..., or maildir:///relative/folder.",
    )
    mail_from: str = Field("hrsync@localhost", description="Sender of the messages.")
    mail_summary_to: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Who gets the summary of each HRIS run; comma-separated; empty: nobody."
    )

    # --- places ----------------------------------------------------------------------------------------------------
    hrsync_config_dir: Path = Field(
        Path("config"), description="Folder of hris.toml, biostar.toml, attendance.toml, jobs.toml."
    )
    hrsync_data_dir: Path = Field(Path("var"), description="Folder whose free room `hrsync doctor` looks at.")

    # --- execution -------------------------------------------------------------------------------------------------
    heartbeat_seconds: float = Field(10, gt=0, description="How often a worker says which runs it is alive for.")
    orphan_after_seconds: float = Field(
        28, gt=0, description="A run without a heartbeat for so long is lost and is rescued."
    )
    redispatch_after_seconds: float = Field(
        60, gt=0, description="A sent run that nobody has claimed for so long is sent again (doubling each time)."
    )
    shutdown_grace_seconds: float = Field(
        20, ge=0, description="On SIGTERM: how long running work may finish before it is handed back."
    )
    worker_concurrency: int = Field(50, ge=1, description="Runs at the same time in one worker process.")
    native_threads: int = Field(32, ge=1, description="Threads of a process for blocking database drivers (ODBC).")
    attempt_log_lines: int = Field(500, ge=0, description="Log lines kept for one attempt.")

    # --- scheduler -------------------------------------------------------------------------------------------------
    lease_seconds: float = Field(15, gt=1, description="A scheduler that is silent for so long loses the lead.")
    reload_seconds: float = Field(1, gt=0, description="How often the scheduler looks for edited jobs.")
    sweep_seconds: float = Field(1, gt=0, description="How often unsent and orphaned runs are looked for.")

    # --- freshness -------------------------------------------------------------------------------------------------
    hris_stale_after_hours: float = Field(
        72, gt=0, description="The dashboard calls HR data stale that no replication has confirmed for so long."
    )
    biostar_stale_after_hours: float = Field(
        2, gt=0, description="The dashboard calls the punches stale when no ingestion has succeeded for so long."
    )
    attendance_stale_after_hours: float = Field(
        30, gt=0, description="The dashboard calls attendance stale that no computation has confirmed for so long."
    )

    # --- retention -------------------------------------------------------------------------------------------------
    keep_executions_days: int = Field(400, ge=1, description="Age at which cleanup_history deletes executions.")
    keep_logs_days: int = Field(90, ge=1, description="Age at which cleanup_history deletes logs of attempts.")

    # --- API -------------------------------------------------------------------------------------------------------
    api_host: str = Field("127.0.0.1", description="Address of the API; any but loopback needs API_TOKEN.")
    api_port: int = Field(8765, ge=0, le=65535, description="Port of the API; 0: any free one.")
    api_token: SecretStr = Field(SecretStr(""), description="Bearer token that the API asks for; empty: none.")

    # --- logs ------------------------------------------------------------------------------------------------------
    log_format: LogFormat = Field("auto", description="json, console, or auto: console on a terminal, else json.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least level written.")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = "; ".join(
                f"{str(item['loc'][0]).upper()}: {item['msg']}" if item["loc"] else item["msg"]
                for item in error.errors(include_input=False, include_url=False)
            )
            raise ConfigurationError(
                f"The settings are wrong ({problems}). Mend the environment or the .env file; see .env.example."
            ) from None

    @model_validator(mode="before")
    @classmethod
    def _broker_is_redis(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("redis_url") and not values.get("celery_broker_url"):
            return values | {"celery_broker_url": values["redis_url"]}
        return values

    @model_validator(mode="after")
    def _heartbeats_come_in_time(self) -> Settings:
        if self.orphan_after_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                "ORPHAN_AFTER_SECONDS must be at least twice HEARTBEAT_SECONDS, or living runs would be taken for lost"
            )
        return self

    @field_validator("mail_summary_to", "task_modules", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    def config_file(self, name: str) -> Path:
        """The path of a configuration file, such as `hris.toml`."""
        return self.hrsync_config_dir / name


@functools.cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        ConfigurationError: a value cannot be read.
    """
    return Settings()


def env_example() -> str:
    """The text of `.env.example`: each setting with its meaning and its default."""
    lines = [
        "# Settings of hrsync. Every line is the default: copy to .env and change what differs.",
        "# Written by `python -m backend.settings`; do not edit by hand.",
    ]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        elif isinstance(default, tuple):
            default = ",".join(default)
        elif isinstance(default, bool):
            default = str(default).lower()
        lines += ["", f"# {field.description}", f"{name.upper()}={default}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(env_example(), end="")
