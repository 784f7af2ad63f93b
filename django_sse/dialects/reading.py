"""Helpers for all decoders: reading an upstream's JSON, where any field may have any type."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Final, NoReturn, TypeGuard

from django_sse.dialects.base import AnswerDecoder
from django_sse.dialects.json_text import JSONTooLarge, loads
from django_sse.dialects.values import Finish, FinishReason, ToolCallDelta, ToolResult, Usage, Value
from django_sse.exceptions import (
    UpstreamDisconnected,
    UpstreamError,
    UpstreamFormatError,
    UpstreamLimitError,
)
from django_sse.wire.encoder import dumps
from django_sse.wire.errors import DataNotSerializable
from django_sse.wire.event import Event

Object = dict[str, Any]
#: The reason to report for an end with an unknown reason.
UNKNOWN_REASON: Final[FinishReason] = "stop"
#: Tool calls in one answer. When the answer ends, one step closes those that are still open.
MAX_CALLS: Final = 1000
#: Characters in the arguments of all calls that have no result yet.
MAX_ARGUMENTS: Final = 1024 * 1024
# The largest number that JavaScript represents exactly. Python takes time quadratic in the digits
# of a number to write it, and the hashes of larger numbers can be made to collide.
_MAX_NUMBER: Final = 2**53 - 1


class VendorDecoder(AnswerDecoder):
    """A decoder of JSON objects that keeps the finish reason and the usage for the end."""

    #: The data, not JSON, that ends the stream.
    sentinel: ClassVar[str | None] = None

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    @property
    def ended(self) -> bool:
        return self._ended

    @abstractmethod
    def _read(self, data: Object) -> list[Value]:
        """Return the values in one event's JSON."""

    def _last(self) -> list[Value]:
        """Return the last values of an answer, in their order."""
        self._ended = True
        last: list[Value] = [Finish(self._reason or "stop")]
        if self._usage is not None:
            last.append(self._usage)
        return last

    def decode(self, event: Event) -> list[Value]:
        if self._ended or event.data == "":
            return []
        if self.sentinel is not None and event.data == self.sentinel:
            return self._sentinel()
        return self._read(parse(event.data))

    def _sentinel(self) -> list[Value]:
        return self._last()

    def end(self) -> None:
        if not self._ended:
            raise UpstreamDisconnected("The upstream's answer ended before it was complete.")


def parse(data: object) -> Object:
    """Return the JSON object in an event's data.

    Raises ``UpstreamFormatError`` if the data is anything else, and ``UpstreamLimitError`` if it
    has too many values or levels.
    """
    try:
        value = loads(data) if isinstance(data, str) else data
    except JSONTooLarge as error:
        message = "The upstream sent an event with too many values or levels."
        raise UpstreamLimitError("json", message) from error
    except ValueError as error:
        raise UpstreamFormatError("The upstream sent an event that is not JSON.") from error
    if not isinstance(value, dict):
        raise wrong()
    return value


def wrong() -> UpstreamFormatError:
    return UpstreamFormatError("The upstream sent an event that does not belong to its dialect.")


def get_object(data: Object, name: str) -> Object:
    """Return the object in the member ``name``; ``{}`` if it is null or missing."""
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong()
    return value


def get_objects(data: Object, name: str) -> list[Object]:
    value = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong()
    return value


def get_text(data: Object, name: str) -> str:
    """Return the text in the member ``name``; ``""`` if it is null or missing."""
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong()
    return value


def text_of(value: object) -> str:
    """Return a call's arguments as text, if an upstream sends them in one piece."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return dumps(value)
    except DataNotSerializable as error:
        raise wrong() from error


def get_key(data: Object, name: str) -> int | str | None:
    """Return the key in the member ``name``; None if it is neither a number nor text."""
    value = data.get(name)
    return value if isinstance(value, str) or _is_number(value) else None


def get_count(data: Object, name: str) -> int | None:
    """Return the token count in the member ``name``; None if it is not one.

    A wrong count is no reason to fail an answer.
    """
    value = data.get(name)
    return value if _is_number(value) and value >= 0 else None


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int and -_MAX_NUMBER <= value <= _MAX_NUMBER


def usage(data: Object, input_name: str, output_name: str) -> Usage | None:
    """Return the usage in the two named members; None if neither is there."""
    given, made = get_count(data, input_name), get_count(data, output_name)
    return None if given is None and made is None else Usage(given or 0, made or 0)


def failure(error: object) -> NoReturn:
    """Raise ``UpstreamError`` with the ``code`` or ``type`` of an upstream's error object."""
    if isinstance(error, dict):
        raise UpstreamError(error.get("code") or error.get("type"))
    raise UpstreamError


class CallReader:
    """The ids of an answer's calls; upstreams identify the pieces of a call by a number."""

    def __init__(self) -> None:
        self._ids: dict[int | str | None, str] = {}
        # For each id the characters of the call's arguments, 0 once it has its result.
        self._sizes: dict[str, int] = {}
        self._size = 0

    def start(self, key: int | str | None, id: str, name: str, arguments: str) -> ToolCallDelta:
        """Return the first piece of a call.

        Raises ``UpstreamFormatError`` if the call has no id or no name, or the id is already used,
        and ``UpstreamLimitError`` if the answer has too many calls.
        """
        if not id or not name or id in self._sizes:
            raise wrong()
        if len(self._sizes) >= MAX_CALLS:
            raise UpstreamLimitError("calls", "The upstream sent too many tool calls.")
        self._ids[key] = id
        self._sizes[id] = 0
        self._add(id, arguments)
        return ToolCallDelta(id, arguments, name)

    def piece(self, key: int | str | None, arguments: str) -> list[Value]:
        """Return a further piece of a call as values; none if the piece is empty."""
        if key not in self._ids:
            raise wrong()
        id = self._ids[key]
        self._add(id, arguments)
        return [ToolCallDelta(id, arguments)] if arguments else []

    def result(self, id: str, content: object) -> list[Value]:
        """Return the result of the call with this id, which may be one of an earlier answer."""
        if id in self._sizes:
            self._size -= self._sizes[id]
            self._sizes[id] = 0
        return [ToolResult(id, content)]

    def _add(self, id: str, arguments: str) -> None:
        self._sizes[id] += len(arguments)
        self._size += len(arguments)
        if self._size > MAX_ARGUMENTS:
            raise UpstreamLimitError(
                "arguments", "The upstream sent tool calls with too long arguments."
            )

    def id(self, key: int | str | None) -> str | None:
        """Return the id of the call with this number, or None."""
        return self._ids.get(key)

    def __contains__(self, key: int | str | None) -> bool:
        return key in self._ids
