"""What services need from the outside, as protocols; adapters and test doubles implement them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, Self

from backend.domain.employees import Entity
from backend.domain.executions import RowCounts
from backend.domain.jobs import TaskTraits
from backend.domain.mail import Deferred, Delivery, MailStatus, OutgoingMail, Refused
from backend.domain.mapping import SourceQuery
from backend.domain.parts import PartState
from backend.domain.punches import EmployeeRule, IngestState, Month, Portion, PunchRules, ReadPlan, UserChange
from backend.domain.quarantine import QuarantineEntry

if TYPE_CHECKING:
    import datetime as dt

    from backend.domain.attendance.assignments import Assignment
    from backend.domain.attendance.calendars import Holiday, Leave
    from backend.domain.attendance.chunks import Ask, ChunkInputs, ChunkResult
    from backend.domain.attendance.locking import LockedPeriod
    from backend.domain.attendance.people import HrPerson, PersonFacts
    from backend.domain.attendance.rules import AttendanceRules, Site


if TYPE_CHECKING:  # these load Arrow, which few processes need
    import pyarrow as pa

    from backend.domain.column_rules import RawBatch
    from backend.domain.entity_planner import TargetBatch, TargetRow
    from backend.domain.punch_events import EventBatch, PunchBatch
    from backend.domain.replication import RowsWanted
    from backend.domain.replication_plan import EntityPlan, HeldRun, ReplicationPlan, RowChange, StreamFacts


class RunLog(Protocol):
    """The log of one run: lines go to the program's log and to the execution's own log. Never personal data."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...


class Run(Protocol):
    """What a task body is given: who it is, and how it tells what it does."""

    @property
    def execution_id(self) -> str:
        """The id of the execution row."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        ...

    @property
    def log(self) -> RunLog:
        """The run's log."""
        ...

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        """Say how far the run is. Cheap: written to the database at most twice a second."""
        ...

    def count(self, counts: RowCounts) -> None:
        """Say the row counts so far (totals, not increments)."""
        ...

    async def checkpoint(self) -> None:
        """Give way to the other runs of the process; ends the run here when it is cancelled or lost its claim."""
        ...


# --- HRIS replication -----------------------------------------------------------------------------------------------


class SourceRows(Protocol):
    """The open result of one query."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of the result columns."""
        ...

    def batches(self) -> AsyncGenerator[RawBatch, None]:
        """The rows, in the order of the query, fetched as they are asked for."""
        ...


class HrisSource(Protocol):
    """Reads the HRIS, and the sources beside it."""

    def open(self, query: SourceQuery) -> AbstractAsyncContextManager[SourceRows]:
        """Run a query; every error names its subject and the place in the mapping.

        Raises:
            TransientError: the source is away, or went away in mid-stream.
            PermanentError: it refuses the query (a table or column that does not exist, no permission).
            ConfigurationError: there is no source of that name, or its file is missing.
        """
        ...


class HrWriter(Protocol):
    """Writes one run's changes, in one transaction that `HrStore.apply` opens and commits.

    Rows are as in `CanonicalBatch.rows`, with the resolved parent in `parent_ref`.
    """

    async def insert(self, entity: Entity, rows: pa.RecordBatch) -> None:
        """Insert rows whose keys are not there."""
        ...

    async def update(self, entity: Entity, rows: pa.RecordBatch) -> None:
        """Replace rows whose keys are there."""
        ...

    async def renew(self, entity: Entity, rows: pa.RecordBatch) -> None:
        """Store the digests of rows that are there, which say the same."""
        ...

    async def renumber(self, changes: Sequence[RowChange]) -> None:
        """Give rows their new keys; to be followed by an update of them."""
        ...

    async def deactivate(self, entity: Entity, keys: Sequence[str]) -> None:
        """Mark rows as gone."""
        ...

    async def record(self, changes: Sequence[RowChange]) -> None:
        """Keep what was changed in the history."""
        ...

    async def quarantine(self, entries: Sequence[QuarantineEntry]) -> None:
        """Note defects; one that is there already keeps its first sight."""
        ...

    async def finish(self, plan: EntityPlan, *, seen: Callable[[str], bool] | None = None) -> None:
        """Drop the entity's quarantine entries that this run did not see again, and move its stream.

        Args:
            seen: of a partial run, whether it read the row of a key; entries of other rows stay.
        """
        ...

    async def follow_renumbered(self, changes: Sequence[RowChange]) -> None:
        """Let the rows that still name a renumbered row by its old key name it by its new one."""
        ...

    async def close_holds(self, held: HeldRun | None, *, keep: bool = False) -> None:
        """Mark the held run as applied, or with `keep` leave it as it is; all other open ones expire."""
        ...


