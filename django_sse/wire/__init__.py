"""The event stream format: encoder, decoder, cursor. No Django, no I/O.

Each name is imported from its module at first use: what only writes loads no decoder.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_sse.wire.cursor import Cursor, Position, make_epoch
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
    "Position",
    "WireError",
    "data_text",
    "dumps",
    "encode",
    "encode_body",
    "make_epoch",
    "with_id",
]

_MODULES = {
    "cursor": {"Cursor", "Position", "make_epoch"},
    "decoder": {"Decoder", "MessageEvent"},
    "encoder": {"HEARTBEAT", "data_text", "dumps", "encode", "encode_body", "with_id"},
    "event": {"Event"},
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _MODULES.items() if name in names), "errors")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value
