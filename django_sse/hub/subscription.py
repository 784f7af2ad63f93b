"""``subscribe``, and the object that a view returns to stream channels."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from django_sse.hub.channel_stream import ChannelStream
from django_sse.streams.handle import Handle

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_sse.hub.position import Since


class Subscription(Handle):
    """The events of one or more channels, for a view to return; made by ``subscribe``.

    Iterating gives ``bytes``: whole frames, and heartbeats between them.
    """

    def __init__(
        self,
        *channels: str,
        since: Since = "now",
        on_open: Callable[[], object] | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        _check_hook("on_open", on_open)
        _check_hook("on_close", on_close)
        super().__init__(ChannelStream(*channels, since=since, on_open=on_open, on_close=on_close))
        self.channels: tuple[str, ...] = channels
        """The names of the channels."""


def _check_hook(name: str, hook: object) -> None:
    """Raise ``TypeError`` for a hook that a thread cannot call."""
    if hook is None:
        return
    if not callable(hook):
        raise TypeError(f"{name} must be a function or None, not {type(hook).__name__}.")
    if iscoroutinefunction(hook):
        raise TypeError(
            f"{name} is called in a thread, so it must be a sync function. Wrap a coroutine "
            "function in asgiref.sync.async_to_sync."
        )


def subscribe(
    *channels: str,
    since: Since = "now",
    on_open: Callable[[], object] | None = None,
    on_close: Callable[[], object] | None = None,
) -> Subscription:
    """Return a stream of the events of ``channels`` (1 to 32 names), for a view to return.

    A client that brings a position (Last-Event-ID) gets the events after it. Any other client
    begins at ``since``: ``"now"``, ``"earliest"``, a cursor from ``cursor()``, a datetime, or the
    number of newest events to begin with. ``on_open`` and ``on_close`` are called without
    arguments, in a thread of the library, when the stream begins and when it has ended; a process
    that is killed calls neither.

    Raises ``InvalidChannel``, and ``ValueError`` or ``TypeError`` for other wrong arguments.
    """
    return Subscription(*channels, since=since, on_open=on_open, on_close=on_close)
