"""Server-Sent Events for Django that lose nothing.

The public names; each is imported from its module at first use, so that importing ``django_sse``
(as ``INSTALLED_APPS`` does) loads nothing. ``relay`` is not among them: the function would hide the
module of its name; it is ``from django_sse.relay import relay``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_sse.dialects.plain import DONE
    from django_sse.exceptions import ImmediateHttpResponse
    from django_sse.http import EventStreamResponse, event_stream, last_event_id
    from django_sse.hub.subscription import Subscription, subscribe
    from django_sse.publishing import (
        acursor,
        adelete_channel,
        afinish,
        apublish,
        apublish_many,
        aredact,
        cursor,
        delete_channel,
        finish,
        publish,
        publish_many,
        redact,
    )
    from django_sse.runs.owners import aowner_of, owner_of
    from django_sse.views import ChannelStreamView
    from django_sse.wire.event import Event

_MODULES = {
    "django_sse.dialects.plain": ("DONE",),
    "django_sse.exceptions": ("ImmediateHttpResponse",),
    "django_sse.http": ("EventStreamResponse", "event_stream", "last_event_id"),
    "django_sse.hub.subscription": ("Subscription", "subscribe"),
    "django_sse.publishing": (
        "acursor",
        "adelete_channel",
        "afinish",
        "apublish",
        "apublish_many",
        "aredact",
        "cursor",
        "delete_channel",
        "finish",
        "publish",
        "publish_many",
        "redact",
    ),
    "django_sse.runs.owners": ("aowner_of", "owner_of"),
    "django_sse.views": ("ChannelStreamView",),
    "django_sse.wire.event": ("Event",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "DONE",
    "ChannelStreamView",
    "Event",
    "EventStreamResponse",
    "ImmediateHttpResponse",
    "Subscription",
    "acursor",
    "adelete_channel",
    "afinish",
    "aowner_of",
    "apublish",
    "apublish_many",
    "aredact",
    "cursor",
    "delete_channel",
    "event_stream",
    "finish",
    "last_event_id",
    "owner_of",
    "publish",
    "publish_many",
    "redact",
    "subscribe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
