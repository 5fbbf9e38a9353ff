"""Messages are well-formed whatever is put into them, and answers of servers mean what the standard says."""

from __future__ import annotations

import datetime as dt
import email
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.adapters.maildir_mailer import MaildirMailer
from backend.adapters.mailer_url import make_mailer
from backend.adapters.smtp_mailer import SmtpMailer, SmtpServer
from backend.domain.executions import RowCounts, RunReport
from backend.domain.mail import (
    MAX_ATTEMPTS,
    Accepted,
    Deferred,
    MailContent,
    OutgoingMail,
    Refused,
    Unknown,
    build_message,
    check_address,
    classify_reply,
    compose_hris_summary,
    one_line,
    retry_delay_seconds,
)
from backend.errors import ConfigurationError

AT = dt.datetime(2026, 11, 21, 8, 30, tzinfo=dt.UTC)
REPORT = RunReport(
    counts=RowCounts(read=330, inserted=12, updated=3, unchanged=310, deactivated=2, rejected=5),
    summary="Read 25 departments and 305 employees: 12 inserted; 5 rejected.",
    details={
        "entities": {
            "departments": {"read": 25, "inserted": 0, "updated": 0, "unchanged": 24, "deactivated": 0, "rejected": 1},
            "employees": {
                "read": 305,
                "inserted": 12,
                "updated": 3,
                "unchanged": 286,
                "deactivated": 2,
                "rejected": 4,
                "reasons": {"missing_key": 2, "unreadable_date": 2},
            },
        }
    },
)


def mail(**values: object) -> OutgoingMail:
    content = MailContent(
        subject=str(values.get("subject", "Hello")),
        text=str(values.get("text", "A text.\n")),
        html=None if values.get("html") is None else str(values["html"]),
    )
    return OutgoingMail(
        id=1,
        recipient=str(values.get("recipient", "operations@example.com")),
        content=content,
        message_id="<1@example.com>",
        created_at=AT,
        attempts=1,
    )


def parse(message: EmailMessage) -> EmailMessage:
    return email.message_from_bytes(message.as_bytes(), policy=policy.default)


def test_a_message_has_its_fixed_headers() -> None:
    """Sender, recipient, date and Message-ID are those of the outbox, at every attempt."""
    built = parse(build_message(mail(), "hrsync@example.com"))
    assert {name: built[name] for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted")} == {
        "From": "hrsync@example.com",
        "To": "operations@example.com",
        "Subject": "Hello",
        "Date": "Sat, 21 Nov 2026 08:30:00 +0000",
        "Message-ID": "<1@example.com>",
        "Auto-Submitted": "auto-generated",
    }
    assert built.get_content_type() == "text/plain"


def test_html_comes_beside_the_text() -> None:
    """A message with HTML has the text as the first alternative."""
    built = parse(build_message(mail(html="<p>Größe</p>", text="Größe 李\n"), "hrsync@example.com"))
    assert built.get_content_type() == "multipart/alternative"
    assert [part.get_content() for part in built.iter_parts()] == ["Größe 李\r\n", "<p>Größe</p>\r\n"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=600))
def test_no_subject_makes_a_header(subject: str) -> None:
    """Whatever the subject holds, it stays in the subject."""
    built = build_message(mail(subject=subject + "\r\nBcc: victim@example.com"), "hrsync@example.com")
    assert sorted(parse(built).keys()) == sorted(build_message(mail(), "hrsync@example.com").keys())
    assert parse(built).get_content() == "A text.\r\n"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_line_is_one_line(text: str) -> None:
    """A header text has no control characters and fits."""
    line = one_line(text, 50)
    assert len(line) <= 50
    assert line == "" or line.isprintable()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=300))
def test_every_text_arrives(text: str) -> None:
    """Any text without control characters is sent in 7 bits and is the same at the other end."""
    raw = build_message(mail(text=text), "hrsync@example.com").as_bytes()
    assert raw.isascii()
    arrived = email.message_from_bytes(raw, policy=policy.default).get_content()
    assert arrived.splitlines() == (text or "\n").splitlines()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a@b@c",
        "a@example.com, b@example.com",
        "A <a@example.com>",
        "a@example.com\r\nBcc: b@example.com",
        "a b@example.com",
        '"a"@example.com',
        "a" * 320 + "@example.com",
    ],
)
def test_only_plain_addresses_are_taken(address: str) -> None:
    """Lists, names, quotes and line breaks are refused, and the message does not repeat them."""
    with pytest.raises(ConfigurationError) as error:
        check_address(address)
    assert not address or address not in str(error.value)


