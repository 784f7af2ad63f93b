from __future__ import annotations

import json
import os
import signal
import subprocess
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.core.management.base import CommandError
from django.utils import timezone

from django_sse import Event, finish, publish, publish_many
from django_sse.log import get_log
from django_sse.log.base import Entry
from django_sse.management.commands.sse_tail import parse_since
from django_sse.models import StoredEvent
from django_sse.testing import published
from django_sse.wire.cursor import Cursor, Position
from django_sse.wire.decoder import Decoder
from tests.appending import append_to
from tests.positions import id_of
from tests.unit.management.support import TIMEOUT, complaints, process, run, run_process
from tests.unit.runs.support import new_run

pytestmark = pytest.mark.django_db(transaction=True)


def decoded(text: str) -> list[tuple[str, str]]:
    return [(event.type, event.data) for event in Decoder().feed(text.encode())]


def lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def fill(channel: str, *data: str) -> None:
    """Publish, and finish."""
    publish_many([(channel, each) for each in data])
    finish(channel)


# -- what is printed


def test_events_are_printed_as_the_frames_that_clients_get() -> None:
    fill("room", "one", "a\nb")

    out = run("sse_tail", "room", "--since", "earliest")

    assert out == (
        f"id: {id_of('room', 1)}\ndata: one\n\n"
        f"id: {id_of('room', 2)}\ndata: a\ndata: b\n\n"
        f"id: {id_of('room', 3)}\nevent: close\ndata: [DONE]\n\n"
    )


def test_an_operator_reads_a_run_by_its_id() -> None:
    runs = [new_run(), new_run()]
    for each in runs:
        close = Entry(each.channel, "close", "x", 1, "done")
        append_to(get_log(), [Entry(each.channel, "", str(each.pk)), close])
    first, second = map(str, (each.pk for each in runs))

    out = run("sse_tail", "--run", first, "--since", "earliest")
    both = run("sse_tail", "--run", first, "--run", second, "--since", "earliest")

    assert decoded(out) == [("message", first), ("close", "x")]
    assert f": \N{SYMBOL FOR UNIT SEPARATOR}run:{second}\n" in both
    assert {data for _, data in decoded(both)} == {first, second, "x"}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "Name a channel, or .* --run"),
        (["--run", "7"], "'7' is not the id of a run"),
        (["--run", str(UUID(int=7))], f"There is no run {UUID(int=7)}"),
    ],
)
def test_without_a_channel_or_a_run_it_says_what_is_missing(
    arguments: list[str], match: str
) -> None:
    with pytest.raises(CommandError, match=match):
        run("sse_tail", *arguments)


def test_events_are_printed_as_lines_of_json() -> None:
    publish("room", Event({"text": "grüß\u2028"}, event="greeting"))
    fill("room")

    out = run("sse_tail", "room", "--since", "earliest", "--json")

    assert lines(out) == [
        {
            "channel": "room",
            "id": id_of("room", 1),
            "event": "greeting",
            "data": '{"text":"grüß\\u2028"}',
        },
        {"channel": "room", "id": id_of("room", 2), "event": "close", "data": "[DONE]"},
    ]


def test_several_channels_are_told_apart() -> None:
    fill("a", "from a")
    fill("b", "from b")

    found = lines(run("sse_tail", "a", "b", "--since", "earliest", "--json"))

    assert sorted((line["channel"], line["data"]) for line in found) == [
        ("a", "[DONE]"),
        ("a", "from a"),
        ("b", "[DONE]"),
        ("b", "from b"),
    ]


def test_frames_of_several_channels_name_them_in_a_comment() -> None:
    fill("a", "from a")
    fill("b", "from b")

    out = run("sse_tail", "a", "b", "--since", "earliest")

    frames = out.split("\n\n")
    assert {frame.split("\n")[0] for frame in frames if "from a" in frame} == {": a"}
    assert sorted(data for _, data in decoded(out)) == ["[DONE]", "[DONE]", "from a", "from b"]


def test_a_channel_that_is_named_twice_is_printed_once() -> None:
    fill("room", "one")

    out = run("sse_tail", "room", "room", "--since", "earliest")

    assert decoded(out) == published("room") == [("message", "one"), ("close", "[DONE]")]


def test_an_event_larger_than_usual_is_printed() -> None:
    text = "x" * 200_000
    fill("room", text)

    assert decoded(run("sse_tail", "room", "--since", "1")) == [("close", "[DONE]")]
    assert ("message", text) in decoded(run("sse_tail", "room", "--since", "earliest"))


# -- where it begins


@pytest.mark.parametrize("since", ["2", "{two}", "{an_hour_ago}"], ids=["count", "id", "time"])
def test_it_begins_where_it_is_told(since: str) -> None:
    fill("room", "one", "two", "three")
    now = timezone.now()
    old = StoredEvent.objects.filter(data__in=["one", "two"])
    old.update(created=now - timedelta(hours=2))
    since = since.format(two=id_of("room", 2), an_hour_ago=(now - timedelta(hours=1)).isoformat())

    out = run("sse_tail", "room", "--since", since)

    assert decoded(out) == [("message", "three"), ("close", "[DONE]")]


def test_since_the_ids_of_several_channels_goes_on_behind_each() -> None:
    fill("a", "a1", "a2")
    fill("b", "b1", "b2")

    out = run("sse_tail", "a", "b", "--since", f"{id_of('b', 2)}.{id_of('a', 1)}")

    assert sorted(data for _, data in decoded(out)) == ["[DONE]", "[DONE]", "a2"]


