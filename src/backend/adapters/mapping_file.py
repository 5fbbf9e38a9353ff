"""Reads `hris.toml`: checks it whole, and says of every mistake where it is and how to mend it."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.domain.employees import ENTITY_SPECS, TREE_PATH, EmploymentStatus, Entity, FieldKind
from backend.domain.employees import Field as CanonicalField
from backend.domain.mapping import EntityMapping, FieldRule, HrisMapping, suggest
from backend.domain.replication import DeactivationLimit
from backend.errors import ConfigurationError

_EXTRA = "extra"
_EXTRA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")
_SELECT = re.compile(r"(\s|\(|--[^\n]*\n|/\*.*?\*/)*(SELECT|WITH)\b", re.IGNORECASE | re.DOTALL)
_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?$")
_KEY = re.compile(r"""\s*([A-Za-z0-9_.\-"']+)\s*=""")

_Path = tuple[str, ...]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Rule(_Table):
    column: str | None = Field(None, min_length=1)
    constant: str | int | None = None
    strip: bool = True
    after: str | None = Field(None, min_length=1)
    upper: bool = False
    lower: bool = False
    null_if: list[dt.datetime | dt.date | int | str] = []
    map: dict[str, str] | None = Field(None, min_length=1)
    default: str | None = None
    format: str | None = Field(None, min_length=2)


class _Entity(_Table):
    query: str
    columns: dict[str, Any] = Field(min_length=1)


class _Guard(_Table):
    max_deactivations_percent: Annotated[float, Field(ge=0, le=100)] = 5
    max_deactivations_at_least: Annotated[int, Field(ge=0)] = 5


class _File(_Table):
    guard: _Guard = _Guard()
    departments: _Entity | None = None
    positions: _Entity | None = None
    employees: _Entity | None = None


_Model = TypeVar("_Model", bound=_Table)


def load_hris_mapping(path: Path) -> HrisMapping:
    """The mapping in the file.

    Raises:
        ConfigurationError: the file is missing, or wrong; every mistake is named with its place and its mend.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no mapping file {path}. Write it after config/examples/adventureworks.toml, or set "
            "HRSYNC_CONFIG_DIR to the folder that holds hris.toml."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The mapping file {path} cannot be read: {error}. Save it as UTF-8 text.") from None
    return parse_hris_mapping(text, str(path))


def parse_hris_mapping(text: str, file: str) -> HrisMapping:
    """The mapping in `text`; `file` is its name in messages.

    Raises:
        ConfigurationError: as `load_hris_mapping`.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}.") from None
    problems = _Problems(text)
    tables = problems.validate(_File, content, ())
    entities: dict[Entity, EntityMapping] = {}
    if tables is not None:
        entities = {
            entity: _read_entity(entity, table, file, problems)
            for entity in Entity
            if (table := getattr(tables, entity.value)) is not None
        }
        if not entities:
            problems.add((), f"it maps nothing; add a table such as [{Entity.EMPLOYEES}] with `query` and `columns`")
    problems.raise_if_any(file)
    assert tables is not None
    return HrisMapping(
        file=file,
        entities=entities,
        limit=DeactivationLimit(
            percent=tables.guard.max_deactivations_percent, at_least=tables.guard.max_deactivations_at_least
        ),
    )


class _Problems:
    """The mistakes found so far, with the lines that they are in."""

    def __init__(self, text: str) -> None:
        self._lines = _locate_keys(text)
        self._found: list[tuple[int, str]] = []

    def add(self, path: _Path, message: str) -> None:
        """Note a mistake at a key (`("employees", "columns", "email")`)."""
        line = next((self._lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._lines), 0)
        where = ".".join(path)
        self._found.append((line, (f"line {line}, " if line else "") + (f"{where}: " if where else "") + message))

    def validate(self, model: type[_Model], content: object, path: _Path) -> _Model | None:
        """The content as the model, or None when it is wrong."""
        try:
            return model.model_validate(content)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_input=False):
                place = (*path, *(str(part) for part in item["loc"]))
                self.add(place, _explain(item["type"], item["msg"], place))
            return None

    def raise_if_any(self, file: str) -> None:
        """Raise ConfigurationError with every mistake, in the order of the lines."""
        if self._found:
            listed = "; ".join(message for _, message in sorted(self._found))
            raise ConfigurationError(f"{file} is wrong: {listed}.")


