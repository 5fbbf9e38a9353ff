"""Rows by column: every way of converting a column gives what converting value by value gives."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.column_rules import RawBatch
from backend.domain.employees import ENTITY_SPECS, Entity
from backend.domain.mapping import EntityMapping, FieldRule, Supplement
from backend.domain.quarantine import Reason, Severity
from backend.domain.row_batches import DIGEST, BatchReader, CanonicalBatch, read_supplement, row_schema
from backend.domain.row_hashes import NO_HASH, KnownKeys, digest_values, hash_keys
from backend.domain.values import DefectError, compile_custom, compile_rule, to_json
from backend.errors import PermanentError

moderate = settings(max_examples=40, deadline=None)

LOOKUPS = {"codes": {"1": "one", "a": "A!", "abc": "ABC!", "1.5": "", "王": "wang"}}
DATE_OR_NONE = frozenset({"1900-01-01", "0000-00-00", "9999-12-31"})


class Case(NamedTuple):
    """A rule, and the field of employees (of leaves: `hours`) that it is for."""

    field: str
    rule: FieldRule


def case(field: str, **rule: Any) -> Case:
    """A case that reads the column x, unless it is a constant."""
    return Case(field, FieldRule(column=None if "constant" in rule else "x", **rule))


CASES = [
    case("phone"),
    case("phone", strip=False),
    case("phone", case="upper"),
    case("phone", case="lower", default="none"),
    case("phone", case="upper", strip=False, default="none"),
    case("phone", after="\\"),
    case("phone", after="b", case="upper", null_if=frozenset({"A", "1"})),
    case("phone", null_if=frozenset({"abc", "1", "n/a"})),
    case("phone", null_if=frozenset({"abc", "0"}), default="none"),
    case("phone", values={"1": "one", "abc": "", "a": "a" * 65}),
    case("phone", values={"1": "one", "abc": "", "a": "a" * 65}, default="other"),
    case("phone", values={"1": "one"}, default=""),
    case("phone", lookup="codes"),
    case("phone", lookup="codes", case="lower", default="other"),
    case("phone", default="none"),
    case("phone", constant="always"),
    case("hired_on"),
    case("hired_on", null_if=DATE_OR_NONE),
    case("hired_on", null_if=DATE_OR_NONE, default="2000-01-01"),
    case("hired_on", date_format="%d.%m.%Y", default="2000-01-01"),
    case("hired_on", constant="2000-01-01"),
    case("status"),
    case("status", values={"1": "active", "a": "left", "abc": "active"}, default="on_leave"),
    case("hours"),
    case("hours", null_if=frozenset({"1", "0"}), default="8"),
    case("hours", values={"1": "9999.999", "a": "0.5"}, default="7.25"),
    case("extra"),
    case("extra", strip=False),
    case("extra", case="upper", default="none"),
    case("extra", lookup="codes", default="other"),
    case("extra", constant='"quoted"'),
]

# --- what a source gives ----------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    [
        *(
            "",
            " ",
            "\u3000\u00a0",
            "\x1f",
            "a",
            " a",
            "abc",
            "ABC ",
            "DOM\\abc",
            "a\x1fb",
            "a\x00b",
            "n/a",
            "1",
            "1.50",
        ),
        *("x" * 64, "x" * 65, " " * 70, "ß" * 64, "ß" * 65, "İ" * 64, "ﬃ", "Ǆ", "ΑΣ", "é", "e\u0301"),
        *("ليلى", "\u202eabc\u202c", "王", "👩\u200d🚀", "\u200b", "\ufeffabc", "1_0", "٣", "-0", "1e2", "1.50"),
        *("2020-01-02", " 2020-01-02 00:00:00.0000000", "02.01.2020", "31.02.2019", "0000-00-00", "20200102"),
        *("Active", "LEFT", "on_leave"),
    ]
)
TIMES = st.sampled_from(
    [
        dt.datetime(2020, 1, 2, 3, 4, 5, 678901),
        *(dt.datetime(1900, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(1, 1, 1)),
    ]
)
COLUMNS: Mapping[str, tuple[pa.DataType, st.SearchStrategy[object]]] = {
    "string": (pa.string(), TEXTS),
    "large_string": (pa.large_string(), TEXTS),
    "int64": (pa.int64(), st.sampled_from([0, 1, -1, 10, 9999, 10_000, 20200102, 2**63 - 1])),
    "uint8": (pa.uint8(), st.integers(0, 3)),
    "double": (pa.float64(), st.sampled_from([0.0, -0.0, 1.0, 1.5, -1.5, 0.125, 1e300, float("inf")])),
    "bool": (pa.bool_(), st.booleans()),
    "date32": (pa.date32(), TIMES.map(dt.datetime.date)),
    "timestamp": (pa.timestamp("us"), TIMES),
    "time64": (pa.time64("us"), TIMES.map(dt.datetime.time)),
    "decimal128": (
        pa.decimal128(12, 4),
        st.sampled_from([Decimal(text) for text in ("0.0000", "1.0000", "1.5000", "-0.5000", "99999999.9999")]),
    ),
    "binary": (pa.binary(), st.sampled_from([b"", b" a ", b"abc", b"\x01", b"\x00", "王".encode(), b"\xff" * 9])),
    "large_binary": (pa.large_binary(), st.sampled_from([b"1", b"\x00\x01", b"\xc3"])),
    "null": (pa.null(), st.none()),
}


def reader(item: Case, columns: Sequence[str] = ("no", "x")) -> BatchReader:
    """A reader with the case's rule; everything else is constant."""
    if item.field == "hours":
        rules = {name: FieldRule(constant="2024-05-01") for name in ("starts_on", "ends_on")}
        rules |= {"code": FieldRule(column="no"), "employee_no": FieldRule(constant="1")}
    else:
        rules = {"employee_no": FieldRule(column="no"), "full_name": FieldRule(constant="Kim Example")}
    mapping = EntityMapping(
        entity=Entity.LEAVES if item.field == "hours" else Entity.EMPLOYEES,
        place="hris.toml",
        query="SELECT 1",
        fields=rules if item.field == "extra" else rules | {item.field: item.rule},
        extra={"x": item.rule} if item.field == "extra" else {},
    )
    return BatchReader(mapping, columns, known={}, lookups=LOOKUPS)


