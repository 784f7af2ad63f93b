"""OpenAI's SDK for Python resumes a response by the number of an event, as it does at OpenAI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import APIConnectionError, BadRequestError, DefaultHttpxClient, OpenAI

from demo_project.compatible.answers import script
from tests.proxy import Proxy
from tests.servers import Server

PROMPT = "What of event streams, reconnecting and café?"

pytestmark = pytest.mark.needs("daphne")


@pytest.fixture(scope="module")
def proxy(slow_demo: Server) -> Iterator[Proxy]:
    with Proxy(slow_demo.port) as proxy:
        yield proxy


def client(proxy: Proxy) -> OpenAI:
    """It keeps cookies, by which the demo knows whose run it is, as long as it lives."""
    return OpenAI(
        base_url=f"{proxy.url}/compatible/openai/v1",
        api_key="none",
        max_retries=0,
        http_client=DefaultHttpxClient(trust_env=False),
    )


def until_cut(openai: OpenAI, proxy: Proxy, deltas: int) -> list[Any]:
    """The events that came until the connection was cut, which is after so many pieces of text."""
    events: list[Any] = []

    def read() -> None:
        for event in openai.responses.create(model="demo", input=PROMPT, stream=True):
            events.append(event)
            if sum(each.type == "response.output_text.delta" for each in events) == deltas:
                proxy.cut()

    with pytest.raises(APIConnectionError):
        read()
    return events


def test_a_response_that_was_cut_goes_on_behind_its_last_event(proxy: Proxy) -> None:
    with client(proxy) as openai:
        events = until_cut(openai, proxy, 5)
        name, last = events[0].response.id, events[-1].sequence_number
        events += openai.responses.retrieve(name, stream=True, starting_after=last)
        end = events[-1].sequence_number
        assert list(openai.responses.retrieve(name, stream=True, starting_after=end)) == []
        whole = list(openai.responses.retrieve(name, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [each.delta for each in events if each.type == "response.output_text.delta"] == [
        value for value in script(PROMPT)[0] if isinstance(value, str)
    ]
    assert events[-1].type == "response.completed"
    assert [event.to_dict() for event in whole] == [event.to_dict() for event in events]


def test_a_response_of_somebody_else_is_not_found(proxy: Proxy) -> None:
    with client(proxy) as openai:
        name = until_cut(openai, proxy, 1)[0].response.id
    url = f"{proxy.url}/compatible/openai/v1/responses/{name}"
    assert httpx.get(url, params={"stream": "true"}, trust_env=False).status_code == 404


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "9" * 5000])
def test_a_number_that_is_none_is_refused(proxy: Proxy, number: str) -> None:
    with client(proxy) as openai:
        name = until_cut(openai, proxy, 1)[0].response.id
        with pytest.raises(BadRequestError):
            openai.responses.retrieve(name, extra_query={"starting_after": number})
