"""The clients and the account notice each thing that must not happen.

All other tests of this directory end with "nothing was wrong": this file shows that it would be.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.many.clients import Clients, Report
from tests.integration.many.load import Load
from tests.integration.many.reader import Reader
from tests.integration.many.site import Account
from tests.integration.many.tape import Tape, WrongStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Upstream: a:1, b:2\r\n\r\n"


def frame(seq: int, data: str = "", epoch: str = "e") -> bytes:
    return f"id: {epoch}-{seq}-t\ndata: {data or f'p {seq}'}\n\n".encode()


def frames(*seqs: int) -> bytes:
    return b"".join(map(frame, seqs))


def opened(id: str) -> bytes:
    return f"id: {id}\nevent: stream-open\nretry: 300\ndata: {{}}\n\n".encode()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(frame(2), id="begins later"),
        pytest.param(frames(1, 1), id="doubled"),
        pytest.param(frames(1, 3), id="hole"),
        pytest.param(frame(1, "p 7"), id="other data"),
        pytest.param(frame(1, epoch="f"), id="other epoch"),
        pytest.param(frames(1, 2, 3, 3), id="doubled at the end"),
        pytest.param(frames(1, 2, 3, 5), id="hole at the end"),
        pytest.param(frames(1, 2, 3) + frame(4, "p 3"), id="published twice"),
        pytest.param(frames(1, 2, 3) + frame(4, epoch="f"), id="new epoch at the end"),
        pytest.param(frames(1, 2, 3) + b"data: p 4\n\n", id="no id"),
    ],
)
def test_a_client_that_gets_anything_else_than_the_others_is_wrong(wrong: bytes) -> None:
    tape = Tape()
    tape.compare(0, frames(1, 2, 3))
    tape.compare(len(frames(1)), frames(2))
    with pytest.raises(WrongStream, match=r"after event [0-3]"):
        tape.compare(0, wrong)


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(opened("e-0-t") + frame(1), id="opened before"),
        pytest.param(opened("e-2-t") + frame(3), id="opened after"),
        pytest.param(opened("e-1-t") + frame(1), id="doubled"),
        pytest.param(opened("e-1-t") + frame(3), id="hole"),
        pytest.param(b"id: e-1-t\nevent: stream-reset\ndata: {}\n\n", id="reset"),
    ],
)
def test_a_client_that_comes_back_to_another_place_is_wrong(again: bytes) -> None:
    reader = Reader(Tape())
    reader.feed(HEAD + opened("e-0-t") + frame(1))
    reader.connect()
    with pytest.raises(WrongStream):
        reader.feed(HEAD + again)


def test_a_client_that_lacks_the_last_event_is_behind() -> None:
    clients = Clients(("nowhere", 0), "/", 2)
    assert clients.behind(1) == [0, 1]
    clients.readers[1].feed(HEAD + opened("e-0-t") + frame(1))
    assert clients.behind(1) == [0]


GOOD = Account(
    load=Load([], "many", 2, acknowledged={"e-1-t": "a 0", "e-3-t": "a 1"}),
    by_command=["e-2-t"],
    log=[("e-1-t", "a 0"), ("e-2-t", "command 0"), ("e-3-t", "a 1"), ("e-4-t", "a 2")],
    report=Report(events=[("a", 0), ("command", 0), ("a", 1), ("a", 2)]),
    seconds=0.0,
)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"report": Report(error="client 7")}, id="a client has an error"),
        pytest.param(
            {"report": Report(events=GOOD.report.events[:3])}, id="clients lack what the log has"
        ),
        pytest.param({"log": [*GOOD.log[:3], ("e-5-t", "a 2")]}, id="the log has a hole"),
        pytest.param(
            {"load": Load([], "many", 2, acknowledged={"e-1-t": "a 0", "e-4-t": "a 1"})},
            id="the log has another event under an acknowledged id",
        ),
        pytest.param(
            {"load": Load([], "many", 2, acknowledged={"e-1-t": "a 0"})},
            id="too little was acknowledged",
        ),
        pytest.param({"by_command": ["e-5-t"]}, id="the command's event is not in the log"),
    ],
)
def test_the_account_finds_what_is_missing(change: dict) -> None:
    GOOD.check(3)
    with pytest.raises(AssertionError):
        replace(GOOD, **change).check(3)
