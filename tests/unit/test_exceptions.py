from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

import pytest
from django.http import HttpResponse

from django_sse import exceptions, relay
from django_sse.wire import errors

_LINE = re.compile(
    r"^ {4}(?P<branch>[ │├└─]*)(?P<name>[A-Z]\w+)(?: \((?P<base>\w+)\))?(?P<more> …)?"
)


def drawn(docstring: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Name, parent in the drawing and base in brackets, of each class that a docstring draws."""
    above: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        depth = len(match["branch"])
        while above and above[-1][0] >= depth:
            above.pop()
        yield match["name"], above[-1][1] if above else None, match["base"]
        above.append((depth, match["name"]))


def find(name: str) -> type[Exception]:
    for module in (exceptions, relay, import_module("builtins")):
        if hasattr(module, name):
            found: type[Exception] = getattr(module, name)
            return found
    raise LookupError(name)


TREE = list(drawn(exceptions.__doc__ or ""))


def test_the_drawing_is_read() -> None:
    assert ("LineTooLong", "DecodeError", None) in TREE
    assert ("EventStreamError", None, "Exception") in TREE


@pytest.mark.parametrize(("name", "parent", "base"), TREE)
def test_the_tree_is_as_drawn(name: str, parent: str | None, base: str | None) -> None:
    bases = [find(each) for each in (parent, base) if each]
    assert list(find(name).__bases__) == bases


def test_every_error_is_drawn_and_exported_and_no_other() -> None:
    names = {name for name, _, _ in TREE}
    own = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert own == set(exceptions.__all__)
    assert names == own
    assert exceptions.__all__ == sorted(exceptions.__all__)


def test_the_wires_errors_are_the_same_classes() -> None:
    of_the_wire = {
        name for name, value in vars(errors).items() if isinstance(value, type) and name[0] != "_"
    }
    assert {name for name in of_the_wire if issubclass(getattr(errors, name), Exception)} == {
        name
        for name in exceptions.__all__
        if issubclass(getattr(exceptions, name), errors.WireError)
    } | {"EventStreamError"}
    for name in of_the_wire & set(exceptions.__all__):
        assert getattr(exceptions, name) is getattr(errors, name)


def test_one_except_catches_every_error() -> None:
    roots = {name for name, parent, _ in TREE if parent is None}
    assert roots == {"EventStreamError"}
    with pytest.raises(errors.EventStreamError):
        raise exceptions.InvalidCursor


def test_a_relays_errors_are_for_the_client() -> None:
    assert issubclass(relay.RelayError, exceptions.StreamError)


@pytest.mark.parametrize(
    "name", ["InvalidChannel", "EventTooLarge", "InexpressibleValue", "InvalidEvent"]
)
def test_bad_input_is_a_value_error(name: str) -> None:
    assert issubclass(find(name), ValueError)


def test_a_finished_channel_is_told_with_its_state_and_the_way_out() -> None:
    error = exceptions.ChannelFinished.of("room\n1", "aborted")
    assert r"'room\n1'" in str(error)
    assert "(aborted)" in str(error)
    assert "another channel" in str(error)


def test_an_immediate_response_is_carried() -> None:
    response = HttpResponse()
    assert exceptions.ImmediateHttpResponse(response).response is response
