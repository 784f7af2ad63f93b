from __future__ import annotations

import functools
import importlib
import inspect
from typing import Any

import pytest

from django_sse.servers import outlets
from django_sse.servers.outlets import Outlet, outlet
from tests.requirements import require


async def send(message: Any) -> None:
    """Of a server that nobody knows."""


async def receive() -> Any:
    """Of the same."""


class Unknown:
    """A server's own object, that has nothing of what is asked for."""

    channel = None

    async def send(self, message: Any) -> None:
        """A method, as with most servers."""


def of_module(name: str) -> Any:
    """An object that seems to come from a module of a server, of another version."""
    return type("Changed", (Unknown,), {"__module__": name})()


@pytest.mark.parametrize(
    "given",
    [
        send,
        Unknown().send,
        functools.partial(send),
        functools.partial(send, Unknown()),
        of_module("uvicorn.protocols.http.h11_impl").send,
        of_module("hypercorn.protocol.http_stream").send,
        functools.partial(send, of_module("daphne.http_protocol")),
    ],
)
async def test_a_server_that_is_not_known_or_has_changed_keeps_to_the_specification(
    given: Any,
) -> None:
    found = outlet(given, receive)
    assert type(found) is Outlet
    assert (found.pushes, found.blocked, found.stopping(), found.stop()) == (
        False,
        False,
        None,
        None,
    )
    assert found.worker is None
    found.begin()
    await found.ready()
    found.release()
    found.abort()


@pytest.mark.parametrize(
    ("needs", "module", "owner", "attributes"),
    [
        (
            ["uvicorn"],
            "uvicorn.protocols.http.h11_impl",
            "RequestResponseCycle",
            ["self.transport"],
        ),
        (
            ["uvicorn", "httptools"],
            "uvicorn.protocols.http.httptools_impl",
            "RequestResponseCycle",
            ["self.transport"],
        ),
        (["daphne"], "daphne.http_protocol", "WebRequest", ["handle_reply"]),
        (["hypercorn"], "hypercorn.protocol.http_stream", "HTTPStream", ["self.context"]),
        (["gunicorn"], "gunicorn.asgi.protocol", "ASGIProtocol", ["self.worker", "self.transport"]),
        (["gunicorn"], "gunicorn.workers.base", "Worker", ["self.alive"]),
        (["uvicorn"], "uvicorn.server", "Server", ["self.servers"]),
    ],
)
def test_what_is_asked_for_is_still_there(
    needs: list[str], module: str, owner: str, attributes: list[str]
) -> None:
    """A new version of a server that has moved it is no failure, but slower: be told."""
    require(*needs)
    source = inspect.getsource(getattr(importlib.import_module(module), owner))
    for attribute in attributes:
        assert attribute in source


def test_nothing_of_a_server_is_imported() -> None:
    """They are known by the names of their modules: none has to be installed."""
    names = {name.split(".")[0] for name in imported(outlets)}
    assert names.isdisjoint({"uvicorn", "uvloop", "daphne", "twisted", "hypercorn", "gunicorn"})


def imported(module: Any) -> set[str]:
    lines = inspect.getsource(module).splitlines()
    words = [line.split() for line in lines if line.lstrip().startswith(("import ", "from "))]
    return {line[1] for line in words}
