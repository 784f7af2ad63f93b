from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import uvloop
from django.core import mail
from psycopg.conninfo import make_conninfo

from django_sse.notifiers import Wakeup, postgres
from django_sse.notifiers.payload import address, encode
from django_sse.notifiers.postgres import PostgresNotifier
from django_sse.wire import make_epoch
from tests.databases import POSTGRES_URL, config
from tests.proxy import Proxy
from tests.unit.hub.support import eventually
from tests.unit.log.support import another_database
from tests.unit.notifiers.support import TIMEOUT, Ear, listener_threads_ended, listening

pytestmark = pytest.mark.needs("postgres")

NOWHERE = "host=127.0.0.1 port=9"
WAKEUP = Wakeup("a", make_epoch(), 7, "abc123")


@pytest.fixture
def environment(settings: Any) -> str:
    """Of this test alone, in the database that all tests share."""
    name = uuid4().hex
    settings.DJANGO_SSE = {"ENVIRONMENT": name}
    return name


@pytest.fixture
def server() -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        yield connection


def listeners(server: psycopg.Connection[Any], environment: str) -> list[int]:
    """The backends whose last statement was this environment's LISTEN."""
    found = server.execute(
        "SELECT pid FROM pg_stat_activity WHERE query = %s", [f'LISTEN "{address(environment)}"']
    )
    return [pid for (pid,) in found]


async def test_a_notify_by_hand_is_heard(environment: str, server: psycopg.Connection[Any]) -> None:
    (message,) = encode([WAKEUP], environment)
    async with listening(PostgresNotifier(dsn=POSTGRES_URL)) as ear:
        server.execute("SELECT pg_notify(%s, %s)", [address(environment), message])
        await ear.more()
        assert ear.heard == [None, WAKEUP]


