from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

from django_sse.process import threads
from tests.requirements import require


def test_a_thread_gets_its_name_and_arguments_and_keeps_no_process_alive() -> None:
    seen: list[tuple[str, bool, int]] = []
    done = threading.Event()

    def note(number: int) -> None:
        thread = threading.current_thread()
        seen.append((thread.name, thread.daemon, number))
        done.set()

    threads.start(note, 7, name="a name")
    assert done.wait(60)
    assert seen == [("a name", True, 7)]


def test_without_gevent_nothing_is_refused() -> None:
    threads.refuse_greenlets("An async view")
    assert threads.original("threading", "Thread") is threading.Thread


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import asyncio, django, gevent
django.setup()
from django.core.exceptions import ImproperlyConfigured
from django_sse.process import threads
from django_sse.process.background import get_background_loop

async def work():
    await asyncio.sleep(0.01)
    return threads.original("_thread", "get_ident")()

idents = set()
def submit():
    idents.add(get_background_loop().submit(work()).result())
    # No loop runs in the thread of the greenlets.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise AssertionError

def tick():
    # As a server does: a hub without anything of its own to wait for gives up (LoopExit).
    while True:
        gevent.sleep(0.01)

gevent.spawn(tick)
gevent.joinall([gevent.spawn(submit) for _ in range(100)], raise_error=True)
assert len(idents) == 1
assert idents != {threads.original("_thread", "get_ident")()}
try:
    threads.refuse_greenlets("An async view")
except ImproperlyConfigured as error:
    print(error)
"""


def test_under_gevent_the_background_loop_has_a_thread_that_no_greenlet_shares() -> None:
    require("gevent")
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT],
        capture_output=True,
        text=True,
        check=True,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.startswith("An async view cannot stream in a process of gevent")


async def test_a_new_loop_is_one_for_another_thread() -> None:
    loop = threads.new_event_loop()
    try:
        assert loop is not asyncio.get_running_loop()
        assert not loop.is_running()
    finally:
        loop.close()
