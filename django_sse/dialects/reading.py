"""Helpers for all decoders: reading an upstream's JSON, where any field may have any type."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Final, NoReturn

from django_sse.dialects.base import AnswerDecoder
from django_sse.dialects.json_text import loads
from django_sse.dialects.values import Finish, FinishReason, ToolCallDelta, Usage, Value
from django_sse.exceptions import UpstreamDisconnected, UpstreamError, UpstreamFormatError
from django_sse.wire.encoder import dumps
from django_sse.wire.errors import DataNotSerializable
from django_sse.wire.event import Event

Object = dict[str, Any]
#: The reason to report for an end with an unknown reason.
UNKNOWN_REASON: Final[FinishReason] = "stop"


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

    Raises ``UpstreamFormatError`` if the data is anything else.
    """
    try:
        value = loads(data) if isinstance(data, str) else data
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
    return value if isinstance(value, int | str) else None


def get_count(data: Object, name: str) -> int | None:
    """Return the token count in the member ``name``; None if it is not one.

    A wrong count is no reason to fail an answer.
    """
    value = data.get(name)
    return value if type(value) is int and value >= 0 else None


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

    def start(self, key: int | str | None, id: str, name: str, arguments: str) -> ToolCallDelta:
        """Return the first piece of a call.

        Raises ``UpstreamFormatError`` if the call has no id or no name, or the id is already used.
        """
        if not id or not name or id in self._ids.values():
            raise wrong()
        self._ids[key] = id
        return ToolCallDelta(id, arguments, name)

    def piece(self, key: int | str | None, arguments: str) -> list[Value]:
        """Return a further piece of a call as values; none if the piece is empty."""
        if key not in self._ids:
            raise wrong()
        return [ToolCallDelta(self._ids[key], arguments)] if arguments else []

    def id(self, key: int | str | None) -> str | None:
        """Return the id of the call with this number, or None."""
        return self._ids.get(key)

    def __contains__(self, key: int | str | None) -> bool:
        return key in self._ids
