from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from django_sse.notifiers import Wakeup
from django_sse.notifiers import sender as module
from django_sse.notifiers.payload import MAX_MESSAGES, decode
from django_sse.notifiers.sender import Sender
from django_sse.wire import make_epoch
from tests.options import Overrides
from tests.unit.log.support import run_python
from tests.unit.notifiers.support import SENDER_THREAD, TIMEOUT

EPOCH = make_epoch()
TAG = "abc123"
FIRST = Wakeup("first", EPOCH, 1, TAG)


class Transport:
    """Takes messages while it is there, and one at a time while it is held."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.at_once = self.most_at_once = self.connections = self.open = 0
        self.away = False
        self.error: BaseException = ConnectionError("away")
        self.refused = threading.Event()
        self.arrived = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
        self._refuse()
        self.connections += 1
        self.open += 1
        try:
            yield self.send
        finally:
            self.open -= 1

    def _refuse(self) -> None:
        if self.away:
            self.refused.set()
            raise self.error

    async def send(self, message: str) -> None:
        self._refuse()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.arrived.set()
        assert self.go_on.wait(TIMEOUT)
        self.at_once -= 1
        self.messages.append(message)

    @property
    def heard(self) -> list[Wakeup | None]:
        found: list[Wakeup | None] = []
        for message in self.messages:
            wakeups = decode(message, "")
            found += [None] if wakeups is None else wakeups
        return found


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def sender(transport: Transport) -> Iterator[Sender]:
    sender = Sender(transport.connect, "The test's transport is away")
    yield sender
    transport.away = False
    transport.go_on.set()
    assert sender.flush(TIMEOUT) or eventually_flushed(sender)
    threads_end()


def eventually_flushed(sender: Sender) -> bool:
    """While it was away, its next attempt is to come."""
    threads_end()
    return sender.flush(0)


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == SENDER_THREAD]


def threads_end() -> None:
    for thread in threads():
        thread.join(TIMEOUT)


def hold(sender: Sender, transport: Transport) -> None:
    """Keep a first wake-up under way until `transport.go_on`."""
    transport.go_on.clear()
    sender.put([FIRST])
    assert transport.arrived.wait(TIMEOUT)


def lose(sender: Sender, transport: Transport) -> None:
    """Let the transport refuse a wake-up in channel "a"."""
    transport.away = True
    sender.put([Wakeup("a", EPOCH, 1, TAG)])
    assert transport.refused.wait(TIMEOUT)


def fork() -> int:
    with warnings.catch_warnings():
        # Python says since 3.12 that a fork with threads may go wrong; servers do it.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def test_what_is_put_is_sent(sender: Sender, transport: Transport) -> None:
    sender.put([Wakeup("a", EPOCH, 1, TAG), Wakeup("b", EPOCH, 2, TAG)])
    assert sender.flush(TIMEOUT)
    assert transport.heard == [Wakeup("a", EPOCH, 1, TAG), Wakeup("b", EPOCH, 2, TAG)]


def test_nothing_starts_nothing(sender: Sender, transport: Transport) -> None:
    sender.put([])
    assert sender.flush(0)
    assert transport.connections == 0


def test_while_one_is_under_way_only_the_newest_of_each_channel_waits(
    sender: Sender, transport: Transport
) -> None:
    hold(sender, transport)
    # In any order: a hint of the past must not hide a newer one.
    for seq in [*range(1, 10_001), 5]:
        sender.put([Wakeup("a", EPOCH, seq, TAG)])
    sender.put([Wakeup("a", "", 3, TAG)])
    transport.go_on.set()
    assert sender.flush(TIMEOUT)
    assert transport.heard[1:] == [Wakeup("a", EPOCH, 10_000, TAG), Wakeup("a", "", 3, TAG)]
    assert transport.most_at_once == 1


def test_a_burst_in_ten_thousand_channels_is_one_word(sender: Sender, transport: Transport) -> None:
    hold(sender, transport)
    sender.put([Wakeup(f"channel-{number}", EPOCH, 1, TAG) for number in range(10_000)])
    transport.go_on.set()
    assert sender.flush(TIMEOUT)
    assert transport.heard[1:] == [None]


def test_a_burst_is_a_few_messages(sender: Sender, transport: Transport) -> None:
    for seq in range(1, 10_001):
        sender.put([Wakeup("a", EPOCH, seq, TAG)])
        sender.put([Wakeup(f"channel-{seq}", EPOCH, seq, TAG)])
    assert sender.flush(TIMEOUT)
    assert len(transport.messages) < 100
    assert Wakeup("a", EPOCH, 10_000, TAG) in transport.heard or None in transport.heard


def test_after_a_quiet_moment_it_sends_at_once_and_under_load_at_a_pace(
    sender: Sender, transport: Transport, constants: Overrides
) -> None:
    constants(COALESCE=0.5)
    started = time.monotonic()
    sender.put([Wakeup("a", EPOCH, 1, TAG)])
    assert transport.arrived.wait(TIMEOUT)
    sender.put([Wakeup("a", EPOCH, 2, TAG)])
    sender.put([Wakeup("a", EPOCH, 3, TAG)])
    assert sender.flush(TIMEOUT)
    assert time.monotonic() - started >= 0.5
    assert transport.heard[-1] == Wakeup("a", EPOCH, 3, TAG)
    assert len(transport.messages) == 2


def test_while_it_is_away_what_waits_is_bounded_and_then_it_is_sent(
    sender: Sender, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    lose(sender, transport)
    for number in range(10_000):
        sender.put([Wakeup(f"channel-{number}", EPOCH, 1, TAG)])
    assert len(sender._pending) <= 1000
    transport.away = False
    threads_end()
    assert transport.heard == [None]
    assert len(caplog.records) == 1


def test_what_fails_under_way_is_sent_again(sender: Sender, transport: Transport) -> None:
    hold(sender, transport)
    sender.put([Wakeup("a", EPOCH, 2, TAG)])
    transport.away = True
    transport.go_on.set()
    assert transport.refused.wait(TIMEOUT)
    sender.put([Wakeup("a", EPOCH, 1, TAG)])
    transport.away = False
    threads_end()
    assert transport.heard == [FIRST, Wakeup("a", EPOCH, 2, TAG)]
    assert transport.connections == 2


def test_a_cancellation_that_a_transport_lets_escape_is_an_error_like_another(
    sender: Sender, transport: Transport
) -> None:
    transport.error = asyncio.CancelledError()
    lose(sender, transport)
    transport.away = False
    threads_end()
    assert transport.heard == [Wakeup("a", EPOCH, 1, TAG)]


def test_where_no_file_can_be_opened_it_is_said_and_the_next_put_sends_all() -> None:
    code, output = run_python(
        """
        import resource, threading
        from contextlib import asynccontextmanager, suppress
        from django_sse.notifiers import Wakeup
        from django_sse.notifiers.sender import Sender

        sent = []

        @asynccontextmanager
        async def connect():
            async def send(message):
                sent.append(message)
            yield send

        def put(seq):
            sender.put([Wakeup(f"channel-{seq}", "e", seq, "abc123")])
            for thread in threading.enumerate():
                if thread.name == "django_sse-sender":
                    thread.join(1)
            return sender.flush(20)

        sender = Sender(connect, "The test's transport is away")
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        files = []
        with suppress(OSError):
            while True:
                files.append(open("/dev/null"))
        assert not put(1)
        for file in files:
            file.close()
        assert put(2)
        (message,) = sent
        assert "channel-1" in message and "channel-2" in message, message
        """
    )
    assert code == 0, output
    assert output.count("The test's transport is away: OSError") == 1


def test_a_flush_does_not_wait_for_a_transport_that_is_away(
    sender: Sender, transport: Transport
) -> None:
    lose(sender, transport)
    started = time.monotonic()
    assert not sender.flush(TIMEOUT)
    assert time.monotonic() - started < TIMEOUT / 2


def test_a_flush_has_an_end(sender: Sender, transport: Transport) -> None:
    transport.go_on.clear()
    sender.put([Wakeup("a", EPOCH, 1, TAG)])
    assert not sender.flush(0.05)


def test_when_idle_the_connection_is_closed_and_the_thread_ends(
    sender: Sender, transport: Transport
) -> None:
    for round in (1, 2):
        sender.put([Wakeup("a", EPOCH, round, TAG)])
        threads_end()
        assert (transport.connections, transport.open) == (round, 0)


def test_outside_a_test_run_the_connection_is_kept_for_a_while(
    sender: Sender, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.core import mail

    monkeypatch.delattr(mail, "outbox")
    monkeypatch.setattr(module, "_IDLE", 1.0)
    for seq in range(1, 4):
        sender.put([Wakeup("a", EPOCH, seq, TAG)])
        assert sender.flush(TIMEOUT)
        # Longer than under load it pauses, shorter than it stays.
        time.sleep(0.1)
    (thread,) = threads()
    thread.join(TIMEOUT)
    assert (transport.connections, transport.open) == (1, 0)
    assert transport.heard == [Wakeup("a", EPOCH, seq, TAG) for seq in (1, 2, 3)]


def test_many_threads_put_and_the_newest_is_sent(sender: Sender, transport: Transport) -> None:
    def put(first: int) -> None:
        for seq in range(first, 4001, 4):
            sender.put([Wakeup("a", EPOCH, seq, TAG)])

    putting = [threading.Thread(target=put, args=(first,)) for first in (1, 2, 3, 4)]
    for thread in putting:
        thread.start()
    for thread in putting:
        thread.join()
    assert sender.flush(TIMEOUT)
    assert Wakeup("a", EPOCH, 4000, TAG) in transport.heard
    assert len(transport.messages) < 4000
    assert MAX_MESSAGES < 100


def test_a_child_process_does_not_wait_for_its_parents_messages(
    sender: Sender, transport: Transport
) -> None:
    hold(sender, transport)
    pid = fork()
    if pid == 0:
        started = time.monotonic()
        module._flush_all()
        os._exit(int(time.monotonic() - started > module._FLUSH_LIMIT / 2))
    assert os.waitpid(pid, 0)[1] == 0


def test_a_fork_waits_for_what_is_under_way(sender: Sender, transport: Transport) -> None:
    # Its transport may be importing something just then: the child would have half a module.
    hold(sender, transport)
    release = threading.Timer(0.1, transport.go_on.set)
    release.start()
    pid = fork()
    if pid == 0:
        os._exit(int(not transport.messages))
    release.join()
    assert os.waitpid(pid, 0)[1] == 0


LAST_WORDS = """
import asyncio
from contextlib import asynccontextmanager
import django
django.setup()
from django_sse.notifiers import Wakeup
from django_sse.notifiers import sender as module
from django_sse.notifiers.sender import Sender
module._FLUSH_LIMIT = 60

