"""What gevent's monkey patching took away: real locks, real threads and the real selector, whether patched or not.

Locks that greenlets and the loop's thread share lose wake-ups, and threads started in a patched process are greenlets;
everything that two OS threads share here is therefore made from these originals.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def is_gevent_patched() -> bool:
    """Whether gevent has monkey patched this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


def original(module: str, name: str) -> Any:
    """`module.name` as the standard library made it."""
    if is_gevent_patched():
        from gevent import monkey

        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


def current_os_thread() -> int:
    """The identifier of the OS thread (not of the greenlet)."""
    return int(original("_thread", "get_ident")())
