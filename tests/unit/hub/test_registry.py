from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator, Sequence

import pytest

from django_sse.hub import registry
from django_sse.hub.hub import Hub
from django_sse.hub.registry import get_hub
from django_sse.log.base import Appended, Kind, Record
from django_sse.notifiers import Wakeup
from django_sse.wire.cursor import make_epoch, tag_of
from tests.positions import seq_of
from tests.unit.hub.support import HandNotifier, WatchedLog
from tests.unit.log.support import run_python


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Ear(Hub):
    """A hub that remembers what it was told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.heard: list[Appended] = []

    def deliver(self, appended: object) -> None:
        self.heard.extend(appended)  # type: ignore[arg-type]

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Ear:
        """The one hub of ``loop``, which does not run, from now on."""
        ear = registry._hubs._objects[loop] = cls(loop)
        return ear


def appended(channel: str, *seqs: int) -> Appended:
    records = [Record(seq, "", "x", Kind.EVENT, seq) for seq in seqs]
    return Appended(channel, make_epoch(), tag_of(seqs[0] - 1), records)


async def test_a_loop_has_no_hub_until_it_is_asked_for() -> None:
    def here() -> list[Hub]:
        return [hub for hub in registry._hubs.all() if hub._loop is asyncio.get_running_loop()]

    assert here() == []
    hub = get_hub()
    assert type(hub) is Hub
    assert here() == [hub]
    assert get_hub() is hub


def test_the_hub_of_a_closed_loop_is_not_told_of_anything(
    loop: asyncio.AbstractEventLoop, notifier: HandNotifier
) -> None:
    ear = Ear.of(loop)
    assert ear in registry._hubs.all()
    loop.close()
    assert ear not in registry._hubs.all()
    registry.announce([appended("a", 1)])
    assert ear.heard == []


def test_hubs_of_closed_loops_are_not_kept_in_memory() -> None:
    async def use() -> weakref.ref[asyncio.AbstractEventLoop]:
        get_hub()
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(use()) for _ in range(20)]
    gc.collect()
    # The newest goes when the next one comes.
    assert sum(loop() is not None for loop in loops) <= 1


def test_every_hub_and_the_notifier_hear_what_was_committed(notifier: HandNotifier) -> None:
    loops = [asyncio.new_event_loop() for _ in range(2)]
    ears = [Ear.of(loop) for loop in loops]
    first, second = appended("a", 4, 5, 6), appended("b", 1)
    registry.announce([first, second])
    assert [ear.heard for ear in ears] == [[first, second]] * 2
    assert notifier.notified == [Wakeup(each.channel, *each.position) for each in (first, second)]
    for loop in loops:
        loop.close()


class MuteNotifier(HandNotifier):
    """Its transport is away, and it says so."""

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        raise OSError("no way to tell")


@pytest.mark.django_db
def test_a_notifier_that_fails_does_not_undo_what_is_committed(
    log: WatchedLog,
    loop: asyncio.AbstractEventLoop,
    configure: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(NOTIFIER=f"{__name__}.MuteNotifier")
    ear = Ear.of(loop)
    committed = appended("a", 1)
    registry.announce([committed])
    assert ear.heard == [committed]
    assert "no way to tell" in caplog.text
    caplog.clear()
    log.open(["a"])
    registry.look_again(["a"])
    assert "no way to tell" in caplog.text


def test_nothing_committed_is_nothing_said(
    loop: asyncio.AbstractEventLoop, notifier: HandNotifier
) -> None:
    ear = Ear.of(loop)
    registry.announce([])
    assert (ear.heard, notifier.notified) == ([], [])


@pytest.mark.django_db(transaction=True)
def test_a_forked_child_subscribes_and_publishes_while_its_parents_streams_are_open() -> None:
    code, output = run_python(
        """
        import warnings
        # Of Python 3.12 and newer, about the very thing that is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        import asyncio, threading
        from django_sse.hub import registry

        async def one_event(number):
            stream = aiter(subscribe("forked"))
            await anext(stream)
            await apublish("forked", number)
            chunk = await anext(stream)
            while f"data: {number}\\n".encode() not in chunk:
                chunk = await anext(stream)
            return stream

        async def parent(ready):
            stream = await one_event(1)
            ready.set()
            await asyncio.Event().wait()

        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(parent(ready)), daemon=True).start()
        assert ready.wait(60)
        assert len(registry._hubs.all()) == 1

        others_wait()
        child = os.fork()
        if child == 0:
            assert registry._hubs.all() == []
            signal.alarm(60)
            asyncio.run(one_event(2))
            print(publish("forked", "3"), flush=True)
            os._exit(7)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7, status
        assert len(registry._hubs.all()) == 1
        print("parent", publish("forked", "4"), flush=True)
        """
    )
    assert code == 0, output
    lines = output.splitlines()
    assert seq_of(lines[0]) == 3 and lines[1].startswith("parent ") and seq_of(lines[1]) == 4
