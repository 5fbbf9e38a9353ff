"""Keeps rows that wait to be written in a nameless temporary file, so that memory does not grow with the source."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

_IN_MEMORY_BYTES = 8 * 1024 * 1024


class FileSpool:
    """A spool in a file that only this process can see: it has no name, and is gone with the process."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def put(self, batch: Sequence[Any]) -> None:
        """Append a batch."""
        if batch:
            pickle.dump(list(batch), self._file, protocol=pickle.HIGHEST_PROTOCOL)

    def batches(self) -> Iterator[list[Any]]:
        """The batches, in the order of `put`; nothing may be put after that."""
        end = self._file.tell()
        self._file.seek(0)
        while self._file.tell() < end:
            yield pickle.load(self._file)  # noqa: S301 - nobody else can write to this file


@contextlib.contextmanager
def open_spool() -> Iterator[FileSpool]:
    """A spool that is gone when the block ends; small ones never touch the disk."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        yield FileSpool(file)
