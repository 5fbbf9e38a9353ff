"""The demo, as somebody who has just cloned the repository runs it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import Process
from tests.support.waiting import eventually

Start = Callable[..., Process]


@pytest.fixture
def demo(start_process: Start, project_root: Path, tmp_path: Path) -> Callable[..., Process]:
    """`demo("--once")` runs `scripts/demo` in `folder` of this test."""

    def start(*options: str, folder: str = "demo") -> Process:
        return start_process(
            str(project_root / "scripts" / "demo"),
            "--folder",
            str(tmp_path / folder),
            *options,
            # The environment that runs this test is the one that the script would make.
            env={"HRSYNC_SKIP_BOOTSTRAP": "1"},
            cwd=project_root,
        )

    return start


def counts_of(output: str, entity: str) -> list[list[int]]:
    """Each row of numbers that was shown for the entity."""
    rows = re.findall(rf"^{entity} +((?:[\d,]+ *){{6}})$", output, flags=re.MULTILINE)
    return [[int(number.replace(",", "")) for number in row.split()] for row in rows]


def between(output: str, first: str, last: str) -> str:
    """What was shown from one title to another, the lines that were too long put together."""
    shown = output[output.index(f"\n{first}") : output.index(f"\n{last}")]
    return re.sub(r" \n *(?=\S)", " ", shown)


def check_month(story: str) -> None:
    """The month: everybody's days by status, what to look at, and three days with all their punches."""
    days = {
        status: int(number.replace(",", ""))
        for status, number in re.findall(r"^(\w+) +([\d,]+) +[\d:-]+ +[\d:-]+ +[\d:-]+$", story, flags=re.MULTILINE)
    }
    together = days.pop("together")
    assert {"present", "rest_day", "on_leave", "absent"} <= days.keys()
    assert together == sum(days.values()) > 250 * 28
    for anomaly in ("missing_out", "auto_checked_out", "doubtful_clock", "worked_on_rest_day"):
        assert re.search(rf"to look at .*\b{anomaly} \d+", story), anomaly
    explained = story.split("hrsync attendance explain ")[1:]
    assert len(explained) == 3
    forgotten, twice, leave = explained
    assert "The check-out is the policy's, not a punch." in forgotten
    assert "The same punch once more" in twice
    assert re.search(r"Leave: \w+ \((first half|second half|[\w ]+)\)", leave)
    assert all(re.search(r"Punches:\n +\d\d:\d\d(:\d\d)? \[in\] The first check-in;", text) for text in explained)


def check_late_punch(story: str) -> None:
    """The late punch: one new punch, one changed day, absent before and present after it."""
    before, after = re.findall(r"^\w+day, [\d-]+: ([\w ]+) \(times", story, flags=re.MULTILINE)
    assert (before, after) == ("absent", "present")
    assert re.search(r"success in .*\. 1 new punch in 1 table", story)
    assert re.search(r"success in .*\. Touched days: 1 changed\.", story)


def test_the_demo_shows_its_story_and_ends_or_stays(demo: Callable[..., Process], tmp_path: Path) -> None:
    """`scripts/demo --once` replicates 250 people and more through the scheduler, changes nothing the second time,
    shows a day's changes field by field, holds the run of a broken HRIS, computes and explains a month of attendance,
    and exits with 0 in less than a minute. Without --once it names its dashboard and stays until Ctrl-C."""
    process, staying = demo("--once"), demo(folder="staying")  # beside each other, as both take their time
    assert process.wait(60) == 0
    output = process.output()
    assert "Traceback" not in output
    assert re.search(r"Everything was as expected, \d+ s after the start\.", output)

    first, second, third, held = counts_of(output, "employees")
    read, inserted, updated, unchanged, deactivated, rejected = first
    assert read >= 250
    assert (updated, unchanged, deactivated) == (0, 0, 0)
    assert read == inserted + rejected
    assert min(counts_of(output, entity)[0][1] for entity in ("leaves", "holidays")) > 0
    assert "Rejected, and why:" in output
    assert re.search(r"employees +missing_value +full_name +1 +E00139", output)
    assert re.search(r"leaves +unknown_reference +employee_no +1 ", output)

    assert second == [read, 0, 0, inserted, 0, rejected]
    assert "Nothing changed, so nothing was written." in output

    assert third == [read + 1, 1, 2, inserted - 3, 1, rejected]
    day = between(output, "3. ", "4. ")
    assert re.search(r"employees +.*\bdepartment_code 1\b", day)
    assert re.search(r"first seen.*\n.* department_code +D\d+ → D\d+ ", day)

    story = between(output, "4. ", "5. ")
    assert held[4] > 50
    assert re.search(r"Execution \w+: failed in .*: GuardError", story)
    assert re.search(rf"{held[4]} of (\d+) active employees would be deactivated", story)
    assert re.search(r"employees +E\d+ +deactivate", story)
    assert re.search(r"Active employees: (\d+) before the run, \1 after it\.", story)

    assert re.search(r"success in .*: nothing changed", between(output, "5. ", "6. "))
    assert re.search(r"The run that was held, \w+, has expired\.", output)
    assert re.search(r"[\d,]+ new punches in \d tables", output)
    check_month(between(output, "7. ", "8. "))
    check_late_punch(between(output, "8. ", "9. "))
    assert between(output, "9. ", "10. ").count("HRIS replication") == 5
    assert len(list((tmp_path / "demo" / "mail" / "new").iterdir())) == 5

    staying.wait_for_output("The dashboard: http://127.0.0.1:", 60)
    staying.send(signal.SIGINT)
    assert staying.wait(30) == 0
    assert "Stopped in order." in staying.output()
    assert "Traceback" not in staying.output()


def test_an_interrupted_demo_ends_at_once(demo: Callable[..., Process]) -> None:
    """Ctrl-C in the middle of a run ends the demo without a traceback."""
    process = demo("--once")
    process.wait_for_output("is scheduled for", 60)
    process.send(signal.SIGINT)
    assert process.wait(30) == 130
    assert "Traceback" not in process.output()


def test_the_demo_leaves_folders_of_others_alone(demo: Callable[..., Process], tmp_path: Path) -> None:
    """A folder that no demo made is not emptied."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "precious.txt").write_text("x")
    process = demo("--once")
    assert process.wait(60) == 78
    assert (tmp_path / "demo" / "precious.txt").exists()
    eventually(lambda: "--folder" in process.output())
