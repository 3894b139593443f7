"""Folders of class folders: what they hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from robustbench_bi.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of the files that are read: those that torchvision's ImageFolder takes."""
OTHER_EXTENSIONS = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl")
"""Of pictures too, which are not read."""


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
        wanted = {".npy": "; give the folder that holds it", ".npz": "; give the folder that holds it"}
        wanted[".tar"] = f"; give the folder that holds it, or tar:{path} for an archive of images"
        raise DataError(f"{root} must be a folder of class folders, but it is a file{wanted.get(root.suffix, '')}")
    return root


def list_classes(
    root: Path, folders: list[str] | None = None, within: str = "", may_be_empty: Collection[str] = ()
) -> dict[str, list[str]]:
    """The images in each class folder, both sorted by code point.

    Args:
        root: holds one folder for each class, and these hold image files; further ones may lie in folders inside them.
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
        if image_names(root):
            raise DataError(
                f"expected class folders with images in {root}, which holds images but no class folders: put each "
                "class into a folder of its own, or name the label of each image with --labels FILE"
            )
        raise DataError(f"expected class folders with images in {root}, which holds neither class folders nor images")
    listing = {folder: _class_images(root / folder / within) for folder in folders}
    empty = [folder for folder, images in listing.items() if not images and folder not in may_be_empty]
    if empty:
        first = root / empty[0]
        hint = f"; if {first} holds the class folders, give that path" if subfolders(first) else ""
        raise DataError(
            f"expected images in every class folder of {root}, but {len(empty)} of {len(folders)} hold none, "
            f"such as {empty[0]}{hint}"
        )
    return {folder: images for folder, images in listing.items() if images}


def _class_images(folder: Path) -> list[str]:
    """The images of a class folder; where it holds any, those in the folders inside it too, as for ImageFolder.

    One that holds folders alone may hold the class folders, so nothing is taken from it.
    """
    own = _entries(folder)
    direct, inner = _names_of_images(own), _inner_folders(own)
    return sorted([*direct, *_images_within(inner, "", ())]) if direct and inner else direct


def _images_within(folders: Iterable[os.DirEntry[str]], within: str, above: tuple[str, ...]) -> list[str]:
    names: list[str] = []
    for folder in folders:
        place = os.path.realpath(folder.path)
        if place in above:  # a link to where it lies
            continue
        entries, path = _entries(Path(folder.path)), f"{within}{folder.name}/"
        names += [path + name for name in _names_of_images(entries)]
        names += _images_within(_inner_folders(entries), path, (*above, place))
    return names


def remarks_on(root: Path, folders: Iterable[str]) -> tuple[str, ...]:
    """What is left out of class folders and beside them, a sentence each.

    Example:
        >>> remarks_on(Path("."), [])
        ()
    """
    beside = len(image_names(root))
    held = (entry.name for folder in folders for entry in _entries(root / folder))
    others = Counter(suffix for name in held if (suffix := Path(name.lower()).suffix) in OTHER_EXTENSIONS)
    shown = ", ".join(f"{number:,} {suffix}" for suffix, number in sorted(others.items()))
    remarks = [f"Images beside the class folders are not read: {beside:,}"] if beside else []
    return (*remarks, f"Images in formats that are not read: {shown}") if shown else tuple(remarks)


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
    return _names_of_images(_entries(folder))


def is_image(name: str) -> bool:
    """Whether a path in a container is that of an image: by its suffix, and not hidden.

    Example:
        >>> is_image("cat/1.JPEG"), is_image("cat/._1.JPEG"), is_image("cat/1.txt")
        (True, False, False)
    """
    return name.lower().endswith(EXTENSIONS) and not name.rpartition("/")[2].startswith(".")


def _names_of_images(entries: list[os.DirEntry[str]]) -> list[str]:
    return sorted(entry.name for entry in entries if entry.name.lower().endswith(EXTENSIONS) and not entry.is_dir())


def _inner_folders(entries: list[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    return [entry for entry in entries if not entry.name.lower().endswith(EXTENSIONS) and entry.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and entry.name not in BESIDE]
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}") from error
