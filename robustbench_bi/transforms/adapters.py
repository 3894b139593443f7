"""The same transforms for Albumentations and for the package `datasets`."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import BackendUnavailableError
from robustbench_bi.ground.registry import unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from robustbench_bi.transforms.pictures import Corrupt, RandomCorrupt


def for_albumentations(transform: Corrupt | RandomCorrupt, p: float = 1.0) -> Any:
    """Return a transform as one of Albumentations, which changes images and leaves masks, boxes and points alone.

    Draws are keyed by the picture's pixels and the transform's seed, so Albumentations' own seed does not change them.
    It decides only, where p is below 1, whether a picture is corrupted.

    Args:
        transform: `Corrupt` or `RandomCorrupt`.
        p: the share of pictures that are corrupted, 0 to 1.

    Returns:
        An `albumentations.ImageOnlyTransform`. It takes uint8 (H, W, 3), so put it before `Normalize`.

    Raises:
        BackendUnavailableError: albumentations is not installed.

    Example:
        ```python
        import albumentations

        corrupt = for_albumentations(Corrupt("fog", 3))
        foggy = albumentations.Compose([corrupt])(image=array)["image"]
        ```
    """
    return _albumentations_class()(transform, p)


@cache
def _albumentations_class() -> Any:
    """Made when it is first asked for, since it needs the package as its base; so it cannot be pickled by its name."""
    try:
        import albumentations
    except ModuleNotFoundError as error:
        if error.name != "albumentations":
            raise
        raise BackendUnavailableError(
            "for_albumentations needs the package albumentations, which is not installed; run: "
            "pip install albumentations"
        ) from error

    class AlbumentationsTransform(albumentations.ImageOnlyTransform):  # type: ignore[misc]
        def __init__(self, transform: Corrupt | RandomCorrupt, p: float) -> None:
            super().__init__(p=p)
            self.transform = transform

        def apply(self, img: NDArray[np.uint8], **_parameters: Any) -> NDArray[np.uint8]:
            return self.transform.corrupt(img)

        def __reduce__(self) -> tuple[Any, ...]:
            return for_albumentations, (self.transform, self.p)

    return AlbumentationsTransform


def for_map(transform: Corrupt | RandomCorrupt, column: str = "image") -> Callable[..., dict[str, Any]]:
    """Return a transform as a function for `map` and `with_transform` of the package `datasets`.

    It takes one example, or several with `batched=True`. Draws are keyed by the pictures' pixels; with
    `with_indices=True` the positions in the data set are the ids instead, as in `robustbench_bi.corrupt` with
    `ids=[index]`. Filtering or shuffling changes positions, and so these draws, but no pixels.

    Args:
        transform: `Corrupt` or `RandomCorrupt`.
        column: that of the pictures, which are RGB.

    Returns:
        A function of an example and, if asked for, its index. What it returns is the example with that column changed.

    Raises:
        UnknownNameError: when called, there is no such column.
        InputError: when called, as `Corrupt`.

    Example:
        >>> from PIL import Image
        >>> from robustbench_bi.transforms import Corrupt
        >>> changed = for_map(Corrupt("contrast", 2))({"image": Image.new("RGB", (40, 32)), "label": 3})
        >>> changed["image"].size, changed["label"]
        ((40, 32), 3)
    """
    return partial(_corrupt_column, transform, column)


def _corrupt_column(
    transform: Corrupt | RandomCorrupt, column: str, example: Mapping[str, Any], index: Any = None
) -> dict[str, Any]:
    if column not in example:
        raise unknown_name("column", column, list(example))
    pictures = example[column]
    if not isinstance(pictures, list):
        return {**example, column: transform.corrupt(pictures, None if index is None else [index])}
    indices = [None] * len(pictures) if index is None else [[one] for one in index]
    return {**example, column: [transform.corrupt(*pair) for pair in zip(pictures, indices, strict=True)]}
