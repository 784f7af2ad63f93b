"""A client of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse.hub.subscription import Subscription
from django_sse.runs.ends import last_events
from django_sse.runs.keeper import end_if_lost, get_keeper
from django_sse.streams.generator import STOPPING, encode_events, encode_last_events
from django_sse.wire.encoder import with_id

if TYPE_CHECKING:
    from django_sse.hub.place import Place
    from django_sse.models import Run
    from django_sse.runs.keeper import Keeper
    from django_sse.wire.event import Event

_LOST = "The server has lost its place in the answer."


class RunSubscription(Subscription):
    """The whole of a run, from its first event or the client's position.

    A position of something else is none: the client is told, and gets the whole. A run of which a
    part was trimmed has nothing more to give to who has not seen that part. With a dialect nothing
    is sent to who has begun to read that is not the dialect's. ``comes_back``: whether the client
    does so by itself, and needs no error when the server stops.
    """

    internal = True

    def __init__(self, run: Run, *, comes_back: bool = True) -> None:
        super().__init__(run.channel, since="earliest")
        self._run = run
        self._comes_back = comes_back
        self._broken_off = False
        self._keeper: Keeper | None = None

    def settle(self, last_event_id: str | None = None) -> bool:
        """See ``Subscription.settle``."""
        end_if_lost(self._run)
        goes_on = super().settle(last_event_id)
        settled = self._settled
        assert settled is not None
        (head,) = settled.heads
        if self._run.ended is not None and not head.state:
            # Its channel is gone, with all that it said.
            return False
        if settled.resets or last_event_id is None:
            settled.cursors[0] = head.floor
            return not head.floor
        return goes_on

    async def _start(self) -> None:
        self._keeper = get_keeper()
        self._keeper.watch(self._run)
        await super()._start()

    def _after_reset(self, place: Place, reason: str) -> int:
        return super()._after_reset(place, reason) if reason == "trimmed" else 0

    def _end(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.unwatch(self._run)
        super()._end()

    # -- what is the library's own and not the dialect's

    def _open(self) -> bytes:
        return b"" if self._run.dialect else super()._open()

    def _reset(self) -> bytes:
        sent = self._sent
        frame = super()._reset()
        if not self._run.dialect:
            return frame
        if not frame or not self._opened:
            # Nothing is out yet that could be wrong.
            return b""
        # No dialect can say that what was sent does not count, so this is the last word. Stale for
        # good, the place gives nothing of the other log to whoever polls.
        self._broken_off = True
        self._places[0].reset = "unknown"
        return encode_last_events(self._failed(sent, _LOST))

    def _take(self) -> bytes | None:
        return None if self._broken_off else super()._take()

    @property
    def _sent(self) -> int:
        """How many events of the run the client has."""
        if self._places:
            return self._places[0].cursor
        return self._settled.cursors[0] if self._settled is not None else 0

    def _failed(self, sent: int, message: str) -> list[Event]:
        return last_events(self._run, sent, lambda encoder: encoder.failed(message, "interrupted"))

    def _farewell(self) -> bytes:
        if self._broken_off or (self._places and self._places[0].ended):
            return b""
        if self._run.dialect and not self._comes_back:
            return encode_events(self._failed(self._sent, STOPPING))
        if not self._sent and self.last_event_id is None:
            # Without a position an EventSource would ask for a second run.
            return with_id(f"{self._run.epoch}-0", super()._farewell())
        return b"" if self._run.dialect else super()._farewell()
