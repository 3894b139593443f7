from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from robustbench_bi.corruptions import CORRUPTIONS, SUITES, TABLES, modules_of, resolve_suite, resolve_table
from robustbench_bi.corruptions.apply import severity_constants
from robustbench_bi.errors import InputError, UnknownNameError

# hendrycks/robustness, ImageNet-C: the order of the benchmark, then the four validation corruptions.
PUBLISHED = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
)

# facebookresearch/augmentation-corruption: ImageNet-C-bar in alphabetical order, then what only CIFAR-10-C-bar has.
C_BAR = (
    *("blue_noise_sample", "brownish_noise", "caustic_refraction", "checkerboard_cutout", "concentric_sine_waves"),
    *("inverse_sparkles", "perlin_noise", "plasma_noise", "single_frequency_greyscale", "sparkles"),
    *("circular_motion_blur", "lines", "pinch_and_twirl", "ripple", "transverse_chromatic_aberration"),
)


def test_rows_are_the_published_corruptions_in_order() -> None:
    assert CORRUPTIONS.names == (*PUBLISHED, *C_BAR)


def test_streams_never_change() -> None:
    assert [row.stream for row in CORRUPTIONS] == list(range(1, 35))


def test_deterministic_rows() -> None:
    deterministic = {row.name for row in CORRUPTIONS if not row.random}
    blurs = {"defocus_blur", "zoom_blur", "gaussian_blur"}
    assert deterministic == blurs | {"brightness", "contrast", "pixelate", "jpeg_compression", "saturate"} | {
        "circular_motion_blur"
    }


@pytest.mark.parametrize("name", CORRUPTIONS.names)
def test_constants_fit_the_function(name: str) -> None:
    for table in TABLES.names:
        function = getattr(importlib.import_module(modules_of(name, table)["reference"]), name)
        keywords = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for severity in range(1, 6):
            assert list(severity_constants(name, severity, table)) == keywords, (table, severity)


def test_some_constants_as_published() -> None:
    assert severity_constants("gaussian_noise", 5, "imagenet-c") == {"std": 0.38}
    assert severity_constants("shot_noise", 1, "cifar-10-c") == {"photons": 500}
    assert severity_constants("saturate", 5, "tiny-imagenet-c") == {"factor": 30, "offset": 0.2}
    assert severity_constants("contrast", 3, "imagenet-c-299") == {"factor": 0.2}
    assert severity_constants("elastic_transform", 1, "imagenet-c") == {"alpha": 488, "sigma": 170.8, "affine": 24.4}


def test_suites() -> None:
    assert SUITES["imagenet-c"].corruptions == PUBLISHED[:15]
    assert SUITES["paper"].corruptions == (*PUBLISHED[:15], "speckle_noise")
    assert SUITES["all"].corruptions == PUBLISHED
    categories = [SUITES[name].corruptions for name in ("noise", "blur", "weather", "digital", "extra")]
    assert [len(names) for names in categories] == [3, 4, 4, 4, 4]
    assert sum(categories, ()) == PUBLISHED


def test_suites_of_c_bar() -> None:
    shared = {"blue_noise_sample", "brownish_noise", "checkerboard_cutout", "inverse_sparkles", "sparkles"}
    assert SUITES["imagenet-c-bar"].corruptions == C_BAR[:10]
    assert set(SUITES["cifar-10-c-bar"].corruptions) == shared | set(C_BAR[10:])
    assert SUITES["c-bar"].corruptions == C_BAR
    assert {CORRUPTIONS[name].category for name in C_BAR} == {"c-bar"}
    assert resolve_suite("cifar-10-c-bar,fog")[0] == "fog"


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("cocentric_sine_waves", "concentric_sine_waves"),
        ("transverse_chromatic_abberation", "transverse_chromatic_aberration"),
    ],
)
def test_the_published_spelling_is_understood(published: str, name: str) -> None:
    assert CORRUPTIONS[published].name == name
    assert resolve_suite(published) == (name,)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("weather", PUBLISHED[7:11]),
        ("fog", ("fog",)),
        ("fog,gaussian_noise", ("gaussian_noise", "fog")),
        (" blur , fog,fog", (*PUBLISHED[3:7], "fog")),
        ("imagenet-c,extra", PUBLISHED),
    ],
)
def test_resolve_suite(text: str, names: tuple[str, ...]) -> None:
    assert resolve_suite(text) == names


@pytest.mark.parametrize("text", ["imagenet", "fog,gausian_noise"])
def test_resolve_suite_refuses_unknown_names(text: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown suite or corruption"):
        resolve_suite(text)


@pytest.mark.parametrize("text", ["", "fog,", "fog,,snow"])
def test_resolve_suite_refuses_empty_names(text: str) -> None:
    with pytest.raises(InputError, match="separated by single commas"):
        resolve_suite(text)


def test_resolve_suite_takes_a_sequence() -> None:
    assert resolve_suite(["fog", "noise"]) == resolve_suite("noise,fog")


def test_resolve_suite_suggests() -> None:
    with pytest.raises(UnknownNameError, match=r"'gausian_noise'\. Did you mean 'gaussian_noise'\?"):
        resolve_suite("fog,gausian_noise")


@pytest.mark.parametrize(
    ("side", "name"),
    [
        *((32, "cifar-10-c"), (45, "cifar-10-c"), (46, "tiny-imagenet-c"), (64, "tiny-imagenet-c")),
        *((119, "tiny-imagenet-c"), (120, "imagenet-c"), (224, "imagenet-c"), (258, "imagenet-c")),
        *((260, "imagenet-c-299"), (299, "imagenet-c-299"), (1024, "imagenet-c-299")),
    ],
)
def test_auto_is_the_table_of_the_nearest_side_in_ratio(side: int, name: str) -> None:
    assert resolve_table("auto", side) == name


def test_resolve_table_by_name() -> None:
    assert resolve_table("cifar-10-c", 224) == "cifar-10-c"
    with pytest.raises(UnknownNameError, match=r"unknown table of constants 'cifar'\. Did you mean 'cifar-10-c'\?"):
        resolve_table("cifar", 224)


HEAVY = "import sys; {}; print(sorted({{'torch', 'numpy', 'scipy', 'PIL', 'pandas'}} & set(sys.modules)))"


def heavy_modules_after(statement: str) -> str:
    command = [sys.executable, "-c", HEAVY.format(statement)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_table_can_be_listed_without_heavy_imports() -> None:
    assert heavy_modules_after("import robustbench_bi.corruptions") == "[]"


def test_the_check_for_heavy_imports_can_fail() -> None:
    assert heavy_modules_after("import robustbench_bi.corruptions, numpy") == "['numpy']"
