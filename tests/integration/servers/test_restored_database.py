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


class Disk:
    """A disk that loses the newest commits in a power cut, as with ``synchronous=NORMAL``.

    It keeps the file open, so that the write-ahead log holds all commits since.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._wal = Path(f"{server.database}-wal")
        self._connection = sqlite3.connect(server.database)
        self._connection.execute("SELECT * FROM django_sse_channel").fetchall()
        self._kept = 0

    def sync(self) -> None:
        """All commits up to now are on the disk."""
        self._kept = self._wal.stat().st_size

    def cut_power(self) -> None:
        self._server.kill()
        database, wal = self._server.database.read_bytes(), self._wal.read_bytes()
        assert len(wal) > self._kept > 0
        self._connection.close()
        Path(f"{self._server.database}-shm").unlink(missing_ok=True)
        self._server.database.write_bytes(database)
        self._wal.write_bytes(wal[: self._kept])


@pytest.mark.parametrize("others", [0, 3, 5])
def test_after_a_power_cut_late_clients_are_told_of_the_events_that_the_disk_lost(
    others: int, serve: Callable[..., Server]
) -> None:
    server = serve("uvicorn")
    disk = Disk(server)
    post(server, *range(1, 6))
    disk.sync()
    with Stream(server, "/channels/a/?since=5") as stream:
        safe = stream.take(6)[-1].last_event_id
        post(server, *range(6, 11))
        lost = stream.take(5)[-1].last_event_id
    disk.cut_power()
    server.start()
    post(server, *[f"other {number}" for number in range(others)])
    with Stream(server, "/channels/a/", headers={"Last-Event-ID": lost}) as stream:
        reset = stream.next()
        assert json.loads(reset.data) == {"reason": "rewound", "channels": [0]}
        assert stream.next().type == "stream-open"
        post(server, "live")
        assert stream.next().data == "live"
    with Stream(server, "/channels/a/", headers={"Last-Event-ID": safe}) as stream:
        assert stream.next().type == "stream-open"
        received = [event.data for event in stream.take(others + 1)]
        assert received == [*[f"other {number}" for number in range(others)], "live"]


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
