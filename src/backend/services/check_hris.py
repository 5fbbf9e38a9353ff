"""Holds the mapping against the live sources: runs every query, and says what a run would stumble over.

References between the entities are not looked at; a preview does that. Nothing is written.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backend.domain.column_rules import RawBatch
from backend.domain.employees import ENTITY_SPECS, Entity
from backend.domain.mapping import EntityMapping, FieldRule, HrisMapping, Incremental, Lookup, SourceQuery
from backend.domain.quarantine import Reason
from backend.domain.result_columns import find_column, find_missing_columns
from backend.domain.row_batches import BatchReader, SupplementTable, read_supplement
from backend.domain.values import to_text
from backend.errors import ConfigurationError, HrsyncError, TransientError
from backend.ports import HrisSource
from backend.services.hris_findings import (
    Discretion,
    Finding,
    QueryCheck,
    tell_misfits,
    tell_missing,
    tell_problem,
    tell_repeated,
)
from backend.services.hris_tally import (
    EntityTally,
    KeyTally,
    ValueTally,
    first_rows,
    key_reader,
    rules_of,
    supplement_rules_of,
)
from backend.services.read_hris import CHANGE_OPERATION, read_lookups

SAMPLE_ROWS = 20
_CHANGED_ROWS_READ = 200
# Bounds below and above everything that a source can hold, in the type that its column has.
_BOUNDS: Mapping[str, Mapping[str, object]] = {
    "rowversion": {"since": b"\x00" * 8, "until": b"\xff" * 8},
    "updated_at": {"since": dt.datetime(1900, 1, 1)},  # noqa: DTZ001 - a source's times have no zone
    "change_tracking": {"since": 0},
}

Take = Callable[[RawBatch], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class HrisCheck:
    """What was found out about everything.

    Attributes:
        misconfigured: whether an error is one of the configuration, not of a source.
    """

    queries: Sequence[QueryCheck]
    misconfigured: bool

    @property
    def findings(self) -> list[Finding]:
        """Every finding, query by query."""
        return [finding for query in self.queries for finding in query.findings]


async def check_hris(
    source: HrisSource,
    mapping: HrisMapping,
    *,
    entities: Collection[Entity] = tuple(Entity),
    sample_rows: int = SAMPLE_ROWS,
    max_rows: int | None = None,
    show_data: bool = False,
) -> HrisCheck:
    """Run every query of the entities, their supplements and look-ups, and hold the results against the mapping.

    Args:
        sample_rows: so many rows of each entity are shown.
        max_rows: no more rows of an entity are read; None: all, of which nothing but counts are kept.
        show_data: show personal values as they are.
    """
    checker = _Checker(source, mapping, sample_rows, max_rows, show_data)
    wanted = [mapping.entities[entity] for entity in Entity if entity in entities and entity in mapping.entities]
    queries = [await checker.check_lookup(mapping.lookups[name]) for name in sorted(_lookups_of(wanted))]
    for item in wanted:
        queries += await checker.check_entity(item)
    return HrisCheck(queries=queries, misconfigured=checker.misconfigured)


def _lookups_of(mappings: Iterable[EntityMapping]) -> set[str]:
    rules = [
        rule
        for item in mappings
        for fields in (item.fields, item.extra, *(supplement.fields for supplement in item.supplements))
        for rule in fields.values()
    ]
    return {rule.lookup for rule in rules if rule.lookup is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadSupplement:
    """A supplement; without a table when it could not be read."""

    check: QueryCheck
    keys: KeyTally
    table: SupplementTable | None = None


class _Checker:
    """Looks at one thing after the other; remembers which sources are away and what the look-ups hold."""

    def __init__(
        self, source: HrisSource, mapping: HrisMapping, sample_rows: int, max_rows: int | None, show_data: bool
    ) -> None:
        self.misconfigured = False
        self._source = source
        self._mapping = mapping
        self._sample_rows = sample_rows
        self._max_rows = max_rows
        self._show_data = show_data
        self._lookups: dict[str, Mapping[str, str]] = {}
        self._away: set[str | None] = set()

    # --- look-ups -----------------------------------------------------------------------------------------------------

    async def check_lookup(self, lookup: Lookup) -> QueryCheck:
        """Read a look-up."""
        check = QueryCheck(subject=f"hris look-up {lookup.name}")
        with self._telling(check, lookup.source):
            self._refuse_away(lookup.source)
            self._lookups |= await read_lookups(self._source, replace(self._mapping, lookups={lookup.name: lookup}))
            check.rows = len(self._lookups[lookup.name])
            if check.rows:
                check.add("ok", f"{check.rows:,} entries")
            else:
                check.add("warning", "it has no entries", f"Mend its query in {lookup.place}.")
        return check

    # --- entities -----------------------------------------------------------------------------------------------------

    async def check_entity(self, mapping: EntityMapping) -> list[QueryCheck]:
        """Look at an entity's query, its supplements and its query of changed rows."""
        mapping = self._with_known_lookups(mapping)
        supplements = [await self._read_supplement(mapping, number) for number in range(len(mapping.supplements))]
        tables = [item.table for item in supplements if item.table is not None]
        check = QueryCheck(subject=f"hris {mapping.entity}")
        tallies: list[EntityTally] = []

        def begin(columns: Sequence[str]) -> Take | None:
            if tell_missing(check, mapping.place, find_missing_columns(mapping.columns(), columns), columns):
                return None
            tally = EntityTally(
                mapping, columns, self._lookups, tables, sample_rows=self._sample_rows, max_rows=self._max_rows
            )
            tallies.append(tally)
            return tally.add

        is_whole = await self._read(check, mapping.source_query(), begin)
        if tallies and is_whole:
            is_complete = len(tables) == len(supplements)
            self._tell_entity(check, mapping, tallies[0], is_complete=is_complete)
            for item in supplements:
                _tell_overlap(item, mapping.entity, tallies[0].keys)
        checks = [check, *(item.check for item in supplements)]
        if mapping.incremental is not None:
            checks.append(await self._check_incremental(mapping, mapping.incremental))
        return checks

    def _with_known_lookups(self, mapping: EntityMapping) -> EntityMapping:
        """The mapping without the look-ups that could not be read: they would find nothing."""

        def known(fields: Mapping[str, FieldRule]) -> dict[str, FieldRule]:
            return {
                name: rule if rule.lookup is None or rule.lookup in self._lookups else replace(rule, lookup=None)
                for name, rule in fields.items()
            }

        return replace(
            mapping,
            fields=known(mapping.fields),
            extra=known(mapping.extra),
            supplements=[replace(item, fields=known(item.fields)) for item in mapping.supplements],
        )

    def _tell_entity(self, check: QueryCheck, mapping: EntityMapping, tally: EntityTally, *, is_complete: bool) -> None:
        check.rows = tally.read
        discretion = Discretion(mapping, show_data=self._show_data)
        check.sample = [discretion.show_row(row) for row in tally.sample]
        if not tally.read:
            check.add(
                "warning",
                "the query gives no rows",
                f"Mend the query in {mapping.place}; a run that finds none is held once there are active rows.",
            )
            return
        rows = f"the first {tally.read:,} rows" if tally.is_cut else f"{tally.read:,} rows"
        if is_complete:
            check.add(
                "ok" if tally.taken else "error",
                f"{tally.taken:,} of {rows} can be taken; columns: {', '.join(check.columns)}",
            )
        else:
            check.add("ok", f"{rows} were read, but not what a supplement adds; columns: {', '.join(check.columns)}")
        rules = {item.name: rule for item, rule in rules_of(mapping)}
        tell_misfits(check, mapping.place, tally.values.misfits, rules, discretion)
        added = {name for supplement in mapping.supplements for name in supplement.fields}
        for problem in tally.problems:
            if is_complete or problem.reason is not Reason.MISSING_VALUE or problem.field not in added:
                tell_problem(check, mapping.place, problem)
        tell_repeated(check, tally.keys, "They are rejected, all but the first; give the query one row for each key.")

    # --- supplements --------------------------------------------------------------------------------------------------

    async def _read_supplement(self, mapping: EntityMapping, number: int) -> _ReadSupplement:
        """Read a supplement whole, as a run does."""
        supplement = mapping.supplements[number]
        spec = ENTITY_SPECS[mapping.entity]
        check = QueryCheck(subject=f"hris {mapping.entity} supplement {number + 1}")
        query = SourceQuery(
            place=supplement.place,
            subject=f"supplement {number + 1} of the {mapping.entity}",
            text=supplement.query or "",
            source=supplement.source,
        )
        batches: list[RawBatch] = []
        tallies: list[ValueTally] = []
        mapped = [(name, rule.column) for name, rule in supplement.fields.items() if rule.column is not None]

        def begin(columns: Sequence[str]) -> Take | None:
            if tell_missing(check, supplement.place, find_missing_columns(mapped, columns), columns):
                return None
            tally = ValueTally(supplement_rules_of(spec, supplement), columns, self._lookups)
            tallies.append(tally)
            find_keys = key_reader(spec, supplement, columns, self._lookups)

            def take(raw: RawBatch) -> bool:
                batches.append(raw)
                tally.add(raw)
                keys.add(find_keys(raw))
                return True

            return take

        keys = KeyTally()
        if not await self._read(check, query, begin) or not tallies:
            return _ReadSupplement(check=check, keys=keys)
        table, defects = read_supplement(mapping.entity, supplement, check.columns, batches, self._lookups)
        check.rows = sum(raw.row_count for raw in batches)
        if not check.rows:
            check.add("warning", "it gives no rows", f"Mend it in {supplement.place}.")
            return _ReadSupplement(check=check, keys=keys, table=table)
        check.add(
            "ok",
            f"{check.rows - len(defects):,} of {check.rows:,} rows can be taken; columns: {', '.join(check.columns)}",
        )
        discretion = Discretion(mapping, show_data=self._show_data)
        tell_misfits(
            check, supplement.place, tallies[0].misfits, supplement.fields, discretion, consequence="they add nothing"
        )
        others = sum(found.defect.field not in tallies[0].fields for found in defects)
        if others:
            check.add("warning", f"{others:,} rows hold a text that does not fit", "They add nothing; mend the source.")
        if keys.empty:
            check.add("warning", f"{keys.empty:,} rows have no {spec.key.name}", "They add nothing; leave them out.")
        tell_repeated(check, keys, "Of rows with one key the first counts.")
        return _ReadSupplement(check=check, keys=keys, table=table)

    # --- incremental --------------------------------------------------------------------------------------------------

    async def _check_incremental(self, mapping: EntityMapping, incremental: Incremental) -> QueryCheck:
        """Run the query of the changed rows, as if everything had changed, and look at the first of them."""
        check = QueryCheck(subject=f"hris {mapping.entity} incremental")
        place = f"{mapping.place[:-1]}.incremental]"
        query = SourceQuery(
            place=place,
            subject=f"changed {mapping.entity}",
            text=incremental.query,
            source=mapping.source,
            parameters=_BOUNDS[incremental.by],
        )
        mapped = mapping.columns()
        if incremental.column is not None:
            mapped.append(("`column`", incremental.column))
        wrong: list[object] = []

        def begin(columns: Sequence[str]) -> Take | None:
            if tell_missing(check, place, find_missing_columns(mapped, columns), columns):
                return None
            reader = BatchReader(mapping, columns, known={}, lookups=self._lookups)
            position = None if incremental.column is None else find_column(incremental.column, columns)

            def take(raw: RawBatch) -> bool:
                raw, _ = first_rows(raw, _CHANGED_ROWS_READ)
                reader.read(raw)
                check.rows = raw.row_count
                values = [] if position is None else [raw.row(row)[position] for row in range(raw.row_count)]
                wrong.extend(value for value in values if not _is_bound(incremental, value))
                return False

            return take

        if await self._read(check, query, begin) and not check.findings:
            check.add("ok", f"the query of the changed rows runs ({incremental.by})")
            if incremental.by == "change_tracking" and find_column(CHANGE_OPERATION, check.columns) is None:
                check.add(
                    "warning",
                    f"the result has no column {CHANGE_OPERATION}, so that only full reads find what was deleted",
                    f"Add it to the query in {place}, and take the key from CHANGETABLE.",
                )
            if wrong:
                what = "rowversion" if incremental.by == "rowversion" else "time"
                check.add(
                    "error",
                    f"{incremental.column} is no {what} in {len(wrong):,} of the first {check.rows:,} rows",
                    f"Name the column with the {what} in {place}; rows without one would never be found.",
                )
        return check

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, check: QueryCheck, query: SourceQuery, begin: Callable[[Sequence[str]], Take | None]) -> bool:
        """Run a query; False: it failed, as the check's findings then say.

        Args:
            begin: gets the result columns and gives what takes the batches until it wants no more; None: no rows are
                wanted.
        """
        with self._telling(check, query.source):
            self._refuse_away(query.source)
            async with self._source.open(query) as rows:
                check.columns = tuple(rows.columns)
                take = begin(check.columns)
                if take is not None:
                    async with contextlib.aclosing(rows.batches()) as batches:
                        async for batch in batches:
                            if not take(batch):
                                break
            return True
        return False

    def _refuse_away(self, source: str | None) -> None:
        if source in self._away:
            raise TransientError(f"not looked at, as {source or 'the HRIS'} did not answer before")

    @contextlib.contextmanager
    def _telling(self, check: QueryCheck, source: str | None) -> Iterator[None]:
        """Make errors findings; a source that is away is not waited for again."""
        try:
            yield
        except HrsyncError as error:
            if isinstance(error, TransientError):
                self._away.add(source)
            self.misconfigured |= isinstance(error, ConfigurationError)
            check.findings.append(Finding.of_error(check.subject, error))


def _tell_overlap(supplement: _ReadSupplement, entity: Entity, keys: KeyTally) -> None:
    """Say when a supplement is of none of the rows: its keys are then written in another way."""
    added = supplement.keys
    if added.keys and keys.keys and not (added.has_more or keys.has_more) and not added.keys & keys.keys:
        supplement.check.add(
            "warning",
            f"none of its {len(added.keys):,} keys is one of the {entity}",
            "Compare how both write the key: `strip`, `upper` and `after` make them alike.",
        )


def _is_bound(incremental: Incremental, value: object) -> bool:
    """Whether a value of the column says when its row changed."""
    if incremental.by == "rowversion":
        return isinstance(value, bytes | bytearray | memoryview) and len(bytes(value)) == 8
    if isinstance(value, dt.datetime):
        return True
    try:
        dt.datetime.fromisoformat(to_text(value)[:26])
    except ValueError:
        return False
    return value is not None
