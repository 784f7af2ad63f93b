"""Publishers that are killed at any moment and repeat their last call, while others lock rows."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from django_sse import publish_many
from django_sse.log.model import ModelLog
from tests.integration.databases.conftest import database, migrated, model_log
from tests.integration.databases.test_locked import held
from tests.unit.log.support import (
    ON_A_DATABASE,
    TIMEOUT,
    assert_dense,
    everything,
    start_python,
    texts,
)

__all__ = ["database", "migrated", "model_log"]

pytestmark = [*ON_A_DATABASE, pytest.mark.timeout(600)]

PUBLISHERS = 4
KILLS = 20
# Seconds: the longest time from its start, or its first call, to its kill.
LIFE = 1.0
HELD = 0.8

PUBLISHER = """
from asgiref.sync import async_to_sync
from django_sse import apublish
name, number = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
while True:
    data = f"{name}:{number}"
    if number % 4 == 0:
        publish("c", data, key=data)
    elif number % 4 == 1:
        with transaction.atomic():
            publish("c", data, key=data)
    elif number % 4 == 2:
        async_to_sync(apublish)("c", data, key=data)
    else:
        publish_many([("d", data), ("c", data)], keys=[data, data])
    print(number, flush=True)
    number += 1
"""


class Publisher:
    """One publisher after the other: each is killed, and the next repeats the call that was cut."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name, self._chance = name, chance
        self.published = 0
        """Calls that returned."""

    def run(self) -> None:
        for _ in range(KILLS):
            process = start_python(PUBLISHER, self.name, str(self.published))
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()
            if self._chance.random() < 0.7:
                # The others may be killed in the call that they repeat.
                assert process.stdout.readline() == f"{self.published}\n"
                self.published += 1
            killer = threading.Timer(self._chance.uniform(0.0, LIFE), process.kill)
            killer.start()
            self._follow(process)
            killer.join()

    def _follow(self, process: subprocess.Popen[str]) -> None:
        output, errors = process.communicate(timeout=TIMEOUT)
        assert "Error" not in errors, errors
        lines = output.split("\n")
        # The last one may be cut in two.
        numbers = [int(each) for each in lines[:-1]]
        assert numbers == list(range(self.published, self.published + len(numbers)))
        self.published += len(numbers)


@contextmanager
def locked_now_and_then(chance: random.Random) -> Iterator[None]:
    """Another transaction locks one of the channels, or both, again and again."""
    over = threading.Event()

    def lock() -> None:
        while not over.is_set():
            with held(*chance.choice(["c", "d", "cd"])):
                over.wait(chance.uniform(0.0, HELD))
            over.wait(chance.uniform(0.0, HELD))

    thread = threading.Thread(target=lock)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_each_call_is_in_the_log_once_and_in_order(model_log: ModelLog) -> None:
    seed = time.time_ns()
    print("seed", seed)
    publish_many([("c", "first"), ("d", "first")])
    publishers = [Publisher(str(n), random.Random(seed + n)) for n in range(PUBLISHERS)]
    threads = [threading.Thread(target=each.run) for each in publishers]
    with locked_now_and_then(random.Random(seed)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    model_log.sequence(["c", "d"])
    for channel in "cd":
        assert_dense(everything(model_log, channel))
    for each in publishers:
        own = [text for text in texts(model_log, "c") if text.startswith(f"{each.name}:")]
        # The last call was cut: it may have been carried out.
        assert len(own) - each.published in (0, 1)
        assert own == [f"{each.name}:{number}" for number in range(len(own))]
        both = [text for text in texts(model_log, "d") if text.startswith(f"{each.name}:")]
        assert both == own[3::4]
        assert each.published > 0
    print("published", [each.published for each in publishers])
