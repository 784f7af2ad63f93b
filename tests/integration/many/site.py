"""A site of many processes: servers, nginx, clients, publishers, and the account at the end."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import FULL
from tests.integration.many.balancers import Nginx
from tests.integration.many.clients import Report
from tests.integration.many.load import Load
from tests.integration.many.stores import run_python, start_python
from tests.positions import untagged
from tests.servers import HOST, Server

CHANNEL = "many"
CLIENTS = 200
EVENTS = 10_000 if FULL else 2_000
# After the last event, until the last client has it, s: only a hang takes so long.
PATIENCE = 60.0


@dataclass
class Account:
    """What was published, stored and seen. Ids are keys; data is a publisher and its count."""

    load: Load
    by_command: list[str]
    log: list[tuple[str, str]]
    report: Report
    seconds: float

    def check(self, total: int) -> None:
        """Every client has what the log has, and the log what was acknowledged."""
        assert not self.report.error, self.report.error
        assert [untagged(id) for id, _ in self.log] == [f"{self.epoch}-{n}" for n in self.seqs]
        seen = [f"{publisher} {count}" for publisher, count in self.report.events]
        assert seen == [data for _, data in self.log]
        by_command = {id: f"command {n}" for n, id in enumerate(self.by_command)}
        promised = self.load.acknowledged | by_command
        assert len(promised) == total
        stored = dict(self.log)
        assert {id: stored.get(id) for id in promised} == promised

    @property
    def epoch(self) -> str:
        return self.log[0][0].partition("-")[0]

    @property
    def seqs(self) -> range:
        return range(1, len(self.log) + 1)


@contextmanager
def child(env: dict[str, str], *args: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that says "ready" before it is handed out; killed at the end."""
    with start_python(env, *args) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if line != "ready\n":
                raise AssertionError(f"{args} is not ready: {line}{process.communicate()[1]}")
            yield process
        except BaseException:
            process.kill()
            out, error = process.communicate()
            # pytest shows it; a report begins with what was wrong.
            print(f"--- {' '.join(args)} wrote:\n{out[:4000]}\n{error}")
            raise
        finally:
            process.kill()


def server(kind: str, env: dict[str, str], *args: str) -> Server:
    """A server on the store of `env`; not started yet."""
    return Server(kind, env=env, args=args, database=Path(env["DJANGO_SSE_TEST_DB"]))


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def result(process: subprocess.Popen[str], line: str = "") -> str:
    """What it wrote to stdout after "ready", when it has ended well; it is told `line` first.

    One that has ended before is told nothing: what it wrote says why.
    """
    out, error = process.communicate(line)
    assert (process.returncode, error) == (0, ""), error
    return out


def carry(
    env: dict[str, str],
    servers: Sequence[Server],
    total: int,
    disturb: Callable[[Load], None],
    *,
    publishers: int = 1,
) -> Account:
    """`total` events to `CLIENTS` clients, all through; `disturb` does its worst meanwhile."""
    by_command = total // 10
    load = Load(servers, CHANNEL, total - by_command, publishers)
    with (
        Nginx([server.port for server in servers]) as nginx,
        child(env, *_clients(nginx.port)) as clients,
        child(
            env, "-m", "tests.integration.many.publisher", CHANNEL, "command", str(by_command)
        ) as command,
    ):
        started = time.monotonic()
        tell(command, "go")
        with load:
            disturb(load)
            load.wait()
        ids = result(command).split()
        seconds = time.monotonic() - started
        log = [
            (id, data)
            for id, data in json.loads(
                run_python(env, "-m", "tests.integration.many.logged", CHANNEL)
            )
        ]
        report = Report(**json.loads(result(clients, f"{len(log)}\n")))
    print(f"{len(log)} events in {seconds:.1f} s; clients: {report.summary()}")
    return Account(load, ids, log, report, seconds)


def _clients(port: int) -> tuple[str, ...]:
    path = f"/channels/{CHANNEL}/"
    return (
        "-m",
        "tests.integration.many.clients",
        HOST,
        str(port),
        path,
        str(CLIENTS),
        str(PATIENCE),
    )
