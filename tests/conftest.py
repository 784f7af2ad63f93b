"""What the whole suite shares: the `needs` marker, servers and proxies that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.processes import accept_interrupts
from tests.proxy import Proxy
from tests.requirements import REQUIREMENTS, demanded, is_present, require
from tests.servers import KINDS, Server


def pytest_configure(config: pytest.Config) -> None:
    # An unknown name in DJANGO_SSE_REQUIRE ends the run here, before it can pass unnoticed.
    demanded()
    accept_interrupts()


def pytest_report_header(config: pytest.Config) -> str:
    missing = ", ".join(name for name in REQUIREMENTS if not is_present(name))
    return f"requirements that are missing: {missing or 'none'}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        require(*marker.args)


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
