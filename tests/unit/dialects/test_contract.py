"""What every dialect has to do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_sse import dialects
from django_sse.dialects import Usage, get_dialect
from django_sse.dialects.values import (
    FINISH_REASONS,
    Finish,
    Reasoning,
    Start,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from django_sse.exceptions import (
    InexpressibleValue,
    RelayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamFormatError,
)
from django_sse.wire import Decoder, Event, encode
from tests.unit.dialects.support import (
    ANSWER,
    NAMES,
    STARTS,
    WITH_RESULTS,
    decoded,
    encoded,
    remains,
    unnamed,
)

pytestmark = pytest.mark.parametrize("name", NAMES)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
names = st.sampled_from(["a", "b", "c"])
objects = st.dictionaries(texts, texts | st.integers() | st.none() | st.booleans(), max_size=2)
pieces = st.sampled_from(["", "{", '"x"', ":1}", "{}", "[1]", "é\n"])
counts = st.integers(0, 10**6)
starts = st.builds(Start, *[st.none() | names] * 3)
values = st.one_of(
    texts,
    st.builds(Reasoning, texts),
    st.builds(ToolCall, names, names, objects | objects.map(json.dumps) | st.just("")),
    st.builds(ToolCallDelta, names, pieces, st.none() | names),
    st.builds(ToolResult, names, texts | objects | st.none() | st.lists(st.integers())),
    st.builds(Usage, counts, counts),
)
answers = st.builds(
    lambda start, said, end: [*start, *said, *end],
    st.lists(starts, max_size=1),
    st.lists(values, max_size=12),
    st.lists(st.builds(Finish, st.sampled_from(FINISH_REASONS)), max_size=1)
    | st.builds(
        lambda finish, usage: [finish, usage],
        st.builds(Finish, st.sampled_from(FINISH_REASONS)),
        st.builds(Usage, counts, counts),
    ),
)


def accepted(name: str, answer: list[Any]) -> tuple[list[Any], list[Event]]:
    """The values of the answer that can be expressed where they stand, and the whole's events."""
    encoder = get_dialect(name).encoder()
    taken, events = [], []
    for value in answer:
        try:
            events += encoder.encode(value)
            taken.append(value)
        except InexpressibleValue:
            # As it was before: the answer goes on without the value.
            continue
    return taken, [*events, *encoder.done()]


@given(answer=answers)
@settings(deadline=None)
def test_an_answer_comes_out_as_it_went_in(name: str, answer: list[Any]) -> None:
    taken, events = accepted(name, answer)
    assert unnamed(name, decoded(name, events), taken) == remains(name, taken)


@given(answer=answers)
@settings(deadline=None)
def test_what_was_relayed_once_can_be_relayed_again(name: str, answer: list[Any]) -> None:
    once = decoded(name, accepted(name, answer)[1])
    assert unnamed(name, decoded(name, encoded(name, once)), once) == remains(name, once)


@pytest.mark.parametrize("other", NAMES)
def test_what_comes_of_one_can_go_to_any_other(name: str, other: str) -> None:
    relayed = decoded(name, encoded(name, ANSWER))
    assert remains(other, decoded(other, encoded(other, relayed)))[1:] == remains(other, ANSWER)[1:]


def test_the_start_is_kept_as_far_as_there_is_a_place_for_it(name: str) -> None:
    start = decoded(name, encoded(name, ANSWER))[0]
    assert {field: getattr(start, field) for field in STARTS[name]} == {
        field: getattr(ANSWER[0], field) for field in STARTS[name]
    }


@given(answer=answers)
@settings(deadline=None)
def test_events_are_one_line_of_json_without_id_and_reconnection_time(
    name: str, answer: list[Any]
) -> None:
    for event in accepted(name, answer)[1]:
        assert isinstance(event.data, str)
        assert event.data
        assert not {"\n", "\r"} & set(event.data)
        assert (event.id, event.retry) == (None, None)
        assert event.data == "[DONE]" or isinstance(json.loads(event.data), dict)


def test_the_frames_survive_the_wire(name: str) -> None:
    events = encoded(name, ANSWER)
    wire = b"".join(encode(event) for event in events)
    again = [
        Event(message.data, event=None if message.type == "message" else message.type)
        for message in Decoder().feed(wire)
    ]
    assert again == events


def test_a_value_is_sent_when_it_is_yielded(name: str) -> None:
    encoder = get_dialect(name).encoder()
    assert encoder.encode("a")
    event = encoder.encode("token")
    assert len(event) == 1
    assert '"token"' in str(event[0].data)


def test_an_answer_without_a_value_is_whole(name: str) -> None:
    assert decoded(name, encoded(name, []))[1:] == [Finish("stop")]


def test_texts_of_nothing_are_not_sent(name: str) -> None:
    encoder = get_dialect(name).encoder()
    assert encoder.encode("") == []
    assert encoder.encode(Start("a1"))
    assert encoder.encode(Reasoning("")) == []
    assert encoder.encode("") == []


