"""From the rows of a query to canonical rows: conversions, transforms and what is rejected."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from backend.domain.column_rules import RawBatch
from backend.domain.employees import Entity
from backend.domain.mapping import EntityMapping, FieldRule, Supplement
from backend.domain.quarantine import Defect, Reason, Severity
from backend.domain.result_columns import find_column
from backend.domain.row_batches import BatchReader
from backend.domain.row_hashes import KnownKeys, hash_keys
from backend.domain.values import to_json, to_text
from backend.errors import PermanentError

ACTIVE = FieldRule(constant="active")


class Read(NamedTuple):
    """What became of one row of the source: its canonical values (None: it was rejected), and what is wrong with it."""

    values: Mapping[str, Any] | None
    defects: Sequence[Defect]
    keys: Sequence[str | None]
    payloads: Sequence[Mapping[str, Any]]


class Reader:
    """Reads one row at a time."""

    def __init__(self, batches: BatchReader) -> None:
        self._batches = batches

    def read(self, raw: Sequence[object]) -> Read:
        read = self._batches.read(RawBatch(columns=[[value] for value in raw], row_count=1))
        rows = read.rows.to_pylist()
        keys, defects, payloads = zip(*read.defects, strict=True) if read.defects else ((), (), ())
        return Read(rows[0] if rows else None, defects, keys, payloads)


def reader(
    columns: Sequence[str] = ("no", "name"),
    known: Sequence[str] | None = None,
    *,
    entity: Entity = Entity.EMPLOYEES,
    policy: Any = "keep_without",
    lookups: Mapping[str, Mapping[str, str]] | None = None,
    **fields: FieldRule,
) -> Reader:
    """A reader of employees, where nothing else is said; `extra_x` among the fields is the custom field x.

    Args:
        known: the codes of the departments, else of what the entity refers to.
    """
    rules = {"employee_no": FieldRule(column="no"), "full_name": FieldRule(column="name"), "status": ACTIVE}
    if entity is not Entity.EMPLOYEES:
        rules = {}
    extra = {name[6:]: rule for name, rule in fields.items() if name.startswith("extra_")}
    rules |= {name: rule for name, rule in fields.items() if not name.startswith("extra_")}
    mapping = EntityMapping(
        entity=entity,
        place="hris.toml [employees]",
        query="SELECT 1",
        fields=rules,
        extra=extra,
        unknown_reference=policy,
    )
    there = {} if known is None else {Entity.DEPARTMENTS: keys_of(known), Entity.EMPLOYEES: keys_of(known)}
    return Reader(BatchReader(mapping, columns, known=there, lookups=lookups))


def keys_of(keys: Sequence[str]) -> KnownKeys:
    """The keys as other rows refer to them."""
    return KnownKeys(lambda: hash_keys(pa.array(keys, pa.string())))


def value(read: Read, name: str) -> Any:
    """A value of an accepted row."""
    assert read.values is not None, read.defects
    return read.values[name]


def phone_of(given: object, rule: FieldRule) -> str | None:
    """What a rule makes of a value in a text field."""
    text: str | None = value(reader(("no", "name", "x"), phone=rule).read(("1", "n", given)), "phone")
    return text


def hired_on(given: object, **options: object) -> str | None:
    """What a rule makes of a value in a date field."""
    rule = FieldRule(column="x", **options)  # type: ignore[arg-type]
    text: str | None = value(reader(("no", "name", "x"), hired_on=rule).read(("1", "n", given)), "hired_on")
    return text


def leave(hours: object) -> Read:
    """What becomes of a leave of so many hours."""
    fields: dict[str, Any] = {
        name: FieldRule(column=name) for name in ("code", "employee_no", "starts_on", "ends_on", "hours")
    }
    rows = reader(tuple(fields), ["1"], entity=Entity.LEAVES, **fields)
    return rows.read(("L1", "1", dt.date(2024, 5, 1), dt.date(2024, 5, 2), hours))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (7, "7"),
        (7.0, "7"),
        (7.5, "7.5"),
        (Decimal("1200"), "1200"),
        (Decimal("1200.00"), "1200"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.10"), "0.1"),
        (Decimal("-0.00"), "0"),
        (-0.0, "0"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (True, "1"),
        (False, "0"),
        (b"\x01", "1"),
        (b"\x00", "0"),
        (b"abc", "abc"),
        (b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff", "fffefffefffefffeff"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.datetime(2024, 2, 29, 8, 30), "2024-02-29T08:30:00"),
        ("text", "text"),
    ],
)
def test_text_of_driver_values(given: object, text: str) -> None:
    """A number, bit, date or binary value of any driver has one text."""
    assert text == to_text(given)


@pytest.mark.parametrize(
    ("given", "rule", "expected"),
    [
        ("  a b ", FieldRule(column="x"), "a b"),
        ("  a ", FieldRule(column="x", strip=False), "  a "),
        (" \u00a0\u3000", FieldRule(column="x"), None),
        ("ab", FieldRule(column="x", case="upper"), "AB"),
        ("DOM\\a\\b", FieldRule(column="x", after="\\"), "b"),
        ("plain", FieldRule(column="x", after="\\"), "plain"),
        ("n/a", FieldRule(column="x", null_if=frozenset({"n/a"})), None),
        (None, FieldRule(column="x", default="d"), "d"),
        (" ", FieldRule(column="x", default="d"), "d"),
        ("1", FieldRule(column="x", values={"1": "one"}), "one"),
        ("2", FieldRule(column="x", values={"1": "one"}, default="other"), "other"),
        (None, FieldRule(column="x", values={"1": "one"}), None),
        ("3", FieldRule(column="x", values={"3": ""}), None),
        ("4", FieldRule(column="x", values={"3": "c"}, default=""), None),
        (" ", FieldRule(column="x", default=""), None),
        (None, FieldRule(column="x", default=""), None),
        ("x", FieldRule(constant="always"), "always"),
        ("x", FieldRule(constant=""), None),
        (" DOM\\Kim ", FieldRule(column="x", after="\\", case="lower", values={"kim": "found"}), "found"),
    ],
)
def test_text_rules(given: object, rule: FieldRule, expected: str | None) -> None:
    """Each step of a rule does what it says, in the order of the steps."""
    assert expected == phone_of(given, rule)


@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [
        (dt.date(2020, 1, 2), {}, "2020-01-02"),
        (dt.datetime(2020, 1, 2, 23, 59), {}, "2020-01-02"),
        ("2020-01-02", {}, "2020-01-02"),
        (" 2020-01-02 00:00:00.0000000 ", {}, "2020-01-02"),
        ("2020-01-02T00:00:00Z", {}, "2020-01-02"),
        ("20200102", {}, "2020-01-02"),
        ("02.01.2020", {"date_format": "%d.%m.%Y"}, "2020-01-02"),
        (dt.datetime(1900, 1, 1), {"null_if": frozenset({"1900-01-01"})}, None),
        ("9999-12-31 00:00:00", {"null_if": frozenset({"9999-12-31"})}, None),
        ("0000-00-00", {"null_if": frozenset({"0000-00-00"})}, None),
        ("", {}, None),
        (None, {"default": "2000-01-01"}, "2000-01-01"),
    ],
)
def test_dates(given: object, options: dict[str, object], expected: str | None) -> None:
    """A date is a date however it is written, and none where the rule says so."""
    assert expected == hired_on(given, **options)


@pytest.mark.parametrize("given", ["31.02.2019", "2021-13-45", "soon", 20211345, "2020-1-2"])
def test_a_date_that_cannot_be_read_rejects_the_row(given: object) -> None:
    """The defect names the field and shows the value."""
    read = reader(("no", "name", "x"), hired_on=FieldRule(column="x")).read(("1", "n", given))

    (defect,) = read.defects
    assert (None, ("1",), Reason.UNREADABLE_DATE, "hired_on") == (read.values, read.keys, defect.reason, defect.field)
    assert repr(str(given)) in defect.message


@pytest.mark.parametrize(
    ("given", "text"),
    [(7.5, "7.5"), ("08.00", "8"), (Decimal("3.999"), "4"), (True, "1"), (" ٣ ", "3"), ("", None), ("-0", "0")],
)
def test_numbers(given: object, text: str | None) -> None:
    """A number has at most two decimals and no needless zeros, however it is written."""
    assert text == value(leave(given), "hours")


@pytest.mark.parametrize("given", ["half", "1,5", "-0.001", "9999.995", 10_000, float("inf"), "nan", "sNaN", "1e400"])
def test_a_number_that_does_not_fit_rejects_the_row(given: object) -> None:
    """What is no number, or rounds up to one that the column does not hold, names the field."""
    assert [(Reason.UNREADABLE_NUMBER, "hours")] == [(item.reason, item.field) for item in leave(given).defects]


@pytest.mark.parametrize("key", [None, "", "   "])
def test_a_row_without_key_is_rejected(key: str | None) -> None:
    """NULL, an empty text and blanks are no key."""
    (defect,) = reader().read((key, "n")).defects

    assert Reason.MISSING_KEY == defect.reason


def test_a_key_with_a_control_character_is_rejected() -> None:
    """Such a key would not be told apart from others everywhere; at its ends it is white space."""
    assert [Reason.UNREADABLE_TEXT] == [item.reason for item in reader().read(("a\x1fb", "n")).defects]
    assert "a" == value(reader().read(("\x1fa\x1f", "n")), "employee_no")


def test_a_row_is_rejected_for_the_first_thing_that_is_wrong() -> None:
    """A row with several defects is in quarantine once, and the reference of a rejected row is not looked at."""
    rows = reader(
        ("no", "name", "d", "x"), ["D1"], department_code=FieldRule(column="d"), hired_on=FieldRule(column="x")
    )

    read = rows.read((None, None, "D9", "soon"))

    assert [Reason.MISSING_KEY] == [item.reason for item in read.defects]


def test_a_row_without_name_is_rejected() -> None:
    """A mandatory field that is empty is named."""
    (defect,) = reader().read(("1", " ")).defects

    assert (Reason.MISSING_VALUE, "full_name") == (defect.reason, defect.field)


def test_the_full_name_is_made_of_its_parts() -> None:
    """Without a full name, first and last name make it."""
    parts = reader(
        ("no", "name", "f", "l"),
        full_name=FieldRule(column="name"), first_name=FieldRule(column="f"), last_name=FieldRule(column="l"),
    )  # fmt: skip

    assert "Ada Lovelace" == value(parts.read(("1", None, "Ada", "Lovelace")), "full_name")
    assert "Lovelace" == value(parts.read(("1", "", None, "Lovelace")), "full_name")
    assert "A. L." == value(parts.read(("1", "A. L.", "Ada", "Lovelace")), "full_name")


@pytest.mark.parametrize("name", ["ليلى المصري", "王秀兰", "Zoë 👩‍🚀", 'O\'Brien \\ "x" %s :y', "Müller-Lüdenscheidt"])
def test_names_of_any_script_are_kept(name: str) -> None:
    """Text arrives exactly as it is."""
    assert name == value(reader().read(("1", name)), "full_name")


def test_a_text_that_is_too_long_is_rejected_not_cut() -> None:
    """A name of 3,000 characters is rejected with both lengths."""
    (defect,) = reader().read(("1", "x" * 3000)).defects

    assert (Reason.TOO_LONG, "full_name has 3000 characters; at most 200 fit.") == (defect.reason, defect.message)


def test_half_a_character_is_rejected() -> None:
    """A lone surrogate, which no database stores, rejects its row and can still be shown."""
    read = reader().read(("1", "x\ud83d"))

    assert [Reason.UNREADABLE_TEXT] == [defect.reason for defect in read.defects]
    assert ({"no": "1", "name": "x\\ud83d"},) == read.payloads


def test_a_status_that_is_not_mapped_rejects_the_row() -> None:
    """The defect shows the status and those that are mapped."""
    states = reader(("no", "name", "s"), status=FieldRule(column="s", values={"A": "active"}))

    (defect,) = states.read(("1", "n", "X")).defects

    assert (Reason.UNMAPPED_VALUE, "status") == (defect.reason, defect.field)
    assert "'X'" in defect.message
    assert "(A)" in defect.message


@pytest.mark.parametrize(
    ("status", "is_active"),
    [("active", True), ("On_Leave", True), ("suspended", True), ("inactive", False), ("LEFT", False)],
)
def test_who_is_active(status: str, is_active: bool) -> None:
    """People on leave and suspended ones belong to the company; who left does not."""
    read = reader(("no", "name", "s"), status=FieldRule(column="s")).read(("1", "n", status))

    assert (status.lower(), is_active) == (value(read, "status"), value(read, "is_active"))


def test_an_unknown_reference_is_dropped_with_a_warning() -> None:
    """The row is kept without the department that does not exist."""
    rows = reader(("no", "name", "d"), known=["D1"], department_code=FieldRule(column="d"))

    read = rows.read(("1", "n", "D9"))

    (defect,) = read.defects
    assert (None, Severity.WARNING, Reason.UNKNOWN_REFERENCE) == (
        value(read, "department_code"), defect.severity, defect.reason
    )  # fmt: skip
    assert ("D1", ()) == (value(rows.read(("1", "n", "D1")), "department_code"), rows.read(("1", "n", "D1")).defects)


def test_an_unknown_reference_rejects_where_the_mapping_says_so() -> None:
    """The defect is then an error, and its message says what becomes of the row."""
    rows = reader(("no", "name", "d"), ["D1"], policy="reject", department_code=FieldRule(column="d"))

    (defect,) = rows.read(("1", "n", "D9")).defects

    assert (Severity.ERROR, Reason.UNKNOWN_REFERENCE) == (defect.severity, defect.reason)
    assert "the row is rejected" in defect.message


def test_a_leave_of_nobody_is_rejected() -> None:
    """A reference that must be there rejects its row, whatever the mapping says."""
    fields: dict[str, Any] = {name: FieldRule(column=name) for name in ("code", "employee_no", "starts_on", "ends_on")}
    rows = reader(tuple(fields), ["1"], entity=Entity.LEAVES, **fields)

    read = rows.read(("L1", "2", "2024-05-01", "2024-05-02"))

    assert (None, [(Severity.ERROR, Reason.UNKNOWN_REFERENCE, "employee_no")]) == (
        read.values, [(item.severity, item.reason, item.field) for item in read.defects]
    )  # fmt: skip


@pytest.mark.parametrize(("ends_on", "is_taken"), [("2024-05-01", True), ("2024-04-30", False)])
def test_a_leave_that_ends_before_it_starts_is_rejected(ends_on: str, is_taken: bool) -> None:
    """A leave of one day starts and ends on that day; one that runs backwards is no leave."""
    fields: dict[str, Any] = {name: FieldRule(column=name) for name in ("code", "employee_no", "starts_on", "ends_on")}
    read = reader(tuple(fields), ["1"], entity=Entity.LEAVES, **fields).read(("L1", "1", "2024-05-01", ends_on))

    expected = [] if is_taken else [(Reason.DATES_REVERSED, "ends_on")]
    assert (is_taken, expected) == (
        read.values is not None, [(item.reason, item.field) for item in read.defects]
    )  # fmt: skip


def test_references_to_what_is_not_replicated_are_kept() -> None:
    """Where departments are not mapped, nothing is known against their codes."""
    read = reader(("no", "name", "d"), department_code=FieldRule(column="d")).read(("1", "n", "D9"))

    assert ("D9", ()) == (value(read, "department_code"), read.defects)


def test_custom_fields_keep_numbers() -> None:
    """Custom fields are a JSON object by name, in which a number stays a number unless a rule works on its text."""
    rows = reader(
        ("no", "name", "a", "b", "c"),
        extra_shift=FieldRule(column="a"),
        extra_site=FieldRule(column="b", case="upper"),
        extra_since=FieldRule(column="c"),
    )

    read = rows.read(("1", "n", 3, " ber ", dt.date(2020, 1, 2)))

    assert {"shift": 3, "since": "2020-01-02", "site": "BER"} == json.loads(value(read, "extra") or "")


@pytest.mark.parametrize(
    ("given", "rule", "expected"),
    [
        (True, FieldRule(column="x"), True),
        (2**70, FieldRule(column="x"), 2**70),
        (0.1, FieldRule(column="x"), 0.1),
        (float("inf"), FieldRule(column="x"), "inf"),
        (Decimal("1.50"), FieldRule(column="x"), "1.5"),
        (3, FieldRule(column="x", default="0"), "3"),
        (3, FieldRule(column="x", lookup="sites"), "Berlin"),
        (None, FieldRule(column="x"), None),
        (None, FieldRule(column="x", default="0"), "0"),
        (None, FieldRule(constant="here"), "here"),
        ('"\x1f\u2028.', FieldRule(column="x"), '"\x1f\u2028.'),
        (b"\x01", FieldRule(column="x"), "1"),
    ],
)
def test_what_a_custom_field_holds(given: object, rule: FieldRule, expected: object) -> None:
    """Numbers and bits as JSON has them, anything else as the text that a field would get."""
    rows = reader(("no", "name", "x"), extra_x=rule, lookups={"sites": {"3": "Berlin"}})

    assert {"x": expected} == json.loads(value(rows.read(("1", "n", given)), "extra"))


def test_a_lookup_is_a_value_map() -> None:
    """What the look-up does not know is told with the look-up's name."""
    rows = reader(
        ("no", "name", "d"), department_code=FieldRule(column="d", lookup="teams"), lookups={"teams": {"7": "D7"}}
    )

    assert "D7" == value(rows.read(("1", "n", 7)), "department_code")
    (defect,) = rows.read(("1", "n", 8)).defects
    assert Reason.UNMAPPED_VALUE == defect.reason
    assert "look-up teams (7)" in defect.message


