"""What people say about attendance: punches added, edited or taken out, days overridden, schedules assigned.

Each of them is kept apart from the devices' data with who and why; the days that it touches are marked to be computed
again in the same transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.corrections import Action
from backend.domain.attendance.day import Status
from backend.domain.attendance.people import PersonFacts
from backend.domain.attendance.setup import Setup, assignments_in, days_touched_at, make_setup, ranges_of
from backend.domain.punches import Direction
from backend.errors import ConfigurationError, NotFoundError
from backend.ports import Amending, AmendmentStore, AttendanceRuleSource

_REASON_LENGTH = 500


class Amender:
    """Takes what somebody says.

    Args:
        made_by: who says it.
        reason: why.

    Raises:
        ConfigurationError: there is no reason, or it is too long.
    """

    def __init__(self, store: AmendmentStore, rules: AttendanceRuleSource, *, made_by: str, reason: str) -> None:
        if not reason.strip():
            raise ConfigurationError("Say why: whoever looks at the day later wants to know.")
        if len(reason) > _REASON_LENGTH:
            raise ConfigurationError(f"The reason has {len(reason)} characters; {_REASON_LENGTH} are the most.")
        self._store = store
        self._rules = rules
        self._made_by = made_by
        self._reason = reason.strip()

    async def add_punch(self, employee_no: str, punched_at: dt.datetime, direction: Direction | None) -> int:
        """Add a punch; the number of the correction.

        Raises:
            NotFoundError: attendance does not know the employee.
        """
        return await self._correct(employee_no, Action.ADD, None, punched_at, direction)

    async def edit_punch(
        self, employee_no: str, punch_id: int, punched_at: dt.datetime | None, direction: Direction | None
    ) -> int:
        """Let a punch count with another time or direction; the number of the correction.

        Raises:
            NotFoundError: the employee has no such punch.
            ConfigurationError: neither is given.
        """
        if punched_at is None and direction is None:
            raise ConfigurationError("An edited punch needs another time, another direction, or both.")
        return await self._correct(employee_no, Action.EDIT, punch_id, punched_at, direction)

    async def ignore_punch(self, employee_no: str, punch_id: int) -> int:
        """Let a punch not count; the number of the correction.

        Raises:
            NotFoundError: the employee has no such punch.
        """
        return await self._correct(employee_no, Action.IGNORE, punch_id, None, None)

    async def _correct(
        self,
        employee_no: str,
        action: Action,
        punch_id: int | None,
        punched_at: dt.datetime | None,
        direction: Direction | None,
    ) -> int:
        async with self._store.amending() as amending:
            facts = await _get_facts(amending, employee_no)
            instants = [punched_at] if punched_at else []
            if punch_id is not None:
                punch_at = await amending.find_punch(employee_no, punch_id)
                if punch_at is None:
                    raise NotFoundError(
                        f"Employee {employee_no} has no punch {punch_id}; `hrsync attendance explain` shows the "
                        "numbers."
                    )
                instants.append(punch_at)
            number = await amending.add_correction(
                employee_no=employee_no,
                action=action.value,
                punch_id=punch_id,
                punched_at=punched_at,
                direction=direction.value if direction else None,
                **self._said(),
            )
            await self._mark_instants(amending, employee_no, facts, instants)
            return number

    async def override_day(
        self,
        employee_no: str,
        work_on: dt.date,
        *,
        status: Status | None = None,
        worked_seconds: int | None = None,
        late_seconds: int | None = None,
        early_seconds: int | None = None,
    ) -> int:
        """Set what a day is; what is None stays as it is computed. The number of the override.

        Raises:
            NotFoundError: attendance does not know the employee.
            ConfigurationError: nothing is set, or a time is negative or longer than a day.
        """
        times = {"worked_seconds": worked_seconds, "late_seconds": late_seconds, "early_seconds": early_seconds}
        if status is None and all(value is None for value in times.values()):
            raise ConfigurationError("Say what the day is to be: its status, or a time.")
        for name, value in times.items():
            if value is not None and not 0 <= value <= 86_400:
                raise ConfigurationError(f"{name} is {value}; a day has 0 to 86400 seconds.")
        async with self._store.amending() as amending:
            facts = await _get_facts(amending, employee_no)
            number = await amending.add_override(
                employee_no=employee_no,
                work_on=work_on,
                status=status.value if status else None,
                **times,
                **self._said(),
            )
            await self._mark_override(amending, employee_no, facts, work_on)
            return number

    async def assign(self, assignment: Assignment) -> int:
        """Assign a pattern, a policy, or both; the number of the assignment. The next look marks what it changes.

        Raises:
            ConfigurationError: it names what there is not, or overlaps another one.
        """
        # Alone, as two that overlap would be read by neither of those who add them, and by no computation after them.
        async with self._store.amending(alone=True) as amending:
            if assignment.scope in (Scope.EMPLOYEE, Scope.EXCEPTION):
                await _get_facts(amending, assignment.target)
            elif assignment.scope is Scope.DEPARTMENT and not await amending.has_department(assignment.target):
                raise NotFoundError(f"The HR data has no department {assignment.target}; give the code of one.")
            # Parsed with all the others: whatever is wrong is said now, and not to the next computation.
            content, others = self._rules.load(), await amending.list_assignments()
            self._rules.parse(content, others)
            self._rules.parse(content, [*others, assignment], named="The assignment")
            return await amending.add_assignment(
                scope=assignment.scope.value,
                target=assignment.target,
                pattern=assignment.pattern,
                policy=assignment.policy,
                first_on=None if assignment.first_on == dt.date.min else assignment.first_on,
                last_on=None if assignment.last_on == dt.date.max else assignment.last_on,
                **self._said(),
            )

    async def withdraw(self, kind: str, number: int) -> None:
        """Take back a `correction`, an `override`, an `assignment` or a `lock`.

        Raises:
            NotFoundError: there is none of this number that has not been taken back.
        """
        # A computation that still knows the lock would leave an adjustment behind.
        async with self._store.amending(alone=kind == "lock") as amending:
            said = await amending.withdraw(kind, number, made_by=self._made_by, reason=self._reason)
            if said is None:
                raise NotFoundError(f"There is no {kind} {number}, or it has been withdrawn already.")
            employee_no = said.get("employee_no")
            facts = await amending.find_facts(employee_no) if employee_no else None
            if employee_no is None or facts is None:
                return
            if kind == "override":
                await self._mark_override(amending, employee_no, facts, said["work_on"])
            else:
                instants = [said["punched_at"]] if said["punched_at"] else []
                if said["punch_id"] is not None:
                    found = await amending.find_punch(employee_no, said["punch_id"])
                    instants += [found] if found else []
                await self._mark_instants(amending, employee_no, facts, instants)

    def _said(self) -> Mapping[str, Any]:
        return {"made_by": self._made_by, "reason": self._reason}

    async def _mark_instants(
        self, amending: Amending, employee_no: str, facts: PersonFacts, instants: list[dt.datetime]
    ) -> None:
        if (setup := await self._find_setup(amending)) is None:
            return  # no day was ever computed
        person = setup.input_of(employee_no, facts)
        days = {day for at in instants for day in days_touched_at(person, at)}
        await amending.mark((employee_no, *dates, "correction") for dates in ranges_of(sorted(days)))

    async def _mark_override(self, amending: Amending, employee_no: str, facts: PersonFacts, work_on: dt.date) -> None:
        if (setup := await self._find_setup(amending)) is None:
            return
        # What was worked counts towards the weekly limit of the days that follow.
        last = work_on
        for first_on, last_on, policy in setup.input_of(employee_no, facts).policies:
            if first_on <= work_on <= last_on and policy.overtime.weekly_limit_seconds is not None:
                last = work_on + dt.timedelta(days=6 - (work_on.weekday() - policy.overtime.week_starts_on) % 7)
        await amending.mark([(employee_no, work_on, last, "override")])

    async def _find_setup(self, amending: Amending) -> Setup | None:
        content = await amending.find_setup()
        if content is None:
            return None
        return make_setup(content, self._rules.parse(content["rules"], assignments_in(content)))


async def _get_facts(amending: Amending, employee_no: str) -> PersonFacts:
    facts = await amending.find_facts(employee_no)
    if facts is None:
        raise NotFoundError(
            f"Attendance knows no employee {employee_no}. Somebody new is known after the next computation; numbers "
            "are those of the HRIS."
        )
    return facts
