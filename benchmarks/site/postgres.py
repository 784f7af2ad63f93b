"""Makes or drops the PostgreSQL database that ``BENCH_DATABASE`` names.

python -m benchmarks.site.postgres create|drop
"""

from __future__ import annotations

import sys

import psycopg
from psycopg import sql

from benchmarks.site.settings import POSTGRES


def connect() -> psycopg.Connection:
    return psycopg.connect(
        host=POSTGRES["HOST"],
        port=POSTGRES["PORT"],
        user=POSTGRES["USER"],
        dbname="postgres",
        autocommit=True,
    )


def main(command: str) -> None:
    name = sql.Identifier(POSTGRES["NAME"])
    with connect() as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        if command == "create":
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))


if __name__ == "__main__":
    main(sys.argv[1])
