"""What the rest of the package may expect of every server, whatever has changed in it."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import pkgutil
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from django_sse import servers
from django_sse.servers.base import Connection, Server
from django_sse.servers.daphne import DaphneConnection, DaphneServer
from django_sse.servers.daphne_h2 import DaphneH2Connection
from django_sse.servers.detect import connection, server_of
from django_sse.servers.granian import LoopServer
from django_sse.servers.gunicorn import GunicornConnection, GunicornWorker
from django_sse.servers.hypercorn import HypercornConnection, HypercornServer
from django_sse.servers.hypercorn_h2 import HypercornH2Connection
from django_sse.servers.uvicorn import UvicornConnection, UvicornServer
from tests.requirements import require
from tests.vanishing import vanish

HOST = "127.0.0.1"
Pair = tuple[Any, Any]


def of_module(name: str, **attributes: Any) -> Any:
    """An object with ``attributes`` whose class seems to come from a server's module."""

    async def send(self: Any, message: Any) -> None:
        """As most servers have it: a method."""

    made = type("Owner", (), {"__module__": name, "send": send})()
    vars(made).update(attributes)
    return made


async def receive() -> Any:
    """Of a server that has nothing to be found by."""


async def send(message: Any) -> None:
    """Of the same."""


# -- the servers, as much of each as is asked for


class Transport:
    """asyncio's, and Twisted's."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1

    abortConnection = abort

    def get_extra_info(self, name: str) -> Any:
        return self.socket if name == "socket" else None

    def get_write_buffer_size(self) -> int:
        return 1


class Producing:
    """Twisted's side of a push producer."""

    def __init__(self) -> None:
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None and streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None


def uvicorn(transport: Transport) -> Pair:
    owner = of_module("uvicorn.protocols.http.h11_impl", transport=transport)
    return owner.send, receive


def gunicorn(transport: Transport) -> Pair:
    async def send(message: Any) -> None: ...

    send.__module__ = "gunicorn.asgi.protocol"
    worker = of_module("gunicorn.workers.gasgi", alive=True)
    protocol = SimpleNamespace(transport=transport, worker=worker)
    return send, of_module("gunicorn.asgi.protocol", protocol=protocol).send


def hypercorn(transport: Transport) -> Pair:
    over = of_module("hypercorn.asyncio.tcp_server", writer=SimpleNamespace(transport=transport))
    protocol = of_module("hypercorn.protocol.h11", send=over.send)
    context = SimpleNamespace(terminated=asyncio.Event(), terminate=asyncio.Event())
    stream = of_module("hypercorn.protocol.http_stream", context=context, stream_id=1)
    stream_send, stream.send = stream.send, protocol.__class__.send.__get__(protocol)
    return stream_send, receive


def hypercorn_h2(transport: Transport) -> Pair:
    stream_send, stream_receive = hypercorn(transport)
    stream = stream_send.__self__
    protocol = stream.send.__self__
    protocol.stream_buffers = {stream.stream_id: SimpleNamespace(buffer=b"")}
    return stream_send, stream_receive


def daphne(transport: Transport) -> Pair:
    request = of_module("daphne.http_protocol", channel=SimpleNamespace(transport=transport))
    producing = Producing()
    request.registerProducer = producing.registerProducer
    request.unregisterProducer = producing.unregisterProducer
    return functools.partial(send, request), receive


def daphne_h2(transport: Transport) -> Pair:
    over = SimpleNamespace(
        streams={1: None},
        transport=transport,
        _consumerBlocked=None,
        remainingOutboundWindow=lambda stream_id: 100,
    )
    channel = SimpleNamespace(_conn=over, streamID=1, abortConnection=transport.abort)
    pair = daphne(transport)
    pair[0].args[0].channel = channel
    return pair


def unknown(transport: Transport) -> Pair:
    return send, receive


KNOWN: dict[str, tuple[Callable[[Transport], Pair], type[Connection]]] = {
    "uvicorn": (uvicorn, UvicornConnection),
    "gunicorn": (gunicorn, GunicornConnection),
    "hypercorn": (hypercorn, HypercornConnection),
    "hypercorn, HTTP/2": (hypercorn_h2, HypercornH2Connection),
    "daphne": (daphne, DaphneConnection),
    "daphne, HTTP/2": (daphne_h2, DaphneH2Connection),
    "unknown": (unknown, Connection),
}


