"""The tables of the log and of runs.

Only ``django_sse.log`` and ``django_sse.runs`` write to them, since they enforce the rules.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_sse.internal_channels import internal_channel, shown
from django_sse.wire.cursor import EPOCH_LENGTH, NO_TAG, TAG_LENGTH, Position, tag_of

__all__ = ["OWNER_LENGTH", "Channel", "Run", "State", "StoredEvent"]

NAME_LENGTH = 200
TYPE_LENGTH = 200


class Kind(models.IntegerChoices):
    """The kind of a row of the log."""

    EVENT = 0, _("event")
    TERMINAL = 1, _("terminal event")
    REDACTED = 2, _("redacted")


class State(models.TextChoices):
    """The state of a channel: open, or how it ended."""

    OPEN = "", _("open")
    DONE = "done", _("done")
    ERROR = "error", _("error")
    ABORTED = "aborted", _("aborted")


class Channel(models.Model):
    """A named sequence of events; every append locks its row.

    ``name_hash`` is unique, not ``name``: some databases consider ``order-a`` and ``Order-A``
    equal. No column that an append writes is indexed, so PostgreSQL can update in place (HOT).
    """

    name = models.CharField(_("name"), max_length=NAME_LENGTH)
    name_hash = models.CharField(max_length=64, unique=True, editable=False)
    epoch = models.CharField(
        _("epoch"),
        max_length=EPOCH_LENGTH,
        help_text=_("Random; names this incarnation of the channel in the ids clients see."),
    )
    head = models.BigIntegerField(
        _("head"), default=0, help_text=_("Sequence number of the newest event.")
    )
    head_tag = models.CharField(max_length=TAG_LENGTH, default=NO_TAG, editable=False)
    floor = models.BigIntegerField(
        _("floor"),
        default=0,
        help_text=_("Highest sequence number that is no longer stored."),
    )
    floor_tag = models.CharField(max_length=TAG_LENGTH, default=NO_TAG, editable=False)
    floor_created = models.DateTimeField(
        null=True,
        editable=False,
        help_text=_("When the event with that number was created; None if there was none."),
    )
    state = models.CharField(
        _("state"), max_length=8, choices=State.choices, default=State.OPEN, blank=True
    )
    redactions = models.IntegerField(
        _("redactions"),
        default=0,
        help_text=_("Events emptied so far; processes that see it move drop what they hold."),
    )
    created = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("channel")
        verbose_name_plural = _("channels")

    def __str__(self) -> str:
        return shown(self.name)


class StoredEvent(models.Model):
    """One event of a channel; append-only. ``(channel, seq)`` is the only index."""

    # Without a constraint in the database: PostgreSQL would check it for each row at the commit, a
    # fifth of an append's cost. It is not needed: an append has locked the channel's row.
    channel = models.ForeignKey(
        Channel,
        models.CASCADE,
        related_name="events",
        db_index=False,
        db_constraint=False,
        verbose_name=_("channel"),
    )
    seq = models.BigIntegerField(_("sequence number"))
    kind = models.PositiveSmallIntegerField(_("kind"), choices=Kind.choices, default=Kind.EVENT)
    type = models.CharField(_("event type"), max_length=TYPE_LENGTH, blank=True)
    data = models.TextField(_("data"), blank=True)
    created = models.DateTimeField(_("created"))
    nonce = models.BigIntegerField(
        editable=False,
        help_text=_("The random number of the append that made it, from which its tag is made."),
    )

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["channel", "seq"], name="django_sse_event_seq"),
        ]

    def __str__(self) -> str:
        return f"{self.seq}"

    @property
    def event_id(self) -> str:
        """The id that a stream of this channel alone sends with the event."""
        return str(Position(self.channel.epoch, self.seq, tag_of(self.nonce)))


class OutboxEvent(models.Model):
    """An event published inside a transaction, until it is sequenced.

    It has no foreign key: on MariaDB that would share-lock the channel's row until the caller's
    transaction ends, and stall every other publisher.
    """

    name = models.CharField(max_length=NAME_LENGTH)
    name_hash = models.CharField(max_length=64)
    kind = models.PositiveSmallIntegerField(choices=Kind.choices, default=Kind.EVENT)
    state = models.CharField(max_length=8, blank=True, default=State.OPEN)
    type = models.CharField(max_length=TYPE_LENGTH, blank=True)
    data = models.TextField(blank=True)
    key_hash = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        verbose_name = _("outbox event")
        verbose_name_plural = _("outbox events")
        indexes: ClassVar = [
            models.Index(fields=["name_hash", "id"], name="django_sse_outbox_channel")
        ]

    def __str__(self) -> str:
        return shown(self.name)


class EventKey(models.Model):
    """A key with which an event was published, and the event; see ``django_sse.log.keys``.

    It is not a column of the event, because an event without a key must cost nothing, and a key
    must stay when its event is removed.
    """

    key_hash = models.CharField(max_length=64, primary_key=True)
    # Without a constraint in the database, as for the events.
    channel = models.ForeignKey(
        Channel, models.CASCADE, related_name="keys", db_constraint=False, verbose_name=_("channel")
    )
    seq = models.BigIntegerField(_("sequence number"))
    tag = models.CharField(max_length=TAG_LENGTH)
    created = models.DateTimeField(_("created"), db_index=True)

    class Meta:
        verbose_name = _("key")
        verbose_name_plural = _("keys")

    def __str__(self) -> str:
        return self.key_hash


OWNER_LENGTH = 100
DIALECT_LENGTH = 200


class Run(models.Model):
    """A generator that outlives its request. Its events are in the channel ``channel``.

    That channel's state tells how the run ended; the first end wins. This row has its owner,
    its slot and its lease. All times are the database's.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.CharField(_("owner"), max_length=OWNER_LENGTH, editable=False)
    slot = models.PositiveSmallIntegerField(
        null=True,
        editable=False,
        help_text=_("Its number among the runs of its owner; none when its generator has stopped."),
    )
    epoch = models.CharField(
        max_length=EPOCH_LENGTH,
        editable=False,
        help_text=_("Its channel's: by the id of an event the run is found."),
    )
    dialect = models.CharField(_("dialect"), max_length=DIALECT_LENGTH, default="plain")
    while_connected = models.BooleanField(
        default=False, help_text=_("Whether it is cancelled when nobody watches it.")
    )
    created = models.DateTimeField(_("created"))
    lease = models.UUIDField(
        editable=False, help_text=_("When this lease is over, the run ends as interrupted.")
    )
    watched = models.PositiveBigIntegerField(
        default=0,
        editable=False,
        help_text=_("Changes while a process has a client of it, if it ends without clients."),
    )
    ended = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "slot"], name="django_sse_run_slot"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["epoch"], name="django_sse_run_epoch"),
            models.Index(fields=["slot", "lease"], name="django_sse_run_lease"),
            models.Index(fields=["ended"], name="django_sse_run_ended"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def channel(self) -> str:
        """The name of the channel with its events."""
        return internal_channel("run", self.id)


class Lease(models.Model):
    """A lease of one event loop, which keeps changing ``value`` while it has runs or their clients.

    It contains no time. Each other process measures with its own clock how long it has not changed.
    So no run ends because the database's clock is set.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    value = models.BigIntegerField(
        null=True, editable=False, help_text=_("None if it is over for good.")
    )
    seconds = models.FloatField(
        editable=False, help_text=_("The process is not taken for dead any earlier.")
    )

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")

    def __str__(self) -> str:
        return str(self.id)
