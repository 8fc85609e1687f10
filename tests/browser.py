"""A browser for tests that look at pages. It is skipped where Chromium is not installed."""

import base64
import json
import os
import shutil
import subprocess
import sys

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
    ),
    *(
        "--disable-sync",
        "--no-first-run",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
        "--log-level=3",
    ),
)
#: Chromium reads from descriptor 3 and writes to 4: move ours there and become Chromium.
AS_3_AND_4 = """
import fcntl, os, sys
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
os.dup2(high[0], 3), os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A headless Chromium, driven by its DevTools protocol over pipes: no network needed."""

    def __init__(self, folder):
        here, there = os.pipe(), os.pipe()
        kept = (here[0], there[1])
        arguments = [sys.executable, "-c", AS_3_AND_4, *map(str, kept), CHROMIUM, *FLAGS]
        arguments += [f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(
            arguments, pass_fds=kept, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        for end in kept:
            os.close(end)
        self.write, self.read = os.fdopen(here[1], "wb", 0), os.fdopen(there[0], "rb", 0)
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        target = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")[
            "targetId"
        ]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        """Call a method of the protocol and wait for its result; keep the events on the way."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.write.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        """The next message."""
        while b"\0" not in self.rest:
            piece = self.read.read(1 << 20)
            assert piece, "the browser went away"
            self.rest += piece
        text, _, self.rest = self.rest.partition(b"\0")
        return json.loads(text)

    def open(self, path, width, scheme="light"):
        """Show a file in a window of this width and collect the events of loading it."""
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        self(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.events.clear()
        self("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())
        self.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page."""
        answer = self(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def seen(self, method):
        """The parameters of every event of this name since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def screenshot(self):
        """The whole page as a PNG."""
        answer = self("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def close(self):
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.write.close()
        self.read.close()
