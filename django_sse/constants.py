"""Values that no project needs to change. Private: they may change with any release.

The library's own tests change them, in their process with ``overridden`` and in the processes that
they start with the environment variable ``DJANGO_SSE_CONSTANTS``, a JSON object.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOG: str = "django_sse.log.model.ModelLog"
"""Dotted path of the ``EventLog``. Not a setting: runs and ``sse_trim`` use the tables."""

COALESCE: float = 0.005
"""Seconds. Under load a channel's clients are woken at most this often and get several events in
one write; after a quiet moment they are woken at once. A generator's items are joined for at most
three times this long."""

GAP_WAIT: float = 0.005
"""Seconds that a frame waits for its predecessor before the log is read."""

TOPIC_LINGER: float = 30.0
"""Seconds that a process keeps a channel's ring after its last client."""

PAGE_EVENTS: int = 500
"""Rows that a replay reads at once, which bounds its memory."""

WRITE_BYTES: int = 64 << 10
"""Bytes that are joined into one write at most."""

DATABASE_THREADS: int = 2
"""Threads of a process for each kind of the library's database calls."""

THREAD_IDLE: float = 1.0
"""Seconds without work after which a thread closes its connections and ends."""

LOCK_WAIT: float = 30.0
"""Seconds that a publish waits for a channel that another transaction has locked. Much longer than
any transaction of the library's, and than the queue for a channel to which many publish."""

DRAIN_WAIT: float = 2.0
"""Seconds that the hooks after a commit wait for locked channels, all hooks of the commit together.
The safety poll sequences the rest."""

NAMES = frozenset(name for name in globals() if name.isupper())


def _change(values: dict[str, Any]) -> None:
    if unknown := values.keys() - NAMES:
        raise NameError(f"No constants: {', '.join(sorted(unknown))}.")
    globals().update(values)


@contextmanager
def overridden(**values: Any) -> Iterator[None]:
    """Change constants in this process for as long as the block runs."""
    before = {name: globals()[name] for name in values.keys() & NAMES}
    _change(values)
    try:
        yield
    finally:
        _change(before)


_change(json.loads(os.environ.get("DJANGO_SSE_CONSTANTS") or "{}"))
