"""What clients send cannot forge a line of the log or control a terminal."""

from __future__ import annotations

import ast
import io
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.http import HttpRequest
from django.test import AsyncClient
from django.urls import path

from django_sse import event_stream
from django_sse.escaping import EscapingFilter, escaped
from django_sse.exceptions import LogUnavailable, StreamError
from tests import ROOT

ATTACK = "a\r\nWARNING forged\x1b[2J\x9b\u202e\u2066\u2028\x85\x7f\0"
ESCAPED = r"a\r\nWARNING forged\u001b[2J\u009b\u202e\u2066\u2028\u0085\u007f\u0000"

# Django's test client decodes anything else than ASCII in another way than servers do.
PATH, ESCAPED_PATH = "b\r\nERROR forged\x1b[2J", r"b\r\nERROR forged\u001b[2J"


@event_stream
async def fails(request: HttpRequest, name: str) -> AsyncIterator[str]:
    raise {
        "stream": StreamError(ATTACK),
        "log": LogUnavailable(ATTACK),
    }[request.GET["error"]]
    yield ""


@event_stream
async def fails_late(request: HttpRequest, name: str) -> AsyncIterator[str]:
    yield "token"
    raise ValueError(ATTACK)


urlpatterns = [path("fails/<str:name>", fails), path("fails_late/<str:name>", fails_late)]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler of the project's writes to a file."""
    found = io.StringIO()
    handler = logging.StreamHandler(found)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("django_sse")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, ümläute, 日本語, 😀 and \\ and %s", None),
        (ATTACK, ESCAPED),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\udb40\udc41"),
        # Joiners belong to emoji and to Persian.
        ("👩‍🚀", None),
    ],
)
def test_unsafe_characters_are_escaped_and_others_stay(text: str, expected: str | None) -> None:
    assert escaped(text) == (expected or text)


def test_some_characters_may_be_kept() -> None:
    assert escaped("a\tb\nc\r", keep="\n\t") == "a\tb\nc\\r"


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("error", ["stream", "log"])
async def test_a_request_writes_one_line_into_the_log(written: io.StringIO, error: str) -> None:
    await AsyncClient().get(f"/fails/{quote(PATH)}?error={error}")

    assert written.getvalue() == f"WARNING /fails/{ESCAPED_PATH}: {ESCAPED}\n"


@pytest.mark.urls(__name__)
async def test_the_text_of_an_exception_is_one_line_of_its_traceback(written: io.StringIO) -> None:
    response: Any = await AsyncClient().get(f"/fails_late/{quote(PATH)}")
    assert b"event: error" in b"".join([chunk async for chunk in response])

    first, *others = written.getvalue().splitlines()
    assert first == f"ERROR The event stream of /fails_late/{ESCAPED_PATH} failed."
    assert others[0] == "Traceback (most recent call last):"
    assert others[-1] == f"ValueError: {ESCAPED}"
    assert all(line.startswith("  ") for line in others[1:-1])


def log(message: str, *args: Any) -> logging.LogRecord:
    record = logging.LogRecord("django_sse", logging.WARNING, "", 0, message, args, None)
    assert EscapingFilter().filter(record)
    return record


def test_what_is_safe_keeps_its_arguments() -> None:
    record = log("%s of %r", "one", "room")
    assert (record.msg, record.args) == ("%s of %r", ("one", "room"))


def test_a_percent_sign_of_a_client_is_no_place_for_an_argument() -> None:
    assert log("%s", "%s %d\n").getMessage() == r"%s %d\n"


def test_a_chain_and_a_group_of_exceptions_forge_no_line() -> None:
    try:
        try:
            raise ValueError(ATTACK)
        except ValueError as error:
            raise ExceptionGroup(ATTACK, [error, KeyError(ATTACK)]) from error
    except ExceptionGroup as error:
        error.add_note(ATTACK)
        record = logging.LogRecord(
            "django_sse", logging.ERROR, "", 0, "failed", (), (type(error), error, None)
        )
    assert EscapingFilter().filter(record)
    assert record.exc_text
    assert not [line for line in record.exc_text.splitlines() if line.startswith("WARNING")]
    assert not set(ATTACK) - set("aWARNING forged[2J\n\r") & set(record.exc_text)


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_does_not_stop_the_code_that_logs_it() -> None:
    assert log("%s", Broken()).args


def loggers(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger"):
            yield ast.unparse(node.args[0])


def test_the_whole_library_logs_through_the_logger_that_escapes() -> None:
    names = {name for path in ROOT.glob("django_sse/**/*.py") for name in loggers(path)}
    assert names == {"'django_sse'"}
    assert any(isinstance(each, EscapingFilter) for each in logging.getLogger("django_sse").filters)