class HrStore(Protocol):
    """The replicated HR data."""

    async def read_facts(self, entities: Collection[Entity]) -> Mapping[Entity, StreamFacts]:
        """What earlier runs left."""
        ...

    def stream_index(self, entity: Entity, *, verify: bool = False) -> AsyncGenerator[TargetBatch, None]:
        """All rows of the target, as little as tells whether they differ.

        Args:
            verify: make the digests of what the rows hold now, whatever was stored with them.
        """
        ...

    async def fetch_rows(self, wanted: RowsWanted) -> Sequence[TargetRow]:
        """Whole rows of the target, those of the keys that there are."""
        ...

    def apply(self, facts: Mapping[Entity, StreamFacts], execution_id: str) -> AbstractAsyncContextManager[HrWriter]:
        """One transaction in which the run is applied: all of it, or nothing.

        Raises:
            TransientError: another run was applied since `facts` were read.
        """
        ...

    async def hold(self, plan: ReplicationPlan, execution_id: str) -> HeldRun:
        """Keep what a run would have done, for somebody to decide; a run that would do the same is the same hold."""
        ...

    async def find_hold(self, execution_id: str) -> HeldRun | None:
        """The hold of the run with this id."""
        ...


class RowSpool(Protocol):
    """Keeps what the source gave until it is written, outside the memory."""

    def put(self, batch: Sequence[Any]) -> None:
        """Append a batch."""
        ...

    def batches(self) -> Iterator[list[Any]]:
        """The batches, in the order of `put`."""
        ...


class OpenSpool(Protocol):
    """Makes a spool that is gone when the block ends."""

    def __call__(self) -> AbstractContextManager[RowSpool]: ...


# --- punches --------------------------------------------------------------------------------------------------------


class PunchSource(Protocol):
    """Reads the events of time clocks, portion by portion."""

    @property
    def name(self) -> str:
        """What the source is called in the tables, such as `biostar`."""
        ...

    @property
    def rules(self) -> PunchRules:
        """How its events are understood."""
        ...

    async def plan(self, state: IngestState, now: dt.datetime, *, full: bool = False) -> ReadPlan:
        """What is to be read after what has been read.

        Args:
            full: everything from the source's beginning.

        Raises:
            TransientError: the source is away.
            PermanentError: the database is something else.
        """
        ...

    def read(self, portion: Portion) -> AsyncGenerator[EventBatch, None]:
        """The events of a portion, fetched as they are asked for.

        Raises:
            TransientError: the source is away, or went away in between.
            PermanentError: the table cannot be read.
        """
        ...

    async def find_recent(self, plan: ReadPlan, now: dt.datetime, limit: int) -> Portion | None:
        """About the last so many events of what is planned, for a look at them; None: there are none."""
        ...

    async def measure_clocks(self, portion: Portion) -> Mapping[str, int]:
        """By device, how many seconds its clock is behind (or its events come late); negative: ahead."""
        ...


class PunchStore(Protocol):
    """The punches, and how far each source has been read. One run at a time owns a source: the last that took it."""

    async def take_over(self, source: str, token: str) -> IngestState:
        """Make the run with this token the owner; an earlier one can record nothing more."""
        ...

    async def record(
        self,
        source: str,
        token: str,
        execution_id: str,
        batch: PunchBatch,
        *,
        new_users: Sequence[str],
        doubt_seconds: int,
    ) -> int:
        """Keep the punches that are not there yet and move the table's cursor, in one transaction.

        Args:
            new_users: user ids of the batch that may not be known yet.
            doubt_seconds: kept with the batch's changes of clocks.

        Returns:
            how many punches were new.

        Raises:
            ConflictError: another run has taken the source over.
        """
        ...

    async def finish(
        self, source: str, token: str, execution_id: str, *, plan: ReadPlan, first: Month, now: dt.datetime
    ) -> None:
        """Note that everything up to `now` has been read, from the month `first` on.

        Raises:
            ConflictError: another run has taken the source over.
        """
        ...


