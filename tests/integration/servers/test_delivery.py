"""Each event reaches the client when it is yielded, whatever the view's form and the server."""

from __future__ import annotations

import pytest

from tests.integration.servers.client import Stream, get
from tests.integration.servers.kinds import every_kind
from tests.project.forms import FORMS
from tests.servers import Server


@every_kind
@pytest.mark.parametrize("form", FORMS)
def test_an_event_is_there_before_the_next_one_is_made(
    server: Server, form: str, name: str
) -> None:
    with Stream(server, f"/forms/{form}/?name={name}") as stream:
        for number in range(3):
            assert stream.next().data == f'{{"step":{number}}}'
            # The generator waits for this word of its client.
            assert get(server, f"/open_gate/{name}/") == (200, b"open")
        assert [event.type for event in stream] == ["close"]


@every_kind
def test_scopes_that_a_generator_holds_across_a_yield_are_its_own(server: Server) -> None:
    with Stream(server, "/streams/holds_scopes/") as stream:
        assert [event.data for event in stream] == [
            "in the group",
            "before the time-out",
            "after the time-out",
            "[DONE]",
        ]
