"""Events to bytes.

A frame has LF line ends, no byte order mark, the id first and always data; a heartbeat is a bare
comment line without a blank line after it. Clients in the field break on anything richer.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from django_sse.wire.errors import DataNotSerializable
from django_sse.wire.event import Event, check_id, check_type, not_encodable, plain

#: A comment line (WHATWG HTML, 9.2.6). No blank line follows: some clients take one for the end of
#: an event and fail on its missing data. Send it between frames only.
HEARTBEAT: Final = b":\n"


@lru_cache(maxsize=32)
def _json_encoder(cls: type[json.JSONEncoder]) -> json.JSONEncoder:
    # json.dumps makes a new encoder on every call that sets an option; that costs more than the
    # encoding of a small event. An encoder keeps no state between calls.
    return cls(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dumps(value: object, cls: type[json.JSONEncoder] = json.JSONEncoder) -> str:
    """JSON on one line: compact, as Unicode text, with U+2028 and U+2029 escaped.

    These two are line ends to JavaScript before ES2019 and to ``str.splitlines``, so a client that
    splits with either keeps the text whole. NaN and the infinities are refused: no browser's
    ``JSON.parse`` takes them.

    :param cls: the encoder's class, such as Django's ``DjangoJSONEncoder``.
    :raises DataNotSerializable: the encoder refuses the value, or UTF-8 the text.
    """
    # mypy takes the __hash__ of the encoder's instances for that of its class.
    encoder = _json_encoder(cls)  # type: ignore[arg-type]
    try:
        text = encoder.encode(value)
        if text.isascii():
            return text
        text.encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _not_serializable(value, error, cls) from error
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _not_serializable(
    value: object, error: Exception, cls: type[json.JSONEncoder]
) -> DataNotSerializable:
    if isinstance(error, UnicodeEncodeError):
        reason = "it has a lone surrogate, which UTF-8 cannot encode"
    else:
        reason = str(error)
    return DataNotSerializable(
        f"data of type {type(value).__name__} cannot be sent as JSON by {cls.__name__}: {reason}. "
        "Send a str, or dicts, lists, strs, finite numbers, bools and None, "
        "or use a JSON encoder that knows the type"
    )


def data_text(data: object, cls: type[json.JSONEncoder] = json.JSONEncoder) -> str:
    """The text of an event's data: a ``str`` as it is, everything else as JSON.

    :raises DataNotSerializable: see :func:`dumps`.
    """
    if type(data) is str:
        return data
    if isinstance(data, str):
        return plain(data)
    return dumps(data, cls)


def encode_body(type: str | None, data: str) -> bytes:
    """The frame without an id, the same for every client.

    Data is split at CRLF, CR and LF only, the line ends of the format (WHATWG HTML, 9.2.6);
    ``str.splitlines`` knows eight more and would corrupt text. The client gets LF for each.

    :raises InvalidEvent: for a type or data that would not arrive as it is.
    """
    # The type is checked again: a row of the log may have been written by other hands than ours.
    return _frame(None if type is None else check_type(type), data)


def _frame(type: str | None, data: str) -> bytes:
    if "\n" in data or "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
    # Bytes are put together, not text: formatting text asks a subclass of str what it would like
    # to be, and a frame of wide characters would be copied once more.
    try:
        if type is None:
            return b"data: %b\n\n" % data.encode()
        return b"event: %b\ndata: %b\n\n" % (type.encode(), data.encode())
    except UnicodeEncodeError as error:
        raise not_encodable("data", error) from error


def with_id(id: str, body: bytes) -> bytes:
    """A frame: the id's line and then the body.

    :raises InvalidEvent: for an id that is not 1 to 1024 printable ASCII characters.
    """
    return b"id: %b\n%b" % (check_id(id).encode(), body)


def encode(event: Event, cls: type[json.JSONEncoder] = json.JSONEncoder) -> bytes:
    """The whole frame of an event: id, retry, event, data, in this order.

    :raises DataNotSerializable: see :func:`dumps`.
    """
    frame = _frame(event.event, data_text(event.data, cls))
    if event.retry is not None:
        frame = b"retry: %d\n%b" % (event.retry, frame)
    if event.id is not None:
        frame = b"id: %b\n%b" % (event.id.encode(), frame)
    return frame
