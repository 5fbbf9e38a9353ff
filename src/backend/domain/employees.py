"""The canonical HR data: which entities there are, which fields they have, and what a field may hold.

Everything that mapping, replication and storage do per field follows from these specifications; the columns of the
HR tables have the same names.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Entity(enum.StrEnum):
    """What is replicated, in the order in which it is: what is referred to comes first."""

    DEPARTMENTS = "departments"
    POSITIONS = "positions"
    EMPLOYEES = "employees"
    LEAVES = "leaves"
    HOLIDAYS = "holidays"

    @property
    def one(self) -> str:
        """The word for one of them."""
        return "leave" if self is Entity.LEAVES else self.value[:-1]


class EmploymentStatus(enum.StrEnum):
    """What the HRIS says about somebody's employment."""

    ACTIVE = "active"
    ON_LEAVE = "on_leave"
    SUSPENDED = "suspended"
    INACTIVE = "inactive"
    LEFT = "left"

    @property
    def is_employed(self) -> bool:
        """Whether the person still belongs to the company. Who does not is deactivated, as if the row were gone."""
        return self not in (EmploymentStatus.INACTIVE, EmploymentStatus.LEFT)


class DayPart(enum.StrEnum):
    """How much of a day a leave or a holiday takes."""

    FULL = "full"
    FIRST_HALF = "first_half"
    SECOND_HALF = "second_half"


class FieldKind(enum.Enum):
    """How a source value becomes a canonical one. Every canonical value is a text or None."""

    TEXT = enum.auto()
    DATE = enum.auto()  # ISO 8601, such as 2026-02-28
    NUMBER = enum.auto()  # decimal digits without needless zeros, such as 7.5
    CHOICE = enum.auto()  # one of `Field.choices`


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One canonical field.

    Attributes:
        max_length: longest text in characters; a longer one is rejected, never cut.
        required: a row without it is rejected.
        refers_to: the entity whose key it holds.
        choices: the codes that a CHOICE can be.
        default: the value where the mapping does not name the field.
    """

    name: str
    kind: FieldKind = FieldKind.TEXT
    max_length: int = 200
    required: bool = False
    refers_to: Entity | None = None
    choices: tuple[str, ...] = ()
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitySpec:
    """The fields of one entity.

    Attributes:
        key: the business key, unique in the source and in the target; compared exactly.
        parent: the field that names another row of the same entity (manager, department above), None if there is none.
        in_order: pairs of dates of which the second must not be before the first.
        fields: all fields but `key` and `parent`, in the order in which rows hold them; the custom
            fields (`extra`, a JSON object as text) follow as one more value.
    """

    entity: Entity
    key: Field
    parent: Field | None = None
    fields: tuple[Field, ...]
    in_order: tuple[tuple[str, str], ...] = ()

    @property
    def value_names(self) -> tuple[str, ...]:
        """The names of a row's values."""
        return (*(field.name for field in self.fields), "extra")

    def all_fields(self) -> tuple[Field, ...]:
        """Every field: the key, the others, the parent."""
        return (self.key, *self.fields, *((self.parent,) if self.parent else ()))


# The source's own name for a row, which stays when its key changes (a renumbered person, a renamed code).
_STABLE_KEY = Field(name="stable_key", max_length=100)
_DAY_PART = Field(
    name="day_part", kind=FieldKind.CHOICE, max_length=16, required=True, choices=tuple(DayPart), default=DayPart.FULL
)

ENTITY_SPECS: Mapping[Entity, EntitySpec] = {
    Entity.DEPARTMENTS: EntitySpec(
        entity=Entity.DEPARTMENTS,
        key=Field(name="code", max_length=100, required=True),
        parent=Field(name="parent_code", max_length=100, refers_to=Entity.DEPARTMENTS),
        fields=(Field(name="name", required=True), _STABLE_KEY),
    ),
    Entity.POSITIONS: EntitySpec(
        entity=Entity.POSITIONS,
        key=Field(name="code", max_length=100, required=True),
        parent=Field(name="parent_code", max_length=100, refers_to=Entity.POSITIONS),
        fields=(Field(name="title", required=True), _STABLE_KEY),
    ),
    Entity.EMPLOYEES: EntitySpec(
        entity=Entity.EMPLOYEES,
        key=Field(name="employee_no", max_length=100, required=True),
        parent=Field(name="manager_no", max_length=100, refers_to=Entity.EMPLOYEES),
        fields=(
            Field(name="full_name", required=True),
            Field(name="first_name"),
            Field(name="last_name"),
            Field(name="email", max_length=254),
            Field(name="phone", max_length=64),
            Field(name="department_code", max_length=100, refers_to=Entity.DEPARTMENTS),
            Field(name="position_code", max_length=100, refers_to=Entity.POSITIONS),
            Field(
                name="status",
                kind=FieldKind.CHOICE,
                max_length=16,
                required=True,
                choices=tuple(EmploymentStatus),
                default=EmploymentStatus.ACTIVE,
            ),
            Field(name="hired_on", kind=FieldKind.DATE),
            Field(name="left_on", kind=FieldKind.DATE),
            Field(name="biostar_user_id", max_length=64),
            _STABLE_KEY,
        ),
    ),
    Entity.LEAVES: EntitySpec(
        entity=Entity.LEAVES,
        key=Field(name="code", max_length=100, required=True),
        fields=(
            Field(name="employee_no", max_length=100, required=True, refers_to=Entity.EMPLOYEES),
            Field(name="kind", max_length=64, required=True, default="leave"),
            Field(name="starts_on", kind=FieldKind.DATE, required=True),
            Field(name="ends_on", kind=FieldKind.DATE, required=True),
            _DAY_PART,
            Field(name="hours", kind=FieldKind.NUMBER, max_length=8),
        ),
        in_order=(("starts_on", "ends_on"),),
    ),
    Entity.HOLIDAYS: EntitySpec(
        entity=Entity.HOLIDAYS,
        key=Field(name="code", max_length=100, required=True),
        fields=(
            Field(name="holiday_on", kind=FieldKind.DATE, required=True),
            Field(name="name", required=True),
            Field(name="calendar", max_length=64),
            _DAY_PART,
        ),
    ),
}

# Instead of `manager_no`, a mapping may name the column that holds an employee's place in the tree as a path
# (/1/4/2/); the manager is then the employee at the parent path (/1/4/).
TREE_PATH = "tree_path"


def parent_path(path: str) -> str | None:
    """The path above `path` (`/1/4/2/` -> `/1/4/`), or None at the root (`/`)."""
    inner = path.strip("/")
    if not inner:
        return None
    head, _, _ = inner.rpartition("/")
    return f"/{head}/" if head else "/"
