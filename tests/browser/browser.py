"""Chromium without a screen, spoken to over a pipe.

    with Browser(lab.router) as browser:
        browser.open("http://127.0.0.1:9171/")
        browser.look(390, 844, dark=True)
        browser.evaluate("document.title")
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

from bonded import Host

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--remote-debugging-pipe"]
PATIENCE = 60  # s, for an answer
READS, WRITES = 3, 4  # the descriptors that it reads commands from, and writes answers to


class Browser:
    """On a host of the lab, with one page. events: what it has told unasked."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._unread = b""
        self._asked = 0
        self._session: Optional[str] = None
        self.events: List[Dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()

        def connect() -> None:
            # Both out of the way first: either may be where the other is to be.
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, WRITES + 1) for end in (commands, answers)]
            for end, place in zip(ends, (READS, WRITES)):
                os.dup2(end, place)
                os.close(end)

        self._process = self._host.popen(
            ["chromium", *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            preexec_fn=connect, close_fds=False)
        os.close(commands)
        os.close(answers)
        page = next(target for target in self.call("Target.getTargets")["targetInfos"]
                    if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"],
                                  flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: Any) -> None:
        self._session = None
        with contextlib.suppress(OSError, EOFError):
            self.call("Browser.close")
        self._process.end()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> Dict[str, Any]:
        """A command of the DevTools protocol, and its result."""
        self._asked += 1
        command: Dict[str, Any] = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while True:
            message = self._read()
            if message.get("id") == self._asked:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self.events.append(message)

    def _read(self) -> Dict[str, Any]:
        while b"\0" not in self._unread:
            if not select.select([self._in], [], [], PATIENCE)[0]:
                raise TimeoutError("chromium does not answer")
            more = os.read(self._in, 1 << 20)
            if not more:
                raise EOFError("chromium has ended")
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """In the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def look(self, width: int, height: int, dark: bool) -> None:
        """On a screen of that size, in those colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2, mobile=width < 600)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])

    def complaints(self) -> List[str]:
        """What its console would show in red."""
        return [json.dumps(event["params"]) for event in self.events
                if event["method"] == "Runtime.exceptionThrown" or
                event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"]

    def picture(self, path: Path) -> None:
        """The whole page, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True,
                         clip={**size, "scale": 1})
        path.write_bytes(base64.b64decode(shot["data"]))
