from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from django_sse.dialects import AnswerEncoder, get_dialect
from django_sse.dialects.plain import DONE, PLAIN, Plain, PlainEncoder
from django_sse.exceptions import InvalidEvent, StreamError, UpstreamError
from django_sse.log.base import State
from django_sse.streams.ends import (
    ABORTED,
    COMPLETE,
    FAILED,
    INTERRUPTED,
    LOST,
    TERMINAL_ID,
    UNAVAILABLE,
    Ending,
    end_frames,
    error_message,
    failed,
    last_frames,
    retry_frame,
    say,
)
from django_sse.wire import Decoder, Event
from tests import generators
from tests.unit.dialects.support import NAMES


class Noting(AnswerEncoder):
    """Notes what it is asked for; cannot say the ends that ``mute`` names."""

    def __init__(self, *mute: str) -> None:
        self._mute = mute

    def _say(self, what: str, *details: str) -> list[Event]:
        if what in self._mute:
            raise RuntimeError(f"no {what}")
        return [Event("before"), Event(" ".join([what, *details]), event="end")]

    def encode(self, value: Any) -> list[Event]:
        raise AssertionError("an end has no values")

    def done(self) -> list[Event]:
        return self._say("done")

    def failed(self, message: str, code: str = "error") -> list[Event]:
        return self._say("failed", code, message)

    def aborted(self) -> list[Event]:
        return self._say("aborted")


MUTE = Noting("done", "failed", "aborted")


def write(ending: Ending, events: list[Event]) -> tuple[Ending, str]:
    return ending, str(events[-1].data)


# -- the ends


@pytest.mark.parametrize(
    ("ending", "state", "said"),
    [
        (COMPLETE, State.DONE, "done"),
        (FAILED, State.ERROR, "failed error The stream failed."),
        (failed(StreamError("out of paper")), State.ERROR, "failed error out of paper"),
        (ABORTED, State.ABORTED, "aborted"),
        (
            INTERRUPTED,
            State.ERROR,
            "failed interrupted The server was stopped before the answer was complete.",
        ),
        (
            LOST,
            State.ERROR,
            "failed interrupted The server no longer knows which part of the answer you have.",
        ),
        (
            UNAVAILABLE,
            State.ERROR,
            "failed error The server cannot send the answer now. Try again later.",
        ),
    ],
)
def test_each_end_is_one_of_the_encoders(ending: Ending, state: State, said: str) -> None:
    assert ending.state == state
    assert [event.data for event in ending.events(Noting())] == ["before", said]


@pytest.mark.parametrize(
    ("ending", "event"),
    [
        (COMPLETE, DONE),
        (FAILED, Event({"error": "The stream failed.", "code": "error"}, event="error")),
        (ABORTED, Event({"error": "The stream was aborted.", "code": "aborted"}, event="error")),
        (INTERRUPTED, Event({"error": INTERRUPTED.message, "code": "interrupted"}, event="error")),
    ],
)
def test_the_ends_in_the_plain_dialect(ending: Ending, event: Event) -> None:
    assert ending.events(PLAIN) == [event]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("said", [["Hel"], []], ids=["begun", "empty"])
@pytest.mark.parametrize(
    "ending", [FAILED, INTERRUPTED, ABORTED, UNAVAILABLE], ids=["failed", "died", "stop", "busy"]
)
def test_a_vendors_client_does_not_take_a_broken_answer_for_whole(
    name: str, ending: Ending, said: list[str]
) -> None:
    dialect = get_dialect(name)
    encoder, decoder = dialect.encoder(), dialect.decoder()
    begun = [event for text in said for event in encoder.encode(text)]
    body = b"".join(last_frames([each])[len(b"id: !end\n") :] for each in begun)
    body += end_frames(ending, encoder)
    events = Decoder().feed(body)

    def decode() -> None:
        for event in events:
            decoder.decode(Event(event.data, event.type))
        decoder.end()

    with pytest.raises(UpstreamError):
        decode()
    assert events[-1].last_event_id == TERMINAL_ID


# -- what a client hears of an error


def test_an_error_says_no_more_than_it_should(settings: Any) -> None:
    assert error_message(RuntimeError("secret")) == "The stream failed."
    assert error_message(StreamError("out of paper")) == "out of paper"
    settings.DEBUG = True
    assert error_message(RuntimeError("secret")) == "RuntimeError: secret"
    assert error_message(StreamError("out of paper")) == "out of paper"


def test_the_frame_of_an_error(settings: Any) -> None:
    assert end_frames(failed(RuntimeError("secret")), PLAIN) == generators.FAILED
    settings.DEBUG = True
    assert end_frames(failed(RuntimeError("secret")), PLAIN) == (
        b'id: !end\nevent: error\ndata: {"error":"RuntimeError: secret","code":"error"}\n\n'
    )


def test_an_error_frame_can_be_made_of_broken_text() -> None:
    assert end_frames(failed(StreamError("half \ud83d")), PLAIN) == (
        b'id: !end\nevent: error\ndata: {"error":"half ?","code":"error"}\n\n'
    )


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_frame_can_be_made_of_an_error_without_a_text(settings: Any, debug: bool) -> None:
    class Textless(StreamError):
        def __str__(self) -> str:
            raise AttributeError("detail")

    class Unprintable(ValueError):
        __str__ = Textless.__str__

    settings.DEBUG = debug
    assert end_frames(failed(Textless()), PLAIN) == generators.FAILED
    assert end_frames(failed(Unprintable()), PLAIN) == generators.FAILED


