"""A database that does not answer the first question of a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import pytest
from django.db import connections

from django_sse import publish
from django_sse.exceptions import LogUnavailable
from django_sse.log.model import ModelLog
from tests.servers import HOST, ReservedPort
from tests.unit.log.support import ON_A_DATABASE, as_default, entry

pytestmark = ON_A_DATABASE

CALLS: dict[str, Callable[[ModelLog], object]] = {
    "publish": lambda log: publish("c", "1"),
    "append_free": lambda log: raise_first(log.append_free([[entry("c")]])[1]),
    "sequence": lambda log: log.sequence(["c"]),
    "open": lambda log: log.open(["c"]),
    "read": lambda log: log.read(1, 0, 10),
    "tag": lambda log: log.tag(1, 1),
    "minute": lambda log: log.minute(),
}


def raise_first(outcomes: Sequence[object]) -> None:
    (outcome,) = outcomes
    assert isinstance(outcome, Exception)
    raise outcome


@pytest.mark.parametrize("call", CALLS)
def test_it_is_an_unavailable_log(
    call: str, model_log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a new process: Django has not asked for the server's version yet.
    monkeypatch.setattr("django_sse.log.statements._written", {})
    config = connections.databases["default"]
    with closing(ReservedPort()) as port:
        nobody = {**config, "HOST": HOST, "PORT": str(port.number)}
        with as_default(nobody), pytest.raises(LogUnavailable):
            CALLS[call](model_log)
