"""The mapping file: what it means, and how each mistake in it is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.adapters.mapping_file import load_hris_mapping, parse_hris_mapping
from backend.domain.employees import Entity
from backend.domain.mapping import FieldRule, GuardRules, Incremental, Lookup, SourceDefinition, Supplement
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

# Every part of a mapping that is not in GOOD.
FULL = """
[sources.directory]
url_setting = "DIRECTORY_URL"
[sources.badges]
file = "badges.csv"
[sources.calendar]
file = "calendar.csv"

[lookups.departments_by_name]
query = "SELECT NAME, ID FROM DEPT;"
[lookups.kinds]
source = "calendar"

[positions]
table = "dbo.JOBS"
[positions.columns]
code = "JOB"
title = "TITLE"
parent_code = "REPORTS_TO"
extra.grade = "GRADE"

[employees]
query = "SELECT NO, NAME, DEPT, JOB, BORN, RV FROM EMP"
contract = "freeze"
unknown_reference = "reject"
manager = "position"
[employees.columns]
employee_no = "NO"
full_name = { column = "NAME", sensitive = "mask" }
department_code = { column = "DEPT", lookup = "departments_by_name", default = "D0" }
position_code = "JOB"
extra.born_on = { column = "BORN", sensitive = "hash" }
[employees.incremental]
by = "rowversion"
query = "SELECT NO, NAME, DEPT, JOB, BORN, RV FROM EMP WHERE RV >= :since AND RV < :until"
column = "RV"
full_every_hours = 6
[[employees.supplements]]
source = "directory"
table = "people"
columns = { employee_no = "uid", email = { column = "mail", lower = true } }
[[employees.supplements]]
source = "badges"
wins = false
[employees.supplements.columns]
employee_no = "Number"
biostar_user_id = "Badge"

[leaves]
query = "SELECT ID, NO, KIND, FROM_DAY, TO_DAY, HOURS FROM LEAVE"
[leaves.columns]
code = "ID"
employee_no = "NO"
kind = { column = "KIND", lookup = "kinds" }
starts_on = "FROM_DAY"
ends_on = { column = "TO_DAY", default = 9999-12-31 }
hours = { column = "HOURS", default = 7.50 }

[holidays]
source = "calendar"
[holidays.columns]
code = "Day"
holiday_on = { column = "Day", format = "%d.%m.%Y" }
name = "Name"
day_part = { column = "Half", map = { am = "first_half", pm = "second_half" }, default = "full" }
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


def test_sources_and_lookups_are_read() -> None:
    """A source is a database or a file; a look-up is a query, or the first columns of a file."""
    mapping = parse_hris_mapping(FULL, "hris.toml")

    assert {
        "directory": SourceDefinition(name="directory", url_setting="DIRECTORY_URL"),
        "badges": SourceDefinition(name="badges", file="badges.csv"),
        "calendar": SourceDefinition(name="calendar", file="calendar.csv"),
    } == mapping.sources
    assert {
        "departments_by_name": Lookup(
            name="departments_by_name",
            place="hris.toml [lookups.departments_by_name]",
            query="SELECT NAME, ID FROM DEPT",
        ),
        "kinds": Lookup(name="kinds", place="hris.toml [lookups.kinds]", query="", source="calendar"),
    } == mapping.lookups


def test_an_entity_is_read_whole() -> None:
    """Contract, references, manager, look-ups, sensitive fields, supplements and incremental reading come out."""
    employees = parse_hris_mapping(FULL, "hris.toml").entities[Entity.EMPLOYEES]

    assert ("freeze", "reject", True) == (
        employees.contract,
        employees.unknown_reference,
        employees.manager_by_position,
    )
    assert FieldRule(column="DEPT", lookup="departments_by_name", default="D0") == employees.fields["department_code"]
    assert {"full_name": "mask", "extra": "hash"} == employees.sensitive_fields()
    assert (
        Incremental(
            by="rowversion",
            query="SELECT NO, NAME, DEPT, JOB, BORN, RV FROM EMP WHERE RV >= :since AND RV < :until",
            column="RV",
            full_every_hours=6,
        )
        == employees.incremental
    )
    assert [
        Supplement(
            place="hris.toml [[employees.supplements]] 1",
            source="directory",
            query="SELECT uid, mail FROM people ORDER BY uid",
            fields={"employee_no": FieldRule(column="uid"), "email": FieldRule(column="mail", case="lower")},
        ),
        Supplement(
            place="hris.toml [[employees.supplements]] 2",
            source="badges",
            fields={"employee_no": FieldRule(column="Number"), "biostar_user_id": FieldRule(column="Badge")},
            wins=False,
        ),
    ] == employees.supplements


def test_a_table_is_read_in_the_order_of_its_key() -> None:
    """Of a table only the mapped columns are read, each once."""
    positions = parse_hris_mapping(FULL, "hris.toml").entities[Entity.POSITIONS]

    assert "SELECT JOB, TITLE, REPORTS_TO, GRADE FROM dbo.JOBS ORDER BY JOB" == positions.query


