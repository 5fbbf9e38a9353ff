"""From the queries and tables of `hris.toml` to the SQL that a source is asked, and whether it can be asked that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from backend.adapters.mapping_schema import EntityTable, IncrementalTable, LookupTable, MappingTable, QueryTable
from backend.adapters.toml_problems import KeyPath, TomlProblems, did_you_mean
from backend.domain.mapping import FieldRule, Incremental

_SELECT = re.compile(r"(\s|\(|--[^\n]*\n|/\*.*?\*/)*(SELECT|WITH)\b", re.IGNORECASE | re.DOTALL)
_NAME = r"[^\W\d][\w$#@]*"
_PLAIN_NAME = re.compile(_NAME)
# A part of a table's name may stand in the server's own quotes; around a column we would have to know which those are.
_PART = rf'(?:{_NAME}|\[[^\]]+\]|"[^"]+"|`[^`]+`)'
_TABLE_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")
_SINCE = re.compile(r":since\b")
_UNTIL = re.compile(r":until\b")
_QUOTE_ADVICE = "write a `query` instead, in which it stands in the quotes of your server"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReader:
    """Makes queries; every mistake is noted in `problems`."""

    tables: MappingTable
    problems: TomlProblems

    def is_file(self, source: str | None) -> bool:
        """Whether the source is a file."""
        table = self.tables.sources.get(source or "")
        return table is not None and table.file is not None

    def read(self, table: QueryTable, rules: Sequence[FieldRule], key: FieldRule | None, path: KeyPath) -> str:
        """The query of an entity or a supplement; empty for a file.

        Args:
            rules: of every column that is read.
            key: the rule of the key, in whose order a `table` is read.
        """
        self._check_source(table.source, path)
        if self.is_file(table.source):
            for name in ("query", "table"):
                if getattr(table, name) is not None:
                    self.problems.add((*path, name), "a file takes no query; its header names the columns")
            return ""
        if table.query is not None and table.table is not None:
            self.problems.add((*path, "table"), "give either `query` or `table`, not both")
        elif table.query is not None:
            self._check_select(table.query, (*path, "query"))
            return trim_query(table.query)
        elif table.table is None:
            self.problems.add((*path, "query"), "is missing; give a `query` or a `table`")
        else:
            columns = self._check_plain(table.table, _columns(rules), path)
            order = f" ORDER BY {key.column}" if key is not None and key.column is not None else ""
            return f"SELECT {', '.join(columns)} FROM {table.table}{order}"  # noqa: S608 - plain names, checked
        return ""

    def read_lookup(self, table: LookupTable, path: KeyPath) -> str:
        """The query of a look-up; empty for a file."""
        self._check_source(table.source, path)
        if self.is_file(table.source):
            if table.query is not None:
                self.problems.add((*path, "query"), "a file takes no query; its first two columns are the look-up")
            return ""
        if table.query is None:
            self.problems.add((*path, "query"), "is missing: what is looked up, and what it becomes")
            return ""
        self._check_select(table.query, (*path, "query"))
        return trim_query(table.query)

    def read_incremental(
        self, table: IncrementalTable, entity: EntityTable, rules: Iterable[FieldRule], path: KeyPath
    ) -> Incremental | None:
        """How only what changed is read; None when there is no query for it."""
        if self.is_file(entity.source):
            self.problems.add(path, "a file is always read whole; leave `incremental` out")
            return None
        for key, message in _incremental_problems(table):
            self.problems.add((*path, key), message)
        query = self._changed_rows(table, entity, rules, path)
        if query is None:
            return None
        made = Incremental(
            by=table.by,
            query=query,
            column=table.column,
            table=table.table,
            full_every_hours=table.full_every_hours,
        )
        return made if table.overlap_seconds is None else replace(made, overlap_seconds=table.overlap_seconds)

    def _changed_rows(
        self, table: IncrementalTable, entity: EntityTable, rules: Iterable[FieldRule], path: KeyPath
    ) -> str | None:
        here = (*path, "query")
        if table.query is None:
            if entity.table is None or table.column is None or table.by == "change_tracking":
                self.problems.add(here, "is missing: one SELECT of the changed rows, with :since as the bound")
                return None
            columns = self._check_plain(entity.table, [*_columns(rules), table.column], path)
            until = f" AND {table.column} < :until" if table.by == "rowversion" else ""
            return (
                f"SELECT {', '.join(dict.fromkeys(columns))} FROM {entity.table} "  # noqa: S608 - plain names, checked
                f"WHERE {table.column} >= :since{until} ORDER BY {table.column}"
            )
        self._check_select(table.query, here)
        if not _SINCE.search(table.query):
            self.problems.add(here, "the query has no :since, so it would read every row each time")
        has_until = _UNTIL.search(table.query) is not None
        if table.by == "rowversion" and not has_until:
            self.problems.add(here, "the query has no :until; without it, rows that are not committed yet are missed")
        if table.by != "rowversion" and has_until:
            self.problems.add(here, ":until is for `rowversion`")
        return trim_query(table.query)

    def _check_source(self, name: str | None, path: KeyPath) -> None:
        if name is not None and name not in self.tables.sources:
            known = ", ".join(self.tables.sources) or "none"
            self.problems.add(
                (*path, "source"),
                f"there is no source {name!r}{did_you_mean(name, self.tables.sources)}; there are: {known}. "
                f"Define it: [sources.{name}]",
            )

    def _check_select(self, query: str, path: KeyPath) -> None:
        if not _SELECT.match(query):
            self.problems.add(path, "the query must be one SELECT (or WITH ... SELECT); a source is only read")

    def _check_plain(self, table: str, columns: list[str], path: KeyPath) -> list[str]:
        """The columns; names that would need quotes are noted."""
        if not _TABLE_NAME.fullmatch(table):
            self.problems.add((*path, "table"), f"{table!r} is not the name of a table; {_QUOTE_ADVICE}")
        for column in columns:
            if not _PLAIN_NAME.fullmatch(column):
                self.problems.add((*path, "columns"), f"{column!r} is not a plain name; {_QUOTE_ADVICE}")
        return columns


def _incremental_problems(table: IncrementalTable) -> Iterable[tuple[str, str]]:
    """(key, message) of what does not go together."""
    if table.by == "change_tracking":
        if table.table is None:
            yield "table", "is missing; `change_tracking` needs the table that it watches"
        elif not _TABLE_NAME.fullmatch(table.table):
            yield "table", f"{table.table!r} is not the name of a table"
        if table.column is not None:
            yield "column", "`change_tracking` takes no `column`"
    else:
        if table.table is not None:
            yield "table", "`table` is for `change_tracking`"
        if table.column is None:
            what = "the rowversion" if table.by == "rowversion" else "the time of the last change"
            yield "column", f"is missing; `{table.by}` needs the result column with {what}"
    if table.by != "updated_at" and table.overlap_seconds is not None:
        yield "overlap_seconds", "`overlap_seconds` is for `updated_at`"


def _columns(rules: Iterable[FieldRule]) -> list[str]:
    return list(dict.fromkeys(rule.column for rule in rules if rule.column is not None))


def trim_query(query: str) -> str:
    """The query without blanks around it and without the semicolon at its end."""
    return query.strip().rstrip(";").rstrip()
