from __future__ import annotations

import pytest

from tests.integration.many.tape import Tape, WrongStream


def frame(seq: int, data: str = "", epoch: str = "e") -> bytes:
    return f"id: {epoch}-{seq}\ndata: {data or f'p {seq}'}\n\n".encode()


def frames(*seqs: int) -> bytes:
    return b"".join(frame(seq) for seq in seqs)


@pytest.fixture
def tape() -> Tape:
    """Holds the events 1 to 3."""
    tape = Tape()
    tape.compare(0, frames(1, 2))
    tape.compare(len(frames(1, 2)), frames(3))
    return tape


def test_what_the_first_reader_gets_is_kept(tape: Tape) -> None:
    assert bytes(tape.data) == frames(1, 2, 3)
    assert (tape.seq, tape.epoch, tape.counts) == (3, b"e", {b"p": 3})


def test_another_reader_may_get_the_same_in_other_pieces_and_more(tape: Tape) -> None:
    tape.compare(0, frames(1))
    tape.compare(len(frames(1)), frames(2, 3, 4))
    assert tape.seq == 4


def test_a_position_is_an_event(tape: Tape) -> None:
    assert [tape.seq_at(len(frames(*range(1, n + 1)))) for n in range(4)] == [0, 1, 2, 3]
    assert tape.seq_at(len(frames(1, 2)) - 1) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        frame(2),
        frames(1, 1),
        frames(1, 3),
        frames(2, 1),
        frame(1, "p 7"),
        frame(1, epoch="f"),
        frames(1, 2, 3, 3),
        frames(1, 2, 3, 5),
        frames(1, 2, 3) + frame(4, "p 3"),
        frames(1, 2, 3) + frame(4, "p 4", epoch="f"),
        frames(1, 2, 3) + b"data: p 4\n\n",
    ],
    ids=[
        "begins later",
        "doubled",
        "hole",
        "swapped",
        "other data",
        "other epoch",
        "doubled at the end",
        "hole at the end",
        "the publisher's count repeated",
        "new epoch at the end",
        "no id",
    ],
)
def test_anything_else_is_wrong(tape: Tape, wrong: bytes) -> None:
    with pytest.raises(WrongStream, match=r"after event [0-3]"):
        tape.compare(0, wrong)


def test_the_message_shows_what_others_got_and_what_this_one(tape: Tape) -> None:
    with pytest.raises(WrongStream) as caught:
        tape.compare(0, frames(1) + frame(2, "p 7"))
    assert "after event 1 others got" in str(caught.value)
    assert "id: e-2\\ndata: p 2" in str(caught.value)
    assert "id: e-2\\ndata: p 7" in str(caught.value)


def test_frames_that_end_the_tape_in_another_way_are_wrong() -> None:
    tape = Tape()
    tape.compare(0, frames(1))
    with pytest.raises(WrongStream, match="others got"):
        tape.compare(0, frame(1)[:-1] + b"data: more\n\n")