class UserMatching(Protocol):
    """The users of the time clocks inside one transaction, in which no punches are recorded."""

    async def is_current(self, source: str, rule: EmployeeRule) -> bool:
        """Whether the users of a source were matched by this rule after the last replication of the employees."""
        ...

    async def note_matched(self, source: str, rule: EmployeeRule) -> None:
        """Remember it."""
        ...

    async def find_changes(self, source: str, rule: EmployeeRule, *, after: str, limit: int) -> Sequence[UserChange]:
        """The users of a source whose employee is another one than it was, by their ids, behind the id `after`."""
        ...

    async def apply(self, source: str, changes: Sequence[UserChange]) -> None:
        """Give the users to their employees, and mark the days of their punches to be computed again."""
        ...

    async def count(self, source: str) -> tuple[int, int]:
        """How many users belong to an employee, and how many to nobody."""
        ...


class PunchUsers(Protocol):
    """The user ids of the time clocks, and whose they are."""

    async def find_unknown(self, source: str, rule: EmployeeRule, user_ids: Sequence[str]) -> Sequence[str]:
        """Those of the user ids that would be nobody's."""
        ...

    def matching(self, sources: Collection[str]) -> AbstractAsyncContextManager[UserMatching]:
        """One transaction in which users of these sources are matched."""
        ...


# --- attendance -----------------------------------------------------------------------------------------------------


class AttendanceRuleSource(Protocol):
    """Where the rules of attendance are written down, and public holidays."""

    def load(self) -> Mapping[str, Any]:
        """What the file of the rules says now, as JSON.

        Raises:
            ConfigurationError: it is wrong.
        """
        ...

    def parse(
        self, content: Mapping[str, Any], assignments: Iterable[Assignment], *, named: str | None = None
    ) -> AttendanceRules:
        """The rules that `load` gave, now or long ago, with further assignments.

        Args:
            named: what an error is about; None: the file.

        Raises:
            ConfigurationError: they contradict each other.
        """
        ...

    def public_holidays(self, sites: Iterable[Site], first: dt.date, last: dt.date) -> Sequence[Holiday]:
        """The public holidays of the sites, both dates inclusive; each is in its site's calendar."""
        ...


class Marking(Protocol):
    """One look at what has changed; everything in one transaction.

    Attributes:
        seen: what the last look has seen; written by `finish`.
        last_ids: the highest ids of punches and of clock changes; none up to them can still appear.
    """

    seen: dict[str, Any]
    last_ids: tuple[int, int]

    async def find_setup(self) -> Mapping[str, Any] | None:
        """The setup that days were computed by so far."""
        ...

    async def save_setup(self, content: Mapping[str, Any]) -> None:
        """Let days be computed by this setup from now on."""
        ...

    async def list_assignments(self) -> list[Assignment]:
        """The assignments that people have made."""
        ...

    async def list_holidays(self) -> list[Holiday]:
        """The holidays of the HR data."""
        ...

    async def hr_revision(self) -> Mapping[str, str | None]:
        """Differs when the HR data may."""
        ...

    async def list_parents(self) -> dict[str, str | None]:
        """The department above each department."""
        ...

    def stream_people(self, site_field: str) -> AsyncIterator[Sequence[HrPerson]]:
        """Every employee, also who has left; `site_field` tells the place of work (`AttendanceRules.site_field`)."""
        ...

    async def read_leaves(self) -> dict[str, list[Leave]]:
        """The leaves of each employee."""
        ...

    async def find_facts(self, numbers: Collection[str]) -> dict[str, str]:
        """What the last look has seen of these people, of those that it knows (`PersonFacts.to_text`)."""
        ...

    async def read_facts(self) -> dict[str, str]:
        """What the last look has seen of each person (`PersonFacts.to_text`)."""
        ...

    async def save_facts(self, new: Mapping[str, str], changed: Mapping[str, str]) -> None:
        """Write what this look has seen."""
        ...

    async def renumber(self, numbers: Mapping[str, str]) -> None:
        """Give what is stored of people to their new numbers (`numbers` by the old ones), and mark their days."""
        ...

    def stream_new_punches(self, after: int, until: int) -> AsyncIterator[Sequence[tuple[str, dt.datetime]]]:
        """Employees and instants of the punches with these ids (exclusive, inclusive)."""
        ...

    async def span_new_punches(self, after: int, until: int) -> Sequence[tuple[str, dt.datetime, dt.datetime]]:
        """The same by employee: the first and the last instant."""
        ...

    async def punches_around_changes(self, after: int, until: int) -> Sequence[tuple[str, dt.datetime]]:
        """Employees and instants of the punches that the clock changes with these ids make doubtful."""
        ...

    async def mark(self, marks: Iterable[tuple[str, dt.date, dt.date, str]]) -> int:
        """Mark days: employee number, first and last date, reason; how many marks."""
        ...

    async def finish(self) -> None:
        """Write what was seen."""
        ...