@pytest.fixture
def transport() -> Iterator[Transport]:
    with closing(socket.socket()) as client:
        yield Transport(client)


@pytest.fixture(params=KNOWN)
async def given(request: pytest.FixtureRequest, transport: Transport) -> Connection:
    make, expected = KNOWN[request.param]
    found = connection(*make(transport))
    assert type(found) is expected
    return found


# -- connections


async def test_a_client_that_reads_has_room_and_ready_returns_at_once(given: Connection) -> None:
    given.begin()
    assert given.room > 0
    async with asyncio.timeout(1):
        await given.ready()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux")
async def test_while_a_stream_is_open_a_vanished_client_is_noticed_sooner(
    given: Connection, transport: Transport
) -> None:
    def limit() -> int:
        return transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    given.begin()
    # (hypercorn logs a traceback for each; the connection of HTTP/2 has other streams as well.)
    limited = not isinstance(given, HypercornConnection) and type(given) is not Connection
    assert (limit() > 0) is limited
    given.release()
    assert limit() == 0 or isinstance(given, DaphneH2Connection)


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="Linux")
async def test_a_client_that_vanished_acknowledges_nothing(transport: Transport) -> None:
    with (
        closing(socket.create_server((HOST, 0))) as listener,
        closing(socket.create_connection(listener.getsockname())) as client,
    ):
        transport.socket = listener.accept()[0]
        found = connection(*uvicorn(transport))
        transport.socket.sendall(b"taken")
        client.recv(5)
        # Nothing is in flight, however long ago that was.
        await asyncio.sleep(0.1)
        assert found.acknowledges(0.05)
        vanish(client)
        transport.socket.sendall(b"lost")
        await asyncio.sleep(0.1)
        assert not found.acknowledges(0.05)
        assert found.acknowledges(60)
        transport.socket.close()
        assert found.acknowledges(0.05)


@pytest.mark.parametrize("make", [uvicorn, daphne, hypercorn, gunicorn, daphne_h2, hypercorn_h2])
async def test_where_a_client_has_a_socket_the_kernel_is_asked(
    make: Callable[[Transport], Pair], transport: Transport
) -> None:
    assert connection(*make(transport))._socket() is transport.socket


async def test_release_may_be_called_twice_and_a_stream_may_begin_again(given: Connection) -> None:
    for _ in range(2):
        given.begin()
        given.release()
        given.release()


async def test_a_connection_is_dropped_where_the_server_has_a_way(
    given: Connection, transport: Transport
) -> None:
    given.begin()
    given.drop()
    assert transport.aborted == given.drops
    assert given.drops is (type(given) is not Connection)


async def test_a_connection_that_is_lost_takes_everything_in_silence(
    given: Connection, transport: Transport
) -> None:
    given.begin()
    transport.socket.close()
    for owner in ("_owner", "_request"):
        holder = getattr(given, owner, None)
        for name in ("transport", "channel"):
            if hasattr(holder, name):
                setattr(holder, name, None)
    given.begin()
    assert given.room > 0
    given.drop()
    given.release()


async def assert_has_room_after(action: Callable[[], object], found: Connection) -> None:
    assert found.room == 0
    ready = asyncio.ensure_future(found.ready())
    await asyncio.sleep(0)
    assert not ready.done()
    action()
    async with asyncio.timeout(1):
        await ready
    assert found.room == sys.maxsize


async def test_daphne_has_no_room_while_twisted_holds_too_much(transport: Transport) -> None:
    found = connection(*daphne(transport))
    assert isinstance(found, DaphneConnection)
    found.begin()
    found.pauseProducing()
    await assert_has_room_after(found.resumeProducing, found)


async def test_over_http2_daphne_has_as_much_room_as_the_window(transport: Transport) -> None:
    found = connection(*daphne_h2(transport))
    assert found.room == 100


async def test_over_http2_hypercorn_has_room_while_its_buffer_is_small(
    transport: Transport,
) -> None:
    stream_send, _ = hypercorn_h2(transport)
    found = connection(stream_send)
    stream = stream_send.__self__
    buffer = stream.send.__self__.stream_buffers[stream.stream_id]
    taken = asyncio.Event()

    async def drain() -> None:
        await taken.wait()
        buffer.buffer = b""

    buffer.buffer, buffer.drain = bytes(1 << 16), drain
    await assert_has_room_after(taken.set, found)


# -- where a name is missing