# -- an end that cannot be said


def test_the_first_encoder_that_can_say_it_does(caplog: pytest.LogCaptureFixture) -> None:
    made: list[str] = []

    def making(name: str, encoder: AnswerEncoder) -> Callable[[], AnswerEncoder]:
        def make() -> AnswerEncoder:
            made.append(name)
            return encoder

        return make

    encoders = [making("first", Noting()), making("second", Noting())]
    assert say(COMPLETE, encoders, write) == (COMPLETE, "done")
    assert made == ["first"]
    assert caplog.text == ""


def test_another_says_what_the_first_cannot(caplog: pytest.LogCaptureFixture) -> None:
    encoders = [lambda: Noting("failed"), Noting]
    assert say(INTERRUPTED, encoders, write) == (
        INTERRUPTED,
        f"failed interrupted {INTERRUPTED.message}",
    )
    assert "cannot end in its dialect" in caplog.text
    assert "no failed" in caplog.text


def test_one_that_cannot_be_made_is_passed_over_too(caplog: pytest.LogCaptureFixture) -> None:
    def gone() -> AnswerEncoder:
        raise ImportError("the dialect is gone")

    assert say(ABORTED, [gone, Noting], write) == (ABORTED, "aborted")
    assert "the dialect is gone" in caplog.text


def test_one_whose_events_are_not_taken_is_passed_over_too() -> None:
    def write_short(ending: Ending, events: list[Event]) -> int:
        if len(events) > 1:
            raise ValueError("too large")
        return len(events)

    assert say(FAILED, [Noting], write_short) == 1


@pytest.mark.parametrize("ending", [FAILED, ABORTED, INTERRUPTED, LOST, UNAVAILABLE])
def test_what_no_dialect_can_say_is_said_in_plain_words(ending: Ending) -> None:
    said, events = say(ending, [lambda: MUTE, lambda: MUTE], lambda *each: each)
    assert said is ending
    assert events == ending.events(PLAIN)


def test_without_a_dialect_plain_words_are_left() -> None:
    assert say(FAILED, [], lambda *each: each) == (FAILED, FAILED.events(PLAIN))


@pytest.mark.parametrize("others", [[], [lambda: MUTE], [lambda: Noting("done")]])
def test_an_answer_whose_end_cannot_be_said_has_failed(
    others: list[Callable[[], AnswerEncoder]],
) -> None:
    ending, events = say(COMPLETE, [lambda: MUTE, *others], lambda *each: each)
    assert (ending.state, ending.code) == (State.ERROR, "error")
    assert "its end could not be sent" in ending.message
    assert ending.message in str(events[-1].data)


def test_an_end_that_plain_words_cannot_write_either_is_an_error() -> None:
    def refuse(ending: Ending, events: list[Event]) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        say(FAILED, [Noting], refuse)


# -- frames


def test_only_the_last_frame_is_terminal() -> None:
    assert last_frames([DONE]) == generators.CLOSE
    events = [Event("a"), Event("b", event="last", retry=5)]
    assert last_frames(events) == b"data: a\n\nid: !end\nretry: 5\nevent: last\ndata: b\n\n"
    assert last_frames([]) == b""


def test_last_frames_are_encoded_as_the_settings_say() -> None:
    assert last_frames([Event({"day": date(2026, 11, 21)})]) == (
        b'id: !end\ndata: {"day":"2026-11-21"}\n\n'
    )


def test_a_plain_stream_ends_with_its_own_event_or_none() -> None:
    own = Plain(Event("x", retry=5)).encoder()
    assert last_frames(COMPLETE.events(own)) == b"id: !end\nretry: 5\ndata: x\n\n"
    assert last_frames(COMPLETE.events(Plain(None).encoder())) == b""
    with pytest.raises(InvalidEvent, match="must not have an id"):
        Plain(Event("x", id="7"))


def test_end_frames_are_the_encoders_or_plain() -> None:
    assert end_frames(FAILED, PlainEncoder(None)) == generators.FAILED
    assert end_frames(FAILED, MUTE) == generators.FAILED
    assert end_frames(FAILED, Noting()) == (
        b"data: before\n\nid: !end\nevent: end\ndata: failed error The stream failed.\n\n"
    )


# -- stream-retry


def test_clients_are_told_to_reconnect_at_different_times(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"RETRY": 1000, "RETRY_JITTER": 100_000}}
    times = set()
    for _ in range(20):
        decoder = Decoder()
        (event,) = decoder.feed(retry_frame())
        assert event.type == "stream-retry"
        assert json.loads(event.data) == {}
        assert event.last_event_id == ""
        assert decoder.reconnection_time is not None
        assert 1000 <= decoder.reconnection_time <= 101_000
        times.add(decoder.reconnection_time)
    assert len(times) > 10


@pytest.mark.parametrize("retry", [0, 1234])
def test_without_jitter_the_time_is_the_settings(settings: Any, retry: int) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"RETRY": retry, "RETRY_JITTER": 0}}
    decoder = Decoder()
    decoder.feed(retry_frame())
    assert decoder.reconnection_time == retry


def test_a_client_without_a_position_is_given_one() -> None:
    (event,) = Decoder().feed(retry_frame("abc-0"))
    assert (event.type, event.last_event_id) == ("stream-retry", "abc-0")
