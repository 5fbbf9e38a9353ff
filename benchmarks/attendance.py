"""Attendance: the engine alone, a month of a company from the time clocks to the days, and one late punch.

`scripts/bench attendance` runs it. The time clocks are a BioStar 2 database on the MariaDB that the days go to; two
processes compute a half of the people each, as two workers do with the parts of attendance_range.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import attendance_engine
from benchmarks.figures import Figures
from benchmarks.meter import Cost
from benchmarks.punches import EVENT_TABLE
from tests.support.databases import connect_mariadb, create_mariadb_database, drop_mariadb_database, migrate_database
from tests.support.project import PROJECT_ROOT

PEOPLE = 10_000
WORKERS = 2
GOAL_SECONDS = 90  # for PEOPLE
GOAL_MEMORY_MB = 400
GOAL_LATE_SECONDS = 1
GOAL_GAP_MS = 100

_RULES = """
default_site = "BER"

[sites.BER]
timezone = "Europe/Berlin"
public = "DE-BE"

[policies.default]
late_grace = "5m"
half_day_below = "4h"
absent_below = "2h"
breaks = { count_taken = true, deductions = [{ after = "6h", deduct = "30m" }] }
overtime = { over_schedule = true, after_tolerance = "10m", on_rest_days = true, on_holidays = true }

[shifts.office]
start = "09:00"
end = "17:30"
unpaid_break = "30m"
check_in_window = "2h"
check_out_window = "4h"

[patterns.office]
week = ["office", "office", "office", "office", "office", "", ""]

[[assignments]]
default = true
pattern = "office"
"""
# In, out for lunch, back, and out: each day of October, a few minutes around the hour, in the order of the clock.
_FILL = """
INSERT INTO t_lg202610 (SRVDT, DEVDT, DEVUID, DEVLGIDX, USRID, EVT, TNAKEY)
SELECT FROM_UNIXTIME(at), at, device, 0, person, 4865, 0 FROM (
    SELECT 541000100 + p.seq % 50 AS device, 10000 + p.seq AS person,
        UNIX_TIMESTAMP('2026-10-01') + (d.seq - 1) * 86400 + ELT(k.seq, 25200, 39600, 42300, 56700)
        + (p.seq * 7919 + d.seq * 104729 + k.seq * 1299709) % 1500 - 600 AS at
    FROM seq_1_to_31 AS d, seq_1_to_4 AS k, seq_1_to_{people} AS p
) AS events ORDER BY at
"""
_EMPLOYEES = """
INSERT INTO hr_employee (employee_no, full_name, status, hired_on, biostar_user_id, row_hash, is_active, first_seen_at,
    changed_at, execution_id)
SELECT CONCAT('E', seq), CONCAT('Employee ', seq), 'active', '2020-01-01', 10000 + seq, '', 1, UTC_TIMESTAMP(),
    UTC_TIMESTAMP(), ''
