"""Jobs of all kinds, for property tests."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import strategies as st

from backend.domain.jobs import Blackout, CatchUp, JobSpec, Overlap
from backend.domain.schedules import DstRule

_TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)
_INSTANTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))
_TRIGGERS = st.sampled_from(
    [
        ("cron", "30 2 * * 1-5"),
        ("cron", "@daily"),
        ("interval", "15m"),
        ("interval", "7"),
        ("date", "2026-05-01T08:00:00"),
    ]
)


@st.composite
def job_specs(draw: st.DrawFn, task_code: str, params: st.SearchStrategy[dict[str, Any]]) -> JobSpec:
    """Valid jobs of the task, with every field of a job in all its forms."""
    kind, expression = draw(_TRIGGERS)
    starts_at, ends_at = sorted((draw(_INSTANTS), draw(_INSTANTS)))
    return JobSpec(
        code=draw(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)),
        task_code=task_code,
        trigger_kind=kind,
        trigger_expression=expression,
        name=draw(_TEXTS),
        description=draw(_TEXTS),
        params=draw(params),
        timezone=draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])),
        dst_rule=draw(st.sampled_from(DstRule)).value,
        jitter_seconds=draw(st.sampled_from([0, 0.5, 30, 60, 5400, 86_400])),
        starts_at=draw(st.none() | st.just(starts_at)),
        ends_at=draw(st.none() | st.just(ends_at)),
        max_runs=draw(st.none() | st.integers(1, 2**31 - 1)),
        blackouts=draw(
            st.just(()) | st.builds(lambda reason: (Blackout(start=starts_at, end=ends_at, reason=reason),), _TEXTS)
        ),
        catch_up=draw(st.sampled_from(CatchUp)).value,
        max_lateness_seconds=draw(st.sampled_from([0, 1.5, 3600, 86_400])),
        overlap=draw(st.sampled_from(Overlap)).value,
        enabled=draw(st.booleans()),
    )