def test_the_digest_follows_the_values() -> None:
    """Equal values have equal digests, also across blanks and drivers; moving text between fields changes it."""
    rows = reader(("no", "name", "x"), phone=FieldRule(column="x"))

    def digest(*raw: object) -> bytes:
        found: bytes = value(rows.read(raw), "digest")
        return found

    assert digest("1", "n", 5) == digest("1", " n ", "5 ")
    assert digest("1", "ab", "c") != digest("1", "a", "bc")
    assert 16 == len(digest("1", "n", None))


def test_columns_match_without_regard_to_case() -> None:
    """Databases differ in the case of column names; the mapping need not."""
    assert "n" == value(reader(("NO", "Name")).read(("1", "n")), "full_name")


def test_a_missing_column_is_named_with_what_was_meant() -> None:
    """The error names the place, the column, the field, and the column that is most like it."""
    with pytest.raises(PermanentError) as caught:
        reader(("no", "nmae"))

    text = str(caught.value)
    for part in ("hris.toml [employees]", "'name'", "full_name", "did you mean 'nmae'?", "no, nmae"):
        assert part in text


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("no", ["NO", "no"], 1),
        ("No", ["no", "x"], 0),
        ("No", ["NO", "no"], None),
        ("straße", ["STRASSE"], 0),
        ("no", [], None),
    ],
)
def test_which_column_a_name_means(name: str, columns: list[str], expected: int | None) -> None:
    """The one of exactly this name, else the only one that differs in case alone."""
    assert expected == find_column(name, columns)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (7, 7),
        (True, True),
        (0.5, 0.5),
        (float("nan"), "nan"),
        (Decimal("1.50"), "1.5"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (b"abc", "abc"),
        ("x\ud83d", "x\\ud83d"),
    ],
)
def test_what_json_shows_of_a_value(given: object, expected: object) -> None:
    """A number stays one; anything else is a text, and half a character is written out."""
    assert (type(expected), expected) == (type(to_json(given)), to_json(given))


def test_what_a_mapping_calls_sensitive() -> None:
    """The fields of the query and of its supplements by name, and all custom fields where one of them is."""
    mapping = EntityMapping(
        entity=Entity.EMPLOYEES,
        place="hris.toml [employees]",
        query="SELECT 1",
        fields={"phone": FieldRule(column="p", sensitive="mask"), "email": FieldRule(column="e", sensitive="mask")},
        extra={"shift": FieldRule(column="s"), "iban": FieldRule(column="i", sensitive="hash")},
        supplements=[
            Supplement(place="hris.toml", fields={"email": FieldRule(column="m", sensitive="hash")}),
            Supplement(place="hris.toml", fields={"biostar_user_id": FieldRule(column="u", sensitive="hash")}),
        ],
    )

    assert {"phone": "mask", "email": "mask", "biostar_user_id": "hash", "extra": "hash"} == mapping.sensitive_fields()
