"""Reports are made where torch is not: by what is loaded, not by what the files say."""

import subprocess
import sys

import pytest

LOAD_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
for name in [*names, *sys.argv[2:]]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(f"{name} loads torch")
print(len(names))
"""


def load_all(*names):
    return subprocess.run([sys.executable, "-c", LOAD_ALL, *names], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("room", ["analysis", "reports", "runs"])
def test_a_room_loads_no_torch(room):
    done = load_all(f"robustbench_bi.{room}")
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= 2


def test_what_loads_torch_is_found():
    done = load_all("robustbench_bi.runs", "robustbench_bi.probes.heatmaps")
    assert (done.returncode, done.stderr.strip()) == (1, "robustbench_bi.probes.heatmaps loads torch")
