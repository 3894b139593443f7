"""`Corrupt` and `RandomCorrupt`, which are transforms of torchvision's v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from robustbench_bi.corruptions import CORRUPTIONS, resolve_suite, resolve_table
from robustbench_bi.corruptions.apply import as_ids, check_seed, check_severity, corrupt_batch
from robustbench_bi.corruptions.shapes import Images, as_batch, as_given
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import Cell, parse_severities
from robustbench_bi.ground.checks import SMALLEST_SIDE
from robustbench_bi.ops.random_bits import random_words
from robustbench_bi.transforms.keys import ids_of_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Ids = Sequence[int] | NDArray[np.integer[Any]] | Tensor | None

_WORD = 2**32


class Corrupt(v2.Transform):  # type: ignore[misc]
    """Corrupt pictures, as a transform of torchvision's v2.

    It takes what v2 transforms take: a picture, or a sample that holds one (a tuple, a dict), in which labels, boxes
    and masks stay as they are. Pictures are uint8 RGB: Pillow images, `tv_tensors.Image` and `Video`, or tensors
    (3, H, W) or (B, 3, H, W); so put it before the conversion to floats. `corrupt` takes arrays too.

    A picture's draws are keyed by its pixels (`robustbench_bi.transforms.content_ids`).

    Args:
        name: a row of `robustbench_bi.corruptions.CORRUPTIONS`.
        severity: 1 (weakest) to 5.
        seed: 0 to 2**64 - 1; another seed gives other draws for the same picture.
        table: the severity constants, a row of `robustbench_bi.corruptions.TABLES`, or "auto".

    Raises:
        UnknownNameError: no such corruption or table.
        InputError: a severity or a seed outside what is described here; when called, there is no picture, or one that
            `robustbench_bi.corrupt` does not take.

    Example:
        >>> picture = Image.new("RGB", (48, 40), "olive")
        >>> foggy, label = Corrupt("fog", 3)(picture, 7)
        >>> foggy.size, label
        ((48, 40), 7)
        >>> foggy == Corrupt("fog", 3)(picture)
        True
    """

    def __init__(self, name: str, severity: int, seed: int = 0, *, table: str = "imagenet-c") -> None:
        super().__init__()
        self.name = CORRUPTIONS[name].name
        self.severity = check_severity(severity)
        self.seed = check_seed(seed)
        self.table = _check_table(table)
        self._random = CORRUPTIONS[name].random

    def corrupt(self, images: Images, ids: Ids = None) -> Images:
        """Corrupt a picture or a batch, of any kind that `robustbench_bi.corrupt` takes.

        Args:
            images: as for `robustbench_bi.corrupt`.
            ids: keys in place of those by content, as for `robustbench_bi.corrupt`.

        Returns:
            The corrupted images, of the same kind.

        Raises:
            InputError: as `robustbench_bi.corrupt`.
        """
        batch = as_batch(images)
        # No key is needed, and none is made, where nothing is drawn.
        keys = _keys(batch, ids) if self._random or ids is not None else torch.arange(len(batch), device=batch.device)
        table = _table_for(self.table, batch)
        return as_given(corrupt_batch(batch, self.name, self.severity, keys, self.seed, table), images)

    def forward(self, *inputs: Any) -> Any:
        """Corrupt the pictures of a sample; torchvision's own work over samples is left out for a picture alone."""
        return _transformed(self.corrupt, *inputs) if _is_alone(inputs) else super().forward(*inputs)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Refuse a sample without a picture, which torchvision would hand back as it is."""
        _check_has_picture(flat_inputs)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Corrupt one part of a sample; for torchvision."""
        return _transformed(self.corrupt, inpt)


