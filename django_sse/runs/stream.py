"""A client of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse import conf
from django_sse.hub.channel_stream import ChannelStream
from django_sse.runs.ends import last_events
from django_sse.runs.keeper import get_keeper
from django_sse.streams.ends import LOST, last_frames, retry_frame
from django_sse.wire.cursor import NO_TAG, Position
from django_sse.wire.encoder import encode

if TYPE_CHECKING:
    from django_sse.dialects import Dialect
    from django_sse.hub.position import ChannelPosition
    from django_sse.models import Run
    from django_sse.runs.keeper import Keeper


class RunStream(ChannelStream):
    """The whole of a run, from its first event or from the client's position.

    A cursor from another stream is ignored: the client is told so and gets the whole run. Of a run
    whose beginning was trimmed, a client that has not seen that part gets nothing more. In a
    vendor's dialect, nothing but the dialect's own events is sent.

    ``reconnects`` is whether the client reconnects by itself, so that it needs no error when the
    server stops.
    """

    internal = True

    def __init__(self, run: Run, dialect: Dialect, *, reconnects: bool = True) -> None:
        super().__init__(run.channel, since="earliest")
        self._run = run
        self._has_stream_events = dialect.has_stream_events
        self._reconnects = reconnects
        self._broken_off = False
        self._keeper: Keeper | None = None

    def settle(self) -> bool:
        """See ``ChannelStream.settle``."""
        goes_on = super().settle()
        settled = self._settled
        assert settled is not None
        (head,) = settled.heads
        if head.epoch != self._run.epoch:
            # The channel is gone, and its events with it.
            return False
        if settled.resets or self.last_event_id is None:
            settled.positions[0] = head.start
            return not head.floor
        return goes_on

    async def _start(self) -> None:
        if self._run.ended is None:
            self._keeper = get_keeper()
            self._keeper.watch(self._run)
        await super()._start()

    def _after_reset(self, position: ChannelPosition, reason: str) -> tuple[int, str]:
        return super()._after_reset(position, reason) if reason == "trimmed" else (0, NO_TAG)

    def _end(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.unwatch(self._run)
        super()._end()

    # -- this library's own events, which a vendor's client would take for a part of the answer

    def _open_frame(self) -> bytes:
        return super()._open_frame() if self._has_stream_events else b""

    def _reset_frame(self) -> bytes:
        sent = self._sent
        frame = super()._reset_frame()
        if not frame or self._goes_on():
            return frame if self._has_stream_events else b""
        # The position stays stale, so that ``_take`` sends nothing of the other log.
        self._broken_off = True
        self._positions[0].reset = "unknown"
        if self._has_stream_events:
            return frame + last_frames(last_events(self._run, 0, LOST))
        return last_frames(last_events(self._run, sent, LOST))

    def _goes_on(self) -> bool:
        """Return whether the client can still get the whole run after its position was refused."""
        if self._positions[0].topic.epoch != self._run.epoch:
            # The channel is gone. Nothing makes it again, so the run's end would never come.
            return False
        # No vendor's dialect can tell the client to discard the events that it already has.
        return self._has_stream_events or not self._opened

    def _take(self) -> bytes | None:
        return None if self._broken_off else super()._take()

    @property
    def _sent(self) -> int:
        """How many events of the run the client has."""
        if self._positions:
            return self._positions[0].cursor
        return self._settled.positions[0].seq if self._settled is not None else 0

    def _last_frame(self) -> bytes:
        if self._broken_off or (self._positions and self._positions[0].ended):
            return b""
        if not (self._has_stream_events or self._reconnects):
            events = last_events(self._run, self._sent, self._drained_as)
            return b"".join([encode(event, conf.json_encoder()) for event in events])
        if not self._sent and self.last_event_id is None:
            # Without a position an EventSource would ask for a second run.
            return retry_frame(str(Position(self._run.epoch, 0, NO_TAG)))
        return retry_frame() if self._has_stream_events else b""
