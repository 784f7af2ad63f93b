from __future__ import annotations

import resource
import signal

import pytest

from django_sse.trust.limits import share, streams_per_owner, streams_per_process
from tests.options import Overrides
from tests.unit.trust.support import gunicorn_handler


@pytest.mark.parametrize(
    ("descriptors", "of_process", "of_owner"),
    [
        (32, 1, 1),
        (150, 86, 22),
        (1024, 768, 100),
        (65_536, 20_000, 100),
        (resource.RLIM_INFINITY, 20_000, 100),
    ],
)
def test_the_defaults_leave_descriptors_for_all_else(
    descriptors: int, of_process: int, of_owner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert (streams_per_process(), streams_per_owner()) == (of_process, of_owner)


@pytest.mark.parametrize(
    ("threads", "of_process", "of_owner"), [(1, 1, 1), (2, 1, 1), (8, 6, 2), (100, 75, 19)]
)
def test_the_defaults_leave_threads_of_gunicorn_for_all_else(
    threads: int, of_process: int, of_owner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = gunicorn_handler(threads)
    monkeypatch.setattr(signal, "getsignal", lambda _: handler)
    assert (streams_per_process(), streams_per_owner()) == (of_process, of_owner)


def test_without_such_a_limit_there_is_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resource", None)
    assert streams_per_process() == 20_000


def test_what_the_project_says_holds(configure: Overrides) -> None:
    configure(STREAMS_PER_PROCESS=40)
    assert (streams_per_process(), streams_per_owner()) == (40, 10)
    configure(STREAMS_PER_PROCESS=40, STREAMS_PER_OWNER=30)
    assert streams_per_owner() == 30


def test_a_share_is_a_quarter_and_never_nothing() -> None:
    assert [share(most) for most in (0, 1, 4, 5, 64)] == [0, 1, 1, 2, 16]
