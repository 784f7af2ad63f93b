"""Killing the worker: one of the server's own, for one's own answer, and only where others are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from django.test import AsyncClient

from demo_project.assistant.models import Exchange
from demo_project.assistant.workers import kill_soon, parent_of
from demo_project.errors import BadInput

WAITS = [sys.executable, "-c", "input()"]


def waiting(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command or WAITS, stdin=subprocess.PIPE)


def test_the_parent_of_a_process_is_told_and_of_none_there_is_none() -> None:
    with waiting() as child:
        assert parent_of(child.pid) == os.getpid()
        child.communicate()
    assert parent_of(child.pid) is None


def test_a_process_that_is_dead_and_not_yet_buried_has_no_parent() -> None:
    with waiting() as child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert parent_of(child.pid) is None


async def test_a_stranger_is_not_killed(demo: Any) -> None:
    demo.DEMO_WORKERS = 2
    with waiting() as child:
        # Our child is not our sibling, which is what another worker of a server would be.
        with pytest.raises(BadInput, match="no worker of this server"):
            kill_soon(child.pid)
        assert child.poll() is None
        child.communicate()


async def test_a_single_process_is_not_killed_and_the_way_out_is_named(demo: Any) -> None:
    demo.DEMO_WORKERS = 1
    with pytest.raises(BadInput, match="make demo-workers"):
        kill_soon(os.getpid())


# A sibling of ours cannot be made from here; in a child of ours two children are siblings.
SIBLINGS = """
import asyncio, os, sys, subprocess
from django.conf import settings
settings.configure(DEMO_WORKERS=2)
from demo_project.assistant.workers import kill_soon
async def main():
    kill_soon(int(sys.argv[1]))
    await asyncio.Event().wait()
asyncio.run(main())
"""
PARENT = f"""
import subprocess, sys
victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
killer = subprocess.Popen([sys.executable, "-c", {SIBLINGS!r}, str(victim.pid)])
print(victim.wait(60))
killer.kill()
killer.wait()
"""


def test_a_worker_kills_its_sibling() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) == -signal.SIGKILL, done.stderr


async def owned(client: AsyncClient, state: str) -> Exchange:
    """An exchange of the client's session, run by this process."""
    await client.get("/assistant/")
    token = await (await client.asession()).aget("_django_sse_owner")
    owner = f"session:{token}"
    return await Exchange.objects.acreate(
        owner=owner, question="?", state=state, process=os.getpid()
    )


@pytest.mark.django_db(transaction=True)
async def test_only_ones_own_answer_and_only_one_on_its_way_names_a_worker_to_kill(
    async_client: AsyncClient,
) -> None:
    ended, running = await owned(async_client, "whole"), await owned(async_client, "open")
    for client, exchange, status, words in (
        (AsyncClient(), running, 404, "no such answer"),
        (async_client, ended, 409, "has ended"),
        (async_client, running, 409, "single process"),
    ):
        response = await client.post(f"/assistant/{exchange.pk}/kill/")
        assert response.status_code == status
        assert words in response.json()["error"]
