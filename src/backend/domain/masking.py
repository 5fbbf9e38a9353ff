"""Personal values as they may be shown: enough to see that the right column arrived, too little to tell of whom."""

from __future__ import annotations

import datetime as dt
import re

_DOTS = "•••"
_WORD = re.compile(r"[^\s@]+")
_SHOWN_LENGTH = 40
_SHORT = 2


def mask_value(value: str) -> str:
    """The initials of the words (`Kim Example` -> `K••• E•••`), or the year of a date (`2019-••-••`)."""
    if _is_date(value):
        return f"{value[:4]}-••-••"
    return _WORD.sub(_mask_word, value)[:_SHOWN_LENGTH]


def outline(value: str) -> str:
    """How a value is written: every digit a 9, every letter an x (`31.02.2019` -> `99.99.9999`)."""
    drawn = "".join("9" if char.isdecimal() else "x" if char.isalpha() else char for char in value)
    return drawn if len(drawn) <= _SHOWN_LENGTH else f"{drawn[: _SHOWN_LENGTH - 1]}…"


def _mask_word(word: re.Match[str]) -> str:
    # The first letter of a short name, such as a Chinese one, would be half of it.
    initial = word[0][0] if len(word[0]) > _SHORT and word[0][0].isalpha() else ""
    return f"{initial}{_DOTS}"


def _is_date(value: str) -> bool:
    try:
        return dt.date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