class RandomCorrupt(v2.Transform):  # type: ignore[misc]
    """Corrupt each picture by one corruption of a suite at one severity, chosen by the picture's key.

    All pairs of corruption and severity are equally likely. The choice, like the draws, depends on the picture's pixels
    and the seed alone. Otherwise this is as `Corrupt`.

    Never train on the corruptions you test on: choose others, such as "extra" for
    a test on "imagenet-c".

    Args:
        suite: suites and corruptions, "noise,fog" or several; see `robustbench_bi.corruptions.resolve_suite`.
        severities: "1-3", an integer, or several.
        seed: 0 to 2**64 - 1.
        table: the severity constants, a row of `robustbench_bi.corruptions.TABLES`, or "auto".

    Raises:
        UnknownNameError: no such suite, corruption or table.
        InputError: severities or a seed outside what is described here; when called, as `Corrupt`.

    Example:
        >>> pictures = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 3, 32, 32)
        >>> transform = RandomCorrupt("extra", "1-3")
        >>> transform(pictures).shape
        torch.Size([8, 3, 32, 32])
        >>> [name for name, _ in transform.choices(torch.arange(4))]
        ['gaussian_blur', 'gaussian_blur', 'gaussian_blur', 'saturate']
    """

    def __init__(
        self,
        suite: str | Sequence[str],
        severities: str | int | Iterable[int],
        seed: int = 0,
        *,
        table: str = "imagenet-c",
    ) -> None:
        super().__init__()
        self.suite = suite
        self.severities = parse_severities(severities)
        self._cells = tuple((name, severity) for name in resolve_suite(suite) for severity in self.severities)
        self.seed = check_seed(seed)
        self.table = _check_table(table)

    def choices(self, ids: Tensor) -> list[Cell]:
        """Return the corruption and severity of each id.

        Args:
            ids: int64 (B,), each at least 0.
        """
        words = random_words(ids, 1, key=(self.seed % _WORD, self.seed // _WORD))[:, 0].tolist()
        return [self._cells[(word % _WORD) * len(self._cells) // _WORD] for word in words]

    def corrupt(self, images: Images, ids: Ids = None) -> Images:
        """Corrupt a picture or each of a batch; see `Corrupt.corrupt`."""
        batch = as_batch(images)
        keys = _keys(batch, ids)
        rows_of: dict[Cell, list[int]] = {}
        for row, cell in enumerate(self.choices(keys)):
            rows_of.setdefault(cell, []).append(row)
        corrupted = torch.empty_like(batch)
        table = _table_for(self.table, batch)
        for (name, severity), rows in rows_of.items():
            corrupted[rows] = corrupt_batch(batch[rows], name, severity, keys[rows], self.seed, table)
        return as_given(corrupted, images)

    def forward(self, *inputs: Any) -> Any:
        """Corrupt the pictures of a sample; torchvision's own work over samples is left out for a picture alone."""
        return _transformed(self.corrupt, *inputs) if _is_alone(inputs) else super().forward(*inputs)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Refuse a sample without a picture, which torchvision would hand back as it is."""
        _check_has_picture(flat_inputs)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Corrupt one part of a sample; for torchvision."""
        return _transformed(self.corrupt, inpt)


def _check_table(name: str) -> str:
    return name if name == "auto" else resolve_table(name, side=SMALLEST_SIDE)


def _table_for(name: str, batch: Tensor) -> str:
    return resolve_table(name, min(batch.shape[2:])) if name == "auto" else name


def _keys(batch: Tensor, ids: Ids) -> Tensor:
    return ids_of_batch(batch) if ids is None else as_ids(ids, len(batch)).to(batch.device)


def _is_picture(part: object) -> bool:
    """Whether a part of a sample is a picture or a batch; boxes, masks and key points are torch tensors as well."""
    if isinstance(part, tv_tensors.TVTensor):
        return isinstance(part, tv_tensors.Image | tv_tensors.Video)
    return isinstance(part, Tensor | Image.Image)


def _is_alone(inputs: tuple[Any, ...]) -> bool:
    return len(inputs) == 1 and _is_picture(inputs[0])


def _check_has_picture(parts: list[Any]) -> None:
    if not any(_is_picture(part) for part in parts):
        kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in parts)) or "nothing"
        raise InputError(
            f"a sample must hold an image, as a Pillow image or a torch tensor, got {kinds}; for an array, call "
            "transform.corrupt(array)"
        )


def _transformed(change: Callable[[Any], Any], part: Any) -> Any:
    if not _is_picture(part):
        return part
    changed = change(part)
    return tv_tensors.wrap(changed, like=part) if isinstance(part, tv_tensors.TVTensor) else changed
