"""Whatever happens to executions in parts, in whatever order: each part succeeds once, and each whole ends once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from backend.api.repositories.run_repository import ClaimedRun
from backend.domain.executions import Cancelled, Interrupted, Outcome, Status, Succeeded
from tests.support.databases import make_database
from tests.support.parts import BROKEN, Wholes, good

T = TypeVar("T")
COUNT = 3


class Story(RuleBasedStateMachine):
    """Workers that claim, end, are killed and come back; people who cancel and retry; a sweep at any time."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.wholes = Wholes(make_database(url), COUNT)
        # Each whole, and the first of the wholes that it repeats.
        self.chains: dict[str, str] = {}
        self.running: dict[str, tuple[ClaimedRun, Outcome | None]] = {}
        self.killed: list[tuple[ClaimedRun, Outcome]] = []
        self.successes: Counter[tuple[str, int]] = Counter()
        self.ended: dict[str, Status] = {}
        for _ in range(2):
            whole = self.do(self.wholes.add())
            self.chains[whole] = whole

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of the coroutine."""
        return self.runner.run(work)

    async def parts(self) -> dict[str, tuple[str, int]]:
        """Each part of these wholes, with the chain and the number that it is."""
        found = {}
        for whole, chain in self.chains.items():
            for part in await self.wholes.states(whole):
                found[part.execution_id] = (chain, part.number)
        return found

    async def with_status(self, *wanted: Status) -> list[str]:
        """The executions of these wholes with such a status."""
        statuses = await self.wholes.statuses([*self.chains, *await self.parts()])
        return sorted(item for item, status in statuses.items() if status in wanted)

    def choose(self, data: st.DataObject, ids: Sequence[str]) -> str | None:
        """One of them."""
        # By their place: ids are different each time, and a story must be one that can be told again.
        return ids[data.draw(st.integers(0, len(ids) - 1))] if ids else None

    def last_of(self, chain: str) -> str:
        """The latest retry of a whole."""
        return [whole for whole, first in self.chains.items() if first == chain][-1]

    def go_on(self, data: st.DataObject) -> None:
        """For a while nothing special happens; every rule begins with it, as else hardly anything would come far."""
        goods = data.draw(st.lists(st.booleans(), min_size=COUNT, max_size=COUNT))
        for _ in range(data.draw(st.integers(0, 5))):
            self.work_on(goods)

    def work_on(self, goods: Sequence[bool]) -> None:
        """What runs ends, the scheduler looks, and what is due begins."""
        for place, chosen in enumerate(sorted(self.running)):
            self.do(self._end(chosen, goods[place % COUNT]))
        self.do(self.wholes.sweep())
        for chosen in self.do(self.with_status(Status.PENDING)):
            self.do(self._begin(chosen))

    # --- rules --------------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """A worker claims something; a whole does its work."""
        chosen = self.choose(data, self.do(self.with_status(Status.PENDING)))
        if chosen is not None:
            self.do(self._begin(chosen))

    async def _begin(self, chosen: str) -> None:
        run = await self.wholes.claim(chosen)
        if run is None:
            return
        outcome = None
        if run.abandoned is not None:
            outcome = Cancelled(reason=run.abandoned)
        elif chosen in self.chains:
            outcome, _ = await self.wholes.body(run)
        self.running[chosen] = run, outcome

    @rule(data=st.data(), is_good=st.booleans())
    def end(self, data: st.DataObject, is_good: bool) -> None:
        """A run comes to its end."""
        chosen = self.choose(data, sorted(self.running))
        if chosen is not None:
            self.do(self._end(chosen, is_good))

    async def _end(self, chosen: str, is_good: bool = True) -> None:
        run, outcome = self.running.pop(chosen)
        place = (await self.parts()).get(chosen)
        row = await self.wholes.row(chosen)
        if row.cancel_requested_at is not None:
            outcome = Cancelled(reason="asked to")
        elif place is not None and outcome is None:
            whole = self.last_of(place[0])
            outcome = good(run) if is_good else BROKEN
            if (await self.wholes.status(whole)).is_final:
                outcome = Cancelled(reason="the sweep has asked it to end")
        assert outcome is not None
        assert await self.wholes.end(run, outcome)
        if place is not None and isinstance(outcome, Succeeded):
            self.successes[place] += 1

    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        """A worker shuts down."""
        self.go_on(data)
        chosen = self.choose(data, sorted(self.running))
        if chosen is not None:
            run, _ = self.running.pop(chosen)
            assert self.do(self.wholes.end(run, Interrupted()))

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        """A worker is killed, and its run is rescued."""
        self.go_on(data)
        chosen = self.choose(data, sorted(self.running))
        if chosen is not None:
            run, outcome = self.running.pop(chosen)
            self.killed.append((run, outcome or BROKEN))
            self.do(self.wholes.lose(chosen))

    @precondition(lambda self: self.killed)
    @rule()
    def come_back(self) -> None:
        """A worker that was cut off wants to end a run that is no longer its own."""
        run, outcome = self.killed.pop()
        assert not self.do(self.wholes.end(run, outcome))

    @rule()
    def sweep(self) -> None:
        """The scheduler looks."""
        self.do(self.wholes.sweep())

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Somebody cancels a whole or a part."""
        self.go_on(data)
        chosen = self.choose(data, self.do(self.with_status(Status.PENDING, Status.RUNNING)))
        if chosen is not None:
            self.do(self.wholes.cancel(chosen))

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """Somebody retries the last whole of a chain, when nothing of it runs any more."""
        self.go_on(data)
        ended = self.do(self.with_status(Status.FAILED, Status.CANCELLED))
        chosen = self.choose(
            data, [item for item in ended if item in self.chains and item == self.last_of(self.chains[item])]
        )
        if chosen is None or any(chain == self.chains[chosen] for chain, _ in self.do(self._places_running())):
            return
        self.do(self.wholes.sweep())
        self.chains[self.do(self.wholes.retry(chosen))] = self.chains[chosen]

    async def _places_running(self) -> list[tuple[str, int]]:
        return [place for part, place in (await self.parts()).items() if part in self.running]

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def parts_are_there_all_or_not_at_all(self) -> None:
        """A whole has no part, or all of them in their order."""
        for whole in self.chains:
            numbers = [part.number for part in self.do(self.wholes.states(whole))]
            assert numbers in ([], list(range(1, COUNT + 1)))

    @invariant()
    def every_part_succeeds_at_most_once(self) -> None:
        """However often a whole is killed and retried."""
        assert all(count == 1 for count in self.successes.values())

    @invariant()
    def ends_are_ends(self) -> None:
        """What has ended stays as it is, and a whole that succeeded has only parts that did."""
        for whole in self.chains:
            status = self.do(self.wholes.status(whole))
            assert self.ended.get(whole, status) is status
            if status.is_final:
                self.ended[whole] = status
            if status is Status.SUCCESS:
                states = self.do(self.wholes.states(whole))
                assert [Status.SUCCESS] * COUNT == [part.status for part in states]
                assert sum(range(1, COUNT + 1)) == self.do(self.wholes.row(whole)).rows_read

    def teardown(self) -> None:
        """Left alone, with workers that work, everything comes to its end."""
        try:
            self.come_to_an_end()
        finally:
            self.do(self.wholes.database.dispose())
            self.runner.close()

    def come_to_an_end(self) -> None:
        """Sweeps and runs until nothing is left."""
        for _ in range(10):
            self.work_on([True] * COUNT)
            if not self.do(self.with_status(Status.PENDING, Status.RUNNING)):
                break
        assert [] == self.do(self.with_status(Status.PENDING, Status.RUNNING))
        self.ends_are_ends()
        self.every_part_succeeds_at_most_once()


def test_each_part_succeeds_once_and_each_whole_ends_once(database_url: str) -> None:
    """Kills, late writers, cancellations, retries and sweeps in any order lose nothing and double nothing."""
    run_state_machine_as_test(
        lambda: Story(database_url),
        settings=settings(
            max_examples=12, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
