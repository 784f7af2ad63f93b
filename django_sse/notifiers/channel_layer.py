"""Wake-ups through a layer of Django Channels: Redis, or any other that crosses processes.

One group, with one receiver for each hub. A layer promises little: it drops messages at capacity,
forgets a group when its server restarts, and a cancelled receiver loses the message that was on its
way. So nothing cancels a receiver that works, it sends itself a probe every few
seconds, and any failure counts as "something changed".
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.utils.module_loading import import_string

from django_sse import conf
from django_sse.notifiers.base import Notifier, Wakeup
from django_sse.notifiers.outage import Outage
from django_sse.notifiers.payload import Reader, address
from django_sse.notifiers.sender import Sender

try:
    from channels.exceptions import ChannelFull, InvalidChannelLayerError
    from channels.layers import InMemoryChannelLayer, channel_layers
except ImportError as error:
    raise ImportError(
        'CHANNEL_LAYERS and the notifier "channel_layer" need Django Channels: '
        'pip install "django-event-streams[redis]"'
    ) from error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    Wake = Callable[[Wakeup | None], None]

_TYPE = "django_sse.wakeup"
_CALL_LIMIT = 5.0
"""Seconds that a call of the layer may take; after that its server counts as dead."""

_CLOSE_LIMIT = 1.0
"""Seconds that closing may take: a process that stops must not wait for a dead server."""

_PROBE_EVERY = 2.0
"""Seconds between two probes that a receiver sends to itself. Redis' pubsub layer reconnects
silently; a gap of this length is always noticed."""

_CROWD_SECONDS = 1.0
_REDIS_WAIT = 3


def backend_class(alias: str) -> type:
    """The class of a configured layer. It is not made, so nothing connects.

    Raises ``InvalidChannelLayerError``, as Channels does.
    """
    try:
        path = channel_layers.configs[alias]["BACKEND"]
    except (KeyError, TypeError):
        raise InvalidChannelLayerError(
            f"{alias!r} is not in CHANNEL_LAYERS, or has no BACKEND."
        ) from None
    try:
        found: type = import_string(path)
    except ImportError as error:
        raise InvalidChannelLayerError(
            f"The BACKEND of CHANNEL_LAYERS[{alias!r}] cannot be imported: {error}"
        ) from error
    return found


def crosses_processes(alias: str) -> bool:
    """Whether a layer of this alias is configured that other processes can reach."""
    try:
        return not issubclass(backend_class(alias), InMemoryChannelLayer)
    except InvalidChannelLayerError:
        return False


class ChannelLayerNotifier(Notifier):
    """Wake-ups in a group of a channel layer.

    With an in-memory layer it does what the ``local`` notifier does: no other process is reached.
    """

    def __init__(self, *, alias: str = "default") -> None:
        """Use the layer that is called ``alias`` in ``CHANNEL_LAYERS``."""
        self._alias = alias
        self._reader = Reader("the channel layer")
        self._sender = Sender(self._sending, "Wake-ups cannot be sent through the channel layer")
        self._layers: dict[asyncio.AbstractEventLoop, tuple[Any, Any]] = {}
        self._lock = threading.Lock()

    @property
    def supports_other_processes(self) -> bool:  # type: ignore[override]
        """False with an in-memory layer."""
        return not self._in_memory()

    def _in_memory(self) -> bool:
        try:
            return issubclass(backend_class(self._alias), InMemoryChannelLayer)
        except InvalidChannelLayerError:
            # The error is raised when the layer is used.
            return False

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        if not self._in_memory():
            self._sender.put(wakeups)

    async def listen(self, wake: Wake) -> None:
        if self._in_memory():
            await asyncio.get_running_loop().create_future()
        outage = Outage("The channel layer is not heard")
        while True:
            # In a task of its own: this one must end when it is cancelled, whatever a layer does.
            stay = asyncio.create_task(self._stay(wake, outage))
            try:
                await asyncio.wait({stay})
            finally:
                await _end(stay, again=_CLOSE_LIMIT * 3)
            await asyncio.sleep(outage.failed(_why_ended(stay)))

    async def _stay(self, wake: Wake, outage: Outage) -> None:
        async with self._layer() as layer:
            await _Receiver(layer, self._reader, wake, outage).run()

    @asynccontextmanager
    async def _layer(self) -> AsyncIterator[Any]:
        """The running loop's own layer, whose connections are closed at the end.

        Not the one that Channels shares: two loops cannot receive on one layer of channels_redis.
        """
        loop, alias = asyncio.get_running_loop(), self._alias
        config = channel_layers.configs.get(alias)
        with self._lock:
            known, layer = self._layers.get(loop, (None, None))
            if layer is None or known != config:
                for each in [each for each in self._layers if each.is_closed()]:
                    del self._layers[each]
                layer = _make(alias)
                # Kept for the next time: each layer registers itself for the end of its loop.
                self._layers[loop] = config, layer
        try:
            yield layer
        finally:
            await _close(layer)

    @asynccontextmanager
    async def _sending(self) -> AsyncIterator[Callable[[str], Any]]:
        group = address(conf.current().ENVIRONMENT)
        async with self._layer() as layer:
            yield lambda payload: layer.group_send(group, {"type": _TYPE, "payload": payload})

    def check(self) -> list[checks.CheckMessage]:
        try:
            backend_class(self._alias)
        except InvalidChannelLayerError as error:
            return [
                checks.Error(
                    f"NOTIFIER is 'channel_layer': {error}",
                    hint='Configure it in CHANNEL_LAYERS, or change the option "alias".',
                    id="django_sse.E012",
                )
            ]
        return [_in_memory_warning()] if self._in_memory() else []

    def check_reachable(self) -> list[checks.CheckMessage]:
        if self._in_memory():
            return []
        try:
            asyncio.run(self._try())
        except Exception as error:
            # A layer may raise anything.
            return [
                checks.Warning(
                    "NOTIFIER is 'channel_layer', and the layer cannot be reached: "
                    f"{type(error).__name__}: {error}",
                    hint="Until it can, only the safety poll finds what other processes publish.",
                    id="django_sse.W002",
                )
            ]
        return []

    async def _try(self) -> None:
        async with self._layer() as layer, asyncio.timeout(_CALL_LIMIT):
            await layer.send(await layer.new_channel(), {"type": _TYPE})


def _in_memory_warning() -> checks.CheckMessage:
    return checks.Warning(
        "NOTIFIER is 'channel_layer', and the layer is in memory: it reaches no other process.",
        hint="With several workers, or commands that publish, use a layer such as channels_redis, "
        "or NOTIFIER = 'auto'. For a site of one process use 'local'.",
        id="django_sse.W007",
    )


def _make(alias: str) -> Any:
    backend_class(alias)
    layer = channel_layers.make_backend(alias)
    if hasattr(layer, "brpop_timeout"):
        # channels_redis' core waits 5 s in Redis, and redis-py 8 gives up after 5 s as well: an
        # idle receiver would lose its connection each time.
        layer.brpop_timeout = min(layer.brpop_timeout, _REDIS_WAIT)
    return layer


async def _close(layer: Any) -> None:
    """Close the layer's connections. Channels has no call for it, and ``flush`` does not do: in
    channels_redis' core it deletes every key of the layer."""
    pubsub = sys.modules.get("channels_redis.pubsub")
    if pubsub is not None and isinstance(layer, pubsub.RedisPubSubChannelLayer):
        close = layer.flush
    else:
        close = getattr(layer, "close_pools", None)
    if close is not None:
        # The server may be down.
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_LIMIT):
                await close()


