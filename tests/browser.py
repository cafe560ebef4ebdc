"""A headless Chromium for the tests, driven over its debugging pipe; nothing but the standard library."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from elastic_lib.figures import browser

CHROMIUM = browser()
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")
SCREENSHOTS = Path(os.environ.get("ELASTIC_SCREENSHOTS", Path(__file__).parent / "screenshots"))
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars".split()


class StuckError(AssertionError):
    """Chromium answers no more."""


@contextmanager
def opened(url: str, prepare: Callable[[Page], None] = lambda page: None, **how: Any) -> Iterator[Page]:
    """A page that was opened and prepared.

    About once in fifteen hundred drawings Debian's Chromium falls asleep for good: its renderer waits for a lock and
    uses no processor. Then another one is started, twice at most; a page that hangs by itself hangs each time.
    """
    for left in (2, 1, 0):
        with Page(**how) as page:
            try:
                page.go(url)
                prepare(page)
            except StuckError:
                if left:
                    continue
                raise
            yield page
            return


class Page:
    """`with Page() as page: page.go(url); page.js("1 + 1")`; what the page complains of gathers in `page.errors`."""

    def __init__(self, width: int = 1440, height: int = 900, offline: bool = False):
        self.size, self.offline, self.errors, self.asked = (width, height), offline, [], 0
        self.heard = b""

    def __enter__(self) -> Page:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours, theirs = os.pipe(), os.pipe()
        arguments = [CHROMIUM, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={self.folder.name}", "about:blank"]
        redirected = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        self.process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", *arguments],
            pass_fds=(ours[0], theirs[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.to, self.of, self.session = ours[1], theirs[0], None
        target = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        if self.offline:
            self.send(
                "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
            )
        self.resize(*self.size)
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.of)
        self.folder.cleanup()

    def send(self, method: str, seconds: float = 30.0, **params: Any) -> dict:
        """Asks Chromium, and waits for its answer."""
        self.asked += 1
        message = {"id": self.asked, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + seconds
        while True:
            answer = self._hear(end - time.monotonic(), method)
            if answer.get("id") == self.asked:
                assert "error" not in answer, f"{method}: {answer['error']['message']}"
                return answer["result"]
            self._note(answer)

    def _hear(self, seconds: float, method: str) -> dict:
        while b"\0" not in self.heard:
            if not select.select([self.of], [], [], max(seconds, 0))[0]:
                raise StuckError(f"Chromium does not answer to {method}")
            said = os.read(self.of, 1 << 20)
            assert said, "Chromium is gone"
            self.heard += said
        message, _, self.heard = self.heard.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict) -> None:
        name, said = event.get("method"), event.get("params", {})
        if name == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif name == "Runtime.consoleAPICalled" and said["type"] == "error":
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in said["args"]))
        elif name == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")

    def go(self, url: str, seconds: float = 60.0) -> None:
        self.send("Page.navigate", url=url)
        self.until("document.readyState == 'complete'", seconds)

    def js(self, code: str, seconds: float = 30.0) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        told = self.send("Runtime.evaluate", seconds, expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"].get("exception", {}).get("description")
        return told["result"].get("value")

    def until(self, code: str, seconds: float = 90.0) -> Any:
        """Waits until an expression is true, and returns it."""
        end = time.monotonic() + seconds
        while not (value := self.js(code)):
            assert time.monotonic() < end, f"not within {seconds} s: {code}"
            time.sleep(0.05)
        return value

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, scrolled into view."""
        code = f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center"}}); const r = e.getBoundingClientRect();
            return [r.left + r.width / 2, r.top + r.height / 2] }})()"""
        return tuple(self.js(code))

    def mouse(self, kind: str, x: float, y: float) -> None:
        """`kind`: mouseMoved, mousePressed, mouseReleased."""
        pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=int(kind != "mouseReleased"), **pressed)

    def click(self, x: float, y: float) -> None:
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self.mouse("mousePressed", *start)
        for i in range(1, steps + 1):
            at = [a + (b - a) * i / steps for a, b in zip(start, end, strict=True)]
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=at[0], y=at[1], button="left", buttons=1)
        self.mouse("mouseReleased", *end)

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def picture(self, name: str, whole: bool = False) -> Path:
        """A screenshot, kept as an artefact of the tests."""
        SCREENSHOTS.mkdir(exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        told = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))
        return path
