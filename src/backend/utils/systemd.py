"""Tells systemd how a `Type=notify` service is; does nothing outside systemd."""

from __future__ import annotations

# The socket below gevent's: notifications come from the loop's OS thread too, where gevent's would start a hub.
import _socket
import os


def notify(*lines: str) -> bool:
    """Send assignments such as `READY=1`, `WATCHDOG=1`, `STOPPING=1` or `STATUS=text` to systemd.

    Never raises, and waits a second at most: a service does not fail because nobody listens.

    Returns:
        Whether they were sent; False outside systemd.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # A leading @ means the abstract namespace.
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(1)
            connection.sendto("\n".join(lines).encode(), target)
        finally:
            connection.close()
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """How often to send `WATCHDOG=1`, in seconds: half of what systemd allows; None when it does not watch."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1_000_000
    except ValueError:
        return None
    return seconds / 2 if seconds > 0 else None
