"""Bytes to events: the parsing rules of WHATWG HTML, 9.2.6, without I/O.

Lines end at CR, LF or CRLF. These bytes are ASCII and never part of another UTF-8 sequence, so the
decoder splits bytes into lines and fields first and decodes them afterwards. The result is the same
as in the standard's order (decode, then split), even for invalid UTF-8, and wherever the network
cuts the stream.

Two paths give the same result. One regular expression takes complete events of the usual form out
of a chunk. Events that span chunks, and events of any other form, are parsed line by line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from django_sse.wire.errors import DecodeError, EventTooLong, LineTooLong
from django_sse.wire.event import MAX_RETRY

#: Bytes in one line, without its line end.
MAX_LINE: Final = 1024 * 1024
#: Bytes in the data of one event, with its lines joined by LF.
MAX_EVENT: Final = 1024 * 1024

# The decoder takes a chunk in slices of this many bytes: a list of its lines needs far more memory.
_SLICE: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_CR: Final = 0x0D

# Matches at the start of an event, if complete events follow. The first branch captures the id,
# type and data of a usual event; the second captures all lines of any other event and the blank
# lines after it. One of the two always matches. Possessive repeats never backtrack, so the time is
# linear for any input. (In a bytes pattern "." matches everything but LF.)
_EVENTS: Final = re.compile(
    rb"(?:id: ?+([^\n\0]++)\n)?+"
    rb"(?:event: ?+(.++)\n)?+"
    rb"data: (.*+(?:\ndata: .*+)*+)\n\n"
    rb"|((?:.++\n)*+\n++)"
)


@dataclass(frozen=True, slots=True)
class MessageEvent:
    """An event as the client's code sees it.

    ``type`` is the event type, ``"message"`` if the stream gave none. ``data`` has its lines joined
    by LF. ``last_event_id`` is the last id of the stream so far, this event's included, or ``""``.
    """

    type: str
    data: str
    last_event_id: str

    def __init__(self, type: str, data: str, last_event_id: str) -> None:
        # The __init__ that dataclass generates for a frozen class looks up each slot by name. It
        # takes 400 ns, most of the time of a small event; this one takes 250 ns.
        _set_type(self, type)
        _set_data(self, data)
        _set_last_event_id(self, last_event_id)


_set_type = MessageEvent.__dict__["type"].__set__
_set_data = MessageEvent.__dict__["data"].__set__
_set_last_event_id = MessageEvent.__dict__["last_event_id"].__set__


class Decoder:
    """The decoder of one stream: chunks of bytes of any size in, events out.

    It never holds more than one unfinished line and one unfinished event. An event that is
    unfinished when the stream ends is dropped, as the standard requires.

    ``max_line`` limits the bytes in a line, without its line end. ``max_event`` limits the bytes in
    the data of one event, with its lines joined by LF. Raises ``ValueError`` for a limit below 1.
    """

    def __init__(self, max_line: int = MAX_LINE, max_event: int = MAX_EVENT) -> None:
        if max_line < 1 or max_event < 1:
            raise ValueError("max_line and max_event are numbers of bytes and must be at least 1")
        self._max_line = max_line
        self._max_event = max_event
        # A line or event within one slice is then never too long, so only those that span slices
        # need measuring.
        self._slice = min(_SLICE, max_line, max_event)
        self._line = bytearray()
        self._after_cr = False
        self._at_start = True
        # Between events no line is open and every buffer is empty. The first line counts as inside
        # an event, because a byte order mark may precede it.
        self._in_event = True
        self._data: bytes | bytearray | None = None
        self._type = "message"
        self._id_buffer = ""
        self.last_event_id = ""
        """The id that a reconnecting client would send; ``""`` if there is none."""
        self.reconnection_time: int | None = None
        """Milliseconds from the last ``retry`` field, at most 2**31 - 1; None before the first."""
        self.ignored_lines = 0
        """The number of lines that were not a field of the standard, a comment or blank."""
        self._failure: DecodeError | None = None

    @property
    def unfinished(self) -> bool:
        """Whether data or part of a field's line would be lost if the stream ended here."""
        return self._data is not None or bool(self._line and not self._line.startswith(b":"))

    def feed(self, chunk: bytes) -> list[MessageEvent]:
        """Return the events that ``chunk`` completes, in time linear in its length.

        Raises ``LineTooLong`` (even before the line has ended) or ``EventTooLong`` if a limit is
        exceeded, and ``DecodeError`` on every later call: a new stream needs a new decoder.
        """
        if self._failure is not None:
            raise DecodeError(
                f"this decoder has already failed ({self._failure}). "
                "Make a new Decoder for each stream"
            ) from self._failure
        events: list[MessageEvent] = []
        try:
            if len(chunk) <= self._slice:
                self._feed(chunk, events)
            else:
                for start in range(0, len(chunk), self._slice):
                    self._feed(chunk[start : start + self._slice], events)
        except DecodeError as error:
            error.events = tuple(events)
            self._failure = error
            raise
        return events

    def _feed(self, chunk: bytes, events: list[MessageEvent]) -> None:
        if self._after_cr and chunk:
            # CR has already ended the line; an LF here is the second half of that CRLF.
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if _CR in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        start = self._resume(chunk, events) if self._in_event else 0
        end = chunk.rfind(b"\n\n", start) + 2
        if end >= 2:
            self._parse_events(chunk, start, end, events)
            start = end
        if start < len(chunk):
            *lines, rest = chunk[start:].split(b"\n")
            for line in lines:
                if not line.startswith(b":"):
                    self._parse_line(line, events)
            self._extend_line(rest)

    def _resume(self, chunk: bytes, events: list[MessageEvent]) -> int:
        """Parse the lines of the event that earlier chunks left open; return where they end."""
        start = 0
        while self._in_event and (end := chunk.find(b"\n", start)) >= 0:
            self._extend_line(chunk[start:end])
            line = bytes(self._line)
            self._line.clear()
            if self._at_start:
                self._at_start = self._in_event = False
                line = line.removeprefix(_BOM)
            self._parse_line(line, events)
            start = end + 1
        return start

    def _extend_line(self, part: bytes) -> None:
        if part:
            if len(self._line) + len(part) > self._max_line:
                raise LineTooLong(f"a line of the stream is longer than {self._max_line} bytes")
            self._line += part
            self._in_event = True

    def _parse_events(self, chunk: bytes, start: int, end: int, events: list[MessageEvent]) -> None:
        for id, type, data, other in _EVENTS.findall(chunk, start, end):
            if other:
                for line in other.splitlines():
                    self._parse_line(line, events)
                continue
            if id:
                self._id_buffer = self.last_event_id = id.decode("utf-8", "replace")
            if _LF in data:
                data = data.replace(b"\ndata: ", b"\n")
            events.append(
                MessageEvent(
                    type.decode("utf-8", "replace") if type else "message",
                    data.decode("utf-8", "replace"),
                    self.last_event_id,
                )
            )

    def _parse_line(self, line: bytes, events: list[MessageEvent]) -> None:
        if line.startswith(b":"):
            # After a comment between two events no buffer has anything, so the decoder is between
            # events again, where it is fastest.
            fields = self._type != "message" or self._id_buffer != self.last_event_id
            self._in_event = fields or self._data is not None
            return
        if line:
            self._in_event = True
            self._parse_field(line)
            return
        self._in_event = False
        self.last_event_id = self._id_buffer
        if self._data is not None:
            data = self._data.decode("utf-8", "replace")
            events.append(MessageEvent(self._type, data, self.last_event_id))
            self._data = None
        self._type = "message"

    def _parse_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._extend_data(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id_buffer = value.decode("utf-8", "replace")
        elif name == b"event":
            self._type = value.decode("utf-8", "replace") or "message"
        elif name == b"retry":
            self._set_reconnection_time(value)
        elif name:
            self.ignored_lines += 1

    def _extend_data(self, value: bytes) -> None:
        data = self._data
        size = len(value) if data is None else len(data) + 1 + len(value)
        if size > self._max_event:
            raise EventTooLong(f"the data of an event is longer than {self._max_event} bytes")
        if data is None:
            self._data = value
            return
        if isinstance(data, bytes):
            # From the second line on: appending to bytes would copy all of it for each line.
            data = self._data = bytearray(data)
        data += b"\n"
        data += value

    def _set_reconnection_time(self, value: bytes) -> None:
        if value.isdigit():
            # int() takes time quadratic in the digits; past ten digits the maximum applies anyway.
            digits = value.lstrip(b"0")[:11]
            self.reconnection_time = min(int(digits or b"0"), MAX_RETRY)
