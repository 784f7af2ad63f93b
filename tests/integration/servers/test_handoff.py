"""What the handoff frees, and what it must not change; over both ways where that can be told."""

from __future__ import annotations

import gzip
import http.client
import json
import random
from collections.abc import Callable, Mapping
from contextlib import closing

import pytest

from tests.integration.servers.client import TIMEOUT, Stream, get
from tests.integration.servers.environment import environment
from tests.integration.servers.kinds import asgi, every_kind, handoff, on, without_handoff
from tests.integration.servers.notes import Notes
from tests.looking import eventually
from tests.servers import HOST, IN_DJANGO, Server, Site

Serve = Callable[..., Server]
# With GZipMiddleware and one that wraps on demand.
SITE = Site("tests.project.middleware_settings", "tests.project", "DJANGO_SSE_TEST_DB", "/ok/")

# What Django 6.1 and asgiref 3.13 make of any request, of a plain view as well, that is cancelled
# while it is handed through a sync-only middleware.
DJANGOS_OWN = "\nRuntimeError: CurrentThreadExecutor already quit or is broken"


# -- the request's end


@handoff
def test_the_request_has_ended_while_its_stream_goes_on(
    server: Server, notes: Notes, name: str
) -> None:
    with Stream(server, f"/handoff/closing/?name={name}") as stream:
        assert stream.next().data == "before"
        notes.wait_for(f"{name} closed")
        get(server, f"/open_gate/{name}/")
        assert stream.next().data == "after"
        assert notes.count(f"{name} ended") == 0
    notes.wait_for(f"{name} ended")
    assert notes.count(f"{name} closed") == 1


@handoff
def test_a_request_whose_content_was_replaced_ends_with_its_stream(
    server: Server, notes: Notes, name: str
) -> None:
    assert_ends_with_its_stream(server, notes, name, f"/handoff/closing/?name={name}&wrap=1")


@without_handoff
def test_without_the_handoff_every_request_does(server: Server, notes: Notes, name: str) -> None:
    assert_ends_with_its_stream(server, notes, name, f"/handoff/closing/?name={name}")


def assert_ends_with_its_stream(server: Server, notes: Notes, name: str, path: str) -> None:
    with Stream(server, path) as stream:
        assert stream.next().data == "before"
        get(server, f"/open_gate/{name}/")
        assert stream.next().data == "after"
        assert notes.count(f"{name} closed") == 0
    notes.wait_for(f"{name} closed")
    notes.wait_for(f"{name} ended")


@every_kind
def test_a_middleware_may_compress_a_stream_that_does_not_guard_itself(server: Server) -> None:
    path, headers = "/handoff/uncompressed/", {"Accept-Encoding": "gzip"}
    with Stream(server, path, headers=headers) as stream:
        assert stream.header("Content-Encoding") == "gzip"
        body = stream.response.read()
    assert [line[:7] for line in gzip.decompress(body).splitlines() if line[:4] == b"data"] == [
        b"data: 0",
        b"data: 1",
        b"data: 2",
        b"data: [",
    ]


# -- what the client sent

LARGE = b"0123456789" * 400_000
BOUNDARY = "----limit"
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="title"\r\n\r\nhello\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    f"Content-Type: text/plain\r\n\r\nthe file\r\n--{BOUNDARY}--\r\n"
).encode()


@every_kind
@pytest.mark.parametrize("view", ["reads", "reads_sync"])
@pytest.mark.parametrize(
    ("query", "content_type", "data", "seen"),
    [
        ("read=post", "application/x-www-form-urlencoded", b"a=1&b=x+y", {"a": "1", "b": "x y"}),
        ("read=body", "application/json", b'{"prompt": 1}', {"size": 13, "start": '{"prompt":'}),
        (
            "read=files",
            f"multipart/form-data; boundary={BOUNDARY}",
            FORM,
            {"title": "hello", "file": "the file"},
        ),
        ("read=rest&before=4", "text/plain", b"0123456789", {"rest": "456789"}),
        ("read=body", "text/plain", b"", {"size": 0, "start": ""}),
    ],
    ids=["form", "json", "upload", "partly-read", "empty"],
)
def test_a_generator_reads_the_body_of_its_request_whenever_it_likes(
    server: Server,
    name: str,
    view: str,
    query: str,
    content_type: str,
    data: bytes,
    seen: Mapping[str, object],
) -> None:
    assert_reads(server, name, f"/handoff/{view}/?{query}", content_type, data, seen)


# Under WSGI nobody has taken it off the connection yet, and the client is still sending.
@asgi
@pytest.mark.parametrize("view", ["reads", "reads_sync"])
def test_even_one_that_is_too_large_for_memory(server: Server, name: str, view: str) -> None:
    seen = {"rest": "01234567890123456789"}
    path = f"/handoff/{view}/?read=rest"
    assert_reads(server, name, path, "application/octet-stream", LARGE, seen)


