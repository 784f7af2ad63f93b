"""Bytes to events: the parsing rules of WHATWG HTML, 9.2.6, without I/O.

Lines end at CR, LF and CRLF, which are ASCII and never part of another UTF-8 sequence. So bytes
are cut into lines and fields first and decoded afterwards, with the same result as the standard's
order (decode, then cut), also for invalid UTF-8, and wherever the network cuts.

There are two paths with one result. Whole events of the usual form are taken out of a chunk by one
regular expression; what begins or ends in another chunk, and every other form, goes line by line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from django_sse.wire.errors import DecodeError, EventTooLong, LineTooLong
from django_sse.wire.event import MAX_RETRY

#: Bytes of one line without its end.
MAX_LINE: Final = 1024 * 1024
#: Bytes of the data of one event, its lines joined by LF.
MAX_EVENT: Final = 4 * 1024 * 1024

# A chunk is worked off in slices of this many bytes, since its lines as a list take far more room.
_SLICE: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_CR: Final = 0x0D

# From the start of an event, when whole events follow: id, type and data of a usual one, or else
# all lines of any other, with the blank lines after it. One of both always matches, and the
# possessive repeats never step back, so the time is linear whatever the bytes. (In bytes "." is
# everything but LF.)
_EVENTS: Final = re.compile(
    rb"(?:id: ?+([^\n\0]++)\n)?+"
    rb"(?:event: ?+(.++)\n)?+"
    rb"data: (.*+(?:\ndata: .*+)*+)\n\n"
    rb"|((?:.++\n)*+\n++)"
)


@dataclass(frozen=True, slots=True)
class MessageEvent:
    """An event as the client's code sees it.

    :param type: the event type, ``"message"`` when none was given.
    :param data: its lines joined by LF.
    :param last_event_id: the last id seen up to and with this event, ``""`` when there is none.
    """

    type: str
    data: str
    last_event_id: str

    def __init__(self, type: str, data: str, last_event_id: str) -> None:
        # What dataclass writes for a frozen class looks up each slot by name and takes 400 ns,
        # most of the time of a small event; this takes 250.
        _set_type(self, type)
        _set_data(self, data)
        _set_last_event_id(self, last_event_id)


_set_type = MessageEvent.__dict__["type"].__set__
_set_data = MessageEvent.__dict__["data"].__set__
_set_last_event_id = MessageEvent.__dict__["last_event_id"].__set__


class Decoder:
    """Takes a stream in chunks of any cut and gives its events.

    It holds at most one unfinished line and one unfinished event, whatever comes. An event that the
    stream's end leaves unfinished is dropped, as the standard says.

    :param max_line: bytes of a line without its end.
    :param max_event: bytes of the data of one event, its lines joined by LF.
    :raises ValueError: for a limit below 1.
    """

    def __init__(self, max_line: int = MAX_LINE, max_event: int = MAX_EVENT) -> None:
        if max_line < 1 or max_event < 1:
            raise ValueError("max_line and max_event are numbers of bytes and at least 1")
        self._max_line = max_line
        self._max_event = max_event
        # What lies within one slice is then never too long: only what spans slices is measured.
        self._slice = min(_SLICE, max_line, max_event)
        self._line = bytearray()
        self._after_cr = False
        self._at_start = True
        # Between events no line is open and every buffer is empty. The first line counts as within
        # one, since a byte order mark may stand before it.
        self._in_event = True
        self._data: bytes | bytearray | None = None
        self._type = "message"
        self._id_buffer = ""
        self._last_event_id = ""
        self._reconnection_time: int | None = None
        self._ignored_lines = 0
        self._failure: DecodeError | None = None

    @property
    def last_event_id(self) -> str:
        """The id that a reconnecting client would send, ``""`` for none."""
        return self._last_event_id

    @property
    def reconnection_time(self) -> int | None:
        """Milliseconds from the last ``retry`` field, at most 2**31 - 1; None when none came."""
        return self._reconnection_time

    @property
    def ignored_lines(self) -> int:
        """How many lines were neither a field of the standard nor a comment nor blank."""
        return self._ignored_lines

    @property
    def unfinished(self) -> bool:
        """Whether an end of the stream here would drop data or the start of a field's line."""
        return self._data is not None or bool(self._line and not self._line.startswith(b":"))

    def feed(self, chunk: bytes) -> list[MessageEvent]:
        """The events that the chunk completes, in time linear in its length.

        :raises LineTooLong: also for a line that has not ended yet.
        :raises EventTooLong: for the data of one event.
        :raises DecodeError: on every call after one of these; a new stream takes a new decoder.
        """
        if self._failure is not None:
            raise DecodeError(
                f"this decoder gave up on its stream ({self._failure}): make a new one"
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
            # The line has ended with its CR; an LF now is the other half of that line end.
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
                self._parse_line(line, events)
            self._extend_line(rest)

    def _resume(self, chunk: bytes, events: list[MessageEvent]) -> int:
        """Take the lines of the event that earlier chunks left open; return where they end."""
        start = 0
        while self._in_event and (end := chunk.find(b"\n", start)) >= 0:
            self._extend_line(chunk[start:end])
            line = bytes(self._line)
            self._line.clear()
            if self._at_start:
                self._at_start = False
                line = line.removeprefix(_BOM)
            self._parse_line(line, events)
            start = end + 1
        return start

    def _extend_line(self, part: bytes) -> None:
        if part:
            if len(self._line) + len(part) > self._max_line:
                raise LineTooLong(f"a line of the stream has more than {self._max_line} bytes")
            self._line += part
            self._in_event = True

    def _parse_events(self, chunk: bytes, start: int, end: int, events: list[MessageEvent]) -> None:
        for id, type, data, other in _EVENTS.findall(chunk, start, end):
            if other:
                for line in other.splitlines():
                    self._parse_line(line, events)
                continue
            if id:
                self._id_buffer = self._last_event_id = id.decode("utf-8", "replace")
            if _LF in data:
                data = data.replace(b"\ndata: ", b"\n")
            events.append(
                MessageEvent(
                    type.decode("utf-8", "replace") if type else "message",
                    data.decode("utf-8", "replace"),
                    self._last_event_id,
                )
            )

    def _parse_line(self, line: bytes, events: list[MessageEvent]) -> None:
        if line:
            self._in_event = True
            self._parse_field(line)
            return
        self._in_event = False
        self._last_event_id = self._id_buffer
        if self._data is not None:
            data = self._data.decode("utf-8", "replace")
            events.append(MessageEvent(self._type, data, self._last_event_id))
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
            self._ignored_lines += 1

    def _extend_data(self, value: bytes) -> None:
        data = self._data
        size = len(value) if data is None else len(data) + 1 + len(value)
        if size > self._max_event:
            raise EventTooLong(f"the data of an event has more than {self._max_event} bytes")
        if data is None:
            self._data = value
            return
        if isinstance(data, bytes):
            # From the second line on: bytes would be copied for each.
            data = self._data = bytearray(data)
        data += b"\n"
        data += value

    def _set_reconnection_time(self, value: bytes) -> None:
        if value.isdigit():
            # Converting takes quadratic time in the digits; past ten of them the cap holds anyway.
            digits = value.lstrip(b"0")[:11]
            self._reconnection_time = min(int(digits or b"0"), MAX_RETRY)