def test_an_id_that_was_trimmed_is_reset() -> None:
    publish_many([("room", "one"), ("room", "two")])
    position = id_of("room", 0)
    get_log().trim("room", count=1)

    with process("sse_tail", "room", "--since", position, "--json") as tail:
        first = json.loads(_line(tail))
        finish("room")
        assert json.loads(_line(tail))["data"] == "[DONE]"

    assert first["event"] == "stream-reset"
    assert json.loads(first["data"])["reason"] == "trimmed"


def test_a_channel_that_has_finished_ends_at_once_and_says_so() -> None:
    fill("room", "one")

    assert "has finished" in complaints("sse_tail", "room")
    assert run("sse_tail", "room") == ""


# -- bad input


@pytest.mark.parametrize(
    "since", ["", "yesterday", "-1", "1.5", "2026-13-01", "²", "abc-1", "2026-01-01T25:00"]
)
def test_an_unknown_position_is_a_clear_error(since: str) -> None:
    with pytest.raises(CommandError, match=r"is not a position\. Use now, earliest"):
        run("sse_tail", "room", f"--since={since}")


@pytest.mark.parametrize("channel", ["", "a\nb", "x" * 201])
def test_an_invalid_channel_is_a_clear_error(channel: str) -> None:
    with pytest.raises(CommandError, match="A channel's name"):
        run("sse_tail", channel)


def test_positions_are_understood() -> None:
    assert parse_since("now") == "now"
    assert parse_since("earliest") == "earliest"
    assert parse_since("12") == 12
    position = Position("abcdefghijk", 7, "0123ab")
    assert parse_since(str(position)) == Cursor((position,))
    assert parse_since("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    with pytest.raises(ArgumentTypeError):
        parse_since("soon")


def test_a_moment_without_an_offset_is_the_projects(settings: object) -> None:
    settings.TIME_ZONE = "Europe/Berlin"  # type: ignore[attr-defined]

    assert parse_since("2026-01-31T12:00") == datetime(2026, 1, 31, 11, tzinfo=UTC)
    assert parse_since("2026-01-31") == datetime(2026, 1, 30, 23, tzinfo=UTC)


def test_without_time_zones_a_moment_becomes_local_time(settings: object) -> None:
    settings.USE_TZ = False  # type: ignore[attr-defined]
    settings.TIME_ZONE = "Europe/Berlin"  # type: ignore[attr-defined]

    assert parse_since("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 13)
    assert parse_since("2026-01-31T12:00") == datetime(2026, 1, 31, 12)


# -- following


def _line(tail: subprocess.Popen[bytes]) -> bytes:
    """The next line; the suite's time-out is what ends a wait for none."""
    assert tail.stdout is not None
    return tail.stdout.readline()


def test_what_another_process_publishes_is_printed_until_the_channel_finishes() -> None:
    publish("room", "first")

    with process("sse_tail", "room", "--since", "earliest", "--json") as tail:
        assert json.loads(_line(tail))["data"] == "first"
        assert run_process("sse_publish", "room", "second")[0] == 0
        assert json.loads(_line(tail))["data"] == "second"
        publish("room", "third")
        assert json.loads(_line(tail))["data"] == "third"
        finish("room", "error", Event("broken", event="failed"))
        out, err = tail.communicate(timeout=TIMEOUT)

    assert [line["event"] for line in lines(out.decode())] == ["failed"]
    assert (tail.returncode, err) == (0, b"")


def test_it_ends_when_the_last_of_several_channels_has_finished() -> None:
    publish("a", "1")

    with process("sse_tail", "a", "b", "--since", "earliest", "--json") as tail:
        assert json.loads(_line(tail))["data"] == "1"
        finish("a")
        assert json.loads(_line(tail))["event"] == "close"
        publish("b", "2")
        assert json.loads(_line(tail))["data"] == "2"
        finish("b")
        tail.communicate(timeout=TIMEOUT)

    assert tail.returncode == 0


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    publish("room", "first")

    with process("sse_tail", "room", "--since", "earliest") as tail:
        assert _line(tail)
        tail.send_signal(signal.SIGINT)
        _, err = tail.communicate(timeout=TIMEOUT)

    assert (tail.returncode, err.strip()) == (0, b"")


def test_it_ends_without_a_traceback_when_nobody_reads_on() -> None:
    publish("room", "first")

    with process("sse_tail", "room", "--since", "earliest", "--json") as tail:
        assert _line(tail)
        assert tail.stdout is not None and tail.stderr is not None
        tail.stdout.close()
        publish("room", "second")
        tail.wait(TIMEOUT)
        err = tail.stderr.read()

    assert (tail.returncode, err) == (0, b"")


@pytest.mark.parametrize(("options", "tab"), [((), "\t"), (("--json",), "\\t")])
def test_an_events_text_cannot_control_the_terminal(options: tuple[str, ...], tab: str) -> None:
    fill("room", "\x1b]0;owned\x07 \x9b2J \u202eesrever\ttab ü")
    terminal, its_end = os.openpty()

    with process("sse_tail", "room", "--since", "earliest", *options, stdout=its_end) as tail:
        os.close(its_end)
        shown = b""
        while b"[DONE]" not in shown:
            shown += os.read(terminal, 4096)
        tail.wait(TIMEOUT)
    os.close(terminal)

    text = r"\u001b]0;owned\u0007 \u009b2J \u202eesrever"
    assert f"{text}{tab}tab ü" in shown.decode()


def test_a_pipe_gets_an_events_text_as_it_is() -> None:
    fill("room", "\x1b[1m")

    assert decoded(run("sse_tail", "room", "--since", "earliest"))[0] == ("message", "\x1b[1m")
