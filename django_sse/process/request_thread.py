"""The thread that asgiref gives a request, its connections, and what Django keeps for it.

An open stream must hold neither a thread nor a connection. Django gives a request both: asgiref
makes a thread for the request's sync code, and that thread's connections stay open until the
response has ended.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from asgiref.sync import AsyncToSync, SyncToAsync, sync_to_async
from django.db import connections
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

if TYPE_CHECKING:
    from datetime import tzinfo


def close_connections() -> None:
    """Close this thread's database connections, except those inside a transaction.

    ``close_old_connections`` would keep them while ``CONN_MAX_AGE`` is not over.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class Surroundings(NamedTuple):
    """Django's settings of a request's thread, to be used in another thread or loop.

    Django keeps it in asgiref's ``Local``, which copying the context variables does not copy.
    """

    language: str | None
    time_zone: tzinfo
    script_prefix: str
    urlconf: Any

    @classmethod
    def here(cls) -> Surroundings:
        """Return the settings of the running thread or task."""
        return cls(
            translation.get_language(),
            timezone.get_current_timezone(),
            get_script_prefix(),
            get_urlconf(),
        )

    def enter(self) -> None:
        """Apply them to the running thread or task."""
        if self.language is None:
            translation.deactivate_all()
        else:
            translation.activate(self.language)
        timezone.activate(self.time_zone)
        set_script_prefix(self.script_prefix)
        set_urlconf(self.urlconf)


def _request_thread() -> tuple[Any, Any] | None:
    """Return asgiref's context of the running request, and the mapping in which it has an executor.

    None if the request has no thread, or asgiref no longer has these names.
    """
    contexts = getattr(SyncToAsync, "thread_sensitive_context", None)
    executors = getattr(SyncToAsync, "context_to_thread_executor", None)
    context = contexts.get(None) if contexts is not None else None
    if context is None or executors is None or context not in executors:
        return None
    return context, executors


async def close_request_connections() -> None:
    """Close the connections of the request's asgiref thread.

    Django ends the thread with the request, and leaves those that CONN_MAX_AGE keeps open to the
    garbage collector.
    """
    if _request_thread() is not None:
        await sync_to_async(close_connections)()


async def release_request_thread() -> None:
    """Close the connections of the request's asgiref thread and end the thread.

    A later ``sync_to_async`` of the same request makes a new one. There is no public way to end it
    before the request does: ``context_to_thread_executor`` is asgiref's own. Where asgiref no
    longer has it, the thread lives as long as the stream.
    """
    found = _request_thread()
    if found is None:
        return
    context, executors = found
    await sync_to_async(close_connections)()
    executor = executors.pop(context, None)
    if executor is not None:
        executor.shutdown(wait=False)


def under_async_to_sync() -> bool:
    """Whether a sync caller waits for this coroutine and lends it its thread.

    Then that thread may be inside a transaction. asgiref keeps this in
    ``AsyncToSync.executors.current`` and ``loop_thread_executors`` and has no public question for
    it; where it has neither, the answer is yes: the caller's thread is always right, only slower.
    """
    executors = getattr(AsyncToSync, "executors", None)
    loops = getattr(AsyncToSync, "loop_thread_executors", None)
    if executors is None or loops is None:
        return True
    return bool(getattr(executors, "current", None)) or asyncio.get_running_loop() in loops


def leave_callers_thread() -> None:
    """Stop running the sync code of this task in the thread that waits for the task.

    asgiref keeps the thread that ``async_to_sync`` lends in a context variable, and the variable is
    copied to another loop. That loop would use the thread while it waits and fail afterwards, and
    the thread would run its next coroutine on that loop.
    """
    if hasattr(AsyncToSync, "executors"):
        # Even if it reads as unset here: the first call into a thread would bring it back.
        AsyncToSync.executors.current = None
