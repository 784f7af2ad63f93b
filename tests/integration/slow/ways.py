"""The ways to a server that slow clients are tried on: server, protocol, with and without the
handoff."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import trustme

from tests import FULL
from tests.integration.servers.client import Stream
from tests.integration.slow.http2 import H2Stream
from tests.options import environ
from tests.proxy import Proxy
from tests.requirements import require
from tests.servers import HOST, KINDS, ReservedPort, Server
from tests.settings import scratch_directory


class LongStream(Stream):
    """A `Stream` that does not keep what it has read."""

    def read(self) -> bytes:
        chunk = super().read()
        self.body = b""
        return chunk


Client = LongStream | H2Stream


@dataclass(frozen=True, slots=True)
class Way:
    """``protocol``: "1.1", "h2c" (prior knowledge) or "h2" (TLS, ALPN)."""

    kind: str
    protocol: str = "1.1"
    handoff: bool = True

    def __str__(self) -> str:
        protocol = "" if self.protocol == "1.1" else f"-{self.protocol}"
        return f"{self.kind}{protocol}{'' if self.handoff else '-in-django'}"

    @property
    def wsgi(self) -> bool:
        return self.kind in ("gunicorn-gthread", "runserver-wsgi")


_SERVERS = ("daphne", "uvicorn", "uvicorn-asyncio", "granian", "hypercorn", "gunicorn-asgi")
HANDOFF = [*map(Way, _SERVERS), Way("runserver-daphne")]
HTTP2 = [
    Way("daphne", "h2"),
    Way("hypercorn-tls", "h2"),
    Way("granian", "h2c"),
    Way("gunicorn-asgi", "h2c"),
]
# Those whose own `send` waits for a client. daphne's does not, nor does hypercorn's on HTTP/2.
IN_DJANGO = [
    *(Way(kind, handoff=False) for kind in _SERVERS if kind != "daphne"),
    Way("granian", "h2c", handoff=False),
    Way("gunicorn-asgi", "h2c", handoff=False),
    Way("gunicorn-gthread", handoff=False),
]


# Twisted, asyncio and threads, and each protocol, once; the full run takes all ways.
_SAMPLE = {
    Way("daphne"),
    Way("uvicorn"),
    Way("hypercorn-tls", "h2"),
    Way("granian", "h2c"),
    Way("gunicorn-gthread", handoff=False),
}


def over(ways: Sequence[Way]) -> pytest.MarkDecorator:
    """Runs the test once for each way, or for a sample of them."""
    chosen = [way for way in ways if FULL or way in _SAMPLE]
    return pytest.mark.parametrize("way", chosen, ids=str)


@dataclass(frozen=True, slots=True)
class Reached:
    """A running server and how its clients get to it."""

    way: Way
    server: Server
    port: int

    def open(self, path: str, *, proxy: Proxy | None = None, **options: Any) -> Client:
        """A client; ``options`` are those of `Stream` or `H2Stream`."""
        if self.way.protocol == "1.1":
            return LongStream(proxy or self.server, path, **options)
        context = client_context() if self.way.protocol == "h2" else None
        return H2Stream(proxy.port if proxy else self.port, path, context=context, **options)

    def opened(self, stack: ExitStack, path: str, **options: Any) -> Client:
        """A client that leaves with ``stack``."""
        client = self.open(path, **options)
        stack.callback(client.close)
        return client


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def client_context() -> ssl.SSLContext:
    """Trusts this process's servers, and asks for HTTP/2."""
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    context.set_alpn_protocols(["h2"])
    return context


@cache
def _certificate() -> tuple[str, str]:
    """Paths of a key and of its certificate for loopback."""
    issued = _authority().issue_cert(HOST)
    directory = scratch_directory()
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(certificate)
    return str(key), str(certificate)


def _arguments(way: Way, port: int) -> list[str]:
    if way.protocol == "1.1" or way.kind == "granian":
        return []
    if way.kind == "gunicorn-asgi":
        # It gives a stream without a window up by itself after its time-out, 30 s by default.
        return ["--http-protocols", "h1,h2", "--http2-cleartext", "both", "--timeout", "120"]
    key, certificate = _certificate()
    if way.kind == "daphne":
        endpoint = f"ssl:{port}:privateKey={key}:certKey={certificate}:interface={HOST}"
        return ["--endpoint", endpoint]
    return ["--bind", f"{HOST}:{port}", "--keyfile", key, "--certfile", certificate]


@contextmanager
def serving(way: Way, env: dict[str, str] | None = None, **options: object) -> Iterator[Reached]:
    """A server of its own; ``options`` are its ``DJANGO_SSE``."""
    require(*KINDS[way.kind].needs)
    port = ReservedPort()
    given = {
        "DJANGO_SSE_TEST_HANDOFF": str(int(way.handoff)),
        **environ(**{"HEARTBEAT": 1.0} | options),
    }
    try:
        arguments = _arguments(way, port.number)
        with Server(way.kind, env=given | (env or {}), args=arguments) as server:
            yield Reached(way, server, port.number if way.protocol == "h2" else server.port)
    finally:
        port.close()
