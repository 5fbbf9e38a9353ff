"""Takes secrets and personal data out of texts and of the fields of a log line.

Better too much than too little: nothing here knows where a text comes from.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_DEEPEST = 6

_SECRET_WORDS = ("password", "passwd", "passphrase", "pwd", "secret", "token", "authorization", "api_key", "cookie")
# Not secrets, although they are called so: they number claims and leases.
_NOT_SECRET = frozenset({"claim_token", "fencing_token"})
_PERSONAL = frozenset(
    {
        "address",
        "bcc",
        "birth_date",
        "birthday",
        "cc",
        "date_of_birth",
        "display_name",
        "e_mail",
        "email",
        "email_address",
        "first_name",
        "full_name",
        "iban",
        "last_name",
        "mail",
        "middle_name",
        "mobile",
        "name",
        "national_id",
        "phone",
        "recipient",
        "recipients",
        "salary",
        "surname",
    }
)

# The last @ of the word ends the password, because people forget to escape an @ in one.
_URL_PASSWORD = re.compile(r"""(://[^\s/:@"']*:)[^\s"'<>]*@""")
_ASSIGNED_SECRET = re.compile(
    r"""
    ((?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|authorization)["']?
     \s*(?:=|:|%3D)\s*)
    (?!(?:YES|NO)\b)                                 # MySQL's "(using password: YES)" is no secret
    (?:(?:Bearer|Basic)\s+\S+ | \{[^}\n]*\} | "[^"\n]*" | '[^'\n]*' | (?:(?!%3B)[^\s"',;&)\]}])+)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BEARER = re.compile(r"\b(Bearer)\s+[\w.~+/=-]{16,}", re.IGNORECASE)
# Possessive, so that a long text without an @ is read once. Names of Celery nodes look like addresses and are none.
_EMAIL = re.compile(r"(?<![\w.%+-])(?<!//)(?!(?:celery|hrsync)[\w-]*@)[\w.%+-]++@[\w-]+(?:\.[\w-]+)+")
_SQL_PARAMETERS = re.compile(r"\[parameters: [^\n]*\]")


def redact(text: str) -> str:
    """The text without passwords (in URLs, behind words such as `password=`), e-mail addresses and SQL parameters.

    Also without halves of characters, as file names may hold them: no stream and no database takes those.
    """
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    if "@" in text:
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\1{HIDDEN}@", text)
        text = _EMAIL.sub("<email>", text)
    if "=" in text or ":" in text or "%3" in text:
        text = _ASSIGNED_SECRET.sub(rf"\1{HIDDEN}", text)
    if "[parameters: " in text:
        text = _SQL_PARAMETERS.sub(f"[parameters: {HIDDEN}]", text)
    return _BEARER.sub(rf"\1 {HIDDEN}", text)


def redact_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as plain JSON values: secrets and personal data by their key, everything else through `redact`."""
    return {str(key): _redact_value(value, str(key)) for key, value in fields.items()}


def _redact_value(value: Any, key: str = "", depth: int = 0) -> Any:
    if value is None or value == "":
        return value
    if _is_private(key):
        return HIDDEN
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {str(k): _redact_value(v, str(k), depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_redact_value(item, "", depth + 1) for item in value]
    return redact(value.isoformat() if isinstance(value, dt.datetime) else str(value))


def _is_private(key: str) -> bool:
    low = key.lower().replace("-", "_")
    return low in _PERSONAL or (low not in _NOT_SECRET and any(word in low for word in _SECRET_WORDS))
