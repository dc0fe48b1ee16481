"""A page in headless Chromium, driven by real keys and clicks through its debugging pipe."""

import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}
PATIENCE_S = 100


class Page:
    """One page; ``said`` are what its console and its errors said."""

    def __init__(self, reading, writing):
        self.reading, self.writing, self.rest, self.number, self.said = reading, writing, b"", 0, []
        (target,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self.session = None
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Call a method of the protocol and wait for what it returns."""
        self.number += 1
        own = {"sessionId": self.session} if getattr(self, "session", None) else {}
        asked = {"id": self.number, "method": method, "params": parameters, **own}
        os.write(self.writing, json.dumps(asked).encode() + b"\0")
        while (told := self._next()).get("id") != self.number:
            if told.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.said.append(told["params"])
        assert "error" not in told, told
        return told["result"]

    def _next(self):
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.reading], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            more = os.read(self.reading, 1 << 16)
            assert more, "the browser has ended"
            self.rest += more
        first, _, self.rest = self.rest.partition(b"\0")
        return json.loads(first)

    def open(self, address, width, height=900, mobile=False):
        """Open a page in a window of that size and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Page.navigate", url=address)
        until = time.monotonic() + PATIENCE_S
        while self.ask("location.href + document.readyState") != f"{address}complete":
            assert time.monotonic() < until, "the page does not load"
            time.sleep(0.05)

    def ask(self, script):
        """Value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key):
        """Press and release a key."""
        code, text = KEYS[key]
        shared = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        self.call("Input.dispatchKeyEvent", type="keyUp", **shared)


@contextmanager
def browser(folder):
    """A page of a browser of its own, whose profile is in ``folder``."""
    (their_end, ours), (here, theirs) = os.pipe(), os.pipe()
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
               "--remote-debugging-pipe", "about:blank"]  # fmt: skip
    started = subprocess.Popen(
        ["bash", "-c", f'exec "$0" "$@" 3<&{their_end} 4>&{theirs}', *command], pass_fds=(their_end, theirs),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(their_end)
    os.close(theirs)
    try:
        page = Page(here, ours)
        yield page
        page.session = None
        page.call("Browser.close")
    finally:
        os.close(ours)
        os.close(here)
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
