"""What a project's own function says, however it is written."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from collections.abc import Callable


async def ask(hook: Callable[..., Any], *args: Any) -> Any:
    """The result of ``hook(*args)``, which may be sync or async; a sync one may use the database.

    Never a coroutine: one is true, whatever it would say, and a hook says who may read.
    """
    if inspect.iscoroutinefunction(hook):
        return await hook(*args)
    # As it seems: under a decorator, or as an object with __call__, an async one looks sync.
    result = await sync_to_async(lambda: hook(*args))()
    return await result if inspect.isawaitable(result) else result
