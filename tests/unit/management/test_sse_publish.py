from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import transaction

from django_sse import cursor, finish
from django_sse.internal_channels import internal_channel
from django_sse.testing import published
from tests.unit.management.support import run, run_process

pytestmark = pytest.mark.django_db


def test_an_event_is_published_and_its_id_printed() -> None:
    out = run("sse_publish", "room", "hello there")

    assert published("room") == [("message", "hello there")]
    assert out == f"{cursor('room')}\n"


def test_the_event_has_the_type_that_was_given() -> None:
    run("sse_publish", "room", "hi", "--event", "greeting")

    assert published("room") == [("greeting", "hi")]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"a": [1, 2.5, null]}', '{"a":[1,2.5,null]}'),
        ('"hi"', '"hi"'),
        (" 7 ", "7"),
        ('"gr\\u00fc\\u00df\\u2028"', '"grüß\\u2028"'),
    ],
)
def test_json_is_sent_compactly_and_stays_json(text: str, data: str) -> None:
    run("sse_publish", "room", text, "--json")

    assert published("room") == [("message", data)]
    assert json.loads(data) == json.loads(text)


def test_nothing_is_published_into_a_run() -> None:
    channel = internal_channel("run", 7)
    with pytest.raises(CommandError, match=r"django_sse\.urls"):
        run("sse_publish", channel, "forged")

    assert published(channel) == []


def test_data_that_looks_like_json_stays_text_without_the_option() -> None:
    run("sse_publish", "room", '{"a":  1}')

    assert published("room") == [("message", '{"a":  1}')]


@pytest.mark.parametrize(
    ("text", "data"),
    [("hi\n", "hi"), ("hi\r\n", "hi"), ("hi", "hi"), ("a\nb\n\n", "a\nb\n"), ("", "")],
)
def test_a_dash_reads_standard_input_less_one_line_end(
    monkeypatch: pytest.MonkeyPatch, text: str, data: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text, newline=""))

    run("sse_publish", "room", "-")

    assert published("room") == [("message", data)]


def test_json_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}\n'))

    run("sse_publish", "room", "-", "--json")

    assert published("room") == [("message", '{"a":1}')]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("", "hi"), "must not be empty"),
        (("a\nb", "hi"), "control characters"),
        (("x" * 201, "hi"), "at most 200"),
        (("room", "hi", "--event", "a\nb"), "CR, LF or NUL"),
        (("room", "hi", "--event", ""), "must not be empty"),
        (("room", "hi", "--event", "x" * 201), "at most 200"),
        (("room", "a\x00b"), "NUL"),
        (("room", "caf\udce9"), "surrogate"),
        (("room", "x" * (256 * 1024 + 1)), "MAX_EVENT_BYTES"),
        (("room", "{", "--json"), "not valid JSON"),
        (("room", "", "--json"), "not valid JSON"),
        (("room", "[" * 100_000, "--json"), "not valid JSON"),
        (("room", "NaN", "--json"), "cannot be sent as JSON"),
        (("room", '"\\ud800"', "--json"), "surrogate"),
        (("room",), "required: data"),
    ],
)
def test_bad_input_is_a_clear_error_and_nothing_is_published(
    args: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run("sse_publish", *args)

    assert published("room") == []


def test_a_channel_that_has_finished_is_a_clear_error() -> None:
    finish("room")

    with pytest.raises(CommandError, match="has finished"):
        run("sse_publish", "room", "hi")


@pytest.mark.parametrize("args", [("", "hi"), ("room", "{", "--json"), ("room", "-")])
def test_bad_input_shows_no_traceback(args: tuple[str, ...], transactional_db: None) -> None:
    code, out, err = run_process("sse_publish", *args, input=b"\xff\n")

    assert (code, out) == (1, "")
    assert err.startswith("CommandError: ")
    assert "Traceback" not in err
    assert published("room") == []


def test_inside_a_transaction_the_id_is_still_to_come(transactional_db: None) -> None:
    with transaction.atomic():
        out = run("sse_publish", "room", "hi")

    assert "commit" in out
    assert published("room") == [("message", "hi")]


def test_a_process_of_its_own_publishes_for_all(transactional_db: None) -> None:
    done: Any = run_process("sse_publish", "room", "-", "--event", "note", input="grüß\n".encode())

    assert done == (0, f"{cursor('room')}\n", "")
    assert published("room") == [("note", "grüß")]


def test_a_command_that_is_repeated_with_its_key_publishes_once() -> None:
    out = [run("sse_publish", "room", text, "--key", "k") for text in ("1", "2")]

    assert published("room") == [("message", "1")]
    assert out == [f"{cursor('room')}\n"] * 2
