from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.many.load import Load, PublisherFailed
from tests.integration.many.site import server
from tests.integration.many.stores import STORES, prepared
from tests.servers import Server

pytestmark = pytest.mark.needs("uvicorn", "uvloop")


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with prepared(STORES[0], tmp_path_factory.mktemp("store")) as env, server("uvicorn", env) as it:
        yield it


def test_all_is_published_across_a_kill_and_what_was_answered_is_told(running: Server) -> None:
    with Load([running], "load", 200) as load:
        load.wait_for(50)
        running.kill()
        running.start()
        load.wait()
    assert len(load.acknowledged) == 200
    assert len(load.pids) == 2
    assert len(set(load.acknowledged.values())) == 200
    assert load.cut


def test_an_answer_that_is_an_error_is_raised(running: Server) -> None:
    with Load([running], "x" * 2000, 10) as load, pytest.raises(PublisherFailed, match="got 500"):
        load.wait()
