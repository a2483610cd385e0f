"""A headless Chromium, spoken to over its debugging pipe: no port, no driver, no further package."""

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

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--mute-audio",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=user-gesture-required")
PATIENCE = 90  # seconds


class Browser:
    """One page. `asked` lists every address it asked for, `said` what it logged, `dialogs` what it popped up."""

    def __init__(self, to: int, since: int) -> None:
        self._to, self._since, self._number, self._rest = to, since, 0, b""
        self._session: str | None = None
        self.asked: list[str] = []
        self.said: list[str] = []
        self.dialogs: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Do one thing of the DevTools protocol and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": self._session} if self._session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._note(answer.get("method"), answer.get("params", {}))

    def open(self, url: str, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Show a page in a window of this size and wait until it is loaded."""
        self.asked, self.said, self.dialogs = [], [], []
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.run("window.former = true")
        self.send("Page.navigate", url=url)
        self.until("!window.former && document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Evaluate JavaScript in the page."""
        done = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"not within {PATIENCE} s: {script}\n{self.said}"
            time.sleep(0.05)
        return value

    def rest(self) -> None:
        """Wait until all is drawn: a person acts on what is seen, and only after a frame is the page told what is in view."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, key: str) -> None:
        """Press a key as a person does."""
        self.rest()
        code = {" ": "Space"}.get(key, key if len(key) > 1 else f"Key{key.upper()}")
        numbers = {" ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Escape": 27}
        text = {"text": key} if len(key) == 1 else {}
        about = {"key": key, "code": code, "windowsVirtualKeyCode": numbers.get(key, ord(key[0].upper()))}
        self.send("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def drag(self, selector: str, start: float, end: float) -> None:
        """Press the mouse within an element and let it go elsewhere in it; from 0, its left side, to 1."""
        self.rest()
        x, y, width, height = self.run(
            f"(({{x, y, width, height}}) => [x, y, width, height])(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        steps = [("mousePressed", start), ("mouseMoved", (start + end) / 2), ("mouseMoved", end), ("mouseReleased", end)]
        for kind, at in steps:
            self.send("Input.dispatchMouseEvent", type=kind, x=x + width * at, y=y + height / 2, button="left", buttons=1, clickCount=1)

    def click(self, selector: str) -> None:
        self.drag(selector, 0.5, 0.5)

    def picture(self, path: Path, quality: int | None = None) -> Path:
        """Take a picture of the window."""
        kind: dict[str, Any] = {"format": "jpeg", "quality": quality} if quality else {"format": "png"}
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", **kind)["data"]))
        return path

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            block = os.read(self._since, 1 << 20)
            assert block, "the browser has ended"
            self._rest += block
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.said.append(str(params["exceptionDetails"]))
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])


@contextmanager
def running() -> Iterator[Browser]:
    """Start the browser, and end it with all its processes."""
    assert CHROMIUM
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        (its_input, to), (since, its_output) = os.pipe(), os.pipe()
        command = [CHROMIUM, *OPTIONS, *OFFLINE, f"--user-data-dir={home}", "--remote-debugging-pipe", "about:blank"]
        shell = ["bash", "-c", f'exec "$@" 3<&{its_input} 4>&{its_output}', "chromium", *command]
        process = subprocess.Popen(
            shell, pass_fds=(its_input, its_output), start_new_session=True, stdout=DEVNULL, stderr=DEVNULL, stdin=DEVNULL
        )
        os.close(its_input), os.close(its_output)
        try:
            yield Browser(to, since)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(to), os.close(since)
