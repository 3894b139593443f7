"""Names of devices, checked without torch, whose import takes seconds."""

from __future__ import annotations

import ctypes
import re
import sys
from importlib import metadata

from robustbench_bi.errors import InputError

_KNOWN = r"auto|cpu|mps|(cuda|xpu)(:[0-9]+)?"
_DRIVER = "libcuda.so.1"


def check_device(name: str) -> str:
    """Refuse what names no device, or a GPU on a machine that has no driver for one.

    Whether the device works is found out when it is first used.

    Raises:
        InputError: it does.

    Example:
        >>> check_device("cpu")
        'cpu'
        >>> check_device("gpu")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: unknown device 'gpu'; expected auto, cpu, cuda or cuda:N
    """
    if not isinstance(name, str) or not re.fullmatch(_KNOWN, name):
        raise InputError(f"unknown device {name!r}; expected auto, cpu, cuda or cuda:N")
    if name.startswith("cuda") and _lacks_driver():
        raise InputError(f"device {name!r} is not available: found no NVIDIA driver; use cpu")
    return name


def _lacks_driver() -> bool:
    """Whether torch will find no NVIDIA driver: it loads the same library. Elsewhere than on Linux torch must tell."""
    if sys.platform != "linux" or "rocm" in metadata.version("torch"):
        return False
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return True
    return False
