"""Where an installation keeps what numba compiles: in the user's folder, so that the next installation finds it.

numba keeps it beside the source files, and so anew for each virtual environment: 25 seconds of the first evaluation.
Here it goes by what the kernels' files hold. A checkout in which somebody works keeps numba's own way, which sees each
change.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from numba import config
from numba.core import caching

PACKAGE = Path(__file__).parent.parent
KERNELS = "*numba_kernels.py"


class KeptKernels:
    """A locator of numba's: it says where the compiled functions of a file are kept, and whether they still fit it."""

    def __init__(self, function: Any, file: str) -> None:
        self._line = function.__code__.co_firstlineno
        self._folder = kept_folder() / "-".join(Path(file).relative_to(PACKAGE).with_suffix("").parts)

    @classmethod
    def from_function(cls, function: Any, file: str) -> KeptKernels | None:
        """The locator of a function; None for a function that is not of this installation, or without a folder."""
        if not is_installed() or PACKAGE not in Path(file).parents:
            return None
        locator = cls(function, file)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator

    def ensure_cache_path(self) -> None:
        """Make the folder, and see that it can be written to."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=self._folder).close()

    def get_cache_path(self) -> str:
        """The folder."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """What changes with the kernels."""
        return kernels_stamp()

    def get_disambiguator(self) -> str:
        """What tells functions of one name apart."""
        return str(self._line)


@functools.cache
def kernels_stamp() -> str:
    """SHA-256 (hex) of all kernels' files: a compiled function holds what it calls in other files too."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob(KERNELS)):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def kept_folder() -> Path:
    """The folder of this version of the kernels, below the user's cache."""
    above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(above, "robustbench_bi", "kernels", kernels_stamp()[:16])


def is_installed() -> bool:
    """Whether this package was installed, and is not a checkout that somebody works in."""
    return PACKAGE.parent.name in ("site-packages", "dist-packages")


@functools.cache
def keep() -> None:
    """Let numba ask here first, unless the environment tells it where to keep what it compiles."""
    # numba has no public way to do so; where a version has another form, its own way remains.
    implementation = getattr(caching, "CacheImpl", None) or getattr(caching, "_CacheImpl", None)
    locators = getattr(implementation, "_locator_classes", None)
    if isinstance(locators, list) and not config.CACHE_DIR and not getattr(config, "CACHE_LOCATOR_CLASSES", ""):
        locators.insert(0, KeptKernels)
