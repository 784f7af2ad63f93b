"""granian. It has no private names that help: its connections keep to the specification.

Its worker hears of signals from its event loop (``loop.add_signal_handler``), and so does
gunicorn's ASGI worker. The loop hears whatever handler Python has: by its wake-up descriptor.

Private names: Python's handler for such a signal is a function of ``asyncio`` (3.11 to 3.15) or of
``uvloop`` (0.22). Without them granian hangs, rarely, when it is told twice to stop (see
``LoopServer``), and a run is cut off at the end instead of interrupted.
"""

from __future__ import annotations

from django_sse.servers.base import Server


class LoopServer(Server):
    """Its event loop hears of signals.

    The handler that stands in for ``loop.add_signal_handler`` must not be called: asyncio's does
    nothing, and uvloop's notes the signal, which the loop then reports once from the note and once
    from its descriptor. granian's worker takes two reports; a third one, before its streams have
    ended, blocks it for ever with the GIL held.
    """

    hears_in_loop = True
