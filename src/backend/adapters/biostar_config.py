"""Reads `biostar.toml`: which sources of punches there are, and by which rules each is read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from backend.domain.punches import DIRECTIONS, SUCCESS_CODES, Direction, Month, PunchRules
from backend.errors import ConfigurationError

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
_Code = Annotated[int, Field(ge=1, le=0xFFFF)]
_Key = Annotated[int, Field(ge=1, le=255)]
_Month = Annotated[Month, BeforeValidator(lambda value: Month.parse(str(value)))]


class _Source(BaseModel):
    """One table `[sources.NAME]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["biostar2"]
    success_codes: list[_Code] = Field(sorted(SUCCESS_CODES), min_length=1)
    directions: dict[_Key, Direction] = dict(DIRECTIONS)
    first_month: _Month | None = None
    months_back: int = Field(3, ge=0, le=1200)
    rescan_months: int = Field(2, ge=0, le=120)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # One source so far: the database of BIOSTAR_URL.
    sources: dict[_Name, _Source] = Field(min_length=1, max_length=1)


def load_punch_rules(path: Path) -> Mapping[str, PunchRules]:
    """The rules in the file by source; without a file, those of an installation that nobody has changed.

    Raises:
        ConfigurationError: the file cannot be read or is wrong; every mistake is named with its place.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"biostar": PunchRules()}
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}. Save it as UTF-8 text.") from None
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"{path} is wrong: {problems}.") from None
    return {name: _rules(source) for name, source in file.sources.items()}


def _rules(source: _Source) -> PunchRules:
    return PunchRules(
        success_codes=frozenset(source.success_codes),
        directions=source.directions,
        first_month=source.first_month,
        months_back=source.months_back,
        rescan_months=source.rescan_months,
    )
