"""The event stream format: encoder, decoder, cursor. No Django, no I/O."""

from django_sse.wire.cursor import Cursor, make_epoch
from django_sse.wire.decoder import Decoder, MessageEvent
from django_sse.wire.encoder import HEARTBEAT, data_text, dumps, encode, encode_body, with_id
from django_sse.wire.errors import (
    DataNotSerializable,
    DecodeError,
    EventStreamError,
    EventTooLong,
    InvalidCursor,
    InvalidEvent,
    LineTooLong,
    WireError,
)
from django_sse.wire.event import Event

__all__ = [
    "HEARTBEAT",
    "Cursor",
    "DataNotSerializable",
    "DecodeError",
    "Decoder",
    "Event",
    "EventStreamError",
    "EventTooLong",
    "InvalidCursor",
    "InvalidEvent",
    "LineTooLong",
    "MessageEvent",
    "WireError",
    "data_text",
    "dumps",
    "encode",
    "encode_body",
    "make_epoch",
    "with_id",
]
