"""WebKitGTK behind its WebDriver, and Firefox behind Marionette, its WebDriver without HTTP."""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.integration.browser.webdriver import TIMEOUT, WebDriverError
from tests.processes import Program
from tests.requirements import mini_browser, program
from tests.servers import HOST, ReservedPort

# The names are Marionette's, https://www.w3.org/TR/webdriver2/#endpoints has the endpoints.
ENDPOINTS = {
    "NewSession": ("POST", "/session"),
    "SetTimeouts": ("POST", "/timeouts"),
    "GetWindowHandle": ("GET", "/window"),
    "SwitchToWindow": ("POST", "/window"),
    "NewWindow": ("POST", "/window/new"),
    "CloseWindow": ("DELETE", "/window"),
    "Navigate": ("POST", "/url"),
    "Refresh": ("POST", "/refresh"),
    "ExecuteAsyncScript": ("POST", "/execute/async"),
    "AddCookie": ("POST", "/cookie"),
    "DeleteAllCookies": ("DELETE", "/cookie"),
}
PREFERENCES = {
    "marionette.port": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "app.update.disabledForTesting": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "dom.disable_beforeunload": True,
}


class WebKit:
    """MiniBrowser on a display of its own, started by WebKitWebDriver."""

    def __init__(self) -> None:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()

    def _start(self, stack: ExitStack) -> None:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="django-sse-webkit-"))
        display = Program(Path(name) / "display.log")
        stack.callback(display.kill)
        # Xvfb looks for a free number, complains of those that are taken, and writes its own when
        # it takes clients.
        command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]

        def numbers() -> list[str]:
            return re.findall(r"^\d+$", display.output(), re.MULTILINE)

        display.start(command, lambda: numbers() != [])
        port = ReservedPort()
        stack.callback(port.close)
        self._url = f"http://{HOST}:{port.number}"
        driver = Program(Path(name) / "driver.log")
        stack.callback(driver.kill)
        environment = {
            "DISPLAY": f":{numbers()[-1]}",
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            "HOME": name,
            "PATH": os.environ["PATH"],
        }
        command = [program("WebKitWebDriver") or "", f"--port={port.number}", f"--host={HOST}"]
        driver.start(command, self._answers, env=environment)
        options = {"binary": mini_browser(), "args": ["--automation"]}
        wanted = {"browserName": "MiniBrowser", "webkitgtk:browserOptions": options}
        session = self.command("NewSession", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/session/{session['sessionId']}"

    def _answers(self) -> bool:
        with suppress(OSError), urlopen(f"{self._url}/status", timeout=TIMEOUT) as response:
            return bool(json.load(response)["value"]["ready"])
        return False

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        method, path = ENDPOINTS[name]
        data = json.dumps(parameters).encode() if method == "POST" else None
        headers = {"Content-Type": "application/json"}
        request = Request(self._url + path, data, headers, method=method)
        try:
            with urlopen(request, timeout=2 * TIMEOUT) as response:
                return json.load(response)["value"]
        except HTTPError as error:
            said = json.load(error)["value"]
            raise WebDriverError(f"{name}: {said['error']}: {said['message']}") from None

    def close(self) -> None:
        self._stack.close()


class Firefox:
    """Headless, with a new profile. A message of Marionette is its length, a colon, and JSON."""

    def __init__(self) -> None:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        self._number = 0
        self._receive()  # the greeting
        self.command("NewSession", {"capabilities": {}})

    def _start(self, stack: ExitStack) -> None:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="django-sse-firefox-"))
        profile = Path(name)
        lines = [f'user_pref("{key}", {json.dumps(value)});' for key, value in PREFERENCES.items()]
        (profile / "user.js").write_text("\n".join(lines))
        firefox = Program(profile / "output.log")
        stack.callback(firefox.kill)
        port = profile / "MarionetteActivePort"
        command = [program("firefox-esr") or "", "--headless", "--marionette"]
        command += ["--no-remote", "--profile", name]
        environment = os.environ | {"HOME": name, "MOZ_CRASHREPORTER_DISABLE": "1"}
        firefox.start(command, lambda: port.exists() and port.read_text() != "", env=environment)
        address = (HOST, int(port.read_text()))
        self._socket = stack.enter_context(socket.create_connection(address, timeout=2 * TIMEOUT))

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, f"WebDriver:{name}", parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, number, error, result = self._receive()
        assert number == self._number
        if error:
            raise WebDriverError(f"{name}: {error['error']}: {error['message']}")
        # It wraps what is no object of the command's own.
        return result["value"] if set(result or ()) == {"value"} else result

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._exactly(1)
        return json.loads(self._exactly(int(length[:-1])))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise WebDriverError("Firefox has closed the connection")
            data += piece
        return data

    def close(self) -> None:
        self._stack.close()
