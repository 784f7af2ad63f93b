"""The examples of docs/relay.md work as they stand there, and cost what one answer costs."""

from __future__ import annotations

import re
from typing import Any

from django_sse.dialects import Usage
from django_sse.wire import Event, MessageEvent, encode
from tests import ROOT
from tests.unit.dialects.support import decoded, encoded
from tests.unit.http.support import asgi_request, events
from tests.unit.test_relay import DONE, serving

PAGE = (ROOT / "docs" / "relay.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# Visits after which a client that is not told to stop would never stop.
_MOST = 4


def example(of: str, **names: Any) -> Any:
    """The view of the Python block that has these words in it."""
    (block,) = [each for each in EXAMPLES if of in each]
    # The other blocks take the imports of the first as read.
    imports = "\n".join(line for line in EXAMPLES[0].splitlines() if "import" in line)
    exec(f"{imports}\n{block}", names)
    return names["answer"]


async def as_event_source(view: Any) -> tuple[list[int], list[MessageEvent]]:
    """What an EventSource does, and hears: after each end of the body it comes back with the last
    id, until the status is another than 200 (WHATWG HTML, 9.2.3)."""
    statuses: list[int] = []
    heard: list[MessageEvent] = []
    last = ""
    while len(statuses) < _MOST:
        known = {"Last_Event_ID": last} if last else {}
        response = await view(asgi_request(Accept="text/event-stream", **known))
        statuses.append(response.status_code)
        if response.status_code != 200:
            break
        heard += await events(response)
        last = heard[-1].last_event_id
    return statuses, heard


PIECES = [encode(event) for event in encoded("openai-chat", ["Hel", "lo", Usage(1, 2)])]


async def test_what_comes_is_event_for_event_what_the_upstream_sent_and_it_is_asked_once() -> None:
    async with serving(b"data: a\n\n", b"event: e\ndata: b\n\n", DONE) as upstream:
        view = example("until=", URL=upstream.url, KEY={}, messages=[])
        statuses, heard = await as_event_source(view)
    assert [(each.type, each.data) for each in heard] == [
        ("message", "a"),
        ("e", "b"),
        ("message", "[DONE]"),
    ]
    assert statuses == [200, 204]
    assert upstream.asked == 1


async def test_an_upstream_that_breaks_off_is_asked_once_too() -> None:
    async with serving(b"data: a\n\n", then="hang up") as upstream:
        view = example("until=", URL=upstream.url, KEY={}, messages=[])
        statuses, heard = await as_event_source(view)
    assert [each.type for each in heard] == ["message", "error"]
    assert statuses == [200, 204]
    assert upstream.asked == 1


async def test_values_are_served_in_the_views_own_dialect_and_the_upstream_is_asked_once() -> None:
    async with serving(*PIECES) as upstream:
        view = example('@event_stream(dialect="ai-sdk")', URL=upstream.url, KEY={}, question={})
        statuses, heard = await as_event_source(view)
    values = decoded("ai-sdk", [Event(each.data) for each in heard])
    assert [value for value in values if isinstance(value, str)] == ["Hel", "lo"]
    assert statuses == [200, 204]
    assert upstream.asked == 1