def raw(values: Any) -> RawBatch:
    """The values beside keys that are all there."""
    return RawBatch(columns=[[str(number) for number in range(len(values))], values], row_count=len(values))


def expected(item: Case, values: Sequence[object]) -> list[str | Reason | None]:
    """What converting value by value gives: a text, None, or why the row is rejected."""
    if item.field == "extra":
        convert = compile_custom("x", item.rule, LOOKUPS)
    else:
        spec = ENTITY_SPECS[Entity.LEAVES if item.field == "hours" else Entity.EMPLOYEES]
        convert = compile_rule({field.name: field for field in spec.fields}[item.field], item.rule, LOOKUPS)
    found: list[str | Reason | None] = []
    for value in values:
        try:
            text = convert(None if item.rule.column is None else value)
            (text or "").encode()
            found.append(f'{{"x": {text}}}' if item.field == "extra" else text)
        except DefectError as error:
            found.append(error.defect.reason)
        except UnicodeEncodeError:
            found.append(Reason.UNREADABLE_TEXT)
        if found[-1] is None and item.field == "status":
            found[-1] = Reason.MISSING_VALUE
    return found


def outcome(item: Case, batch: CanonicalBatch) -> list[str | Reason | None]:
    """What became of each row, as `expected` says it."""
    found: dict[int, str | Reason | None] = {int(key or ""): defect.reason for key, defect, _ in batch.defects}
    for row in batch.rows.to_pylist():
        found[int(row[batch.rows.schema.names[0]])] = row[item.field]
    assert len(found) == batch.read_count
    return [found[number] for number in sorted(found)]


