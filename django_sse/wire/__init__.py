"""The event stream format: encoder, decoder, cursor. No Django, no I/O."""

from .cursor import Cursor, make_epoch
from .decoder import Decoder, MessageEvent
from .encoder import HEARTBEAT, data_text, dumps, encode, encode_body, with_id
from .errors import (
    DataNotSerializable,
    DecodeError,
    EventTooLong,
    InvalidCursor,
    InvalidEvent,
    LineTooLong,
    WireError,
)
from .event import Event

__all__ = [
    "HEARTBEAT",
    "Cursor",
    "DataNotSerializable",
    "DecodeError",
    "Decoder",
    "Event",
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