async def _end(task: asyncio.Task[None], again: float = 0.1) -> None:
    """Cancel ``task`` until it has ended: redis-py 8 loses a cancellation that arrives while it
    connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again)
    if not task.cancelled():
        # Mark the exception as retrieved: nobody needs what a layer raises instead of ending.
        task.exception()


def _why_ended(stay: asyncio.Task[None]) -> BaseException:
    # A layer may raise anything.
    if stay.cancelled():
        return _NotReached("the layer cancelled the receiver")
    return stay.exception() or _NotReached("the receiver ended")


class _NotReached(Exception):
    """A receiver's probe to itself did not arrive."""


class _Receiver:
    """One membership in the group, until something goes wrong."""

    def __init__(self, layer: Any, reader: Reader, wake: Wake, outage: Outage) -> None:
        self._layer = layer
        self._reader = reader
        self._wake = wake
        self._outage = outage
        self._environment = conf.current().ENVIRONMENT
        self._group = address(self._environment)
        self._channel = ""
        self._heard_itself = True
        self._crowd = 0
        # Half of the layer's capacity: below it, no message was dropped.
        self._too_many = getattr(layer, "capacity", 100) // 2

    async def run(self) -> None:
        """Receive until something goes wrong, and raise that."""
        async with asyncio.timeout(_CALL_LIMIT):
            self._channel = await self._layer.new_channel()
            await self._layer.group_add(self._group, self._channel)
        self._outage.over()
        self._wake(None)
        tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._look_after())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in tasks:
                await _end(each)
            # Else the group would keep messages for it for a day.
            with suppress(Exception):
                async with asyncio.timeout(_CLOSE_LIMIT):
                    await self._layer.group_discard(self._group, self._channel)

    async def _receive(self) -> None:
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except Exception as error:
                if not _is_idle(error):
                    raise
            else:
                self._take(message)

    def _take(self, message: Any) -> None:
        self._heard_itself = True
        payload = message.get("payload") if isinstance(message, dict) else None
        if payload is None and isinstance(message, dict) and message.get("type") == _TYPE:
            # Its own probe.
            return
        self._count()
        self._reader.read(payload, self._environment, self._wake)

    def _count(self) -> None:
        if not self._crowd:
            asyncio.get_running_loop().call_later(_CROWD_SECONDS, self._end_of_crowd)
        self._crowd += 1

    def _end_of_crowd(self) -> None:
        """Wake for everything if the layer may have dropped some of so many messages."""
        if self._crowd >= self._too_many:
            self._wake(None)
        self._crowd = 0

    async def _look_after(self) -> None:
        """Join the group again and again, and send probes to itself."""
        while True:
            self._heard_itself = False
            async with asyncio.timeout(_CALL_LIMIT):
                await self._layer.group_add(self._group, self._channel)
                try:
                    await self._layer.send(self._channel, {"type": _TYPE})
                except ChannelFull:
                    self._wake(None)
            await asyncio.sleep(_PROBE_EVERY)
            if not self._heard_itself:
                await asyncio.sleep(_CALL_LIMIT)
            if not self._heard_itself:
                raise _NotReached(f"nothing arrived in {_PROBE_EVERY + _CALL_LIMIT:g} s")


def _is_idle(error: Exception) -> bool:
    """Whether the error means that nothing came: redis-py has a ``TimeoutError`` of its own."""
    return isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError"
