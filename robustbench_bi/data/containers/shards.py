"""Which files a pattern means: archives and tables often come in numbered parts, and none may be missing."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from robustbench_bi.data.containers.folders import expand_user
from robustbench_bi.errors import DataError

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
"""Words in the names of files, or of their folders, that say which part of a data set they hold."""


def matching(pattern: str, suffix: str) -> list[str]:
    """The files of a pattern, sorted.

    Args:
        pattern: a file, a folder of such files, a pattern with * and ?, or numbered parts as part-{0000..0063}.tar.
        suffix: of the files, such as ".tar".

    Raises:
        DataError: there is none, a part is missing, or some are for training and others for evaluation.
    """
    text = os.fspath(expand_user(pattern))
    parts = _numbered(text)
    if parts is not None:
        missing = [part for part in parts if not os.path.isfile(part)]  # noqa: PTH113
        if missing:
            raise DataError(f"{pattern} means {len(parts)} files, of which {len(missing)} are missing: {missing[0]}")
        return parts
    if os.path.isdir(text):  # noqa: PTH112
        found = sorted(str(path) for path in Path(text).glob(f"*{suffix}"))
    else:
        found = [text] if os.path.isfile(text) else sorted(glob.glob(text, recursive=True))  # noqa: PTH113, PTH207
    if not found:
        raise DataError(f"there is no file {pattern}; expected {suffix} files, such as part-*{suffix}")
    _check_splits(pattern, found)
    _check_gaps(found)
    return found


def _numbered(pattern: str) -> list[str] | None:
    """The parts that {0000..0063} means; None where there is no such range."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        return None
    width, numbers = len(found[1]), range(int(found[1]), int(found[2]) + 1)
    return [f"{pattern[: found.start()]}{number:0{width}d}{pattern[found.end() :]}" for number in numbers]


def _check_splits(pattern: str, paths: list[str]) -> None:
    """Refuse parts of several splits, which folders of Hugging Face's data sets hold side by side."""
    for place in (slice(-1, None), slice(-2, -1)):  # the file, and the folder that it lies in
        first: dict[frozenset[str], str] = {}
        for path in paths:
            words = SPLITS.intersection(re.split(r"[^a-z]+", "".join(Path(path).parts[place]).lower()))
            if words:
                first.setdefault(words, path)
        if len(first) > 1:
            raise DataError(
                f"{pattern} matches parts of different splits, such as {' and '.join(list(first.values())[:2])}; give "
                "the parts of one split"
            )


def _check_gaps(paths: list[str]) -> None:
    """Refuse numbered parts of which one is missing."""
    stems = [Path(path).name.split(".")[0] for path in paths]
    found = [re.fullmatch(r"(.*?)(\d+)(?:-of-(\d+))?", stem) for stem in stems]
    if not all(found) or all(re.fullmatch(r"n\d{8}", stem) for stem in stems):
        return
    for prefix, total in {(part[1], part[3]) for part in found if part}:
        numbers = {int(part[2]) for part in found if part and part[1] == prefix}
        wanted = range(int(total)) if total else range(min(numbers), max(numbers) + 1)
        missing = sorted(set(wanted) - numbers)
        if missing:
            of = f" of {total}" if total else f" between {min(numbers)} and {max(numbers)}"
            raise DataError(
                f"{len(missing)} parts {prefix}… are missing in {Path(paths[0]).parent}{of}, the first is number "
                f"{missing[0]}; download them, or name the parts to read, as in {{00000..00003}}"
            )
