"""A page takes its cursor inside a transaction, where writers overlap: not on SQLite."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from django_sse import cursor, publish
from django_sse.hub.position import settle
from django_sse.log import get_log
from django_sse.wire.cursor import is_empty
from tests.positions import id_of
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
        assert is_empty(before)
        assert cursor("new") == after
    assert stored("new") == ["1"]
    settled = settle(get_log(), ["new"], before, "now")
    assert (settled.positions[0].seq, settled.resets) == (0, {})
