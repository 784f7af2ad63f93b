"""A ready-made view that streams channels."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.views import View

from django_sse.http import event_stream
from django_sse.hub.subscription import Subscription, subscribe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.http import HttpRequest

    from django_sse.hub.position import Since


class ChannelStreamView(View):
    """Streams ``channels``, or what ``get_channels`` returns, to whom ``has_permission`` allows.

    >>> class OrderEvents(ChannelStreamView):
    ...     async def get_channels(self):
    ...         return [f"order-{self.kwargs['pk']}"]
    ...
    ...     async def has_permission(self):
    ...         user = await self.request.auser()
    ...         return await Order.objects.filter(pk=self.kwargs["pk"], owner=user).aexists()

    Both hooks may be sync or async. They are asked at every connect, so on every replay, too.
    """

    http_method_names = ("get", "head", "options")
    channels: Sequence[str] = ()
    since: Since = "now"

    def get_channels(self) -> Any:
        """The names of the channels to stream."""
        if not self.channels:
            raise ImproperlyConfigured(
                f"{type(self).__name__} needs channels or a get_channels() method."
            )
        return self.channels

    def has_permission(self) -> Any:
        """Whether this request may read the channels; no: 403."""
        return True

    @event_stream
    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Subscription:
        """The stream."""
        if not await _ask(self.has_permission):
            raise PermissionDenied
        return subscribe(*await _ask(self.get_channels), since=self.since)


async def _ask(hook: Callable[[], Any]) -> Any:
    """The result of a hook; a sync one may use the database."""
    result = hook() if inspect.iscoroutinefunction(hook) else await sync_to_async(hook)()
    # A sync hook may return a coroutine, which is true whatever it would say.
    return await result if inspect.isawaitable(result) else result
