"""The contract of a dialect: how values become events, and events become values.

A dialect is a vendor's convention for an answer as an event stream: which events there are, what
their JSON contains, and how the answer ends. Encoders and decoders do no I/O; each answer has its
own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from json import JSONEncoder
from types import MappingProxyType
from typing import Any, ClassVar

from django_sse.dialects.values import Value
from django_sse.wire.encoder import encode
from django_sse.wire.event import Event


class AnswerEncoder(ABC):
    """The encoder of one answer: it turns values into events and tracks which parts are open.

    The events have a type and data, but no id or reconnection time: the stream sets those.
    """

    #: Whether values are independent, so that losing one does not change the others.
    stateless: ClassVar[bool] = False
    #: Whether a complete answer ends without an event.
    ends_silently = False

    @abstractmethod
    def encode(self, value: Any) -> list[Event]:
        """Return the events for ``value``, possibly none.

        The first call also returns the events that open the answer. The method is called for every
        token, so it must be cheap. Raises ``InexpressibleValue`` if the dialect cannot express the
        value, or not at this point; the encoder's state does not change then.
        """

    def frames(self, value: Any, json: type[JSONEncoder]) -> bytes:
        """Return the frames of the events for ``value``. Raises what ``encode`` raises."""
        return b"".join([encode(event, json) for event in self.encode(value)])

    def is_bare(self, value: Any) -> bool:
        """Whether one event with nothing but the value as its data is all there is to say.

        The caller then needs no ``Event``, which costs four times as much as the frame of a token.
        """
        return False

    @abstractmethod
    def done(self) -> list[Event]:
        """Return the events that close all open parts and end a complete answer.

        The last one is the terminal event.
        """

    @abstractmethod
    def failed(self, message: str, code: str = "error") -> list[Event]:
        """Return the events that end a failed answer; the last one is the terminal event.

        ``message`` is for the client. ``code`` is ``"error"``, ``"interrupted"`` if the process
        died, or ``"limit_seconds"``, ``"limit_events"`` or ``"limit_bytes"`` if the answer reached
        that ceiling. Another process than the one that encoded the answer may call this, on a new
        encoder.
        """

    @abstractmethod
    def aborted(self) -> list[Event]:
        """Return the events that end an answer its user stopped; the last is the terminal event."""


class AnswerDecoder(ABC):
    """The decoder of one upstream answer: it turns events into values."""

    @abstractmethod
    def decode(self, event: Event) -> list[Value]:
        """Return the values in ``event``, possibly none; always none after the answer's end.

        Raises ``UpstreamError`` if the upstream reports an error, and ``UpstreamFormatError`` if
        the event does not belong to the dialect.
        """

    @abstractmethod
    def end(self) -> None:
        """Check, at the end of the body, that the answer is complete.

        Raises ``UpstreamDisconnected`` if the dialect's end has not come.
        """

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether the dialect's end has come, so the connection is no longer needed."""


class Dialect(ABC):
    """A named convention; it holds no state of an answer."""

    #: The name to pass as ``dialect=``.
    name: ClassVar[str]
    #: Response headers that its clients require, besides those of every event stream.
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: Whether its clients understand ``stream-open``, ``stream-reset`` and ``stream-retry``. A
    #: vendor's client would take these events for a part of the answer.
    has_stream_events: ClassVar[bool] = False

    def check_resumable(self) -> None:  # noqa: B027 - a run can have nearly any dialect
        """Raise ``TypeError`` or ``ValueError`` if an answer in this dialect cannot be a run."""

    @abstractmethod
    def encoder(self, sent: int = 0) -> AnswerEncoder:
        """Return an encoder for one answer.

        ``sent`` is the number of events of the answer that were sent before. If it is not 0, the
        encoder is only used to end the answer, with ``failed`` or ``aborted``.
        """

    @abstractmethod
    def decoder(self) -> AnswerDecoder:
        """Return a decoder for one answer."""
