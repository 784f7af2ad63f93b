"""The endpoint of a view whose generator is a run."""

from __future__ import annotations

import functools
import inspect
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, reverse
from django.utils.cache import patch_cache_control

from django_sse.exceptions import LogUnavailable
from django_sse.http import ahead
from django_sse.http.answers import head, no_content
from django_sse.http.endpoint import Endpoint, request_among
from django_sse.http.foreign import foreign_start
from django_sse.http.headers import last_event_id, reconnects
from django_sse.http.request_body import drop_body, is_still_read
from django_sse.http.response import (
    EventStreamResponse,
    check_source,
    report_failure,
)
from django_sse.process import database, threads
from django_sse.process.place import Place
from django_sse.process.testcase import in_transaction
from django_sse.runs import ends
from django_sse.runs.owners import aowner_of, may_access, owner_of
from django_sse.runs.start import find_by_position, start
from django_sse.runs.stream import RunStream
from django_sse.servers import signals
from django_sse.streams.handle import Handle
from django_sse.trust.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest

    from django_sse.dialects import Dialect
    from django_sse.models import Run
    from django_sse.runs.task import RunTask
    from django_sse.streams.sources import Source

    View = Callable[..., Any]

logger = logging.getLogger("django_sse")

_NOBODY = UUID(int=0)


def run_url(name: str, run_id: UUID) -> str:
    """The path of a run's view: ``run-events``, ``run-stop`` or ``run-status``."""
    try:
        return reverse(f"django_sse:{name}", kwargs={"run_id": run_id})
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "Resumable streams need the views of runs: add "
            'path("runs/", include("django_sse.urls")) to the URLconf.'
        ) from error


class ResumableEndpoint(Endpoint):
    """A view whose generator is a run: a request with a position resumes one, any other starts one.

    A request with a position never starts a run: an EventSource repeats its request by itself.
    """

    def __init__(self, view: View, dialect: Dialect, *, while_connected: bool) -> None:
        super().__init__(view, dialect)
        dialect.check_resumable()
        self._while_connected = while_connected

    def answer(self, request: HttpRequest) -> HttpResponseBase | None:
        """See ``Endpoint.answer``. HEAD is always answered here: the view would start a run."""
        refused = super().answer(request)
        return head(request) if refused is None and request.method == "HEAD" else refused

    async def acall(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        threads.refuse_greenlets("A resumable view")
        signals.watch()
        request = request_among(args)
        if answer := self.answer(request):
            return answer
        try:
            if (position := last_event_id(request)) is not None:
                return await self._resume(request, position)
            if refused := self._prepare(request):
                return refused
            result = self.view(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            if isinstance(result, HttpResponseBase):
                return result
            owner = await aowner_of(request)
            slot = Slot(owner)
            await slot.take()
            with _giving_back(slot):
                run = await self._start(request, result, owner)
            return await self._begun(request, run, slot)
        except Exception as error:
            return self.failed(request, error)

    def call(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        threads.refuse_greenlets("A resumable view")
        request = request_among(args)
        if answer := self.answer(request):
            return answer
        try:
            if (position := last_event_id(request)) is not None:
                return async_to_sync(self._resume)(request, position)
            if refused := self._prepare(request):
                return refused
            result = self.view(*args, **kwargs)
            if isinstance(result, HttpResponseBase):
                return result
            owner = owner_of(request)
            slot = Slot(owner)
            slot.take_in_thread()
            with _giving_back(slot):
                run = async_to_sync(self._start)(request, result, owner)
            return async_to_sync(self._begun)(request, run, slot)
        except Exception as error:
            return self.failed(request, error)

    # -- a new run

    def _prepare(self, request: HttpRequest) -> HttpResponseBase | None:
        """Check, before the view runs, that its generator can outlive ``request``.

        Returns the answer to a page that must not start a run.
        """
        if refused := foreign_start(request):
            return refused
        if in_transaction():
            raise ImproperlyConfigured(
                "A resumable view cannot run inside a transaction. Its generator runs in another "
                "thread, which would wait for the request's locks and would not see its writes. "
                "With ATOMIC_REQUESTS, decorate the view with transaction.non_atomic_requests."
            )
        # A run that has no URL, or no end in its dialect, must not begin.
        run_url("run-events", _NOBODY)
        ends.check(self.dialect)
        # Read the body now: Django closes its source with the request, and a client that sends only
        # half of it must stop its own request, not the loop.
        drop_body(request)
        is_still_read(request)
        return None

    async def _start(self, request: HttpRequest, source: Any, owner: str) -> Run:
        if isinstance(source, Handle):
            raise TypeError("A resumable view yields or returns an iterable, not a subscription.")
        check_source(source)
        work = functools.partial(self._begin, request, source, owner)
        place = await Place.of(request)
        task = await place.run(work)
        if place is Place.TEST:
            await task.ended(ahead.SECONDS)
        return task.run

    async def _begin(self, request: HttpRequest, source: Source, owner: str) -> RunTask:
        return await start(
            source,
            self.dialect.encoder(),
            owner=owner,
            dialect=ends.name_of(self.dialect),
            while_connected=self._while_connected,
            on_error=functools.partial(report_failure, request),
        )

    # -- a client of it

    async def _resume(self, request: HttpRequest, position: str) -> HttpResponseBase:
        run = await database.run(find_by_position, position)
        if run is None or not await may_access(request, run, "read"):
            # The run is gone or belongs to somebody else. A new one would cost the answer again.
            return no_content()
        return await self._opened(request, run)

    async def _begun(self, request: HttpRequest, run: Run, slot: Slot) -> HttpResponseBase:
        response = run_response(request, run, slot)
        try:
            if not await response.open():
                return no_content()
        except LogUnavailable as error:
            # The run has begun, and a client that repeats its request after a 503 would start a
            # second one. So answer with the run's stream: it tells the client where the run is,
            # and to reconnect if the log is still away.
            logger.warning("%s: %s", request.path, error)
            response = run_response(request, run)
        return response

    async def _opened(self, request: HttpRequest, run: Run) -> HttpResponseBase:
        response = run_response(request, run)
        if not await response.open():
            return no_content()
        return response


@contextmanager
def _giving_back(slot: Slot) -> Iterator[None]:
    """Give the slot back if there will be no stream to do so."""
    try:
        yield
    except BaseException:
        slot.give_back()
        raise


def run_response(request: HttpRequest, run: Run, slot: Slot | None = None) -> EventStreamResponse:
    """Return the stream of ``run``, not yet open, with the run's URL in Location and
    Content-Location (RFC 9110, 10.2.2 and 8.7).

    ``slot`` is the stream's, if it was taken before the run began.
    """
    dialect = ends.dialect_of(run)
    stream = RunStream(run, dialect, reconnects=reconnects(request))
    stream.slot = slot
    response = EventStreamResponse(stream, request=request, dialect=dialect)
    # A run is its owner's, who may be known by something that is no session and no user.
    patch_cache_control(response, private=True)
    response.headers["Location"] = response.headers["Content-Location"] = run_url(
        "run-events", run.pk
    )
    return response