def test_a_subclass_of_str_is_the_text_it_holds(name: str) -> None:
    class Marked(str):
        def __str__(self) -> str:
            return "another"

    assert "held" in decoded(name, encoded(name, [Marked("held")]))


def test_usage_of_several_questions_is_added_up(name: str) -> None:
    assert decoded(name, encoded(name, [Usage(1, 2), "a", Usage(10, 20)]))[-1] == Usage(11, 22)


def test_every_answer_has_an_id_of_its_own(name: str) -> None:
    ids = {decoded(name, encoded(name, ["a"]))[0].id for _ in range(3)}
    assert len(ids) == 3
    assert None not in ids


def test_the_end_is_the_last_event_and_no_other(name: str) -> None:
    decoder = get_dialect(name).decoder()
    events = encoded(name, ANSWER)
    for event in events[:-1]:
        decoder.decode(event)
        assert not decoder.ended
    decoder.decode(events[-1])
    assert decoder.ended
    assert decoder.decode(events[0]) == []


def test_an_answer_that_was_cut_anywhere_is_not_taken_for_whole(name: str) -> None:
    events = encoded(name, ANSWER)
    for length in range(len(events)):
        with pytest.raises(UpstreamDisconnected):
            decoded(name, events[:length])


def decoded_by(decoder: dialects.AnswerDecoder, events: list[Event]) -> list[Any]:
    return [value for event in events for value in decoder.decode(event)]


def broken(name: str, way: str, said: list[Any], *, by_another: bool) -> list[Event]:
    """An answer that ends badly: by its own encoder, or by a new one of another process."""
    encoder = get_dialect(name).encoder()
    events = [event for value in said for event in encoder.encode(value)]
    if by_another:
        encoder = get_dialect(name).encoder(len(events))
    if way == "aborted":
        return [*events, *encoder.aborted()]
    return [*events, *encoder.failed("It <broke>.\n\u2028", way)]


@pytest.mark.parametrize("by_another", [False, True])
@pytest.mark.parametrize("way", ["error", "interrupted", "aborted"])
@pytest.mark.parametrize(
    "said",
    [
        [],
        ["a"],
        [Reasoning("a")],
        ["a", ToolCallDelta("c1", '{"q"', "f")],
        ["a", Usage(1, 2), Finish("stop")],
    ],
    ids=["nothing", "text", "reasoning", "half a call", "all but the end"],
)
def test_an_answer_that_broke_or_was_stopped_ends_with_an_error(
    name: str, way: str, said: list[Any], by_another: bool
) -> None:
    events = broken(name, way, said, by_another=by_another)
    decoder = get_dialect(name).decoder()

    with pytest.raises(UpstreamError):
        decoded_by(decoder, events)

    assert not decoder.ended
    assert not any("\n" in str(event.data) for event in events)


def test_the_message_of_an_error_is_for_the_client(name: str) -> None:
    events = get_dialect(name).encoder(3).failed('Too "much"\nof it')
    assert any(json.dumps('Too "much"\nof it') in str(event.data) for event in events)


BAD: list[tuple[list[Any], Any, str]] = [
    ([], None, "the type is not supported"),
    ([], b"bytes", "the type is not supported"),
    ([], {"a": 1}, "the type is not supported"),
    ([], Event("a"), "the type is not supported"),
    ([], "a\0b", "NUL"),
    ([], "\ud800", "surrogate"),
    ([], Reasoning("\0"), "NUL"),
    ([], Reasoning(3), "must be a str, not int"),  # type: ignore[arg-type]
    ([], Start(id=""), "id is empty"),
    ([], Start(model="\0"), "model has a NUL"),
    (["a"], Start("late"), "before everything else"),
    ([Start("a")], Start("b"), "before everything else"),
    ([], ToolCall("", "f", {}), "id is empty"),
    ([], ToolCall("c", "", {}), "name is empty"),
    ([], ToolCall("c", "f", "[1]"), "JSON object"),
    ([], ToolCall("c", "f", '{"a":'), "JSON object"),
    ([], ToolCall("c", "f", '{"a": NaN}'), "JSON object"),
    ([], ToolCall("c", "f", {"a": object()}), "cannot be sent as JSON"),
    ([], ToolCall("c", "f", {"a": "\0"}), "NUL"),
    ([], ToolCall("c", "f", {"a": ["\\u0000", "\\\0"]}), "NUL"),
    ([], ToolCall("c", "f", {"\0": 1}), "NUL"),
    ([], ToolCall("c", "f", None), "JSON object"),  # type: ignore[arg-type]
    ([ToolCall("c", "f", {})], ToolCall("c", "g", {}), "already has a call with this id"),
    ([ToolCall("c", "f", {})], ToolCallDelta("c", "{"), "its arguments are complete"),
    ([], ToolCallDelta("c", "{"), "first piece of a call needs"),
    ([], ToolCallDelta("c", "{", ""), "name is empty"),
    ([], ToolCallDelta("c", 1, "f"), "must be a str, not int"),  # type: ignore[arg-type]
    ([], ToolCallDelta([], "", "f"), "must be a str, not list"),  # type: ignore[arg-type]
    ([ToolCallDelta("c", "", "f")], ToolCallDelta("c", "{", "f"), "first piece of a call only"),
    ([], Usage(-1, 0), "at least 0"),
    ([], Usage(True, 0), "at least 0"),
    ([], Usage(1.5, 0), "at least 0"),  # type: ignore[arg-type]
    ([], Finish("done"), "one of stop, length"),  # type: ignore[arg-type]
    ([Finish("stop")], "a", "after a Finish"),
    ([Finish("stop")], Finish("stop"), "after a Finish"),
    ([Finish("stop")], Start(), "after a Finish"),
]


