"""Reads `hris.toml`: checks it whole, and says of every mistake where it is and how to mend it.

The keys and their meaning stand in `adapters.mapping_schema`; here they become the rules of `domain.mapping`.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.adapters.mapping_queries import QueryReader
from backend.adapters.mapping_rules import read_rule
from backend.adapters.mapping_schema import (
    EXTRA,
    NAME_PATTERN,
    TREE_PATH_FIELD,
    EmployeesTable,
    EntityTable,
    LookupTable,
    MappingTable,
    SupplementTable,
    supplement_fields,
)
from backend.adapters.toml_problems import KeyPath, TomlProblems, did_you_mean
from backend.domain.employees import ENTITY_SPECS, TREE_PATH, Entity, EntitySpec
from backend.domain.employees import Field as CanonicalField
from backend.domain.mapping import (
    EntityMapping,
    FieldRule,
    GuardRules,
    HrisMapping,
    Lookup,
    SourceDefinition,
    Supplement,
)
from backend.errors import ConfigurationError

_HINTS = {
    "model_type": 'give the name of a result column ("COLUMN"), or a table such as { column = "COLUMN", upper = true }',
    "key": "a name is a letter, then letters, digits or _, at most 50",
}


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
    problems = TomlProblems(text, _HINTS)
    tables = problems.validate(MappingTable, content, ())
    entities: dict[Entity, EntityMapping] = {}
    lookups: dict[str, Lookup] = {}
    if tables is not None:
        queries = QueryReader(tables=tables, problems=problems)
        reading = _Reading(file=file, tables=tables, problems=problems, queries=queries)
        reading.check_sources()
        lookups = {name: reading.read_lookup(name, table) for name, table in tables.lookups.items()}
        entities = {
            entity: reading.read_entity(entity, table)
            for entity in Entity
            if (table := getattr(tables, entity.value)) is not None
        }
        reading.check_manager(entities)
        if not entities:
            problems.add((), f"it maps nothing; add a table such as [{Entity.EMPLOYEES}] with `query` and `columns`")
    problems.raise_if_any(file)
    assert tables is not None
    return HrisMapping(
        file=file,
        entities=entities,
        guard=GuardRules(**tables.guard.model_dump()),
        sources={
            name: SourceDefinition(name=name, url_setting=source.url_setting, file=source.file)
            for name, source in tables.sources.items()
        },
        lookups=lookups,
        fingerprint=_fingerprint(content),
    )


def _fingerprint(content: Mapping[str, Any]) -> str:
    """32 characters that differ when the content does; comments, blanks and the order of keys do not count."""
    told = json.dumps(content, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What every part of the file is read with."""

    file: str
    tables: MappingTable
    problems: TomlProblems

    queries: QueryReader

    def check_sources(self) -> None:
        """Each source is one thing."""
        for name, source in self.tables.sources.items():
            if (source.url_setting is None) == (source.file is None):
                self.problems.add(("sources", name), "give either `url_setting` (a database) or `file` (a CSV file)")

    def read_lookup(self, name: str, table: LookupTable) -> Lookup:
        """A value map that is a table."""
        query = self.queries.read_lookup(table, ("lookups", name))
        return Lookup(name=name, place=f"{self.file} [lookups.{name}]", query=query, source=table.source)

    def read_entity(self, entity: Entity, table: EntityTable) -> EntityMapping:
        """One table of the file, with what belongs to it."""
        spec = ENTITY_SPECS[entity]
        here: KeyPath = (entity.value, "columns")
        known = {item.name: item for item in spec.all_fields()}
        if entity is Entity.EMPLOYEES:
            known[TREE_PATH] = TREE_PATH_FIELD
        fields = self._read_fields(entity, table.columns, known, here)
        extra = self._read_extra(table.columns.get(EXTRA, {}), (*here, EXTRA))
        supplements = [
            self._read_supplement(spec, item, number, (entity.value, "supplements", str(number)))
            for number, item in enumerate(table.supplements)
        ]
        self._add_defaults(spec, table, fields, supplements, here)
        rules = [*fields.values(), *extra.values()]
        query = self.queries.read(table, rules, fields.get(spec.key.name), (entity.value,))
        incremental = None
        if table.incremental is not None:
            path = (entity.value, "incremental")
            incremental = self.queries.read_incremental(table.incremental, table, rules, path)
        return EntityMapping(
            entity=entity,
            place=f"{self.file} [{entity}]",
            query=query,
            source=table.source,
            fields=fields,
            extra=extra,
            manager_by_position=isinstance(table, EmployeesTable) and table.manager == "position",
            contract=table.contract,
            unknown_reference=table.unknown_reference,
            incremental=incremental,
            supplements=supplements,
        )

    def _read_fields(
        self, entity: Entity, columns: Mapping[str, Any], known: Mapping[str, CanonicalField], path: KeyPath
    ) -> dict[str, FieldRule]:
        fields: dict[str, FieldRule] = {}
        for name, content in columns.items():
            if name == EXTRA:
                continue
            if name not in known:
                self.problems.add((*path, name), f"{entity} have no such field{did_you_mean(name, [*known, EXTRA])}")
            elif (rule := read_rule(known[name], content, (*path, name), self.tables, self.problems)) is not None:
                fields[name] = rule
        key = ENTITY_SPECS[entity].key.name
        if key in fields:
            if fields[key].column is None:
                self.problems.add((*path, key), "the key differs from row to row; it cannot be a constant")
            if fields[key].sensitive is not None:
                self.problems.add((*path, key), "the key cannot be `sensitive`: history is kept under it")
        return fields

    def _read_extra(self, content: object, path: KeyPath) -> dict[str, FieldRule]:
        if not isinstance(content, Mapping):
            self.problems.add(path, 'custom fields have names of their own: extra.NAME = "COLUMN"')
            return {}
        rules: dict[str, FieldRule] = {}
        for name, rule_content in content.items():
            if not re.match(NAME_PATTERN, name):
                self.problems.add(
                    (*path, name), "a custom field's name is a letter, then letters, digits or _, at most 50"
                )
                continue
            item = CanonicalField(name=name, max_length=10_000)
            if (rule := read_rule(item, rule_content, (*path, name), self.tables, self.problems)) is not None:
                rules[name] = rule
        return rules

    def _read_supplement(self, spec: EntitySpec, table: SupplementTable, number: int, path: KeyPath) -> Supplement:
        known = {item.name: item for item in supplement_fields(spec)}
        here = (*path, "columns")
        own = {EXTRA, TREE_PATH, *([spec.parent.name] if spec.parent else [])}
        for name in own & table.columns.keys():
            self.problems.add((*here, name), "a supplement cannot give this; add it to the entity's own query")
        columns = {name: content for name, content in table.columns.items() if name not in own}
        fields = self._read_fields(spec.entity, columns, known, here)
        if spec.key.name not in columns:
            self.problems.add(here, f"{spec.key.name} is missing: it says whose values these are")
        return Supplement(
            place=f"{self.file} [[{spec.entity}.supplements]] {number + 1}",
            source=table.source,
            query=self.queries.read(table, [*fields.values()], fields.get(spec.key.name), path) or None,
            fields=fields,
            wins=table.wins,
        )

    def _add_defaults(
        self,
        spec: EntitySpec,
        table: EntityTable,
        fields: dict[str, FieldRule],
        supplements: Iterable[Supplement],
        path: KeyPath,
    ) -> None:
        """Give the fields that nothing names their defaults, and name what is missing."""
        added = {name for supplement in table.supplements for name in supplement.columns}
        only_filling = {name for item in supplements if not item.wins for name in item.fields}
        named = table.columns.keys() | (added - {spec.key.name})
        for item in spec.all_fields():
            if item.name in named and not (item.default is not None and item.name not in table.columns):
                continue
            if item.default is not None:
                if item.name in only_filling:
                    self.problems.add(
                        path,
                        f"{item.name} is {str(item.default)!r} in every row where it is not mapped, so that a "
                        "supplement with `wins = false` would fill nothing; map it, or let the supplement win",
                    )
                fields[item.name] = FieldRule(constant=str(item.default))
            elif item.required and not (item.name == "full_name" and {"first_name", "last_name"} & named):
                self.problems.add(path, f'{item.name} is missing; say which column it is: {item.name} = "COLUMN"')

    def check_manager(self, entities: Mapping[Entity, EntityMapping]) -> None:
        """The manager comes from one place, and what it is found by is mapped."""
        table = self.tables.employees
        if table is None:
            return
        path = (Entity.EMPLOYEES.value, "columns")
        ways = {"number": "manager_no", "tree_path": TREE_PATH}
        if TREE_PATH in table.columns and "manager_no" in table.columns:
            self.problems.add((*path, TREE_PATH), "the manager comes from manager_no or from tree_path, not from both")
        for way, name in ways.items():
            is_named = name in table.columns
            if table.manager == way and not is_named:
                self.problems.add((path[0], "manager"), f'manager = "{way}" needs {name} in `columns`')
            elif table.manager not in (way, None) and is_named:
                self.problems.add((path[0], "manager"), f'manager = "{table.manager}" takes no {name} in `columns`')
        if table.manager == "position":
            positions = entities.get(Entity.POSITIONS)
            added = {name for supplement in table.supplements for name in supplement.columns}
            if "position_code" not in table.columns.keys() | added:
                self.problems.add((path[0], "manager"), 'manager = "position" needs position_code in `columns`')
            if positions is None or "parent_code" not in positions.fields:
                self.problems.add(
                    (path[0], "manager"),
                    'manager = "position" needs [positions] with parent_code, the position that one reports to',
                )
