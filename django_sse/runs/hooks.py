"""What a project's own function says, however it is written."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.http.response import HttpResponseBase

from django_sse.exceptions import ImmediateHttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable


async def ask(hook: Callable[..., Any], *args: Any) -> Any:
    """The result of ``hook(*args)``, which may be sync or async; a sync one may use the database.

    Never a coroutine, which is no answer, whatever it would say.
    """
    if inspect.iscoroutinefunction(hook):
        return await hook(*args)
    # As it seems: under a decorator, or as an object with __call__, an async one looks sync.
    result = await sync_to_async(lambda: hook(*args))()
    return await result if inspect.isawaitable(result) else result


async def allows(name: str, hook: Callable[..., Any], *args: Any) -> bool:
    """Whether ``hook(*args)``, which says who may read, says yes: ``True`` and nothing else.

    Nearly every object is true, a redirect to the log-in page, too. Raises
    ``ImmediateHttpResponse`` with a response that the hook returned, and for anything else but
    ``True``, ``False`` and None ``TypeError``, which names the hook by ``name``.
    """
    said = await ask(hook, *args)
    if said is None or isinstance(said, bool):
        return said is True
    if isinstance(said, HttpResponseBase):
        raise ImmediateHttpResponse(said)
    # Its type alone: the text of a queryset would be a query, and of anything else may be private.
    raise TypeError(
        f"{name} says who may read, and returned an object of type {type(said).__name__}. Only "
        "True is yes, False and None are no, and a response is sent as it is; for a queryset "
        "return whether it exists(), for anything else bool(...)."
    )
