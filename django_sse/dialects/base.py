"""The contract of a dialect: how values become events, and events values again.

A dialect is a vendor's convention for an answer as an event stream: which events there are, what
their JSON holds, what ends it. Encoders and decoders are plain objects without I/O, one per answer.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from django_sse.dialects.values import Value
from django_sse.wire.encoder import encode as wire_encode
from django_sse.wire.event import Event


class AnswerEncoder(ABC):
    """The values of one answer to events; it remembers what is open.

    The events have a type and data, never an id or a reconnection time: these are the stream's.
    """

    #: Whether each value stands for itself, so that losing one leaves the rest as it was.
    stateless: ClassVar[bool] = False
    #: Whether a whole answer ends without an event.
    ends_silently = False

    @abstractmethod
    def encode(self, value: Any) -> list[Event]:
        """The events of the value, those that open the answer before the first; may be empty.

        It is called for every token and has to be cheap.

        :raises InexpressibleValue: the dialect has no form for it, or not here. The encoder is
            as it was before.
        """

    def frames(self, value: Any, json_class: type[json.JSONEncoder]) -> bytes:
        """Return the frames of what ``encode`` gives for the value."""
        return b"".join([wire_encode(event, json_class) for event in self.encode(value)])

    @abstractmethod
    def done(self) -> list[Event]:
        """What closes all that is open and ends a whole answer; the last is the terminal event."""

    @abstractmethod
    def failed(self, message: str, code: str = "error") -> list[Event]:
        """What ends a broken answer; the last is the terminal event.

        Another process than the one that encoded the answer may ask for it, of a new encoder.

        :param message: for the client.
        :param code: ``"error"``, or ``"interrupted"`` when the process died.
        """

    @abstractmethod
    def aborted(self) -> list[Event]:
        """What ends an answer that its user stopped; the last is the terminal event."""


class AnswerDecoder(ABC):
    """The events of one upstream answer to values."""

    @abstractmethod
    def decode(self, event: Event) -> list[Value]:
        """The values of the event; may be empty, and is after the answer's end.

        :raises UpstreamError: the upstream tells of an error.
        :raises UpstreamFormatError: the event is not of the dialect.
        """

    @abstractmethod
    def end(self) -> None:
        """Called at the end of the body.

        :raises UpstreamDisconnected: the dialect's end has not come.
        """

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether the dialect's end has come: nothing more is wanted of the connection."""


class Dialect(ABC):
    """A convention, by its name; it holds no state of an answer."""

    #: What ``dialect=`` is given.
    name: ClassVar[str]
    #: Headers that its clients ask for, besides those of every event stream.
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: Whether its clients know ``stream-open``, ``stream-reset`` and ``stream-retry``. A vendor's
    #: client would take them for a part of the answer.
    has_stream_events: ClassVar[bool] = False

    @abstractmethod
    def encoder(self, sent: int = 0) -> AnswerEncoder:
        """An encoder for one answer.

        :param sent: how many events of the answer went out before. Such an encoder only ends
            the answer: with ``failed`` or ``aborted``.
        """

    @abstractmethod
    def decoder(self) -> AnswerDecoder:
        """A decoder for one answer."""
