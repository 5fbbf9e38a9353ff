"""`hrsync attendance preview`: days from files alone, and nothing silently lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.cli.app import run
from backend.domain.attendance.day import Anomaly, Fate, Overtime, Status
from tests.support.worked_example import PAGE, execute

RULES = """
default_site = "BER"
[sites.BER]
timezone = "Europe/Berlin"
[sites.SHA]
timezone = "Asia/Shanghai"
[policies.strict]
late_grace = 0
[policies.default]
late_grace = "10m"
[shifts.day]
start = "09:00"
end = "17:00"
[shifts.night]
start = "22:00"
end = "06:00"
[patterns.office]
week = ["day", "day", "day", "day", "day", "", ""]
[patterns.nights]
week = ["night", "night", "night", "night", "night", "", ""]
[[assignments]]
default = true
pattern = "office"
[[assignments]]
department = "D4"
pattern = "nights"
[[company_days]]
on = 2026-06-04
name = "Outing"
"""
Preview = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Preview:
    """Writes the files (named as the options are), runs the command with further arguments; exit code and JSON."""

    def execute(*arguments: str, **files: str | bytes) -> tuple[int, dict[str, Any]]:
        words = [*arguments]
        for option, content in ({"policy": RULES} | files).items():
            path = tmp_path / f"{option}.{'toml' if option == 'policy' else 'csv'}"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            words += [f"--{option}", path.name]
        code = run(["attendance", "preview", *words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return execute


def days_of(told: dict[str, Any], number: int = 0) -> list[tuple[str, str, int]]:
    """Date, status and worked minutes of each day of an employee."""
    days = told["employees"][number]["days"]
    return [(day["work_on"][5:], day["status"], day["worked_seconds"] // 60) for day in days]


# --- what is computed -------------------------------------------------------------------------------------------------


def test_days_are_computed_from_two_files(preview: Preview) -> None:
    """From the first date of the punches to the last one; by --from and --to, other days."""
    punches = (
        "employee_no,punched_at\nE1,2026-06-01 09:00\nE1,2026-06-01 17:00\nE1,2026-06-03 09:00\nE1,2026-06-03 12:00\n"
    )
    code, told = preview(punches=punches)

    assert 0 == code
    assert [("06-01", "present", 480), ("06-02", "absent", 0), ("06-03", "present", 180)] == days_of(told)
    assert [("06-03", "present", 180), ("06-04", "holiday", 0)] == days_of(
        preview("--from", "2026-06-03", "--to", "2026-06-04", punches=punches)[1]
    )


def test_employment_says_where_when_and_by_which_rules(preview: Preview) -> None:
    """Department, site, periods, pattern and policy; who has no punches is absent."""
    code, told = preview(
        "--from",
        "2026-06-01",
        "--to",
        "2026-06-03",
        punches="employee_no;punched_at\nE1;2026-06-01 22:00\nE1;2026-06-02 06:00\n"
        "E2;2026-06-01 09:01\nE2;2026-06-01 17:00\n",
        employment="Employee No,Department,Site,hired_on,left_on,policy,pattern\n"
        "E1,D41 > D4,SHA,,2026-06-02,,\n"
        "E2,,,2026-05-01,2026-06-01,strict,\n"
        "E2,,,2026-06-02,,,nights\n"
        "E3,,,2026-06-03,,,\n",
    )
    one, two, three = told["employees"]

    assert 0 == code
    assert ("SHA", "Asia/Shanghai") == (one["site"], one["timezone"])
    assert ("2026-06-01T22:00:00+08:00", "night") == (one["days"][0]["first_in_at"], one["days"][0]["shift"])
    assert [("06-01", "present", 480), ("06-02", "absent", 0)] == days_of(told, 0)
    assert [("strict", "day", 60), ("default", "night", 0), ("default", "night", 0)] == [
        (day["policy"], day["shift"], day["late_seconds"]) for day in two["days"]
    ]
    assert [("06-03", "absent", 0)] == days_of(told, 2)
    assert "E3" == three["employee_no"]


def test_leave_counts(preview: Preview) -> None:
    """Whole days, halves and hours."""
    _, told = preview(
        "--from",
        "2026-06-01",
        "--to",
        "2026-06-03",
        punches="employee_no,punched_at\n",
        leave="employee_no,from,to,type,day_part,hours\n"
        "E1,2026-06-01,,vacation,,\nE1,2026-06-02,2026-06-02,,second_half,\nE1,2026-06-03,2026-06-03,,,2.5\n",
    )
    days = told["employees"][0]["days"]

    assert [(8, 0), (4, 4), (2.5, 5.5)] == [
        (day["leave_seconds"] / 3600, day["expected_seconds"] / 3600) for day in days
    ]
    assert ["vacation", "leave", "leave"] == [day["leaves"][0]["kind"] for day in days]


def test_a_moment_can_be_chosen(preview: Preview) -> None:
    """At noon nobody is absent yet, and the punch of the evening waits."""
    punches = "employee_no,punched_at\nE1,2026-06-01 09:00\nE1,2026-06-01 17:00\n"
    day = preview("--as-of", "2026-06-01 12:00", punches=punches)[1]["employees"][0]["days"][0]

    assert ("working", False) == (day["status"], day["is_final"])
    assert ["in_future"] == [punch["fate"] for punch in day["punches"] if punch["punched_at"][11:16] == "17:00"]


def test_one_time_zone_can_be_said_for_all(preview: Preview) -> None:
    """Times without an offset are then of that zone, and so are the days."""
    _, told = preview("--timezone", "America/New_York", punches="employee_no,punched_at\nE1,2026-06-01 09:00\n")

    assert "2026-06-01T09:00:00-04:00" == told["employees"][0]["days"][0]["punches"][0]["punched_at"]


def test_some_employees_can_be_chosen(preview: Preview) -> None:
    """Only those are computed; one whom the files do not know is exit code 3."""
    punches = "employee_no,punched_at\n" + "".join(f"E{number},2026-06-01 09:00\n" for number in range(4))
    _, told = preview("--employee", "E2", "--employee", "E1", punches=punches)

    assert ["E1", "E2"] == [person["employee_no"] for person in told["employees"]]
    assert 3 == preview("--employee", "E9", punches=punches)[0]


# --- what files may look like -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "punches",
    [
        "employee_no,punched_at,direction\nE1,2026-06-01 09:00,in\nE1,2026-06-01 17:00,out\n",
        "\ufeffEmp No;Punch Time;Check-Type\r\n E1 ;2026-06-01T09:00;C/In\r\n\r\n E1 ;2026-06-01T17:00:00;C/OUT\r\n",
        "direction\tdate\ttime\tuser_id\nI\t2026-06-01\t09:00\tE1\nO\t2026-06-01\t17:00:00\tE1",
        'employee,timestamp,state\n"E1","2026-06-01T07:00:00Z",Check-In\nE1,2026-06-01T17:00:00+02:00,clock out\n',
        "employee_id,time,direction\nE1,2026-06-01 15:00:00Z,exit\nE1,20260601T090000+0200,entry\n",
    ],
    ids=["plain", "spreadsheet", "tabs", "quoted", "disorder"],
)
def test_files_of_several_makers_are_read(preview: Preview, punches: str) -> None:
    """Delimiters, byte order marks, line ends, names of columns, forms of times and words for directions."""
    code, told = preview(punches=punches)

    assert (0, []) == (code, told["problems"])
    assert [("06-01", "present", 480)] == days_of(told)
    assert ["in", "out"] == [punch["direction"] for punch in told["employees"][0]["days"][0]["punches"]]


BAD_LINES = {
    "no time": ("E1,yesterday,,", "'yesterday' is no time; write it as 2026-03-31T08:00:00+02:00"),
    "a date alone": ("E1,2026-06-01,,", "'2026-06-01' is no time"),
    "a year far away": ("E1,0001-01-01 00:00,,", "the year 1 is not between 1970 and 2199"),
    "a byte that is no text": ("E1,2026-06-01\x0009:00,,", "punched_at has a character that is no text ('\\x00')"),
    "nobody": (",2026-06-01 09:00,,", "has no employee_no"),
    "no direction": ("E1,2026-06-01 09:00,inn,", "'inn' is no direction; did you mean in?; write one of in, out"),
    "a number": ("E1,2026-06-01 09:00,1,", "'1' is no direction"),
    "too many values": ("E1,2026-06-01 09:00,in,gate,x", "has 5 values, but the header names 4 columns"),
    "an open quotation mark": ('E1,"2026-06-01 09:00,in,gate', "is no line of a CSV"),
    "Latin-1": (b"E1,2026-06-01 09:00,in,K\xf6ln", "device is no UTF-8 text; save the file as CSV in UTF-8"),
    "nothing but a name": ("E1", "has no time of the punch"),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_told_and_the_others_are_computed(preview: Preview, line: str | bytes, message: str) -> None:
    """With its number and the reason; exit code 1, or 0 if that was asked for."""
    raw = line if isinstance(line, bytes) else line.encode()
    punches = (
        b"employee_no,punched_at,direction,device\nE2,2026-06-01 09:00,in,\n" + raw + b"\nE2,2026-06-01 17:00,out,\n"
    )
    code, told = preview(punches=punches)
    (problem,) = told["problems"]

    assert 1 == code
    assert ("punches.csv", 3) == (problem["file"], problem["line"])
    assert message in problem["message"]
    assert [("06-01", "present", 480)] == days_of(told)
    assert 0 == preview("--skip-bad-lines", punches=punches)[0]


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        (
            "employment",
            "employee_no,hired_on\nE1,1.6.2026\n",
            "hired_on: '1.6.2026' is no date; write it as 2026-03-31",
        ),
        ("employment", "employee_no,hired_on,left_on\nE1,2026-06-02,2026-06-01\n", "is before hired_on"),
        ("leave", "employee_no,starts_on\nE1,\n", "has no starts_on"),
        ("leave", "employee_no,starts_on,ends_on\nE1,2026-06-02,2026-06-01\n", "is before starts_on (2026-06-02)"),
        ("leave", "employee_no,starts_on,day_part\nE1,2026-06-02,morning\n", "'morning' is no day_part"),
        ("leave", "employee_no,starts_on,hours\nE1,2026-06-02,25\n", "'25' is no number above 0 and up to 24"),
        ("leave", "employee_no,starts_on,hours\nE1,2026-06-02,nan\n", "'nan' is no number above 0 and up to 24"),
    ],
)
def test_bad_lines_of_other_files_are_told_too(preview: Preview, option: str, text: str, message: str) -> None:
    """Employment and leaves are read as carefully as punches."""
    punches = "employee_no,punched_at\nE1,2026-06-01 09:00\n"
    code, told = preview(punches=punches, **{option: text})

    assert 1 == code
    assert [(f"{option}.csv", 2)] == [(problem["file"], problem["line"]) for problem in told["problems"]]
    assert message in told["problems"][0]["message"]


@pytest.mark.parametrize(
    ("punches", "message"),
    [
        ("number,punched_at\nE1,2026-06-01 09:00\n", "the header has no column employee_no"),
        ("employee_no,when\nE1,2026-06-01 09:00\n", "the header has no column punched_at"),
        ("employee_no,emp_no,punched_at\n", "the columns employee_no and emp_no both are employee_no"),
        ("", "has nothing in its first line, which is to name the columns of a file of punches"),
        ("employee_no|punched_at\n", "it names a single one, as commas, semicolons or tabs part columns"),
        ("employee_no,punched_at\n".encode("utf-16"), "is no UTF-8 text; save it as CSV in UTF-8"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(preview: Preview, punches: str | bytes, message: str) -> None:
    """The message says which column is missing and which ones there can be."""
    code, told = preview(punches=punches)

    assert 1 == code
    assert message in told["error"]["message"]


# --- nothing is lost --------------------------------------------------------------------------------------------------


def test_what_is_in_no_day_is_counted(preview: Preview) -> None:
    """Punches of strangers, of other days and before joining, and columns without a meaning."""
    _, told = preview(
        "--from",
        "2026-06-02",
        punches="employee_no,punched_at,colour\n"
        "E1,2026-06-01 09:00,red\nE1,2026-06-02 09:00,red\nE1,2026-06-03 09:00,red\n"
        "E8,2026-06-01 09:00,red\nE8,2026-06-02 09:00,red\n",
        employment="employee_no,hired_on\nE1,2026-06-03\n",
    )

    assert [{"employee_no": "E8", "punches": 2}] == told["unknown_employees"]
    assert (3, 2) == (told["employees"][0]["punches"], told["employees"][0]["unused_punches"])
    assert ["colour"] == told["ignored_columns"]


def test_sites_that_the_rules_do_not_know_are_told(preview: Preview, capsys: pytest.CaptureFixture[str]) -> None:
    """Who works there counts as of the default site, and that is said."""
    punches = "employee_no,punched_at\nE1,2026-06-01 09:00\n"
    code, told = preview(punches=punches, employment="employee_no,site\nE1,Nowhere\nE2,Nowhere\nE3,\n")

    assert 0 == code
    assert [{"site": "Nowhere", "employees": 2}] == told["unknown_sites"]
    run(
        [
            "attendance",
            "preview",
            "--policy",
            "policy.toml",
            "--punches",
            "punches.csv",
            "--employment",
            "employment.csv",
        ]
    )
    assert "The rules do not know the sites Nowhere; who works there counts as of" in capsys.readouterr().err


def test_a_header_of_another_encoding_is_told_as_text(preview: Preview) -> None:
    """What cannot be read in the name of a column is a replacement character."""
    _, told = preview(punches="employee_no,punched_at,ger\xe4t\nE1,2026-06-01 09:00,\n".encode("latin-1"))
    assert ["ger\ufffdt"] == told["ignored_columns"]


def test_people_hear_what_was_left_out(preview: Preview, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, beside a table for each employee."""
    punches = "employee_no,punched_at,colour\nE1,2026-06-01 09:00,red\nE1,2026-06-01 17:00,\nE1,then,\n"
    preview(punches=punches)
    code = run(["attendance", "preview", "--policy", "policy.toml", "--punches", "punches.csv"])
    out, err = capsys.readouterr()

    assert 1 == code
    assert re.search(r"Mon 2026-06-01 +day +present +09:00 +17:00 +8 h", out)
    assert "punches.csv, line 4: 'then' is no time" in err
    assert "1 of 3 lines could not be read; the others are computed." in err
    assert "These columns mean nothing here: colour." in err


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "1.6.2026"], "--from: '1.6.2026' is no date"),
        (["--from", "9999-06-01"], "--from: '9999-06-01' is no date"),
        (["--from", "2026-06-02", "--to", "2026-06-01"], "The last day (2026-06-01) is before the first one"),
        (["--from", "2000-01-01"], "more than 3660 days"),
        (["--as-of", "noon"], "--as-of: 'noon' is no time"),
        (["--timezone", "Berlin"], "--timezone: there is no time zone Berlin"),
    ],
)
def test_wrong_options_are_refused(preview: Preview, arguments: list[str], message: str) -> None:
    """With exit code 2 and what to write instead."""
    code, told = preview(*arguments, punches="employee_no,punched_at\nE1,2026-06-01 09:00\n")

    assert 2 == code
    assert message in told["error"]["message"]


