"""What the whole suite shares: the `needs` marker, servers and proxies that end with their test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import FULL, options
from tests.processes import accept_interrupts
from tests.proxy import Proxy
from tests.requirements import REQUIREMENTS, demanded, is_present, require
from tests.servers import KINDS, Server

# What Hypothesis tries for each property.
EXAMPLES = 2000 if FULL else 100

# The longest files, the longest first. A long file that starts last keeps one worker busy after the
# others have ended. (xdist's own order, --loadscope-reorder, would put these few-test files last.)
LONG = (
    "slow/test_vanished.py",
    "many/test_runs.py",
    "servers/test_shutdown.py",
    "browser/test_assistant.py",
    "slow/test_slow_client.py",
    "servers/test_runs.py",
    "slow/test_crowds.py",
    "sdks/test_ends.py",
    "notifiers/test_outages.py",
    "many/test_servers.py",
    "test_idle_streams.py",
    "workers/test_workers.py",
    "slow/test_trimmed.py",
    "many/test_workers.py",
    "sdks/test_resume.py",
    "slow/test_window.py",
)
_ORDER = {f"tests/integration/{name}": place for place, name in enumerate(LONG)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _ORDER.get(item.nodeid.partition("::")[0], len(LONG)))


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a worker a file at a time; of `tests/integration/servers`, all tests of one server."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.startswith("tests/integration/servers/"):
            kinds = [kind for kind in KINDS if kind in test]
            return max(kinds, key=len, default=file)
        return file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler:
    return Scheduler(config, log)


def pytest_configure(config: pytest.Config) -> None:
    # An unknown name in DJANGO_SSE_REQUIRE ends the run here, before it can pass unnoticed.
    demanded()
    accept_interrupts()
    hypothesis.settings.register_profile("suite", deadline=None, max_examples=EXAMPLES)
    hypothesis.settings.load_profile("suite")


def pytest_report_header(config: pytest.Config) -> str:
    missing = ", ".join(name for name in REQUIREMENTS if not is_present(name))
    return f"requirements that are missing: {missing or 'none'}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        require(*marker.args)
    if item.get_closest_marker("options") and "configure" not in getattr(item, "fixturenames", ()):
        pytest.fail("@pytest.mark.options(...) does nothing without the fixture `configure`")


@pytest.fixture
def constants() -> Iterator[options.Overrides]:
    """Changes private constants of the library: `constants(THREAD_IDLE=0.05)`."""
    yield from options.constants()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers: `serve("uvicorn", env={...})`, arguments as `Server` has them."""
    with ExitStack() as stack:

        def start(kind: str, **options: object) -> Server:
            require(*KINDS[kind].needs)
            server: Server = stack.enter_context(Server(kind, **options))  # type: ignore[arg-type]
            return server

        yield start


@pytest.fixture
def proxied() -> Iterator[Callable[[int], Proxy]]:
    """Starts proxies: `proxied(server.port)` gives a `Proxy` in front of it."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(Proxy(port))
