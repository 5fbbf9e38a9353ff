"""From the events of time clocks to punches, thousands at a time. Pure."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backend.domain.punches import Ignored, PunchFlag, PunchRules, Rejected

TEXT_LENGTH = 64  # of a user, a device, and the key of an event
MICROSECONDS = 1_000_000
# 2100-01-01: later than any clock that is merely wrong.
_LATEST = 4_102_444_800 * MICROSECONDS
# AES blocks in base64: what a user id becomes where BioStar encrypts personal data.
_CIPHERTEXT = re.compile(r"^([A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{43}=)$")
# The offset of a zone changes at quarters of an hour only.
_SLOT = 900 * MICROSECONDS

_Numbers = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Some events of one table, column by column.

    Attributes:
        keys: what tells each from all others of its table (texts).
        times: microseconds since 1970, in UTC or of the wall clock of the rules' time zone (int64); NULL: none that
            can be read.
        devices, users, directions: texts, perhaps NULL; `directions` are attendance keys.
        codes: event codes (int64, perhaps NULL).
        cursor: the highest number among them; None: the table has no numbers.
        marks: what is now known of the parts that they come from.
        is_utc: the times are UTC whatever the rules say.
    """

    keys: pa.Array
    times: pa.Array
    devices: pa.Array
    users: pa.Array
    codes: pa.Array
    directions: pa.Array
    cursor: int | None = None
    marks: Mapping[str, int] = field(default_factory=dict)
    is_utc: bool = False

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchBatch:
    """Some events of one table as they are kept.

    Attributes:
        punches: `event_key`, `user_id`, `punched_at` (text in UTC), `direction`, `device_id`, `event_code`, `flags`.
        clock_changes: `event_key`, `device_id`, `changed_at` (text in UTC), `event_code`.
        users: the user ids of the punches, once each.
        cursor, marks: as in `EventBatch`.
    """

    table: str
    punches: pa.RecordBatch
    clock_changes: pa.RecordBatch
    users: Sequence[str]
    cursor: int | None
    marks: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsRead:
    """What became of a batch of events.

    Attributes:
        rejected_keys: the events that were rejected, with the reasons.
        flags: how many punches have which flag.
    """

    batch: PunchBatch
    ignored: Mapping[Ignored, int]
    rejected: Mapping[Rejected, int]
    rejected_keys: Sequence[tuple[str, Rejected]]
    flags: Mapping[PunchFlag, int]


class WallClock:
    """Makes instants of the wall times of a zone, in the order in which the events were numbered.

    In the hour that comes twice in autumn, the events of a device are of its first pass until the time of one is before
    that of the event before it; from there on they are of the second.
    """

    def __init__(self, timezone: str) -> None:
        self._zone = zoneinfo.ZoneInfo(timezone)
        self._offsets: dict[int, tuple[int, int]] = {}
        self._last: dict[str | None, tuple[int, bool]] = {}

    def to_utc(self, times: _Numbers, devices: Sequence[str | None]) -> _Numbers:
        """The instants of wall times, all in microseconds."""
        slots, places = np.unique(times // _SLOT, return_inverse=True)
        offsets = np.array([self._find_offsets(int(slot)) for slot in slots], np.int64).reshape(-1, 2)
        first, second = offsets[places, 0], offsets[places, 1]
        found: _Numbers = times - first
        # In the hour that is left out in spring both differ as well, the second one being the greater.
        for row in np.flatnonzero(first > second).tolist():
            if self._is_second(devices[row], int(times[row])):
                found[row] = times[row] - second[row]
        return found

    def _is_second(self, device: str | None, time: int) -> bool:
        # Between two autumns lies a year.
        last, is_second = self._last.get(device, (time, False))
        if abs(time - last) > 86_400 * MICROSECONDS:
            last, is_second = time, False
        is_second = is_second or time < last
        self._last[device] = (time, is_second)
        return is_second

    def _find_offsets(self, slot: int) -> tuple[int, int]:
        if slot not in self._offsets:
            wall = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=slot * _SLOT)  # noqa: DTZ001 - a wall time
            first, second = (wall.replace(tzinfo=self._zone, fold=fold).utcoffset() for fold in (0, 1))
            assert first is not None
            assert second is not None
            self._offsets[slot] = (_microseconds(first), _microseconds(second))
        return self._offsets[slot]


def _microseconds(delta: dt.timedelta) -> int:
    return delta // dt.timedelta(microseconds=1)


