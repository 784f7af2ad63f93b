"""The OPTIONS of a SQLite database that holds the log of a site with threads or processes::

    from django_sse.sqlite import SQLITE_OPTIONS

    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": BASE_DIR / "db.sqlite3",
            "OPTIONS": SQLITE_OPTIONS,
        }
    }

A settings module can import this: it loads nothing else.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["SQLITE_OPTIONS"]

SQLITE_OPTIONS: Final[dict[str, Any]] = {
    # A deferred transaction that reads first and writes later fails at once with "database is
    # locked" when another one has written meanwhile. IMMEDIATE waits for its turn.
    "transaction_mode": "IMMEDIATE",
    # Seconds that a write waits for its turn; Python's default is 5.
    "timeout": 20,
    # With a write-ahead log, readers and the writer do not wait for each other. NORMAL is safe
    # there: a power cut may lose the last commits, and never corrupts the file.
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
