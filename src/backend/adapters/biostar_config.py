"""Reads `biostar.toml`: which sources of punches there are, and by which rules each is read."""

from __future__ import annotations

import re
import tomllib
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from backend.adapters.toml_problems import TomlProblems, did_you_mean
from backend.domain.punches import (
    BIOSTAR1_SUCCESS_CODES,
    BIOSTAR_URL_SETTING,
    CLOCK_CODES,
    DIRECTIONS,
    SUCCESS_CODES,
    Direction,
    EmployeeRule,
    Month,
    PunchRules,
    PunchSourceDefinition,
    SourceKind,
)
from backend.errors import ConfigurationError

DEFAULT_SOURCE = "biostar"
_DEFAULTS = PunchRules()


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; write it as Europe/Berlin") from None
    return name


def _employee_column(name: str) -> str:
    if not re.fullmatch(r"biostar_user_id|employee_no|extra\.[A-Za-z][A-Za-z0-9_]{0,49}", name):
        raise ValueError(f"{name!r} is none of biostar_user_id, employee_no, extra.NAME")
    return name


_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
_Code = Annotated[int, Field(ge=1, le=0xFFFF)]
_Key = Annotated[str, BeforeValidator(str), Field(min_length=1, max_length=64)]
_Month = Annotated[Month, BeforeValidator(lambda value: Month.parse(str(value)))]
_Minutes = Annotated[int, Field(ge=0, le=525_600)]
_HINTS = {
    "key": "a name has small letters, digits, - and _, and begins with a letter; it has 32 characters at most",
    "too_short": "give at least one",
}


class _Common(BaseModel):
    """What every table `[sources.NAME]` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: SourceKind
    url: str = Field(BIOSTAR_URL_SETTING, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    employee: Annotated[str, AfterValidator(_employee_column)] = "biostar_user_id"
    ignore_leading_zeros: StrictBool = False
    device_directions: dict[_Key, Direction] = {}
    first_month: _Month | None = None
    months_back: int = Field(_DEFAULTS.months_back, ge=0, le=1200)
    future_minutes: _Minutes = _DEFAULTS.future_seconds // 60
    late_minutes: _Minutes = _DEFAULTS.late_seconds // 60

    def rules(self) -> dict[str, Any]:
        """The rules that do not depend on the kind."""
        return {
            "device_directions": self.device_directions,
            "first_month": self.first_month,
            "months_back": self.months_back,
            "future_seconds": self.future_minutes * 60,
            "late_seconds": self.late_minutes * 60,
            "employee": EmployeeRule(column=self.employee, ignore_leading_zeros=self.ignore_leading_zeros),
        }


class _Clocks(BaseModel):
    """Sources that tell when the clock of a device was changed."""

    clock_codes: list[_Code] = sorted(CLOCK_CODES)
    doubt_minutes: _Minutes = _DEFAULTS.doubt_seconds // 60

    def clock_rules(self) -> dict[str, Any]:
        return {"clock_codes": frozenset(self.clock_codes), "doubt_seconds": self.doubt_minutes * 60}


class _Biostar2(_Clocks, _Common):
    success_codes: list[_Code] = Field(sorted(SUCCESS_CODES), min_length=1)
    directions: dict[_Key, Direction] = dict(DIRECTIONS)
    rescan_months: int = Field(_DEFAULTS.rescan_months, ge=0, le=120)

    def rules(self) -> dict[str, Any]:
        return {
            **super().rules(),
            **self.clock_rules(),
            "success_codes": frozenset(self.success_codes),
            "directions": self.directions,
            "rescan_months": self.rescan_months,
        }


class _ByTime(_Common):
    """Sources that are read by the time of the events."""

    timezone: Annotated[str, AfterValidator(_zone)] | None = None
    rescan_days: int = Field(_DEFAULTS.rescan_days, ge=1, le=4000)

    def rules(self) -> dict[str, Any]:
        return {**super().rules(), "timezone": self.timezone, "rescan_days": self.rescan_days}


class _Biostar1(_Clocks, _ByTime):
    success_codes: list[_Code] = Field(sorted(BIOSTAR1_SUCCESS_CODES), min_length=1)
    # Which events tell of a changed clock, and what the keys mean, is set differently at each site.
    clock_codes: list[_Code] = []
    directions: dict[_Key, Direction] = {}

    def rules(self) -> dict[str, Any]:
        return {
            **super().rules(),
            **self.clock_rules(),
            "success_codes": frozenset(self.success_codes),
            "directions": self.directions,
        }


class _Query(_ByTime):
    query: str = Field(min_length=1)
    # All of them are read by each run.
    rescan_days: int = Field(14, ge=1, le=4000)
    directions: dict[_Key, Direction] = {direction.value: direction for direction in Direction}

    def rules(self) -> dict[str, Any]:
        return {**super().rules(), "success_codes": None, "clock_codes": frozenset(), "directions": self.directions}


_KINDS: Mapping[str, type[_Common]] = {
    SourceKind.BIOSTAR2: _Biostar2,
    SourceKind.BIOSTAR1: _Biostar1,
    SourceKind.QUERY: _Query,
}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[_Name, dict[str, Any]] = Field({}, min_length=1, validate_default=True)


def load_punch_sources(path: Path) -> Mapping[str, PunchSourceDefinition]:
    """The sources in the file by name; without a file, the one of an installation that nobody has changed.

    Raises:
        ConfigurationError: the file cannot be read or is wrong; every mistake is named with its line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except FileNotFoundError:
        return {DEFAULT_SOURCE: PunchSourceDefinition(name=DEFAULT_SOURCE)}
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}. Save it as UTF-8 text.") from None
    problems = TomlProblems(text, _HINTS)
    found: dict[str, PunchSourceDefinition] = {}
    file = problems.validate(_File, content, ())
    for name, table in (file.sources if file else {}).items():
        definition = _read_source(name, table, problems, f"{path} [sources.{name}]")
        if definition is not None:
            found[name] = definition
    problems.raise_if_any(str(path))
    return found


def _read_source(name: str, table: dict[str, Any], problems: TomlProblems, place: str) -> PunchSourceDefinition | None:
    where = ("sources", name)
    kind = table.get("kind")
    model = _KINDS.get(str(kind))
    if model is None:
        said = f"there is no kind {kind!r}{did_you_mean(str(kind), _KINDS)}" if "kind" in table else "is missing"
        problems.add((*where, "kind"), f"{said}; there are {', '.join(_KINDS)}")
        return None
    source = problems.validate(model, table, where)
    if source is None:
        return None
    query = source.query if isinstance(source, _Query) else ""
    if query and ":after" not in query:
        problems.add((*where, "query"), "must ask for what is later than `:after` (a time) or above `:after_id`")
    return PunchSourceDefinition(
        name=name,
        kind=source.kind,
        url_setting=source.url,
        query=query,
        rules=PunchRules(**source.rules()),
        place=place,
    )
