"""The check of the mapping against live sources: what it finds, what it shows of people, and how it ends."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from backend.adapters.csv_source import CsvHrisSource
from backend.adapters.hris_source import DatabaseHrisSource, HrisSources
from backend.cli.app import run
from backend.db.database import Database
from backend.db.hris_database import hris
from backend.demo.company import write_hris
from backend.domain.employees import Entity
from backend.services import hris_tally
from backend.services.check_hris import HrisCheck, QueryCheck, check_hris
from backend.settings import Settings
from tests.support.hris import MAPPING, Hris, employee, mapping

DEPARTMENTS = [{"code": "D1", "name": "One"}]


@pytest.fixture
async def source(empty_sqlite_url: str) -> AsyncIterator[Hris]:
    """An HRIS on SQLite."""
    made = Hris(empty_sqlite_url)
    yield made
    await made.dispose()


@pytest.fixture
async def any_source(source_url: str) -> AsyncIterator[Hris]:
    """An HRIS on every engine."""
    made = Hris(source_url)
    yield made
    await made.dispose()


def reading(source: Hris, **files: Path) -> HrisSources:
    """The HRIS, and CSV files beside it."""
    others = {name: _opener(name, path) for name, path in files.items()}
    return HrisSources(DatabaseHrisSource(source.reader), others)


def _opener(name: str, path: Path) -> Callable[[], CsvHrisSource]:
    return lambda: CsvHrisSource(name, path)


def by_subject(check: HrisCheck) -> dict[str, QueryCheck]:
    return {query.subject.removeprefix("hris "): query for query in check.queries}


def told(query: QueryCheck, *levels: str) -> list[str]:
    """The findings of these levels (of every level but `ok`) as text."""
    wanted = levels or ("warning", "error")
    return [f"{found.level}: {found.message} -> {found.mend}" for found in query.findings if found.level in wanted]


# --- queries and columns ----------------------------------------------------------------------------------------------


async def test_refused_queries_and_missing_columns_are_explained(any_source: Hris) -> None:
    """A refused query says why, a missing column what was meant; the other entities are looked at all the same."""
    await any_source.fill([employee("E1", state="X"), employee("E2", state="A")], DEPARTMENTS)
    broken = MAPPING.replace("FROM dept", "FROM departmnt").replace('title = "job"', 'title = "jobb"')

    check = by_subject(await check_hris(reading(any_source), mapping(broken)))

    assert "departmnt" in told(check["departments"])[0]
    (missing,) = told(check["positions"])
    assert "error: the result has no column 'jobb', which title is mapped to -> Did you mean 'job'?" in missing
    assert ["1 of 2 rows can be taken; columns: no, name, mail, dept, job, boss, state, hired, notes"] == [
        found.message for found in check["employees"].findings if found.level == "ok"
    ]
    assert ["status: 1 value without a mapping, in 1 row: 'X' (1)"] == [
        found.message for found in check["employees"].findings if found.level == "warning"
    ]


async def test_a_source_that_is_away_is_asked_once() -> None:
    """The first entity says that the HRIS does not answer; the others say that it was not asked again."""
    away = Database("HRIS", "HRIS_URL", "mysql+aiomysql://u:p@127.0.0.1:1/nothing", read_only=True)

    check = by_subject(await check_hris(DatabaseHrisSource(away), mapping()))
    await away.dispose()

    assert "did not answer before" not in told(check["departments"], "error")[0]
    assert "not looked at, as the HRIS did not answer before" in told(check["positions"], "error")[0]
    assert "not looked at, as the HRIS did not answer before" in told(check["employees"], "error")[0]


async def test_an_empty_result_is_a_warning(source: Hris) -> None:
    """A query that gives nothing is probably wrong."""
    await source.fill([])

    check = by_subject(await check_hris(reading(source), mapping()))

    assert dict.fromkeys(check, 1) == {
        name: sum("gives no rows" in line for line in told(query, "warning")) for name, query in check.items()
    }


async def test_rows_of_which_none_can_be_taken_are_an_error(source: Hris) -> None:
    """When every row would be rejected, the mapping is wrong."""
    await source.fill([employee("E1", state="X"), employee("E2", state="Y")], DEPARTMENTS)

    check = by_subject(await check_hris(reading(source), mapping()))

    assert "error: 0 of 2 rows can be taken" in told(check["employees"], "error")[0]


# --- values -----------------------------------------------------------------------------------------------------------


async def test_what_does_not_fit_is_counted_over_the_whole_result(any_source: Hris) -> None:
    """Every value without a mapping and every unreadable date counts, however many rows and batches there are."""
    rows = [
        employee(
            f"E{number:05}",
            state="X" if number % 10 == 0 else "q" if number == 4_999 else "A",
            hired="31.02.2019" if number % 1_000 == 0 else "2019-02-28",
        )
        for number in range(5_000)
    ]
    await any_source.fill(rows, DEPARTMENTS)

    check = by_subject(await check_hris(reading(any_source), mapping()))["employees"]

    assert 5_000 == check.rows
    assert [
        "hired_on: 1 value that cannot be read as a date, in 5 rows: '99.99.9999' (5)",
        "status: 2 values without a mapping, in 501 rows: 'X' (500), 'q' (1)",
    ] == [found.message for found in check.findings if found.level == "warning"]


async def test_many_different_values_are_cut_short(source: Hris, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a field that is no code at all only some of the values are kept and named."""
    monkeypatch.setattr(hris_tally, "VALUES_KEPT", 50)
    await source.fill([employee("E0"), *(employee(f"E{n}", state=f"S{n:03}") for n in range(1, 100))], DEPARTMENTS)

    (line,) = told(by_subject(await check_hris(reading(source), mapping()))["employees"], "warning")

    assert "status: more than 50 values without a mapping, in 99 rows: 'S001' (1), " in line
    assert "and 40 more" in line


