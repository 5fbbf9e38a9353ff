"""Reads SMTP_URL: a server, or a maildir."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from backend.adapters.maildir_mailer import MaildirMailer
from backend.adapters.smtp_mailer import SmtpMailer, SmtpServer
from backend.domain.mail import check_address
from backend.errors import ConfigurationError

_FORMS = "smtp://user:password@host:587?starttls=1, smtps://user:password@host or maildir:///folder"
_SWITCHES = {"0": False, "1": True}


def make_mailer(url: str, sender: str) -> SmtpMailer | MaildirMailer:
    """The mailer of a URL.

    `smtp` takes `starttls` (1: required, 0: never; without it: when the server offers it); both `smtp` and `smtps` take
    `verify=0` (trust any certificate). Special characters in user and password are written as %XX.

    Raises:
        ConfigurationError: the URL, or the sender's address (MAIL_FROM), is wrong. The password is not in the message.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:
        raise ConfigurationError(f"SMTP_URL cannot be read: write {_FORMS}.") from None
    try:
        address = check_address(sender)
    except ConfigurationError as error:
        raise ConfigurationError(f"MAIL_FROM: {error}") from None
    if parts.scheme == "maildir":
        # As with SQLite: three slashes begin a relative path, four an absolute one.
        folder = unquote(parts.path).removeprefix("/")
        if not folder or parts.netloc:
            raise ConfigurationError(
                "SMTP_URL names no folder: write maildir:///folder (relative) or maildir:////folder."
            )
        return MaildirMailer(Path(folder), sender=address)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ConfigurationError(f"SMTP_URL is neither a mail server nor a maildir: write {_FORMS}.")
    return SmtpMailer(_server(parts, port, options), sender=address)


def _server(parts: SplitResult, port: int | None, options: dict[str, list[str]]) -> SmtpServer:
    is_tls = parts.scheme == "smtps"
    known = {"verify"} if is_tls else {"verify", "starttls"}
    switches: dict[str, bool] = {}
    for name, values in options.items():
        if name not in known or values[-1] not in _SWITCHES:
            raise ConfigurationError(
                f"SMTP_URL: the option {name!r} is not understood; {parts.scheme} takes {' and '.join(sorted(known))}, "
                "each 0 or 1."
            )
        switches[name] = _SWITCHES[values[-1]]
    return SmtpServer(
        host=parts.hostname or "",
        port=port,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=is_tls,
        starttls=switches.get("starttls"),
        verify=switches.get("verify", True),
    )
