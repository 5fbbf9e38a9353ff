"""What is taken out of texts and fields."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.utils.redaction import redact, redact_fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mysql+aiomysql://hr:geheim@db/hr?x=1", "mysql+aiomysql://hr:***@db/hr?x=1"),
        ("redis://:geheim@10.0.0.1:6379/0", "redis://:***@10.0.0.1:6379/0"),
        ("mssql+aioodbc://sa:p@ss/w0rd@h:1433/db", "mssql+aioodbc://sa:***@h:1433/db"),
        ("a smtp://u:x@h and redis://:y@h2/0.", "a smtp://u:***@h and redis://:***@h2/0."),
        ("DRIVER=FreeTDS;UID=sa;PWD=geheim;PORT=1", "DRIVER=FreeTDS;UID=sa;PWD=***;PORT=1"),
        ("DRIVER=X;PWD={ge;heim};PORT=1", "DRIVER=X;PWD=***;PORT=1"),
        ("odbc_connect=UID%3Dsa%3BPWD%3Dgeheim%3BPORT%3D1", "odbc_connect=UID%3Dsa%3BPWD%3D***%3BPORT%3D1"),
        ("{'password': 'ge heim', 'n': 1}", "{'password': ***, 'n': 1}"),
        ("MYSQL_PASSWORD=geheim x", "MYSQL_PASSWORD=*** x"),
        ("Authorization: Bearer abc.def.ghi", "Authorization: ***"),
        ("sent bearer abcdefghijkl.mnop to", "sent bearer *** to"),
        ("mail to Jane.Doe+x@mail.example.com failed", "mail to <email> failed"),
        ("Duplicate entry 'jane@example.com' for key 'email'", "Duplicate entry '<email>' for key 'email'"),
        ("[SQL: INSERT INTO t]\n[parameters: ('Jane', 'Doe')]\n(x)", "[SQL: INSERT INTO t]\n[parameters: ***]\n(x)"),
    ],
)
def test_secrets_and_personal_data_are_taken_out(text: str, expected: str) -> None:
    """Passwords, tokens, addresses and SQL parameters become marks; the rest stays readable."""
    assert expected == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "Access denied for user 'hr'@'127.0.0.1' (using password: YES)",
        "mysql+aiomysql://hr:***@db.example.com/hr",
        "celery@worker1.example.com ready.",
        "hrsync-4711@worker1.example.com ready.",
        "http://127.0.0.1:8765/readyz",
        "the server refused the login: check user and password in MARIA_URL",
        "Basic information: 2026-03-01T10:00:00+00:00",
    ],
)
def test_harmless_texts_stay_as_they_are(text: str) -> None:
    """What only looks like a secret is left alone."""
    assert text == redact(text)


@given(st.text(st.characters(exclude_characters=" \t\n\"'<>", exclude_categories=("Cs", "Z", "Cc")), min_size=3))
def test_a_password_in_a_url_never_survives(password: str) -> None:
    """Whatever the password is made of, the URL no longer holds it."""
    redacted = redact(f"at mysql+aiomysql://hr:§{password}§@db/hr now")

    assert f"§{password}§" not in redacted
    assert redacted.endswith("@db/hr now")


@given(st.text())
def test_redacting_twice_changes_nothing(text: str) -> None:
    """A text that has been through stays as it is."""
    once = redact(text)

    assert once == redact(once)


def test_long_texts_are_read_in_linear_time() -> None:
    """A megabyte without blanks, in the shapes that tempt backtracking, takes no noticeable time."""
    started = time.monotonic()
    for piece in ("a", "a.", "a@", "://a:", "password", "a=", "Bearer "):
        redact((piece * 1_000_000)[:200_000])

    assert time.monotonic() - started < 5


def test_fields_are_hidden_by_their_key() -> None:
    """Keys that name secrets or personal data hide their value at any depth; ids and counts stay."""
    fields = {
        "execution_id": "e1",
        "claim_token": "t1",
        "rows": 3,
        "done": True,
        "nothing": None,
        "email": "jane@example.com",
        "smtp_password": "x",
        "National-ID": 4711,
        "params": {"birth_date": dt.date(1990, 1, 1), "full": True, "to": ["a@example.com", 5]},
        "at": dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        "error": ValueError("redis://:x@h/0"),
    }

    assert {
        "execution_id": "e1",
        "claim_token": "t1",
        "rows": 3,
        "done": True,
        "nothing": None,
        "email": "***",
        "smtp_password": "***",
        "National-ID": "***",
        "params": {"birth_date": "***", "full": True, "to": ["<email>", 5]},
        "at": "2026-03-01T00:00:00+00:00",
        "error": "redis://:***@h/0",
    } == redact_fields(fields)


def test_endless_structures_end() -> None:
    """A structure that holds itself is cut off, not followed for ever."""
    loop: dict[str, object] = {}
    loop["self"] = loop

    assert "self" in redact_fields(loop)
