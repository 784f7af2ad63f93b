from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from django_sse.models import Channel, EventKey, OutboxEvent, Run, StoredEvent

TABLES = {model._meta.db_table for model in (Channel, StoredEvent, OutboxEvent, EventKey, Run)}


@contextmanager
def migrated_to(name: str | None) -> Iterator[None]:
    """Our tables as they are after one of our migrations; None: before the first."""
    executor = MigrationExecutor(connection)
    latest = [key for key in executor.loader.graph.leaf_nodes() if key[0] == "django_sse"]
    try:
        executor.migrate([("django_sse", name)])
        yield
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(latest)


def fillfactor() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reloptions FROM pg_class WHERE oid = %s::regclass", [Channel._meta.db_table]
        )
        (row,) = cursor.fetchall()
    return list(row[0] or [])


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    out = StringIO()
    call_command("makemigrations", "django_sse", check=True, dry_run=True, stdout=out)
    assert "No changes detected" in out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_the_tables_go_and_come_back() -> None:
    with migrated_to(None):
        assert not TABLES & set(connection.introspection.table_names())
    assert set(connection.introspection.table_names()) >= TABLES
    assert Channel.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_page_of_channels_has_room_for_updates_in_place() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("fillfactor is PostgreSQL's")
    assert fillfactor() == ["fillfactor=50"]
    with migrated_to(None):
        pass
    assert fillfactor() == ["fillfactor=50"]


@pytest.mark.django_db(transaction=True)
def test_the_sql_can_be_shown() -> None:
    out = StringIO()
    call_command("sqlmigrate", "django_sse", "0001", stdout=out)
    assert all(table in out.getvalue() for table in TABLES)