def same(one: CanonicalBatch, other: CanonicalBatch) -> bool:
    """Whether two batches are equal in every respect."""
    return one.rows.equals(other.rows) and (one.defects, one.rejected_keys, one.read_count) == (
        other.defects, other.rejected_keys, other.read_count
    )  # fmt: skip


@pytest.mark.parametrize("kind", COLUMNS)
@moderate
@given(data=st.data(), item=st.sampled_from(CASES), before=st.integers(0, 2))
def test_arrow_columns_give_what_the_drivers_values_give(
    kind: str, data: st.DataObject, item: Case, before: int
) -> None:
    """Whatever the type, the rule, and the place in a larger array: the same rows and defects, value by value."""
    arrow_type, values_of = COLUMNS[kind]
    values = data.draw(st.lists(st.none() | values_of, max_size=12))
    column = pa.array([*values[:before], *values], arrow_type).slice(len(values[:before]))
    rows = reader(item)

    by_column, by_value, again = rows.read(raw(column)), rows.read(raw(values)), rows.read(raw(column))

    assert expected(item, values) == outcome(item, by_column)
    assert same(by_column, by_value)
    assert same(by_column, again)


MIXED = st.one_of(
    TEXTS,
    st.sampled_from(["x\ud83d", "\udc00", " \ud800 ", "a\ud83db"]),
    st.sampled_from([True, 1, 1.0, Decimal(1), Decimal("1.00"), 0, False, -0.0, Decimal("-0.0"), float("nan"), 2**70]),
    st.sampled_from([dt.date(2020, 1, 2), dt.datetime(2020, 1, 2), dt.time(1, 2), dt.timedelta(1)]),
    st.sampled_from([dt.datetime(2020, 1, 2, 1, tzinfo=dt.timezone(dt.timedelta(hours=hours))) for hours in (0, 1)]),
    st.sampled_from([dt.datetime(2020, 1, 2, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))]),
    st.sampled_from([b"abc", b"\x01"]).flatmap(lambda value: st.sampled_from([value, bytearray(value)])),
    st.none(),
)


@moderate
@given(st.lists(MIXED, max_size=12), st.sampled_from(CASES), st.integers(0, 12))
def test_equal_values_of_another_kind_are_not_mixed_up(values: list[object], item: Case, cut: int) -> None:
    """1, 1.0 and true, or one instant in two zones, keep their own texts; half characters reject their rows only."""
    rows = reader(item)

    whole = outcome(item, rows.read(raw(values)))
    parts = [*outcome(item, rows.read(raw(values[:cut]))), *outcome(item, rows.read(raw(values[cut:])))]

    assert expected(item, values) == whole == parts


@moderate
@given(st.lists(TEXTS | st.none(), min_size=1, max_size=8), st.sampled_from(CASES))
def test_many_equal_values_are_what_one_is(values: list[object], item: Case) -> None:
    """Where few values are different each is converted once, and remembered for the batches that follow."""
    rows = reader(item)

    assert expected(item, values) * 5 == outcome(item, rows.read(raw(values * 5)))
    assert expected(item, values) * 3 == outcome(item, rows.read(raw(values * 3)))
    assert expected(item, values[::-1]) * 3 == outcome(item, rows.read(raw(pa.array(values[::-1] * 3, pa.string()))))


def _phones(texts: Sequence[str], **rule: Any) -> list[str | None]:
    item = case("phone", **rule)
    batch = reader(item).read(raw(pa.array(texts, pa.string())))
    return [None if value is None else str(value) for value in outcome(item, batch)]


def test_blanks_are_those_of_python() -> None:
    """Every character that `str.strip` cuts is cut, and no other: zero-width ones stay."""
    near = [
        char
        for char in map(chr, range(0x110000))
        if char.isspace() or unicodedata.category(char) in ("Zs", "Zl", "Zp", "Cc", "Cf", "Mn")
    ]

    texts = [f"{char}x{char}y{char}" for char in near]

    assert [text.strip() for text in texts] == _phones(texts)


