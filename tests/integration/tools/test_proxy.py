from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from tests.proxy import HOST, Proxy

TIMEOUT = 30.0


class Echo:
    """Sends back what it gets; remembers how each connection ended."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.endings: list[str] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # shutdown() wakes the thread that is blocked in accept(); close() alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def wait_for_ending(self) -> str:
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.endings), TIMEOUT)
            return self.endings[0]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        ending = "eof"
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except ConnectionResetError:
                ending = "reset"
        with self._changed:
            self.endings.append(ending)
            self._changed.notify_all()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as server:
        yield server


@contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, proxy.port), timeout=TIMEOUT) as client:
        yield client


def exchange(client: socket.socket, message: bytes) -> bytes:
    client.sendall(message)
    return receive(client, len(message))


def receive(client: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count and (data := client.recv(count - len(received))):
        received += data
    return received


def hears_nothing(client: socket.socket) -> bool:
    """That nothing comes cannot be awaited: a tenth of a second of silence has to do."""
    client.settimeout(0.1)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(TIMEOUT)
    return False


def test_bytes_pass_in_both_directions_and_are_counted(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        assert exchange(client, b"hello") == b"hello"
        counters = proxy.counters
        assert (counters.bytes_up, counters.bytes_down) == (5, 5)
        assert (counters.accepted, counters.open) == (1, 1)


def test_large_transfers_arrive_whole(echo: Echo) -> None:
    message = bytes(range(256)) * 20_000
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(message,))
        sender.start()
        assert receive(client, len(message)) == message
        sender.join(TIMEOUT)
        assert proxy.counters.bytes_down == len(message)


def test_an_orderly_close_of_the_client_reaches_the_server(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        with connected(proxy) as client:
            exchange(client, b"x")
        assert echo.wait_for_ending() == "eof"
        proxy.wait_for(lambda counters: counters.open == 0)


def test_a_half_close_of_the_client_leaves_the_answer_its_way(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 100) == b"last words"


def test_cut_resets_both_sides(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        exchange(client, b"x")
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert echo.wait_for_ending() == "reset"
        assert proxy.counters.open == 0


def test_cut_without_reset_closes_both_sides_in_order(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        exchange(client, b"x")
        assert proxy.cut(reset=False) == 1
        assert client.recv(1) == b""
        assert echo.wait_for_ending() == "eof"


def test_after_a_cut_new_connections_work(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        with connected(proxy) as client:
            exchange(client, b"x")
            proxy.cut()
        with connected(proxy) as client:
            assert exchange(client, b"again") == b"again"
        assert proxy.counters.accepted == 2


def test_refuse_keeps_open_connections_and_lets_nobody_in(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        exchange(client, b"x")
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError), connected(proxy):
            pass
        assert exchange(client, b"still here") == b"still here"


def test_restore_after_refuse_listens_on_the_same_port(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        port = proxy.port
        proxy.refuse()
        proxy.restore()
        assert proxy.port == port
        with connected(proxy) as client:
            assert exchange(client, b"back") == b"back"


def test_stall_holds_bytes_back_and_restore_passes_them_on(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        exchange(client, b"x")
        proxy.stall()
        client.sendall(b"held")
        assert hears_nothing(client)
        proxy.restore()
        assert receive(client, 4) == b"held"


def test_a_connection_made_while_stalled_hangs_and_works_after_restore(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        proxy.stall()
        with connected(proxy) as client:
            client.sendall(b"early")
            proxy.wait_for(lambda counters: counters.open == 1)
            assert hears_nothing(client)
            proxy.restore()
            assert receive(client, 5) == b"early"


def test_a_stalled_connection_can_be_cut(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        exchange(client, b"x")
        proxy.stall()
        client.sendall(b"lost")
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_stalled_way_is_blocked_for_the_sender(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as client:
        exchange(client, b"x")
        proxy.stall()
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(64 * 1024 * 1024))


def test_a_server_that_is_away_looks_like_a_reset() -> None:
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        # The reset may come as early as in connect().
        with (
            Proxy(nobody.getsockname()[1]) as proxy,
            pytest.raises(ConnectionResetError),
            connected(proxy) as client,
        ):
            client.recv(1)


def test_a_reset_by_the_client_reaches_the_server(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        with connected(proxy) as client:
            exchange(client, b"x")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert echo.wait_for_ending() == "reset"


def test_waiting_for_what_does_not_come_times_out(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, pytest.raises(TimeoutError, match="accepted=0"):
        proxy.wait_for(lambda counters: counters.accepted == 1, timeout=0.05)


def test_leaving_the_block_ends_connections_and_frees_the_port(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        client = socket.create_connection((HOST, proxy.port), timeout=TIMEOUT)
        exchange(client, b"x")
    with closing(client), pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port), timeout=TIMEOUT)