class MarkStore(Protocol):
    """The marks on days that are to be computed again."""

    def marking(self, execution_id: str) -> AbstractAsyncContextManager[Marking]:
        """One transaction; others wait for their turn."""
        ...


class DayWork(Protocol):
    """Some people's days: read, computed and written in one transaction."""

    @property
    def facts(self) -> Mapping[str, PersonFacts]:
        """Of those of the people whom attendance knows."""
        ...

    @property
    def setup_id(self) -> int:
        """The number of the setup that counts."""
        ...

    async def read(self, begin: dt.datetime, end: dt.datetime) -> ChunkInputs:
        """Everything that the days depend on, with the punches from `begin` to `end` (exclusive)."""
        ...

    async def write(self, result: ChunkResult) -> None:
        """Store the result, and take the marks of the days away."""
        ...


class DayStore(Protocol):
    """The computed days."""

    async def read_setup(self) -> tuple[int, Mapping[str, Any]]:
        """The newest setup and its number; 0 and nothing: there is none."""
        ...

    def stream_people(
        self, *, employees: Collection[str] = (), departments: Collection[str] = ()
    ) -> AsyncIterator[Mapping[str, PersonFacts]]:
        """The people that attendance knows, some thousand at a time, in the order of their numbers.

        Args:
            employees, departments: only those of these numbers, and those in or below these departments.
        """
        ...

    async def list_dirty(self, *, limit: int) -> list[Ask]:
        """The oldest marked days."""
        ...

    async def list_open(self, *, first: dt.date, last: dt.date) -> list[Ask]:
        """The days of these dates that were not over when they were computed."""
        ...

    def computing(self, asks: Sequence[Ask], execution_id: str) -> AbstractAsyncContextManager[DayWork]:
        """One transaction; whoever wants the same people waits."""
        ...

    async def find_current_at(self) -> dt.datetime | None:
        """As of when the days of everybody were current last; None: they never were."""
        ...

    async def finish(self, execution_id: str, *, current_at: dt.datetime | None, recount: bool = False) -> None:
        """Note that a run over many days has ended.

        Args:
            current_at: as of when the days of everybody are current; None: they may not be.
            recount: count the days, which takes a while for millions.
        """
        ...

    async def lock_period(self, period: LockedPeriod, *, made_by: str, reason: str) -> int | None:
        """Lock a period: no day of it is written any more.

        Returns:
            how many days it has; None: days of it are marked to be computed again, not over yet, or locked already.
        """
        ...

    async def list_locks(self) -> list[LockedPeriod]:
        """The periods that are locked."""
        ...


class Amending(Protocol):
    """One amendment; everything in one transaction."""

    async def find_setup(self) -> Mapping[str, Any] | None:
        """The setup that days are computed by; None: none was ever computed."""
        ...

    async def find_facts(self, employee_no: str) -> PersonFacts | None:
        """What attendance knows of an employee; None: nothing."""
        ...

    async def has_department(self, code: str) -> bool:
        """Whether the HR data has the department."""
        ...

    async def find_punch(self, employee_no: str, punch_id: int) -> dt.datetime | None:
        """When the punch was; None: the employee has no such punch."""
        ...

    async def list_assignments(self) -> list[Assignment]:
        """The assignments that nobody has withdrawn."""
        ...

    async def add_correction(self, **values: Any) -> int:
        """Keep a correction; its number."""
        ...

    async def add_override(self, **values: Any) -> int:
        """Keep an override; its number."""
        ...

    async def add_assignment(self, **values: Any) -> int:
        """Keep an assignment; its number."""
        ...

    async def withdraw(self, kind: str, number: int, *, made_by: str, reason: str) -> Mapping[str, Any] | None:
        """Take back a `correction`, an `override`, an `assignment` or a `lock`; its columns.

        Returns:
            None: there is none of this number that stands.
        """
        ...

    async def mark(self, marks: Iterable[tuple[str, dt.date, dt.date, str]]) -> int:
        """Mark days: employee number, first and last date, reason; how many marks."""
        ...


