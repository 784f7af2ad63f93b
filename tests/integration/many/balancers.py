"""nginx, HAProxy and Caddy in front of servers, with the configurations that `docs/deploy` gives.

    with Nginx([server.port, ...]) as nginx:
        httpx.get(f"http://127.0.0.1:{nginx.port}/ok/")

The files are those of the documentation, with other ports: what users copy is what is tested.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

from tests import ROOT
from tests.processes import Program
from tests.requirements import program
from tests.servers import HOST, ReservedPort

DEPLOY = ROOT / "docs" / "deploy"


def replaced(text: str, old: str, new: str) -> str:
    """`text` with `new` in the one place where it has `old`."""
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in\n{text}"
    return text.replace(old, new)


class Balancer(ABC):
    """A process of its own in a directory of its own, in the foreground; killed at the end."""

    program: str
    config: str
    limit = ""
    """What stands before the number of requests of one address, which is here that of all."""
    headers: str
    """What stands before the seconds that a client has for its headers."""

    def __init__(
        self, ports: Sequence[int], *, requests: int = 10_000, patience: int | None = None
    ) -> None:
        """``requests``: of one address; ``patience``: seconds for a client's headers."""
        self._directory = Path(tempfile.mkdtemp(prefix=f"django-sse-{self.program}-"))
        self._listen = ReservedPort()
        self._ports = list(ports)
        self._running = Program(self._directory / "output.log")
        self.path = self._directory / self.config
        documented = (DEPLOY / self.config).read_text()
        if self.limit:
            documented = replaced(documented, self.limit + "200", f"{self.limit}{requests}")
        if patience is not None:
            documented = replaced(documented, self.headers + "10s", f"{self.headers}{patience}s")
        self.path.write_text(self.text(documented))

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self._listen.number

    @abstractmethod
    def text(self, documented: str) -> str:
        """The configuration: the documented one, with this test's ports."""

    @abstractmethod
    def check_command(self) -> list[str]:
        """The program's own check of its configuration."""

    @abstractmethod
    def command(self) -> list[str]:
        """What runs it in the foreground."""

    def with_servers(self, documented: str, line: str) -> str:
        """`documented` with one `line` for each server instead of its three; {n} and {port}."""
        three = "".join(line.format(n=n, port=8000 + n) for n in (1, 2, 3))
        assert documented.count(three) == 1, f"{self.config} has other servers than\n{three}"
        ours = [line.format(n=n, port=port) for n, port in enumerate(self._ports, start=1)]
        return documented.replace(three, "".join(ours))

    def check(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.check_command(),
            capture_output=True,
            text=True,
            check=False,
            cwd=self._directory,
            env=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        # Caddy keeps files at home.
        return {**os.environ, "HOME": str(self._directory), "XDG_DATA_HOME": str(self._directory)}

    def output(self) -> str:
        return self._running.output()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        # pytest shows it with a test that failed, and with no other.
        print(f"--- {self.program} wrote:\n{self.output()[-4000:]}")
        self.close()

    def _start(self) -> None:
        self._running.start(
            self.command(), self._accepts, cwd=self._directory, env=self._environment()
        )

    def _accepts(self) -> bool:
        with suppress(OSError), closing(socket.create_connection((HOST, self.port), timeout=10)):
            return True
        return False

    def close(self) -> None:
        """Kills it and removes its files."""
        self._running.kill()
        self._listen.close()
        shutil.rmtree(self._directory, ignore_errors=True)


_NGINX_MAIN = """
daemon off;
# One, and with the master's rights: its directory belongs to who runs the test.
worker_processes 1;
{user}
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    # So that a test knows which server a client was given.
    add_header X-Upstream $upstream_addr;
    include site.conf;
}}
"""


class Nginx(Balancer):
    program = "nginx"
    config = "nginx.conf"
    limit = "limit_conn requests "
    headers = "client_header_timeout "

    def text(self, documented: str) -> str:
        line = "    server 127.0.0.1:{port} max_fails=1 fail_timeout=5s;\n"
        site = self.with_servers(documented, line).replace(
            "listen 80;", f"listen {HOST}:{self.port};"
        )
        (self._directory / "site.conf").write_text(site)
        return _NGINX_MAIN.format(user="user root;" if os.geteuid() == 0 else "")

    def check_command(self) -> list[str]:
        return [*self.command(), "-t"]

    def command(self) -> list[str]:
        return [
            program("nginx") or "nginx",
            "-p",
            str(self._directory),
            "-c",
            str(self.path),
            "-e",
            "stderr",
        ]


class HAProxy(Balancer):
    program = "haproxy"
    config = "haproxy.cfg"
    limit = "sc0_conn_cur gt "
    headers = "timeout http-request "

    def text(self, documented: str) -> str:
        text = self.with_servers(documented, "    server web{n} 127.0.0.1:{port}\n")
        text = text.replace("bind :80\n", f"bind {HOST}:{self.port}\n")
        # It demands the file descriptors for all that it may be asked to carry.
        return text.replace("maxconn 20000\n", "maxconn 2000\n")

    def check_command(self) -> list[str]:
        return [*self.command(), "-c"]

    def command(self) -> list[str]:
        # -db: in the foreground.
        return [program("haproxy") or "haproxy", "-db", "-f", str(self.path)]


class Caddy(Balancer):
    program = "caddy"
    config = "Caddyfile"
    headers = "read_header "

    def text(self, documented: str) -> str:
        text = self.with_servers(documented, "\t\tto 127.0.0.1:{port}\n")
        # Its administration listens on a port that is the same for all.
        text = replaced(text, "{\n\tservers {", "{\n\tadmin off\n\tservers {")
        return replaced(text, ":80 {", f"http://{HOST}:{self.port} {{")

    def check_command(self) -> list[str]:
        return self._command("validate")

    def command(self) -> list[str]:
        return self._command("run")

    def _command(self, what: str) -> list[str]:
        config = ["--config", str(self.path), "--adapter", "caddyfile"]
        return [program("caddy") or "caddy", what, *config]
