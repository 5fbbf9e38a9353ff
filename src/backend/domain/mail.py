"""Messages: what they look like, what a mail server's answer means, and the text of the HRIS summary. Pure."""

from __future__ import annotations

import datetime as dt
import enum
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from backend.domain.executions import RowCounts, RunReport
from backend.errors import ConfigurationError

RECIPIENT_LENGTH = 320
SUBJECT_LENGTH = 500
# With the delays below, somewhat more than five hours.
MAX_ATTEMPTS = 10
_FIRST_DELAY_SECONDS = 60.0
_LONGEST_DELAY_SECONDS = 3600.0

# What a header, a command of SMTP and every server takes; quoted local parts are left out on purpose.
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\\\"@\x00-\x1f\x7f]+@[^\s<>()\[\],;:\\\"@\x00-\x1f\x7f]+")


class MailStatus(enum.StrEnum):
    """What has become of a message."""

    PENDING = "pending"
    CLAIMED = "claimed"
    SENT = "sent"
    FAILED = "failed"
    # Handed over, but the server's answer was lost: perhaps it arrived. Never sent again by itself.
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailContent:
    """A message without an address."""

    subject: str
    text: str
    html: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMail:
    """A message that has been claimed for sending.

    Attributes:
        message_id: the header, with its angle brackets; the same at every attempt.
        created_at: its Date.
        attempts: including the one that is about to be made.
    """

    id: int
    recipient: str
    content: MailContent
    message_id: str
    created_at: dt.datetime
    attempts: int


def check_address(text: str) -> str:
    """The address without surrounding blanks.

    Raises:
        ConfigurationError: it is no single plain address.
    """
    address = text.strip()
    if not _ADDRESS.fullmatch(address) or len(address) > RECIPIENT_LENGTH:
        raise ConfigurationError(
            "A mail address is wrong: write one plain address such as operations@example.com, without a name, a list "
            f"or quotes (got {len(text)} characters)."
        )
    return address


