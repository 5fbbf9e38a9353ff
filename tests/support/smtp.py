"""Mail servers for tests: a real one that collects messages, and one that answers as a test says."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.servers import free_port

USER, PASSWORD = "hrsync@example.com", "p@ss:wo/rd"
LOGIN = "hrsync%40example.com:p%40ss%3Awo%2Frd"


class CollectingServer:
    """A real SMTP server in a thread that keeps what it is given.

    Args:
        certificate: (certificate, key) files: the server offers STARTTLS, and asks for a login.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.messages: list[bytes] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.port = free_port()
        options: dict[str, Any] = {"enable_SMTPUTF8": True}
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*certificate)
            options |= {"tls_context": context, "auth_required": True, "authenticator": self._authenticate}
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by the server with each message."""
        assert isinstance(envelope.content, bytes)
        self.messages.append(envelope.content)
        self.envelopes.append((envelope.mail_from or "", envelope.rcpt_tos))
        return "250 taken"

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        is_right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=is_right, handled=is_right)


class ScriptedServer:
    """An SMTP server that answers each command (`MAIL`, `RCPT`, `DATA`; `END`: the end of the message) as told.

    An answer is a line, `drop` (the connection is closed), or `stall` (there is none). A list is answered in turn,
    and its last entry for ever.
    """

    def __init__(self, **answers: str | list[str]) -> None:
        self._answers: Mapping[str, list[str]] = {
            verb: [answer] if isinstance(answer, str) else list(answer) for verb, answer in answers.items()
        }
        self.messages: list[bytes] = []
        self.commands: list[str] = []
        self.connections = 0
        self.stalled = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Its SMTP_URL."""
        assert self._server is not None
        return f"smtp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            writer.write(b"220 scripted\r\n")
            while line := await reader.readline():
                verb = line[:4].decode().upper().strip()
                self.commands.append(verb)
                if not await self._answer(verb, writer, "354 go on" if verb == "DATA" else "250 scripted"):
                    return
                if verb == "DATA" and self._last.startswith("354"):
                    self.messages.append(await reader.readuntil(b"\r\n.\r\n"))
                    if not await self._answer("END", writer, "250 taken"):
                        return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, verb: str, writer: asyncio.StreamWriter, default: str) -> bool:
        answers = self._answers.get(verb, [default])
        self._last = answers.pop(0) if len(answers) > 1 else answers[0]
        if self._last == "drop":
            return False
        if self._last == "stall":
            self.stalled.set()
            return True
        writer.write(f"{self._last}\r\n".encode())
        await writer.drain()
        return True


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody trusts, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=mail.example.com", "-days", "2", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
