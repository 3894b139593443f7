"""Imagenette (fast.ai): ten classes of ImageNet under their ImageNet numbers, so that its networks are right on it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.download import data_root, downloading
from robustbench_bi.data.sources import SOURCES
from robustbench_bi.data.sources.folder import open_folder

URL = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz"
FOLDER = SOURCES["imagenette"].download_folder


def open_imagenette(path: str | None, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open Imagenette, version 2 with a short side of 320 pixels: 3,925 images for evaluation, 9,469 for training.

    Args:
        path: holds `imagenette2-320`, or its `train` and `val`; by default ~/.cache/robustbench_bi. Where they are
            missing, 340 MB are downloaded to it.
        split: "evaluation" (val) or "training" (train).
        classes: not needed; ImageNet's class numbers are known.

    Raises:
        DataError: the images are neither there nor can they be downloaded.
    """
    root = data_root(path)
    extracted = root if (root / "train").is_dir() and (root / "val").is_dir() else root / FOLDER
    if not extracted.is_dir():
        _download(extracted)
    return open_folder(str(extracted), split=split, classes=classes)


def _download(target: Path) -> None:
    """Unpack beside the target and move it there when it is complete, so that a broken download leaves nothing."""
    with downloading("imagenette", URL, target), tempfile.TemporaryDirectory(dir=target.parent) as beside:
        from torchvision.datasets import Imagenette

        Imagenette(beside, split="val", size="320px", download=True)
        if not target.exists():
            (Path(beside) / FOLDER).rename(target)
