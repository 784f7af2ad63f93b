from __future__ import annotations

from typing import Any

import pytest

from django_sse.dialects import ToolCallDelta, Usage
from django_sse.dialects.reading import (
    CallReader,
    failure,
    get_count,
    get_key,
    get_object,
    get_objects,
    get_text,
    parse,
    text_of,
    usage,
)
from django_sse.exceptions import UpstreamError, UpstreamFormatError


@pytest.mark.parametrize(
    ("get", "empty", "good", "bad"),
    [
        (get_text, "", "text", [1, [], {}, True]),
        (get_object, {}, {"a": 1}, ["text", [], 1]),
        (get_objects, [], [{}], ["text", {}, [1], [{}, None]]),
    ],
)
def test_members_are_of_their_kind_or_missing(get: Any, empty: Any, good: Any, bad: Any) -> None:
    assert get({}, "name") == get({"name": None}, "name") == empty
    assert get({"name": good}, "name") == good
    for value in bad:
        with pytest.raises(UpstreamFormatError, match="dialect"):
            get({"name": value}, "name")


@pytest.mark.parametrize("value", [None, -1, 1.5, "7", True, []])
def test_a_count_that_is_none_is_passed_over(value: Any) -> None:
    assert get_count({"name": value}, "name") is None
    assert usage({"in": value, "out": 3}, "in", "out") == Usage(0, 3)
    assert usage({"in": value}, "in", "out") is None


@pytest.mark.parametrize("value", [None, [], {}, 1.5])
def test_a_key_is_a_number_or_text(value: Any) -> None:
    assert get_key({"name": value}, "name") is None
    assert get_key({"name": 0}, "name") == 0
    assert get_key({"name": "a"}, "name") == "a"


def test_data_may_be_json_or_parsed_already() -> None:
    assert parse('{"a": 1}') == parse({"a": 1}) == {"a": 1}
    with pytest.raises(UpstreamFormatError, match="not JSON"):
        parse("{")
    with pytest.raises(UpstreamFormatError, match="dialect"):
        parse(7)


def test_arguments_are_text() -> None:
    given: list[object] = [None, "{", {"a": [1]}, []]
    assert [text_of(value) for value in given] == ["", "{", '{"a":[1]}', "[]"]
    with pytest.raises(UpstreamFormatError):
        text_of({"a": float("inf")})


@pytest.mark.parametrize("word", ["a-b", "a b", "1a", "", "é", "x" * 41, "sk-123", "a\n", 5, None])
def test_of_an_error_only_one_short_word_is_taken(word: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        failure({"code": word, "type": word})
    assert caught.value.code is None
    assert str(caught.value) == "The upstream failed while it was answering."


def test_pieces_go_under_the_id_of_their_number() -> None:
    calls = CallReader()
    assert calls.start(0, "c", "f", "{") == ToolCallDelta("c", "{", "f")
    assert 0 in calls
    assert calls.id(0) == "c"
    assert calls.piece(0, "}") == [ToolCallDelta("c", "}")]
    assert calls.piece(0, "") == []
    assert 1 not in calls
    for key, id, name in ((1, "", "f"), (1, "d", ""), (1, "c", "f")):
        with pytest.raises(UpstreamFormatError):
            calls.start(key, id, name, "")
    with pytest.raises(UpstreamFormatError):
        calls.piece(1, "{")
