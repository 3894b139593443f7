import numpy as np
import pytest

from robustbench_bi.analysis.spectra import bands_frame, spectra_frame
from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.data.pictures import open_pictures, picture_preprocessing
from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.metrics.spectra import ring_power
from robustbench_bi.probes.spectra import picture_spectra


def test_curves_and_bands_of_the_same_pictures():
    seen = []
    measured = picture_spectra(
        "demo", corruptions="contrast,brightness", severities=[1, 5], limit=3, jpeg=90, progress=seen.append
    )
    curves, bands = spectra_frame(measured).frame, bands_frame(measured).frame
    assert list(dict.fromkeys(zip(curves["corruption"], curves["severity"], strict=True))) == [
        ("none", 0), ("brightness", 1), ("brightness", 5), ("contrast", 1), ("contrast", 5),
    ]  # fmt: skip
    assert len(bands) == 4 * 3
    assert set(curves["n"]) == set(bands["n"]) == {3}
    for result in (spectra_frame(measured), bands_frame(measured)):
        assert result.caption.startswith("n = 3 images of demo, 64 px, constants of tiny-imagenet-c, JPEG 90. ")
    assert [(step.label, step.steps_done) for step in seen][-1] == ("contrast severity 5", 5)


def test_a_seed_draws_other_noise():
    first, again, other = (
        bands_frame(picture_spectra("demo", corruptions="gaussian_noise", limit=1, seed=seed)).frame["ratio"].tolist()
        for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("planted", [{}, {"seed": 1}, {"table": "cifar-10-c"}, {"jpeg": 30}], ids=str)
def test_pixels_are_those_of_the_recipe(planted):
    measured = picture_spectra("demo", corruptions="gaussian_noise", limit=3, **planted)
    dataset = open_pictures("demo", limit=3)
    clean = dataset.read(range(3), picture_preprocessing(dataset))

    def power(pixels):
        made = pixels.of_cell(clean, ("gaussian_noise", 3), dataset.image_ids)
        return ring_power(made.transpose(0, 2, 3, 1), measured.rings)

    assert np.array_equal(measured.power["gaussian_noise", 3], power(Pixels(**planted)))
    assert bool(planted) != np.array_equal(measured.power["gaussian_noise", 3], power(Pixels()))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"corruptions": "fig"}, UnknownNameError, r"Did you mean .fog.\?"),
        ({"severities": "6"}, InputError, "severity must be an integer from 1 to 5, got 6"),
        ({"images": "demo", "size": 128}, InputError, "demo images are 64 pixels and are not resized, got size 128"),
        ({"images": "nowhere"}, UnknownNameError, "there is no folder and no data source .nowhere."),
        ({"table": "imagenet"}, UnknownNameError, "imagenet"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        picture_spectra(**options)
