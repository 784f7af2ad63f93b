"""Events to bytes.

A frame has LF line ends, no byte order mark, the id first, and always data. A heartbeat is a bare
comment line with no blank line after it. Some existing clients break on anything else.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from django_sse.wire.errors import DataNotSerializable
from django_sse.wire.event import Event, check_data, check_id, check_type, not_encodable, plain

#: A comment line (WHATWG HTML, 9.2.6), to be sent between frames only. No blank line follows: some
#: clients take a blank line for the end of an event and fail because the event has no data.
HEARTBEAT: Final = b":\n"


@lru_cache(maxsize=32)
def _json_encoder(cls: type[json.JSONEncoder]) -> json.JSONEncoder:
    # json.dumps makes a new encoder for every call that sets an option, which costs more than
    # encoding a small event. Encoders keep no state between calls, so they can be shared.
    return cls(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dumps(value: object, cls: type[json.JSONEncoder] = json.JSONEncoder) -> str:
    """Return ``value`` as JSON on one line: compact Unicode text, U+2028 and U+2029 escaped.

    JavaScript before ES2019 and ``str.splitlines`` treat these two as line ends; escaped, they
    survive a client that splits with either. NaN and the infinities are refused, because
    ``JSON.parse`` does not accept them in any browser.

    ``cls`` is the encoder's class, such as Django's ``DjangoJSONEncoder``. Raises
    ``DataNotSerializable`` if the encoder refuses the value or UTF-8 cannot encode the text.
    """
    # mypy confuses the __hash__ of the class with the __hash__ of its instances.
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
        "or use a JSON encoder that supports the type"
    )


def data_text(data: object, cls: type[json.JSONEncoder] = json.JSONEncoder) -> str:
    """Return the text of an event's data: a ``str`` as it is, everything else as JSON.

    Raises ``DataNotSerializable``; see ``dumps``.
    """
    if type(data) is str:
        return data
    if isinstance(data, str):
        return plain(data)
    return dumps(data, cls)


def encode_data(data: object, cls: type[json.JSONEncoder] = json.JSONEncoder) -> bytes:
    """Return the frame of an event that has only data: ``encode(Event(data), cls)``, but faster.

    An ``Event`` costs four times as much as the frame of a token.
    """
    if type(data) is str and data.isascii():
        return _frame(None, data)
    return _frame(None, data_text(check_data(data), cls))


def encode_body(type: str | None, data: str) -> bytes:
    """Return the frame without an id, which is the same for every client.

    Data is split at CRLF, CR and LF only, the line ends of the format (WHATWG HTML, 9.2.6);
    ``str.splitlines`` splits at eight more characters and would corrupt text. The client sees each
    line end as LF. Raises ``InvalidEvent`` for a type or data that would not arrive unchanged.
    """
    # Checked again: other software may have written the log's row.
    return _frame(None if type is None else check_type(type), data)


def _frame(type: str | None, data: str) -> bytes:
    if "\n" in data or "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
    # Bytes are formatted, not text: formatting text calls __str__ or __format__ of a str subclass,
    # and would copy a frame of wide characters once more.
    try:
        if type is None:
            return b"data: %b\n\n" % data.encode()
        return b"event: %b\ndata: %b\n\n" % (type.encode(), data.encode())
    except UnicodeEncodeError as error:
        raise not_encodable("data", error) from error


def with_id(id: str, body: bytes) -> bytes:
    """Return a frame: the id's line followed by ``body``.

    Raises ``InvalidEvent`` if ``id`` is not 1 to 1280 printable ASCII characters.
    """
    return b"id: %b\n%b" % (check_id(id).encode(), body)


def encode(event: Event, cls: type[json.JSONEncoder] = json.JSONEncoder) -> bytes:
    """Return the whole frame of ``event``: id, retry, event and data, in this order.

    Raises ``DataNotSerializable``; see ``dumps``.
    """
    frame = _frame(event.event, data_text(event.data, cls))
    if event.retry is not None:
        frame = b"retry: %d\n%b" % (event.retry, frame)
    if event.id is not None:
        frame = b"id: %b\n%b" % (event.id.encode(), frame)
    return frame
