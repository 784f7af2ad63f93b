from __future__ import annotations

import logging

import pytest

from django_sse.notifiers import outage as module
from django_sse.notifiers.outage import Outage

AWAY = ConnectionError("refused")


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="django_sse")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_it_is_said_once_what_is_away_and_why(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("The pigeon is away")
    for _ in range(100):
        outage.failed(AWAY)
    (line,) = warnings(caplog)
    assert line.startswith("The pigeon is away: ConnectionError: refused.")


def test_the_pauses_grow_to_a_limit() -> None:
    outage = Outage("x")
    pauses = [outage.failed(AWAY) for _ in range(100)]
    assert pauses[0] <= 0.1
    assert all(1.0 <= pause <= 2.0 for pause in pauses[10:])
    # Not all processes at once.
    assert len(set(pauses[10:])) > 10


def test_it_knows_whether_it_is_away() -> None:
    outage = Outage("x")
    assert not outage.away
    outage.failed(AWAY)
    assert outage.away
    outage.over()
    assert not outage.away


def test_what_comes_and_goes_is_said_once_and_does_not_spin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage("x")
    for _ in range(10):
        pause = outage.failed(AWAY)
        outage.over()
    assert len(warnings(caplog)) == 1
    assert pause >= 1.0


def test_the_next_outage_is_said_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STABLE_AFTER", -1.0)
    outage = Outage("x")
    for _ in range(3):
        for _ in range(10):
            outage.failed(AWAY)
        outage.over()
    assert len(warnings(caplog)) == 3
    assert outage.failed(AWAY) <= 0.1


def test_success_without_an_outage_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("x")
    outage.over()
    outage.over()
    assert caplog.records == []