def times_of_seconds(seconds: pa.Array) -> pa.Array:
    """Unix seconds (int64) as the times of an `EventBatch`; what can be no time is NULL."""
    numbers = seconds.fill_null(0).to_numpy(zero_copy_only=False)
    valid = (numbers > 0) & (numbers < _LATEST // MICROSECONDS)
    return pa.array(np.where(valid, numbers, 0) * MICROSECONDS, mask=~valid)


def read_events(
    events: EventBatch,
    rules: PunchRules,
    *,
    table: str,
    now: dt.datetime,
    late: tuple[dt.datetime, dt.datetime] | None = None,
    wall_clock: WallClock | None = None,
) -> EventsRead:
    """The punches among events, and why the others are none.

    Args:
        now: punches that are later than it (and some tolerance) are flagged.
        late: punches of this time (begin, end) have been looked for before, and are flagged; None: none are.
        wall_clock: of the rules' time zone; None: the times are UTC.
    """
    times, readable = _read_times(events, wall_clock)
    codes = events.codes.fill_null(-1).to_numpy(zero_copy_only=False)
    users = pc.utf8_trim_whitespace(events.users).fill_null("")
    devices_fit = _lengths(events.devices) <= TEXT_LENGTH
    lengths = _lengths(users)

    is_success = _are_successes(codes, rules)
    is_of_user = is_success & (lengths > 0)
    problems = {
        Rejected.ENCRYPTED_USER: _find_encrypted(users, is_of_user),
        Rejected.TOO_LONG_USER: is_of_user & (lengths > TEXT_LENGTH),
        Rejected.TOO_LONG_DEVICE: is_of_user & ~devices_fit,
        Rejected.UNREADABLE_TIME: is_of_user & ~readable,
    }
    is_punch = is_of_user.copy()
    rejected: Counter[Rejected] = Counter()
    rejected_keys: list[tuple[str, Rejected]] = []
    for reason, mask in problems.items():
        fresh = mask & is_punch
        is_punch &= ~mask
        rejected[reason] += int(fresh.sum())
        rejected_keys += [(key, reason) for key in events.keys.filter(pa.array(fresh)).to_pylist()]
    is_change = (
        np.isin(codes, list(rules.clock_codes)) & readable & devices_fit & events.devices.is_valid().to_numpy(False)
    )

    stamps = pa.array(times).view(pa.timestamp("us")).cast(pa.string())
    flags, flag_counts = _flag(times, is_punch, rules, now, late)
    punches = pa.RecordBatch.from_arrays(
        [events.keys, users, stamps, _directions(events, rules), events.devices, events.codes, flags],
        names=["event_key", "user_id", "punched_at", "direction", "device_id", "event_code", "flags"],
    ).filter(pa.array(is_punch))
    changes = pa.RecordBatch.from_arrays(
        [events.keys, events.devices, stamps, events.codes],
        names=["event_key", "device_id", "changed_at", "event_code"],
    ).filter(pa.array(is_change))
    return EventsRead(
        batch=PunchBatch(
            table=table,
            punches=punches,
            clock_changes=changes,
            users=punches.column("user_id").unique().to_pylist(),
            cursor=events.cursor,
            marks=events.marks,
        ),
        ignored={
            Ignored.NOT_A_SUCCESS: int((~is_success).sum()),
            Ignored.NO_USER: int((is_success & ~is_of_user).sum()),
        },
        rejected=rejected,
        rejected_keys=rejected_keys,
        flags=flag_counts,
    )


def are_encrypted(users: Sequence[str]) -> bool:
    """Whether the user ids are ciphertext: BioStar's option "Encrypt personal data on database"."""
    return bool(users) and all(_CIPHERTEXT.fullmatch(user) for user in users)


def _find_encrypted(users: pa.Array, is_of_user: _Mask) -> _Mask:
    """The user ids that are ciphertext among others that are not; where all are, the whole source is to be mended."""
    encrypted: _Mask = is_of_user & pc.match_substring_regex(users, _CIPHERTEXT.pattern).to_numpy(zero_copy_only=False)
    is_mixed = bool((encrypted != is_of_user).any())
    return encrypted if is_mixed else np.zeros_like(encrypted)


def _read_times(events: EventBatch, wall_clock: WallClock | None) -> tuple[_Numbers, _Mask]:
    times: _Numbers = events.times.fill_null(0).to_numpy(zero_copy_only=False)
    readable = (times > 0) & (times < _LATEST)
    if wall_clock is not None and not events.is_utc:
        kept = np.flatnonzero(readable)
        devices = events.devices.take(pa.array(kept)).to_pylist()
        times = times.copy()
        times[kept] = wall_clock.to_utc(times[kept], devices)
    return np.where(readable, times, 0), readable


def _lengths(texts: pa.Array) -> _Numbers:
    found: _Numbers = pc.utf8_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
    return found


def _are_successes(codes: _Numbers, rules: PunchRules) -> _Mask:
    if rules.success_codes is None:
        return ~np.isin(codes, list(rules.clock_codes))
    wanted = list(rules.success_codes)
    return np.isin(codes, wanted) | np.isin(codes & ~0xFF, wanted)


def _directions(events: EventBatch, rules: PunchRules) -> pa.Array:
    by_key = _translate(events.directions, rules.directions)
    if not rules.device_directions:
        return by_key
    return pc.coalesce(_translate(events.devices, rules.device_directions), by_key)


def _translate(texts: pa.Array, meanings: Mapping[str, str]) -> pa.Array:
    places = pc.index_in(texts, value_set=pa.array(list(meanings), pa.string()))
    return pa.array([str(meaning) for meaning in meanings.values()], pa.string()).take(places)


def _flag(
    times: _Numbers,
    is_punch: _Mask,
    rules: PunchRules,
    now: dt.datetime,
    late: tuple[dt.datetime, dt.datetime] | None,
) -> tuple[pa.Array, Mapping[PunchFlag, int]]:
    masks = {PunchFlag.FUTURE: is_punch & (times > _instant(now) + rules.future_seconds * MICROSECONDS)}
    if late is not None:
        masks[PunchFlag.LATE] = is_punch & (times >= _instant(late[0])) & (times < _instant(late[1]))
    flags = pa.nulls(len(times), pa.string())
    for flag, mask in masks.items():
        if mask.any():
            flags = pc.if_else(pa.array(mask), pa.scalar(flag.value), flags)
    return flags, {flag: int(mask.sum()) for flag, mask in masks.items() if mask.any()}


def _instant(instant: dt.datetime) -> int:
    return _microseconds(instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
