"""A page in headless Chromium, driven by the DevTools protocol over a pipe. Tests of the report use it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


class Page:
    """An open page.

    complaints: errors, warnings and other words in its console.
    requests: addresses that it asked for. Data in the page itself has none.

    A page is closed by `close`, or as a context manager.
    """

    def __init__(self, profile: Path) -> None:
        here, theirs = os.pipe(), os.pipe()
        command = [CHROMIUM, *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]

        def descriptors() -> None:  # Chromium reads commands from 3 and writes answers to 4
            read, write = os.dup(here[0]), os.dup(theirs[1])
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            command,
            close_fds=False,
            preexec_fn=descriptors,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(here[0])
        os.close(theirs[1])
        self._commands, self._answers = here[1], theirs[0]
        self._rest, self._number, self._session = b"", 0, ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file in a window of some size, light or dark, and wait until it is drawn."""
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self.complaints, self.requests = [], []
        self("Page.navigate", url=path.absolute().as_uri())
        self.run("new Promise(done => document.readyState == 'complete' ? done() : (onload = done))")
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path: Path, *, whole: bool = False, clip: dict[str, float] | None = None) -> None:
        """Write a PNG of the window, of the whole page, or of a part of it."""
        more: dict[str, Any] = {"captureBeyondViewport": True} if whole or clip else {}
        if clip:
            more["clip"] = {"scale": 1, **clip}
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", **more)["data"]))

    def close(self) -> None:
        """End Chromium, with all its processes."""
        self._session = ""  # the command is for the browser, not for a page
        self("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._commands)
        os.close(self._answers)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 2**20)
            assert part, "Chromium ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what a page must not do: complain, or ask for an address."""
        kind, details = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"]))
        elif kind == "Runtime.consoleAPICalled":
            self.complaints.append(str(details["args"]))
        elif kind == "Log.entryAdded":
            self.complaints.append(details["entry"]["text"])
        elif kind == "Page.javascriptDialogOpening":
            self.complaints.append(details["message"])
        elif kind == "Network.requestWillBeSent" and not details["request"]["url"].startswith("data:"):
            self.requests.append(details["request"]["url"])