@pytest.mark.parametrize("name", ["OHEM", "dbo.OHEM", "[HR Data].dbo.[Staff List]", "`tabLeave Application`", '"t"'])
def test_a_table_may_stand_in_the_quotes_of_its_server(name: str) -> None:
    """The name of a table is taken as it is written."""
    text = f"[departments]\ntable = {name!r}\ncolumns = {{ code = 'A', name = 'B' }}\n"

    query = parse_hris_mapping(text, "hris.toml").entities[Entity.DEPARTMENTS].query

    assert f"SELECT A, B FROM {name} ORDER BY A" == query


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('by = "updated_at"', "SELECT A, B, AT FROM t WHERE AT >= :since ORDER BY AT"),
        ('by = "rowversion"', "SELECT A, B, AT FROM t WHERE AT >= :since AND AT < :until ORDER BY AT"),
    ],
)
def test_the_changed_rows_of_a_table_need_no_query(keys: str, expected: str) -> None:
    """Table and column say all that is needed."""
    text = f"""
[departments]
table = "t"
columns = {{ code = "A", name = "B" }}
incremental = {{ {keys}, column = "AT" }}
"""

    incremental = parse_hris_mapping(text, "hris.toml").entities[Entity.DEPARTMENTS].incremental

    assert incremental is not None
    assert expected == incremental.query


def test_leaves_and_holidays_are_read() -> None:
    """Dates, numbers and parts of days take values of their kind; what nothing names has its default."""
    mapping = parse_hris_mapping(FULL, "hris.toml")

    leaves, holidays = mapping.entities[Entity.LEAVES], mapping.entities[Entity.HOLIDAYS]
    assert {
        "code": FieldRule(column="ID"),
        "employee_no": FieldRule(column="NO"),
        "kind": FieldRule(column="KIND", lookup="kinds"),
        "starts_on": FieldRule(column="FROM_DAY"),
        "ends_on": FieldRule(column="TO_DAY", default="9999-12-31"),
        "hours": FieldRule(column="HOURS", default="7.5"),
        "day_part": FieldRule(constant="full"),
    } == leaves.fields
    assert ("", "calendar") == (holidays.query, holidays.source)
    assert FieldRule(column="Day", date_format="%d.%m.%Y") == holidays.fields["holiday_on"]


