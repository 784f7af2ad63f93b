"""A lost, late, doubled or forged wake-up costs time, never an event, and resets no client."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from django_sse.notifiers import Wakeup
from django_sse.wire import make_epoch
from tests.unit.hub.support import (
    Client,
    HandNotifier,
    commit_elsewhere,
    connected,
    listening,
    numbers,
    texts,
)

Lie = Callable[[random.Random, HandNotifier, list[Wakeup]], None]


def lost(chance: random.Random, notifier: HandNotifier, sent: list[Wakeup]) -> None:
    """Two of three never arrive."""
    if chance.random() < 1 / 3:
        notifier.tell(sent[-1])


def doubled(chance: random.Random, notifier: HandNotifier, sent: list[Wakeup]) -> None:
    for _ in range(chance.randint(2, 4)):
        notifier.tell(sent[-1])


def stale(chance: random.Random, notifier: HandNotifier, sent: list[Wakeup]) -> None:
    """Each comes some events late."""
    notifier.tell(sent[max(0, len(sent) - chance.randint(1, 50))])


def reordered(chance: random.Random, notifier: HandNotifier, sent: list[Wakeup]) -> None:
    if len(sent) % 10 == 0:
        newest = sent[-10:]
        chance.shuffle(newest)
        for wakeup in newest:
            notifier.tell(wakeup)


def forged(chance: random.Random, notifier: HandNotifier, sent: list[Wakeup]) -> None:
    real = sent[-1]
    notifier.tell(
        chance.choice(
            [
                Wakeup(real.channel, real.epoch, 2**63 - 1, real.tag),
                Wakeup(real.channel, real.epoch, real.seq + chance.randint(1, 1000), "0"),
                Wakeup(real.channel, real.epoch, -1, "0"),
                Wakeup(real.channel, make_epoch(), chance.randint(0, 10**9), ""),
                Wakeup(real.channel, "", 0, ""),
                Wakeup("\x00 nobody's", real.epoch, 1, real.tag),
                Wakeup(*real[:3], "000000"),
                None,
            ]
        )
    )


def vague(chance: random.Random, notifier: HandNotifier, sent: list[Wakeup]) -> None:
    """A message in a version that is not understood."""
    notifier.tell(None)


def silence(chance: random.Random, notifier: HandNotifier, sent: list[Wakeup]) -> None:
    pass


LIES: list[Lie] = [lost, doubled, stale, reordered, forged, vague, silence]


async def publish(notifier: HandNotifier, chance: random.Random, count: int, lie: Lie) -> None:
    """Events of another process, of which is told by ``lie``."""
    sent: list[Wakeup] = []
    for number in numbers(1, count):
        (appended,) = commit_elsewhere("a", number)
        sent.append(Wakeup("a", *appended.position))
        lie(chance, notifier, sent)
        # The client, the hub and its threads get their turns at random.
        for _ in range(chance.choice([0, 0, 1, 5])):
            await asyncio.sleep(0)


async def read(client: Client, count: int) -> list[str]:
    events = await client.take(count)
    assert {event.type for event in events} == {"message"}
    return texts(events)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.options(SAFETY_INTERVAL=0.05)
async def test_every_event_comes_once_and_in_order_and_nobody_is_reset(
    lie: Lie, notifier: HandNotifier
) -> None:
    async with listening("a") as client:
        _, received = await asyncio.gather(
            publish(notifier, random.Random(1), 300, lie), read(client, 300)
        )
    assert received == numbers(1, 300)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.options(SAFETY_INTERVAL=0.05, RING_EVENTS=20, PAGE_EVENTS=7, COALESCE=0.001)
async def test_all_lies_together_and_clients_that_come_and_go(
    seed: int, notifier: HandNotifier
) -> None:
    chance = random.Random(seed)

    def lie(chance: random.Random, notifier: HandNotifier, sent: list[Wakeup]) -> None:
        chance.choice(LIES)(chance, notifier, sent)

    async def come_and_go(seed: int) -> list[str]:
        patience = random.Random(seed)
        received: list[str] = []
        position = start
        while len(received) < 400:
            async with connected("a", last_event_id=position) as client:
                await client.opened()
                received += await read(client, min(patience.randint(1, 60), 400 - len(received)))
                position = client.last_event_id
        return received

    async with listening("a") as client:
        start = client.last_event_id
    _, *received = await asyncio.gather(
        publish(notifier, chance, 400, lie), *[come_and_go(number) for number in range(10)]
    )
    assert received == [numbers(1, 400)] * 10