async def test_empty_and_repeated_keys_are_counted(source: Hris) -> None:
    """Rows without a key, or with one that was there before, are named; as are empty required fields."""
    await source.fill(
        [employee("E1"), employee("E1 "), employee("E1"), employee(None), employee(" "), employee("E2", name=None)],
        DEPARTMENTS,
    )

    lines = told(by_subject(await check_hris(reading(source), mapping()))["employees"])

    assert 3 == len(lines)
    assert "warning: employee_no is empty in 2 rows -> Such rows are rejected" in lines[0]
    assert "warning: full_name is empty in 1 row, such as 'E2' -> Such rows are rejected" in lines[1]
    assert "warning: 2 rows repeat a key, such as 'E1' -> They are rejected, all but the first" in lines[2]


async def test_keys_are_compared_among_the_first_only(source: Hris, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows there are, the memory for keys is bounded; the finding says so."""
    monkeypatch.setattr(hris_tally, "KEYS_KEPT", 3)
    await source.fill([employee(number) for number in ("E1", "E1", "E2", "E3", "E4", "E4")], DEPARTMENTS)

    (line,) = told(by_subject(await check_hris(reading(source), mapping()))["employees"])

    assert "1 row repeats a key among the first 3 keys, such as 'E1'" in line.replace("200,000", "3")


async def test_the_doctor_reads_a_few_rows_only(source: Hris) -> None:
    """With a bound a large table is sampled, and the finding says so."""
    await source.fill([employee(f"E{number}") for number in range(500)], DEPARTMENTS)

    check = await check_hris(DatabaseHrisSource(source.reader, 50), mapping(), max_rows=120)

    assert "120 of the first 120 rows can be taken" in by_subject(check)["employees"].findings[0].message


# --- what is shown ----------------------------------------------------------------------------------------------------

PERSON = employee(
    "E1", "Kim Example", mail="Kim@Example.com", dept="D1", boss="E2", hired="2019-02-28", notes="likes tea"
)


async def test_a_sample_comes_out_masked(any_source: Hris) -> None:
    """Keys and references are shown as they would arrive, other values of people as initials and dots."""
    await any_source.fill([PERSON], DEPARTMENTS)

    check = by_subject(await check_hris(reading(any_source), mapping()))

    assert [
        {
            "employee_no": "E1",
            "full_name": "K••• E•••",
            "email": "k•••@e•••",
            "department_code": "D1",
            "position_code": None,
            "status": "active",
            "hired_on": "2019-••-••",
            "manager_no": "E2",
            "extra.notes": "l••• t•••",
        }
    ] == check["employees"].sample
    assert [{"code": "D1", "name": "One", "parent_code": None}] == check["departments"].sample


async def test_data_are_shown_when_they_are_asked_for(source: Hris) -> None:
    """The same row as it would arrive, with its values; a value that does not fit as it is."""
    await source.fill([PERSON, employee("E2", hired="31.02.2019")], DEPARTMENTS)

    check = by_subject(await check_hris(reading(source), mapping(), show_data=True))["employees"]

    assert ("Kim Example", "kim@example.com", "2019-02-28", "likes tea") == tuple(
        check.sample[0][name] for name in ("full_name", "email", "hired_on", "extra.notes")
    )
    assert "'31.02.2019' (1)" in told(check, "warning")[0]


async def test_a_sample_has_as_many_rows_as_wanted(source: Hris) -> None:
    """Rows that cannot be taken are not among them."""
    await source.fill([employee("E0", state="X"), *(employee(f"E{n}") for n in range(1, 9))], DEPARTMENTS)

    check = by_subject(await check_hris(reading(source), mapping(), sample_rows=3))["employees"]

    assert ["E1", "E2", "E3"] == [row["employee_no"] for row in check.sample]


async def test_nothing_personal_is_in_any_finding(source: Hris) -> None:
    """Whatever is wrong with a person's values, the findings do not repeat them; nor those marked as sensitive."""
    await source.fill([employee("E1", hired="born in Springfield", state="terminal"), employee("E2", "N" * 300)])
    marked = MAPPING.replace('column = "state"', 'column = "state", sensitive = "hash"')

    check = await check_hris(reading(source), mapping(marked))

    assert not re.search(
        "Springfield|terminal|NNN", json.dumps([told(query, "ok", "warning") for query in check.queries])
    )
    assert "x" * 8 in told(by_subject(check)["employees"], "warning")[1]


# --- supplements, look-ups, changed rows ------------------------------------------------------------------------------


def directory(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "directory.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


WITH_DIRECTORY = f"""
[sources.directory]
file = "directory.csv"
{MAPPING}
[[employees.supplements]]
source = "directory"
columns = {{ employee_no = {{ column = "uid", upper = true }}, email = "mail", left_on = "until" }}
"""


async def test_a_supplement_is_checked_with_its_entity(source: Hris, tmp_path: Path) -> None:
    """What it adds is in the sample; values that do not fit and keys that are empty or repeated are told."""
    await source.fill([employee("E1", mail="old@example.com"), employee("E2")], DEPARTMENTS)
    path = directory(tmp_path, "uid,mail,until", "e1,new@example.com,", "e1,x@example.com,", ",,", "e2,,31/12/2026")

    check = by_subject(await check_hris(reading(source, directory=path), mapping(WITH_DIRECTORY), show_data=True))

    assert [("E1", "new@example.com"), ("E2", None)] == [
        (row["employee_no"], row["email"]) for row in check["employees"].sample
    ]
    assert [
        "warning: left_on: 1 value that cannot be read as a date, in 1 row: '31/12/2026' (1)",
        "warning: 1 rows have no employee_no",
        "warning: 1 row repeats a key, such as 'E1'",
    ] == [line.split(" -> ")[0] for line in told(check["employees supplement 1"])]


async def test_a_supplement_of_nobody_is_a_warning(source: Hris, tmp_path: Path) -> None:
    """When no key is the same on both sides, they are written in different ways."""
    await source.fill([employee("E1")], DEPARTMENTS)
    path = directory(tmp_path, "uid,mail,until", "kim,kim@example.com,", "bo,bo@example.com,")

    check = by_subject(await check_hris(reading(source, directory=path), mapping(WITH_DIRECTORY)))

    assert "none of its 2 keys is one of the employees" in told(check["employees supplement 1"])[0]


async def test_a_missing_file_is_a_matter_of_configuration(source: Hris, tmp_path: Path) -> None:
    """The supplement says what is missing; the entity is looked at as far as it can be."""
    await source.fill([employee("E1")], DEPARTMENTS)

    result = await check_hris(reading(source, directory=tmp_path / "none.csv"), mapping(WITH_DIRECTORY))

    check = by_subject(result)
    assert result.misconfigured
    assert "none.csv" in told(check["employees supplement 1"], "error")[0]
    assert "1 rows were read, but not what a supplement adds" in told(check["employees"], "ok")[0]


WITH_LOOKUP = ('[lookups.by_name]\nquery = "SELECT name, code FROM dept"\n' + MAPPING).replace(
    'department_code = "dept"', 'department_code = { column = "dept", lookup = "by_name" }'
)


async def test_what_a_lookup_does_not_know_is_counted(source: Hris) -> None:
    """The sample shows what was looked up; values that are not in it are named."""
    await source.fill([employee("E1", dept="One"), employee("E2", dept="Two"), employee("E3", dept="Two")], DEPARTMENTS)

    check = by_subject(await check_hris(reading(source), mapping(WITH_LOOKUP)))

    assert ["ok: 1 entries -> "] == told(check["look-up by_name"], "ok")
    assert ["D1"] == [row["department_code"] for row in check["employees"].sample]
    (line,) = told(check["employees"])
    assert "department_code: 1 value without a mapping, in 2 rows: 'Two' (2) -> Add to the look-up by_name in" in line


async def test_a_broken_lookup_is_told_once(source: Hris) -> None:
    """A look-up of one column is an error by itself; not every row that would have used it."""
    await source.fill([employee("E1", dept="One")], DEPARTMENTS)
    broken = WITH_LOOKUP.replace("SELECT name, code FROM dept", "SELECT name FROM dept")

    check = by_subject(await check_hris(reading(source), mapping(broken)))

    assert 1 == len(told(check["look-up by_name"], "error"))
    assert [] == told(check["employees"])


@pytest.mark.parametrize(
    ("query", "column", "expected"),
    [
        ("{} WHERE hired >= :since", "hired", []),
        ("{} WHERE hired >= :since", "hird", ["error: the result has no column 'hird', which `column` is mapped to"]),
        (
            "{} WHERE hired >= :since AND",
            "hired",
            ["error: hris.toml [employees.incremental]: the query of the changed"],
        ),
        ("{} WHERE no >= :since", "no", ["error: no is no time in 2 of the first 2 rows"]),
    ],
)
async def test_the_query_of_the_changed_rows_is_tried(
    source: Hris, query: str, column: str, expected: list[str]
) -> None:
    """It runs with a bound below everything; its columns and the kind of its bound are looked at."""
    await source.fill([employee("E1", hired="2026-01-02"), employee("E2", hired="2026-02-03 04:05:06")], DEPARTMENTS)
    select = "SELECT no, name, mail, dept, job, boss, state, hired, notes FROM emp"
    rules = (
        f'{MAPPING}\n[employees.incremental]\nby = "updated_at"\ncolumn = "{column}"\nquery = "{query.format(select)}"'
    )

    check = by_subject(await check_hris(reading(source), mapping(rules)))["employees incremental"]

    assert len(expected) == len(told(check))
    assert all(line.startswith(start) for line, start in zip(told(check), expected, strict=True))


@pytest.mark.mssql
async def test_changed_rows_by_rowversion_are_tried_on_a_server_that_has_them(mssql_url: str) -> None:
    """The bounds fit the server's type."""
    rules = """
[departments]
table = "dept"
columns = { code = "code", name = "name" }
incremental = { by = "rowversion", column = "rv" }
"""
    source = Hris(mssql_url)
    async with source.writer.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE dept (code nvarchar(9), name nvarchar(9), rv rowversion)"))
        await connection.execute(text("INSERT INTO dept (code, name) VALUES ('D1', 'One')"))

    check = by_subject(await check_hris(reading(source), mapping(rules)))["departments incremental"]
    await source.dispose()

    assert (1, []) == (check.rows, told(check))


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def company(
    settings_env: Callable[..., Settings], tmp_path: Path, project_root: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`company(old, new, *arguments)`: the check of the demo's company, its mapping changed; exit code and output."""
    write_hris(tmp_path / "hris.db")

    def check(old: str, new: str, *arguments: str) -> tuple[int, str]:
        rules = (project_root / "config/hris.toml").read_text(encoding="utf-8").replace(old, new, 1)
        (tmp_path / "hris.toml").write_text(rules, encoding="utf-8")
        settings_env(hris_url=f"sqlite+aiosqlite:///{tmp_path / 'hris.db'}", hrsync_config_dir=tmp_path)
        hris.cache_clear()
        code = run(["hris", "check", *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return check


def test_the_command_shows_findings_and_rows(company: Callable[..., tuple[int, str]]) -> None:
    """Warnings do not fail it; the rows begin with their key and show nobody's name."""
    code, output = company("", "", "--rows", "3")

    assert 0 == code
    for part in ["hris employees: 270 of 276 rows can be taken", "status: 1 value without a mapping", "'E00120'"]:
        assert part in output
    assert re.search(r"E00003 +A••• I••• ", output)
    assert "E00004" not in output


def test_the_command_gives_json(company: Callable[..., tuple[int, str]]) -> None:
    """Programs get the same: status, and for each query its findings and sample."""
    code, output = company("", "", "--entity", "positions", "--rows", "1", "--json")

    data: dict[str, Any] = json.loads(output)
    assert (0, "warning") == (code, data["status"])
    assert [("hris positions", 31)] == [(query["subject"], query["rows"]) for query in data["queries"]]
    assert [{"code": "J001", "title": "Managing Director", "extra.grade": "20"}] == data["queries"][0]["sample"]


@pytest.mark.parametrize(
    ("old", "new", "expected_code", "expected_text"),
    [
        ('"PHONE"', '"FONE"', 1, "Did you mean 'PHONE'?"),
        ("phone =", "fone =", 78, "did you mean phone?"),
        ("[positions]", '[sources.x]\nfile = "x.csv"\n[[positions.supplements]]\nsource = "x"\n'
         'columns = { code = "A", title = "B" }\n[positions]', 78, "x.csv"),
    ],
)  # fmt: skip
def test_exit_codes_tell_who_is_wrong(
    company: Callable[..., tuple[int, str]], old: str, new: str, expected_code: int, expected_text: str
) -> None:
    """1: the source contradicts the mapping; 78: the mapping, or what it names on this host, is wrong."""
    code, output = company(old, new, "--rows", "0")

    assert expected_code == code
    assert expected_text in re.sub(r"\s+", " ", output)


def test_an_entity_that_is_not_mapped_is_told(company: Callable[..., tuple[int, str]], project_root: Path) -> None:
    """The command says that there is nothing to check."""
    rules = (project_root / "config/hris.toml").read_text(encoding="utf-8")
    code, output = company(rules[rules.index("[holidays]") :], "", "--entity", Entity.HOLIDAYS)

    assert 78 == code
    assert "does not map the holidays" in output
