"""WebKitGTK over WebDriver (W3C), with as much of Playwright's API as the client's tests use.

Playwright drives only a WebKit of its own build. A context is a browser of its own here, and each
page a tab of it: a WebDriver has one session, and a session one set of cookies.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.processes import Program
from tests.servers import HOST, ReservedPort

TIMEOUT = 60.0  # seconds
# A script gets its argument and a callback. What it throws comes back as text.
SCRIPT = """const [argument, done] = arguments;
(async () => {
    const value = (%s
    );
    return typeof value === "function" ? value(argument) : value;
})().then((value) => done({ value }), (error) => done({ error: `${error}\\n${error?.stack}` }));"""


class WebDriverError(AssertionError):
    """A command failed, or a script threw."""


class WebKit:
    """A display, and the browsers on it."""

    def __init__(self, driver: str, mini_browser: str) -> None:
        self._driver = driver
        self._mini_browser = mini_browser
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="django-sse-webkit-"))
        self._folder = Path(folder)
        self._display = Program(self._folder / "display.log")
        self._stack.callback(self._display.kill)
        # Xvfb looks for a free number itself, and writes it when it takes clients.
        command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
        self._display.start(command, self._has_number)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def _number(self) -> str:
        return (self._display.output().split() or [""])[-1]

    def _has_number(self) -> bool:
        return self._number.isdecimal()

    def new_context(self) -> Context:
        environment = {
            "DISPLAY": f":{self._number}",
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            "HOME": str(self._folder),
            "PATH": "/usr/bin:/bin",
        }
        return Context(self._driver, self._mini_browser, self._folder / "driver.log", environment)


class Context:
    """A browser with its own cookies and storage."""

    def __init__(self, driver: str, browser: str, log: Path, environment: dict[str, str]) -> None:
        self._port = ReservedPort()
        self._program = Program(log)
        self._url = f"http://{HOST}:{self._port.number}"
        command = [driver, f"--port={self._port.number}", f"--host={HOST}"]
        self._program.start(command, self._answers, env=environment)
        options = {"binary": browser, "args": ["--automation"]}
        wanted = {"browserName": "MiniBrowser", "webkitgtk:browserOptions": options}
        session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/session/{session['sessionId']}"
        self.command("POST", "/timeouts", {"script": TIMEOUT * 1000, "pageLoad": TIMEOUT * 1000})
        self._pages: list[Page] = []
        self._current = ""

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(self._send("GET", "/status")["ready"])
        return False

    def _send(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(self._url + path, data, headers, method=method)
        try:
            with urlopen(request, timeout=2 * TIMEOUT) as response:
                return json.load(response)["value"]
        except HTTPError as error:
            said = json.load(error)["value"]
            raise WebDriverError(f"{method} {path}: {said['error']}: {said['message']}") from None

    def command(self, method: str, path: str, body: object = None, *, window: str = "") -> Any:
        """Sends a command, to a window of this context if it is about one."""
        if window and window != self._current:
            self._send("POST", "/window", {"handle": window})
            self._current = window
        return self._send(method, path, body)

    def new_page(self) -> Page:
        if not self._pages:
            handle = self._current = self.command("GET", "/window")
        else:
            # The command fails if the current window is closed.
            living = next(page for page in self._pages if not page.is_closed())
            body = {"type": "tab"}
            handle = self.command("POST", "/window/new", body, window=living.window)["handle"]
        self._pages.append(Page(self, handle))
        return self._pages[-1]

    def set_default_timeout(self, timeout: float) -> None:
        """TIMEOUT is the one of all commands."""

    def add_cookies(self, cookies: list[dict[str, str]]) -> None:
        for cookie in cookies:
            plain = {name: value for name, value in cookie.items() if name != "url"}
            self.command("POST", "/cookie", {"cookie": {"path": "/", **plain}})

    def clear_cookies(self) -> None:
        self.command("DELETE", "/cookie")

    def close(self) -> None:
        if not self._program.running:
            return
        for page in self._pages:
            page.tell_errors()
        # The browser ends by itself with its session; what is left is killed.
        with suppress(OSError, WebDriverError):
            self.command("DELETE", "")
        self._program.kill()
        self._port.close()


class Page:
    """A tab. A new one stays hidden behind the first, so it has no animation frames."""

    def __init__(self, context: Context, window: str) -> None:
        self.context = context
        self.window = window
        self._closed = False
        self._on_error: list[Callable[[str], None]] = []

    def on(self, event: str, listener: Callable[[str], None]) -> None:
        """Only "pageerror", and that when the context is closed: WebDriver reports no events."""
        if event == "pageerror":
            self._on_error.append(listener)

    def tell_errors(self) -> None:
        if not self._closed and self._on_error:
            for error in self.evaluate("window.uncaught ?? []"):
                for listener in self._on_error:
                    listener(error)

    def goto(self, url: str, **_: Any) -> None:
        self._command("POST", "/url", {"url": url})

    def reload(self) -> None:
        self._command("POST", "/refresh", {})

    def go_back(self, **_: Any) -> None:
        self.evaluate("void setTimeout(() => history.back())")

    def close(self) -> None:
        self._command("DELETE", "/window")
        self._closed = True

    def is_closed(self) -> bool:
        return self._closed

    def evaluate(self, script: str, argument: object = None) -> Any:
        """The value of an expression, or what the function returns that it is."""
        body = {"script": SCRIPT % script, "args": [argument]}
        outcome = self._command("POST", "/execute/async", body)
        if "error" in outcome:
            raise WebDriverError(outcome["error"])
        return outcome.get("value")

    def wait_for_function(self, condition: str, **_: Any) -> None:
        deadline = time.monotonic() + TIMEOUT
        while True:
            # While the page changes there is nothing to ask, or the old page.
            with suppress(WebDriverError):
                if self.evaluate(f"Boolean({condition})"):
                    return
            if time.monotonic() > deadline:
                raise WebDriverError(f"not true within {TIMEOUT} s: {condition}")
            time.sleep(0.03)

    def wait_for_timeout(self, milliseconds: float) -> None:
        time.sleep(milliseconds / 1000)

    def _command(self, method: str, path: str, body: object = None) -> Any:
        return self.context.command(method, path, body, window=self.window)
