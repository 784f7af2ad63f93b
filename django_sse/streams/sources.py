"""Sources: the generators and other iterables that producers iterate, and their closing."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import asyncio

Source: TypeAlias = AsyncIterable[Any] | Iterable[Any]

GENERATOR = "django_sse-generator"
"""The name of the tasks and threads in which generators run."""

END = object()
"""The result of ``throw`` for a generator that has ended."""


def throw(iterator: Any, error: Exception) -> Any:
    """Raise ``error`` at the iterator's ``yield``; return what it yields instead, or ``END``."""
    generators_throw = getattr(iterator, "throw", None)
    if generators_throw is None:
        raise error
    try:
        return generators_throw(error)
    except StopIteration:
        return END


def close(iterator: object, source: object) -> None:
    """Close ``iterator`` and the ``source`` that gave it, if that is another object: one whose
    ``__iter__`` is a generator has its ``finally`` there."""
    with ExitStack() as stack:
        for method in _methods("close", source, iterator):
            stack.callback(method)


async def aclose(iterator: object, source: object) -> None:
    """``close`` for asynchronous ones."""
    async with AsyncExitStack() as stack:
        for method in _methods("aclose", source, iterator):
            stack.push_async_callback(method)


def _methods(name: str, *owners: object) -> list[Any]:
    """Return the methods ``name`` of the different ``owners`` that have one."""
    different = {id(each): each for each in owners}.values()
    return [getattr(each, name) for each in different if hasattr(each, name)]


def cancelled_inside(cancelled: asyncio.CancelledError) -> RuntimeError:
    """Return the error of a generator that ``cancelled`` left, though nobody had cancelled it."""
    error = RuntimeError("Something that the generator waited for was cancelled.")
    error.__cause__ = cancelled
    return error
