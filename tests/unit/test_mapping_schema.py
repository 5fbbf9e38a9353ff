"""The JSON schema of the mapping file: in step with what is read, and content with every mapping that is shipped."""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from backend.adapters.mapping_file import load_hris_mapping
from backend.adapters.mapping_schema import json_schema
from backend.domain.employees import ENTITY_SPECS, Entity
from tests.support.project import PROJECT_ROOT

SCHEMA = PROJECT_ROOT / "config/hris.schema.json"
PAGE = PROJECT_ROOT / "docs/hris-mapping.md"
MAPPINGS = [PROJECT_ROOT / "config/hris.toml", *sorted((PROJECT_ROOT / "config/examples").glob("*.toml"))]
by_mapping = pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: path.stem)


def find_violations(value: Any) -> Iterator[str]:
    """What in the value the schema does not allow: where, and which of its rules."""
    for error in Draft7Validator(json_schema()).iter_errors(value):
        yield f"{error.json_path} {error.validator}: {error.message}"


def as_json(value: Any) -> Any:
    """The content of a TOML file as editors hold it against a schema: dates are texts."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, dt.date) else value


def described(schema: dict[str, Any], place: str = "file") -> Iterator[tuple[str, str]]:
    """(key, description) of every key in the schema."""
    for name, item in schema.get("properties", {}).items():
        yield f"{place}.{name}", item.get("description", "")
        yield from described(item, f"{place}.{name}")
    for item in (*schema.get("patternProperties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from described(item, place)


def test_the_schema_in_the_repository_is_the_one_that_is_made() -> None:
    """After a change: python -m backend.adapters.mapping_schema > config/hris.schema.json."""
    assert json_schema() == json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_every_key_is_described() -> None:
    """An editor can say of each key what it is for."""
    schema = json_schema()
    keys = [*described(schema), *(pair for name, rule in schema["$defs"].items() for pair in described(rule, name))]

    assert 150 < len(keys)
    assert [] == [place for place, description in keys if not description]


@pytest.mark.parametrize("entity", Entity)
def test_columns_name_the_fields_of_the_entity(entity: Entity) -> None:
    """The tables of columns offer the canonical fields, and no others."""
    table = json_schema()["properties"][entity]["properties"]
    spec = ENTITY_SPECS[entity]
    fields = {field.name for field in spec.all_fields()}

    assert fields | {"extra"} | ({"tree_path"} if entity is Entity.EMPLOYEES else set()) == set(
        table["columns"]["properties"]
    )
    assert {field.name for field in (spec.key, *spec.fields)} == set(
        table["supplements"]["items"]["properties"]["columns"]["properties"]
    )


@by_mapping
def test_mappings_that_are_shipped_fit_the_schema(path: Path) -> None:
    """Every mapping of the project can be read, and an editor finds nothing wrong with it."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))

    assert [] == [*find_violations(as_json(content))]
    assert load_hris_mapping(path).entities


@by_mapping
def test_mappings_that_are_shipped_name_the_schema(path: Path) -> None:
    """The first line leads an editor to the schema."""
    line = path.read_text(encoding="utf-8").splitlines()[0]

    assert line.startswith("#:schema ")
    assert SCHEMA == (path.parent / line.removeprefix("#:schema ")).resolve()


def test_the_page_on_mappings_explains_every_key() -> None:
    """Whatever may be written in the file is on the page."""
    schema = json_schema()
    keys = [*described(schema), *(pair for name, rule in schema["$defs"].items() for pair in described(rule, name))]
    page = PAGE.read_text(encoding="utf-8")
    entities = {*Entity, "guard", "sources", "lookups", "extra"}  # spelt as tables

    missing = {key for key in (place.rpartition(".")[2] for place, _ in keys) if f"`{key}`" not in page} - entities
    assert set() == missing
    assert all(f"[{name}" in page for name in (*Entity, "guard", "sources", "lookups"))


def test_the_examples_on_the_page_fit_the_schema() -> None:
    """They are parts of a file: nothing in them is wrong, but something may be missing."""
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

    wrong = [
        (block, violation)
        for block in blocks
        for violation in find_violations(as_json(tomllib.loads(block)))
        if " required: " not in violation
    ]
    assert 10 < len(blocks)
    assert [] == wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[employes]\nquery = "SELECT 1"', "$ additionalProperties"),
        ('[employees]\ncolumns = { full_name = "N" }', "$.employees.columns required"),
        ('[employees]\ncolumns = { employee_no = "N", mail = "M" }', "$.employees.columns additionalProperties"),
        (
            '[employees]\ncolumns = { employee_no = "N", status = { column = "S", map = { A = "activ" } } }',
            "$.employees.columns.status anyOf",
        ),
        (
            '[leaves]\ncolumns = { code = "N", starts_on = { column = "S", upper = true } }',
            "$.leaves.columns.starts_on anyOf",
        ),
        ("[guard]\nmax_deactivations = 1.5", "$.guard.max_deactivations type"),
    ],
)
def test_an_editor_sees_mistakes(text: str, expected: str) -> None:
    """Unknown keys and fields, missing keys, and values that do not fit their field break the schema."""
    found = [violation.partition(":")[0] for violation in find_violations(as_json(tomllib.loads(text)))]

    assert expected in found
