"""Hooks at fork and exit: in order, each once, in every kind of child."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from django_sse.process import lifecycle
from django_sse.process.lifecycle import Order
from tests import ROOT

PLACES = (Order.SENDERS, Order.BACKGROUND_LOOP, Order.STREAMS)


def recorded(
    add: Callable[[Order], Callable[[Callable[[], object]], object]],
) -> list[Order]:
    """Add hooks with ``add``, not in their order; the list to which each appends its place."""
    ran: list[Order] = []
    for place in PLACES:
        add(place)(partial(ran.append, place))
    return ran


@pytest.fixture(autouse=True)
def no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_before_fork", "_in_child", "_at_exit"):
        monkeypatch.setattr(lifecycle, name, {})


def test_at_exit_a_service_ends_before_those_that_it_uses() -> None:
    ran = recorded(lifecycle.at_exit)
    lifecycle._run_exit_hooks()
    assert ran == [Order.STREAMS, Order.SENDERS, Order.BACKGROUND_LOOP]


def in_child(work: Callable[[], object]) -> list[str]:
    """The lines of what ``work()`` gives in a forked child."""
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.write(writing, str(work()).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read().split()


def test_a_fork_runs_the_hooks_of_the_parent_and_of_the_child_alone() -> None:
    before, after = recorded(lifecycle.before_fork), recorded(lifecycle.in_forked_child)
    said = in_child(lambda: " ".join(place.name for place in [*before, *after]))
    assert before == [Order.STREAMS, Order.SENDERS, Order.BACKGROUND_LOOP]
    assert after == []
    assert said == [
        *("STREAMS", "SENDERS", "BACKGROUND_LOOP"),
        *("BACKGROUND_LOOP", "SENDERS", "STREAMS"),
    ]


def test_a_hook_that_fails_is_logged_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("no")

    lifecycle.at_exit(Order.GENERATOR_THREADS)(fail)
    ran = recorded(lifecycle.at_exit)
    with caplog.at_level(logging.ERROR, "django_sse"):
        lifecycle._run_exit_hooks()
    assert len(ran) == len(PLACES)
    assert [record.message for record in caplog.records] == [f"A hook of {__name__} failed."]


def test_a_place_is_given_once() -> None:
    lifecycle.at_exit(Order.STREAMS)(lambda: None)
    with pytest.raises(ValueError, match="STREAMS has a hook already"):
        lifecycle.at_exit(Order.STREAMS)(lambda: None)


# A spawned child imports it, too.
SCRIPT = """\
import multiprocessing, os
from django_sse.process import lifecycle

lifecycle.at_exit(lifecycle.Order.STREAMS)(lambda: print(os.getpid(), flush=True))

def nothing():
    pass

def start(method):
    process = multiprocessing.get_context(method).Process(target=nothing)
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    pass
"""


@pytest.mark.parametrize(
    "child",
    [
        pytest.param("pass", id="no child"),
        pytest.param("if os.fork(): os._exit(os.wait()[1])", id="os.fork"),
        *(
            pytest.param(f"start({method!r})", id=f"multiprocessing {method}")
            for method in ("fork", "spawn", "forkserver")
        ),
    ],
)
def test_the_exit_hooks_run_once_in_a_process_of_any_kind(child: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + textwrap.indent(child, "    "))
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    pids = done.stdout.split()
    assert len(pids) == len(set(pids))
    # Since Python 3.14 the fork server loads the script as well, and exits as the others do.
    server = "forkserver" in child and sys.version_info >= (3, 14)
    assert len(pids) == (2 if child.startswith("start") else 1) + server
