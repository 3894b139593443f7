"""Manifests of corrupted files: size and checksum of each, beside them in a hidden folder.

A manifest is of the files of one cell and block, or of one array, and is written when they are all in place: what no
manifest vouches for is made again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from robustbench_bi.data.containers.image_files import file_size
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.ground.cells import Cell

MANIFESTS = ".bivo-robust"

Entry = tuple[int, int]
"""Size in bytes and CRC-32 of a file."""


def block_manifest(root: Path, cell: Cell, block: int) -> Path:
    """The manifest of one cell and block of image files.

    Example:
        >>> block_manifest(Path("out"), ("fog", 3), 0).as_posix()
        'out/.bivo-robust/fog-3-0000.json'
    """
    corruption, severity = cell
    return root / MANIFESTS / f"{corruption}-{severity}-{block:04d}.json"


def array_manifest(root: Path, corruption: str) -> Path:
    """The manifest of the array of one corruption."""
    return root / MANIFESTS / f"{corruption}.json"


def read_manifest(path: Path) -> dict[str, Entry]:
    """The entry of each file in a manifest; none where it is missing or damaged."""
    try:
        loaded = json.loads(path.read_bytes())
        return {name: (int(size), int(checksum)) for name, (size, checksum) in loaded.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_manifest(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write a manifest; it appears whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(entries), encoding="utf-8")


def find_lacking(folder: Path, names: Sequence[str], manifest: Path, checksums: bool = False) -> list[int]:
    """Find files that are missing, or of another size than their manifest says, or not in it.

    Args:
        folder: where the files lie.
        names: of the files, relative to the folder.
        manifest: theirs.
        checksums: also read every file and compare its CRC-32, so that damage of any kind is found.

    Returns:
        Their positions in `names`.
    """
    entries = read_manifest(manifest)
    # Paths stay text here: a full set has 3.75 million files, and pathlib would triple the time.
    return [row for row, name in enumerate(names) if not _is_whole(f"{folder}/{name}", entries.get(name), checksums)]


def _is_whole(path: str, entry: Entry | None, checksums: bool) -> bool:
    if entry is None or file_size(path) != entry[0]:
        return False
    if not checksums:
        return True
    try:
        return zlib.crc32(Path(path).read_bytes()) == entry[1]
    except OSError:
        return False
