"""Puts messages into a maildir instead of sending them: the embedded default, and for trials."""

from __future__ import annotations

import asyncio
import mailbox
from pathlib import Path
from typing import Self

from backend.domain.mail import Accepted, Deferred, OutgoingMail, build_message
from backend.errors import TransientError


class MaildirMailer:
    """A maildir, made at the first message.

    Args:
        folder: of the maildir.
        sender: the From address.
    """

    def __init__(self, folder: Path, *, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return

    async def prepare(self, mail: OutgoingMail) -> None:
        """Make the maildir.

        Raises:
            TransientError: the folder cannot be written.
        """
        try:
            await asyncio.to_thread(self._open)
        except OSError as error:
            raise TransientError(f"The maildir {self._folder} (SMTP_URL) cannot be written: {error}.") from None

    async def deliver(self, mail: OutgoingMail) -> Accepted | Deferred:
        """Put the message in."""
        content = build_message(mail, self._sender).as_bytes()
        try:
            # A maildir takes a message as a whole or not at all.
            await asyncio.to_thread(lambda: self._open().add(content))
        except OSError as error:
            return Deferred(reason=f"the maildir cannot be written: {error.strerror or error}")
        return Accepted()

    def _open(self) -> mailbox.Maildir:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        return mailbox.Maildir(self._folder, factory=None, create=True)
