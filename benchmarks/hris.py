"""`scripts/bench hris`: the replication of HR data against its parts, a bare pipeline, its goals, and dlt, in one run.

Everything runs on the same source and the same MariaDB within minutes of each other, each piece in a process of its
own. Of several rounds the best time counts, and the most memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.figures import Figures
from benchmarks.hris_source import IN_KEY_ORDER, MAPPING, Source, count_rejected, open_source
from benchmarks.meter import Cost, Order, Target
from tests.support.databases import connect_mariadb, create_mariadb_database, drop_mariadb_database, migrate_database
from tests.support.project import PROJECT_ROOT

ROWS = 300_024
GOAL_SECONDS = {"first load": 5.0, "unchanged": 3.0, "1 % changed": 3.0}  # for ROWS
GOAL_TIMES_BARE = 2.5
GOAL_TIMES_DLT = 3.0
GOAL_PEAK_MB = 250
GOAL_GAP_MS = 100
GOAL_BYTES_PER_ROW = 40
GOAL_TIMES_LINEAR = 1.2

# The bare pipeline's tables: its columns and a key, and one with the columns and indexes of ours.
TABLES = {"bare_plain": "into 12 columns and a key", "bare_indexed": "into a table like hr_employee"}
_DURABLE = {"innodb_flush_log_at_trx_commit": "1", "innodb_doublewrite": "ON"}


class ChildError(Exception):
    """A measured process failed; the message holds the end of what it said."""


class HrisBench(Figures):
    """The measurements, on one MariaDB server."""

    def __init__(self, folder: Path, server: str, mssql_url: str | None, rounds: int) -> None:
        super().__init__()
        self.folder = folder
        self.server = server
        self.mssql_url = mssql_url
        self.rounds = rounds
        self.dlt_missing = find_no_dlt()
        self.costs: defaultdict[str, list[Cost]] = defaultdict(list)
        (folder / "hris.toml").write_text(MAPPING, encoding="utf-8")

    def run(self, rows: int, scale_rows: int | None) -> None:
        """Every measurement."""
        self.note("MariaDB", self.describe_server())
        self.note("what else the machine does", describe_load())
        with self.source(rows) as source:
            for number in range(1, self.rounds + 1):
                self.round(source, number)
        self.note_parts()
        self.note_replication(rows)
        self.note_dlt()
        self.note_cost_to_others()
        if scale_rows:
            with self.source(scale_rows) as source, self.target() as target:
                self.replicate(source, target, "large first load")
                self.replicate(source, target, "large unchanged")
            self.note_scale(rows, scale_rows)

    @contextlib.contextmanager
    def source(self, rows: int) -> Iterator[Source]:
        """A filled source."""
        begun = time.perf_counter()
        with open_source(rows, self.mssql_url, self.folder) as source:
            filled = time.perf_counter() - begun
            self.note(
                f"source of {rows:,} x 12",
                f"{source.title}, filled in {filled:.0f} s; hrsync reads it by {source.reader}",
            )
            yield source

    @contextlib.contextmanager
    def target(self) -> Iterator[str]:
        """The URL of a migrated database."""
        url = create_mariadb_database(self.server)
        try:
            migrate_database(url)
            yield url
        finally:
            drop_mariadb_database(url)

    def describe_server(self) -> str:
        """What kind of server the target is."""
        with connect_mariadb(self.server) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT version()")
            ((version,),) = cursor.fetchall()
            names = ", ".join(f"'{name}'" for name in _DURABLE)
            cursor.execute(f"SHOW VARIABLES WHERE variable_name IN ({names})")
            weak = [f"{name} = {value}" for name, value in cursor.fetchall() if value != _DURABLE[name]]
        return f"{version}, " + (f"NOT DURABLE ({', '.join(weak)})" if weak else "default durability")

    # --- measuring --------------------------------------------------------------------------------------------------

    def round(self, source: Source, number: int) -> None:
        """Everything once, on fresh targets."""
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(self.target())
            dlt_target = stack.enter_context(self.target())
            order = Order(
                url=source.url, odbc=source.odbc, query=IN_KEY_ORDER, rows=source.rows, target=_target(target)
            )
            self.measure("arrow-odbc", order, "arrow")
            self.measure("aioodbc", order, "aioodbc")
            for table in TABLES:
                self.measure(f"load {table}", replace(order, table=table), "load")
                with connect_mariadb(target) as connection, connection.cursor() as cursor:
                    cursor.execute(f"DROP TABLE {table}")
            for step in ("first load", "unchanged", "1 % changed", "100 % changed"):
                if step.endswith("changed") and step != "unchanged":
                    source.change("all" if step.startswith("100") else "1 %", f"+{number}{step[:3].strip()}")
                for table in TABLES:
                    self.measure(f"{table} {step}", replace(order, table=table), "replicate")
                self.replicate(source, target, step)
                if not step.startswith("100"):
                    self.replicate_by_dlt(replace(order, target=_target(dlt_target)), step)

    def measure(self, name: str, order: Order, measure: str) -> None:
        """One of the peers."""
        cost = self.child([sys.executable, "-m", "benchmarks.hris_peers", measure], order.environment())
        self.keep(name, cost)

    def replicate(self, source: Source, target: str, step: str) -> None:
        """hrsync."""
        environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ")},
            "MARIA_URL": target,
            "HRIS_URL": source.url,
            "HRSYNC_CONFIG_DIR": str(self.folder),
            "LOG_LEVEL": "WARNING",
        }
        cost = self.child([sys.executable, "-m", "benchmarks.hris_replica"], environment)
        with connect_mariadb(target) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM hr_employee")
            ((there,),) = cursor.fetchall()
        wanted = source.rows - count_rejected(source.rows)
        if there != wanted:
            raise ChildError(f"hrsync, {step}: {there:,} employees instead of {wanted:,}. {cost.note}")
        self.keep(f"hrsync {step}", cost)

    def replicate_by_dlt(self, order: Order, step: str) -> None:
        """dlt; once it has failed it is left out."""
        if self.dlt_missing:
            return
        data = self.folder / f"dlt_{order.target.database}"
        data.mkdir(exist_ok=True)
        environment = {
            **order.environment(),
            "HOME": str(data),
            "DLT_DATA_DIR": str(data),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
        }
        try:
            self.keep(f"dlt {step}", self.child([dlt_python(), "-m", "benchmarks.hris_dlt"], environment))
        except ChildError as error:
            self.dlt_missing = f"it failed: {str(error).splitlines()[-1]}"

    def child(self, command: list[str], environment: dict[str, str]) -> Cost:
        """The cost that a process of its own prints."""
        done = subprocess.run(  # noqa: S603 - our own code
            command, env={**environment, "PYTHONPATH": str(PROJECT_ROOT)}, cwd=self.folder,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ChildError(f"{' '.join(command[1:])} failed:\n{done.stderr[-4000:]}".rstrip())
        return Cost(**json.loads(done.stdout.splitlines()[-1]))

    def keep(self, name: str, cost: Cost) -> None:
        """Keep what a process cost, and show that it has been measured."""
        self.costs[name].append(cost)
        gap = "" if cost.loop_gap_ms is None else f", loop gap {cost.loop_gap_ms:.0f} ms"
        seconds = f"{cost.seconds:.2f} s ({cost.cpu_seconds:.2f} s of CPU)"
        memory = f"{cost.peak_bytes / 1e6:.0f} MB (+{cost.growth_bytes / 1e6:.0f})"
        print(f"    {name}: {seconds}, {memory}{gap} {cost.note}".rstrip(), file=sys.stderr, flush=True)

    def seconds(self, name: str) -> float:
        """The best time."""
        return min(cost.seconds for cost in self.costs[name])

    # --- figures ----------------------------------------------------------------------------------------------------

    def note_parts(self) -> None:
        """What nobody can be faster than."""
        for name in ("arrow-odbc", "aioodbc"):
            self.note(f"reading alone, {name}", f"{self.seconds(name):.2f} s")
        for table, title in TABLES.items():
            self.note(f"LOAD DATA alone, {title}", f"{self.seconds(f'load {table}'):.2f} s")

    def note_replication(self, rows: int) -> None:
        """The bare pipeline, and ours beside it."""
        for step in ("first load", "unchanged", "1 % changed", "100 % changed"):
            plain, like = (self.seconds(f"{table} {step}") for table in TABLES)
            self.note(f"bare pipeline, {step}", f"{like:.2f} s ({plain:.2f} s {TABLES['bare_plain']})")
            ours = self.seconds(f"hrsync {step}")
            cpu = min(cost.cpu_seconds for cost in self.costs[f"hrsync {step}"])
            value, goal = f"{ours:.2f} s, {cpu:.2f} s of them its own computing", GOAL_SECONDS.get(step)
            if goal is None or rows != ROWS:
                self.note(f"hrsync, {step}", value)
            else:
                self.note(f"hrsync, {step}", value, f"{goal:.0f} s", ours <= goal)
            value = f"{ours / like:.1f} x ({ours / plain:.1f} x {TABLES['bare_plain']})"
            if step in GOAL_SECONDS:
                self.note("  over the bare pipeline", value, f"{GOAL_TIMES_BARE} x", ours <= GOAL_TIMES_BARE * like)
            else:
                self.note("  over the bare pipeline", value)

    def note_dlt(self) -> None:
        """dlt, and how much faster ours is."""
        if self.dlt_missing:
            self.note("dlt", f"skipped: {self.dlt_missing}")
            return
        for step in GOAL_SECONDS:
            theirs, peak = self.seconds(f"dlt {step}"), self.peak(f"dlt {step}")
            times = theirs / self.seconds(f"hrsync {step}")
            version = self.costs[f"dlt {step}"][0].note
            self.note(f"{version}, {step}", f"{theirs:.1f} s, {peak:.0f} MB")
            self.note("  hrsync is faster", f"{times:.1f} x", f"{GOAL_TIMES_DLT:.0f} x", times >= GOAL_TIMES_DLT)

    def note_cost_to_others(self) -> None:
        """What a run takes from the worker that it runs in."""
        for step in (*GOAL_SECONDS, "100 % changed"):
            costs = self.costs[f"hrsync {step}"]
            growth, peak = max(cost.growth_bytes for cost in costs) / 1e6, self.peak(f"hrsync {step}")
            gap = max(cost.loop_gap_ms or 0 for cost in costs)
            self.note(
                f"memory of the worker, {step}",
                f"{peak:.0f} MB, {growth:.0f} MB over idle",
                f"{GOAL_PEAK_MB} MB",
                peak <= GOAL_PEAK_MB,
            )
            self.note("  largest gap of its loop", f"{gap:.0f} ms", f"{GOAL_GAP_MS} ms", gap <= GOAL_GAP_MS)

    def note_scale(self, rows: int, scale_rows: int) -> None:
        """How time and memory grow with the rows."""
        factor = scale_rows / rows
        for step in ("first load", "unchanged"):
            small, large = self.costs[f"hrsync {step}"], self.costs[f"hrsync large {step}"]
            times = min(cost.seconds for cost in large) / min(cost.seconds for cost in small)
            extra = max(cost.growth_bytes for cost in large) - max(cost.growth_bytes for cost in small)
            per_row = extra / (scale_rows - rows)
            self.note(
                f"hrsync, {step} of {scale_rows:,}",
                f"{self.seconds(f'hrsync large {step}'):.1f} s = {times:.1f} x for {factor:.1f} x the rows",
                f"{factor * GOAL_TIMES_LINEAR:.1f} x",
                times <= factor * GOAL_TIMES_LINEAR,
            )
            self.note(
                "  memory of each row more",
                f"{per_row:.0f} bytes",
                f"{GOAL_BYTES_PER_ROW} bytes",
                per_row <= GOAL_BYTES_PER_ROW,
            )

    def peak(self, name: str) -> float:
        """The most memory, in MB."""
        return max(cost.peak_bytes for cost in self.costs[name]) / 1e6


def _target(url: str) -> Target:
    parts = make_url(url)
    return Target(
        host=parts.host or "127.0.0.1",
        port=parts.port or 3306,
        user=parts.username or "",
        password=parts.password or "",
        database=parts.database or "",
    )


def describe_load() -> str:
    """Whether times can be trusted."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"load {load:.1f} on {cores} cores" + (": BUSY, the times are too long" if load > cores / 4 else "")