class AmendmentStore(Protocol):
    """What people say about attendance."""

    def amending(self, *, alone: bool = False) -> AbstractAsyncContextManager[Amending]:
        """One transaction; a period is not locked meanwhile, and with `alone` nobody else amends or computes."""
        ...


# --- mail -----------------------------------------------------------------------------------------------------------


class MailOutbox(Protocol):
    """The messages to be sent. What a claim's token allows ends when the claim is given up."""

    async def enqueue(
        self,
        *,
        business_key: str,
        recipient: str,
        subject: str,
        text: str,
        html: str | None = None,
        correlation_id: str | None = None,
    ) -> int | None:
        """Add a message and a pending execution that sends it; its id, or None when the key is there already.

        Raises:
            ConfigurationError: the recipient is no address.
        """
        ...

    async def claim(self, token: str, message_id: int | None = None, *, resend: bool = False) -> OutgoingMail | None:
        """Claim this pending message, or the one that is due first; None: there is none, or another was faster.

        With `resend` also a failed or uncertain one.
        """
        ...

    async def find_status(self, message_id: int) -> MailStatus | None:
        """What has become of the message; None: there is no such message."""
        ...

    async def mark_sent(self, message_id: int, token: str) -> None:
        """The server has it."""
        ...

    async def mark_failed(self, message_id: int, token: str, error: str) -> None:
        """It will not be sent."""
        ...

    async def mark_uncertain(self, message_id: int, token: str, error: str) -> None:
        """Perhaps it was sent."""
        ...

    async def release(
        self, message_id: int, token: str, *, delay_seconds: float, error: str, counts: bool = False
    ) -> None:
        """Make it pending again, due after the delay; `counts`: the attempt is one of those that it has."""
        ...

    async def give_up_claims(self, token: str, *, execution_id: str, older_than_seconds: float) -> Sequence[int]:
        """Make uncertain what was claimed long ago, or by an earlier attempt of the execution; the ids."""
        ...


class Mailer(Protocol):
    """Sends messages over one connection, which is there inside the `async with` block."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc_info: object) -> None: ...

    async def prepare(self, mail: OutgoingMail) -> Deferred | Refused | None:
        """Everything that can still be taken back; None: `deliver` may follow.

        Raises:
            TransientError: the server is away.
            ConfigurationError: it does not let us in.
        """
        ...

    async def deliver(self, mail: OutgoingMail) -> Delivery:
        """Hand the prepared message over. When this is interrupted, nobody knows whether it was delivered."""
        ...


# --- executions in parts --------------------------------------------------------------------------------------------


class Parts(Protocol):
    """The parts of executions: executions of their own, which are dispatched, retried and rescued like all others."""

    async def find(self, execution_id: str) -> Sequence[PartState]:
        """The parts of an execution as they are now, in the order of the plan; empty: none have been made."""
        ...

    async def create(
        self, execution_id: str, attempt: int, task: TaskTraits, params: Sequence[Mapping[str, Any]]
    ) -> None:
        """Make one part for each set of parameters, in one transaction; nothing is done where there are parts already.

        Raises:
            ConflictError: the execution is no longer in this attempt.
            ConfigurationError: the task does not take these parameters.
        """
        ...

    async def take_over(self, execution_id: str, attempt: int, task: TaskTraits) -> bool:
        """Share the parts that ended well with the execution that this one retries, and make the others again.

        Returns:
            False: it is no retry, what it retries ended well, or there is nothing to take over.

        Raises:
            ConflictError: the execution is no longer in this attempt.
        """
        ...


# --- history --------------------------------------------------------------------------------------------------------


class History(Protocol):
    """The executions of the past and their logs."""

    async def delete_executions(self, *, older_than_seconds: float, limit: int) -> int:
        """Delete at most `limit` finished executions that old, with attempts and logs; how many (0: none is left)."""
        ...

    async def delete_logs(self, *, older_than_seconds: float, limit: int) -> int:
        """Delete at most `limit` log lines that old; how many (0: none is left)."""
        ...
