"""What the decoders share: JSON of an upstream, whose every field may be of another type."""

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
#: What an end means whose reason nobody knows: it was an end.
UNKNOWN_REASON: Final[FinishReason] = "stop"


class VendorDecoder(AnswerDecoder):
    """Reads the data as a JSON object and keeps what comes last, finish and usage, for the end."""

    #: Data that is not JSON and ends the stream.
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
        """The values of one event's JSON."""

    def _last(self) -> list[Value]:
        """What is told at the end, in the order of an answer."""
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
            raise UpstreamDisconnected("The upstream's answer ended before it was whole.")


def parse(data: object) -> Object:
    """The JSON object of an event's data.

    :raises UpstreamFormatError: it is none.
    """
    try:
        value = loads(data) if isinstance(data, str) else data
    except ValueError as error:
        raise UpstreamFormatError("The upstream sent an event that is not JSON.") from error
    if not isinstance(value, dict):
        raise wrong()
    return value


def wrong() -> UpstreamFormatError:
    return UpstreamFormatError("The upstream sent an event that is not of its dialect.")


def get_object(data: Object, name: str) -> Object:
    """The member, which is an object; ``{}`` where it is null or missing."""
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
    """The member, which is text; ``""`` where it is null or missing."""
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong()
    return value


def text_of(value: object) -> str:
    """Arguments of a call as text, where an upstream gives them whole."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return dumps(value)
    except DataNotSerializable as error:
        raise wrong() from error


def get_key(data: Object, name: str) -> int | str | None:
    """The member, which tells things apart; None if it is neither a number nor text."""
    value = data.get(name)
    return value if isinstance(value, int | str) else None


def get_count(data: Object, name: str) -> int | None:
    """The member, if it is a number of tokens. No answer is given up for its price tag."""
    value = data.get(name)
    return value if type(value) is int and value >= 0 else None


def usage(data: Object, input_name: str, output_name: str) -> Usage | None:
    """The usage in the members of these names; None if there is neither."""
    given, made = get_count(data, input_name), get_count(data, output_name)
    return None if given is None and made is None else Usage(given or 0, made or 0)


def failure(error: object) -> NoReturn:
    """Raise what an error object of the upstream means.

    :raises UpstreamError: with its ``code`` or ``type``.
    """
    if isinstance(error, dict):
        raise UpstreamError(error.get("code") or error.get("type"))
    raise UpstreamError


class CallReader:
    """Puts the pieces of calls, which upstreams tell apart by a number, under their ids."""

    def __init__(self) -> None:
        self._ids: dict[int | str | None, str] = {}

    def start(self, key: int | str | None, id: str, name: str, arguments: str) -> ToolCallDelta:
        """The first piece of a call.

        :raises UpstreamFormatError: the call has no id or no name, or the id was there before.
        """
        if not id or not name or id in self._ids.values():
            raise wrong()
        self._ids[key] = id
        return ToolCallDelta(id, arguments, name)

    def piece(self, key: int | str | None, arguments: str) -> list[Value]:
        """A further piece of it; an empty one is none."""
        if key not in self._ids:
            raise wrong()
        return [ToolCallDelta(self._ids[key], arguments)] if arguments else []

    def id(self, key: int | str | None) -> str | None:
        """The id that the pieces of this number go under."""
        return self._ids.get(key)

    def __contains__(self, key: int | str | None) -> bool:
        return key in self._ids
