"""The form of `hris.toml`: its tables and keys, and the JSON schema that editors check it by.

`python -m backend.adapters.mapping_schema` prints that schema; `config/hris.schema.json` is its output. What a form
cannot say (contradictions, names that must exist) is checked by `adapters.mapping_file`.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from backend.domain.employees import ENTITY_SPECS, TREE_PATH, Entity, EntitySpec, FieldKind
from backend.domain.employees import Field as CanonicalField
from backend.domain.mapping import GuardRules, Incremental
from backend.domain.values import to_text

EXTRA = "extra"
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{0,49}$"
TREE_PATH_FIELD = CanonicalField(name=TREE_PATH, max_length=4000)
_GUARD = GuardRules()
_INCREMENTAL = Incremental(by="updated_at", query="")
# Keys of a rule that only a date takes, and those that it does not.
DATE_KEYS = ("format",)
TEXT_KEYS = ("after", "upper", "lower", "map", "lookup")


def canonical_text(value: object) -> str:
    """A value of a TOML file as the canonical text: dates as ISO 8601 without the time of day.

    Raises:
        ValueError: it is no text, number or date.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | dt.date):
        raise ValueError("give a text, a number or a date")
    return to_text(value.date() if isinstance(value, dt.datetime) else value)


_Value = Annotated[str, BeforeValidator(canonical_text), WithJsonSchema({"type": ["string", "number"]})]
_Percent = Annotated[float, Field(ge=0, le=100)]
_Count = Annotated[int, Field(ge=0)]


class Table(BaseModel):
    """A table of the file: no unknown keys, no values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RuleTable(Table):
    """How one field is made; the steps run in the order of the keys."""

    column: str | None = Field(None, min_length=1, description="The column of the query's result.")
    constant: _Value | None = Field(None, description="The value of every row, instead of a column.")
    strip: bool = Field(True, description="Cut blanks at both ends. An empty text always means none.")
    after: str | None = Field(
        None, min_length=1, description="Keep what follows the last of these: '\\' makes `user` of `DOMAIN\\user`."
    )
    upper: bool = Field(False, description="Change to capital letters.")
    lower: bool = Field(False, description="Change to small letters.")
    null_if: list[_Value] = Field([], description='Texts, numbers and dates that mean none: ["-", 1900-01-01].')
    map: dict[str, _Value] | None = Field(
        None, min_length=1, description="Value map. A value that is not in it takes `default`, or the row is rejected."
    )
    lookup: str | None = Field(None, description="Name of a table [lookups.NAME], which then is the value map.")
    default: _Value | None = Field(None, description="For an empty value, or one that is not in `map` or the look-up.")
    format: str | None = Field(
        None, min_length=2, description="How a date that comes as text is written: %d.%m.%Y. Without it YYYY-MM-DD."
    )
    sensitive: Literal["hash", "mask"] | None = Field(
        None,
        description="How values stand in history, previews and held runs: `hash`: a salted hash, which shows that they "
        "differ; `mask`: dots.",
    )


class IncrementalTable(Table):
    """Read only what changed since the last run. Every way falls back to a full read when it must."""

    by: Literal["rowversion", "updated_at", "change_tracking"] = Field(
        description="`rowversion` and `change_tracking` of SQL Server, or a column with the time of the last change."
    )
    query: str | None = Field(
        None,
        description="One SELECT of the changed rows with the columns of the full query. :since is the bound; for "
        "`rowversion` :until is the upper one. Not needed when the entity has a `table` and a `column`.",
    )
    column: str | None = Field(
        None, min_length=1, description="The result column with the rowversion, or with the time of the last change."
    )
    table: str | None = Field(None, min_length=1, description="The table that Change Tracking watches.")
    overlap_seconds: _Count | None = Field(
        None,
        description="How far an `updated_at` read goes back behind the newest time that was seen "
        f"({_INCREMENTAL.overlap_seconds} unless you say otherwise).",
    )
    full_every_hours: Annotated[float, Field(gt=0)] = Field(
        _INCREMENTAL.full_every_hours,
        description="When the last full read is older, all is read: only that finds what was deleted.",
    )


class QueryTable(Table):
    """Something that is read from a source."""

    query: str | None = Field(None, min_length=1, description="One SELECT in the source's own SQL.")
    table: str | None = Field(
        None,
        min_length=1,
        description="Instead of `query`: a table or view, whose mapped columns are read in the order of the key.",
    )
    source: str | None = Field(
        None, description="Name of a table [sources.NAME]; the HRIS (HRIS_URL) when left out. A file takes no query."
    )


class SupplementTable(QueryTable):
    """Fields that another query or file knows, by the entity's key."""

    wins: bool = Field(
        True, description="Whether its values go before the entity's own; false: they only fill what is empty."
    )
    columns: dict[str, Any] = Field(min_length=2, description="Which column is which field; the key is one of them.")


