"""The corruptions, listed without importing their code.

They are the 19 of ImageNet-C (Hendrycks & Dietterich, ICLR 2019), and the 15 of ImageNet-C-bar and CIFAR-10-C-bar
(Mintun et al., NeurIPS 2021).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import PUBLISHED_SPELLINGS
from robustbench_bi.ground.exports import exported
from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    from robustbench_bi.corruptions.apply import corrupt, jpeg_round_trip
    from robustbench_bi.corruptions.gallery import gallery as corruption_gallery
    from robustbench_bi.corruptions.gallery import sample_photograph
    from robustbench_bi.corruptions.original import corrupt as original_corrupt
    from robustbench_bi.corruptions.original import corrupt_image as original_corrupt_image
    from robustbench_bi.corruptions.pixels import Pixels


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Attributes:
        name: its function, its record files and its value on the command line.
        category: "noise", "blur", "weather" or "digital" for the 15 of the benchmark, "extra" for the other four of
            ImageNet-C, "c-bar" for those of ImageNet-C-bar and CIFAR-10-C-bar. Only the 15 enter mCE.
        code: where its function is: (images, draws, *, named constants) -> images.
        stream: keys its random bits; once published it never changes.
        random: whether it draws at all.
        summary: what it does to a picture.
        kernels: the backends that have code of their own for it, beside plain torch.
    """

    name: str
    category: str
    code: str
    stream: int
    random: bool
    summary: str
    kernels: tuple[str, ...] = ("numba",)

    @property
    def label(self) -> str:
        """Its name in words, as figures, pages and tables for papers show it: "Gaussian noise"."""
        return " ".join(_CAPITALS.get(word, word) for word in self.name.split("_"))


@dataclass(frozen=True)
class Suite:
    """A named choice of corruptions, in table order."""

    name: str
    corruptions: tuple[str, ...]
    summary: str
    code: str = ""


@dataclass(frozen=True)
class ConstantTable:
    """A published set of severity constants.

    Attributes:
        name: as users type it.
        side: of the images that it was made for, in pixels.
        variants: corruptions for which its publisher has another algorithm.
        code: the module of those.
    """

    name: str
    side: int
    variants: tuple[str, ...] = ()
    code: str = ""


_CAPITALS = {"gaussian": "Gaussian", "jpeg": "JPEG", "perlin": "Perlin"}

PIXEL_VERSION = 2
"""Raised whenever a change to any corruption changes a pixel; it is part of a run's identity."""

_MODULE = "robustbench_bi.corruptions"
_BOTH = ("numba", "triton")


def _bar(name: str, file: str, stream: int, summary: str, *, random: bool = True) -> Corruption:
    return Corruption(name, "c-bar", f"{_MODULE}.bar_{file}:{name}", stream, random, summary)


# Ten make ImageNet-C-bar, in alphabetical order; five of them and the last five make CIFAR-10-C-bar.
_C_BAR = (
    _bar("blue_noise_sample", "noise", 20, "blackens pixels where high-frequency noise is low"),
    _bar("brownish_noise", "noise", 21, "adds low-frequency noise to each channel"),
    _bar("caustic_refraction", "warps", 22, "as seen through a bright, rippled water surface"),
    _bar("checkerboard_cutout", "covers", 23, "replaces some squares of a rotated checkerboard with grey"),
    _bar("concentric_sine_waves", "circles", 24, "adds wobbly rings around a random centre"),
    _bar("inverse_sparkles", "circles", 25, "whitens everything but one star"),
    _bar("perlin_noise", "noise", 26, "overlays a bright marbled cloud"),
    _bar("plasma_noise", "noise", 27, "overlays an iridescent cloud"),
    _bar("single_frequency_greyscale", "noise", 28, "adds one plane wave"),
    _bar("sparkles", "circles", 29, "paints five white stars"),
    _bar("circular_motion_blur", "splines", 30, "blurs along circles around the centre", random=False),
    _bar("lines", "covers", 31, "draws grey lines across the image"),
    _bar("pinch_and_twirl", "warps", 32, "swirls the image in a grid"),
    _bar("ripple", "warps", 33, "shifts rows and columns by sine waves"),
    _bar("transverse_chromatic_aberration", "splines", 34, "scales the three channels differently"),
)