CHANGED = {
    "a function": send,
    "a method": of_module("project.middleware").send,
    "a partial": functools.partial(send),
    "a partial of nothing known": functools.partial(send, of_module("project.middleware")),
    "uvicorn": of_module("uvicorn.protocols.http.h11_impl").send,
    "uvicorn, elsewhere": of_module("uvicorn.moved", transport=None).send,
    "hypercorn": of_module("hypercorn.protocol.http_stream").send,
    "hypercorn, elsewhere": of_module("hypercorn.moved", context=None).send,
    "daphne": functools.partial(send, of_module("daphne.http_protocol")),
    "daphne, a method": of_module("daphne.http_protocol").send,
    "granian": of_module("granian._granian").send,
}


@pytest.mark.parametrize("name", CHANGED)
async def test_a_server_that_is_unknown_or_has_changed_keeps_to_the_specification(
    name: str,
) -> None:
    found = connection(CHANGED[name], receive)
    assert type(found) is Connection
    assert (found.pushes, found.drops, found.room, found.server) == (
        False,
        False,
        sys.maxsize,
        None,
    )


async def test_gunicorn_that_has_changed_keeps_to_the_specification(transport: Transport) -> None:
    changed, _ = gunicorn(transport)
    assert type(connection(changed, receive)) is Connection
    assert type(connection(changed)) is Connection


async def test_hypercorn_without_its_events_is_told_by_a_signal(transport: Transport) -> None:
    stream_send, _ = hypercorn(transport)
    stream_send.__self__.context = SimpleNamespace()
    server = connection(stream_send).server
    assert server is not None
    assert (server.told, server.stop) == (None, None)


# -- how each stops