def test_files_that_do_not_exist_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2 and the name."""
    assert 2 == run(["attendance", "preview", "--policy", "nowhere.toml", "--punches", "punches.csv"])
    assert "nowhere.toml" in capsys.readouterr().err


def test_dates_are_to_be_said_where_punches_cannot_tell_them(preview: Preview) -> None:
    """Without any punch, and where a clock was years wrong."""
    nothing = preview(punches="employee_no,punched_at\n")
    wrong_clock = preview(punches="employee_no,punched_at\nE1,2026-06-01 09:00\nE1,2099-01-01 00:00\n")

    assert [2, 2] == [nothing[0], wrong_clock[0]]
    assert "There are no punches to tell the days; give --from and --to." in nothing[1]["error"]["message"]
    assert 2 == preview(punches="employee_no,punched_at\nE1,now\n")[0]
    assert "from 2026-06-01 to 2099-01-01, which is more than 400 days" in wrong_clock[1]["error"]["message"]


def test_wrong_rules_are_a_matter_of_configuration(preview: Preview) -> None:
    """Exit code 78; also for a pattern that a file of employment names and the rules do not have."""
    punches = "employee_no,punched_at\nE1,2026-06-01 09:00\n"
    wrong = preview(policy="[policies.default]\nlate = 5", punches=punches)
    unknown = preview(punches=punches, employment="employee_no,pattern\nE1,nihgts\n")

    assert [78, 78] == [wrong[0], unknown[0]]
    assert "policies.default.late: unknown key" in wrong[1]["error"]["message"]
    assert (
        "employment.csv is wrong: exception E1: there is no pattern nihgts; did you mean nights?"
        in unknown[1]["error"]["message"]
    )


# --- alone ------------------------------------------------------------------------------------------------------------


def test_it_runs_without_settings_databases_or_brokers(preview: Preview, tmp_path: Path) -> None:
    """Settings that are wrong do no harm, nothing is written, and no library for databases or tasks is loaded."""
    preview(punches="employee_no,punched_at\nE1,2026-06-01 09:00\nE1,2026-06-01 17:00\n")
    code = (
        "import sys; from backend.cli.app import run\n"
        "ended = run(['attendance', 'preview', '--policy', 'policy.toml', '--punches', 'punches.csv'])\n"
        "heavy = {'sqlalchemy', 'celery', 'kombu', 'gevent', 'fastapi', 'redis', 'alembic', 'pyarrow', 'holidays'}\n"
        "print(ended, sorted(heavy & set(sys.modules)))"
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    environment = {"PATH": os.environ["PATH"], "MARIA_URL": "nonsense", "HEARTBEAT_SECONDS": "-1"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)

    assert "0 []" == ended.stdout.splitlines()[-1]
    assert before == sorted(path.name for path in tmp_path.iterdir())


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    """After a change: python -m tests.support.worked_example."""
    page = PAGE.read_text(encoding="utf-8")

    assert page == execute(page, tmp_path)
    assert 3 == page.count("$ hrsync attendance preview ")


def test_the_page_names_every_key_and_code(preview: Preview) -> None:
    """Of the JSON, and of what can become of days and punches."""
    _, told = preview(punches="employee_no,punched_at\nE1,2026-06-01 09:00\nE1,2026-06-01 17:00\n")
    person = told["employees"][0]
    (day,) = person["days"]
    page = PAGE.read_text(encoding="utf-8")
    keys = [*told, *person, *person["totals"], *day, *day["punches"][0], *day["shifts"][0]]

    assert [] == [word for word in (*keys, *Status, *Overtime, *Anomaly, *Fate) if f"`{word}`" not in page]
