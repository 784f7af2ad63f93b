"""Publishers that work inside the serving processes: each posts to a view that publishes a burst.

What was answered is acknowledged and has to be in the log; what was not may be. A publisher whose
server is gone goes on when it is back, with numbers that it has not used yet.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.servers import HOST, Server

BURST = 25
TIMEOUT = 120.0
# Between two attempts to reach a server that is away, s.
_PAUSE = 0.1


class PublisherFailed(AssertionError):
    """A server answered a burst with an error."""


@dataclass
class Load:
    """`total` events to `channel`, by two publishers for each server: a sync and an async view."""

    servers: Sequence[Server]
    channel: str
    total: int
    publishers: int = 1
    # Id and data.
    acknowledged: dict[str, str] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)
    cut: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._left = self.total
        self._stopped = threading.Event()
        self._errors: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._publish, args=(server, view, f"{view}-{s}-{number}"))
            for s, server in enumerate(self.servers)
            for view in ("publish_burst", "apublish_burst")
            for number in range(self.publishers)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        """Until `count` events are acknowledged. Raises what stopped a publisher."""
        self._wait_until(lambda: len(self.acknowledged) >= count, f"{count} events")

    def wait_for_pids(self, count: int) -> None:
        """Until `count` processes have published. Raises what stopped a publisher."""
        self._wait_until(lambda: len(self.pids) >= count, f"events of {count} processes")

    def _wait_until(self, reached: Callable[[], bool], what: str) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: self._errors or reached(), TIMEOUT)
            if self._errors:
                raise self._errors[0]
            assert done, f"not {what} but {len(self.acknowledged)} of {self.pids} in {TIMEOUT} s"

    def wait(self) -> None:
        """Until all is published."""
        self.wait_for(self.total)
        for thread in self._threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), f"{thread.name} waits for an answer"

    def _publish(self, server: Server, view: str, publisher: str) -> None:
        first = 0
        while count := self._claim():
            try:
                answer = self._post(server, view, publisher, first, count)
            except Exception as error:
                with self._changed:
                    self._errors.append(error)
                    self._changed.notify_all()
                return
            self._settle(count, answer)
            first += count

    def _claim(self) -> int:
        with self._changed:
            count = 0 if self._stopped.is_set() else min(BURST, self._left)
            self._left -= count
            return count

    def _settle(self, count: int, answer: dict | None) -> None:
        with self._changed:
            if answer is None:
                self.cut += 1
                self._left += count
            else:
                self.pids.add(answer["pid"])
                self.acknowledged |= answer["published"]
            self._changed.notify_all()

    def _post(
        self, server: Server, view: str, publisher: str, first: int, count: int
    ) -> dict | None:
        """The answer; None if the server was away or went away."""
        query = urlencode({"publisher": publisher, "first": first, "count": count})
        with closing(http.client.HTTPConnection(HOST, server.port, timeout=TIMEOUT)) as connection:
            try:
                connection.request("POST", f"/{view}/{self.channel}/?{query}")
                response = connection.getresponse()
                body = response.read()
            except (ConnectionError, http.client.HTTPException):
                self._stopped.wait(_PAUSE)
                return None
        if response.status != 200:
            raise PublisherFailed(f"{publisher} got {response.status}: {body[-2000:]!r}")
        return json.loads(body)