def _read_entity(entity: Entity, table: _Entity, file: str, problems: _Problems) -> EntityMapping:
    spec = ENTITY_SPECS[entity]
    known = {item.name: item for item in spec.all_fields()}
    if entity is Entity.EMPLOYEES:
        known[TREE_PATH] = CanonicalField(name=TREE_PATH, max_length=4000)
    here: _Path = (entity.value, "columns")
    if not _SELECT.match(table.query):
        problems.add(
            (entity.value, "query"), "the query must be one SELECT (or WITH ... SELECT); the HRIS is only read"
        )
    fields: dict[str, FieldRule] = {}
    for name, content in table.columns.items():
        if name == _EXTRA:
            continue
        if name not in known:
            problems.add((*here, name), f"{entity} have no such field{_did_you_mean(name, [*known, _EXTRA])}")
        elif (rule := _read_rule(known[name], content, (*here, name), problems)) is not None:
            fields[name] = rule
    missing = [item.name for item in spec.all_fields() if item.required and item.name not in table.columns]
    if entity is Entity.EMPLOYEES:
        if "status" not in table.columns:
            missing.remove("status")
            fields["status"] = FieldRule(constant=EmploymentStatus.ACTIVE)
        if {"first_name", "last_name"} & table.columns.keys() and "full_name" in missing:
            missing.remove("full_name")
        if TREE_PATH in fields and "manager_no" in fields:
            problems.add((*here, TREE_PATH), "the manager comes from manager_no or from tree_path, not from both")
    for name in missing:
        problems.add(here, f'{name} is missing; say which column of the query it is: {name} = "COLUMN"')
    return EntityMapping(
        entity=entity,
        place=f"{file} [{entity}]",
        query=table.query.strip().rstrip(";"),
        fields=fields,
        extra=_read_extra(table.columns.get(_EXTRA, {}), (*here, _EXTRA), problems),
    )


def _read_extra(content: object, path: _Path, problems: _Problems) -> dict[str, FieldRule]:
    if not isinstance(content, Mapping):
        problems.add(path, 'custom fields have names of their own: extra.NAME = "COLUMN"')
        return {}
    rules: dict[str, FieldRule] = {}
    for name, rule_content in content.items():
        if not _EXTRA_NAME.fullmatch(name):
            problems.add((*path, name), "a custom field's name is a letter, then letters, digits or _, at most 50")
            continue
        rule = _read_rule(CanonicalField(name=name, max_length=10_000), rule_content, (*path, name), problems)
        if rule is not None:
            rules[name] = rule
    return rules


def _read_rule(item: CanonicalField, content: object, path: _Path, problems: _Problems) -> FieldRule | None:
    rule = problems.validate(_Rule, {"column": content} if isinstance(content, str) else content, path)
    if rule is None:
        return None
    for message in _contradictions(item, rule):
        problems.add(path, message)
    constant = None if rule.constant is None else str(rule.constant)
    return FieldRule(
        column=rule.column,
        constant=constant,
        strip=rule.strip,
        after=rule.after,
        case="upper" if rule.upper else "lower" if rule.lower else None,
        null_if=frozenset(_text_of(value) for value in rule.null_if),
        values=rule.map,
        default=rule.default,
        date_format=rule.format,
    )


def _contradictions(item: CanonicalField, rule: _Rule) -> Iterable[str]:
    if (rule.column is None) == (rule.constant is None):
        yield "give either `column` or `constant`"
    if rule.upper and rule.lower:
        yield "give either `upper` or `lower`"
    texts = [*(rule.map or {}).values(), *(str(text) for text in (rule.default, rule.constant) if text is not None)]
    if item.kind is FieldKind.DATE:
        if rule.map is not None or rule.after is not None or rule.upper or rule.lower:
            yield "a date takes `column`, `null_if`, `default` and `format` only"
        for text in texts:
            if not _is_date(text):
                yield f"{text!r} is no date; write it as YYYY-MM-DD"
        return
    if rule.format is not None:
        yield "`format` is for dates"
    for text in texts:
        if len(text) > item.max_length:
            yield f"{text[:20]!r}... has {len(text)} characters; at most {item.max_length} fit"
        if item.kind is FieldKind.STATUS and text not in list(EmploymentStatus):
            known = ", ".join(EmploymentStatus)
            yield f"{text!r} is no status{_did_you_mean(text, EmploymentStatus)}; there are {known}"


def _text_of(value: dt.datetime | dt.date | int | str) -> str:
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _is_date(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


# --- messages -------------------------------------------------------------------------------------------------------


def _explain(kind: str, message: str, path: _Path) -> str:
    if kind == "extra_forbidden":
        known = _known_keys(path)
        return f"unknown key{_did_you_mean(path[-1], known)}; there are {', '.join(known)}"
    if kind == "missing":
        return "is missing"
    if kind == "model_type":
        return 'give the name of a result column ("COLUMN"), or a table such as { column = "COLUMN", upper = true }'
    return message[:1].lower() + message[1:]


def _known_keys(path: _Path) -> list[str]:
    if len(path) == 1:
        return list(_File.model_fields)
    if path[0] == "guard":
        return list(_Guard.model_fields)
    return list((_Entity if len(path) == 2 else _Rule).model_fields)


def _did_you_mean(word: str, candidates: Iterable[str]) -> str:
    found = suggest(word, candidates)
    return f"; did you mean {found}?" if found else ""


def _locate_keys(text: str) -> dict[_Path, int]:
    """The line (from 1) of every table header and key; good enough to point a person at it."""
    lines: dict[_Path, int] = {}
    table: _Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _split_key(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            path = (*table, *_split_key(key[1]))
            for length in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], number)
    return lines


def _split_key(text: str) -> _Path:
    return tuple(part.strip().strip("\"'") for part in text.split("."))
