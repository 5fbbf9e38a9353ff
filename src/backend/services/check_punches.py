"""Looks at the sources of punches: what each holds, and what a run would stumble over. Nothing is written."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from backend.domain.punch_events import EventBatch, WallClock, are_encrypted, read_events
from backend.domain.punches import IngestState, PunchFlag, PunchRules, PunchSourceDefinition, ReadPlan, Rejected
from backend.errors import HrsyncError
from backend.ports import PunchSource, PunchUsers
from backend.services.hris_findings import Finding, Level

SAMPLE_EVENTS = 5000
_CLOCK_ERROR_SECONDS = 120
_DEVICES_NAMED = 5

_DECRYPT = 'Switch off "Encrypt personal data on database" in the settings of BioStar.'


@dataclass(slots=True, kw_only=True)
class SourceCheck:
    """What was found out about one source.

    Attributes:
        tables: the tables that a first run would read.
        first_month: from when on.
        events: how many events were looked at, the newest ones.
        first_at, last_at: of the punches among them; texts in UTC.
        codes: how often each event code comes; None: events without one.
        outcomes: how many of them are punches, or what else.
        users, unknown_users: how many user ids have punched, and how many of these are nobody's.
        clocks: seconds that the clock of a device is behind (negative: ahead), where that is a lot.
    """

    name: str
    kind: str
    findings: list[Finding] = field(default_factory=list)
    tables: Sequence[str] = ()
    first_month: str | None = None
    events: int = 0
    first_at: str | None = None
    last_at: str | None = None
    codes: Mapping[int | None, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    users: int = 0
    unknown_users: int = 0
    clocks: Mapping[str, int] = field(default_factory=dict)

    def add(self, level: Level, message: str, mend: str = "") -> None:
        """Note a finding."""
        self.findings.append(Finding(level=level, subject=self.name, message=message, mend=mend))


async def check_punches(
    definitions: Sequence[PunchSourceDefinition],
    *,
    open_source: Callable[[PunchSourceDefinition], PunchSource],
    users: PunchUsers,
    now: dt.datetime,
    sample_events: int = SAMPLE_EVENTS,
) -> Sequence[SourceCheck]:
    """Look at every source; one that fails keeps no other from being looked at."""
    checks = []
    for definition in definitions:
        check = SourceCheck(name=definition.name, kind=definition.kind.value)
        try:
            await _check(check, open_source(definition), users, now, sample_events)
        except HrsyncError as error:
            check.findings.append(Finding.of_error(check.name, error))
        checks.append(check)
    return checks


async def _check(
    check: SourceCheck, source: PunchSource, users: PunchUsers, now: dt.datetime, sample_events: int
) -> None:
    plan = await source.plan(IngestState(), now)
    _tell_tables(check, plan)
    portion = await source.find_recent(plan, now, sample_events)
    if portion is None:
        return
    sample = _Sample(source.rules, now)
    async with contextlib.aclosing(source.read(portion)) as batches:
        async for events in batches:
            sample.add(portion.table, events)
            if sample.events >= 2 * sample_events:
                break
    sample.tell(check)
    if not sample.users:
        return
    unknown = await users.find_unknown(source.name, source.rules.employee, sorted(sample.users))
    check.unknown_users = len(unknown)
    _tell_users(check, source.rules)
    slow = await source.measure_clocks(portion)
    check.clocks = {device: seconds for device, seconds in slow.items() if abs(seconds) > _CLOCK_ERROR_SECONDS}
    _tell_clocks(check)


class _Sample:
    """The newest events, and what becomes of them."""

    def __init__(self, rules: PunchRules, now: dt.datetime) -> None:
        self.events = 0
        self.users: set[str] = set()
        self._rules = rules
        self._now = now
        self._wall_clock = WallClock(rules.timezone) if rules.timezone else None
        self._codes: Counter[int | None] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._times: list[str] = []

    def add(self, table: str, events: EventBatch) -> None:
        read = read_events(events, self._rules, table=table, now=self._now, wall_clock=self._wall_clock)
        punches = read.batch.punches
        self.events += len(events)
        self.users.update(read.batch.users)
        self._codes.update(events.codes.to_pylist())
        self._outcomes["punches"] += punches.num_rows
        for counts in (read.ignored, read.rejected, read.flags):
            self._outcomes.update({reason.value: count for reason, count in counts.items()})
        self._outcomes["clock_changes"] += read.batch.clock_changes.num_rows
        self._times += punches.column("punched_at").to_pylist()

    def tell(self, check: SourceCheck) -> None:
        check.events, check.users = self.events, len(self.users)
        check.codes = dict(self._codes.most_common())
        check.outcomes = {name: count for name, count in self._outcomes.items() if count}
        check.first_at, check.last_at = min(self._times, default=None), max(self._times, default=None)
        if not self._times:
            message = f"none of the last {self.events:,} events is a punch" if self.events else "there are no events"
            check.add("warning", message, "Compare success_codes with the codes of the events.")
            return
        last = str(check.last_at)[:19]
        check.add("ok", f"{len(self._times):,} of the last {self.events:,} events are punches, the last at {last} UTC")
        if are_encrypted([*self.users]):
            check.add("error", "the user ids are encrypted, so that no punch can be given to an employee", _DECRYPT)
        elif hidden := check.outcomes.get(Rejected.ENCRYPTED_USER.value):
            message = f"{hidden:,} user ids among others are encrypted, so that they are rejected"
            mend = f"{_DECRYPT} Then read everything again: hrsync jobs run attendance -p full=true."
            check.add("warning", message, mend)
        if ahead := check.outcomes.get(PunchFlag.FUTURE.value):
            mend = "Set the clocks of the devices, or the time zone of the source."
            check.add("warning", f"{ahead:,} punches are later than now ({self._now:%Y-%m-%d %H:%M} UTC)", mend)


def _tell_tables(check: SourceCheck, plan: ReadPlan) -> None:
    check.tables = list(dict.fromkeys(portion.table for portion in plan.portions))
    check.first_month = str(plan.first_month)
    if check.tables:
        named = check.tables[0] if len(check.tables) == 1 else f"{check.tables[0]} to {check.tables[-1]}"
        check.add("ok", f"reads {named}, from {plan.first_month} on")
    else:
        mend = "Look at the setting with its URL, first_month and months_back."
        check.add("warning", f"there are no events since {plan.first_month}", mend)


def _tell_users(check: SourceCheck, rules: PunchRules) -> None:
    if check.unknown_users:
        first = "Replicate the HRIS first; then `" if check.unknown_users == check.users else "`"
        check.add(
            "warning",
            f"{check.unknown_users:,} of {check.users:,} user ids in these events are no employee's "
            f"{rules.employee.column}",
            f"{first}hrsync punches users --unknown` shows them; correct the ids in the HRIS, or `hrsync punches users "
            "assign`.",
        )
    else:
        check.add("ok", f"all {check.users:,} user ids in these events belong to an employee")


def _tell_clocks(check: SourceCheck) -> None:
    if not check.clocks:
        return
    worst = sorted(check.clocks.items(), key=lambda item: -abs(item[1]))[:_DEVICES_NAMED]
    named = ", ".join(
        f"{device} {abs(seconds) / 60:.0f} min {'behind or late' if seconds > 0 else 'ahead'}"
        for device, seconds in worst
    )
    check.add("warning", f"the clocks of {len(check.clocks)} devices differ from the server's: {named}", "Set them.")
