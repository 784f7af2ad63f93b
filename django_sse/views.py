"""Ready-made views: one that streams channels, and the views of runs (``django_sse.urls``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from django_sse.exceptions import ImmediateHttpResponse, LogUnavailable
from django_sse.http import event_stream
from django_sse.http.answers import come_back_later
from django_sse.http.foreign import csrf_failure, foreign, has_scripts_authorization
from django_sse.http.resumable import run_response, run_url
from django_sse.hub.subscription import Subscription, subscribe
from django_sse.process import database
from django_sse.process.place import Place
from django_sse.runs import ends, store
from django_sse.runs.hooks import allows, ask
from django_sse.runs.keeper import stay
from django_sse.runs.owners import may_access, named_owner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from django_sse.http import EventStreamResponse
    from django_sse.hub.position import Since
    from django_sse.models import Run
    from django_sse.runs.owners import Action

__all__ = ["ChannelStreamView", "RunEventsView", "RunStatusView", "RunStopView"]


class ChannelStreamView(View):
    """Streams ``channels``, or what ``get_channels`` returns, if ``has_permission`` allows it.

    >>> class OrderEvents(ChannelStreamView):
    ...     async def get_channels(self):
    ...         return [f"order-{self.kwargs['pk']}"]
    ...
    ...     async def has_permission(self):
    ...         user = await self.request.auser()
    ...         orders = Order.objects.filter(pk=self.kwargs["pk"])
    ...         return user.is_authenticated and await orders.filter(owner=user).aexists()

    Both hooks may be sync or async. They are called at every connect, so for every replay.
    """

    http_method_names = ("get", "head", "options")
    channels: Sequence[str] = ()
    since: Since = "now"

    def get_channels(self) -> Any:
        """Return the names of the channels to stream."""
        if not self.channels:
            raise ImproperlyConfigured(
                f"{type(self).__name__} needs channels or a get_channels() method."
            )
        return self.channels

    def has_permission(self) -> Any:
        """Whether this request may read the channels: only ``True`` is yes, False and None are 403,
        a response is sent as it is, and anything else is an error."""
        return True

    @event_stream
    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Subscription:
        """The stream."""
        name = f"{type(self).__name__}.has_permission()"
        if not await allows(name, self.has_permission):
            raise PermissionDenied
        channels = await ask(self.get_channels)
        # A str would be taken for the names of its letters.
        if isinstance(channels, str) or not isinstance(channels, Iterable):
            raise TypeError(
                f"{type(self).__name__}.get_channels(), or channels, must be a list of names, "
                f'not {channels!r}. A single channel is a list, too: ["news"].'
            )
        return subscribe(*channels, since=self.since)


async def _found(request: HttpRequest, run_id: UUID, action: Action = "read") -> Run:
    """Return the run. Raises ``Http404`` where there is none, or it is not for the request."""
    run = await database.run(store.find, run_id)
    if run is None or not await may_access(request, run, action):
        raise Http404("There is no such run.")
    return run


class RunEventsView(View):
    """``GET``: the run from its first event, or from the client's position; 204 at its end.

    404 for a run that is not there or not the caller's (``ACCESS``), on replay, too.
    """

    http_method_names = ("get", "head", "options")

    @event_stream
    async def get(self, request: HttpRequest, run_id: UUID) -> EventStreamResponse:
        """The stream."""
        return run_response(request, await _found(request, run_id))


async def _forged(request: HttpRequest) -> HttpResponseBase | None:
    """Return the answer to a request that a page of another site may have made, or None.

    A request needs no CSRF token if ``OWNER`` knows it and nothing that a browser adds by itself
    can be the reason: it has no cookies, or an ``Authorization`` that only a script can add.
    """
    is_scripts = has_scripts_authorization(request) or not request.COOKIES
    if is_scripts and await named_owner(request) is not None:
        return foreign(request)
    return await sync_to_async(csrf_failure)(request)


# The view itself decides who needs a CSRF token.
@method_decorator(csrf_exempt, name="dispatch")
class RunStopView(View):
    """``POST``: end the run as aborted and cancel its generator, in whatever process that runs.

    Answers ``{"stopped": true}``, or false when the run had ended before. Needs a CSRF token,
    except from a client without cookies that ``OWNER`` knows.
    """

    http_method_names = ("post", "options")

    async def post(self, request: HttpRequest, run_id: UUID) -> HttpResponseBase:
        """The stop."""
        try:
            if refused := await _forged(request):
                return refused
            run = await _found(request, run_id, "stop")
            return JsonResponse({"stopped": await database.write(ends.stop, run)})
        except ImmediateHttpResponse as error:
            return error.response
        except LogUnavailable:
            return come_back_later(request)


class RunStatusView(View):
    """``GET``: how the run is, as JSON.

    ``state`` is ``running``, ``done``, ``error`` or ``aborted``, ``events`` the number of its
    events, ``created`` the time (ISO 8601), ``events_url`` and ``stop_url`` paths.
    """

    http_method_names = ("get", "head", "options")

    async def get(self, request: HttpRequest, run_id: UUID) -> HttpResponseBase:
        """The status."""
        try:
            run = await _found(request, run_id)
            if run.ended is None:
                await (await Place.of(request)).run(stay)
            state, events = await database.run(store.state, run)
        except ImmediateHttpResponse as error:
            return error.response
        except LogUnavailable:
            return come_back_later(request)
        return JsonResponse(
            {
                "id": str(run.pk),
                "state": state or "running",
                "events": events,
                "created": run.created.isoformat(),
                "events_url": run_url("run-events", run.pk),
                "stop_url": run_url("run-stop", run.pk),
            },
            headers={"Cache-Control": "no-store"},
        )
