"""The mapping file: what it means, and how each mistake in it is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.adapters.mapping_file import load_hris_mapping, parse_hris_mapping
from backend.domain.employees import Entity
from backend.domain.mapping import FieldRule, GuardRules
from backend.errors import ConfigurationError

GOOD = """
[employees]
query = "SELECT a, b FROM t;"

[employees.columns]
employee_no = { column = "a", upper = true }
full_name = "b"
hired_on = { column = "c", null_if = [1900-01-01, 1900-01-02T00:00:00, "-", 0] }
extra.site = "d"
"""


def explain(text: str) -> str:
    """The message of a file that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        parse_hris_mapping(text, "config/hris.toml")
    return str(caught.value)


def test_a_mapping_is_read() -> None:
    """Names of columns, tables of rules, custom fields and the default limits come out as rules."""
    mapping = parse_hris_mapping(GOOD, "config/hris.toml")

    employees = mapping.entities[Entity.EMPLOYEES]
    assert "SELECT a, b FROM t" == employees.query
    assert "config/hris.toml [employees]" == employees.place
    assert {
        "employee_no": FieldRule(column="a", case="upper"),
        "full_name": FieldRule(column="b"),
        "hired_on": FieldRule(column="c", null_if=frozenset({"1900-01-01", "1900-01-02", "-", "0"})),
        "status": FieldRule(constant="active"),
    } == employees.fields
    assert {"site": FieldRule(column="d")} == employees.extra
    assert GuardRules() == mapping.guard


def test_the_guard_can_be_set() -> None:
    """What a run must not do comes from the file; the rest is as it is without the table."""
    guard = '[guard]\nmax_deactivations_percent = 20\nmax_shrink_percent = 2.5\non_guard = "skip_deactivations"\n'

    mapping = parse_hris_mapping(guard + GOOD, "hris.toml")

    expected = GuardRules(max_deactivations_percent=20, max_shrink_percent=2.5, on_guard="skip_deactivations")
    assert expected == mapping.guard


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("full_name =", "ful_name =", ["line 7", "employees.columns.ful_name", "did you mean full_name?"]),
        ("full_name =", "# full_name =", ["employees.columns", "full_name is missing", 'full_name = "COLUMN"']),
        ("upper = true", "uper = true", ["line 6", "employees.columns.employee_no.uper", "did you mean upper?"]),
        ("[employees]", "[employes]", ["line 2", "employes", "did you mean employees?"]),
        ('query = "SELECT a, b FROM t;"', "", ["employees.query: is missing", "line 2"]),
        ("query =", "qery =", ["employees.qery", "did you mean query?"]),
        ("SELECT a, b FROM t;", "DELETE FROM t", ["line 3", "employees.query", "one SELECT"]),
        ('full_name = "b"', 'full_name = "b', ["config/hris.toml is not valid TOML", "line 7"]),
        ('full_name = "b"', "full_name = 7", ["line 7", "employees.columns.full_name", 'column = "COLUMN"']),
        ('full_name = "b"', "full_name = {}", ["line 7", "either `column` or `constant`"]),
        ('full_name = "b"', 'full_name = { column = "b", upper = 5 }', ["full_name.upper", "boolean"]),
        ('full_name = "b"', 'full_name = { column = "b", upper = true, lower = true }', ["`upper` or `lower`"]),
        ('full_name = "b"', 'full_name = { column = "b", format = "%d" }', ["`format` is for dates"]),
        ('full_name = "b"', 'full_name = "b"\nleft_on = { column = "b", upper = true }', ["line 8", "a date takes"]),
        ('full_name = "b"', 'full_name = "b"\nleft_on = { column = "b", default = "x" }', ["'x' is no date"]),
        (
            'full_name = "b"',
            'full_name = "b"\nstatus = { column = "b", map = { A = "activ" } }',
            ["line 8", "'activ' is no status; did you mean active?", "on_leave"],
        ),
        ('full_name = "b"', 'full_name = "b"\nmanager_no = "m"\ntree_path = "p"', ["line 9", "not from both"]),
        ("extra.site", "extra.my-site", ["a custom field's name"]),
        ("extra.site =", "extra =", ["custom fields have names of their own"]),
    ],
)
def test_mistakes_are_explained(old: str, new: str, expected: list[str]) -> None:
    """Every mistake names the file, the line, the key and the mend."""
    text = explain(GOOD.replace(old, new, 1))

    for part in ["config/hris.toml", *expected]:
        assert part in text


def test_every_mistake_is_named_at_once() -> None:
    """Two mistakes need one look."""
    text = explain(GOOD.replace("full_name", "fullname").replace("hired_on", "hiredon"))

    assert "fullname" in text
    assert "hiredon" in text


def test_a_file_that_maps_nothing_is_refused() -> None:
    """An empty file is a mistake, not an empty company."""
    assert "it maps nothing" in explain("")


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    """The message names the path and an example to start from."""
    with pytest.raises(ConfigurationError, match=r"There is no mapping file .*hris\.toml.*adventureworks\.toml"):
        load_hris_mapping(tmp_path / "hris.toml")


def test_a_file_in_another_encoding_is_explained(tmp_path: Path) -> None:
    """A file that is not UTF-8 says so."""
    path = tmp_path / "hris.toml"
    path.write_bytes("# Übersicht".encode("latin-1"))

    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_hris_mapping(path)


def test_the_mapping_of_the_project_is_valid(project_root: Path) -> None:
    """The mapping of the demo maps what its HRIS has."""
    assert {Entity.DEPARTMENTS, Entity.POSITIONS, Entity.EMPLOYEES} == set(load_hris_mapping(project_root / "config" / "hris.toml").entities)