class EntityTable(QueryTable):
    """Where one entity comes from."""

    contract: Literal["evolve", "freeze", "discard"] = Field(
        "evolve",
        description="What a change of the result's columns means: `evolve` takes and notes it, `freeze` holds the run, "
        "`discard` takes no notice.",
    )
    unknown_reference: Literal["keep_without", "reject"] = Field(
        "keep_without",
        description="What becomes of a row that names a department or position that does not exist.",
    )
    columns: dict[str, Any] = Field(min_length=1, description="Which column of the result is which field.")
    incremental: IncrementalTable | None = Field(None, description="Read only what changed since the last run.")
    supplements: list[SupplementTable] = Field(
        [], description="What other queries or files add to the rows, in the order in which they do."
    )


class EmployeesTable(EntityTable):
    """Where the employees come from."""

    manager: Literal["number", "position", "tree_path"] | None = Field(
        None,
        description="Who the manager is: `number`: manager_no says it; `tree_path`: who stands at the path above; "
        "`position`: who holds the position that the employee's one reports to. Only `position` must be said.",
    )


class SourceTable(Table):
    """A source beside the HRIS: a database, or a CSV file in UTF-8 with a header."""

    url_setting: str | None = Field(
        None, pattern=r"^[A-Z][A-Z0-9_]*$", description="The environment variable that holds the database's URL."
    )
    file: str | None = Field(None, min_length=1, description="A CSV file; its path is relative to this file's folder.")


class LookupTable(Table):
    """A value map that is a table: the first column is what is looked up, the second what it becomes."""

    query: str | None = Field(None, min_length=1, description="One SELECT of two columns. A file takes none.")
    source: str | None = Field(None, description="Name of a table [sources.NAME]; the HRIS when left out.")


class GuardTable(Table):
    """What a run must not do without a person's word; percentages are of the rows that are active in the target."""

    max_deactivations_percent: _Percent = Field(
        _GUARD.max_deactivations_percent,
        description="So many rows of an entity may be deactivated: this or `max_deactivations_at_least`, the larger.",
    )
    max_deactivations_at_least: _Count = Field(
        _GUARD.max_deactivations_at_least, description="So many rows of an entity may always be deactivated."
    )
    max_deactivations: _Count = Field(
        _GUARD.max_deactivations, description="Never more rows of an entity than this are deactivated."
    )
    max_shrink_percent: _Percent = Field(
        _GUARD.max_shrink_percent,
        description="How far the number of rows may be below the median of the last runs.",
    )
    max_growth_percent: Annotated[float, Field(ge=0)] = Field(
        _GUARD.max_growth_percent, description="How far the number of rows may be above the median of the last runs."
    )
    size_at_least: _Count = Field(
        _GUARD.size_at_least, description="Differences of up to so many rows are never unusual."
    )
    max_emptied_percent: _Percent = Field(
        _GUARD.max_emptied_percent,
        description="A field that this share of the rows had filled in may not be empty in more than it.",
    )
    max_rejected_percent: _Percent = Field(
        _GUARD.max_rejected_percent, description="Not more of the rows than this may be rejected, if once fewer were."
    )
    on_guard: Literal["hold", "skip_deactivations"] = Field(
        _GUARD.on_guard,
        description="`hold` applies nothing until a person approves; `skip_deactivations` applies all but the "
        "deactivations when they alone are the trouble.",
    )


_Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class MappingTable(Table):
    """The whole file."""

    guard: GuardTable = Field(GuardTable.model_validate({}))
    sources: dict[_Name, SourceTable] = Field({}, description="Sources beside the HRIS, by name.")
    lookups: dict[_Name, LookupTable] = Field({}, description="Value maps that are tables, by name.")
    departments: EntityTable | None = Field(None, description="Where the departments come from.")
    positions: EntityTable | None = Field(None, description="Where the positions come from.")
    employees: EmployeesTable | None = Field(None, description="Where the employees come from.")
    leaves: EntityTable | None = Field(None, description="Where the leaves come from: who is away, and when.")
    holidays: EntityTable | None = Field(None, description="Where the holidays come from.")


# --- JSON schema ------------------------------------------------------------------------------------------------------

