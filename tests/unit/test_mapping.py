"""From the rows of a query to canonical rows: conversions, transforms and what is rejected."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal

import pytest

from backend.domain.employees import ENTITY_SPECS, Entity
from backend.domain.mapping import EntityMapping, FieldRule, RowReader, to_text
from backend.domain.quarantine import ReadRow, Reason, Severity
from backend.errors import PermanentError

NAMES = ENTITY_SPECS[Entity.EMPLOYEES].value_names
ACTIVE = FieldRule(constant="active")


def reader(
    columns: Sequence[str] = ("no", "name"), known: Sequence[str] | None = None, **fields: FieldRule
) -> RowReader:
    """A reader of employees; `extra_x` among the fields is the custom field x."""
    rules = {"employee_no": FieldRule(column="no"), "full_name": FieldRule(column="name"), "status": ACTIVE}
    extra = {name[6:]: rule for name, rule in fields.items() if name.startswith("extra_")}
    rules |= {name: rule for name, rule in fields.items() if not name.startswith("extra_")}
    mapping = EntityMapping(
        entity=Entity.EMPLOYEES, place="hris.toml [employees]", query="SELECT 1", fields=rules, extra=extra
    )
    return RowReader(mapping, columns, {} if known is None else {Entity.DEPARTMENTS: known})


def value(read: ReadRow, name: str) -> str | None:
    """A value of an accepted row."""
    assert read.row is not None, read.defects
    return read.row.values[NAMES.index(name)]


def phone_of(given: object, rule: FieldRule) -> str | None:
    """What a rule makes of a value in a text field."""
    return value(reader(("no", "name", "x"), phone=rule).read(("1", "n", given)), "phone")


def hired_on(given: object, **options: object) -> str | None:
    """What a rule makes of a value in a date field."""
    rule = FieldRule(column="x", **options)  # type: ignore[arg-type]
    return value(reader(("no", "name", "x"), hired_on=rule).read(("1", "n", given)), "hired_on")


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
        ("x", FieldRule(constant="always"), "always"),
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
    assert (None, "1", Reason.UNREADABLE_DATE, "hired_on") == (read.row, read.key, defect.reason, defect.field)
    assert repr(str(given)) in defect.message


@pytest.mark.parametrize("key", [None, "", "   "])
def test_a_row_without_key_is_rejected(key: str | None) -> None:
    """NULL, an empty text and blanks are no key."""
    (defect,) = reader().read((key, "n")).defects

    assert Reason.MISSING_KEY == defect.reason


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
    broken = reader()
    raw = ("1", "x\ud83d")

    (defect,) = broken.read(raw).defects

    assert Reason.UNREADABLE_TEXT == defect.reason
    assert json.dumps(broken.payload(raw)).encode()


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

    assert read.row is not None
    assert (status.lower(), is_active) == (value(read, "status"), read.row.is_active)


def test_an_unknown_reference_is_dropped_with_a_warning() -> None:
    """The row is kept without the department that does not exist."""
    rows = reader(("no", "name", "d"), known=["D1"], department_code=FieldRule(column="d"))

    read = rows.read(("1", "n", "D9"))

    (defect,) = read.defects
    assert (None, Severity.WARNING, Reason.UNKNOWN_REFERENCE) == (
        value(read, "department_code"), defect.severity, defect.reason
    )  # fmt: skip
    assert ("D1", ()) == (value(rows.read(("1", "n", "D1")), "department_code"), rows.read(("1", "n", "D1")).defects)


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


def test_the_digest_follows_the_values() -> None:
    """Equal values have equal digests, also across blanks and drivers; moving text between fields changes it."""
    rows = reader(("no", "name", "x"), phone=FieldRule(column="x"))

    def digest(*raw: object) -> bytes:
        row = rows.read(raw).row
        assert row is not None
        return row.digest

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