def dlt_python() -> str:
    """The interpreter that has dlt, if one has."""
    return os.environ.get("BENCH_DLT_PYTHON") or sys.executable


def find_no_dlt() -> str:
    """Why dlt cannot be measured; empty: it can."""
    command = [dlt_python(), "-c", "import dlt, pyarrow, arrow_odbc, pymysql"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own code
    return "it is not installed; scripts/bench hris --with-dlt installs it" if done.returncode else ""


def main() -> int:
    """Run the benchmark; 0 whatever the figures are, 130 when it was interrupted."""
    parser = argparse.ArgumentParser(prog="scripts/bench hris", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"employees in the source ({ROWS:,})")
    parser.add_argument("--scale-rows", type=int, help="hrsync alone on so many besides, such as 3000000")
    parser.add_argument("--rounds", type=int, default=1, help="measure so often; the best times count")
    parser.add_argument("--with-dlt", action="store_true", help="install dlt first (scripts/bench does)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hrsync-bench-") as folder:
        mssql_url = os.environ.get("TEST_MSSQL_URL") or None
        bench = HrisBench(Path(folder), os.environ["TEST_MARIADB_URL"], mssql_url, max(1, options.rounds))
        try:
            bench.run(options.rows, options.scale_rows)
        except ChildError as error:
            sys.exit(f"scripts/bench hris: {error}")
        except KeyboardInterrupt:
            return 130
    bench.print(f"hrsync hris, {options.rows:,} employees", as_json=options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
