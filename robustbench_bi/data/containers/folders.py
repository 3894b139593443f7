"""Folders of class folders: what they hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from robustbench_bi.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


BESIDE = ("__MACOSX", "@eaDir")
"""Folders that macOS and network drives put beside others."""


def expand_user(path: str | Path) -> Path:
    """Replace a leading ~; pathlib's own `expanduser` raises where the user is unknown, here the text stays."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def existing_folder(path: str) -> Path:
    """The folder that a user named.

    Raises:
        DataError: it does not exist, or is a file.
    """
    root = expand_user(path)
    if not os.path.exists(root):  # noqa: PTH110 - pathlib's raises where a name is too long
        raise DataError(f"there is no folder {root}")
    if not root.is_dir():
        wanted = "; give the folder that holds it" if root.suffix in (".tar", ".npy", ".npz") else ""
        raise DataError(f"{root} must be a folder of class folders, but it is a file{wanted}")
    return root


def list_classes(
    root: Path, folders: list[str] | None = None, within: str = "", may_be_empty: Collection[str] = ()
) -> dict[str, list[str]]:
    """The images in each class folder, both sorted by code point.

    Args:
        root: holds one folder for each class, and these hold image files; folders inside class folders are not read.
        folders: the class folders, where they are not all folders there.
        within: a folder in each class folder that holds its images.
        may_be_empty: class folders that may hold none; then they are left out.

    Returns:
        class folder -> names of its images.

    Raises:
        DataError: there are no class folders, or some hold no images.
    """
    folders = subfolders(root) if folders is None else folders
    if not folders:
        found = "images but no class folders" if image_names(root) else "neither class folders nor images"
        raise DataError(f"expected class folders with images in {root}, which holds {found}")
    listing = {folder: image_names(root / folder / within) for folder in folders}
    empty = [folder for folder, images in listing.items() if not images and folder not in may_be_empty]
    if empty:
        first = root / empty[0]
        hint = f"; if {first} holds the class folders, give that path" if subfolders(first) else ""
        raise DataError(
            f"expected images in every class folder of {root}, but {len(empty)} of {len(folders)} hold none, "
            f"first {empty[0]}{hint}"
        )
    return {folder: images for folder, images in listing.items() if images}


def subfolders(root: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    return sorted(entry.name for entry in _entries(root) if entry.is_dir())


def unpacked(root: Path, is_it: Callable[[Path], bool]) -> Path:
    """The folder itself, or the only folder in it where that alone is what is wanted: some archives unpack to two.

    Args:
        root: the folder.
        is_it: whether a folder has the layout that is wanted.
    """
    if is_it(root):
        return root
    inner = subfolders(root)
    return root / inner[0] if len(inner) == 1 and is_it(root / inner[0]) else root


def image_names(folder: Path) -> list[str]:
    """Names of the image files that lie directly in a folder, sorted."""
    entries = _entries(folder)
    return sorted(entry.name for entry in entries if entry.name.lower().endswith(EXTENSIONS) and not entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and entry.name not in BESIDE]
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}") from error
