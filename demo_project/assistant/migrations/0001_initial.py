"""The table of the conversation."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Exchange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("owner", models.CharField(db_index=True, max_length=100)),
                ("question", models.TextField()),
                ("answer", models.TextField(blank=True)),
                (
                    "problem",
                    models.TextField(blank=True, help_text="Why the answer is incomplete."),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("whole", "Whole"),
                            ("incomplete", "Incomplete"),
                        ],
                        default="open",
                        max_length=10,
                    ),
                ),
                (
                    "location",
                    models.CharField(blank=True, help_text="The path of its run.", max_length=200),
                ),
                (
                    "process",
                    models.PositiveIntegerField(help_text="The process that runs the generator."),
                ),
                ("created", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
    ]
