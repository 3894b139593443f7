"""Public data sets that torchvision fetches: where they are kept, whether they are there, and how they are fetched."""

from __future__ import annotations

import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from robustbench_bi.data.containers.folders import expand_user
from robustbench_bi.data.sources import named_source
from robustbench_bi.errors import DataError

TIMEOUT = 30  # seconds without an answer; without it a machine behind a closed network waits for minutes


def data_root(path: str | None) -> Path:
    """The folder that the user named, or ~/.cache/robustbench_bi."""
    return expand_user(path or "~/.cache/robustbench_bi")


def is_at_hand(source: str) -> bool:
    """Whether a source can be opened without a download.

    Args:
        source: as it is typed.

    Example:
        >>> is_at_hand("demo"), is_at_hand("cifar-10:nowhere")
        (True, False)
    """
    row, path = named_source(source)
    root = data_root(path)
    return not row.download_folder or any((folder / row.download_folder).is_dir() for folder in (root, root.parent))


@contextmanager
def downloading(name: str, url: str, unpacked: Path) -> Iterator[None]:
    """Run a download of torchvision's: its messages go to stderr, and whatever fails becomes one line.

    Args:
        name: of the data set.
        url: of the archive, for the user who must fetch it in another way.
        unpacked: the folder that must exist at the end.

    Raises:
        DataError: the download failed, or the folder cannot be written.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # network, disk, checksum and archive each have errors of their own
        # urllib wraps the system's error in brackets.
        why = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        with suppress(OSError):
            unpacked.parent.rmdir()  # unless it holds something
        raise DataError(
            f"{name} is not in {unpacked.parent} and could not be downloaded ({why}): download {url} and unpack it so "
            f"that {unpacked} exists"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