_MEANINGS: Mapping[str, str] = {
    "code": "The key.",
    "employee_no": "The key: the employee's number.",
    "parent_code": "The `code` of the one above.",
    "name": "What people call it.",
    "title": "What people call it.",
    "stable_key": "The source's own name for the row, which stays when its key changes.",
    "manager_no": "The `employee_no` of the manager.",
    "full_name": "Put together from first_name and last_name where it is not mapped.",
    "department_code": "The `code` of the department.",
    "position_code": "The `code` of the position.",
    "status": "Everybody is `active` where it is not mapped.",
    "hired_on": "First day.",
    "left_on": "Last day.",
    "biostar_user_id": "The user id at the time clocks.",
    "kind": "What kind of leave it is, in the HRIS's words.",
    "starts_on": "First day of the leave.",
    "ends_on": "Last day of the leave.",
    "day_part": "How much of each day it takes.",
    "hours": "How many hours of each day, for leave by the hour.",
    "holiday_on": "The day.",
    "calendar": "For whom it is a holiday, such as a country or a site.",
    TREE_PATH: "Instead of manager_no: the place in a tree (/1/4/2/); the manager is who stands at /1/4/.",
}
_OTHER_MEANINGS: Mapping[tuple[Entity, str], str] = {
    (Entity.LEAVES, "employee_no"): "The `employee_no` of who is away.",
}


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 7, which TOML editors understand) of the file."""
    made: dict[str, Any] = _without_noise(MappingTable.model_json_schema())
    tables = made.pop("$defs")
    rules = {"rule": _rule_schema(FieldKind.TEXT), "date": _rule_schema(FieldKind.DATE)}
    for entity in Entity:
        name = EmployeesTable.__name__ if entity is Entity.EMPLOYEES else EntityTable.__name__
        table, supplement = copy.deepcopy((tables[name], tables[SupplementTable.__name__]))
        table["properties"]["columns"] |= _columns_schema(entity, rules, is_supplement=False)
        supplement["properties"]["columns"] |= _columns_schema(entity, rules, is_supplement=True)
        table["properties"]["supplements"]["items"] = supplement
        table["properties"]["incremental"] = tables[IncrementalTable.__name__]
        made["properties"][entity] = table | {"description": made["properties"][entity]["description"]}
    made["properties"]["guard"] = tables[GuardTable.__name__]
    for name, model in (("sources", SourceTable), ("lookups", LookupTable)):
        named = made["properties"][name]
        named["patternProperties"] = {NAME_PATTERN: tables[model.__name__]}
        named["additionalProperties"] = False
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "hris.toml of hrsync",
        **made,
        "$defs": rules,
    }


def _columns_schema(entity: Entity, rules: dict[str, Any], *, is_supplement: bool) -> dict[str, Any]:
    spec = ENTITY_SPECS[entity]
    fields = list(supplement_fields(spec) if is_supplement else spec.all_fields())
    properties: dict[str, Any] = {}
    if entity is Entity.EMPLOYEES and not is_supplement:
        fields.append(TREE_PATH_FIELD)
    for field in fields:
        name = "date" if field.kind is FieldKind.DATE else "rule"
        if field.kind is FieldKind.CHOICE:
            name = field.name
            rules.setdefault(name, _rule_schema(FieldKind.CHOICE, field.choices))
        properties[field.name] = {"description": describe_field(entity, field)} | _name_or_rule(name)
    if not is_supplement:
        properties[EXTRA] = {
            "description": "Fields of your own, kept as JSON: extra.NAME.",
            "type": "object",
            "patternProperties": {NAME_PATTERN: _name_or_rule("rule")},
            "additionalProperties": False,
        }
    return {"properties": properties, "required": [spec.key.name], "additionalProperties": False}


def supplement_fields(spec: EntitySpec) -> Sequence[CanonicalField]:
    """What a supplement can give: all but the parent, which belongs to the hierarchy of the entity's own query."""
    return spec.key, *spec.fields


def describe_field(entity: Entity, field: CanonicalField) -> str:
    """What a canonical field is, in a sentence or two."""
    parts = [_OTHER_MEANINGS.get((entity, field.name)) or _MEANINGS.get(field.name, "")]
    if field.required and field.default is None and field.name != "full_name":
        parts.append("Required.")
    match field.kind:
        case FieldKind.DATE:
            parts.append("A date.")
        case FieldKind.NUMBER:
            parts.append("A number from 0 to 9999.99.")
        case FieldKind.CHOICE:
            parts.append(f"One of: {', '.join(field.choices)}.")
        case FieldKind.TEXT:
            parts.append(f"At most {field.max_length} characters.")
    return " ".join(filter(None, parts))


def _name_or_rule(rule: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "minLength": 1}, {"$ref": f"#/$defs/{rule}"}]}


def _rule_schema(kind: FieldKind, choices: tuple[str, ...] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = _without_noise(RuleTable.model_json_schema())
    properties = schema["properties"]
    for name in TEXT_KEYS if kind is FieldKind.DATE else DATE_KEYS:
        del properties[name]
    if kind is FieldKind.CHOICE:
        properties["map"]["additionalProperties"] = {"enum": list(choices)}
        for name in ("constant", "default"):
            properties[name] = {"enum": list(choices), "description": properties[name]["description"]}
    return schema


def _without_noise(schema: Any) -> Any:
    """The schema without pydantic's titles and without null, which TOML has not."""
    if isinstance(schema, list):
        return [_without_noise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        name: {key: _without_noise(item) for key, item in value.items()}
        if name in ("properties", "$defs")
        else _without_noise(value)
        for name, value in schema.items()
        if not (name == "title" or (name == "default" and value in (None, [], {})))
    }
    choices = [item for item in made.get("anyOf", ()) if item != {"type": "null"}]
    if len(choices) == 1:
        del made["anyOf"]
        made = choices[0] | made
    return made


def main() -> None:
    """Print the schema."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
