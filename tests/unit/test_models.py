from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction
from django.test import TestCase
from django.utils import timezone

from django_sse.apps import DjangoSSEConfig
from django_sse.internal_channels import is_internal
from django_sse.models import (
    DIALECT_LENGTH,
    NAME_LENGTH,
    OWNER_LENGTH,
    TYPE_LENGTH,
    Channel,
    EventKey,
    Kind,
    Lease,
    OutboxEvent,
    Run,
    State,
    StoredEvent,
)
from django_sse.wire.cursor import EPOCH_LENGTH, TAG_LENGTH, make_epoch


def make_channel(name: str, name_hash: str, **fields: Any) -> Channel:
    now = timezone.now()
    fields = {"epoch": make_epoch(), "created": now} | fields
    return Channel.objects.create(name=name, name_hash=name_hash, **fields)


def make_run(owner: str = "user:1", **fields: Any) -> Run:
    now = timezone.now()
    fields = {"epoch": make_epoch(), "created": now, "lease": uuid4()} | fields
    return Run.objects.create(owner=owner, **fields)


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

    def test_a_key_is_found_by_its_hash_its_channel_and_its_age(self) -> None:
        assert indexed(EventKey) == {("key_hash",), ("channel_id",), ("created",)}

    def test_runs_are_found_by_owner_epoch_and_lease(self) -> None:
        assert indexed(Run) == {
            ("id",),
            ("owner", "slot"),
            ("epoch",),
            ("slot", "lease"),
            ("ended",),
        }

    def test_a_place_is_taken_by_one_run_of_an_owner_and_by_any_number_that_left(self) -> None:
        make_run(slot=None)
        make_run(slot=None)
        make_run(slot=0)
        make_run("user:2", slot=0)
        with pytest.raises(IntegrityError), transaction.atomic():
            make_run(slot=0)

    def test_a_number_is_given_once_a_channel(self) -> None:
        first, second = make_channel("a", "1"), make_channel("b", "2")
        for channel in (first, second):
            StoredEvent.objects.create(channel=channel, seq=1, created=timezone.now(), nonce=1)
        with pytest.raises(IntegrityError), transaction.atomic():
            StoredEvent.objects.create(channel=first, seq=1, created=timezone.now(), nonce=1)

    def test_a_channel_is_unique_by_its_hash_and_not_by_its_name(self) -> None:
        make_channel("a", "1")
        make_channel("a", "2")
        with pytest.raises(IntegrityError), transaction.atomic():
            make_channel("b", "1")

    def test_events_and_keys_go_with_their_channel(self) -> None:
        channel = make_channel("a", "1")
        now = timezone.now()
        StoredEvent.objects.create(channel=channel, seq=1, created=now, nonce=1)
        EventKey.objects.create(key_hash="f" * 64, channel=channel, seq=1, tag="1", created=now)
        channel.delete()
        assert not StoredEvent.objects.exists()
        assert not EventKey.objects.exists()

    def test_the_longest_values_fit(self) -> None:
        channel = make_channel(
            "😀" * NAME_LENGTH, "f" * 64, head=2**63 - 1, head_tag="v" * TAG_LENGTH
        )
        event = StoredEvent.objects.create(
            channel=channel,
            seq=2**63 - 1,
            type="😀" * TYPE_LENGTH,
            data="ü" * 300_000,
            created=timezone.now(),
            nonce=2**63 - 1,
        )
        waiting = OutboxEvent.objects.create(
            name="😀" * NAME_LENGTH,
            name_hash="f" * 64,
            state=State.ABORTED,
            type="😀" * TYPE_LENGTH,
            data="ü" * 300_000,
            key_hash="f" * 64,
        )
        key = EventKey.objects.create(
            key_hash="f" * 64,
            channel=channel,
            seq=2**63 - 1,
            tag="v" * TAG_LENGTH,
            created=timezone.now(),
        )
        run = make_run(
            "😀" * OWNER_LENGTH,
            slot=32_767,
            epoch="e" * EPOCH_LENGTH,
            dialect="😀" * DIALECT_LENGTH,
            ended=timezone.now(),
        )
        for row in (channel, event, waiting, key, run):
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
    assert str(EventKey(key_hash="f" * 64)) == "f" * 64
    run = Run()
    assert str(run) == str(run.pk)


def test_a_run_has_a_channel_of_its_own() -> None:
    run = Run()
    assert is_internal(run.channel)
    assert str(run.pk) in run.channel
    assert len(run.channel) <= NAME_LENGTH


def test_an_internal_name_is_shown_without_its_control_character() -> None:
    channel = Run(pk=UUID(int=7)).channel
    for row in (Channel(name=channel), OutboxEvent(name=channel)):
        assert str(row) == f"\N{SYMBOL FOR UNIT SEPARATOR}run:{UUID(int=7)}"


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
    numbered = set(apps.get_app_config("django_sse").get_models()) - {Run, Lease, EventKey}
    assert numbered == {Channel, StoredEvent, OutboxEvent}
    for model in numbered:
        assert isinstance(model._meta.pk, models.BigAutoField)


def test_the_id_of_a_run_is_not_to_be_guessed() -> None:
    # It is in a URL, and a number would tell how many there are.
    assert isinstance(Run._meta.pk, models.UUIDField)
    assert (Run().pk.version, Run().pk == Run().pk) == (4, False)
