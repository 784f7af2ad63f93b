"""What a client gets while its generator waits: headers, heartbeats, and the item all the same."""

from __future__ import annotations

import re

import pytest

from tests.integration.servers.client import Stream, get
from tests.integration.servers.kinds import every_kind
from tests.integration.servers.notes import Notes
from tests.servers import Server

OPTIONS = {"OPEN_TIMEOUT": 0.1}
THREE_HEARTBEATS = b":\n:\n:\n"


@every_kind
@pytest.mark.parametrize("view", ["between", "between_sync"])
def test_heartbeats_go_out_between_two_items(
    server: Server, notes: Notes, name: str, view: str
) -> None:
    with Stream(server, f"/streams/{view}/?name={name}") as stream:
        stream.read_until(lambda body: body.endswith(THREE_HEARTBEATS))
        get(server, f"/open_gate/{name}/")
        assert [event.data for event in stream] == ["before", "after", "[DONE]"]
        assert re.fullmatch(
            rb"(:\n)*data: before\n\n(:\n){3,}data: after\n\n"
            rb"(:\n)*id: !end\nevent: close\ndata: \[DONE\]\n\n",
            stream.body,
        )
    assert notes.count(f"{name} cancelled") == 0


@every_kind
@pytest.mark.parametrize("view", ["late", "late_sync"])
def test_the_headers_do_not_wait_for_a_late_item_and_it_comes_all_the_same(
    server: Server, notes: Notes, name: str, view: str
) -> None:
    with Stream(server, f"/streams/{view}/?name={name}") as stream:
        # Only after the headers the gate is opened: the view was not waited for.
        assert stream.status == 200
        stream.read_until(lambda body: body.startswith(THREE_HEARTBEATS))
        get(server, f"/open_gate/{name}/")
        assert [event.data for event in stream] == ["first", "[DONE]"]
    assert notes.count(f"{name} cancelled") == 0


@every_kind
@pytest.mark.parametrize("view", ["late", "late_sync"])
def test_an_error_after_the_headers_is_an_event_though_no_item_came(
    server: Server, name: str, view: str
) -> None:
    with Stream(server, f"/streams/{view}/?name={name}&fail=1") as stream:
        assert stream.status == 200
        get(server, f"/open_gate/{name}/")
        assert [(event.type, event.data) for event in stream] == [
            ("error", '{"error":"The stream failed.","code":"error"}')
        ]
        assert b"secret" not in stream.body


@every_kind
def test_a_client_that_leaves_before_the_first_item_but_after_the_headers(
    server: Server, notes: Notes, name: str
) -> None:
    with Stream(server, f"/streams/opening/?name={name}") as stream:
        assert stream.status == 200
        assert notes.count(name) == 0
    notes.wait_for(name)
