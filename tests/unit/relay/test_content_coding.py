from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_sse.exceptions import UpstreamDisconnected, UpstreamFormatError
from django_sse.relay.content_coding import PIECE, content_coding


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def members(data: bytes) -> bytes:
    """A gzip file of several members (RFC 1952, 2.2)."""
    return b"".join(gzip.compress(data[start : start + 7]) for start in range(0, len(data), 7))


def decoded(header: str, body: bytes, cuts: list[int]) -> list[bytes]:
    """The pieces of a body that comes in chunks with these borders."""
    coding = content_coding(header)
    borders = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    pieces = [piece for start, end in pairwise(borders) for piece in coding.pieces(body[start:end])]
    coding.end()
    return pieces


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "none": bytes,
    "gzip": gzip.compress,
    " X-GZIP ,identity": members,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
}


@pytest.mark.parametrize("header", CODINGS)
@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 1000), max_size=5))
def test_the_bytes_are_the_same_in_any_cut(header: str, data: bytes, cuts: list[int]) -> None:
    assert b"".join(decoded(header, CODINGS[header](data), cuts)) == data


@pytest.mark.parametrize("header", CODINGS)
def test_no_piece_is_large_however_large_the_chunk_and_its_content_are(header: str) -> None:
    data = b"data: a\n\n" * 200_000
    pieces = decoded(header, CODINGS[header](data), [])
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= PIECE


@pytest.mark.parametrize("header", ["gzip", "deflate"])
def test_a_flushed_event_comes_before_the_next_chunk(header: str) -> None:
    data = b"x" * (PIECE + 200)
    compressor = zlib.compressobj(wbits=31 if header == "gzip" else 15)
    flushed = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert b"".join(content_coding(header).pieces(flushed)) == data


@pytest.mark.parametrize("header", ["gzip", "deflate"])
def test_a_body_that_was_cut_is_not_complete(header: str) -> None:
    body = CODINGS[header](b"data: a\n\n")
    for end in range(1, len(body)):
        with pytest.raises(UpstreamDisconnected, match="before it was complete"):
            decoded(header, body[:end], [])
    assert decoded(header, b"", []) == []


@pytest.mark.parametrize(
    "body",
    [b"data: a\n\n", gzip.compress(b"a") + b"data: a\n\n"],
    ids=["at all", "after its end"],
)
def test_what_is_not_gzip_is_a_format_error(body: bytes) -> None:
    with pytest.raises(UpstreamFormatError, match="cannot be decoded"):
        decoded("gzip", body, [])


@pytest.mark.parametrize("header", ["br", "zstd", "compress", "gzip, gzip", "gzip,br"])
def test_the_error_for_another_coding_says_what_to_request(header: str) -> None:
    with pytest.raises(UpstreamFormatError, match="Accept-Encoding: gzip"):
        content_coding(header)
