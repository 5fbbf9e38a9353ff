"""Ingestion of punches: how fast beside the server's own bulk load, in how much memory, and what an empty poll takes.

`scripts/bench punches` runs it. The source is a BioStar 2 database with three months of events, on the server that the
punches go to; the peer is LOAD DATA LOCAL INFILE of the rows that came out, at once, into a table like theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from benchmarks.figures import Figures
from benchmarks.meter import Cost
from tests.support.databases import connect_mariadb, create_mariadb_database, drop_mariadb_database, migrate_database
from tests.support.project import PROJECT_ROOT

ROWS = 1_000_000
USERS = 10_000
POLLS = 20
GOAL_SHARE = 0.6
GOAL_POLL_MS = 50
GOAL_GAP_MS = 100
GOAL_BYTES_PER_ROW = 4

EVENT_TABLE = """
CREATE TABLE {name} (
    EVTLGUID INT NOT NULL AUTO_INCREMENT PRIMARY KEY, SRVDT DATETIME NOT NULL, DEVDT INT NOT NULL,
    DEVUID INT UNSIGNED NOT NULL, DEVLGIDX INT NOT NULL, USRID VARCHAR(32), USRGRUID INT, EVT INT NOT NULL,
    TNAKEY INT, DRUID INT, ZNUID INT, CRDSL INT, IS_DST INT, TMZN_HOUR INT, TMZN_HALF INT, TMZN_NEGTV CHAR(1),
    USRUDTBYDEV CHAR(1), HINT VARCHAR(64), TEMPER INT, KEY (DEVDT)
) CHARACTER SET utf8mb4
"""
# Of twenty events one is no success; everybody punches in turn.
_FILL = """
INSERT INTO {name} (SRVDT, DEVDT, DEVUID, DEVLGIDX, USRID, USRGRUID, EVT, TNAKEY, DRUID, ZNUID, CRDSL, IS_DST,
    TMZN_HOUR, TMZN_HALF, TMZN_NEGTV, USRUDTBYDEV, HINT, TEMPER)
SELECT FROM_UNIXTIME({begin} + FLOOR(seq * {step})), {begin} + FLOOR(seq * {step}), 541000100 + seq % 50, seq,
    10000 + (seq * 7919) % {users}, 2, IF(seq % 20, 4865, 5120), 1 + seq % 2, 0, 0, 0, 0, 1, 0, 'N', 'N', '', 0
FROM seq_1_to_{rows}
"""
_EMPLOYEES = """
INSERT INTO hr_employee (employee_no, full_name, status, biostar_user_id, row_hash, is_active, first_seen_at,
    changed_at, execution_id)
