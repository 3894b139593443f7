"""`robustbench_bi.imagecorruptions` in place of the package `imagecorruptions`."""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import skimage.data

import robustbench_bi as rb
from robustbench_bi.corruptions import original
from robustbench_bi.errors import BivoRobustError
from robustbench_bi.imagecorruptions import corrupt, get_corruption_names

PICTURE = np.ascontiguousarray(skimage.data.astronaut()[100:164, 100:180])
RANDOM = ("gaussian_noise", "fog", "snow", "elastic_transform")


@pytest.fixture(scope="module")
def package() -> Iterator[ModuleType]:
    """The package itself, which `robustbench_bi.corruptions.original` can load on current libraries."""
    private = original._module()
    private.np.random = np.random
    with original._stand_in("imagecorruptions.corruptions", private):
        yield importlib.import_module("imagecorruptions")
    del sys.modules["imagecorruptions"]


def test_signatures_are_those_of_the_package(package: ModuleType) -> None:
    for ours, theirs in ((corrupt, package.corrupt), (get_corruption_names, package.get_corruption_names)):
        found, expected = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        assert [(one.name, one.default, one.kind) for one in found.values()] == [
            (one.name, one.default, one.kind) for one in expected.values()
        ]


@pytest.mark.parametrize("subset", ["common", "validation", "all", "noise", "blur", "weather", "digital"])
def test_names_are_those_of_the_package(subset: str, package: ModuleType) -> None:
    assert get_corruption_names(subset) == package.get_corruption_names(subset)
    assert get_corruption_names() == package.get_corruption_names()
    with pytest.raises(ValueError, match="subset must be one of common, validation, all"):
        get_corruption_names("extra")


def outcome(function: Any, *arguments: Any, **options: Any) -> type[BaseException] | tuple[Any, ...]:
    """The built-in error that a call ends with, or the shape and type of its result."""
    try:
        result = function(*arguments, **options)
    except BaseException as error:
        builtins = (AttributeError, KeyError, IndexError, ValueError)
        return next(kind for kind in builtins if isinstance(error, kind))
    return type(result), result.shape, result.dtype


GREY = PICTURE[..., 0]
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((PICTURE, 3, "contrast"), {}),
    ((PICTURE,), {"corruption_number": 11, "severity": 2}),
    ((PICTURE,), {"corruption_number": -2}),
    ((PICTURE, 1, "contrast", 99), {}),
    ((GREY, 1, "brightness"), {}),
    ((GREY[..., None], 1, "brightness"), {}),
    ((PICTURE.tolist(), 1, "fog"), {}),
    ((PICTURE / 255, 1, "fog"), {}),
    ((PICTURE[None], 1, "fog"), {}),
    ((PICTURE[:31], 1, "fog"), {}),
    ((np.zeros((40, 40, 4), np.uint8), 1, "fog"), {}),
    ((PICTURE, 0, "fog"), {}),
    ((PICTURE, 6, "fog"), {}),
    ((PICTURE, 1, "fogg"), {}),
    ((PICTURE, 1, "sparkles"), {}),
    ((PICTURE,), {"corruption_number": 19}),
    ((PICTURE,), {"corruption_number": -20}),
    ((PICTURE, 3), {}),
]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_a_call_ends_as_in_the_package(number: int, package: ModuleType) -> None:
    arguments, options = CALLS[number]
    assert outcome(corrupt, *arguments, **options) == outcome(package.corrupt, *arguments, **options)


def test_errors_say_what_to_do() -> None:
    for arguments, text in (
        ((PICTURE, 1, "fogg"), "unknown corruption 'fogg'. Did you mean 'fog'?"),
        ((PICTURE, 7, "fog"), "severity must be an integer from 1 to 5, got 7"),
        ((PICTURE / 255, 1, "fog"), "image must be uint8 (0 to 255), got float64; scale and round it first"),
        ((PICTURE, 1, None, 19), "corruption_number must be an integer from 0 to 18, got 19"),
    ):
        with pytest.raises(BivoRobustError) as caught:
            corrupt(*arguments)  # type: ignore[arg-type]
        assert str(caught.value) == text


@pytest.mark.parametrize("name", ["brightness", "contrast", "pixelate", "jpeg_compression", "saturate"])
def test_what_draws_nothing_has_the_pixels_of_the_package(name: str, package: ModuleType) -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for severity in range(1, 6):
        difference = corrupt(PICTURE, severity, name).astype(int) - package.corrupt(PICTURE, severity, name)
        assert np.abs(difference).max() <= 1
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("name", RANDOM)
def test_calls_differ_and_the_seed_of_numpy_repeats_them(name: str) -> None:
    np.random.seed(3)  # noqa: NPY002
    first, second = corrupt(PICTURE, 2, name), corrupt(PICTURE, 2, name)
    np.random.seed(3)  # noqa: NPY002
    again = corrupt(PICTURE, 2, name), corrupt(PICTURE, 2, name)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again[0]) and np.array_equal(second, again[1])


def test_variants_are_those_of_the_package() -> None:
    np.random.seed(3)  # noqa: NPY002
    key = int(np.random.randint(2**63, dtype=np.int64))  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    found = corrupt(PICTURE, 4, "frost")
    assert np.array_equal(found, rb.corrupt(PICTURE, "frost", 4, ids=[key], table="imagecorruptions"))
    assert not np.array_equal(found, rb.corrupt(PICTURE, "frost", 4, ids=[key]))


# What the package's README shows, and what a user of it wrote; only the import is another.
WRITTEN_FOR_THE_PACKAGE = """
    for corruption in get_corruption_names():
        for severity in range(5):
            corrupted = corrupt(image, corruption_name=corruption, severity=severity + 1)
            assert corrupted.shape == image.shape and corrupted.dtype == np.uint8
    for i in range(15):
        for severity in range(5):
            corrupted = corrupt(image, corruption_number=i, severity=severity + 1)
            assert np.any(corrupted != image)
"""


def test_code_written_for_the_package_runs() -> None:
    lines = "from imagecorruptions import corrupt, get_corruption_names\n" + textwrap.dedent(WRITTEN_FOR_THE_PACKAGE)
    exec(lines.replace("imagecorruptions", "robustbench_bi.imagecorruptions"), {"image": PICTURE, "np": np})


def test_it_can_stand_in_for_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", rb.imagecorruptions)
    found: dict[str, Any] = {}
    exec("from imagecorruptions import corrupt", found)
    assert found["corrupt"] is corrupt
