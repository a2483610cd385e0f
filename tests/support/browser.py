"""A headless Chromium, controlled over its debugging pipe: no port, no driver, no other package."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--mute-audio",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=user-gesture-required",
)
PATIENCE_SECONDS = 90
MOBILE_WIDTH = 600  # below it, a window is a phone's
# The codes of keys that are not characters.
KEY_CODES = {
    " ": 32,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Tab": 9,
    "Escape": 27,
}


class Browser:
    """One page.

    Parameters:
        write_to: the file descriptor of the browser's input.
        read_from: the file descriptor of its output.

    Attributes:
        requested: every URL that the page has requested.
        logged: what it has logged.
        dialogs: the dialogs that it has opened.
    """

    def __init__(self, write_to: int, read_from: int) -> None:
        self._write_to, self._read_from = write_to, read_from
        self._number, self._unread = 0, b""
        self._session: str | None = None
        self.requested: list[str] = []
        self.logged: list[str] = []
        self.dialogs: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._write_to, json.dumps(command).encode() + b"\0")
        while True:
            message = self._read()
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
            self._record(message.get("method"), message.get("params", {}))

    def open(self, url: str, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Show a page in a window of some size and wait until it is loaded."""
        self.requested, self.logged, self.dialogs = [], [], []
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < MOBILE_WIDTH,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.run("window.previous = true")
        self.send("Page.navigate", url=url)
        loaded = "document.readyState === 'complete' && location.href !== 'about:blank'"
        self.until(f"!window.previous && {loaded}")

    def run(self, script: str) -> Any:
        """Evaluate JavaScript in the page."""
        done = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true, and return its value."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"{script} is not true: {self.logged}"
            time.sleep(0.05)
        return value

    def wait_for_frame(self) -> None:
        """Wait until everything is drawn.

        A person acts on what is visible, and only after a frame does the page know what is.
        """
        frames = "requestAnimationFrame(() => requestAnimationFrame(done))"
        self.run(f"new Promise(done => {frames})")

    def press(self, key: str) -> None:
        """Press a key as a person does."""
        self.wait_for_frame()
        is_character = len(key) == 1
        event: dict[str, Any] = {
            "key": key,
            "code": {" ": "Space"}.get(key, f"Key{key.upper()}" if is_character else key),
            "windowsVirtualKeyCode": KEY_CODES.get(key, ord(key[0].upper())),
        }
        text = {"text": key} if is_character else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def drag(self, selector: str, start: float, end: float) -> None:
        """Press the mouse within an element and release it elsewhere in it.

        Parameters:
            selector: the element.
            start: where it is pressed, from 0 (left) to 1 (right).
            end: where it is released.
        """
        self.wait_for_frame()
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        fields = "{x, y, width, height}"
        x, y, width, height = self.run(f"(({fields}) => [x, y, width, height])({box})")
        steps = [
            ("mousePressed", start),
            ("mouseMoved", (start + end) / 2),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ]
        for kind, at in steps:
            self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x + width * at,
                y=y + height / 2,
                button="left",
                buttons=1,
                clickCount=1,
            )

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        self.drag(selector, 0.5, 0.5)

    def picture(self, path: Path, quality: int | None = None) -> Path:
        """Take a picture of the window: JPEG with a quality, PNG without."""
        options: dict[str, Any] = {"format": "png"}
        if quality:
            options = {"format": "jpeg", "quality": quality}
        data = self.send("Page.captureScreenshot", **options)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            block = os.read(self._read_from, 1 << 20)
            assert block, "the browser has ended"
            self._unread += block
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def _record(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.logged.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.logged.append(str(params["exceptionDetails"]))
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])


@contextmanager
def running() -> Iterator[Browser]:
    """Start the browser, and end it with all its processes."""
    assert CHROMIUM
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        (its_input, write_to), (read_from, its_output) = os.pipe(), os.pipe()
        options = [*OPTIONS, f"--user-data-dir={home}", "--remote-debugging-pipe"]
        redirect = f'exec "$@" 3<&{its_input} 4>&{its_output}'
        command = ["bash", "-c", redirect, "chromium", CHROMIUM, *options, "about:blank"]
        process = subprocess.Popen(
            command,
            pass_fds=(its_input, its_output),
            start_new_session=True,
            stdout=DEVNULL,
            stderr=DEVNULL,
            stdin=DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        try:
            yield Browser(write_to, read_from)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(write_to)
            os.close(read_from)