async def test_a_forged_notify_is_ignored_and_said_once(
    environment: str, server: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = encode([WAKEUP], environment)
    async with listening(PostgresNotifier(dsn=POSTGRES_URL)) as ear:
        for payload in ["", "x" * 7999, "x" * 7999, '[1,"elsewhere",null]', message]:
            server.execute("SELECT pg_notify(%s, %s)", [address(environment), payload])
        await ear.more()
        assert ear.heard == [None, WAKEUP]
    assert len(caplog.records) == 2


async def test_a_hub_has_one_connection_and_gives_it_back(
    environment: str, server: psycopg.Connection[Any]
) -> None:
    async with listening(PostgresNotifier(dsn=POSTGRES_URL)):
        assert len(listeners(server, environment)) == 1
    assert await gone(server, environment)


async def gone(server: psycopg.Connection[Any], environment: str) -> bool:
    """A backend ends a moment after its client has left."""
    async with asyncio.timeout(TIMEOUT):
        while listeners(server, environment):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    return True


async def test_a_connection_that_is_lost_is_made_again_and_counts_as_a_gap(
    environment: str, server: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    notifier = PostgresNotifier(dsn=POSTGRES_URL)
    async with listening(notifier) as ear:
        for count in (2, 3):
            (pid,) = listeners(server, environment)
            server.execute("SELECT pg_terminate_backend(%s)", [pid])
            await ear.more()
            assert ear.heard == [None] * count
        notifier.notify([WAKEUP])
        await ear.hears_of(WAKEUP, len(ear.heard))
        await listener_threads_ended()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_connection_that_went_silent_is_noticed(
    loop: str, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_PROBE_AFTER", 0.1)
    monkeypatch.setattr(postgres, "_PROBE_LIMIT", 0.2)

    async def lose_and_restore() -> None:
        async with listening(PostgresNotifier(dsn=dsn)) as ear:
            await asyncio.to_thread(proxy.stall)
            # Nobody is told. Those that hang are let go, too: a route that is gone for good.
            await asyncio.to_thread(proxy.wait_for, lambda counters: counters.accepted > 1)
            await asyncio.to_thread(proxy.restore)
            await ear.hears(lambda: len(ear.heard) > 1)

    factory: Callable[[], Any] = (
        uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    )
    with Proxy(urlsplit(POSTGRES_URL).port or 5432) as proxy:
        dsn = make_conninfo(POSTGRES_URL, host="127.0.0.1", port=proxy.port)
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(lose_and_restore())


async def test_what_arrives_with_the_answer_to_a_probe_is_heard(
    environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_PROBE_AFTER", 0.0)
    notifier = PostgresNotifier(dsn=POSTGRES_URL)
    async with listening(notifier) as ear:
        for seq in range(1, 51):
            wakeup = WAKEUP._replace(seq=seq)
            notifier.notify([wakeup])
            await ear.hears(partial(ear.heard.count, wakeup))
    await listener_threads_ended()


async def test_in_a_test_run_nobody_listens_to_a_database_that_is_to_be_dropped(
    settings: Any,
) -> None:
    settings.DJANGO_SSE = {"DATABASE": "no such database"}
    notifier = PostgresNotifier()
    async with listening(notifier) as ear:
        await ear.hears(lambda: len(ear.heard) > 2)
        notifier.notify([WAKEUP])
        assert set(ear.heard) == {None}


def test_it_connects_as_django_does(
    settings: Any, monkeypatch: pytest.MonkeyPatch, server: psycopg.Connection[Any]
) -> None:
    async def listen() -> int:
        async with listening(PostgresNotifier()):
            return len(listeners(server, name))

    name = uuid4().hex
    monkeypatch.delattr(mail, "outbox")
    with another_database("log", **config(POSTGRES_URL)) as alias:
        settings.DJANGO_SSE = {"DATABASE": alias, "ENVIRONMENT": name}
        assert asyncio.run(listen()) == 1


async def test_what_cannot_be_connected_to_is_said_once_and_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ear = Ear()
    task = asyncio.create_task(PostgresNotifier(dsn=NOWHERE).listen(ear.wake))
    done, _ = await asyncio.wait({task}, timeout=0.5)
    task.cancel()
    await asyncio.wait({task})
    assert (done, ear.heard) == (set(), [])
    assert len(caplog.records) == 1


MALFORMED = [
    "psql://shop:s3cret@127.0.0.1:9/shop",
    "host=127.0.0.1 port=9 password=x s3cret",
    "host=127.0.0.1 port=9 password='s3cret",
    "postgresql://shop:%zzs3cret@127.0.0.1:9/shop",
    "postgresql://shop:x@s3cret@127.0.0.1:9/shop",
    "postgresql://shop:s3cret/x@127.0.0.1:9/shop",
    "host=127.0.0.1 port=9 password=s3cret\udc80",
]


@pytest.mark.parametrize("dsn", MALFORMED)
async def test_a_malformed_dsn_is_said_without_the_password(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = PostgresNotifier(dsn=dsn)
    task = asyncio.create_task(notifier.listen(Ear().wake))
    notifier.notify([WAKEUP])
    await eventually(lambda: len(caplog.records) >= 2)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    messages = [*notifier.check(), *notifier.check_reachable()]
    assert [each.id for each in messages] == ["django_sse.E013", "django_sse.W002"]
    said = [*caplog.messages, *[f"{each} {each.hint}" for each in messages]]
    assert all('option "dsn" of NOTIFIER' in each for each in said)
    assert "s3cret" not in caplog.text + "".join(said)
    # Its sender tries again for as long as something waits.
    notifier._dsn = POSTGRES_URL
    await listener_threads_ended()


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "postgresql://",
        "service=log",
        "postgresql://shop:s%40%2F?#@one:5432,two:5433/shop",
        "host=@/abstract,two port=,5433",
    ],
)
def test_what_libpq_understands_is_right(dsn: str) -> None:
    assert ids(PostgresNotifier(dsn=dsn)) == []


# -- checks


def ids(notifier: PostgresNotifier) -> list[str]:
    return [str(each.id).removeprefix("django_sse.") for each in notifier.check()]


def test_without_psycopg_3_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "has_psycopg", lambda: False)
    assert ids(PostgresNotifier(dsn=POSTGRES_URL)) == ["E010"]


def test_whether_psycopg_is_there_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert postgres.has_psycopg.__wrapped__()
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "psycopg")
    assert not postgres.has_psycopg.__wrapped__()


def test_a_log_in_another_database_needs_a_dsn(settings: Any) -> None:
    with another_database("log", ENGINE="django.db.backends.sqlite3", NAME="x.sqlite3") as alias:
        settings.DJANGO_SSE = {"DATABASE": alias}
        assert ids(PostgresNotifier()) == ["E011"]
        assert ids(PostgresNotifier(dsn=POSTGRES_URL)) == []


def test_a_pooler_in_transaction_mode_needs_a_dsn(settings: Any) -> None:
    behind = {**config(POSTGRES_URL), "DISABLE_SERVER_SIDE_CURSORS": True}
    with another_database("log", **behind) as alias:
        settings.DJANGO_SSE = {"DATABASE": alias}
        assert ids(PostgresNotifier()) == ["W006"]
        assert ids(PostgresNotifier(dsn=POSTGRES_URL)) == []


def test_only_what_is_asked_to_connects_to_see_whether_it_can() -> None:
    assert PostgresNotifier(dsn=POSTGRES_URL).check_reachable() == []
    notifier = PostgresNotifier(dsn=NOWHERE)
    assert notifier.check() == []
    (message,) = notifier.check_reachable()
    assert message.id == "django_sse.W002"
