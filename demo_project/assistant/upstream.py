"""Where the answers come from: the service that the environment names, or the demo's stand-in."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from django_sse.exceptions import StreamError, UpstreamStatusError

from ..errors import BadInput
from ..upstream.behaviours import BEHAVIOURS
from .models import Exchange

TIMEOUT = httpx.Timeout(30, connect=5)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that speaks OpenAI's streaming chat completions."""

    url: str
    model: str
    headers: dict[str, str] = field(repr=False)  # holds the key
    is_stand_in: bool = False

    @asynccontextmanager
    async def stream(self, asked: Exchange) -> AsyncIterator[httpx.Response]:
        """The response that answers ``asked``, its body still to come.

        Whatever fails, there or while the body is read, is a ``StreamError`` without the address,
        which may be private.
        """
        body = {"model": self.model, "stream": True, "messages": await asked.messages()}
        try:
            # A proxy of the environment is for services, not for the server's own address.
            async with (
                httpx.AsyncClient(timeout=TIMEOUT, trust_env=not self.is_stand_in) as client,
                client.stream("POST", self.url, headers=self.headers, json=body) as response,
            ):
                yield response
        except UpstreamStatusError as error:
            if error.retry_after is None:
                raise
            seconds = math.ceil(error.retry_after)
            raise StreamError(f"The upstream is busy. Ask again in {seconds} s.") from error
        except httpx.HTTPError as error:
            raise StreamError(reason_of(error)) from error


def reason_of(error: httpx.HTTPError) -> str:
    """What went wrong with the connection."""
    if isinstance(error, httpx.TimeoutException):
        return "The upstream did not answer in time."
    if isinstance(error, httpx.ConnectError):
        return "The upstream could not be reached."
    return "The connection to the upstream failed."


def configured() -> bool:
    """Whether the environment names a real service."""
    return bool(settings.OPENAI_BASE_URL)


def upstream_for(request: HttpRequest, behaviour: str) -> Upstream:
    """The service that answers ``request``.

    ``behaviour``, one of ``BEHAVIOURS``, makes the stand-in fail in a given way; a real service
    takes none. Raises ``BadInput`` for any other.
    """
    if configured():
        return _service()
    if behaviour not in BEHAVIOURS:
        raise BadInput(f'"behaviour" must be one of {", ".join(BEHAVIOURS)}.')
    return Upstream(
        url=_own_address(request) + reverse("upstream"),
        model=behaviour,
        headers={"Host": "localhost", "Accept": "text/event-stream"},
        is_stand_in=True,
    )


def _service() -> Upstream:
    base = settings.OPENAI_BASE_URL.rstrip("/")
    headers = {"Accept": "text/event-stream"}
    if settings.OPENAI_API_KEY:
        headers["Authorization"] = f"Bearer {settings.OPENAI_API_KEY}"
    return Upstream(url=f"{base}/chat/completions", model=settings.OPENAI_MODEL, headers=headers)


def _own_address(request: HttpRequest) -> str:
    """The address at which this very server can be asked.

    Taken from the socket that accepted the request, never from its Host header: that one is the
    client's to choose, and would let it send the server to any address it likes.
    """
    host, port = str(request.META["SERVER_NAME"]), str(request.META["SERVER_PORT"])
    if not port.isdigit() or int(port) == 0:
        raise BadInput(
            "The demo's own address is unknown behind this server (a Unix socket?), so its "
            "stand-in cannot be reached. Set OPENAI_BASE_URL.",
            status=503,
        )
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
