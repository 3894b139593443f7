"""Tar archives read in place: an index says where each file lies in its archive, so nothing is unpacked.

An index takes one pass over the headers. It is kept in the folder that `index_folder` names, beside the runs, and never
beside the data. Archives inside an archive are read in place too: their files lie in the folder of their name.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.containers.image_files import File, in_threads
from robustbench_bi.data.containers.tar_headers import FILES, HARD_LINK, LINKS, members
from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import replacing

Result = TypeVar("Result")
_INDEX_FOLDER: ContextVar[Path | None] = ContextVar("index_folder", default=None)


@contextmanager
def index_folder(folder: Path | None) -> Iterator[None]:
    """Keep the indices of archives that are opened inside in a folder; None for nowhere."""
    token = _INDEX_FOLDER.set(folder)
    try:
        yield
    finally:
        _INDEX_FOLDER.reset(token)


@dataclass(frozen=True, eq=False)
class TarFiles:
    """Files in tar archives.

    Args:
        archives: paths of the archives.
        names: the path of each file inside its archive.
        archive: int32 (n,), which of the archives holds each file.
        offsets, lengths: int64 (n,), where its bytes lie.
        folder: what goes before the names in the archive.
    """

    archives: Sequence[str]
    names: Sequence[str]
    archive: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    folder: str = ""

    def path(self, position: int) -> str:
        """The archive and the file in it."""
        return f"{self.archives[self.archive[position]]}: {self.folder}{self.names[position]}"

    def sizes(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Their sizes in bytes."""
        return self.lengths[positions]

    def contents(self, positions: Sequence[int]) -> list[bytes]:
        """The bytes of small files.

        Raises:
            DataError: an archive cannot be read, or ends before.
        """
        with _opened(self.archives) as descriptors:
            return [self._read(descriptors[self.archive[position]], position) for position in positions]

    def visit(
        self, positions: NDArray[np.int64], function: Callable[[int, File], Result], workers: int
    ) -> list[Result]:
        """Call a function with the row and the bytes of each file."""
        with _opened(self.archives) as descriptors:

            def read(row: int) -> Result:
                position = positions[row]
                return function(row, BytesIO(self._read(descriptors[self.archive[position]], position)))

            return in_threads(read, range(len(positions)), workers)

    def taken(self, positions: Sequence[int]) -> Self:
        """The files at some positions, in that order."""
        rows = np.asarray(positions, dtype=np.int64)
        chosen = {name: getattr(self, name)[rows] for name in ("archive", "offsets", "lengths")}
        return replace(self, names=[self.names[position] for position in positions], **chosen)

    def _read(self, descriptor: int, position: int) -> bytes:
        length = int(self.lengths[position])
        content = os.pread(descriptor, length, int(self.offsets[position]))
        if len(content) != length:
            raise DataError(f"{self.path(position)} is truncated; download the archive again")
        return content


@contextmanager
def _opened(archives: Sequence[str]) -> Iterator[list[int]]:
    descriptors: list[int] = []
    try:
        for archive in archives:
            try:
                descriptors.append(os.open(archive, os.O_RDONLY))
            except OSError as error:
                raise DataError(f"cannot read {archive}: {error.strerror}") from error
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def open_tars(archives: Sequence[str | Path]) -> TarFiles:
    """List the files of tar archives, from their indices where these are at hand.

    Raises:
        DataError: an archive cannot be read, is compressed, cut short, or is no tar.
    """
    parts = [_indexed(os.path.abspath(archive)) for archive in archives]  # noqa: PTH100 - as it was typed
    names = [name for part in parts for name in part[0]]
    counts = [len(part[0]) for part in parts]
    return TarFiles(
        [str(archive) for archive in archives],
        names,
        np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        np.concatenate([part[1] for part in parts]) if parts else np.empty(0, dtype=np.int64),
        np.concatenate([part[2] for part in parts]) if parts else np.empty(0, dtype=np.int64),
    )


Entry = tuple[str, int, int]
"""Name of a file, where its bytes begin, and how many there are."""
Index = tuple[list[str], NDArray[np.int64], NDArray[np.int64]]
"""Names of files, where their bytes begin, and how many there are."""


def _indexed(archive: str) -> Index:
    """The index of an archive: the one that is kept, unless the archive has changed since."""
    try:
        state = os.stat(archive)  # noqa: PTH116
    except OSError as error:
        raise DataError(f"cannot read {archive}: {error.strerror}") from error
    folder = _INDEX_FOLDER.get()
    key = hashlib.sha256(f"{archive}\n{state.st_size}\n{state.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    kept = None if folder is None else folder / f"{key.hexdigest()[:32]}.npz"
    if kept is not None:
        with suppress(OSError, ValueError, KeyError, EOFError), np.load(kept, allow_pickle=False) as stored:
            text = stored["names"].tobytes().decode("utf-8", "surrogateescape")
            return text.split("\0") if text else [], stored["offsets"], stored["lengths"]
    index = _read_index(archive, state.st_size)
    if kept is not None:
        joined = np.frombuffer("\0".join(index[0]).encode("utf-8", "surrogateescape"), dtype=np.uint8)
        with replacing(kept) as partial, partial.open("wb") as file:
            np.savez(file, names=joined, offsets=index[1], lengths=index[2])
    return index


def _read_index(archive: str, size: int) -> Index:
    found: list[Entry] = []
    with _opened([archive]) as (descriptor,):
        _index_part(descriptor, archive, 0, size, "", found)
    if not found:
        raise DataError(f"{archive} holds no files; expected a tar archive of images")
    names, offsets, lengths = zip(*found, strict=True)
    return list(names), np.array(offsets, dtype=np.int64), np.array(lengths, dtype=np.int64)


def _index_part(descriptor: int, archive: str, start: int, end: int, folder: str, found: list[Entry]) -> None:
    """Add the files of an archive that lies from one byte to another, and of the archives in it."""
    first, links = len(found), []
    for name, kind, target, content, length in members(descriptor, archive, start, end):
        if kind in LINKS:
            links.append((name, posixpath.join("" if kind == HARD_LINK else posixpath.dirname(name), target)))
        elif kind in FILES and name.lower().endswith(".tar"):
            _index_part(descriptor, archive, content, content + length, f"{folder}{Path(name).stem}/", found)
        elif kind in FILES and not name.endswith("/"):
            found.append((folder + name.removeprefix("./"), content, length))
    if links:
        found += _linked(archive, links, folder, found[first:])


def _linked(archive: str, links: Sequence[tuple[str, str]], folder: str, files: Sequence[Entry]) -> list[Entry]:
    """Links are the files that they lead to, as where they are unpacked."""
    held, found = {name: (content, length) for name, content, length in files}, []
    for name, target in links:
        own = held.get(folder + posixpath.normpath(target))
        if own is None:
            raise DataError(
                f"{archive} has {name} as a link to {target}, which is not a file earlier in the archive; repack it "
                "with tar --dereference --hard-dereference"
            )
        found.append((folder + name.removeprefix("./"), *own))
        held[found[-1][0]] = own
    return found
