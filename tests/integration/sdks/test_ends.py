"""Ends that are not a whole answer's: in no SDK does half an answer look like one."""

from __future__ import annotations

import pytest

from django_sse.dialects import AnswerEncoder, Dialect, ToolCallDelta, Value, get_dialect
from django_sse.wire.event import Event
from tests import FULL
from tests.frames import serving
from tests.integration.sdks.clients import SDKS, Said, Sdk

BEGINNINGS: dict[str, list[Value]] = {
    "nothing": [],
    "text": ["Half ", "an "],
    "tool": ["Half ", ToolCallDelta("call_1", '{"city":', name="weather")],
}
# Of each SDK one beginning: that with the most open parts.
EACH = pytest.mark.parametrize("beginning", BEGINNINGS if FULL else ["tool"])
DIED = "The process died."

pytestmark = pytest.mark.parametrize("sdk", SDKS, ids=str)


def ask(sdk: Sdk, dialect: Dialect, events: list[Event], *, broken: bool = False) -> Said:
    with serving(events, dialect.headers, broken=broken) as url:
        return sdk.ask(url, "Hello")


def begun(encoder: AnswerEncoder, beginning: str) -> list[Event]:
    return [event for value in BEGINNINGS[beginning] for event in encoder.encode(value)]


@EACH
def test_an_answer_that_another_process_has_to_end_is_an_error(sdk: Sdk, beginning: str) -> None:
    dialect = get_dialect(sdk.dialect)
    events = begun(dialect.encoder(), beginning)
    # It knows nothing of the answer but how many events went out.
    events += dialect.encoder(sent=len(events)).failed(DIED, "interrupted")
    said = ask(sdk, dialect, events)
    error = said.the("error")
    assert error is not None, said.lines
    assert DIED in error["message"]
    assert said.the("answer") is None


@EACH
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_an_answer_that_was_stopped_is_not_whole(sdk: Sdk, beginning: str, elsewhere: bool) -> None:
    dialect = get_dialect(sdk.dialect)
    encoder = dialect.encoder()
    events = begun(encoder, beginning)
    events += (dialect.encoder(sent=len(events)) if elsewhere else encoder).aborted()
    said = ask(sdk, dialect, events)
    if (error := said.the("error")) is not None:
        assert "stopped" in error["message"]
        return
    # These two can say it: one finishes as cancelled, the other without a reason to finish.
    answer = said.the("answer")
    assert answer is not None, said.lines
    assert (sdk.dialect, answer["reason"]) in {("ag-ui", "cancelled"), ("ai-sdk", None)}


@pytest.mark.parametrize("beginning", ["text", "tool"] if FULL else ["tool"])
def test_a_connection_that_breaks_is_an_error(sdk: Sdk, beginning: str) -> None:
    dialect = get_dialect(sdk.dialect)
    said = ask(sdk, dialect, begun(dialect.encoder(), beginning), broken=True)
    assert said.the("error") is not None, said.lines
    assert said.the("answer") is None
