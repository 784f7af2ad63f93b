"""The account notices what is not as it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.many.clients import Report
from tests.integration.many.load import Load
from tests.integration.many.site import Account

GOOD = Account(
    load=Load([], "many", 2, acknowledged={"e-1": "a 0", "e-3": "a 1"}),
    by_command=["e-2"],
    log=[("e-1", "a 0"), ("e-2", "command 0"), ("e-3", "a 1"), ("e-4", "a 2")],
    report=Report(events=[("a", 0), ("command", 0), ("a", 1), ("a", 2)]),
    seconds=0.0,
)


def test_all_is_well() -> None:
    GOOD.check(3)


@pytest.mark.parametrize(
    "change",
    [
        {"report": Report(error="client 7")},
        {"report": Report(events=GOOD.report.events[:3])},
        {"log": [*GOOD.log[:3], ("e-5", "a 2")]},
        {"load": Load([], "many", 2, acknowledged={"e-1": "a 0", "e-4": "a 1"})},
        {"load": Load([], "many", 2, acknowledged={"e-1": "a 0"})},
        {"by_command": ["e-5"]},
    ],
    ids=[
        "a client has an error",
        "clients lack what the log has",
        "the log has a hole",
        "the log has another event under an acknowledged id",
        "too little was acknowledged",
        "what the command published is not in the log",
    ],
)
def test_what_is_wrong_is_noticed(change: dict) -> None:
    with pytest.raises(AssertionError):
        replace(GOOD, **change).check(3)