@pytest.mark.parametrize("letters", ["upper", "lower"])
def test_letters_change_as_in_python(letters: str) -> None:
    """Every letter, alone and at the end of a word: ß and dotted capitals, final sigma, Georgian, Cherokee, Deseret."""
    chars = [char for char in map(chr, range(0x1E944)) if char.isalpha() and getattr(char, letters)() != char]
    texts = [f"a{char}" for char in chars]

    assert [getattr(text, letters)() for text in texts] == _phones(texts, case=letters)
    assert [getattr(text, letters)() for text in ("Ab", "z")] == _phones(["Ab", "z"], case=letters)


def test_letters_of_a_slice_change_too() -> None:
    """Also where the column has to be cast first, and nothing is cut from it."""
    sliced = pa.array(["other", "a", "b"], pa.large_string()).slice(1)
    item = case("phone", case="upper", strip=False)

    assert ["A", "B"] == outcome(item, reader(item).read(raw(sliced)))


def test_a_text_that_is_too_long_is_gone_with_its_row() -> None:
    """Not only a value: a key of which no column could hold the text is no key, and the row is shown as it was."""
    rows = reader(case("phone"))
    long = "k" * 101

    batch = rows.read(RawBatch(columns=[["1", long], pa.array(["p" * 65, "p"])], row_count=2))

    assert ([("1", Reason.TOO_LONG), (None, Reason.TOO_LONG)], ["1"], 0) == (
        [(key, defect.reason) for key, defect, _ in batch.defects], batch.rejected_keys, batch.rows.num_rows
    )  # fmt: skip
    assert {"no": long, "x": "p"} == batch.defects[1].payload


def test_several_custom_fields_are_one_object_in_the_order_of_their_names() -> None:
    """So that the same values are the same text in every run."""
    mapping = EntityMapping(
        entity=Entity.EMPLOYEES,
        place="hris.toml",
        query="SELECT 1",
        fields={"employee_no": FieldRule(column="no"), "full_name": FieldRule(constant="Kim Example")},
        extra={'b "quoted"': FieldRule(column="b"), "a": FieldRule(column="a"), "c": FieldRule(constant="C")},
    )
    columns: list[Any] = [["1", "2"], pa.array([3, None]), ["\x1f王", None]]

    batch = BatchReader(mapping, ("no", "a", "b"), known={}).read(RawBatch(columns=columns, row_count=2))

    assert [
        '{"a": 3, "b \\"quoted\\"": "王", "c": "C"}',
        '{"a": null, "b \\"quoted\\"": null, "c": "C"}',
    ] == batch.rows.column("extra").to_pylist()


@pytest.mark.parametrize("entity", list(Entity))
def test_no_rows_are_a_batch_too(entity: Entity) -> None:
    """With the columns that any other batch of the entity has."""
    spec = ENTITY_SPECS[entity]
    columns = [item.name for item in spec.all_fields()]
    fields = {name: FieldRule(column=name) for name in columns}
    mapping = EntityMapping(entity=entity, place="hris.toml", query="SELECT 1", fields=fields)

    empties: list[Any] = [[], pa.array([], pa.string()), pa.array([], pa.int64())]
    for empty in empties:
        raw_batch = RawBatch(columns=[empty] * len(columns), row_count=0)
        batch = BatchReader(mapping, columns, known={}).read(raw_batch)

        assert (row_schema(entity), 0, [], []) == (
            batch.rows.schema, batch.rows.num_rows, batch.defects, batch.rejected_keys
        )  # fmt: skip


def test_keys_alone() -> None:
    """Of rows that are gone there is nothing but the key; one that cannot be read is nobody's."""
    rows = reader(case("hired_on"))

    assert ["1", "2"] == rows.read_keys(RawBatch(columns=[[" 1", "2", None, "k" * 101], ["soon"] * 4], row_count=4))


def test_a_raw_batch_gives_single_rows_and_some_of_them() -> None:
    """Whatever its columns are made of."""
    batch = RawBatch(columns=[["a", "b", "c"], pa.array([1, None, 3])], row_count=3)

    picked = batch.take([2, 0])

    assert (("b", None), ("c", 3), ("a", 1), 2) == (batch.row(1), picked.row(0), picked.row(1), picked.row_count)
    assert 0 == batch.take([]).row_count


