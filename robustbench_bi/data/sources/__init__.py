"""A table of data sources; one file a source, or a family of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from robustbench_bi.errors import DataError
from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    from robustbench_bi.data.containers.files import Files


@dataclass(frozen=True)
class Source:
    """A row of `SOURCES`.

    Args:
        name: what is typed before the colon. A bare path is a `folder`.
        code: "module:function" of the opener, `(path: str | None, *, split, classes: Path | None) -> Dataset`.
        path: whether a path follows the colon: "none", "optional" or "required".
        summary: one line for `bivo-robust list data`.
        training: whether there is a training split.
        class_file: whether classes are folders, whose numbers a class file can give.
        mce_applies: whether AlexNet's errors on ImageNet-C, and so an mCE, can say something of it; not where it never
            holds ImageNet's classes.
        part_of_imagenet: where it holds only some of ImageNet's classes: how many, in words.
        download_folder: what a download unpacks to, in the user's folder; empty where nothing is fetched.
        arrays: whether its images lie in arrays, and corrupted ones made from them are written as arrays.
        corrupted_as: the row that reads corrupted images made from it; None where it holds corrupted ones itself.
        weights: the weights that come with it: a network takes them where none are named. None where there are none.
        preset: the training recipe that is taken where none is named.
        class_space: where it holds only some of a network's classes: whether these alone compete unless a user says
            otherwise. None where that is no question.
        files: "module:function", path → `Files`, its images without their classes; empty where a file of labels cannot
            tell these.
        pattern_of: the suffix of files that its path may be a pattern of; empty where it is one folder or file.
        hidden: why its pictures are not drawn, on report pages and in figures; empty where they may be.
        task: what its labels are for, a row of `robustbench_bi.tasks.TASKS`.
        images_root: whether its pictures may lie apart from its labels.
        may_adapt: whether networks may adapt to it.
    """

    name: str
    code: str
    path: Literal["none", "optional", "required"]
    summary: str
    training: bool = True
    class_file: bool = False
    mce_applies: bool = True
    part_of_imagenet: str | None = None
    download_folder: str = ""
    arrays: bool = False
    corrupted_as: str | None = "imagenet-c"
    weights: str | None = None
    preset: str = "paper"
    task: str = "classification"
    images_root: bool = False
    class_space: Literal["restricted", "full"] | None = None
    files: str = ""
    pattern_of: str = ""
    hidden: str = ""
    may_adapt: bool = True

    @property
    def stored(self) -> bool:
        """Whether it holds corrupted images as files."""
        return self.corrupted_as is None and self.task == "classification"

    def load_files(self, path: str) -> Files:
        """List the images of a container, whatever their classes."""
        module, _, function = self.files.partition(":")
        found: Files = getattr(importlib.import_module(module), function)(path)
        return found

    def check_shown(self) -> None:
        """Refuse to draw its pictures where they may not be shown.

        Raises:
            DataError: they may not.
        """
        if self.hidden:
            raise DataError(f"images of {self.name} are not shown: {self.hidden}")


def _shift(name: str, summary: str, **own: Any) -> Source:
    """A row of a set that shifts ImageNet's pictures: AlexNet's errors on ImageNet-C do not apply to it."""
    code = f"robustbench_bi.data.sources.shifts:open_{name.replace('-', '_')}"
    return Source(name, code, "required", summary, training=False, mce_applies=False, **own)


def _cifar(name: str, summary: str, **own: Any) -> Source:
    """A row of a set of 32×32 pixels in arrays."""
    code = f"robustbench_bi.data.sources.cifar_sets:open_{name.replace('-', '_').replace('.', '_')}"
    own = {"path": "required", "training": False, **own}
    return Source(name, code, summary=summary, mce_applies=False, arrays=True, **own)


SOURCES = Table(
    "data source",
    [
        Source(
            "demo",
            "robustbench_bi.data.sources.demo:open_demo",
            "none",
            "ten classes of synthetic shapes at 64×64: 500 for evaluation, 10,000 for training",
            mce_applies=False,
            weights="demo",
            preset="demo",
        ),
        Source(
            "folder",
            "robustbench_bi.data.sources.folder:open_folder",
            "required",
            "a folder of class folders; the path alone is enough (its val and train are used if both exist)",
            class_file=True,
            files="robustbench_bi.data.sources.archives:folder_files",
        ),
        Source(
            "imagenet-c",
            "robustbench_bi.data.sources.imagenet_c:open_imagenet_c",
            "required",
            "published corrupted files: PATH/<corruption>/<severity>/<class folder>/<image>",
            training=False,
            class_file=True,
            corrupted_as=None,
        ),
        Source(
            "cifar-10",
            "robustbench_bi.data.sources.cifar:open_cifar10",
            "optional",
            "CIFAR-10 at 32×32, downloaded if PATH lacks it",
            mce_applies=False,
            download_folder="cifar-10-batches-py",
            arrays=True,
            corrupted_as="cifar-10-c",
        ),
        Source(
            "cifar-10-c",
            "robustbench_bi.data.sources.cifar:open_cifar10_c",
            "required",
            "published corrupted arrays: PATH/<corruption>.npy and PATH/labels.npy",
            training=False,
            mce_applies=False,
            arrays=True,
            corrupted_as=None,
        ),
        Source(
            "imagenette",
            "robustbench_bi.data.sources.imagenette:open_imagenette",
            "optional",
            "ten ImageNet classes, short side 320, downloaded if PATH lacks them",
            part_of_imagenet="10 of 1,000 classes",
            download_folder="imagenette2-320",
        ),
        Source(
            "tar",
            "robustbench_bi.data.sources.archives:open_tar",
            "required",
            "tar archives read in place, also WebDataset's shards: PATH is a pattern such as val-{0000..0063}.tar",
            training=False,
            class_file=True,
            files="robustbench_bi.data.sources.archives:tar_files",
            pattern_of=".tar",
        ),
        Source(
            "parquet",
            "robustbench_bi.data.sources.archives:open_parquet_rows",
            "required",
            "Hugging Face's parquet files with a column of images and one of labels: PATH is a pattern",
            training=False,
            class_file=True,
            files="robustbench_bi.data.sources.archives:parquet_files",
            pattern_of=".parquet",
        ),
        _shift("imagenet-v2", "ImageNet-V2: PATH/<class number>/<image>, as published"),
        _shift("imagenet-a", "ImageNet-A: 200 classes by wnid; only these compete", class_space="restricted"),
        _shift("imagenet-r", "ImageNet-R: 200 classes by wnid; only these compete", class_space="restricted"),
        _shift("imagenet-sketch", "ImageNet-Sketch: 1,000 classes by wnid"),
        _shift(
            "objectnet",
            "ObjectNet: 113 of its folders, which match 125 of ImageNet's classes; the border is cut off",
            class_space="restricted",
            hidden="its licence allows single images on the web only with their red border, which is cut off here",
            may_adapt=False,
        ),
        Source(
            "tiny-imagenet",
            "robustbench_bi.data.sources.tiny_imagenet:open_tiny_imagenet",
            "required",
            "Tiny-ImageNet as published: 200 classes at 64×64, with val_annotations.txt",
            class_file=True,
            mce_applies=False,
            corrupted_as="tiny-imagenet-c",
        ),
        Source(
            "tiny-imagenet-c",
            "robustbench_bi.data.sources.imagenet_c:open_tiny_imagenet_c",
            "required",
            "published corrupted files of Tiny-ImageNet: PATH/<corruption>/<severity>/<wnid>/<image>",
            training=False,
            class_file=True,
            mce_applies=False,
            corrupted_as=None,
        ),
        _cifar(
            "cifar-100",
            "CIFAR-100 at 32×32, downloaded if PATH lacks it",
            path="optional",
            training=True,
            download_folder="cifar-100-python",
            corrupted_as="cifar-100-c",
        ),
        _cifar("cifar-100-c", "published corrupted arrays of CIFAR-100, as cifar-10-c", corrupted_as=None),
        _cifar("cifar-10.1", "CIFAR-10.1: PATH/cifar10.1_v6_data.npy and its labels", corrupted_as="cifar-10-c"),
        _cifar("cifar-10.2", "CIFAR-10.2: PATH/cifar102_test.npz", corrupted_as="cifar-10-c"),
        Source(
            "coco",
            "robustbench_bi.data.sources.coco:open_coco",
            "required",
            "images with boxes and masks, in COCO's layout: PATH is COCO's folder (val2017) or an annotation file",
            mce_applies=False,
            corrupted_as=None,
            preset="detection",
            task="detection",
            images_root=True,
        ),
        Source(
            "voc",
            "robustbench_bi.data.sources.voc:open_voc",
            "required",
            "images with boxes, in PASCAL VOC's layout: PATH is a year's folder (val.txt) or one of its lists",
            mce_applies=False,
            corrupted_as=None,
            preset="detection",
            task="detection",
        ),
        Source(
            "demo-detection",
            "robustbench_bi.data.sources.demo_detection:open_demo_detection",
            "none",
            "one to six synthetic shapes with boxes and masks: 200 for evaluation, 2,500 for training",
            mce_applies=False,
            corrupted_as=None,
            preset="demo-detection",
            task="detection",
        ),
    ],
)


def named_source(text: str) -> tuple[Source, str | None]:
    """The row of a source as it is typed, and the path that goes with it, unchecked.

    What begins with no name of a row is the path of a folder.

    Example:
        >>> row, path = named_source("cifar-10:data")
        >>> row.name, path
        ('cifar-10', 'data')
        >>> named_source("photos:new")[1], named_source("demo")[1]
        ('photos:new', None)
    """
    prefix, _, path = text.partition(":")
    return (SOURCES[prefix], path or None) if prefix in SOURCES else (SOURCES["folder"], text)