SELECT CONCAT('E', seq), CONCAT('Employee ', seq), 'active', 9999 + seq, '', 1, UTC_TIMESTAMP(), UTC_TIMESTAMP(), ''
FROM seq_1_to_{users}
"""
_COLUMNS = (
    "source, source_table, event_key, user_id, punched_at, direction, device_id, event_code, flags, ingested_at, "
    "execution_id"
)


class PunchBench(Figures):
    """The measurements, on one MariaDB server."""

    def __init__(self, folder: Path, server: str) -> None:
        super().__init__()
        self.folder = folder
        self.server = server

    def run(self, rows: int, scale_rows: int | None) -> None:
        """Every measurement."""
        with self.source(rows) as source, self.target() as target:
            first = self.ingest(source, target)
            self.note_speed(target, first)
            self.note_polls(source, target)
        if scale_rows:
            with self.source(scale_rows) as source, self.target() as target:
                self.note_scale(rows, first, scale_rows, self.ingest(source, target))

    @contextlib.contextmanager
    def source(self, rows: int) -> Iterator[str]:
        """A BioStar with so many events, a third of them in each of the last three months."""
        url = create_mariadb_database(self.server)
        try:
            with connect_mariadb(url) as connection, connection.cursor() as cursor:
                cursor.execute("CREATE TABLE t_usr (USRUID INT PRIMARY KEY)")
                begin = dt.datetime.now(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
                for _ in range(3):
                    end, begin = begin, (begin - dt.timedelta(days=1)).replace(day=1)
                    name = f"t_lg{begin:%Y%m}"
                    cursor.execute(EVENT_TABLE.format(name=name))
                    step = (end - begin).total_seconds() / (rows // 3 + 1)
                    cursor.execute(
                        _FILL.format(
                            name=name, begin=int(begin.timestamp()), step=step, users=USERS, rows=rows // 3
                        ).replace("%", "%%"),
                        (),
                    )
            yield url
        finally:
            drop_mariadb_database(url)

    @contextlib.contextmanager
    def target(self) -> Iterator[str]:
        """The URL of a migrated database."""
        url = create_mariadb_database(self.server)
        try:
            migrate_database(url)
            with connect_mariadb(url) as connection, connection.cursor() as cursor:
                cursor.execute(_EMPLOYEES.format(users=USERS))
            yield url
        finally:
            drop_mariadb_database(url)

    def ingest(self, source: str, target: str, polls: int = 0) -> Cost:
        """hrsync, in a process of its own."""
        environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ")},
            "MARIA_URL": target,
            "BIOSTAR_URL": source,
            "HRSYNC_CONFIG_DIR": str(self.folder),
            "LOG_LEVEL": "WARNING",
            "PYTHONPATH": str(PROJECT_ROOT),
        }
        done = subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-m", "benchmarks.punches_replica", *([str(polls)] if polls else [])],
            env=environment, cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"scripts/bench punches: the ingestion failed:\n{done.stderr[-4000:]}")
        return Cost(**json.loads(done.stdout.splitlines()[-1]))

    # --- figures ----------------------------------------------------------------------------------------------------

    def note_speed(self, target: str, cost: Cost) -> None:
        """The ingestion, beside the bulk load of the rows that it has made."""
        count, seconds = self.load(target)
        ours, bare = count / cost.seconds, count / seconds
        self.note("punches", f"{count:,} of {USERS:,} users; {cost.note}")
        self.note("ingestion", f"{ours:,.0f} rows/s, {cost.cpu_seconds / cost.seconds:.0%} of a core is its own")
        self.note("LOAD DATA LOCAL INFILE alone", f"{bare:,.0f} rows/s")
        self.note("  ingestion of that", f"{ours / bare:.0%}", f"{GOAL_SHARE:.0%}", ours >= GOAL_SHARE * bare)
        self.note("memory", f"{cost.peak_bytes / 1e6:.0f} MB, {cost.growth_bytes / 1e6:.0f} MB over idle")
        gap = cost.loop_gap_ms or 0
        self.note("largest gap of the loop", f"{gap:.0f} ms", f"{GOAL_GAP_MS} ms", gap <= GOAL_GAP_MS)

    def load(self, target: str) -> tuple[int, float]:
        """How many punches there are, and the seconds that the server takes to load them as one file."""
        path = self.folder / "punches.csv"
        with connect_mariadb(target, local_infile=True) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {_COLUMNS} FROM attendance_punch ORDER BY id")  # noqa: S608
            names = _COLUMNS.split(", ")
            count = 0
            with path.open("wb") as file:
                while rows := cursor.fetchmany(50_000):
                    columns = [
                        pa.array([None if value is None else str(value) for value in column], pa.string())
                        for column in zip(*rows, strict=True)
                    ]
                    options = pyarrow.csv.WriteOptions(
                        include_header=False, quoting_style="all_valid", null_string="NULL"
                    )
                    batch = pa.RecordBatch.from_arrays(columns, names=names)
                    pyarrow.csv.write_csv(pa.Table.from_batches([batch]), file, options)
                    count += len(rows)
            cursor.execute("CREATE TABLE bare LIKE attendance_punch")
            begun = time.perf_counter()
            cursor.execute(
                f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE bare CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' "
                f"ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' ({_COLUMNS})"
            )
            seconds = time.perf_counter() - begun
            cursor.execute("SELECT count(*) FROM bare")
            ((loaded,),) = cursor.fetchall()
            cursor.execute("DROP TABLE bare")
        path.unlink()
        if loaded != count:
            sys.exit(f"scripts/bench punches: LOAD DATA took {loaded:,} of {count:,} rows")
        return count, seconds

    def note_polls(self, source: str, target: str) -> None:
        """Runs that find nothing new."""
        cost = self.ingest(source, target, POLLS)
        taken = sorted(1000 * float(word) for word in cost.note.split())
        median = statistics.median(taken)
        self.note("empty poll", f"{median:.0f} ms (worst {taken[-1]:.0f})", f"{GOAL_POLL_MS} ms", median < GOAL_POLL_MS)

    def note_scale(self, rows: int, small: Cost, large_rows: int, large: Cost) -> None:
        """How time and memory grow with the rows."""
        per_row = (large.growth_bytes - small.growth_bytes) / (large_rows - rows)
        times = large.seconds / small.seconds
        self.note(f"{large_rows:,} events", f"{large.seconds:.1f} s = {times:.1f} x for {large_rows / rows:.1f} x")
        self.note("  memory", f"{large.peak_bytes / 1e6:.0f} MB, {large.growth_bytes / 1e6:.0f} MB over idle")
        value, goal = f"{per_row:.1f} bytes", f"{GOAL_BYTES_PER_ROW} bytes"
        self.note("  memory of each row more", value, goal, per_row <= GOAL_BYTES_PER_ROW)


def main() -> int:
    """Run the benchmark; 0 whatever the figures are, 130 when it was interrupted."""
    parser = argparse.ArgumentParser(prog="scripts/bench punches", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"events in the source ({ROWS:,})")
    parser.add_argument("--scale-rows", type=int, help="once more with so many, such as 10000000")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hrsync-bench-") as folder:
        bench = PunchBench(Path(folder), os.environ["TEST_MARIADB_URL"])
        try:
            bench.run(options.rows, options.scale_rows)
        except KeyboardInterrupt:
            return 130
    bench.print(f"hrsync punches, {options.rows:,} events", as_json=options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
