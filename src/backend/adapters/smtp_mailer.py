"""Sends messages by SMTP."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Self

import aiosmtplib

from backend.domain.mail import Deferred, Delivery, OutgoingMail, Refused, Unknown, build_message, classify_reply
from backend.errors import ConfigurationError, TransientError
from backend.utils.redaction import redact

_STEP_SECONDS = 30.0
# The server may look at the message before it answers.
_HANDOVER_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where and how messages are handed in.

    Attributes:
        tls: from the first byte (smtps).
        starttls: True: required; False: never; None: when the server offers it.
        verify: whether the server's certificate must be good.
    """

    host: str
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    starttls: bool | None = None
    verify: bool = True


class SmtpMailer:
    """One connection to the server, made when the first message needs it and used for all of them.

    Args:
        sender: the From address, also of the envelope.
    """

    def __init__(self, server: SmtpServer, *, sender: str) -> None:
        self._server = server
        self._sender = sender
        self._client: aiosmtplib.SMTP | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        client, self._client = self._client, None
        if client is not None and client.is_connected:
            # The messages are settled already; a server that does not answer QUIT changes nothing.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=2)
            client.close()

    async def prepare(self, mail: OutgoingMail) -> Deferred | Refused | None:
        """Connect, and name sender and recipient.

        Raises:
            TransientError: the server is away or busy.
            ConfigurationError: it refuses the login, or its TLS is not as the settings want it.
        """
        was_connected = self._client is not None and self._client.is_connected
        try:
            return await self._send_envelope(mail)
        except (aiosmtplib.SMTPException, OSError) as error:
            self._close()
            if not was_connected:
                raise self._away(error) from None
        # Servers close connections that have been used for a while; a new one is tried once.
        try:
            return await self._send_envelope(mail)
        except (aiosmtplib.SMTPException, OSError) as error:
            self._close()
            raise self._away(error) from None

    async def deliver(self, mail: OutgoingMail) -> Delivery:
        """Send the message itself."""
        assert self._client is not None, "prepare() comes first"
        content = build_message(mail, self._sender).as_bytes()
        try:
            reply = await self._client.data(content, timeout=_HANDOVER_SECONDS)
        except aiosmtplib.SMTPResponseException as error:
            return classify_reply(error.code, redact(error.message))
        except (aiosmtplib.SMTPException, OSError) as error:
            self._close()
            return Unknown(reason=f"the connection broke before the server's answer ({type(error).__name__})")
        return classify_reply(reply.code, redact(reply.message))

    async def _send_envelope(self, mail: OutgoingMail) -> Deferred | Refused | None:
        client = self._client
        if client is None or not client.is_connected:
            client = self._client = await self._connect()
        options, encoding = [], "ascii"
        if not (self._sender + mail.recipient).isascii():
            await client.ehlo()
            if not client.supports_extension("smtputf8"):
                return Refused(reason="the server does not take addresses with letters beyond ASCII")
            options, encoding = ["SMTPUTF8"], "utf-8"
        try:
            await client.mail(self._sender, options=options, encoding=encoding)
            await client.rcpt(mail.recipient, encoding=encoding)
        except aiosmtplib.SMTPResponseException as error:
            delivery = classify_reply(error.code, redact(error.message))
            if client.is_connected:
                # Else the next message would be taken for a part of this one.
                await client.rset()
            match delivery:
                case Deferred() | Refused():
                    return delivery
            return Deferred(reason=f"{error.code} {redact(error.message)}")
        return None

    async def _connect(self) -> aiosmtplib.SMTP:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.tls,
            start_tls=False if server.tls else server.starttls,
            validate_certs=server.verify,
            # The default asks the name service, which may take long.
            local_hostname=socket.gethostname(),
            timeout=_STEP_SECONDS,
        )
        try:
            await client.connect()
        except aiosmtplib.SMTPResponseException as error:
            reason = f"{error.code} {redact(error.message)}"
            if error.code // 100 == 4:
                raise TransientError(f"{self._name} does not let us in for now: {reason}.") from None
            raise ConfigurationError(
                f"{self._name} refuses us: {reason}. Check the user and the password in SMTP_URL, and that this host "
                "may use the server."
            ) from None
        except (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPServerDisconnected, TimeoutError, OSError) as error:
            cause = error.__cause__ if error.__cause__ is not None else error
            if isinstance(cause, ssl.SSLError):
                raise ConfigurationError(
                    f"{self._name}: TLS failed ({cause.reason or cause}). Use the name that its certificate is made "
                    "out to and the right port (smtps:// is 465, smtp:// 587 or 25), or trust it with ?verify=0."
                ) from None
            raise self._away(error) from None
        except aiosmtplib.SMTPException as error:
            raise ConfigurationError(f"{self._name}: {error.message} Check the options of SMTP_URL.") from None
        return client

    def _away(self, error: Exception) -> TransientError:
        return TransientError(f"{self._name} cannot be reached or closed the connection: {redact(str(error))}")

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def _name(self) -> str:
        port = "" if self._server.port is None else f":{self._server.port}"
        return f"The mail server {self._server.host}{port} (SMTP_URL)"
