"""The taker of a producer's items."""

from __future__ import annotations

from typing import Any, Protocol

UNREPORTED = "The error of a generator could not be reported."


class Sink(Protocol):
    """The taker of a producer's items: a stream, or a run."""

    @property
    def owner(self) -> str | None:
        """The owner whose share of the threads a sync generator takes; None if the view did not ask
        who that is."""

    @property
    def full(self) -> bool: ...

    @property
    def wants_turn(self) -> bool: ...

    @property
    def closed(self) -> bool: ...

    def put(self, item: Any) -> None: ...

    def fail(self, error: BaseException) -> bool: ...

    def report(self, error: BaseException) -> None: ...

    def complete(self, error: BaseException | None = None) -> None: ...
