"""Text files that users write or download: lines of names and labels."""

from __future__ import annotations

import re
from pathlib import Path

from robustbench_bi.errors import DataError

VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})")
"""In the names of ImageNet's validation pictures."""


def numbered_lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a text that are not empty, with their numbers from 1; a byte order mark and CRLF are no matter.

    Raises:
        DataError: it cannot be read, or is no UTF-8.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not valid UTF-8 (byte {error.start + 1}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def is_real(path: Path) -> bool:
    """Whether a file is ReaL's: a JSON list of lists of class numbers."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except (OSError, ValueError):
        return False


def unused_labels(count: int, what: str, of: str | Path) -> tuple[str, ...]:
    """The remark that labels are of no picture; empty where all are of one.

    Example:
        >>> unused_labels(2, "label", "val.txt"), unused_labels(0, "label", "val.txt")
        (('2 labels of val.txt are of no image',), ())
    """
    if not count:
        return ()
    return (f"{count:,} {what}{' of ' if count == 1 else 's of '}{of} {'is' if count == 1 else 'are'} of no image",)
