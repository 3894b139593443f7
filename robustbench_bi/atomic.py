"""Files that are whole or absent: written beside their place, flushed to disk, then renamed into it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from robustbench_bi.errors import DataError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it becomes `path`, on failure it vanishes.

    A process killed at any moment leaves either the old file or the new one under `path`, never a part.
    The name of the partial file depends on `path` alone, so a process started again writes over what it left.

    Args:
        path: where the file shall stand. Its folder is made when it is missing.

    Raises:
        DataError: the file cannot be written, say because the disk is full or the folder is not writable.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "result.txt"
        >>> with replacing(target) as partial:
        ...     _ = partial.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        _discard(partial)
        if isinstance(error, DataError):
            raise
        reason = error.strerror or error
        advice = "Nothing was written there; clear the way and run again"
        raise DataError(f"cannot write {path}: {reason}. {advice}") from error
    except BaseException:
        _discard(partial)
        raise


def _discard(partial: Path) -> None:
    with suppress(OSError):
        partial.unlink()
