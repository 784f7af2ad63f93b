"""A client of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse.hub.subscription import Subscription
from django_sse.runs.keeper import end_if_lost, get_keeper
from django_sse.streaming import STOPPING, encode_events

if TYPE_CHECKING:
    from django_sse.dialects import Encoder
    from django_sse.hub.place import Place
    from django_sse.models import Run
    from django_sse.runs.keeper import Keeper


class RunSubscription(Subscription):
    """The whole of a run, from its first event or the client's position.

    A position of something else is none: the client is told, and gets the whole. A run of which a
    part was trimmed has nothing more to give to who has not seen that part. With a dialect nothing
    is sent that is not the dialect's; ``comes_back`` says whether the client does so by itself, and
    needs no error when the server stops.
    """

    def __init__(
        self, run: Run, *, encoder: Encoder | None = None, comes_back: bool = True
    ) -> None:
        super().__init__(run.channel, since="earliest")
        self._run = run
        self._encoder = encoder
        self._comes_back = comes_back
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
        return super()._open() if self._encoder is None else b""

    def _reset(self) -> bytes:
        frame = super()._reset()
        return frame if self._encoder is None else b""

    def _farewell(self) -> bytes:
        if self._encoder is None:
            return super()._farewell()
        if self._comes_back:
            return b""
        return encode_events(self._encoder.failed(STOPPING, "interrupted"))
