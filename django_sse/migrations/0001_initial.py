"""The tables of the log."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import django.db.models.deletion
from django.db import migrations, models

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def leave_room_for_updates(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Every append updates its channel's row. With half of each page free PostgreSQL puts the new
    version beside the old one and touches no index (HOT), also while an old snapshot keeps the dead
    versions from being removed."""
    if schema_editor.connection.vendor == "postgresql":
        table = schema_editor.quote_name(apps.get_model("django_sse", "Channel")._meta.db_table)
        schema_editor.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Channel",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200, verbose_name="name")),
                ("name_hash", models.CharField(editable=False, max_length=64, unique=True)),
                (
                    "epoch",
                    models.CharField(
                        help_text="Random; names this incarnation of the channel in the ids clients see.",
                        max_length=11,
                        verbose_name="epoch",
                    ),
                ),
                (
                    "head",
                    models.BigIntegerField(
                        default=0,
                        help_text="Sequence number of the newest event.",
                        verbose_name="head",
                    ),
                ),
                ("head_tag", models.CharField(default="0", editable=False, max_length=6)),
                (
                    "floor",
                    models.BigIntegerField(
                        default=0,
                        help_text="Highest sequence number that is no longer stored.",
                        verbose_name="floor",
                    ),
                ),
                ("floor_tag", models.CharField(default="0", editable=False, max_length=6)),
                (
                    "floor_created",
                    models.DateTimeField(
                        editable=False,
                        help_text="When the event with that number was created; None if there was none.",
                        null=True,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "open"),
                            ("done", "done"),
                            ("error", "error"),
                            ("aborted", "aborted"),
                        ],
                        default="",
                        max_length=8,
                        verbose_name="state",
                    ),
                ),
                (
                    "redactions",
                    models.IntegerField(
                        default=0,
                        help_text="Events emptied so far; processes that see it move drop what they hold.",
                        verbose_name="redactions",
                    ),
                ),
                ("created", models.DateTimeField(verbose_name="created")),
            ],
            options={
                "verbose_name": "channel",
                "verbose_name_plural": "channels",
            },
        ),
        migrations.CreateModel(
            name="OutboxEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                ("name_hash", models.CharField(max_length=64)),
                (
                    "kind",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "event"), (1, "terminal event"), (2, "redacted")], default=0
                    ),
                ),
                ("state", models.CharField(blank=True, default="", max_length=8)),
                ("type", models.CharField(blank=True, max_length=200)),
                ("data", models.TextField(blank=True)),
                ("key_hash", models.CharField(blank=True, default="", max_length=64)),
            ],
            options={
                "verbose_name": "outbox event",
                "verbose_name_plural": "outbox events",
                "indexes": [
                    models.Index(fields=["name_hash", "id"], name="django_sse_outbox_channel")
                ],
            },
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("owner", models.CharField(editable=False, max_length=100, verbose_name="owner")),
                (
                    "slot",
                    models.PositiveSmallIntegerField(
                        editable=False,
                        help_text="Its number among the runs of its owner; none when its generator has stopped.",
                        null=True,
                    ),
                ),
                (
                    "epoch",
                    models.CharField(
                        editable=False,
                        help_text="Its channel's: by the id of an event the run is found.",
                        max_length=11,
                    ),
                ),
                (
                    "dialect",
                    models.CharField(default="plain", max_length=200, verbose_name="dialect"),
                ),
                (
                    "while_connected",
                    models.BooleanField(
                        default=False, help_text="Whether it is cancelled when nobody watches it."
                    ),
                ),
                ("created", models.DateTimeField(verbose_name="created")),
                (
                    "lease",
                    models.UUIDField(
                        editable=False,
                        help_text="When this lease is over, the run ends as interrupted.",
                    ),
                ),
                (
                    "watched",
                    models.PositiveBigIntegerField(
                        default=0,
                        editable=False,
                        help_text="Changes while a process has a client of it, if it ends without clients.",
                    ),
                ),
                ("ended", models.DateTimeField(null=True, verbose_name="ended")),
            ],
            options={
                "verbose_name": "run",
                "verbose_name_plural": "runs",
                "indexes": [
                    models.Index(fields=["epoch"], name="django_sse_run_epoch"),
                    models.Index(fields=["slot", "lease"], name="django_sse_run_lease"),
                    models.Index(fields=["ended"], name="django_sse_run_ended"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("owner", "slot"), name="django_sse_run_slot")
                ],
            },
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "value",
                    models.BigIntegerField(
                        editable=False,
                        help_text="None if it is over for good.",
                        null=True,
                    ),
                ),
                (
                    "seconds",
                    models.FloatField(
                        editable=False,
                        help_text="The process is not taken for dead any earlier.",
                    ),
                ),
            ],
            options={
                "verbose_name": "lease",
                "verbose_name_plural": "leases",
            },
        ),
        migrations.CreateModel(
            name="StoredEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("seq", models.BigIntegerField(verbose_name="sequence number")),
                (
                    "kind",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "event"), (1, "terminal event"), (2, "redacted")],
                        default=0,
                        verbose_name="kind",
                    ),
                ),
                ("type", models.CharField(blank=True, max_length=200, verbose_name="event type")),
                ("data", models.TextField(blank=True, verbose_name="data")),
                ("created", models.DateTimeField(verbose_name="created")),
                (
                    "nonce",
                    models.BigIntegerField(
                        editable=False,
                        help_text="The random number of the append that made it, from which its tag is made.",
                    ),
                ),
                (
                    "channel",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="django_sse.channel",
                        verbose_name="channel",
                    ),
                ),
            ],
            options={
                "verbose_name": "event",
                "verbose_name_plural": "events",
                "constraints": [
                    models.UniqueConstraint(fields=("channel", "seq"), name="django_sse_event_seq")
                ],
            },
        ),
        migrations.CreateModel(
            name="EventKey",
            fields=[
                (
                    "key_hash",
                    models.CharField(max_length=64, primary_key=True, serialize=False),
                ),
                ("seq", models.BigIntegerField(verbose_name="sequence number")),
                ("tag", models.CharField(max_length=6)),
                ("created", models.DateTimeField(db_index=True, verbose_name="created")),
                (
                    "channel",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="keys",
                        to="django_sse.channel",
                        verbose_name="channel",
                    ),
                ),
            ],
            options={
                "verbose_name": "key",
                "verbose_name_plural": "keys",
            },
        ),
        migrations.RunPython(leave_room_for_updates, migrations.RunPython.noop),
    ]