# The 15 of the benchmark in its published order, then the four validation corruptions, which never enter mCE.
CORRUPTIONS = Table(
    "corruption",
    [
        Corruption("gaussian_noise", "noise", f"{_MODULE}.noise:gaussian_noise", 1, True, "adds Gaussian noise"),
        Corruption("shot_noise", "noise", f"{_MODULE}.noise:shot_noise", 2, True, "Poisson noise of low light"),
        Corruption("impulse_noise", "noise", f"{_MODULE}.noise:impulse_noise", 3, True, "salt-and-pepper noise"),
        Corruption("defocus_blur", "blur", f"{_MODULE}.blur:defocus_blur", 4, False, "disk-shaped lens blur"),
        Corruption("glass_blur", "blur", f"{_MODULE}.blur:glass_blur", 5, True, "blurs and copies pixels from nearby"),
        Corruption(
            "motion_blur", "blur", f"{_MODULE}.blur:motion_blur", 6, True, "blur along a random direction", _BOTH
        ),
        Corruption(
            "zoom_blur", "blur", f"{_MODULE}.blur:zoom_blur", 7, False, "averages growing magnifications", _BOTH
        ),
        Corruption(
            "snow", "weather", f"{_MODULE}.weather:snow", 8, True, "adds streaks of snow and whitens the image", _BOTH
        ),
        Corruption("frost", "weather", f"{_MODULE}.weather:frost", 9, True, "overlays photographed ice crystals"),
        Corruption("fog", "weather", f"{_MODULE}.weather:fog", 10, True, "overlays a bright fractal cloud"),
        Corruption("brightness", "weather", f"{_MODULE}.weather:brightness", 11, False, "raises the value in HSV"),
        Corruption("contrast", "digital", f"{_MODULE}.digital:contrast", 12, False, "pulls pixels towards the mean"),
        Corruption(
            "elastic_transform",
            "digital",
            f"{_MODULE}.digital:elastic_transform",
            13,
            True,
            "stretches and bends small regions",
        ),
        Corruption("pixelate", "digital", f"{_MODULE}.digital:pixelate", 14, False, "fewer, larger pixels"),
        Corruption("jpeg_compression", "digital", f"{_MODULE}.digital:jpeg_compression", 15, False, "JPEG artefacts"),
        Corruption(
            "speckle_noise",
            "extra",
            f"{_MODULE}.noise:speckle_noise",
            16,
            True,
            "adds noise proportional to brightness",
        ),
        Corruption("gaussian_blur", "extra", f"{_MODULE}.blur:gaussian_blur", 17, False, "Gaussian blur"),
        Corruption("spatter", "extra", f"{_MODULE}.weather:spatter", 18, True, "splashes water or mud on the lens"),
        Corruption("saturate", "extra", f"{_MODULE}.digital:saturate", 19, False, "lowers or raises the saturation"),
        *_C_BAR,
    ],
    aliases=PUBLISHED_SPELLINGS,
)

_NAMES = re.compile(r"(?<!\w)(?:" + "|".join(CORRUPTIONS.names) + r")(?!\w)")


def _category(name: str) -> tuple[str, ...]:
    return tuple(row.name for row in CORRUPTIONS if row.category == name)


_SHARED = ("blue_noise_sample", "brownish_noise", "checkerboard_cutout", "inverse_sparkles", "sparkles")

SUITES = Table(
    "suite",
    [
        Suite("imagenet-c", CORRUPTIONS.names[:15], "the benchmark's 15 corruptions, which mCE averages"),
        Suite("paper", CORRUPTIONS.names[:16], "imagenet-c and speckle_noise, as in Fig. 3 of the Bi-volution paper"),
        Suite("all", CORRUPTIONS.names[:19], "all 19 corruptions of ImageNet-C"),
        Suite("noise", _category("noise"), "a category"),
        Suite("blur", _category("blur"), "a category"),
        Suite("weather", _category("weather"), "a category"),
        Suite("digital", _category("digital"), "a category"),
        Suite("extra", _category("extra"), "ImageNet-C's four validation corruptions"),
        Suite(
            "imagenet-c-bar",
            tuple(row.name for row in _C_BAR[:10]),
            "ImageNet-C-bar's ten corruptions; mean error, not mCE",
        ),
        Suite(
            "cifar-10-c-bar",
            (*_SHARED, *(row.name for row in _C_BAR[10:])),
            "the ten of CIFAR-10-C-bar; mean error, not mCE",
        ),
        Suite("c-bar", _category("c-bar"), "all 15 corruptions of both C-bar sets"),
    ],
)

TABLES = Table(
    "table of constants",
    [
        ConstantTable("imagenet-c", 224),
        ConstantTable("imagenet-c-299", 299),
        ConstantTable("tiny-imagenet-c", 64),
        ConstantTable("cifar-10-c", 32),
        ConstantTable(
            "imagecorruptions", 224, ("snow", "frost", "elastic_transform", "pixelate"), f"{_MODULE}.bethgelab"
        ),
    ],
)