def one_line(text: str, length: int = SUBJECT_LENGTH) -> str:
    """The text for a header: line breaks and control characters become blanks, and what is too long is cut."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def build_message(mail: OutgoingMail, sender: str) -> EmailMessage:
    """The message with its headers: a text part and, where there is one, the same as HTML."""
    is_ascii = (sender + mail.recipient).isascii()
    # 7bit: every server takes it.
    message = EmailMessage(policy=(policy.SMTP if is_ascii else policy.SMTPUTF8).clone(cte_type="7bit"))
    message["From"] = check_address(sender)
    message["To"] = check_address(mail.recipient)
    message["Subject"] = one_line(mail.content.subject)
    message["Date"] = format_datetime(mail.created_at.astimezone(dt.UTC))
    message["Message-ID"] = mail.message_id
    # So that nobody's out-of-office assistant answers.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.content.text)
    if mail.content.html is not None:
        message.add_alternative(mail.content.html, subtype="html")
    return message


# --- what a server answers ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The server has taken the message over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """The server does not take it now (4xx); later it may."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The server will never take it (5xx)."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The message was handed over and the answer was lost."""

    reason: str


Delivery = Accepted | Deferred | Refused | Unknown


def classify_reply(code: int, text: str) -> Delivery:
    """What a reply to the message itself means."""
    reason = f"{code} {one_line(text)}"
    match code // 100:
        case 2:
            return Accepted()
        case 4:
            return Deferred(reason=reason)
        case 5:
            return Refused(reason=reason)
    return Unknown(reason=f"an answer that SMTP does not know: {reason}")


def retry_delay_seconds(attempts: int) -> float:
    """How long to wait after so many attempts that were deferred."""
    return min(_FIRST_DELAY_SECONDS * 2.0 ** min(max(attempts, 1) - 1, 30), _LONGEST_DELAY_SECONDS)


# --- the HRIS summary -----------------------------------------------------------------------------------------------

_COLUMNS = ("read", "inserted", "updated", "unchanged", "deactivated", "rejected")
_CELL = "padding:4px 12px 4px 0;text-align:right"
_HEAD = "padding:4px 12px 4px 0;text-align:right;border-bottom:1px solid #999999;font-weight:bold"
_FONT = "font-family:Arial,Helvetica,sans-serif;font-size:14px;color:#222222"


def compose_hris_summary(report: RunReport, *, execution_id: str, finished_at: dt.datetime) -> MailContent:
    """What an HRIS replication did, as a message: counts and reasons, never a person's data.

    Args:
        report: of the replication; its `details["entities"]` give a line each.
    """
    entities: Mapping[str, Mapping[str, Any]] = report.details.get("entities", {})
    lines = [(name, counts) for name, counts in entities.items()]
    totals = {name: getattr(report.counts, name) for name in _COLUMNS}
    rows = [*lines, ("total", totals)] if len(lines) != 1 else lines
    reasons = [
        (entity, reason.replace("_", " "), count)
        for entity, counts in entities.items()
        for reason, count in counts.get("reasons", {}).items()
    ]
    closing = f"Run {execution_id}, finished {finished_at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC."
    return MailContent(
        subject=f"HRIS replication: {_headline(report.counts)}",
        text=_as_text(report.summary, rows, reasons, closing),
        html=_as_html(report.summary, rows, reasons, closing),
    )


def compose_hris_hold(reason: str, *, execution_id: str) -> MailContent:
    """That the guard has held a replication, and what is to be decided.

    Args:
        reason: why, and what to do; no personal data.
    """
    closing = f"The HR data stays as it was until then. Run {execution_id}."
    return MailContent(
        subject="HRIS replication held: your decision is needed",
        text=f"{reason}\n\n{closing}\n",
        html=f'<html lang="en"><body style="{_FONT}"><p>{html.escape(reason)}</p>'
        f"<p>{html.escape(closing)}</p></body></html>",
    )


def _headline(counts: RowCounts) -> str:
    parts = [
        f"{number:,} {word}"
        for word, number in (
            ("new", counts.inserted),
            ("changed", counts.updated),
            ("left", counts.deactivated),
            ("rejected", counts.rejected),
        )
        if number
    ]
    return ", ".join(parts) or "nothing changed"


def _as_text(
    summary: str, rows: Sequence[tuple[str, Mapping[str, Any]]], reasons: Sequence[tuple[str, str, int]], closing: str
) -> str:
    width = max(len(name) for name, _ in rows)
    lines = [summary, "", " " * width + "".join(f"{column:>13}" for column in _COLUMNS)]
    lines += [
        f"{name:<{width}}" + "".join(f"{_number(counts, column):>13}" for column in _COLUMNS) for name, counts in rows
    ]
    if reasons:
        lines += ["", "Rows to look at (hrsync hris quarantine shows them):"]
        lines += [f"  {count:>7,}  {entity}: {reason}" for entity, reason, count in reasons]
    return "\n".join([*lines, "", closing, ""])


def _as_html(
    summary: str, rows: Sequence[tuple[str, Mapping[str, Any]]], reasons: Sequence[tuple[str, str, int]], closing: str
) -> str:
    head = "".join(f'<th style="{_HEAD}">{column}</th>' for column in ("", *_COLUMNS))
    body = "".join(
        "<tr>"
        + f'<td style="{_CELL};text-align:left">{html.escape(name)}</td>'
        + "".join(f'<td style="{_CELL}">{_number(counts, column)}</td>' for column in _COLUMNS)
        + "</tr>"
        for name, counts in rows
    )
    items = "".join(
        f"<li>{count:,} {html.escape(entity)}: {html.escape(reason)}</li>" for entity, reason, count in reasons
    )
    look_at = (
        f"<p>Rows to look at (<code>hrsync hris quarantine</code> shows them):</p><ul>{items}</ul>" if items else ""
    )
    return (
        f'<html lang="en"><body style="{_FONT}"><p>{html.escape(summary)}</p>'
        f'<table style="border-collapse:collapse;{_FONT}"><tr>{head}</tr>{body}</table>{look_at}'
        f'<p style="color:#666666;font-size:12px">{html.escape(closing)}</p></body></html>'
    )


def _number(counts: Mapping[str, Any], column: str) -> str:
    value = counts.get(column)
    return "-" if value is None else f"{value:,}"
