from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction
from django.test import TestCase
from django.utils import timezone

from django_sse.apps import DjangoSSEConfig
from django_sse.models import (
    NAME_LENGTH,
    TYPE_LENGTH,
    Channel,
    Kind,
    OutboxEvent,
    State,
    StoredEvent,
)
from django_sse.wire.cursor import make_epoch


def make_channel(name: str, name_hash: str, **fields: Any) -> Channel:
    now = timezone.now()
    fields = {"epoch": make_epoch(), "epoch_created": now, "created": now} | fields
    return Channel.objects.create(name=name, name_hash=name_hash, **fields)


def indexed(model: type[models.Model]) -> set[tuple[str, ...]]:
    """The columns of each index that the database really has on the model's table."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return {
        tuple(each["columns"])
        for each in found.values()
        if each["index"] or each["unique"] or each["primary_key"]
    }


class Tables(TestCase):
    def test_a_channels_row_has_no_index_that_an_append_would_have_to_move(self) -> None:
        # Else PostgreSQL could not update it in place (HOT), thousands of times a second.
        assert indexed(Channel) == {("id",), ("name_hash",)}

    def test_an_event_is_indexed_by_channel_and_seq_and_by_nothing_else(self) -> None:
        assert indexed(StoredEvent) == {("id",), ("channel_id", "seq")}

    def test_the_outbox_is_indexed_by_channel_and_has_no_foreign_key(self) -> None:
        assert indexed(OutboxEvent) == {("id",), ("name_hash", "id")}
        assert not [field for field in OutboxEvent._meta.get_fields() if field.is_relation]

    def test_a_number_is_given_once_a_channel(self) -> None:
        first, second = make_channel("a", "1"), make_channel("b", "2")
        for channel in (first, second):
            StoredEvent.objects.create(channel=channel, seq=1, created=timezone.now())
        with pytest.raises(IntegrityError), transaction.atomic():
            StoredEvent.objects.create(channel=first, seq=1, created=timezone.now())

    def test_a_channel_is_unique_by_its_hash_and_not_by_its_name(self) -> None:
        make_channel("a", "1")
        make_channel("a", "2")
        with pytest.raises(IntegrityError), transaction.atomic():
            make_channel("b", "1")

    def test_events_go_with_their_channel(self) -> None:
        channel = make_channel("a", "1")
        StoredEvent.objects.create(channel=channel, seq=1, created=timezone.now())
        channel.delete()
        assert not StoredEvent.objects.exists()

    def test_the_longest_values_fit(self) -> None:
        channel = make_channel("😀" * NAME_LENGTH, "f" * 64, head=2**63 - 1, floor=2**63 - 2)
        event = StoredEvent.objects.create(
            channel=channel,
            seq=2**63 - 1,
            type="😀" * TYPE_LENGTH,
            data="ü" * 300_000,
            created=timezone.now(),
        )
        waiting = OutboxEvent.objects.create(
            name="😀" * NAME_LENGTH,
            name_hash="f" * 64,
            state=State.ABORTED,
            type="😀" * TYPE_LENGTH,
            data="ü" * 300_000,
        )
        for row in (channel, event, waiting):
            before = {field.attname: getattr(row, field.attname) for field in row._meta.fields}
            row.refresh_from_db()
            assert {name: getattr(row, name) for name in before} == before


def test_every_state_fits_its_column() -> None:
    for model in (Channel, OutboxEvent):
        assert max(map(len, State.values)) <= (model._meta.get_field("state").max_length or 0)


def test_rows_are_told_by_what_a_reader_knows_them_by() -> None:
    assert str(Channel(name="room-1")) == "room-1"
    assert str(StoredEvent(seq=7)) == "7"
    assert str(OutboxEvent(name="room-1")) == "room-1"


def test_an_open_channel_has_no_state_and_is_false() -> None:
    assert not State.OPEN
    assert all([State.DONE, State.ERROR, State.ABORTED])
    assert Channel().state == ""


def test_kinds_are_what_the_rows_hold() -> None:
    # Rows outlive releases.
    assert dict(Kind.choices).keys() == {0, 1, 2}
    assert (Kind.EVENT, Kind.TERMINAL, Kind.REDACTED) == (0, 1, 2)


def test_our_primary_keys_are_big_whatever_the_project_says() -> None:
    # Inherited, it would be the project's DEFAULT_AUTO_FIELD.
    assert vars(DjangoSSEConfig)["default_auto_field"] == "django.db.models.BigAutoField"
    for model in apps.get_app_config("django_sse").get_models():
        assert isinstance(model._meta.pk, models.BigAutoField)
