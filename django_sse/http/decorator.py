"""``event_stream``: from a view to a stream."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from django_sse.dialects import Dialect, get_dialect
from django_sse.dialects.plain import DONE, Plain
from django_sse.http.endpoint import Endpoint
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase

View = Callable[..., Any]
Resumable: TypeAlias = bool | Literal["while_connected"]


@overload
def event_stream(view: View, /) -> View: ...
@overload
def event_stream(
    *,
    terminal: Event | None = ...,
    dialect: str | Dialect | None = ...,
    resumable: Resumable = ...,
) -> Callable[[View], View]: ...
def event_stream(
    view: View | None = None,
    /,
    *,
    terminal: Event | None = DONE,
    dialect: str | Dialect | None = None,
    resumable: Resumable = False,
) -> View | Callable[[View], View]:
    """Make a view stream: an async or sync generator function, or an async or sync function that
    returns an iterable of events, a subscription, or any other response.

    A generator is started and its first item awaited, ``OPEN_TIMEOUT`` at most, so that
    ``Http404``, ``PermissionDenied`` or ``ImmediateHttpResponse`` raised before the first ``yield``
    are real responses. Errors after that are logged, signalled (``stream_failed``) and sent as
    ``event: error``. ``terminal`` is the event sent when a generator returns: by default
    ``event: close``, ``data: [DONE]``; None sends none, and an EventSource will run the view again.

    With ``dialect`` the generator yields values (``django_sse.dialects``), and events and ends are
    that vendor's; ``terminal`` is then not used. With ``resumable`` the generator is a run: it goes
    on when its client leaves, and a client that reconnects gets all of it (``django_sse.runs``);
    with ``"while_connected"`` it is cancelled after ``UNWATCHED`` seconds without a client.

    HEAD and OPTIONS open no stream, nor does a prefetch or an image, and a run is not started for a
    page of another site (``django_sse.http.foreign``). It also decorates methods of class-based
    views, directly or through ``method_decorator``.
    """
    if view is not None and not callable(view):
        raise TypeError(
            f"event_stream decorates a view, which is callable, not {type(view).__name__}."
        )
    if terminal is not None and not isinstance(terminal, Event):
        raise TypeError(f"terminal must be an Event or None, not {type(terminal).__name__}.")
    spoken = Plain(terminal) if dialect is None else get_dialect(dialect)

    def decorate(view: View) -> View:
        return _decorate(view, _make_endpoint(view, spoken, resumable))

    return decorate if view is None else decorate(view)


def _make_endpoint(view: View, dialect: Dialect, resumable: object) -> Endpoint:
    if isinstance(view, type):
        raise TypeError(
            "event_stream decorates a view function or a method, not a class: decorate the get "
            f"method of {view.__name__}."
        )
    if resumable is False:
        return Endpoint(view, dialect)
    if resumable not in (True, "while_connected"):
        raise ValueError(f'resumable is True, False or "while_connected", not {resumable!r}.')
    # Here, because only runs need the log.
    from django_sse.http.resumable import ResumableEndpoint

    return ResumableEndpoint(view, dialect, while_connected=resumable is not True)


def _decorate(view: View, endpoint: Endpoint) -> View:
    if inspect.iscoroutinefunction(view) or (
        inspect.isasyncgenfunction(view) and not _from_method_decorator(view)
    ):

        @functools.wraps(view)
        async def async_view(*args: Any, **kwargs: Any) -> HttpResponseBase:
            return await endpoint.acall(*args, **kwargs)

        return async_view

    @functools.wraps(view)
    def sync_view(*args: Any, **kwargs: Any) -> HttpResponseBase:
        return endpoint.call(*args, **kwargs)

    return sync_view


def _from_method_decorator(view: View) -> bool:
    """``method_decorator`` hands over a partial, and marks its own wrapper as async only when the
    method is a coroutine function; around an async generator the wrapper must stay sync."""
    return isinstance(view, functools.partial)
