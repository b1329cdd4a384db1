"""A real Chromium without a window, driven by its own protocol over one WebSocket."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_START_S = 30
_ANSWER_S = 30


class Browser:
    """One page of one browser.  `console`, `requests` and `errors` are what it said and did."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.session = ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        made = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = made["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """One command and its answer; what happens meanwhile is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(_ANSWER_S))
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method", ""), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(json.dumps(params["args"])[:2000])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, expression: str, *, deadline_s: float = 15.0) -> Any:
        """The value of an expression, once it is true."""
        ends_at = time.monotonic() + deadline_s
        test = f"(v => v instanceof Node ? true : v)({expression})"
        while not (value := self.evaluate(test)):
            if time.monotonic() > ends_at:
                shown = self.evaluate("document.body.innerText.slice(0, 1500)")
                raise AssertionError(f"{expression} did not come; the page says:\n{shown}")
            time.sleep(0.05)
        return value

    def open(self, url: str) -> None:
        """Go to an address, and wait for the page."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def go(self, place: str) -> None:
        """Another page of the console, as by its link, once it is built."""
        self.evaluate(
            f"document.querySelector('h1')?.remove(); location.hash === {json.dumps(place)} ? "
            f"dispatchEvent(new Event('hashchange')) : location.hash = {json.dumps(place)}; 0"
        )
        self.wait_for("document.querySelector('h1')")

    def click(self, words: str, within: str = "body") -> None:
        """The button or link of these words, or of this label."""
        sought = json.dumps(words)
        self.wait_for(
            f"(found => found && (found.click(), true))([...document.querySelectorAll({within!r} + "
            "' button, ' + "
            f"{within!r} + ' a')].find(one => (one.getAttribute('aria-label') || "
            f"one.textContent) === {sought} && !one.disabled))"
        )

    def fill(self, name: str, value: str) -> None:
        """A field, by its name or its label."""
        self.wait_for(
            "(found => found && (found.value = "
            f"{json.dumps(value)}, found.dispatchEvent(new Event('input', {{bubbles: true}})), "
            "found.dispatchEvent(new Event('change', {bubbles: true})), true))"
            f"(document.querySelector('[name={name}]') || [...document.querySelectorAll('label')]"
            f".find(one => one.firstChild.textContent === {json.dumps(name)})"
            "?.querySelector('input, select, textarea'))"
        )

    def press(self, key: str, code: int = 0) -> None:
        """One key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def look(self, width: int, scheme: str) -> None:
        """A size and a colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self, path: Path) -> None:
        """What is on the screen."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser() -> Generator[Browser]:
    """A browser with a profile of its own; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no chromium; Debian's package has it")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--hide-scrollbars",
                f"--user-data-dir={folder}",
                "--remote-debugging-port=0",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port, path = _address(Path(folder) / "DevToolsActivePort", process)
            # A pong would wait behind what a page says while no test reads it.
            url = f"ws://127.0.0.1:{port}{path}"
            with connect(url, max_size=64 * 1024 * 1024, ping_interval=None) as socket:
                yield Browser(socket)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait(10)


def _address(path: Path, process: subprocess.Popen[bytes]) -> tuple[str, str]:
    ends_at = time.monotonic() + _START_S
    while time.monotonic() < ends_at and process.poll() is None:
        with contextlib.suppress(OSError):
            lines = path.read_text().splitlines()
            if len(lines) == 2:
                return lines[0], lines[1]
        time.sleep(0.05)
    pytest.skip("chromium does not start here")
