"""The socket that gunicorn's WSGI workers show: in plain text, and with TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
import trustme

from django_sse.servers.base import Connection
from django_sse.servers.detect import wsgi_connection
from django_sse.servers.gunicorn import GunicornSocket
from tests.looking import eventually

Pair = tuple[socket.socket, socket.socket]
HOST = "localhost"
# struct linger: on, 0 s. Closing then sends RST.
RESET = struct.pack("ii", 1, 0)


def _plain(stack: ExitStack) -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = stack.enter_context(socket.create_connection(listening.getsockname()))
        server = stack.enter_context(listening.accept()[0])
    return server, client


def _encrypted(stack: ExitStack) -> Pair:
    server, client = _plain(stack)
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(HOST).configure_cert(serving)
    authority.configure_trust(trusting)
    handshake = threading.Thread(target=lambda: wrapped.append(_wrap(trusting, client)))
    wrapped: list[ssl.SSLSocket] = []
    handshake.start()
    secure = stack.enter_context(serving.wrap_socket(server, server_side=True))
    handshake.join()
    return secure, stack.enter_context(wrapped[0])


def _wrap(context: ssl.SSLContext, client: socket.socket) -> ssl.SSLSocket:
    return context.wrap_socket(client, server_hostname=HOST)


@pytest.fixture(params=[_plain, _encrypted], ids=["plain", "TLS"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    make: Callable[[ExitStack], Pair] = request.param
    with ExitStack() as stack:
        yield make(stack)


@pytest.fixture
def connection(pair: Pair) -> Connection:
    found = wsgi_connection({"gunicorn.socket": pair[0]})
    assert type(found) is GunicornSocket
    assert (found.drops, found.sees_leave, found.pushes) == (True, True, False)
    return found


def seen_to_leave(connection: Connection) -> None:
    eventually(connection.left, lambda: "not seen to leave")


def test_a_client_that_is_there_has_not_left_whatever_it_has_sent(
    pair: Pair, connection: Connection
) -> None:
    assert not connection.left()
    pair[1].sendall(b"GET / HTTP/1.1\r\n")
    assert not connection.left()
    assert pair[0].recv(3) == b"GET"
    assert not connection.left()


@pytest.mark.parametrize("reset", [False, True], ids=["orderly", "crash"])
@pytest.mark.parametrize("unread", [b"", b"the next request"])
def test_a_client_that_has_left_is_seen(
    pair: Pair, connection: Connection, unread: bytes, reset: bool
) -> None:
    pair[1].sendall(unread)
    if reset:
        pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    pair[1].close()
    seen_to_leave(connection)


def test_a_client_that_has_closed_its_side_only_has_left(
    pair: Pair, connection: Connection
) -> None:
    # uvicorn and the others take it for that, too.
    socket.socket.shutdown(pair[1], socket.SHUT_WR)
    seen_to_leave(connection)


def test_a_dropped_connection_wakes_the_thread_that_sends(
    pair: Pair, connection: Connection
) -> None:
    failed: list[OSError] = []

    def send() -> None:
        try:
            while True:
                pair[0].sendall(bytes(1 << 20))
        except OSError as error:
            failed.append(error)

    sending = threading.Thread(target=send)
    sending.start()
    # More than the kernels take of a client that does not read: the thread is blocked, or will be.
    sending.join(0.2)
    assert sending.is_alive()
    connection.drop()
    sending.join(60)
    assert len(failed) == 1
    assert connection.left()
    with suppress(OSError):
        # Nothing was sent in plain text when TLS was gone.
        while pair[1].recv(1 << 16):
            pass


def test_a_connection_that_the_server_has_closed_takes_everything_in_silence(
    pair: Pair, connection: Connection
) -> None:
    pair[0].close()
    connection.begin()
    assert connection.left()
    connection.drop()
    connection.release()


def test_a_server_that_shows_no_socket_is_an_unknown_one() -> None:
    for environ in ({}, {"gunicorn.socket": None}):
        found = wsgi_connection(environ)
        assert type(found) is Connection
        assert not found.sees_leave
        assert not found.left()
