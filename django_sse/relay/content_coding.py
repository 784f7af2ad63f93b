"""Decompression in small pieces (content codings: RFC 9110, 8.4.1).

64 KB of gzip can hold 64 MB. HTTP clients decompress what they have received in one step, which
stops the event loop and takes the memory of all of it. With a limit to each piece of the output,
whoever asks for the pieces decides how many there will be.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

from django_sse.exceptions import UpstreamDisconnected, UpstreamFormatError

#: Bytes in a piece of a body. The decoder of events takes up to 2 ms for so many.
PIECE: Final = 8 * 1024
# zlib copies the rest of its input for each piece of output, so it gets little at a time.
_INPUT: Final = 4 * 1024

_GZIP: Final = zlib.MAX_WBITS + 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_GZIP_NAMES: Final = frozenset({"gzip", "x-gzip"})
# The codings in IANA's registry that compress. Any other word, such as the "none" that some
# frameworks send to keep middleware from compressing a stream, changes nothing.
_COMPRESSED: Final = _GZIP_NAMES | {"deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz"}


class Identity:
    """The coding of a body that is not compressed."""

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the body's bytes in the chunk in pieces, some possibly empty."""
        if len(chunk) <= PIECE:
            yield chunk
            return
        for start in range(0, len(chunk), PIECE):
            yield chunk[start : start + PIECE]

    def end(self) -> None:
        """Check that the body is complete."""


class Compressed(Identity):
    """The coding of a body that is compressed with gzip or deflate."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        # None between two members of a gzip file (RFC 1952, 2.2), and before the first.
        self._member: Any = None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        try:
            for start in range(0, len(chunk), _INPUT):
                yield from self._decompress(chunk[start : start + _INPUT])
        except zlib.error as error:
            raise UpstreamFormatError(
                "The upstream sent a content encoding that cannot be decoded."
            ) from error

    def _decompress(self, data: bytes) -> Iterator[bytes]:
        piece = b""
        # A full piece may have left something in zlib's own buffer.
        while data or len(piece) == PIECE:
            if self._member is None:
                if not data:
                    return
                self._member = zlib.decompressobj(self._window(data))
            piece = self._member.decompress(data, PIECE)
            yield piece
            data = self._member.unconsumed_tail
            if self._member.eof:
                data = self._member.unused_data
                self._member = None

    def _window(self, data: bytes) -> int:
        if self._gzip:
            return _GZIP
        # Some servers leave out zlib's header, whose first four bits are 8 (RFC 1950, 2.2).
        return _ZLIB if data[0] & 0x0F == 8 else _RAW_DEFLATE

    def end(self) -> None:
        if self._member is not None:
            raise UpstreamDisconnected("The upstream's answer ended before it was complete.")


def content_coding(header: str) -> Identity:
    """Return the coding for a Content-Encoding header.

    Raises ``UpstreamFormatError`` for a coding other than gzip and deflate, or more than one.
    """
    names = [name.strip() for name in header.lower().split(",")]
    match [name for name in names if name in _COMPRESSED]:
        case []:
            return Identity()
        case [("gzip" | "x-gzip" | "deflate") as name]:
            return Compressed(gzip=name in _GZIP_NAMES)
    raise UpstreamFormatError(
        "The upstream's content encoding is not supported: request its answer with the header "
        "Accept-Encoding: gzip."
    )
