"""`hrsync attendance check`: reads the rules, says what they are, and holds them against the people there are."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.attendance_words import WRAPPED
from backend.cli.exits import ExitCode
from backend.cli.output import AsJson, facts, show, table
from backend.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from backend.adapters.attendance_rules import FileRuleSource
    from backend.adapters.attendance_targets import KnownTargets
    from backend.domain.attendance.calendars import Holiday
    from backend.domain.attendance.rules import AttendanceRules, Site
    from backend.services.hris_findings import Finding

_FILE = "attendance.toml"
_NEXT_HOLIDAYS = 3
_SHOWN_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Company:
    """The rules, and what the database has beside them.

    Attributes:
        rules: with the assignments of the table, where there is one.
        holidays: those of the HR data.
    """

    rules: AttendanceRules
    table_assignments: int = 0
    holidays: Sequence[Holiday] = ()
    findings: Sequence[Finding] = ()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="The rules; by default attendance.toml of the configuration."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check the rules of attendance, and say what they are; exit code 78 when they are wrong.

    Where the database answers, its assignments and people are held against them.
    """
    from backend.adapters.attendance_rules import FileRuleSource
    from backend.cli.doctor import worst_level
    from backend.cli.session import run_async
    from backend.settings import get_settings

    path = file or get_settings().config_file(_FILE)
    source = FileRuleSource(path)
    content = source.load()
    company = run_async(_look_at_company(source, content))
    rules = company.rules
    today = dt.datetime.now(dt.UTC).date()
    public = source.public_holidays(rules.sites.values(), today, today + dt.timedelta(days=400))
    coming = sorted((*company.holidays, *public, *rules.company_days), key=lambda item: (item.holiday_on, item.name))
    findings = [*_find_unused(rules), *company.findings]
    data = {
        "status": worst_level(findings),
        "file": str(path) if path.exists() else None,
        "fingerprint": rules.fingerprint,
        "policies": sorted(rules.policies),
        "shifts": sorted(rules.shifts),
        "patterns": [{"code": item.code, "days": len(item.days)} for item in rules.patterns.values()],
        "assignments": {"file": len(content["assignments"]), "table": company.table_assignments},
        "sites": [
            {
                "code": site.code,
                "timezone": site.timezone,
                "calendar": site.calendar,
                "public": site.public,
                "is_default": site.code == rules.default_site,
                "next_holidays": [
                    {"on": item.holiday_on, "name": item.name, "day_part": item.day_part}
                    for item in _next_holidays(site, coming, today)
                ],
            }
            for site in rules.sites.values()
        ],
        "findings": findings,
    }
    show(as_json, data, lambda output: _render(output, data, findings))
    return ExitCode.DONE


# --- what is there ----------------------------------------------------------------------------------------------------


def _next_holidays(site: Site, coming: Sequence[Holiday], today: dt.date) -> list[Holiday]:
    here = (item for item in coming if item.holiday_on >= today and item.calendar in (None, site.calendar))
    return [*itertools.islice(here, _NEXT_HOLIDAYS)]


def _find_unused(rules: AttendanceRules) -> Iterator[Finding]:
    """Shifts that no pattern names: a slip of the pen, mostly."""
    from backend.services.hris_findings import Finding

    named = {code for pattern in rules.patterns.values() for codes in pattern.days for code in codes}
    unused = sorted({*rules.shifts} - named)
    if unused:
        yield Finding(
            level="warning",
            subject="shifts",
            message=f"no pattern names {', '.join(unused)}",
            mend="Put them into a pattern, or take them out.",
        )


async def _look_at_company(source: FileRuleSource, content: Mapping[str, Any]) -> _Company:
    """The rules alone, where there is no database that answers."""
    from backend.adapters.attendance_targets import TargetStore
    from backend.cli.checks import check_database
    from backend.db.maria_database import maria
    from backend.errors import HrsyncError
    from backend.services.hris_findings import Finding
    from backend.settings import get_settings

    alone = source.parse(content, ())
    try:
        problem = next((item for item in await check_database(get_settings()) if item.level == "error"), None)
        if problem is None:
            store = TargetStore(maria())
            assignments = await store.list_assignments()
            rules = source.parse(content, assignments)
            return _Company(
                rules=rules,
                table_assignments=len(assignments),
                holidays=await store.list_holidays(),
                findings=[*_compare(rules, await store.find_targets(rules))],
            )
        message = problem.message
    except ConfigurationError:
        raise
    except HrsyncError as error:
        message = str(error).rstrip(".")
    return _Company(
        rules=alone,
        findings=[Finding(level="warning", subject="people", message=f"not compared with the rules: {message}")],
    )


def _compare(rules: AttendanceRules, known: KnownTargets) -> Iterator[Finding]:
    """Whom the rules speak of and nobody knows, and where people work that the rules do not know."""
    from backend.domain.attendance.assignments import Scope
    from backend.services.hris_findings import Finding

    if not known.sites:
        yield Finding(
            level="warning",
            subject="people",
            message="not compared with the rules: there are no employees yet",
            mend="Replicate the HRIS first: `hrsync hris sync`.",
        )
        return
    targets = rules.assignments.targets()
    for scopes, there, what in (
        ((Scope.EMPLOYEE, Scope.EXCEPTION), known.employees, "employees"),
        ((Scope.DEPARTMENT,), known.departments, "departments"),
    ):
        missing = sorted({target for scope, target in targets if scope in scopes} - there)
        if missing:
            yield Finding(
                level="warning",
                subject="assignments",
                message=f"{len(missing)} {what} are not in the HR data: {_names(missing)}",
                mend="Take them out, or see whether they are spelt as in the HRIS.",
            )
    strange = {site: count for site, count in known.sites.items() if site is not None and site not in rules.sites}
    if strange:
        yield Finding(
            level="warning",
            subject="sites",
            message=f"{sum(strange.values())} employees work at sites that the rules do not know: "
            f"{_names(sorted(strange))}; they count as {rules.default_site}",
            mend="Give each a table [sites.NAME].",
        )
    if homeless := known.sites.get(None):
        yield Finding(
            level="ok",
            subject="sites",
            message=f"{homeless} employees have no site; they count as {rules.default_site}",
        )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")


# --- words ------------------------------------------------------------------------------------------------------------


def _render(output: Console, data: Mapping[str, Any], findings: Iterable[Finding]) -> None:
    from backend.cli.doctor import render_findings

    count = data["assignments"]
    output.print(
        facts(
            [
                ("File", data["file"] or "none: one policy, no schedules, UTC"),
                ("Policies", ", ".join(data["policies"])),
                ("Shifts", ", ".join(data["shifts"]) or "none"),
                ("Patterns", ", ".join(item["code"] for item in data["patterns"]) or "none"),
                ("Assignments", f"{count['file']} of the file, {count['table']} of the table"),
            ]
        )
    )
    output.print()
    rows = (
        (
            site["code"] + (" (default)" if site["is_default"] else ""),
            site["timezone"],
            site["calendar"],
            site["public"] or "-",
            ", ".join(f"{item['on']} {item['name']}" for item in site["next_holidays"]) or "none known",
        )
        for site in data["sites"]
    )
    output.print(table(["SITE", "TIME ZONE", "CALENDAR", "PUBLIC", ("NEXT HOLIDAYS", WRAPPED)], rows))
    output.print()
    render_findings(output, [*findings])
    output.print("The rules are in order." if data["status"] == "ok" else "The rules can be used; see the warnings.")
