"""A real browser for tests: Chromium, headless, driven over its debugging pipe."""

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
needs_chromium = [
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed; on Debian: apt-get install chromium"),
    pytest.mark.skipif(sys.platform == "win32", reason="the debugging pipe is handed over as POSIX does"),
]


# Moves two ends of pipes to the numbers where Chromium looks for them. The first may stand on 4 itself.
ON_3_AND_4 = """
import os, sys
commands, answers, *program = sys.argv[1:]
commands, answers = os.dup(int(commands)), os.dup(int(answers))
while min(commands, answers) < 5:
    commands, answers = os.dup(commands), os.dup(answers)
os.dup2(commands, 3), os.dup2(answers, 4)
os.execv(program[0], program)
"""


class Browser:
    """One tab, by the Chrome DevTools Protocol: JSON messages that end in a zero byte, in on descriptor 3, out on 4."""

    def __init__(self, profile):
        commands, self.to_browser = os.pipe()
        self.from_browser, answers = os.pipe()
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}")
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_3_AND_4, str(commands), str(answers), CHROMIUM, *flags, "about:blank"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.unread, self.seen, self.session = b"", [], {}
        self.numbers = itertools.count(1)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        self.call("Page.enable")
        self.call("Network.enable")

    def message(self):
        while b"\0" not in self.unread:
            part = os.read(self.from_browser, 1 << 16)
            assert part, "chromium went away"
            self.unread += part
        text, _, self.unread = self.unread.partition(b"\0")
        return json.loads(text)

    def call(self, method, **parameters):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters, **self.session}
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while (answer := self.message()).get("id") != number:
            self.seen.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def show(self, address, width=1280, scheme="light", media="", scripts=True):
        """Open a file or an address, and return what was asked of the network."""
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.seen.clear()
        self.call("Page.navigate", url=address if isinstance(address, str) else address.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.seen):
            self.seen.append(self.message())
        return self.asked()

    def asked(self):
        """What was asked of the network since the page was opened."""
        sent = [event["params"] for event in self.seen if event.get("method") == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith("data:")]

    def wait(self, expression, seconds=30):
        """Wait until an expression is true, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < deadline, f"{expression} stays {value!r}"
            time.sleep(0.02)
        return value

    def press(self, key, code=0):
        """Press and release a key; `code` is its number where it writes no letter."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            own = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **own)

    def ask(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        os.close(self.to_browser)
        os.close(self.from_browser)
