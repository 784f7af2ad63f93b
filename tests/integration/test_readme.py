"""The first page of the README, followed in a project of `startproject`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from django_sse.wire import Decoder, MessageEvent
from tests import ROOT
from tests.processes import Program
from tests.servers import HOST, ReservedPort

README = (ROOT / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(
    r"```python\n# (mysite/\w+\.py)\b[^\n]*\n(.*?)```", README, re.DOTALL
)
# What a page would do with the cookie that it was given: the two have to be the same.
TOKEN = "x" * 32
CSRF = {"Cookie": f"csrftoken={TOKEN}", "X-CSRFToken": TOKEN}
# The README leaves to the reader which model it is.
MODEL = """

class model:
    @staticmethod
    async def stream(prompt):
        for word in prompt.split():
            yield word
"""


def blocks(path: str) -> str:
    """All that the README shows of a file, in its order."""
    return "\n".join(block for name, block in BLOCKS if name == path)


def environment() -> dict[str, str]:
    """As in a terminal of its own: the suite's settings are not the project's."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    return {**others, "PYTHONUNBUFFERED": "1"}


def run(directory: Path, *args: str) -> None:
    done = subprocess.run(
        [sys.executable, *args],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def follow(project: Path) -> None:
    """Puts what the README shows where it says."""
    package = project / "mysite"
    (package / "views.py").write_text(blocks("mysite/views.py") + MODEL)
    (package / "urls.py").write_text(blocks("mysite/urls.py"))
    with (package / "settings.py").open("a") as settings:
        settings.write(blocks("mysite/settings.py"))
    asgi = (package / "asgi.py").read_text()
    line = "from django.core.asgi import get_asgi_application\n"
    assert asgi.count(line) == 1
    (package / "asgi.py").write_text(asgi.replace(line, blocks("mysite/asgi.py")))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("readme")
    run(project, "-m", "django", "startproject", "mysite", ".")
    follow(project)
    run(project, "manage.py", "migrate")
    return project


@pytest.fixture(scope="module")
def client(project: Path) -> Iterator[httpx.Client]:
    """Of the project, when its `runserver` answers."""
    port = ReservedPort()
    url = f"http://{HOST}:{port.number}"
    program = Program(project / "output.log")
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:

        def answers() -> bool:
            with suppress(httpx.TransportError):
                return bool(client.get("/nothing/").status_code == 404)
            return False

        command = [sys.executable, "manage.py", "runserver", str(port.number)]
        try:
            program.start(command, answers, cwd=project, env=environment())
            yield client
        finally:
            program.kill()
            port.close()
            # pytest shows it with a test that failed, and with no other.
            print(f"--- runserver wrote:\n{program.output()}")


@contextmanager
def stream(client: httpx.Client, path: str, **options: str) -> Iterator[Iterator[MessageEvent]]:
    """The events of a view, as they come."""
    method = "POST" if options else "GET"
    with client.stream(method, path, json=options or None, headers=CSRF) as response:
        assert response.status_code == 200
        decoder = Decoder()
        yield (event for chunk in response.iter_raw() for event in decoder.feed(chunk))


def test_the_clock_streams(client: httpx.Client) -> None:
    with stream(client, "/clock/") as events:
        first, second = next(events), next(events)
    assert [first.type, second.type] == ["tick", "tick"]
    assert json.loads(first.data)["now"] < json.loads(second.data)["now"]


def test_what_is_added_reaches_a_client(client: httpx.Client) -> None:
    with stream(client, "/news/") as events:
        assert next(events).type == "stream-open"
        added = client.post("/news/add/", data={"title": "It works"}, headers=CSRF)
        assert added.status_code == 204
        event = next(events)
    assert (event.type, json.loads(event.data)) == ("added", {"title": "It works"})


def test_the_command_reaches_a_client(client: httpx.Client, project: Path) -> None:
    (command,) = re.findall(r"^\$ python (manage\.py sse_publish .+)$", README, re.MULTILINE)
    with stream(client, "/news/") as events:
        assert next(events).type == "stream-open"
        run(project, *shlex.split(command))
        event = next(events)
    assert (event.type, json.loads(event.data)) == ("added", {"title": "It works"})


def test_an_answer_streams_to_its_end(client: httpx.Client) -> None:
    with stream(client, "/answers/", prompt="one two") as events:
        received = [(event.type, event.data) for event in events]
    assert received[1:] == [("message", "one"), ("message", "two"), ("close", "[DONE]")]