def test_a_supplement_may_bring_what_is_required() -> None:
    """A field that only a supplement has is not missing."""
    text = FULL.replace('full_name = { column = "NAME", sensitive = "mask" }\n', "").replace("email =", "full_name =")

    employees = parse_hris_mapping(text, "hris.toml").entities[Entity.EMPLOYEES]

    assert "full_name" not in employees.fields


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # sources and look-ups
        ('file = "badges.csv"', "", ["line 4", "sources.badges", "either `url_setting`", "or `file`"]),
        ("[sources.badges]", "[sources.bad-ges]", ["sources.bad-ges", "a name is a letter"]),
        ('"DIRECTORY_URL"', '"directory url"', ["line 3", "url_setting", "A-Z"]),
        ('source = "directory"', 'source = "directry"', ["no source 'directry'; did you mean directory?"]),
        ('query = "SELECT NAME, ID FROM DEPT;"', "", ["lookups.departments_by_name.query: is missing"]),
        ('source = "calendar"\n\n', 'source = "calendar"\nquery = "SELECT 1"\n', ["kinds.query", "takes no query"]),
        ('lookup = "kinds"', 'lookup = "kind"', ["line 54", "no look-up 'kind'; did you mean kinds?"]),
        ('lookup = "kinds"', 'lookup = "kinds", map = { A = "a" }', ["either `map` or `lookup`"]),
        # queries and tables
        ('table = "dbo.JOBS"', "", ["line 14", "positions.query: is missing; give a `query` or a `table`"]),
        ('table = "dbo.JOBS"', 'table = "t"\nquery = "SELECT 1"', ["line 15", "either `query` or `table`"]),
        ('table = "dbo.JOBS"', 'table = "dbo.JOBS j"', ["not the name of a table", "write a `query`"]),
        ('"REPORTS_TO"', '"REPORTS TO"', ["'REPORTS TO' is not a plain name", "quotes of your server"]),
        ("[holidays]", '[holidays]\nquery = "SELECT 1"', ["holidays.query", "a file takes no query"]),
        # incremental
        ('column = "RV"\n', "", ["line 33", "incremental.column: is missing; `rowversion` needs"]),
        (':until"', '9"', ["the query has no :until", "not committed yet"]),
        ('"rowversion"', '"updated_at"', [":until is for `rowversion`"]),
        (":since", "7", ["line 35", "the query has no :since"]),
        ('"rowversion"', '"change_tracking"', ["incremental.table: is missing", "takes no `column`"]),
        (
            'by = "rowversion"',
            'by = "change_tracking"\ntable = "EMP e"',
            ["line 35", "'EMP e' is not the name of a table"],
        ),
        ('column = "RV"', 'column = "RV"\ntable = "EMP"', ["line 37", "`table` is for `change_tracking`"]),
        ('column = "RV"', 'column = "RV"\noverlap_seconds = 9', ["`overlap_seconds` is for `updated_at`"]),
        ("full_every_hours = 6", "full_every_hours = 0", ["line 37", "full_every_hours", "greater than 0"]),
        ('by = "rowversion"', 'by = "row_version"', ["line 34", "'rowversion', 'updated_at' or 'change_tracking'"]),
        (
            "[holidays]",
            '[holidays]\nincremental = { by = "updated_at", column = "A", query = "SELECT :since" }',
            ["holidays.incremental", "a file is always read whole"],
        ),
        # supplements
        ('employee_no = "Number"\n', 'phone = "P"\n', ["employees.supplements[2].columns", "employee_no is missing"]),
        ("biostar_user_id", "biostar_id", ["line 47", "supplements[2].columns.biostar_id", "mean biostar_user_id?"]),
        ("biostar_user_id", "status", ["'active' in every row", "let the supplement win"]),
        ('biostar_user_id = "Badge"', 'extra.badge = "Badge"', ["line 47", "a supplement cannot give this"]),
        ('biostar_user_id = "Badge"', 'manager_no = "Boss"', ["line 47", "a supplement cannot give this"]),
        ("wins = false", "win = false", ["line 44", "employees.supplements[2].win", "did you mean wins?"]),
        # managers
        ('position_code = "JOB"\n', "", ["employees.manager", "needs position_code"]),
        ('parent_code = "REPORTS_TO"\n', "", ["employees.manager", "needs [positions] with parent_code"]),
        ('position_code = "JOB"', 'manager_no = "M"', ["employees.manager", "takes no manager_no"]),
        ('manager = "position"', 'manager = "tree_path"', ["line 26", "needs tree_path in `columns`"]),
        # rules
        ('employee_no = "NO"', "employee_no = { constant = 1 }", ["line 28", "it cannot be a constant"]),
        ('employee_no = "NO"', 'employee_no = { column = "NO", sensitive = "hash" }', ["cannot be `sensitive`"]),
        ('sensitive = "mask"', 'sensitive = "dots"', ["line 29", "'hash' or 'mask'"]),
        ('position_code = "JOB"', 'position_code = { constant = "J", upper = true }', ["`constant` takes no `upper`"]),
        ("default = 7.50", "default = 10000", ["line 57", "'10000' is no number between 0 and 9999.99"]),
        ("default = 7.50", "default = true", ["line 57", "give a text, a number or a date"]),
        ('am = "first_half"', 'am = "firsthalf"', ["'firsthalf' is no day_part; did you mean first_half?"]),
        ('"KIND", lookup', '"KIND", format = "%d", lookup', ["`format` is for dates"]),
        ("default = 9999-12-31", 'lookup = "kinds"', ["line 56", "a date takes"]),
        # the rest
        ('contract = "freeze"', 'contract = "frozen"', ["line 24", "'evolve', 'freeze' or 'discard'"]),
        ("[leaves]", "[guard]\nmax_shrink_percent = 101\n[leaves]", ["guard.max_shrink_percent", "equal to 100"]),
        ("[leaves]", '[guard]\non_gard = "hold"\n[leaves]', ["guard.on_gard", "did you mean on_guard?"]),
    ],
)
def test_mistakes_in_a_whole_mapping_are_explained(old: str, new: str, expected: list[str]) -> None:
    """Contradictions, unknown names and wrong values name the line, the key and the mend."""
    assert old in FULL
    text = explain(FULL.replace(old, new, 1))

    for part in ["config/hris.toml", *expected]:
        assert part in text


def test_lines_are_counted_over_queries_that_look_like_keys() -> None:
    """A line of SQL is no key and no header."""
    text = GOOD.replace('"SELECT a, b FROM t;"', '"""\nSELECT a, b FROM t\n[columns]\nfull_name = 1\n"""')

    assert "line 11, employees.columns.full_name" in explain(text.replace('full_name = "b"', "full_name = {}"))


def test_the_fingerprint_is_of_what_the_file_says() -> None:
    """Comments, blanks and the order of tables do not change it; any value does."""
    said = parse_hris_mapping(FULL, "hris.toml").fingerprint
    head, tail = FULL.split("[leaves]")

    assert 32 == len(said)
    assert said == parse_hris_mapping(f"# said otherwise\n[leaves]{tail}\n{head}", "other.toml").fingerprint
    assert said != parse_hris_mapping(FULL.replace('"BORN"', '"BIRTH"'), "hris.toml").fingerprint


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
    """The mapping of the demo maps every entity."""
    assert set(Entity) == set(load_hris_mapping(project_root / "config" / "hris.toml").entities)