_SUITES_AND_CORRUPTIONS = Table[Suite | Corruption](
    "suite or corruption",
    [*SUITES, *CORRUPTIONS],
    PUBLISHED_SPELLINGS,
)


def resolve_suite(text: str | Sequence[str], *, stored: bool = False) -> tuple[str, ...]:
    """Return the corruptions that a suite name, or names separated by commas, stand for.

    Args:
        text: suites and corruptions in any mixture, such as "imagenet-c" or "noise,fog", or a sequence of them.
        stored: whether these are names of stored files, which others may have made by corruptions of their own.

    Returns:
        Names of corruptions in table order, each once; then those of other stored files, as they were given.

    Raises:
        UnknownNameError: a part is neither a suite nor a corruption.
        InputError: a part is empty, or no name.

    Example:
        >>> resolve_suite("fog, noise")
        ('gaussian_noise', 'shot_noise', 'impulse_noise', 'fog')
    """
    chosen: set[str] = set()
    others: dict[str, None] = {}
    parts = text.split(",") if isinstance(text, str) else text if isinstance(text, Iterable) else [text]
    for part in parts:
        if not isinstance(part, str) or not part.strip():
            raise InputError(f"a suite must be a name, or names separated by single commas, got {text!r}")
        if stored and part.strip() not in _SUITES_AND_CORRUPTIONS:
            others[part.strip()] = None
            continue
        row = _SUITES_AND_CORRUPTIONS[part.strip()]
        chosen.update(row.corruptions if isinstance(row, Suite) else [row.name])
    return (*(name for name in CORRUPTIONS.names if name in chosen), *others)


def category_of(name: str) -> str:
    """Return the category of a corruption; those of other people's stored files have one of their own.

    Example:
        >>> category_of("fog"), category_of("near_focus")
        ('weather', 'stored')
    """
    return CORRUPTIONS[name].category if name in CORRUPTIONS else "stored"


def in_words(text: str) -> str:
    """Return a text with the names of corruptions in words, for those who read it and need not type it.

    Example:
        >>> in_words("gaussian_noise severity 3"), in_words("jpeg_compression"), in_words("blur (3 of 4)")
        ('Gaussian noise severity 3', 'JPEG compression', 'blur (3 of 4)')
    """
    return _NAMES.sub(lambda found: CORRUPTIONS[found[0]].label, text)


def resolve_table(name: str, side: int) -> str:
    """Return the name of a table of constants, where "auto" is the one whose side is nearest in ratio.

    Args:
        name: "auto" or a row of `TABLES`.
        side: side of the images in pixels.

    Raises:
        UnknownNameError: neither "auto" nor a row.

    Example:
        >>> resolve_table("auto", 96), resolve_table("auto", 256)
        ('tiny-imagenet-c', 'imagenet-c')
    """
    if name != "auto":
        return TABLES[name].name
    return min(
        (table for table in TABLES if not table.variants), key=lambda table: abs(math.log(side / table.side))
    ).name


def modules_of(name: str, table: str) -> dict[str, str]:
    """Return the module of each backend that a corruption has code for; its function there has the corruption's name.

    Args:
        name: a row of `CORRUPTIONS`.
        table: a row of `TABLES`.

    Example:
        >>> modules_of("fog", "imagenet-c")
        {'reference': 'robustbench_bi.corruptions.weather', 'numba': 'robustbench_bi.corruptions.weather_numba_kernels'}
    """
    row = CORRUPTIONS[name]
    if name in TABLES[table].variants:
        module = TABLES[table].code
        return {"reference": module, "numba": f"{module}_numba_kernels"}
    module = row.code.partition(":")[0]
    return {"reference": module} | {backend: f"{module}_{backend}_kernels" for backend in row.kernels}


_HOMES = {
    "Pixels": "robustbench_bi.corruptions.pixels",
    "corrupt": "robustbench_bi.corruptions.apply",
    "corruption_gallery": "robustbench_bi.corruptions.gallery:gallery",
    "jpeg_round_trip": "robustbench_bi.corruptions.apply",
    "original_corrupt": "robustbench_bi.corruptions.original:corrupt",
    "original_corrupt_image": "robustbench_bi.corruptions.original:corrupt_image",
    "sample_photograph": "robustbench_bi.corruptions.gallery",
}

__all__ = [
    "CORRUPTIONS",
    "PIXEL_VERSION",
    "SUITES",
    "TABLES",
    "ConstantTable",
    "Corruption",
    "Pixels",
    "Suite",
    "category_of",
    "corrupt",
    "corruption_gallery",
    "in_words",
    "jpeg_round_trip",
    "original_corrupt",
    "original_corrupt_image",
    "resolve_suite",
    "resolve_table",
    "sample_photograph",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)