@given(MIXED)
def test_a_payload_can_always_be_stored(value: object) -> None:
    """Whatever a driver gives, JSON can hold it, and UTF-8 the JSON."""
    assert json.dumps(to_json(value), ensure_ascii=False, allow_nan=False).encode()


# --- supplements ------------------------------------------------------------------------------------------------------

DIRECTORY = Supplement(
    place="hris.toml [[employees.supplements]]",
    fields={
        "employee_no": FieldRule(column="no"),
        "email": FieldRule(column="mail", case="lower"),
        "hired_on": FieldRule(column="since"),
    },
)


def supplemented(supplement: Supplement, batches: Sequence[RawBatch], **fields: FieldRule) -> CanonicalBatch:
    """Four employees, with what a supplement knows of them."""
    table, _ = read_supplement(Entity.EMPLOYEES, supplement, ("no", "mail", "since"), batches, {})
    rules = {"employee_no": FieldRule(column="no"), "full_name": FieldRule(column="name"), **fields}
    mapping = EntityMapping(entity=Entity.EMPLOYEES, place="hris.toml", query="SELECT 1", fields=rules)
    columns: list[Any] = [["1", "2", "3", "4"], ["n"] * 4, ["own1", None, "own3", None]]
    rows = BatchReader(mapping, ("no", "name", "m"), known={}, supplements=[table])
    return rows.read(RawBatch(columns=columns, row_count=4))


def directory(*rows: tuple[object, ...]) -> RawBatch:
    """Rows of the directory: number, mail, date."""
    return RawBatch(columns=[list(column) for column in zip(*rows, strict=True)] or [[]] * 3, row_count=len(rows))


@pytest.mark.parametrize(
    ("wins", "mails"), [(True, ["a@x", "b@x", "own3", None]), (False, ["own1", "b@x", "own3", None])]
)
def test_a_supplement_fills_or_wins(wins: bool, mails: list[str | None]) -> None:
    """What it knows goes before the entity's own values, or only where they are empty; what it does not stays."""
    supplement = Supplement(place=DIRECTORY.place, fields=DIRECTORY.fields, wins=wins)
    known = [directory(("1", "A@x", None)), directory(("2", "B@x", None), ("3", None, None), ("9", "z@x", None))]

    batch = supplemented(supplement, known, email=FieldRule(column="m"))

    assert mails == batch.rows.column("email").to_pylist()


def test_the_first_row_of_a_supplement_counts() -> None:
    """Of two rows with one key, also in another batch."""
    batch = supplemented(DIRECTORY, [directory((" 1", "first", None)), directory(("1", "second", None))])

    assert ["first", None, None, None] == batch.rows.column("email").to_pylist()


@pytest.mark.parametrize("batches", [[], [directory()]])
def test_an_empty_supplement_knows_nothing(batches: list[RawBatch]) -> None:
    """It is no trouble: the entity's own values stand."""
    batch = supplemented(DIRECTORY, batches, email=FieldRule(column="m"))

    assert ["own1", None, "own3", None] == batch.rows.column("email").to_pylist()


def test_a_supplement_may_give_what_is_required() -> None:
    """A name from the directory saves a row that has none of its own."""
    names = Supplement(
        place=DIRECTORY.place, fields={"employee_no": FieldRule(column="no"), "last_name": FieldRule(column="mail")}
    )

    batch = supplemented(names, [directory(("2", "Example", None))], full_name=FieldRule(constant=None))

    assert [("2", "Example")] == [(row["employee_no"], row["full_name"]) for row in batch.rows.to_pylist()]
    assert [Reason.MISSING_VALUE] * 3 == [defect.reason for _, defect, _ in batch.defects]


