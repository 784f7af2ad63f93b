"""The log between processes: order, deaths, and a replay of any length; on each database."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from functools import partial

import pytest

from django_sse import cursor
from django_sse.hub.channel_stream import ChannelStream
from django_sse.log.base import Record
from django_sse.log.model import ModelLog
from django_sse.models import OutboxEvent
from tests import FULL
from tests.appending import append_to
from tests.positions import seq_of
from tests.unit.log.support import (
    ON_A_DATABASE,
    TIMEOUT,
    assert_dense,
    elsewhere,
    entry,
    everything,
    fill,
    give_up_soon,
    locked,
    orphan,
    publish_and_die,
    run_python,
    skip_unless_writers_overlap,
    start_python,
    stored,
    texts,
)

pytestmark = ON_A_DATABASE

PROCESSES, EVENTS = (8, 24) if FULL else (4, 24)


# -- order

WRITER = """
from random import Random
name, count = sys.argv[1], int(sys.argv[2])
chance = Random(name)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    kind = chance.randrange(4)
    # Half of the processes name the channels in one order, half in the other.
    both = [("c", f"{name}:{number}"), ("d", f"{name}:{number}")][:: 1 if int(name) % 2 else -1]
    if kind == 0:
        publish("c", f"{name}:{number}")
    elif kind == 1:
        with transaction.atomic():
            publish("c", f"{name}:{number}")
    elif kind == 2:
        publish_many(both)
    else:
        try:
            with transaction.atomic():
                publish_many([("c", "never"), ("d", "never")])
                raise KeyError
        except KeyError:
            with transaction.atomic():
                publish_many(both)
"""


def start_together(processes: Iterable[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def test_processes_are_numbered_densely_and_no_reader_is_overtaken(
    model_log: ModelLog,
) -> None:
    (head,) = model_log.make(["c"])
    names = [str(number) for number in range(PROCESSES)]
    processes = [start_python(WRITER, name, str(EVENTS)) for name in names]
    start_together(processes)
    seen: list[Record] = []
    page: list[Record] = []
    while page or any(process.poll() is None for process in processes):
        page = model_log.read(head.key, len(seen), 7).records
        seen += page
        # A row that slips in behind what was read would make this miss its number.
        assert_dense(seen)
    outputs = [process.communicate(timeout=TIMEOUT) for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES, outputs
    # What came between the last look and the end.
    seen += model_log.read(head.key, len(seen), 500).records
    assert stored(seen) == everything(model_log, "c")
    assert len(seen) == PROCESSES * EVENTS
    for name in names:
        own = [each.data for each in seen if each.data.startswith(f"{name}:")]
        assert own == [f"{name}:{number}" for number in range(EVENTS)]
    assert_dense(everything(model_log, "d"))
    assert "never" not in texts(model_log, "d")
    assert OutboxEvent.objects.count() == 0


# -- a process that is killed between its commit and the hook that sequences


def by_the_next_append(log: ModelLog) -> None:
    (done,) = append_to(log, [entry("c", "after")])
    assert [each.data for each in done.records] == ["1", "2", "after"]


def by_the_next_cursor(log: ModelLog) -> None:
    assert seq_of(cursor("c")) == 2


def by_the_safety_poll(log: ModelLog) -> None:
    # What the hub does every SAFETY_INTERVAL (`Hub._safety_poll`).
    (done,) = log.sequence(log.orphans())
    assert [each.data for each in done.records] == ["1", "2"]


@pytest.mark.parametrize("found", [by_the_next_append, by_the_next_cursor, by_the_safety_poll])
def test_what_a_killed_process_committed_is_sequenced(
    model_log: ModelLog, found: Callable[[ModelLog], None]
) -> None:
    publish_and_die('publish("c", "1"); publish("c", "2")')
    assert texts(model_log, "c") == []
    assert model_log.orphans() == ["c"]
    found(model_log)
    assert texts(model_log, "c")[:2] == ["1", "2"]
    assert model_log.orphans() == []


def test_what_a_killed_process_did_not_commit_was_never_there(model_log: ModelLog) -> None:
    code, output = run_python(
        """
        with transaction.atomic():
            publish("c", "never")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert code == -9, output
    append_to(model_log, [entry("c", "1")])
    assert texts(model_log, "c") == ["1"]
    assert model_log.orphans() == []


# -- a process that froze in the middle of an append


@pytest.mark.parametrize(
    "call",
    [partial(cursor, "d", "c"), lambda: ChannelStream("c", "d").settle()],
    ids=["cursor", "subscribe"],
)
def test_a_channel_that_stays_locked_keeps_no_reader_waiting(
    model_log: ModelLog, call: Callable[[], object]
) -> None:
    skip_unless_writers_overlap()
    append_to(model_log, [entry("c", "1"), entry("d", "1")])
    orphan(model_log, entry("c", "2"), entry("d", "2"))

    def read() -> object:
        give_up_soon()
        return call()

    with locked("c"):
        assert elsewhere(read)
        # A position before the event: it comes live.
        assert elsewhere(partial(model_log.heads, ["c"]))["c"].head == 1
    assert texts(model_log, "d") == ["1", "2"]
    assert call()
    assert texts(model_log, "c") == ["1", "2"]


# -- a long replay

LONG = 100_000
SIZE = 200

REPLAY = """
import asyncio, resource

def kilobytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def replay(count):
    received = 0
    async for chunk in subscribe("c", since=count):
        received += chunk.count(b"\\ndata: x")
        if received == count:
            return

# What the first pages need: code, the ring, the threads' connections.
asyncio.run(replay(5_000))
before = kilobytes()
asyncio.run(replay(int(sys.argv[1])))
print(kilobytes() - before)
"""


def test_a_long_replay_needs_no_more_memory_than_a_short_one(model_log: ModelLog) -> None:
    fill("c", LONG, SIZE)
    code, output = run_python(REPLAY, str(LONG))
    assert code == 0, output
    # All of it at once: more than 40 MB.
    assert int(output.splitlines()[-1]) < 8_000
