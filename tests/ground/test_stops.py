import signal
import subprocess
import sys

import pytest

SWALLOWED = """
import os, signal, time
from robustbench_bi.ground.stops import exit_code_of, stops_as_exceptions

class Noisy:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000):
            pass

try:
    with stops_as_exceptions():
        Noisy()
        time.sleep(60)
except KeyboardInterrupt as stop:
    raise SystemExit(exit_code_of(stop))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stop_that_python_drops_is_answered_after_that(name, code):
    command = [sys.executable, "-c", SWALLOWED.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert hasattr(signal, name)
