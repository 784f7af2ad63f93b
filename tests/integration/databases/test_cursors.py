"""A page takes its cursor inside a transaction, where writers overlap: not on SQLite."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from django_sse import cursor, publish
from tests.positions import id_of, untagged
from tests.unit.log.support import ON_A_DATABASE, elsewhere, hooks_lost, rolled_back
from tests.unit.test_publishing import stored

pytestmark = ON_A_DATABASE


def test_a_cursor_of_a_page_that_is_rendered_in_a_transaction_locks_nobody_out() -> None:
    publish("c", "1")
    with hooks_lost():
        publish("c", "2")
    with transaction.atomic():
        publish("c", "mine")
        before = cursor("c")
        elsewhere(lambda: publish("c", "3"))
    assert before == id_of("c", 1)
    assert stored() == ["1", "2", "3", "mine"]


def test_a_cursor_of_a_new_channel_makes_no_publisher_to_it_wait() -> None:
    with rolled_back():
        before = cursor("new")
        after = elsewhere(partial(publish, "new", "1"))
        assert untagged(after or "") == f"{before.partition('-')[0]}-1"
        assert cursor("new") == after
    assert stored("new") == ["1"]