@asynccontextmanager
async def connect():
    # Slower than a process of any of them takes to end.
    await asyncio.sleep(2)
    async def send(message):
        print("sent", flush=True)
    yield send

def work():
    global sender
    sender = Sender(connect, "The test's transport is away")
    sender.put([Wakeup("a", "{epoch}", 1, "abc123")])
"""
ENDS = {
    "the interpreter": "work()",
    "multiprocessing": """
from multiprocessing import get_context
process = get_context("fork").Process(target=work)
process.start()
process.join()
""",
    # Celery's pool kills a process that says it is at its end.
    "celery": """
from billiard.pool import Pool
from celery.concurrency.prefork import process_destructor
pool = Pool(1, maxtasksperchild=1, on_process_exit=process_destructor)
pool.apply(work)
pool.close()
pool.join()
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_ends_sends_its_last_wake_up(end: str) -> None:
    assert run_python(LAST_WORDS.format(epoch=EPOCH) + ENDS[end]) == (0, "sent\n")


GENERATOR = """
import threading, time
from django_sse.streams.thread_producer import ThreadProducer

class Nobody:
    owner = None
    full = closed = wants_turn = True
    def put(self, item): pass
    def fail(self, error): return False
    def report(self, error): pass
    def complete(self, error=None): pass

def pages():
    try:
        yield "one"
    finally:
        # The process has begun to end.
        threading.main_thread().join()
        time.sleep(0.2)
        work()

work()
ThreadProducer(Nobody(), pages())
"""


def test_events_that_generators_publish_as_they_end_are_announced() -> None:
    assert run_python(LAST_WORDS.format(epoch=EPOCH) + GENERATOR) == (0, "sent\nsent\n")


def test_names_are_looked_up_without_a_thread() -> None:
    executor: Any = module._AtOnce()
    assert executor.submit(threading.current_thread).result() is threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        executor.submit(lambda: 1 / 0).result()
