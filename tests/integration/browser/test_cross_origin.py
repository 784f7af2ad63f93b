"""A page of another origin reads a stream with its cookies; a third origin is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import DEMO_SITE, Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.needs("browser", "daphne")

PAGE = """<!doctype html><title>waiting</title><link rel="icon" href="data:,"><ol></ol><script>
  const url = new URLSearchParams(location.search).get("stream");
  const source = new EventSource(url, { withCredentials: true });
  const note = (text) => {
    const item = document.createElement("li");
    item.textContent = text;
    document.querySelector("ol").append(item);
  };
  source.addEventListener("progress", (event) => note(event.data));
  source.addEventListener("close", () => { source.close(); document.title = "complete"; });
  source.onerror = () => { if (source.readyState === 2) document.title = "refused"; };
</script>"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two more origins: the same page on two further ports."""
    folder: Path = tmp_path_factory.mktemp("origin")
    (folder / "index.html").write_text(PAGE)
    handler = partial(Quiet, directory=str(folder))
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{server.server_port}" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def demo(origins: list[str]) -> Iterator[Server]:
    environment = {"DEMO_PACE": "0.1", "DEMO_CORS_ORIGINS": origins[0]}
    with Server("runserver-daphne", site=DEMO_SITE, env=environment) as server:
        yield server


def job_page(open_page: Callable[..., Page], demo: Server) -> Page:
    """A page of the demo itself that has started a job: its stream is for its session only."""
    page = open_page(f"{demo.url}/progress/")
    page.click("[data-start]")
    page.wait_for_url("**/progress/*-*/")
    return page


def test_another_origin_reads_a_stream_of_the_session_with_credentials(
    open_page: Callable[..., Page], demo: Server, origins: list[str]
) -> None:
    job = job_page(open_page, demo)
    page = open_page(f"{origins[0]}/?stream={job.url}events/", beside=job)
    page.wait_for_function("document.title === 'complete'")
    assert page.locator("li").count() == 40


def test_a_third_origin_is_refused(
    open_page: Callable[..., Page], demo: Server, origins: list[str]
) -> None:
    job = job_page(open_page, demo)
    page = open_page(
        f"{origins[1]}/?stream={job.url}events/", beside=job, expected="CORS policy|net::ERR_FAILED"
    )
    page.wait_for_function("document.title === 'refused'")
    assert page.locator("li").count() == 0
