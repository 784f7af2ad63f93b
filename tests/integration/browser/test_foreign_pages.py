"""What a page of another site asks for in its visitor's browser starts no run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.needs("browser", "uvicorn")

# Each asks for the URL in the page's query, and adds its own name to that.
PAGE = """<!doctype html><title>waiting</title><link rel="icon" href="data:,"><script>
  const url = decodeURIComponent(location.search.slice(1)) + "&by=";
  const done = [];
  const ended = (element) => done.push(new Promise((resolve) => {
    element.onload = element.onerror = resolve;
    document.head.append(element);
  }));
  ended(Object.assign(new Image(), { src: url + "image" }));
  ended(Object.assign(document.createElement("script"), { src: url + "script" }));
  ended(Object.assign(document.createElement("iframe"), { src: url + "frame" }));
  // WebKit does not prefetch, and says nothing about it.
  document.head.append(
    Object.assign(document.createElement("link"), { rel: "prefetch", href: url + "prefetch" }));
  ended(new EventSource(url + "event-source", { withCredentials: true }));
  const ask = (by, mode) => done.push(fetch(url + by, { mode, credentials: "include" })
    .catch(() => null));
  ask("fetch", "cors");
  ask("opaque-fetch", "no-cors");
  Promise.all(done).then(() => { document.title = "asked"; });
</script><a>a link</a><script>document.querySelector("a").href = url + "link";</script>"""

# A page of the project has no icon.
ICON = "404"
REFUSED = "40[34]|CORS policy|net::ERR"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.every_engine
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["another site", "the same site"])
def test_a_page_of_another_origin_starts_no_run(
    open_page: Callable[..., Page], server: Server, notes: Path, port: int, host: str
) -> None:
    run = f"{server.url}/answer/?name=foreign-{host}"
    page = open_page(f"http://{host}:{port}/?{run}", expected=REFUSED)
    page.wait_for_function("document.title === 'asked'")
    page.evaluate("() => document.querySelector('a').click()")
    page.wait_for_function("document.body.innerText.includes('CSRF_TRUSTED_ORIGINS')")

    assert not notes.exists() or f"foreign-{host} began" not in notes.read_text().splitlines()


@pytest.mark.every_engine
def test_a_page_of_the_site_starts_a_run(
    open_page: Callable[..., Page], server: Server, notes: Path
) -> None:
    page = open_page(f"{server.url}/ok/", expected=ICON)
    page.evaluate(
        """() => { new EventSource("/answer/?name=own").addEventListener("close", () => {
            document.title = "answered"; }); }"""
    )
    page.wait_for_function("document.title === 'answered'")
    assert "own began" in notes.read_text().splitlines()