FROM seq_1_to_{people}
"""


class AttendanceBench(Figures):
    """The measurements, on one MariaDB server."""

    def __init__(self, folder: Path, server: str) -> None:
        super().__init__()
        self.folder = folder
        self.server = server
        (folder / "attendance.toml").write_text(_RULES, encoding="utf-8")
        (folder / "biostar.toml").write_text(
            '[sources.biostar]\nkind = "biostar2"\nfirst_month = "2026-10"\n', encoding="utf-8"
        )

    def run(self, people: int) -> None:
        """Every measurement."""
        for name, speed in attendance_engine.measure_all(400).items():
            met = speed >= attendance_engine.GOAL
            self.note(f"engine alone, {name}", f"{speed:,.0f} days/s", f"{attendance_engine.GOAL:,}", met)
        with self.databases(people) as (source, target):
            self.environment = {
                **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ")},
                "MARIA_URL": target,
                "BIOSTAR_URL": source,
                "HRSYNC_CONFIG_DIR": str(self.folder),
                "LOG_LEVEL": "WARNING",
                "PYTHONPATH": str(PROJECT_ROOT),
            }
            self.note_month(people)
            self.note_again()
            self.note_late(source)

    @contextlib.contextmanager
    def databases(self, people: int) -> Iterator[tuple[str, str]]:
        """A BioStar with a month of everybody's punches, and a migrated database with the people."""
        source, target = create_mariadb_database(self.server), create_mariadb_database(self.server)
        try:
            with connect_mariadb(source) as connection, connection.cursor() as cursor:
                cursor.execute("SET time_zone = '+00:00'")
                cursor.execute("CREATE TABLE t_usr (USRUID INT PRIMARY KEY)")
                cursor.execute(EVENT_TABLE.format(name="t_lg202610"))
                cursor.execute(_FILL.format(people=people))
            migrate_database(target)
            with connect_mariadb(target) as connection, connection.cursor() as cursor:
                cursor.execute(_EMPLOYEES.format(people=people))
            yield source, target
        finally:
            drop_mariadb_database(source)
            drop_mariadb_database(target)

    # --- figures ----------------------------------------------------------------------------------------------------

    def note_month(self, people: int) -> None:
        """From the time clock's tables to the stored days."""
        begun = time.perf_counter()
        ingested = self.child("benchmarks.punches_replica")
        looked = self.child("benchmarks.attendance_replica", "look")
        computed = self.compute()
        whole = time.perf_counter() - begun
        days = sum(int(cost.note) for cost in computed)
        goal = GOAL_SECONDS * people / PEOPLE
        self.note(f"{days:,} days of {people:,} people", f"{whole:.1f} s", f"{goal:.0f} s", whole <= goal)
        self.note("  ingestion", f"{ingested.seconds:.1f} s, {4 * 31 * people / ingested.seconds:,.0f} punches/s")
        self.note("  first look", f"{looked.seconds:.1f} s")
        longest = max(cost.seconds for cost in computed)
        cpu = sum(cost.cpu_seconds for cost in computed)
        self.note(
            f"  {WORKERS} processes compute", f"{longest:.1f} s, {days / longest:,.0f} days/s, {cpu:.1f} s of CPU"
        )
        peak = max(cost.peak_bytes for cost in (ingested, looked, *computed)) / 1e6
        self.note("  memory of the largest process", f"{peak:.0f} MB", f"{GOAL_MEMORY_MB} MB", peak <= GOAL_MEMORY_MB)
        self.note_gap("  largest gap of a loop", ingested, looked, *computed)

    def note_again(self) -> None:
        """The same days once more: nothing is written."""
        computed = self.compute()
        self.note("the same month again", f"{max(cost.seconds for cost in computed):.1f} s")

    def note_late(self, source: str) -> None:
        """A punch that was delivered late, until its day is stored."""
        cost = self.child("benchmarks.attendance_replica", "late", source)
        taken = sorted(float(word) for word in cost.note.split())
        median = statistics.median(taken)
        value, goal = f"{median:.2f} s (worst {taken[-1]:.2f})", f"{GOAL_LATE_SECONDS} s"
        self.note("one late punch: ingestion, look, day", value, goal, median <= GOAL_LATE_SECONDS)

    def note_gap(self, name: str, *costs: Cost) -> None:
        """The longest time for which a loop answered nobody."""
        gap = max(cost.loop_gap_ms or 0 for cost in costs)
        self.note(name, f"{gap:.0f} ms", f"{GOAL_GAP_MS} ms", gap <= GOAL_GAP_MS)

    # --- processes --------------------------------------------------------------------------------------------------

    def compute(self) -> list[Cost]:
        """The month, by several processes side by side."""
        running = [
            self.start("benchmarks.attendance_replica", "range", str(number), str(WORKERS)) for number in range(WORKERS)
        ]
        return [_cost_of(process) for process in running]

    def child(self, *arguments: str) -> Cost:
        """One process."""
        return _cost_of(self.start(*arguments))

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """A process of hrsync's own."""
        return subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-m", module, *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _cost_of(process: subprocess.Popen[str]) -> Cost:
    output, errors = process.communicate()
    if process.returncode:
        sys.exit(f"scripts/bench attendance: a process failed:\n{errors[-4000:]}")
    return Cost(**json.loads(output.splitlines()[-1]))


def main() -> int:
    """Run the benchmark; 0 whatever the figures are, 130 when it was interrupted."""
    parser = argparse.ArgumentParser(prog="scripts/bench attendance", description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE, help=f"employees ({PEOPLE:,})")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hrsync-bench-") as folder:
        bench = AttendanceBench(Path(folder), os.environ["TEST_MARIADB_URL"])
        try:
            bench.run(options.people)
        except KeyboardInterrupt:
            return 130
    bench.print(f"hrsync attendance, {options.people:,} people x 31 days", as_json=options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
