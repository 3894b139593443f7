"""Files that are whole or absent: written beside their place, flushed to disk, then renamed into it."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from robustbench_bi.errors import DataError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it becomes `path`, on failure it vanishes.

    A process killed at any moment leaves either the old file or the new one under `path`, never a part.
    Each process writes to a partial file of its own, so two that write the same file cannot mix their bytes.

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
    partial = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.partial")
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
        advice = "Nothing was written; fix this and run again"
        raise DataError(f"cannot write {path}: {reason}. {advice}") from error
    except BaseException:
        _discard(partial)
        raise


def check_writable(path: Path, *, folder: bool) -> None:
    """Refuse a place that nothing can be written to, before work is done for it.

    Args:
        path: a folder or a file, which may be there or not.
        folder: whether it is a folder.

    Raises:
        DataError: a file is in its way, or its folder is closed to us.
    """
    place = path.absolute() if folder else path.absolute().parent
    existing = next(near for near in (place, *place.parents) if os.path.exists(near))  # noqa: PTH110 - pathlib's raises
    if not existing.is_dir():
        raise DataError(f"cannot write to {path}: {existing} is a file; choose another place")
    if not folder and path.is_dir():
        raise DataError(f"cannot write to {path}: it is a folder; name a file in it")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise DataError(f"cannot write to {path}: permission denied in {existing}; choose another place")


def remove_partial_files(folder: Path) -> None:
    """Remove what processes of this machine that live no longer have left half-written in a folder."""
    for partial in folder.glob(".*.partial"):
        owner = re.fullmatch(r"\..*\.(\w*)-(\d+)\.partial", partial.name)
        if owner and owner[1] == _machine() and not _lives(int(owner[2])):
            _discard(partial)


def _machine() -> str:
    return re.sub(r"\W", "", platform.node())


def _lives(process: int) -> bool:
    """Whether a process is there. Where asking could stop it (Windows), it is taken to be."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _discard(partial: Path) -> None:
    with suppress(OSError):
        partial.unlink()
