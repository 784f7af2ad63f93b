"""Real status codes for what goes wrong before a stream begins."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading


class FirstItem:
    """The first item of a source, its end, or its error: whichever comes first.

    Until the headers go out, an error is raised to the caller that opens the stream.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decided: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._headers_sent = False
        self.decided = False
        """Whether ``came`` was called. A plain attribute, because every item asks."""

    def came(self) -> None:
        """Note that there is an item, or the end."""
        with self._lock:
            if not self._decided.done():
                self._decided.set_result(None)
        self.decided = True

    def failed(self, error: BaseException) -> bool:
        """Note the source's error. Returns whether it is too late to raise it to the opener."""
        with self._lock:
            if self._headers_sent or self._decided.done():
                return True
            self._decided.set_exception(error)
            return False

    def send_headers(self) -> None:
        """Send errors to the client from now on. Raises the error that came before."""
        with self._lock:
            self._headers_sent = True
            decided = self._decided.done()
        if decided:
            self._decided.result()

    async def wait(self, timeout: float) -> None:
        """Wait for the first item, the end or an error, ``timeout`` seconds at most."""
        first = asyncio.wrap_future(self._decided)
        if (await asyncio.wait({first}, timeout=timeout))[0]:
            # Mark it as retrieved: send_headers() raises it.
            first.exception()

    def wait_in_thread(self, timeout: float) -> None:
        """``wait`` for a thread."""
        concurrent.futures.wait({self._decided}, timeout)