def assert_reads(
    server: Server, name: str, path: str, content_type: str, data: bytes, seen: Mapping[str, object]
) -> None:
    headers = {"Content-Type": content_type}
    path = f"{path}&name={name}"
    with Stream(server, path, method="POST", headers=headers, data=data) as stream:
        assert stream.next().data == "first"
        get(server, f"/open_gate/{name}/")
        content, end = stream
        assert json.loads(content.data) == seen
        assert end.type == "close"


# -- the connection


@asgi
def test_the_connection_serves_the_next_request_after_a_stream_has_ended(server: Server) -> None:
    with closing(http.client.HTTPConnection(HOST, server.port, timeout=TIMEOUT)) as connection:
        for _ in range(3):
            connection.request("GET", "/async_generator/?count=2")
            response = connection.getresponse()
            assert response.read().endswith(b"id: !end\nevent: close\ndata: [DONE]\n\n")
            connected = connection.sock
            connection.request("GET", "/ok/")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"ok")
            # http.client would have opened another one in silence.
            assert connected is not None and connection.sock is connected


@asgi
def test_clients_that_leave_at_any_moment_leave_no_generator_behind(
    server: Server, notes: Notes, name: str
) -> None:
    chance = random.Random(name)
    streams = [
        Stream(server, f"/handoff/counts_itself/?name={name}", reset=number % 2 == 0)
        for number in range(60)
    ]
    chance.shuffle(streams)
    for stream in streams:
        # One that has not been answered leaves before, in or after the handoff.
        if chance.random() < 0.3:
            stream.read()
        stream.close()
    # The last of them to be begun, if any is still to be.
    with Stream(server, f"/handoff/counts_itself/?name={name}") as last:
        last.next()
    notes.wait_for(f"{name} ended", 1)
    # A server that cancels a request may leave Django's response to the garbage collection.
    assert get(server, "/handoff/collects/") == (200, b"collected")
    eventually(
        lambda: notes.count(f"{name} started") == notes.count(f"{name} ended"),
        lambda: (notes.count(f"{name} started"), notes.count(f"{name} ended")),
    )
    assert get(server, "/ok/") == (200, b"ok")
    if IN_DJANGO not in server.kind:
        # (Django 5.2 has a traceback of its own for clients that leave.)
        output = server.output()
        assert output.count("Traceback") == output.count(DJANGOS_OWN)


@on("gunicorn-asgi", "hypercorn", "granian", "uvicorn-asyncio", "daphne")
def test_requests_that_are_no_streams_leave_no_task_behind(server: Server) -> None:
    with closing(http.client.HTTPConnection(HOST, server.port, timeout=TIMEOUT)) as connection:
        for _ in range(20):
            connection.request("GET", "/ok/")
            connection.getresponse().read()
        connection.request("GET", "/streams/process/")
        before = json.loads(connection.getresponse().read())["tasks"]
        for _ in range(20):
            connection.request("GET", "/streams/process/")
            tasks = json.loads(connection.getresponse().read())["tasks"]
    # One a request would be twenty; the server has some of its own that come and go.
    assert tasks < before + 10
    assert "destroyed" not in server.output()


# -- what may stand around it


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
@pytest.mark.parametrize("around", ["routed", "static"])
def test_under_what_only_passes_on_a_stream_is_handed_off(
    kind: str, around: str, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, env=environment(notes) | {"DJANGO_SSE_TEST_ASGI": around})
    with Stream(server, f"/handoff/closing/?name={name}") as stream:
        assert stream.next().data == "before"
        notes.wait_for(f"{name} closed")
        get(server, f"/open_gate/{name}/")
        assert stream.next().data == "after"
    notes.wait_for(f"{name} ended")
    with Stream(server, "/static/admin/css/base.css") as response:
        # The project's own view of static files says who it is.
        served_by = "project" if response.header("X-Served-By") else "handler"
        assert (response.status, served_by) == (200, "handler" if around == "static" else "project")


@pytest.mark.parametrize("kind", ["daphne", "uvicorn", "hypercorn"])
def test_a_middleware_outside_sees_headers_and_frames_go_by(
    kind: str, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, env=environment(notes) | {"DJANGO_SSE_TEST_ASGI": "outside"})
    assert_streams(server, notes, name, "X-Outside", "step")


@pytest.mark.parametrize("kind", ["daphne", "uvicorn", "hypercorn"])
def test_a_middleware_inside_sees_the_headers_and_no_frame(
    kind: str, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, env=environment(notes) | {"DJANGO_SSE_TEST_ASGI": "inside"})
    assert_streams(server, notes, name, "X-Inside", "step")


def assert_streams(server: Server, notes: Notes, name: str, header: str, key: str) -> None:
    with Stream(server, f"/forms/async_generator/?name={name}") as stream:
        assert stream.header(header) == "yes"
        for number in range(3):
            assert stream.next().data == f'{{"{key}":{number}}}'
            get(server, f"/open_gate/{name}/")
        assert [event.type for event in stream] == ["close"]
    with Stream(server, f"/streams/waiting/?name={name}") as stream:
        stream.next()
    notes.wait_for(name)
    with Stream(server, f"/channels/{name}/") as stream:
        stream.next()
        get(server, f"/publish/{name}/", method="POST", data=b"news")
        assert stream.next().data == "news"
