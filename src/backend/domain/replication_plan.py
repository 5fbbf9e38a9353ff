"""What a plan of a replication says: the changes of rows, the counts, and what the guard has against it."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from backend.domain.employees import ENTITY_SPECS, Entity
from backend.domain.executions import RowCounts
from backend.domain.mapping import GuardRules


class ChangeAction(enum.StrEnum):
    """What a run does to one row."""

    INSERT = "insert"
    UPDATE = "update"
    REACTIVATE = "reactivate"
    DEACTIVATE = "deactivate"
    RENUMBER = "renumber"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """What a run does to one row of the target, field by field.

    Attributes:
        key: the key that the row has before the run (of an insert: the new one).
        fields: (old, new) by field, canonical texts; sensitive ones hashed or masked. Of an insert the new values.
        row_id: the id of the row in the target; None for an insert.
        new_key: the key that it gets, when it is renumbered.
    """

    entity: Entity
    key: str
    action: ChangeAction
    fields: Mapping[str, tuple[str | None, str | None]]
    row_id: int | None = None
    new_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What earlier runs left about one entity.

    Attributes:
        revision: raised by every run that is applied, so that a run can tell that another came between.
        sizes: how many rows the last full reads accepted, the newest last.
        filled: by field, the share of rows (0 to 1) that had a value in the last full read.
        rejected_share: the share of rows that the last full read rejected.
        columns: the result columns of the last run; empty before the first.
        bound: where an incremental read goes on; None: only a full read can.
        full_read_at: when the last full read was, ISO 8601; None: never.
        mapping: the fingerprint of the mapping that the last run used.
        salt: what sensitive values are hashed with.
    """

    revision: int = 0
    sizes: Sequence[int] = ()
    filled: Mapping[str, float] = field(default_factory=dict)
    rejected_share: float | None = None
    columns: Sequence[str] = ()
    bound: str | None = None
    full_read_at: str | None = None
    mapping: str = ""
    salt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityPlan:
    """What one entity's source means for the target.

    Attributes:
        counts: rows read, inserted, updated, unchanged, deactivated, rejected; `read` is the sum of the others without
            the rows that are deactivated because the source has them no more (`vanished`).
        reactivated, renumbered: how many of the updated ones were inactive before, or had another key.
        vanished: how many rows the source has no more.
        warnings: defects of rows that are applied nevertheless, without the value in question.
        reasons: number of quarantine entries by reason.
        changed_fields: how many rows change, by field.
        active_before: active rows in the target.
        facts: what this run leaves for the next ones.
        notes: what people should know, such as columns that are new.
        is_partial: only changed rows were read.
    """

    entity: Entity
    counts: RowCounts
    reactivated: int = 0
    renumbered: int = 0
    vanished: int = 0
    warnings: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    changed_fields: Mapping[str, int] = field(default_factory=dict)
    active_before: int = 0
    facts: StreamFacts = field(default_factory=StreamFacts)
    notes: Sequence[str] = ()
    is_partial: bool = False

    @property
    def changes(self) -> int:
        """How many rows are to be written."""
        return sum(getattr(self.counts, name) or 0 for name in ("inserted", "updated", "deactivated"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationPlan:
    """What a run would do to the whole target.

    Attributes:
        concerns: why the guard does not let it; empty when it does.
        skips_deactivations: the concerns are about deactivations only, and the mapping says to do the rest.
        fingerprint: 16 bytes, the same for two plans that do exactly the same, for the same concerns.
        fingerprint_of_deactivations: 16 bytes, the same for two plans with the same deactivations.
        read_changes: gives the changes, row by row, entity by entity.
    """

    entities: Sequence[EntityPlan]
    concerns: Sequence[str] = ()
    skips_deactivations: bool = False
    fingerprint: bytes = b""
    fingerprint_of_deactivations: bytes = b""
    read_changes: Callable[[], Iterator[RowChange]]

    @property
    def counts(self) -> RowCounts:
        """The counts over the entities."""
        return sum((plan.counts for plan in self.entities), RowCounts())

    def changes(self) -> Iterator[RowChange]:
        """What changes, row by row."""
        return self.read_changes()

    @property
    def waiting(self) -> ReplicationPlan:
        """What is not done without a person's word: all of it, or its deactivations where the mapping says so."""
        if not self.skips_deactivations:
            return self
        return replace(
            self,
            entities=[
                replace(plan, counts=RowCounts(deactivated=plan.counts.deactivated), reactivated=0, renumbered=0)
                for plan in self.entities
            ],
            fingerprint=self.fingerprint_of_deactivations,
            read_changes=lambda: (change for change in self.changes() if change.action is ChangeAction.DEACTIVATE),
        )


class HoldStatus(enum.StrEnum):
    """What has become of a held run."""

    HELD = "held"
    APPROVED = "approved"
    REJECTED = "rejected"
    APPLIED = "applied"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRun:
    """A run that the guard held.

    Attributes:
        execution_id: the run that was held first; later ones would do the same.
        fingerprint: of its plan.
        is_new: whether nobody has been told of it.
        decided_by: who approved or rejected it.
    """

    execution_id: str
    status: HoldStatus
    fingerprint: bytes
    is_new: bool = False
    decided_by: str | None = None


# --- the guard ------------------------------------------------------------------------------------------------------


class ConcernKind(enum.Enum):
    """What the guard looks at."""

    DEACTIVATIONS = enum.auto()
    SHRUNK = enum.auto()
    GROWN = enum.auto()
    EMPTIED = enum.auto()
    REJECTED = enum.auto()
    COLUMNS = enum.auto()


class Concern(NamedTuple):
    """Why a plan must not be applied without a person's word."""

    kind: ConcernKind
    message: str


def find_concerns(plan: EntityPlan, rules: GuardRules, earlier: StreamFacts | None = None) -> list[Concern]:
    """What speaks against applying an entity's plan.

    Args:
        earlier: what the runs before left; None before the first.
    """
    found = [*_check_deactivations(plan, rules)]
    if earlier is not None and not plan.is_partial:
        found += [*_check_size(plan, rules, earlier), *_check_content(plan, rules, earlier)]
    return found


def may_skip_deactivations(concerns: Sequence[Concern], rules: GuardRules) -> bool:
    """Whether all but the deactivations may be applied: the mapping says so, and nothing else is the trouble."""
    kinds = {concern.kind for concern in concerns}
    return (
        bool(kinds)
        and rules.on_guard == "skip_deactivations"
        and kinds
        <= {
            ConcernKind.DEACTIVATIONS,
            ConcernKind.SHRUNK,
        }
    )


def describe_columns(entity: Entity, gone: Sequence[str], new: Sequence[str]) -> str:
    """How the result of an entity's query differs from the last one."""
    parts = [f"{word} {', '.join(names)}" for word, names in (("lost", gone), ("got", new)) if names]
    return f"the result of the {entity} {' and '.join(parts)}"


def column_concern(entity: Entity, gone: Sequence[str], new: Sequence[str]) -> Concern:
    """The result of an entity whose contract is `freeze` has other columns than before."""
    return Concern(ConcernKind.COLUMNS, f'{describe_columns(entity, gone, new)} (contract = "freeze")')


def _check_deactivations(plan: EntityPlan, rules: GuardRules) -> Iterator[Concern]:
    entity, active, gone = plan.entity, plan.active_before, plan.counts.deactivated or 0
    if not active or not gone:
        return
    read = plan.counts.read or 0
    if read == (plan.counts.rejected or 0) and not plan.is_partial:
        what = f"none of the source's {read:,} {entity} can be taken" if read else f"the source has no {entity} at all"
        yield Concern(ConcernKind.DEACTIVATIONS, f"{what}, while {active:,} are active here")
        return
    limit = max(rules.max_deactivations_at_least, int(active * rules.max_deactivations_percent / 100))
    if gone > limit:
        yield Concern(
            ConcernKind.DEACTIVATIONS,
            f"{gone:,} of {active:,} active {entity} would be deactivated, more than the limit of {limit:,} "
            f"(max_deactivations_percent = {rules.max_deactivations_percent:g}, "
            f"max_deactivations_at_least = {rules.max_deactivations_at_least})",
        )
    elif gone > rules.max_deactivations:
        yield Concern(
            ConcernKind.DEACTIVATIONS,
            f"{gone:,} of {active:,} active {entity} would be deactivated, more than the limit of "
            f"{rules.max_deactivations:,} (max_deactivations)",
        )


def _check_size(plan: EntityPlan, rules: GuardRules, earlier: StreamFacts) -> Iterator[Concern]:
    if not earlier.sizes or not plan.facts.sizes:
        return
    usual, now = statistics.median(earlier.sizes), plan.facts.sizes[-1]
    if abs(now - usual) <= rules.size_at_least:
        return
    percent = 100 * (now - usual) / max(usual, 1)
    what = f"the source has {now:,} readable {plan.entity}, while the last runs read {usual:,.0f}"
    if percent < -rules.max_shrink_percent:
        limit = f"(max_shrink_percent = {rules.max_shrink_percent:g})"
        yield Concern(ConcernKind.SHRUNK, f"{what}: {-percent:.0f} % fewer {limit}")
    elif percent > rules.max_growth_percent:
        limit = f"(max_growth_percent = {rules.max_growth_percent:g})"
        yield Concern(ConcernKind.GROWN, f"{what}: {percent:.0f} % more {limit}")


def _check_content(plan: EntityPlan, rules: GuardRules, earlier: StreamFacts) -> Iterator[Concern]:
    # Of a handful of rows a single one is too large a part to tell anything.
    if (plan.counts.read or 0) <= rules.size_at_least:
        return
    most = rules.max_emptied_percent / 100
    for name, before in earlier.filled.items():
        now = plan.facts.filled.get(name)
        if now is not None and before >= most and 1 - now > most:
            yield Concern(
                ConcernKind.EMPTIED,
                f"{name} is empty in {1 - now:.0%} of the {plan.entity}; it was filled in {before:.0%} of them "
                f"(max_emptied_percent = {rules.max_emptied_percent:g})",
            )
    share, limit = plan.facts.rejected_share or 0.0, rules.max_rejected_percent / 100
    if earlier.rejected_share is not None and earlier.rejected_share <= limit < share:
        required = ", ".join(item.name for item in ENTITY_SPECS[plan.entity].all_fields() if item.required)
        yield Concern(
            ConcernKind.REJECTED,
            f"{share:.0%} of the {plan.entity} would be rejected (max_rejected_percent = "
            f"{rules.max_rejected_percent:g}); look whether {required} are still filled",
        )
