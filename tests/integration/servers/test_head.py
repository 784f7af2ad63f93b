"""HEAD and OPTIONS open no stream, and leave their connection fit for the next request."""

from __future__ import annotations

import http.client
from contextlib import closing

import pytest

from tests.integration.servers.client import TIMEOUT, Stream
from tests.integration.servers.kinds import every_kind
from tests.project.forms import FORMS
from tests.servers import HOST, Server


@every_kind
@pytest.mark.parametrize("form", FORMS)
def test_head_tells_the_headers_and_the_connection_goes_on(
    server: Server, form: str, name: str
) -> None:
    with closing(http.client.HTTPConnection(HOST, server.port, timeout=TIMEOUT)) as connection:
        connection.request("HEAD", f"/forms/{form}/?name={name}")
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        assert response.read() == b""
        # One byte of a body on the wire would be taken for the next answer.
        connection.request("GET", "/ok/")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"ok")


@every_kind
@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"plain_async", "plain_sync"}))
def test_options_names_the_methods(server: Server, form: str, name: str) -> None:
    with Stream(server, f"/forms/{form}/?name={name}", method="OPTIONS") as stream:
        assert stream.status == 200
        allowed = (stream.header("Allow") or "").split(", ")
        assert {"GET", "HEAD", "OPTIONS"} <= set(allowed)
        assert stream.read() == b""


@every_kind
def test_head_of_what_is_not_there_is_404(server: Server) -> None:
    path = "/members/1/"
    with Stream(server, path, method="HEAD") as stream:
        assert stream.status == 403
    with Stream(server, f"{path}?password=friend", method="HEAD") as stream:
        assert stream.status == 200
        assert stream.header("Content-Type") == "text/event-stream; charset=utf-8"
