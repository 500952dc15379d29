"""A headless Chromium with a fake camera, driven over its DevTools socket; enough for end-to-end tests."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
    "about:blank",
)
START_S = 20.0


def chromium() -> str | None:
    """Where Chromium is, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Tab:
    """One page."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._next_id = 0
        self.errors: list[str] = []
        self.call("Page.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command and its result."""
        self._next_id += 1
        self._socket.send(json.dumps({"id": self._next_id, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("method") == "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            if message.get("id") == self._next_id:
                assert "error" not in message, message
                return message.get("result", {})

    def open(self, address: str) -> None:
        """Load a page and wait for it."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def size(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """Make the window this large."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if is_phone else 1,
            mobile=is_phone,
        )

    def run(self, code: str) -> Any:
        """The value of an expression; promises are awaited."""
        done = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, code: str, timeout_s: float = 20.0) -> Any:
        """Wait until an expression is true; its value."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if value := self.run(code):
                return value
            time.sleep(0.05)
        raise AssertionError(f"not so after {timeout_s:g} s: {code}")

    def key(self, text: str) -> None:
        """Press a key that writes a character."""
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, key=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=text)

    def picture(self, path: Path) -> None:
        """A screenshot."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


class Browser:
    """A browser of its own, with an empty profile; use it in a `with` statement."""

    def __init__(self, *flags: str) -> None:
        program = chromium()
        assert program is not None
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        command = [program, *flags, f"--user-data-dir={self._profile}", *FLAGS]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._sockets = ExitStack()
        self._port = self._find_port()

    def tab(self) -> Tab:
        """A new page."""
        with urlopen(Request(f"http://127.0.0.1:{self._port}/json/new", method="PUT"), timeout=10) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        return Tab(self._sockets.enter_context(connect(address, max_size=None, proxy=None)))

    def close(self) -> None:
        """End it and remove its profile."""
        self._sockets.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_port(self) -> int:
        file = Path(self._profile) / "DevToolsActivePort"
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if file.is_file() and (lines := file.read_text().split()):
                return int(lines[0])
            assert self._process.poll() is None, f"Chromium ended with {self._process.returncode}"
            time.sleep(0.05)
        raise AssertionError(f"Chromium did not start within {START_S:g} s (process {os.getpid()})")