HANDLERS: dict[str, tuple[Any, type[Server]]] = {
    "uvicorn": (of_module("uvicorn.server", servers=[]).send, UvicornServer),
    "gunicorn": (of_module("gunicorn.workers.gthread", alive=True).send, GunicornWorker),
    "a project's own worker": (
        type("Own", (type(of_module("gunicorn.workers.base")),), {"__module__": "project"})().send,
        GunicornWorker,
    ),
    "no handler": (signal.SIG_DFL, Server),
    "a project's own": (send, Server),
    "asyncio.Runner's": (functools.partial(send), Server),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_a_server_is_known_by_its_signal_handler_and_does_not_stop_by_itself(name: str) -> None:
    handler, expected = HANDLERS[name]
    server = server_of(handler)
    assert type(server) is expected
    assert (server.stops(), server.waits, server.hears_in_loop) == (False, True, False)
    assert (server.told, server.stop) == (None, None)


@pytest.mark.parametrize(
    ("module", "expected", "waits"),
    [
        ("asyncio.unix_events", LoopServer, True),
        ("uvloop.loop", LoopServer, True),
        ("twisted.internet._signals", DaphneServer, False),
    ],
)
def test_a_handler_that_is_a_function_is_known_by_its_module(
    module: str, expected: type[Server], waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "__module__", module)
    server = server_of(send)
    assert type(server) is expected
    assert (server.waits, server.hears_in_loop) == (waits, expected is LoopServer)


@pytest.mark.parametrize("serving", [[True, True], [True, False]])
def test_uvicorn_stops_when_an_address_is_not_served_any_more(serving: list[bool]) -> None:
    listening = [SimpleNamespace(is_serving=lambda it=it: it) for it in serving]
    server = server_of(of_module("uvicorn.server", servers=listening).send)
    assert server.stops() is not all(serving)


def test_gunicorn_says_how_many_threads_it_has_and_why_its_sync_worker_should_not_stream() -> None:
    config = SimpleNamespace(threads=8)
    found = {
        name: server_of(of_module(f"gunicorn.workers.{name}", alive=True, cfg=config).send)
        for name in ("gthread", "sync", "ggevent", "gasgi")
    }
    threads = {name: server.threads for name, server in found.items()}
    assert threads == {"gthread": 8, "sync": None, "ggevent": None, "gasgi": None}
    assert [name for name, server in found.items() if server.unfit] == ["sync"]


def test_gunicorn_stops_when_its_worker_is_not_alive() -> None:
    worker = of_module("gunicorn.workers.base", alive=False)
    assert server_of(worker.send).stops()


async def test_hypercorn_is_told_and_can_be_stopped(transport: Transport) -> None:
    stream_send, _ = hypercorn(transport)
    server = connection(stream_send).server
    assert isinstance(server, HypercornServer)
    assert server.told is not None and server.stop is not None
    stream_send.__self__.context.terminated.set()
    async with asyncio.timeout(1):
        await server.told()


# -- the real ones

PRIVATE = [
    (["uvicorn"], "uvicorn.protocols.http.h11_impl", "RequestResponseCycle", ["self.transport"]),
    (
        ["uvicorn", "httptools"],
        "uvicorn.protocols.http.httptools_impl",
        "RequestResponseCycle",
        ["self.transport"],
    ),
    (["uvicorn"], "uvicorn.server", "Server", ["self.servers", "def handle_exit"]),
    (["gunicorn"], "gunicorn.asgi.protocol", "ASGIProtocol", ["self.worker", "self.transport"]),
    (["gunicorn"], "gunicorn.asgi.protocol", "BodyReceiver", ["self.protocol", "def receive"]),
    (
        ["gunicorn"],
        "gunicorn.workers.base",
        "Worker",
        ["self.alive", "def handle_exit", "self.cfg"],
    ),
    (["gunicorn"], "gunicorn.workers.gthread", "ThreadWorker", ["self.cfg.threads"]),
    (["gunicorn"], "gunicorn.workers.sync", "SyncWorker", ["def run"]),
    (["gunicorn"], "gunicorn.http.wsgi", "default_environ", ["gunicorn.socket"]),
    (["granian"], "granian.server.mp", "MPServer", ["def _spawn_wsgi_worker", "set_sync_signals"]),
    (["daphne"], "daphne.http_protocol", "WebRequest", ["handle_reply"]),
    (["daphne"], "daphne.server", "Server", ["partial(self.handle_reply, protocol)"]),
    (["daphne"], "twisted.web.http", "Request", ["def registerProducer", "self.channel"]),
    (["hypercorn"], "hypercorn.protocol.http_stream", "HTTPStream", ["self.context", "self.send"]),
    (
        ["hypercorn"],
        "hypercorn.asyncio.worker_context",
        "WorkerContext",
        ["terminate", "terminated"],
    ),
    (["hypercorn"], "hypercorn.asyncio.tcp_server", "TCPServer", ["self.writer", "protocol_send"]),
    (
        ["hypercorn"],
        "hypercorn.protocol.h2",
        "H2Protocol",
        ["self.stream_buffers", "self.connection", "def _window_updated", "def _flush"],
    ),
    (["hypercorn"], "hypercorn.protocol.h2", "StreamBuffer", ["self.buffer", "def drain"]),
    (
        ["daphne"],
        "twisted.web._http2",
        "H2Connection",
        ["_consumerBlocked", "def remainingOutboundWindow", "self.streams"],
    ),
    (
        ["daphne"],
        "twisted.web._http2",
        "H2Stream",
        ["self.streamID", "self._conn", "def flowControlBlocked", "def abortConnection"],
    ),
]


@pytest.mark.parametrize(("needs", "module", "owner", "names"), PRIVATE)
def test_the_private_names_are_still_there(
    needs: list[str], module: str, owner: str, names: list[str]
) -> None:
    """Without them a server is slower or worse, but works: this test is how we learn of it."""
    require(*needs)
    source = inspect.getsource(getattr(importlib.import_module(module), owner))
    assert [name for name in names if name not in source] == []


MODULES = [
    importlib.import_module(f"{servers.__name__}.{each.name}")
    for each in pkgutil.iter_modules(servers.__path__)
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_server_has_to_be_installed(module: Any) -> None:
    words = [line.split() for line in inspect.getsource(module).splitlines()]
    imported = {line[1].partition(".")[0] for line in words if line[:1] in (["import"], ["from"])}
    assert imported.isdisjoint(
        {"uvicorn", "uvloop", "daphne", "twisted", "hypercorn", "gunicorn", "granian"}
    )


@pytest.mark.parametrize(
    "name",
    ["daphne", "daphne_h2", "granian", "gunicorn", "hypercorn", "hypercorn_h2", "uvicorn"],
)
def test_each_file_says_which_private_names_it_uses_and_of_which_version(name: str) -> None:
    doc = importlib.import_module(f"{servers.__name__}.{name}").__doc__ or ""
    assert re.search(r"Private names[^\n]*:", doc)
    assert re.search(r"\d+\.\d+", doc)
    assert "Without" in doc
