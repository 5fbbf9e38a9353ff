"""Columns: as a source gives them, and what a rule makes of a whole one.

Hundreds of thousands of rows pass here, so a value is not looked at one by one where it need not be: a column of plain
texts is handled by Arrow as a whole, and of a column with few different values each one is converted once.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from backend.domain.employees import (
    Field,
    FieldKind,
)
from backend.domain.mapping import FieldRule
from backend.domain.quarantine import Defect, Reason
from backend.domain.row_hashes import bytes_of
from backend.domain.values import Convert, DefectError

Column: TypeAlias = "pa.Array | Sequence[object]"


# What `str.strip` cuts, so that both ways of converting a text agree.
_BLANKS = "".join(chr(code) for code in range(0x110000) if chr(code).isspace())


_REMEMBERED = 20_000


# Unlike 1 and 1.0, or one instant in two zones.
_SAME_WHEN_EQUAL = {str, int, bool, bytes, dt.date, decimal.Decimal}


_FEW = 0.5  # a column with less than this share of different values is converted value by value, once each


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBatch:
    """Some rows of a query's result, in its order.

    Attributes:
        columns: one entry for each result column: an Arrow array where the driver gives one, else the driver's values.
        row_count: how many rows; each column has so many values.
    """

    columns: Sequence[Column]
    row_count: int

    def row(self, index: int) -> tuple[object, ...]:
        """The values of one row."""
        return tuple(
            column[index].as_py() if isinstance(column, pa.Array) else column[index] for column in self.columns
        )

    def take(self, rows: Sequence[int]) -> RawBatch:
        """Some of the rows."""
        places = pa.array(rows, pa.int64())
        columns = [
            column.take(places) if isinstance(column, pa.Array) else [column[row] for row in rows]
            for column in self.columns
        ]
        return RawBatch(columns=columns, row_count=len(rows))


class ConvertedColumn(NamedTuple):
    """A column in canonical form; `errors` by row."""

    values: pa.Array
    errors: Mapping[int, Defect]


class ColumnRule:
    """One field's rule, bound to a result column."""

    def __init__(self, item: Field, rule: FieldRule, position: int, convert: Convert) -> None:
        self.item = item
        self.position = position
        self._rule = rule
        self._convert = convert
        # What a value became: most of a batch's values were in an earlier one.
        self._known: dict[object, tuple[str | None, Defect | None]] = {}
        self._known_kind: object = None
        self._is_plain = item.kind is FieldKind.TEXT and not (
            rule.after or rule.values is not None or rule.lookup or rule.null_if
        )

    def read(self, raw: RawBatch) -> ConvertedColumn:
        if self.position < 0:
            return ConvertedColumn(pa.repeat(pa.scalar(self._convert(None), pa.string()), raw.row_count), {})
        column = raw.columns[self.position]
        if not isinstance(column, pa.Array):
            texts = _as_texts(column)
            if texts is None:
                return self._read_values(column, kind=_kind_of_few(column))
            column = texts
        if pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        if pa.types.is_null(column.type):
            column = column.cast(pa.string())
        if self._is_plain and pa.types.is_string(column.type) and self._has_plain_letters(column):
            return self._read_plain(column)
        coded = column.dictionary_encode()
        different = coded.dictionary.to_pylist()
        few = len(different) <= raw.row_count * _FEW and not pa.types.is_floating(column.type)
        values, errors = self._read_values(different, kind=column.type if few else None)
        # A missing index is a value of its own: a NULL may have a default.
        missing = self._convert(None)
        taken = values.take(coded.indices)
        if missing is not None:
            taken = pc.if_else(pc.is_null(coded.indices), missing, taken)
        if not errors:
            return ConvertedColumn(taken, {})
        rows = coded.indices.to_pylist()
        return ConvertedColumn(taken, {row: errors[index] for row, index in enumerate(rows) if index in errors})

    def _has_plain_letters(self, column: pa.Array) -> bool:
        """Whether Arrow changes the case of the letters as Python does, if it is to be changed at all."""
        return self._rule.case is None or bool((bytes_of(column) < 0x80).all())

    def _read_plain(self, column: pa.Array) -> ConvertedColumn:
        default = self._rule.default or None
        if self._rule.strip:
            column = pc.utf8_trim(column, characters=_BLANKS)
        if self._rule.case is not None:
            # Not ascii_upper: it reads the wrong bytes of a column that was cast from a slice.
            column = pc.utf8_upper(column) if self._rule.case == "upper" else pc.utf8_lower(column)
        column = pc.if_else(pc.equal(column, ""), pa.scalar(default, pa.string()), column)
        if default is not None:
            column = pc.fill_null(column, default)
        errors = {}
        longest = pc.max(pc.utf8_length(column)).as_py()
        if longest is not None and longest > self.item.max_length:
            is_long = pc.fill_null(pc.greater(pc.utf8_length(column), self.item.max_length), False)
            for row in rows_where(is_long):
                errors[row] = _of(self._try(column[row].as_py())[1])
            column = pc.if_else(is_long, pa.scalar(None, pa.string()), column)
        return ConvertedColumn(column, errors)

    def _read_values(self, values: Sequence[object], *, kind: object) -> ConvertedColumn:
        """Convert value by value; where they are of one kind and few, each of them once."""
        errors: dict[int, Defect] = {}
        if kind is not None:
            if len(self._known) > _REMEMBERED or kind != self._known_kind:
                self._known, self._known_kind = {}, kind
            known = self._known
            for value in set(values) - known.keys():
                known[value] = self._try(value)
            texts = [known[value][0] for value in values]
            bad = {value for value, (_, defect) in known.items() if defect is not None}
            if bad:
                errors = {row: _of(known[value][1]) for row, value in enumerate(values) if value in bad}
        else:
            convert = self._convert
            try:
                texts = [convert(value) for value in values]
            except DefectError:
                results = [self._try(value) for value in values]
                texts = [text for text, _ in results]
                errors = {row: defect for row, (_, defect) in enumerate(results) if defect is not None}
        try:
            return ConvertedColumn(pa.array(texts, pa.string()), errors)
        except UnicodeEncodeError:
            for row, text in enumerate(texts):
                if text is not None and (reason := _half_character(text)):
                    texts[row], errors[row] = None, _not_text(reason)
            return ConvertedColumn(pa.array(texts, pa.string()), errors)

    def _try(self, value: object) -> tuple[str | None, Defect | None]:
        try:
            return self._convert(value), None
        except DefectError as error:
            return None, error.defect


