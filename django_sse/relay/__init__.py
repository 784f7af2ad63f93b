"""Upstream event streams as events or values: chunks of bytes in, complete events out.

::

    RelayError (StreamError)
    ├── UpstreamStatusError     the status is not 200
    ├── UpstreamFormatError     no event stream, or another dialect
    ├── UpstreamLimitError      longer, larger or slower than relay allows
    ├── UpstreamError           the upstream reports that it failed
    └── UpstreamDisconnected    the answer ended before it was complete

Their messages are safe to show to a client. Of the upstream they contain only the status and the
one-word code of an error frame: no address, header, key or text. The details are in ``__cause__``.
"""

from django_sse.exceptions import (
    RelayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamFormatError,
    UpstreamLimitError,
    UpstreamStatusError,
)
from django_sse.relay.events import relay
from django_sse.relay.response import UpstreamResponse

__all__ = [
    "RelayError",
    "UpstreamDisconnected",
    "UpstreamError",
    "UpstreamFormatError",
    "UpstreamLimitError",
    "UpstreamResponse",
    "UpstreamStatusError",
    "relay",
]