@pytest.mark.parametrize("address", ["operations@example.com", " o.p+s@sub.example.com ", "jürgen@example.com"])
def test_plain_addresses_are_taken(address: str) -> None:
    """Blanks around an address do not matter."""
    assert check_address(address) == address.strip()


def test_replies_are_classified() -> None:
    """2xx is taken, 4xx is for later, 5xx is for ever, and anything else says nothing."""
    assert classify_reply(250, "ok") == Accepted()
    assert classify_reply(451, "4.3.2 try\nlater") == Deferred(reason="451 4.3.2 try later")
    assert classify_reply(554, "no") == Refused(reason="554 no")
    assert isinstance(classify_reply(-1, "?"), Unknown)


def test_delays_grow_to_a_limit() -> None:
    """The delay doubles from a minute up to an hour."""
    delays = [retry_delay_seconds(attempts) for attempts in range(1, MAX_ATTEMPTS)]
    assert delays == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_the_summary_says_what_happened() -> None:
    """Subject, text and HTML of the summary have the counts, entity by entity, and the reasons."""
    content = compose_hris_summary(REPORT, execution_id="0192-x", finished_at=AT)
    assert content.subject == "HRIS replication: 12 new, 3 changed, 2 left, 5 rejected"
    assert content.text.splitlines() == [
        "Read 25 departments and 305 employees: 12 inserted; 5 rejected.",
        "",
        "                    read     inserted      updated    unchanged  deactivated     rejected",
        "departments           25            0            0           24            0            1",
        "employees            305           12            3          286            2            4",
        "total                330           12            3          310            2            5",
        "",
        "Rows to look at (hrsync hris quarantine shows them):",
        "        2  employees: missing key",
        "        2  employees: unreadable date",
        "",
        "Run 0192-x, finished 2026-11-21 08:30 UTC.",
    ]
    assert content.html is not None
    assert ">286<" in content.html
    assert "<li>2 employees: unreadable date</li>" in content.html
    assert "http" not in content.html


def test_the_summary_of_a_quiet_run() -> None:
    """A run without entities and changes has a summary as well, and HTML in it is text."""
    content = compose_hris_summary(RunReport(summary="1 < 2"), execution_id="x", finished_at=AT)
    assert content.subject == "HRIS replication: nothing changed"
    assert content.html is not None
    assert "1 &lt; 2" in content.html


# --- SMTP_URL -------------------------------------------------------------------------------------------------------


def test_a_server_is_read_from_the_url() -> None:
    """Host, port, login and options of the URL are understood; the password is not shown."""
    mailer = make_mailer("smtp://user%40example.com:p%3Aw@mail.example.com:2525?starttls=1&verify=0", "a@example.com")
    assert isinstance(mailer, SmtpMailer)
    assert mailer._server == SmtpServer(
        host="mail.example.com", port=2525, username="user@example.com", password="p:w", starttls=True, verify=False
    )
    assert "p:w" not in repr(mailer._server)
    tls = make_mailer("smtps://mail.example.com", "a@example.com")
    assert isinstance(tls, SmtpMailer)
    assert tls._server == SmtpServer(host="mail.example.com", tls=True)


@pytest.mark.parametrize(
    ("url", "folder"), [("maildir:///var/mail", "var/mail"), ("maildir:////srv/mail", "/srv/mail")]
)
def test_a_maildir_is_read_from_the_url(url: str, folder: str) -> None:
    """Three slashes begin a relative path, four an absolute one."""
    mailer = make_mailer(url, "a@example.com")
    assert isinstance(mailer, MaildirMailer)
    assert mailer._folder == Path(folder)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mail.example.com", "neither a mail server nor a maildir"),
        ("smtp://", "neither a mail server nor a maildir"),
        ("smtp://u:geheim@host:port", "cannot be read"),
        ("smtp://u:geheim@host?starttls=yes", "'starttls'"),
        ("smtps://u:geheim@host?starttls=1", "'starttls'"),
        ("smtp://u:geheim@host?tls", "cannot be read"),
        ("maildir://var/mail", "names no folder"),
        ("maildir:///", "names no folder"),
    ],
)
def test_a_wrong_url_is_explained(url: str, named: str) -> None:
    """What is wrong is said, without the password."""
    with pytest.raises(ConfigurationError) as error:
        make_mailer(url, "a@example.com")
    assert named in str(error.value)
    assert "geheim" not in str(error.value)


def test_a_wrong_sender_is_explained() -> None:
    """A sender that is no address is named by its setting."""
    with pytest.raises(ConfigurationError, match="MAIL_FROM"):
        make_mailer("maildir:///mail", "nobody")
