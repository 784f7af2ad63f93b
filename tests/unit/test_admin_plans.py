"""The admin's lists of large tables are read from indexes.

`tests/integration/databases` runs this on PostgreSQL and MariaDB, too.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.sites import site
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_sse.admin import BoundedPaginator
from django_sse.log.orm import channel_hash
from django_sse.models import Channel, Run, StoredEvent

CHANNELS, EVENTS, RUNS = 5_000, 20_000, 5_000


@pytest.fixture
def tables(transactional_db: None) -> None:
    """As large as makes each database prefer an index, with the statistics that it plans by.

    A fifth of the events is in one channel.
    """
    now = timezone.now()
    names = [f"order-{number}" for number in range(CHANNELS)]
    Channel.objects.bulk_create(
        [
            Channel(name=name, name_hash=channel_hash(name), epoch=name, head=4, created=now)
            for name in names
        ],
        batch_size=1000,
    )
    keys = list(Channel.objects.order_by("pk").values_list("pk", flat=True))
    StoredEvent.objects.bulk_create(
        [
            StoredEvent(
                channel_id=keys[number % CHANNELS if number % 5 else 0],
                seq=number + 1,
                type="tick",
                data="x" * 50,
                created=now,
                nonce=number,
            )
            for number in range(EVENTS)
        ],
        batch_size=1000,
    )
    Run.objects.bulk_create(
        [
            Run(owner=f"user:{number}", epoch=f"r{number}", created=now, ended=now, lease=uuid4())
            for number in range(RUNS)
        ],
        batch_size=1000,
    )
    with connection.cursor() as cursor:
        for model in (Channel, StoredEvent, Run):
            kind = "TABLE " if connection.vendor == "mysql" else ""
            cursor.execute(f"ANALYZE {kind}{model._meta.db_table}")


def plans(model: type[Model], query: dict[str, str]) -> list[str]:
    """How the database reads what a page of the list shows and counts."""
    request = RequestFactory().get("/", query)
    request.user = User(is_superuser=True, is_staff=True, is_active=True)
    with CaptureQueriesContext(connection) as queries:
        changes: Any = site.get_model_admin(model).get_changelist_instance(request)
        list(changes.result_list)
        assert isinstance(changes.paginator, BoundedPaginator)
    found = []
    for each in queries:
        with connection.cursor() as cursor:
            explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
            cursor.execute(explain + each["sql"].replace("%", "%%"))
            found += [" ".join(map(str, row)) for row in cursor.fetchall()]
    return found


def reads_all(line: str) -> bool:
    """Whether this line of a plan reads the whole table, or sorts it."""
    if connection.vendor == "postgresql":
        return "Seq Scan on django_sse" in line
    if connection.vendor == "sqlite":
        # A scan is in the order of the primary key, and ends at its limit, unless it is sorted.
        return "TEMP B-TREE" in line
    return (" ALL " in line and "django_sse" in line) or "filesort" in line


def test_a_list_and_an_exact_search_read_and_sort_no_whole_table(
    tables: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A table with fewer rows than a list counts may well be read as a whole.
    monkeypatch.setattr("django_sse.admin.MOST", 500)
    channel, run = Channel.objects.earliest("pk"), Run.objects.all()[77]
    for model, query in (
        (Channel, {}),
        (Channel, {"q": channel.name}),
        (StoredEvent, {}),
        (StoredEvent, {"p": "3"}),
        (StoredEvent, {"channel__id__exact": str(channel.pk)}),
        (StoredEvent, {"q": channel.name}),
        (StoredEvent, {"q": "there is none"}),
        (Run, {}),
        (Run, {"q": str(run.pk)}),
    ):
        found = plans(model, query)
        assert found
        assert not [line for line in found if reads_all(line)], (model, query, found)
