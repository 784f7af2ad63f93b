"""The partitioned table that `docs/scaling.md` describes carries the log."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import psycopg
import pytest

from tests import ROOT
from tests.databases import POSTGRES_URL, fresh

PROGRAM = """
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django_sse import publish, publish_many, redact
from django_sse.log import get_log

call_command("migrate", verbosity=0)
ids = [publish(f"channel-{number % 5}", str(number)) for number in range(20)]
with connection.cursor() as cursor:
    cursor.execute(sys.stdin.read())
ids += publish_many([(f"channel-{number % 5}", str(number)) for number in range(20, 40)])
log = get_log()
for head in log.open([f"channel-{number}" for number in range(5)]):
    assert head.head == 8
    records = log.read(head.key, 0, 100).records
    assert [record.seq for record in records] == list(range(1, 9))
    number = int(head.channel[-1])
    assert [record.data for record in records] == [str(number + 5 * turn) for turn in range(8)]
    assert redact(head.channel, 8)
    assert log.trim(head.channel, count=2) == 6
    assert [record.seq for record in log.read(head.key, 6, 100).records] == [7, 8]
assert len(set(ids)) == 40
"""


@pytest.mark.needs("postgres")
def test_the_log_works_on_the_partitions_of_the_docs() -> None:
    (sql,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "scaling.md").read_text(), re.DOTALL)
    with fresh(POSTGRES_URL) as url:
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DJANGO_SSE_TEST_DATABASE_URL": url,
        }
        done = subprocess.run(
            [sys.executable, "-c", "import sys\n" + PROGRAM],
            cwd=ROOT,
            env=env,
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with psycopg.connect(url) as connection:
            parts = connection.execute(
                "SELECT tableoid, count(*), count(DISTINCT id) "
                "FROM django_sse_storedevent GROUP BY tableoid"
            ).fetchall()
            constraints = connection.execute(
                "SELECT contype::text FROM pg_constraint WHERE contype <> 'n' "
                "AND conrelid = 'django_sse_storedevent'::regclass"
            ).fetchall()
    assert len(parts) > 1
    # As the migrations leave the table: without a foreign key.
    assert sorted(constraints) == [("p",), ("u",)]
    assert sum(count for _, count, _ in parts) == sum(ids for *_, ids in parts) == 10
