"""A real headless Chromium, driven by its debugging pipe: opens a page at a width, and tells what became of it."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads its commands from descriptor 3 and answers on 4.
_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in enumerate(ends):
    os.dup2(end, 3 + place)
os.execvp(sys.argv[3], sys.argv[3:])
"""
_SECONDS = 60.0
_WIDER = """((width) => [...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    if (!box.width || box.right <= width + 1) return false;
    for (let above = each.parentElement; above; above = above.parentElement)
        if (getComputedStyle(above).overflowX !== "visible" && above !== document.body) return false;
    return true;
}).map((each) => `${each.tagName.toLowerCase()}: ${each.textContent.trim().slice(0, 60)}`))"""


class Page:
    """An open page.

    Attributes:
        width: Of the window, in CSS pixels.
        errors: What went wrong so far: exceptions of scripts, console errors, files that did not load.
    """

    def __init__(self, browser: Browser, session: str, width: int) -> None:
        self._browser, self._session, self.width = browser, session, width
        self.errors: list[str] = []

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    @property
    def html(self) -> str:
        """The document as it stands now."""
        return str(self.evaluate("document.documentElement.outerHTML"))

    @property
    def scroll_width(self) -> int:
        """Of the whole document, in CSS pixels: more than `width` where something overflows."""
        return int(self.evaluate("document.documentElement.scrollWidth"))

    @property
    def overflowing(self) -> list[str]:
        """The elements that reach beyond the right edge, outside of boxes that scroll by themselves."""
        return list(self.evaluate(f"{_WIDER}({self.width})"))

    @property
    def images(self) -> list[tuple[int, int]]:
        """The natural sizes of all `img`; (0, 0) for one that did not load."""
        found = self.evaluate("[...document.images].map((each) => [each.naturalWidth, each.naturalHeight])")
        return [(width, height) for width, height in found]

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **options: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **options)


class Browser:
    """Chromium as a process of its own; a context manager. The test is skipped where there is none.

    Args:
        profile: A directory for its files.
    """

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            pytest.skip("there is no chromium on PATH")
        theirs_in, self._commands = os.pipe()
        self._answers, theirs_out = os.pipe()
        launch = [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out)]
        self._log = profile.with_name(f"{profile.name}.log").open("wb")
        self._process = subprocess.Popen(
            [*launch, program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=self._log, stderr=self._log, pass_fds=(theirs_in, theirs_out),
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._read, self._number = b"", 0
        self._pages: dict[str, Page] = {}
        self._loaded: set[str] = set()

    def open(self, target: str | Path, width: int, height: int = 900) -> Page:
        """Load a file or an address in a window of that many CSS pixels."""
        address = target.resolve().as_uri() if isinstance(target, Path) else target
        made = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = str(self.call("Target.attachToTarget", targetId=made, flatten=True)["sessionId"])
        page = self._pages[session] = Page(self, session, width)
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable", session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        self._loaded.discard(session)
        failed = self.call("Page.navigate", session, url=address).get("errorText")
        assert not failed, f"{address}: {failed}"
        deadline = time.monotonic() + _SECONDS
        while session not in self._loaded:
            self._receive(deadline)
        return page

    def call(self, method: str, session: str | None = None, **options: Any) -> dict[str, Any]:
        """One command of the Chrome DevTools protocol, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": options}
        if session is not None:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _SECONDS
        while (answer := self._receive(deadline)).get("id") != self._number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def close(self) -> None:
        """End it."""
        try:
            self.call("Browser.close")
        finally:
            os.close(self._commands)
            os.close(self._answers)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._log.close()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _receive(self, deadline: float) -> dict[str, Any]:
        """The next message; of events, what went wrong is kept with its page."""
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"chromium says nothing for {_SECONDS:g} s"
            part = os.read(self._answers, 1 << 16)
            assert part, f"chromium ended: {Path(self._log.name).read_text(errors='replace')[-2000:]}"
            self._read += part
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}), message.get("sessionId", ""))
        return message

    def _note(self, method: str, event: dict[str, Any], session: str) -> None:
        page = self._pages.get(session)
        if page is None:
            return
        if method == "Page.loadEventFired":
            self._loaded.add(session)
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            page.errors.append(str(details.get("exception", {}).get("description") or details["text"]))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            page.errors.append(" ".join(str(each.get("value", each.get("description"))) for each in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            page.errors.append(f"{event['entry']['text']} {event['entry'].get('url', '')}".strip())
