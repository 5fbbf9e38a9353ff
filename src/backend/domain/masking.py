"""Personal values as they may be shown: enough to see that the right column arrived, too little to tell of whom."""

from __future__ import annotations

import datetime as dt
import re

_DOTS = "•••"
_WORD = re.compile(r"[^\s@]+")
_SHOWN_LENGTH = 40


def mask_value(value: str) -> str:
    """The initials of the words (`Kim Example` -> `K••• E•••`), or the year of a date (`2019-••-••`)."""
    if _is_date(value):
        return f"{value[:4]}-••-••"
    return _WORD.sub(lambda word: f"{word[0][0]}{_DOTS}" if word[0][0].isalpha() else _DOTS, value)[:_SHOWN_LENGTH]


def outline(value: str) -> str:
    """How a value is written: every digit a 9, every letter an x (`31.02.2019` -> `99.99.9999`)."""
    drawn = "".join("9" if char.isdecimal() else "x" if char.isalpha() else char for char in value)
    return drawn if len(drawn) <= _SHOWN_LENGTH else f"{drawn[: _SHOWN_LENGTH - 1]}…"


def _is_date(value: str) -> bool:
    try:
        return dt.date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
