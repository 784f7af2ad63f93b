from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_sse.dialects.json_text import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_VALUES,
    JSONTooLarge,
    has_nul,
    loads,
    parse_object,
)
from django_sse.wire import dumps

any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.sampled_from("\\u0\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00"', "😀"),
        (r'"\ud83d"', "\ufffd"),
        (r'["a\u0000b", {"\udc00": "\uD800x"}]', ["a\ufffdb", {"\ufffd": "\ufffdx"}]),
        (r'"\\u0000"', "\\u0000"),
        ('{"a": 1.5}', {"a": 1.5}),
    ],
)
def test_text_comes_without_what_no_stream_can_carry(text: str, value: Any) -> None:
    assert loads(text) == value


@given(any_json)
def test_a_nul_is_found_where_there_is_one_and_only_there(value: Any) -> None:
    assert has_nul(dumps(value)) is any("\0" in text for text in _texts(value))


@pytest.mark.parametrize("slashes", range(6))
def test_backslashes_before_it_make_no_nul_and_hide_none(slashes: int) -> None:
    before = "\\" * slashes
    assert not has_nul(dumps([before + "u0000"]))
    assert has_nul(dumps([before + "\0"]))
    assert has_nul(dumps([before + "u0000" + before + "\0"]))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "-Infinity", "1e999", "-1e999", '"\0"', "[" * 100_000, "{} {}"]
)
def test_what_a_browser_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        loads(text)


@given(any_json)
def test_what_was_read_can_be_written(value: Any) -> None:
    written = dumps(loads(json.dumps(value)))
    assert not has_nul(written)
    assert loads(written) == loads(json.dumps(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [("", {}), (" \n", {}), ('{"a": []}', {"a": []}), ("[]", None), ("{", None), ("null", None)],
)
def test_an_object_is_told_from_everything_else(text: str, value: Any) -> None:
    assert parse_object(text) == value


# Text in strings that looks like the end of a string, like structure or like a number.
tricky = st.text(st.sampled_from('"\\[]{},:9é\n')) | st.just("9" * (MAX_DIGITS + 1))
# Short texts are not measured.
LONG = "x" * 5000


def nested(levels: int, inside: str) -> str:
    return '{"a":[' * (levels // 2) + inside + "]}" * (levels // 2)


@given(tricky)
def test_levels_are_counted_outside_of_strings(text: str) -> None:
    inside = json.dumps([text, LONG])
    deepest = nested(MAX_DEPTH - 2, f"[{inside}]")
    assert json.loads(deepest) == loads(deepest)
    with pytest.raises(JSONTooLarge, match="levels"):
        loads(f"[{deepest}]")


@given(tricky)
def test_values_are_counted_outside_of_strings(text: str) -> None:
    most = {"a": text, "b": [0] * (MAX_VALUES - 5), "c": [text]}
    assert loads(json.dumps(most)) == most
    with pytest.raises(JSONTooLarge, match="values"):
        loads(json.dumps([most, LONG]))


@given(tricky)
def test_digits_are_counted_outside_of_strings(text: str) -> None:
    number = "1" * MAX_DIGITS
    assert loads(f"[{json.dumps([text, LONG])}, {number}]")[1] == int(number)
    with pytest.raises(JSONTooLarge, match="digits"):
        loads(f"[{json.dumps([text, LONG])}, {number}1]")


@pytest.mark.parametrize("opening", ["[", '{"a":', "[{}, ", '["", '])
def test_deep_json_is_no_recursion_error_in_any_stack(opening: str) -> None:
    # Cleaning the value for the NUL recurses, too.
    text = '["\\u0000", ' + opening * 5000 + "0"
    errors: list[Exception] = []

    def parse(depth: int) -> None:
        if depth:
            return parse(depth - 1)
        try:
            loads(text)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=parse, args=(700,))
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [JSONTooLarge]


def test_many_strings_that_need_cleaning_are_cleaned() -> None:
    value = {f"{number}\ud800?": ["\0", "\ud83d\ude00", "?"] for number in range(1000)}
    cleaned = {f"{number}\ufffd?": ["\ufffd", "😀", "?"] for number in range(1000)}
    assert loads(json.dumps(value)) == cleaned
