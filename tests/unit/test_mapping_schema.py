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

from backend.adapters.mapping_file import load_hris_mapping
from backend.adapters.mapping_schema import json_schema
from backend.domain.employees import ENTITY_SPECS, Entity
from tests.support.project import PROJECT_ROOT

SCHEMA = PROJECT_ROOT / "config/hris.schema.json"
PAGE = PROJECT_ROOT / "docs/hris-mapping.md"
MAPPINGS = [PROJECT_ROOT / "config/hris.toml", *sorted((PROJECT_ROOT / "config/examples").glob("*.toml"))]
by_mapping = pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: path.stem)
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def find_violations(schema: dict[str, Any], value: Any, place: str = "file") -> Iterator[str]:
    """What in the value the schema does not allow; of JSON schema what ours uses."""
    if "$ref" in schema:
        schema = json_schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema and all([*find_violations(item, value)] for item in schema["anyOf"]):
        yield f"{place}: none of the forms"
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds and not any(isinstance(value, TYPES[kind]) for kind in kinds):
        yield f"{place}: no {' or '.join(kinds)}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: none of {schema['enum']}"
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_violations(schema["items"], item, f"{place}[{index}]")
    if isinstance(value, dict):
        yield from (f"{place}.{key}: missing" for key in schema.get("required", []) if key not in value)
        for key, item in value.items():
            rest = schema.get("additionalProperties", True)
            patterns = schema.get("patternProperties", {}).items()
            found = schema.get("properties", {}).get(key) or next((s for p, s in patterns if re.search(p, key)), rest)
            if found is False:
                yield f"{place}.{key}: unknown"
            elif found is not True:
                yield from find_violations(found, item, f"{place}.{key}")


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

    assert [] == [*find_violations(json_schema(), as_json(content))]
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
        for violation in find_violations(json_schema(), as_json(tomllib.loads(block)))
        if not violation.endswith(": missing")
    ]
    assert 10 < len(blocks)
    assert [] == wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[employes]\nquery = "SELECT 1"', "file.employes: unknown"),
        ('[employees]\ncolumns = { full_name = "N" }', "file.employees.columns.employee_no: missing"),
        ('[employees]\ncolumns = { employee_no = "N", mail = "M" }', "file.employees.columns.mail: unknown"),
        (
            '[employees]\ncolumns = { employee_no = "N", status = { column = "S", map = { A = "activ" } } }',
            "file.employees.columns.status: none of the forms",
        ),
        (
            '[leaves]\ncolumns = { code = "N", starts_on = { column = "S", upper = true } }',
            "file.leaves.columns.starts_on: none of the forms",
        ),
        ("[guard]\nmax_deactivations = 1.5", "file.guard.max_deactivations: no integer"),
    ],
)
def test_an_editor_sees_mistakes(text: str, expected: str) -> None:
    """Unknown keys and fields, missing keys, and values that do not fit their field break the schema."""
    assert expected in [*find_violations(json_schema(), as_json(tomllib.loads(text)))]