def test_a_bad_row_of_a_supplement_is_left_out_with_a_warning() -> None:
    """The employee is taken without it; the first thing that is wrong is told, with the row."""
    rows = [directory(("1", "m" * 255, "soon"), ("2", "b@x", "soon"), ("3", "c@x", None))]

    table, defects = read_supplement(Entity.EMPLOYEES, DIRECTORY, ("no", "mail", "since"), rows, {})

    assert [("1", Reason.TOO_LONG, Severity.WARNING), ("2", Reason.UNREADABLE_DATE, Severity.WARNING)] == [
        (key, defect.reason, defect.severity) for key, defect, _ in defects
    ]
    assert {"no": "2", "mail": "b@x", "since": "soon"} == defects[1].payload
    assert [None, None, "c@x"] == table.find("email", pa.array(["1", "2", "3"])).to_pylist()


def test_a_supplement_without_its_columns_is_an_error() -> None:
    """It names the supplement and what was meant."""
    with pytest.raises(PermanentError, match=r"employees\.supplements.*'since'.*did you mean 'sinse'"):
        read_supplement(Entity.EMPLOYEES, DIRECTORY, ("no", "mail", "sinse"), [], {})


# --- keys and digests -------------------------------------------------------------------------------------------------

CANONICAL = st.none() | st.text('ab\x1f"\\, 王', min_size=1, max_size=3)


@given(st.lists(st.tuples(CANONICAL, CANONICAL, CANONICAL), max_size=8), st.integers(0, 8))
def test_a_digest_stands_for_the_values(rows: list[tuple[str | None, ...]], cut: int) -> None:
    """Equal for equal rows and for no others, whatever the values hold, and whatever rows come with them."""
    columns = [pa.array([row[place] for row in rows], pa.string()) for place in range(3)]

    digests = digest_values(columns).to_pylist()

    assert len(set(rows)) == len(set(digests)) == len(set(zip(rows, digests, strict=True)))
    parts = [digest_values([column[:cut] for column in columns]), digest_values([column[cut:] for column in columns])]
    assert digests == [digest for part in parts for digest in part.to_pylist()]


def test_digests_do_not_change_with_the_version() -> None:
    """They are stored: another way to make them would have every row compared again."""
    columns = [pa.array(["Kim", "Kim\x1f", None]), pa.array([None, "Example", None])]

    assert [
        "e16f52879f764874b3b6d7d276d9c5f2",
        "fb6e4fabfb71c832553d6c2f9e2f0a2d",
        "153283be9f2a26d405087bbed866d0de",
    ] == [digest.hex() for digest in digest_values(columns).to_pylist()]


@moderate
@given(st.lists(MIXED, max_size=8), st.integers(0, 8))
def test_a_row_has_one_digest_in_any_batch(values: list[object], cut: int) -> None:
    """However the rows are split, so that unchanged ones are known again."""
    rows = reader(case("extra"))

    whole = rows.read(raw(values)).rows.column(DIGEST).to_pylist()
    parts = [rows.read(raw(part)).rows.column(DIGEST).to_pylist() for part in (values[:cut], values[cut:])]

    assert whole == [*parts[0], *parts[1]]


@given(st.lists(st.none() | st.text(max_size=3), max_size=20))
def test_keys_have_hashes(keys: list[str | None]) -> None:
    """One for each key, none for none, wherever it stands."""
    hashes = hash_keys(pa.array(keys, pa.string())).tolist()

    assert len(set(keys)) == len(set(hashes)) == len(set(zip(keys, hashes, strict=True)))
    assert all((key is None) == (number == NO_HASH) for key, number in zip(keys, hashes, strict=True))
    assert hashes == [number for key in keys for number in hash_keys(pa.array([key], pa.string())).tolist()]


@given(st.lists(st.text(max_size=2), max_size=20), st.lists(st.text(max_size=2), max_size=20))
def test_known_keys_are_found(there: list[str], wanted: list[str]) -> None:
    """And no others, of none at all too."""
    known = KnownKeys(lambda: hash_keys(pa.array(there, pa.string())))

    assert [key in there for key in wanted] == known.find(hash_keys(pa.array(wanted, pa.string()))).tolist()
