"""The entries of a run that are not appended yet."""

from __future__ import annotations

from django_sse.log.base import Entry
from django_sse.log.entries import data_entry
from django_sse.runs.ahead import Ahead


def entries(*texts: str) -> list[Entry]:
    return [data_entry("run:1", text) for text in texts]


def test_entries_are_taken_in_order_and_once() -> None:
    ahead = Ahead()
    ahead.add(entries("a", "b"))
    ahead.add(entries("c"))
    assert [entry.data for entry in ahead.take()] == ["a", "b", "c"]
    assert ahead.take() == []


def test_it_is_full_at_a_number_and_an_append_takes_no_more_than_that() -> None:
    ahead = Ahead()
    ahead.add(entries(*"x" * 99))
    assert not ahead.full
    ahead.add(entries("y", "z"))
    assert ahead.full
    assert len(ahead.take()) == 100
    assert [entry.data for entry in ahead.take()] == ["z"]
    assert not ahead.full


def test_it_is_full_at_a_number_of_bytes_until_it_is_empty() -> None:
    ahead = Ahead()
    text = "x" * (1 << 18)
    for number in range(4):
        assert not ahead.full, number
        ahead.add(entries(text))
    assert ahead.full
    assert len(ahead.take()) == 4
    assert not ahead.full
