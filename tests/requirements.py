"""What some tests need beyond Python's own packages, and what happens when it is missing.

A test says `@pytest.mark.needs("browser")`, or calls `require("node")` in a fixture. Where the
thing is missing the test is skipped with a line that says what to install. Where
`DJANGO_SSE_REQUIRE` (comma-separated names or groups of below, or `all`) names it, the test fails
instead: a suite on the machine that is meant to have everything must not leave half of it out.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from tests import FULL, ROOT, databases, services

in_full = pytest.mark.skipif(not FULL, reason="`.ci/full` runs it (DJANGO_SSE_FULL=1)")
"""Marks what takes long and guards what other tests of `make test` guard already."""

NODE_CLIENTS = ROOT / "tests" / "node"
NODE_MAJOR = 20


@dataclass(frozen=True, slots=True)
class Requirement:
    """A thing a test needs: how to see that it is there, and how to get it."""

    present: Callable[[], bool]
    install: str


def chromium() -> str | None:
    """The path of a Chromium to drive: `DJANGO_SSE_CHROMIUM`, or the one on the PATH."""
    named = os.environ.get("DJANGO_SSE_CHROMIUM")
    candidates = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    return next(filter(None, map(shutil.which, candidates)), None)


def mini_browser() -> str | None:
    """The path of WebKitGTK's browser, which is on no PATH."""
    return next(map(str, Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser")), None)


def program(name: str) -> str | None:
    """The path of a program; Debian keeps servers where a user's PATH does not look."""
    return shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def _program(name: str) -> bool:
    return program(name) is not None


def _module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _browser() -> bool:
    return _module("playwright") and chromium() is not None


def _firefox() -> bool:
    return _module("playwright") and _program("firefox-esr")


def _webkit() -> bool:
    return mini_browser() is not None and _program("WebKitWebDriver") and _program("Xvfb")


def _node() -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = done.stdout.strip().removeprefix("v").split(".")[0]
    return major.isdecimal() and int(major) >= NODE_MAJOR


def _node_clients() -> bool:
    return _node() and (NODE_CLIENTS / "node_modules").is_dir()


def _service(driver: str, url: str) -> bool:
    return _module(driver) and databases.answers(url)


SERVICES = ("postgres", "mariadb", "redis", "postgres-server", "redis-server")
_START = (
    "{} at {} (`docker compose up --wait`, or where DJANGO_SSE_TEST_{}_URL says) and "
    "`pip install -e '.[test]'`"
)
PROXIES = ("nginx", "haproxy", "caddy")
SERVERS = ("daphne", "gevent", "granian", "gunicorn", "httptools", "hypercorn", "uvicorn", "uvloop")

REQUIREMENTS: dict[str, Requirement] = {
    "browser": Requirement(
        _browser, "Debian's `apt-get install chromium` and `pip install -e '.[test]'`"
    ),
    "firefox": Requirement(
        _firefox, "Debian's `apt-get install firefox-esr` and `pip install -e '.[test]'`"
    ),
    "webkit": Requirement(_webkit, "Debian's `apt-get install webkit2gtk-driver xvfb`"),
    "node": Requirement(_node, f"Node.js {NODE_MAJOR} or newer on the PATH"),
    "node-clients": Requirement(
        _node_clients, f"Node.js {NODE_MAJOR} or newer, then `npm ci` in tests/node"
    ),
    "postgres": Requirement(
        partial(_service, "psycopg", databases.POSTGRES_URL),
        _START.format("PostgreSQL", databases.POSTGRES_URL, "POSTGRES"),
    ),
    "mariadb": Requirement(
        partial(_service, "pymysql", databases.MARIADB_URL),
        _START.format("MariaDB", databases.MARIADB_URL, "MARIADB"),
    ),
    "redis": Requirement(
        partial(_service, "redis", databases.REDIS_URL),
        _START.format("Redis", databases.REDIS_URL, "REDIS"),
    ),
    **{
        name: Requirement(partial(_program, name), f"Debian's `apt-get install {name}`")
        for name in PROXIES
    },
    "cc": Requirement(partial(_program, "cc"), "Debian's `apt-get install gcc libc6-dev`"),
    "systemd": Requirement(
        partial(_program, "systemd-analyze"), "Debian's `apt-get install systemd`"
    ),
    "redis-server": Requirement(
        lambda: services.redis_server() is not None, "Debian's `apt-get install redis-server`"
    ),
    "postgres-server": Requirement(
        lambda: services.postgres_programs() is not None, "Debian's `apt-get install postgresql`"
    ),
    **{name: Requirement(partial(_module, name), "`pip install -e '.[test]'`") for name in SERVERS},
}
# What a caller of the suite can ask for at once.
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(REQUIREMENTS),
    "node": ("node", "node-clients"),
    "proxies": PROXIES,
    "servers": SERVERS,
    "services": SERVICES,
}


def demanded() -> frozenset[str]:
    """The requirements that `DJANGO_SSE_REQUIRE` names, groups resolved.

    Raises `pytest.UsageError` on an unknown name: a typo must not switch the demand off.
    """
    return frozenset(_resolve(os.environ.get("DJANGO_SSE_REQUIRE", "")))


def _resolve(text: str) -> Iterator[str]:
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in REQUIREMENTS and name not in GROUPS:
            known = ", ".join(sorted({*REQUIREMENTS, *GROUPS}))
            raise pytest.UsageError(f"DJANGO_SSE_REQUIRE names {name!r}; known are: {known}")
        yield from GROUPS.get(name, (name,))


@cache
def is_present(name: str) -> bool:
    """Looked up once a process: it may start a program."""
    return REQUIREMENTS[name].present()


def require(*names: str) -> None:
    """Skips the running test, or fails it where `DJANGO_SSE_REQUIRE` says so, if one is missing.

    Raises `KeyError` on a name that is not in `REQUIREMENTS`.
    """
    for name in names:
        if is_present(name):
            continue
        reason = f"needs {name}: {REQUIREMENTS[name].install}"
        if name in demanded():
            pytest.fail(f"{reason} (demanded by DJANGO_SSE_REQUIRE)", pytrace=False)
        pytest.skip(reason)