@pytest.mark.parametrize(("before", "value", "reason"), BAD, ids=lambda each: repr(each)[:40])
def test_what_cannot_be_expressed_is_a_named_error(
    name: str, before: list[Any], value: Any, reason: str
) -> None:
    encoder = get_dialect(name).encoder()
    events = [event for each in before for event in encoder.encode(each)]
    with pytest.raises(InexpressibleValue, match=re.escape(reason)) as caught:
        encoder.encode(value)
    message = str(caught.value)
    assert repr(name) in message
    assert type(value).__name__ in message
    assert "Yield " in message
    whole = decoded(name, [*events, *encoder.done()])
    assert unnamed(name, whole, before) == remains(name, before)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (ToolResult("other", "r"), "no call with this id"),
        (ToolResult("", "r"), "id is empty"),
        (ToolResult("c", "\0"), "NUL"),
        (ToolResult("c", object()), "cannot be sent as JSON"),
        (ToolResult("c", float("nan")), "cannot be sent as JSON"),
    ],
)
def test_results_need_their_call_and_json(name: str, value: ToolResult, reason: str) -> None:
    encoder = get_dialect(name).encoder()
    encoder.encode(ToolCall("c", "f", {}))
    if name not in WITH_RESULTS:
        reason = "belongs in the next request"
    with pytest.raises(InexpressibleValue, match=reason):
        encoder.encode(value)


@pytest.mark.parametrize("code", [r"\u0000", r"\\u0000", "s.replace('\\u0000', '')"])
def test_code_that_spells_a_nul_is_a_text_like_any_other(name: str, code: str) -> None:
    said: list[Any] = [ToolCall("c", "edit", {"code": code, code: [code]})]
    if name in WITH_RESULTS:
        said.append(ToolResult("c", {"code": code}))
    values = decoded(name, encoded(name, said))
    assert unnamed(name, values, said) == remains(name, said)


def test_a_call_has_one_result(name: str) -> None:
    encoder = get_dialect(name).encoder()
    encoder.encode(ToolCall("c", "f", {}))
    if name in WITH_RESULTS:
        encoder.encode(ToolResult("c", 1))
    with pytest.raises(InexpressibleValue):
        encoder.encode(ToolResult("c", 1))


@pytest.mark.parametrize("data", ["{", "", "null", "[]", "7", '"x"', "{} {}", '{"a": NaN}', "DONE"])
def test_an_event_that_is_no_json_object_is_not_of_the_dialect(name: str, data: str) -> None:
    decoder = get_dialect(name).decoder()
    if not data:
        assert decoder.decode(Event(data)) == []
        return
    with pytest.raises(UpstreamFormatError):
        decoder.decode(Event(data))


@pytest.mark.parametrize(
    "data", ["{}", '{"type": "of.tomorrow"}', '{"type": 7}', '{"x": "\\ud800"}']
)
def test_what_the_dialect_may_learn_later_is_passed_over(name: str, data: str) -> None:
    decoder = get_dialect(name).decoder()
    values = decoder.decode(Event(data))
    assert all(isinstance(value, Start) for value in values)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all that is in the JSON."""
    inner = data.items() if isinstance(data, dict) else []
    if isinstance(data, list):
        inner = list(enumerate(data))
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))][:200]


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


@given(data=st.data())
@settings(deadline=None)
def test_an_upstream_that_sends_nonsense_gives_values_or_a_named_error(
    name: str, data: st.DataObject
) -> None:
    events = encoded(name, ANSWER)
    decoder = get_dialect(name).decoder()
    place = data.draw(st.integers(0, len(events) - 1))
    try:
        for number, event in enumerate(events):
            text = str(event.data)
            if number == place and text != "[DONE]":
                body = json.loads(text)
                path = data.draw(st.sampled_from(places(body)))
                text = json.dumps(replaced(body, path, data.draw(json_values)))
            for value in decoder.decode(Event(text)):
                kinds = (str, Start, Reasoning, ToolCall, ToolCallDelta, ToolResult, Usage, Finish)
                assert isinstance(value, kinds)
        decoder.end()
    except RelayError:
        pass
