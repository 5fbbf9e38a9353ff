"""Hashes that stand for keys and for the values of rows while whole companies are compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

Hashes = npt.NDArray[np.uint64]


NO_HASH = np.uint64(0)

_FIRST_ROOM = 1 << 18


_UNIT = "\x1f"


class KnownKeys:
    """The keys of an entity that other rows may refer to.

    Args:
        read: gives their hashes; called when they are needed first.
    """

    def __init__(self, read: Callable[[], Hashes]) -> None:
        self._read = read
        self._ascending: Hashes | None = None

    def find(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the keys with these hashes there are."""
        if self._ascending is None:
            self._ascending = np.sort(self._read())
        return contains(self._ascending, hashes)


def contains(ascending: Hashes, wanted: Hashes) -> npt.NDArray[np.bool_]:
    """Which of `wanted` are in `ascending`."""
    if not len(ascending):
        return np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    found: npt.NDArray[np.bool_] = ascending[places] == wanted
    return found


def hash_keys(keys: pa.Array) -> Hashes:
    """A 64-bit hash of each key, which stands for it while whole companies are compared; `NO_HASH` for None.

    Of n keys two share a hash with a probability of n * n / 2**65: of 300,000 one in 400 million.
    """
    if keys.null_count:  # parents: there are fewer of them than rows
        coded = keys.dictionary_encode()
        hashes = np.append(hash_keys(coded.dictionary), NO_HASH)
        found: Hashes = hashes[pc.fill_null(coded.indices, len(coded.dictionary)).to_numpy()]
        return found
    digests = b"".join(map(xxhash.xxh3_64_digest, keys.cast(pa.binary()).to_pylist()))
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def digest_values(columns: Sequence[pa.Array]) -> pa.Array:
    """16 bytes for each row that differ when its values do; the same in every version of hrsync."""
    # No canonical text is empty, so that an empty one can stand for None.
    filled = [pc.fill_null(column, "") for column in columns]
    joined = pc.binary_join_element_wise(*filled, _UNIT)
    if np.count_nonzero(bytes_of(joined) == ord(_UNIT)) != len(joined) * (len(columns) - 1):
        # Rows with a text that holds the separator itself are rare; they are written in a slower way that has none.
        odd = pc.greater(pc.count_substring(joined, _UNIT), len(columns) - 1)
        rows = zip(*(column.filter(odd).to_pylist() for column in columns), strict=True)
        joined = pc.replace_with_mask(joined, odd, pa.array([json.dumps(row) for row in rows], pa.string()))
    digests = b"".join(map(xxhash.xxh3_128_digest, joined.cast(pa.binary()).to_pylist()))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(joined), [None, pa.py_buffer(digests)])


def bytes_of(texts: pa.Array) -> npt.NDArray[np.uint8]:
    """The UTF-8 bytes of all texts, one after the other."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return np.zeros(0, dtype=np.uint8)
    places = np.frombuffer(offsets, dtype=np.int32)
    first, last = places[texts.offset], places[texts.offset + len(texts)]
    return np.frombuffer(data, dtype=np.uint8)[first:last]


class GrowingArray:
    """Numbers of which nobody knows how many will come. Memory is taken as they come: room that is empty costs none."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._room = np.empty(_FIRST_ROOM, dtype=dtype)
        self._count = 0

    def extend(self, values: npt.NDArray[Any]) -> None:
        """Append numbers."""
        end = self._count + len(values)
        if end > len(self._room):
            room = np.empty(max(end, 2 * len(self._room)), dtype=self._room.dtype)
            room[: self._count] = self._room[: self._count]
            self._room = room
        self._room[self._count : end] = values
        self._count = end

    def take(self) -> npt.NDArray[Any]:
        """All numbers; the array is empty then."""
        values = self._room[: self._count]
        self._room, self._count = np.empty(0, dtype=self._room.dtype), 0
        return values