class CustomRule(ColumnRule):
    """A custom field's rule, bound to a result column: its values become JSON."""

    def read(self, raw: RawBatch) -> ConvertedColumn:
        """The column as JSON texts."""
        texts = None if self.position < 0 or self._rule.changes_text else self._read_whole(raw.columns[self.position])
        return super().read(raw) if texts is None else ConvertedColumn(texts, {})

    def _read_whole(self, column: Column) -> pa.Array | None:
        """The JSON of a column in which no value needs a look of its own; else None."""
        found = column if isinstance(column, pa.Array) else _as_texts(column)
        if found is None:
            return None
        if pa.types.is_integer(found.type):
            return pc.fill_null(found.cast(pa.string()), "null")
        texts = None
        if pa.types.is_decimal(found.type):
            texts = _decimal_texts(found)
        elif pa.types.is_string(found.type):
            texts = pc.utf8_trim(found, characters=_BLANKS) if self._rule.strip else found
        return None if texts is None or self._needs_look(texts) else _quote(texts)

    def _needs_look(self, texts: pa.Array) -> bool:
        content = bytes_of(texts)
        has_escape = bool(((content < ord(" ")) | (content == ord('"')) | (content == ord("\\"))).any())
        return has_escape or (pc.max(pc.utf8_length(texts)).as_py() or 0) > self.item.max_length


def _decimal_texts(column: pa.Array) -> pa.Array | None:
    """Decimals without needless zeros; None when one is so small that Arrow writes it with an exponent."""
    texts = column.cast(pa.string())
    if (bytes_of(texts) == ord("E")).any():
        return None
    return pc.utf8_rtrim(pc.utf8_rtrim(texts, characters="0"), characters=".") if column.type.scale > 0 else texts


def _quote(texts: pa.Array) -> pa.Array:
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    return pc.fill_null(pc.binary_join_element_wise('"', texts, '"', ""), "null")


def _as_texts(values: Sequence[object]) -> pa.Array | None:
    """The values as an Arrow array when they are texts and Nones only."""
    if not set(map(type, values)) <= {str, type(None)}:
        return None
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return None


def _kind_of_few(values: Sequence[object]) -> object:
    """The type of the values where it is one of which equal values are the same, and few of them are different."""
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) != 1 or not kinds <= _SAME_WHEN_EQUAL:
        return None
    return kinds.pop() if len(set(values)) <= len(values) * _FEW else None


def _half_character(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.reason
    return None


def _of(defect: Defect | None) -> Defect:
    assert defect is not None
    return defect


def _not_text(reason: str) -> Defect:
    return Defect(
        reason=Reason.UNREADABLE_TEXT,
        message=f"A text holds half a character ({reason}); store it again in the source.",
    )


def rows_where(mask: pa.Array) -> list[int]:
    """The places where the mask is set."""
    return pc.indices_nonzero(mask).to_pylist()  # type: ignore[no-any-return]
