"""The configurations of `docs/deploy`, each in front of a real server."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from django_sse.wire import Decoder, MessageEvent
from tests.integration.many.balancers import DEPLOY, Balancer, Caddy, HAProxy, Nginx
from tests.integration.servers.environment import environment
from tests.integration.servers.notes import Notes
from tests.looking import eventually
from tests.requirements import require
from tests.servers import HOST, ReservedPort, Server

TIMEOUT = 60.0
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    """What the generators of `server` write down."""
    return Notes(tmp_path_factory.mktemp("notes") / "notes")


@pytest.fixture(scope="module")
def server(notes: Notes) -> Iterator[Server]:
    require("uvicorn", "uvloop")
    with Server("uvicorn", env=environment(notes)) as server:
        yield server


@pytest.fixture(scope="module")
def dead() -> Iterator[int]:
    """A port where nobody listens."""
    port = ReservedPort()
    yield port.number
    port.close()


@pytest.fixture(scope="module", params=[Nginx, HAProxy, Caddy], ids=lambda kind: kind.program)
def kind(request: pytest.FixtureRequest) -> type[Balancer]:
    require(request.param.program)
    return request.param


@pytest.fixture(scope="module")
def balancer(kind: type[Balancer], server: Server, dead: int) -> Iterator[Balancer]:
    """In front of one server that is up, and of one that is not."""
    with kind([dead, server.port]) as balancer:
        yield balancer


def url(balancer: Balancer, path: str) -> str:
    return f"http://{HOST}:{balancer.port}{path}"


def events(response: httpx.Response) -> Iterator[MessageEvent]:
    decoder = Decoder()
    for chunk in response.iter_raw():
        yield from decoder.feed(chunk)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=TIMEOUT) as client:
        yield client


def test_the_program_accepts_its_configuration(kind: type[Balancer], server: Server) -> None:
    balancer = kind([server.port])
    try:
        done = balancer.check()
    finally:
        balancer.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warn" not in (done.stdout + done.stderr).lower()


def test_each_event_arrives_before_the_next_is_published(
    balancer: Balancer, server: Server, client: httpx.Client
) -> None:
    channel = f"through-{balancer.program}"
    with client.stream("GET", url(balancer, f"/channels/{channel}/"), headers=STREAM) as response:
        assert response.status_code == 200
        received = events(response)
        assert next(received).type == "stream-open"
        for number in range(3):
            data = f"number {number}"
            client.post(f"{server.url}/publish/{channel}/", content=data).raise_for_status()
            assert next(received).data == data


def test_a_heartbeat_passes(balancer: Balancer, client: httpx.Client) -> None:
    with client.stream("GET", url(balancer, "/channels/idle/"), headers=STREAM) as response:
        body = b""
        for chunk in response.iter_raw():
            body += chunk
            if body.endswith(b"\n\n:\n"):
                break
    assert body.startswith(b"id: ")


def test_the_position_of_a_client_passes(
    balancer: Balancer, server: Server, client: httpx.Client
) -> None:
    channel = f"again-{balancer.program}"
    ids = [
        client.post(f"{server.url}/publish/{channel}/", content=str(number)).json()["id"]
        for number in range(3)
    ]
    headers = {**STREAM, "Last-Event-ID": ids[0]}
    with client.stream("GET", url(balancer, f"/channels/{channel}/"), headers=headers) as response:
        received = events(response)
        assert next(received).last_event_id == ids[0]
        assert [next(received).last_event_id for _ in range(2)] == ids[1:]


def test_the_server_learns_that_a_client_left(
    balancer: Balancer, notes: Notes, client: httpx.Client
) -> None:
    name = f"left-{balancer.program}"
    path = f"/streams/waiting/?name={name}"
    with client.stream("GET", url(balancer, path), headers=STREAM) as response:
        assert next(events(response)).data == "hello"
    notes.wait_for(name)


def test_where_one_server_is_away_the_other_is_asked(
    balancer: Balancer, client: httpx.Client
) -> None:
    answers = [client.get(url(balancer, "/ok/")).status_code for _ in range(6)]
    assert answers == [200] * 6


def test_a_stream_that_no_server_can_answer_is_told_to_come_back(
    kind: type[Balancer], dead: int, client: httpx.Client
) -> None:
    with kind([dead]) as balancer:
        # What it learns of the server from this one it knows at the next.
        plain = client.get(url(balancer, "/channels/any/"))
        assert plain.status_code in {502, 503}
        response = client.get(url(balancer, "/channels/any/"), headers=STREAM)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-store"
    assert [event.type for event in Decoder().feed(response.content)] == ["stream-retry"]
    retry = re.search(rb"^retry: ([0-9]+)$", response.content, re.MULTILINE)
    assert retry is not None and 2000 <= int(retry[1]) <= 7000


@pytest.fixture
def limited(kind: type[Balancer], server: Server) -> Iterator[Balancer]:
    """It lets one address have two requests at the same time, and waits a second for headers."""
    with kind([server.port], requests=2, patience=1) as balancer:
        yield balancer


def test_one_address_has_only_so_many_requests_at_the_same_time(
    limited: Balancer, client: httpx.Client
) -> None:
    if not limited.limit:
        pytest.skip(f"{limited.program} has no such limit")
    with ExitStack() as crowd:
        streams = [
            events(
                crowd.enter_context(
                    client.stream("GET", url(limited, "/channels/any/"), headers=STREAM)
                )
            )
            for _ in range(2)
        ]
        assert [next(stream).type for stream in streams] == ["stream-open"] * 2
        refused = client.get(url(limited, "/channels/any/"), headers=STREAM)
        assert refused.status_code == 200
        assert [event.type for event in Decoder().feed(refused.content)] == ["stream-retry"]
        assert client.get(url(limited, "/ok/")).status_code in {429, 503}
    eventually(lambda: client.get(url(limited, "/ok/")).status_code == 200, lambda: "refused")


def test_a_client_that_sends_half_of_its_headers_is_dropped(limited: Balancer) -> None:
    with closing(socket.create_connection((HOST, limited.port), timeout=TIMEOUT)) as connection:
        connection.sendall(b"GET /ok/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        answer = b""
        with suppress(ConnectionResetError):
            while chunk := connection.recv(1 << 16):
                answer += chunk
    assert answer == b"" or answer.split()[1] == b"408"


class Mirror(BaseHTTPRequestHandler):
    """Answers with what the proxy says of the client: what Django takes for true."""

    def do_GET(self) -> None:
        said = [
            ", ".join(self.headers.get_all(name, []))
            for name in ("X-Forwarded-Proto", "X-Forwarded-For")
        ]
        body = " ".join(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def mirror() -> Iterator[int]:
    with ThreadingHTTPServer((HOST, 0), Mirror) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


CLAIMS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.1"}


@pytest.mark.parametrize("claimed", [{}, CLAIMS], ids=["plain", "claims"])
def test_a_client_cannot_claim_another_address_or_https(
    kind: type[Balancer], mirror: int, client: httpx.Client, claimed: dict[str, str]
) -> None:
    with kind([mirror]) as balancer:
        assert client.get(url(balancer, "/"), headers=claimed).text == f"http {HOST}"


def unit(directory: Path) -> Path:
    """The documented unit, with a program that is there: systemd looks."""
    path = directory / "django-sse@.service"
    text = (DEPLOY / path.name).read_text()
    program = "/srv/site/.venv/bin/uvicorn"
    assert text.count(program) == 1
    path.write_text(text.replace(program, "/bin/true"))
    return path


def analyze(*arguments: str | Path, **env: str) -> tuple[int, str]:
    done = subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.needs("systemd")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    path = unit(tmp_path).with_name("django-sse@8001.service")
    assert analyze("verify", path, SYSTEMD_UNIT_PATH=f"{tmp_path}:") == (0, "")


@pytest.mark.needs("systemd")
def test_the_unit_is_locked_up_well(tmp_path: Path) -> None:
    # In tenths: 10 is what a service has that uses the network and one directory.
    code, told = analyze("security", "--offline=true", "--threshold=20", unit(tmp_path))
    assert code == 0, told
