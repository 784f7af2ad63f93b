from __future__ import annotations

from itertools import product

import pytest

from django_sse.streams.state import Move, State, after

# What every move leads to from every state; a dash is a mistake of a driver or a stream.
TABLE = """
           READ       PARK    DRAIN      LAST       CLOSE
NEW        OPEN       -       DRAINING   -          CLOSED
OPEN       OPEN       PARKED  DRAINING   -          CLOSED
PARKED     OPEN       -       DRAINING   -          CLOSED
DRAINING   DRAINING   -       DRAINING   LINGERING  CLOSED
LINGERING  LINGERING  -       LINGERING  -          CLOSED
CLOSED     CLOSED     -       CLOSED     -          CLOSED
"""
_MOVES, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [
    (state, move, None if to == "-" else to)
    for state, *row in _ROWS
    for move, to in zip(_MOVES, row, strict=True)
]


def test_the_table_has_every_state_and_every_move() -> None:
    every = {(state.name, move.name) for state, move in product(State, Move)}
    assert {(state, move) for state, move, _ in CASES} == every
    assert len(CASES) == len(every)


@pytest.mark.parametrize(("state", "move", "to"), CASES)
def test_each_move_leads_where_the_table_says(state: str, move: str, to: str | None) -> None:
    if to is None:
        with pytest.raises(RuntimeError, match=f"{state} cannot {move}"):
            after(State[state], Move[move])
    else:
        assert after(State[state], Move[move]) is State[to]


@pytest.mark.parametrize("move", ["READ", "DRAIN", "CLOSE"])
@pytest.mark.parametrize("state", list(State))
def test_whatever_comes_from_outside_may_come_at_any_time(state: State, move: str) -> None:
    assert after(state, Move[move]) in State


def test_nothing_leads_out_of_the_end() -> None:
    leaving = {to for state, _, to in CASES if state == "CLOSED"}
    assert leaving == {"CLOSED", None}
