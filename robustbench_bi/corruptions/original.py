"""The package `imagecorruptions` (bethgelab, 1.1.2) on current libraries: what parity is measured against.

Nothing on the main path runs its code; `frost` reads its texture pictures. The package fails on a current stack in four
places, which are substituted, in a private copy of its module that nobody else sees:

1. `pkg_resources`, gone from setuptools 82, by a stand-in that finds the texture pictures;
2. the module `scipy.ndimage.interpolation`, gone from SciPy, by `scipy.ndimage`;
3. `np.float_`, gone from NumPy 2, by `np.float64`;
4. scikit-image's `gaussian(multichannel=True)` by `gaussian(channel_axis=-1)`.

Its random numbers come from a generator that is given for each image, in place of NumPy's global one.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from robustbench_bi.corruptions import CORRUPTIONS, SUITES
from robustbench_bi.corruptions.apply import as_ids, check_seed, check_severity
from robustbench_bi.corruptions.shapes import Images, as_batch, as_given
from robustbench_bi.errors import DataError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor


def corrupt(
    images: Images,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Sequence[int] | NDArray[np.integer[Any]] | Tensor | None = None,
) -> Images:
    """Apply a corruption as `imagecorruptions` does, with the constants of "imagenet-c"; for comparison, and slow.

    `elastic_transform` is another algorithm there, `frost` enlarges its textures and `motion_blur` and `snow` replace
    ImageMagick; the rest is the code that made ImageNet-C. Each image has a NumPy generator of its own, seeded by the
    seed, the corruption, the severity and the image id. Not for several threads at once.

    Args:
        images: as for `robustbench_bi.corruptions.apply.corrupt`, likewise the other arguments.
        name: a row of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: 0 to 2**64 - 1.
        ids: B integers, or None to count from 0.

    Returns:
        The corrupted images, a new object of the same kind, shape, dtype and device.

    Raises:
        UnknownNameError, InputError: as `robustbench_bi.corruptions.apply.corrupt`; or it is not of ImageNet-C.
        DataError: the package is not installed.

    Example:
        >>> image = np.full((32, 32, 3), 100, dtype=np.uint8)
        >>> int(corrupt(image, "brightness", 1).max())
        125
    """
    row = CORRUPTIONS[name]
    _check_packaged(row.name)
    severity, seed = check_severity(severity), check_seed(seed)
    batch = as_batch(images)
    identifiers = as_ids(ids, len(batch)).tolist()
    corrupted = torch.empty_like(batch)
    for number, identifier in enumerate(identifiers):
        words = [seed % 2**32, seed >> 32, identifier % 2**32, identifier >> 32, row.stream * 8 + severity]
        image = batch[number].permute(1, 2, 0).cpu().numpy()
        result = corrupt_image(image, row.name, severity, np.random.RandomState(words))
        corrupted[number] = torch.from_numpy(result).permute(2, 0, 1)
    return as_given(corrupted, images)


def _check_packaged(name: str) -> None:
    if name not in SUITES["all"].corruptions:
        raise InputError(
            f"imagecorruptions has only the 19 corruptions of the suite all, not {name}; leave the generator out"
        )


def corrupt_image(image: NDArray[np.uint8], name: str, severity: int, random: Any) -> NDArray[np.uint8]:
    """Apply a corruption of `imagecorruptions` to one image, with a generator of the caller's.

    Args:
        image: uint8 (H, W, 3).
        name: a row of `CORRUPTIONS`.
        severity: 1 to 5.
        random: a `numpy.random.RandomState`, or anything with its methods `normal`, `poisson`, `uniform` and `randint`,
            such as one that records what it hands out, or hands out what it was given. `impulse_noise` seeds the
            generator of scikit-image with `random.randint(2**31)`.

    Returns:
        uint8 (H, W, 3).

    Raises:
        DataError: the package is not installed.
    """
    module = _module()
    module.np.random = random
    result: NDArray[np.uint8] = np.array(getattr(module, name)(Image.fromarray(image), severity)).astype(np.uint8)
    return result


def frost_texture_folder() -> Path:
    """Return the folder of the six frost pictures, which ship with `imagecorruptions`; the package is not imported.

    Raises:
        DataError: the package is not installed.
    """
    return _package_folder() / "frost"


def _package_folder() -> Path:
    found = importlib.util.find_spec("imagecorruptions")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "the package imagecorruptions is not installed (frost reads its images); run: pip install imagecorruptions"
        )
    return Path(found.submodule_search_locations[0])


@functools.cache
def _module() -> Any:
    """A private copy of the module, with the four substitutions and replaceable random numbers."""
    import scipy.ndimage
    import skimage.color
    import skimage.filters
    from skimage.util import random_noise

    folder = _package_folder()
    pkg_resources: Any = ModuleType("pkg_resources")
    pkg_resources.resource_filename = lambda _package, path: str(folder / path)
    specification = importlib.util.spec_from_file_location("private_imagecorruptions", folder / "corruptions.py")
    if specification is None or specification.loader is None:
        raise DataError(f"cannot load {folder / 'corruptions.py'}; reinstall imagecorruptions")
    module: Any = importlib.util.module_from_spec(specification)
    with _stand_in("pkg_resources", pkg_resources), _stand_in("scipy.ndimage.interpolation", scipy.ndimage):
        specification.loader.exec_module(module)

    def gaussian(image: Any, *arguments: Any, multichannel: bool = False, **options: Any) -> Any:
        return skimage.filters.gaussian(image, *arguments, channel_axis=-1 if multichannel else None, **options)

    def seeded_random_noise(image: Any, **options: Any) -> Any:
        return random_noise(image, rng=module.np.random.randint(2**31), **options)

    module.gaussian = gaussian
    module.np = _Numpy("numpy")
    module.sk = SimpleNamespace(util=SimpleNamespace(random_noise=seeded_random_noise), color=skimage.color)
    return module


class _Numpy(ModuleType):
    """numpy, with `float_` again, and with a `random` that can be replaced."""

    float_ = np.float64
    random: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextmanager
def _stand_in(name: str, module: ModuleType) -> Iterator[None]:
    """Let `import name` find another module for a while."""
    previous = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
        if previous is not None:
            sys.modules[name] = previous
