"""The rooms the demo opens with."""

from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

ROOMS = {"lobby": "Lobby", "general": "General", "random": "Random"}


def make_rooms(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    room_class = apps.get_model("chat", "Room")
    for slug, title in ROOMS.items():
        room_class.objects.get_or_create(slug=slug, defaults={"title": title})


class Migration(migrations.Migration):
    dependencies = [("chat", "0001_initial")]
    operations = [migrations.RunPython(make_rooms, migrations.RunPython.noop)]
