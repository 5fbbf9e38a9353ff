"""The mapping: where each entity of the HRIS comes from, which column is which field, and what the guard lets pass.

Pure, and values only. `adapters.mapping_file` reads it, `domain.values` says what a rule does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backend.domain.employees import (
    Entity,
)

RawRow = Sequence[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """How one canonical field is made. The steps run in the order of the attributes.

    Attributes:
        column: the result column; None for a constant.
        constant: the value of every row.
        strip: cut white space at both ends. An empty text is always None.
        after: keep what follows the last occurrence of this text (`DOMAIN\\user` -> `user`).
        case: change letters.
        null_if: texts (dates as ISO 8601) that mean "none".
        values: value map; a value that is not in it takes `default`, or the row is rejected.
        default: for an empty value, or one that is not in `values`.
        date_format: `strptime` format of dates that come as text; None: ISO 8601.
        lookup: name of a look-up of the mapping; it then is the value map.
        sensitive: how the field's values stand in history, previews and held runs: a salted hash, or dots.
    """

    column: str | None = None
    constant: str | None = None
    strip: bool = True
    after: str | None = None
    case: Literal["upper", "lower"] | None = None
    null_if: frozenset[str] = frozenset()
    values: Mapping[str, str] | None = None
    default: str | None = None
    date_format: str | None = None
    lookup: str | None = None
    sensitive: Literal["hash", "mask"] | None = None

    @property
    def changes_text(self) -> bool:
        """Whether the rule works on the text of the value (a number is then no number any more)."""
        return any((self.after, self.case, self.null_if, self.values, self.lookup, self.default, self.date_format))


@dataclass(frozen=True, slots=True, kw_only=True)
class Incremental:
    """How only what changed is read. Every way falls back to a full read when it must.

    Attributes:
        by: `rowversion`: rows whose `column` is at or above the last run's upper bound, MIN_ACTIVE_ROWVERSION();
            `updated_at`: rows whose `column` is not older than the newest that was seen, less the overlap;
            `change_tracking`: rows that SQL Server's Change Tracking of `table` names.
        query: the SELECT of the changed rows, with the columns of the full query. `:since` stands for the bound; in a
            `rowversion` query `:until` for the upper one.
        column: the result column with the rowversion, or with the time of the last change.
        table: the tracked table.
        overlap_seconds: how far an `updated_at` read goes back behind the newest time that was seen.
        full_every_hours: when the last full read is older, all is read: it finds what was deleted.
    """

    by: Literal["rowversion", "updated_at", "change_tracking"]
    query: str
    column: str | None = None
    table: str | None = None
    overlap_seconds: int = 300
    full_every_hours: float = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplement:
    """Fields of an entity that another query knows, by the entity's key: e-mail addresses from the directory, say.

    Attributes:
        place: file and table of the mapping, for messages.
        source: name of the source; None: the HRIS.
        query: one SELECT; None when the source is a file.
        fields: rules by canonical field, the entity's key among them.
        wins: whether its values go before those of the entity's own query, or only fill what is empty there.
    """

    place: str
    source: str | None = None
    query: str | None = None
    fields: Mapping[str, FieldRule]
    wins: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityMapping:
    """Where one entity comes from.

    Attributes:
        place: file and table of the mapping, for messages (`config/hris.toml [employees]`).
        query: one SELECT in the source's own dialect; empty when the source is a file.
        source: name of the source; None: the HRIS.
        fields: rules by canonical field; for employees `tree_path` may stand in for `manager_no`.
        extra: rules of custom fields by name.
        manager_by_position: an employee's manager is who holds the position that the employee's one reports to.
        contract: what a change of the query's result columns means: `evolve` takes it and notes it, `freeze` holds the
            run, `discard` takes no notice.
        unknown_reference: what becomes of a row that names a department or position that is not there (an unknown
            manager or parent is left out, the row kept).
        supplements: what other queries add, in the order in which they do.
    """

    entity: Entity
    place: str
    query: str
    source: str | None = None
    fields: Mapping[str, FieldRule]
    extra: Mapping[str, FieldRule] = field(default_factory=dict)
    manager_by_position: bool = False
    contract: Literal["evolve", "freeze", "discard"] = "evolve"
    unknown_reference: Literal["keep_without", "reject"] = "keep_without"
    incremental: Incremental | None = None
    supplements: Sequence[Supplement] = ()

    def source_query(self) -> SourceQuery:
        """The query of all rows."""
        return SourceQuery(place=self.place, subject=self.entity.value, text=self.query, source=self.source)

    def columns(self) -> list[tuple[str, str]]:
        """(canonical field, result column) of every rule that reads a column."""
        rules = [*self.fields.items(), *((f"extra.{name}", rule) for name, rule in self.extra.items())]
        return [(name, rule.column) for name, rule in rules if rule.column is not None]

    def sensitive_fields(self) -> dict[str, Literal["hash", "mask"]]:
        """How each sensitive field stands in history, by its name (`extra` when one of the custom fields is)."""
        rules = [rule for item in self.supplements for rule in item.fields.items()] + [*self.fields.items()]
        found = {name: rule.sensitive for name, rule in rules if rule.sensitive is not None}
        for rule in self.extra.values():
            if rule.sensitive is not None:
                found["extra"] = rule.sensitive
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDefinition:
    """A source beside the HRIS.

    Attributes:
        url_setting: the environment variable that holds its database URL; None when it is a file.
        file: a CSV file in UTF-8 with a header, relative to the mapping file.
    """

    name: str
    url_setting: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A value map that is a table: the first column of the query is what is looked up, the second what it becomes."""

    name: str
    place: str
    query: str
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """What a run must not do without a person's word. Percentages are of the rows that are active in the target.

    Attributes:
        max_deactivations_percent, max_deactivations_at_least: so many rows of an entity may be deactivated, the larger
            of the two counts.
        max_deactivations: and never more than this.
        max_shrink_percent, max_growth_percent: how far the number of rows may be from the median of the last runs.
        size_at_least: differences of up to so many rows are never unusual.
        max_emptied_percent: a field that was filled in so much of the rows must not be empty in so much of them.
        max_rejected_percent: so many of the rows read may be rejected, once earlier runs rejected fewer.
        on_guard: `hold` applies nothing; `skip_deactivations` applies all but the deactivations when they alone are the
            trouble.
    """

    max_deactivations_percent: float = 5
    max_deactivations_at_least: int = 5
    max_deactivations: int = 500
    max_shrink_percent: float = 20
    max_growth_percent: float = 50
    size_at_least: int = 20
    max_emptied_percent: float = 50
    max_rejected_percent: float = 50
    on_guard: Literal["hold", "skip_deactivations"] = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class HrisMapping:
    """The whole mapping file; an entity that is not in `entities` is not replicated.

    Attributes:
        fingerprint: differs when the file says something else.
    """

    file: str
    entities: Mapping[Entity, EntityMapping]
    guard: GuardRules = field(default_factory=GuardRules)
    sources: Mapping[str, SourceDefinition] = field(default_factory=dict)
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceQuery:
    """One query that a source is asked.

    Attributes:
        place: file and table of the mapping, for messages (`config/hris.toml [employees]`).
        subject: what it reads, for messages (`employees`).
        text: the SELECT in the source's dialect; empty when the source is a file.
        source: name of the source; None: the HRIS.
        parameters: values of `:since` and `:until` in the text; any other colon is the query's own.
    """

    place: str
    subject: str
    text: str
    source: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
