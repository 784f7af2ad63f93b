"""Real status codes for what goes wrong before a stream begins."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading


class FirstItem:
    """What is decided before the headers go out: a source has its first item, or its end, or an
    error, which until then is for whoever opens the stream to raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decided: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._headers_sent = False
        self.decided = False
        """Whether ``came`` was called; a plain attribute, for what asks at every item."""

    def came(self) -> None:
        """There is an item, or the end."""
        with self._lock:
            if not self._decided.done():
                self._decided.set_result(None)
        self.decided = True

    def failed(self, error: BaseException) -> bool:
        """Whether ``error`` is too late to be raised by who opens the stream."""
        with self._lock:
            if self._headers_sent or self._decided.done():
                return True
            self._decided.set_exception(error)
            return False

    def send_headers(self) -> None:
        """From here on an error is the client's to hear. Raises the one that came before."""
        with self._lock:
            self._headers_sent = True
            decided = self._decided.done()
        if decided:
            self._decided.result()

    async def wait(self, timeout: float) -> None:
        """Until it is decided, ``timeout`` seconds at most."""
        first = asyncio.wrap_future(self._decided)
        if (await asyncio.wait({first}, timeout=timeout))[0]:
            # Seen: send_headers() raises it.
            first.exception()

    def wait_in_thread(self, timeout: float) -> None:
        """``wait`` for a thread."""
        concurrent.futures.wait({self._decided}, timeout)
