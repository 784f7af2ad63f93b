"""A database file that is put back: clients are told that the log is another one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.servers.client import Stream, get
from tests.servers import Server


def post(server: Server, *data: object) -> None:
    for each in data:
        assert get(server, "/publish/a/", method="POST", data=str(each).encode())[0] == 200


def copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


@pytest.mark.parametrize(
    "how", ["an older copy", "an older copy and others", "a new file", "the same file"]
)
def test_a_server_that_comes_back_with_a_file_tells_its_clients(
    how: str, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve("uvicorn")
    backup = tmp_path / "backup.sqlite3"
    if how == "a new file":
        copy_database(server.database, backup)
    post(server, *range(1, 6))
    if how.startswith("an older copy"):
        copy_database(server.database, backup)
    with Stream(server, "/channels/a/?since=5") as stream:
        assert stream.next().type == "stream-open"
        stream.take(5)
        post(server, *range(6, 11))
        position = stream.take(5)[-1].last_event_id
    server.stop()
    if how != "the same file":
        for path in server.database.parent.glob(f"{server.database.name}*"):
            path.unlink()
        copy_database(backup, server.database)
    server.start()
    if how == "an older copy and others":
        post(server, *range(6, 11))
    with Stream(server, "/channels/a/", headers={"Last-Event-ID": position}) as stream:
        expected = {
            "an older copy": ["rewound"],
            "an older copy and others": ["rewound"],
            "a new file": ["unknown"],
            "the same file": [],
        }
        events = [stream.next()]
        while events[-1].type != "stream-open":
            events.append(stream.next())
        assert [json.loads(event.data)["reason"] for event in events[:-1]] == expected[how]
        for number in range(1, 4):
            post(server, f"live {number}")
            event = stream.next()
            assert (event.type, event.data) == ("message", f"live {number}")
