"""What the vendors' own SDKs make of the demo's answers, token for token."""

from __future__ import annotations

from typing import Any

import pytest

from demo_project.compatible.answers import FAILURE, script
from tests.integration.sdks.clients import SDKS, Said, Sdk
from tests.servers import Server

PROMPT = "What of event streams, reconnecting and café?"
TOOLS = [
    {"id": "call_weather", "name": "weather", "arguments": {"city": "Zürich", "days": 3}},
    {"id": "call_clock", "name": "clock", "arguments": {"zone": "Europe/Zurich"}},
]
# How each SDK calls an end that is whole, and one that leaves calls to its caller.
REASONS = {
    "openai-chat": ("stop", "tool_calls"),
    "openai-responses": ("completed", "completed"),
    "anthropic": ("end_turn", "tool_use"),
    "ai-sdk": ("stop", "tool-calls"),
    "ag-ui": ("success", "success"),
}

pytestmark = pytest.mark.needs("daphne")
every_sdk = pytest.mark.parametrize("sdk", SDKS, ids=str)


def ask(demo: Server, sdk: Sdk, prompt: str) -> Said:
    """What it said. Fails where it connected to anything but the demo."""
    said = sdk.ask(demo.url, prompt)
    assert said.hosts == ["127.0.0.1"]
    return said


def spoken(prompt: str) -> list[str]:
    """The tokens that the demo means to say."""
    return [value for value in script(prompt)[0] if isinstance(value, str)]


def usage(prompt: str) -> dict[str, Any]:
    """What the answer costs, in the words of sdk.mjs."""
    counts: Any = script(prompt)[0][-1]
    return {"input": counts.input_tokens, "output": counts.output_tokens}


@every_sdk
def test_a_whole_answer_arrives_token_for_token(demo: Server, sdk: Sdk) -> None:
    said = ask(demo, sdk, PROMPT)
    answer = said.the("answer")
    assert answer is not None, said.lines
    assert len(spoken(PROMPT)) > 50
    assert said.texts == spoken(PROMPT)
    assert answer["text"] == "".join(spoken(PROMPT))
    assert (answer["tools"], answer["reason"]) == ([], REASONS[sdk.dialect][0])
    assert answer["usage"] == usage(PROMPT)
    assert said.the("error") is None


@every_sdk
def test_an_error_in_the_middle_is_an_error_and_no_answer(demo: Server, sdk: Sdk) -> None:
    said = ask(demo, sdk, f"fail {PROMPT}")
    error = said.the("error")
    assert error is not None, said.lines
    assert FAILURE in error["message"]
    assert said.the("answer") is None
    assert said.texts == spoken(f"fail {PROMPT}")
    assert "".join(spoken(PROMPT)).startswith("".join(said.texts))


@every_sdk
def test_tool_calls_arrive_with_their_names_and_arguments(demo: Server, sdk: Sdk) -> None:
    said = ask(demo, sdk, "Use a tool !")
    answer = said.the("answer")
    assert answer is not None, said.lines
    assert answer["tools"] == TOOLS
    assert (answer["text"], answer["reason"]) == ("", REASONS[sdk.dialect][1])
    assert answer["usage"] == usage("tool")


def test_an_ag_ui_run_has_the_ids_that_its_client_gave_it(demo: Server) -> None:
    (sdk,) = [each for each in SDKS if each.dialect == "ag-ui"]
    ids = ask(demo, sdk, PROMPT).the("ids")
    assert ids is not None
    assert ids["told"] == ids["asked"]
