"""What one installation has compiled, the next one of the same kernels finds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "robustbench_bi"
WITHOUT_OPERATORS = """
from robustbench_bi.ground import kept_numba_kernels as kept
from robustbench_bi.ground.run_lengths_numba_kernels import pack
from robustbench_bi.metrics.detection.matching_numba_kernels import match
from robustbench_bi.metrics.detection.precision_numba_kernels import weigh
folders = [function.stats.cache_path for function in (pack, match, weigh)]
print(sum(folder.startswith(str(kept.kept_folder())) for folder in folders), kept.kept_folder())
"""
PROGRAM = """
import numpy as np, robustbench_bi as rb
from robustbench_bi.ground import kept_numba_kernels as kept
rb.corrupt(np.full((40, 40, 3), 90, np.uint8), "gaussian_noise", 1)
from robustbench_bi.corruptions import noise_numba_kernels as noise
(hits,) = noise._add._cache_hits.values() if noise._add._cache_hits else (0,)
print(hits, kept.kept_folder())
"""


def hits_in(site, home, program=PROGRAM):
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(home)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=site
    )
    hits, folder = done.stdout.split()
    return int(hits), Path(folder)


def install(folder):
    site = folder / "site-packages"
    shutil.copytree(PACKAGE, site / "robustbench_bi", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def test_the_next_installation_compiles_nothing(tmp_path):
    home, first, second = tmp_path / "home", install(tmp_path / "first"), install(tmp_path / "second")
    assert hits_in(first, home)[0] == 0
    hits, folder = hits_in(second, home)
    assert hits == 1 and list(folder.rglob("*.nbc"))
    assert not list(second.rglob("*.nbc"))
    other = second / "robustbench_bi" / "ops" / "random_bits" / "numba_kernels.py"
    other.write_text(other.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    hits, another = hits_in(second, home)
    assert hits == 0 and another != folder


def test_kernels_that_are_no_operators_are_kept_there_too(tmp_path):
    assert hits_in(install(tmp_path), tmp_path / "home", WITHOUT_OPERATORS)[0] == 3
