import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torchvision.transforms import InterpolationMode, v2

from robustbench_bi.corruptions import CORRUPTIONS
from robustbench_bi.training.augment import AUGMENTATIONS, BINS, LARGEST_NOISE, SEVERITY, _operations, augmix, noise
from robustbench_bi.training.recipe import AUGMENTS


@pytest.fixture(scope="module")
def picture():
    """Smooth, in colour, and with a range of its own."""
    pixels = np.random.default_rng(0).normal(size=(3, 48, 40))
    smooth = ndimage.gaussian_filter(pixels, (0, 4, 4))
    return (40 + 160 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_generator_decides_everything_and_the_picture_stays(picture, name):
    before = picture.copy()
    first, again, other = (AUGMENTATIONS[name](picture, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(picture, before)
    assert (first.shape, first.dtype) == (picture.shape, np.uint8)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", v2.AugMix._PARTIAL_AUGMENTATION_SPACE)
def test_the_operations_are_torchvisions(picture, name, sign):
    image = Image.fromarray(picture.transpose(1, 2, 0))
    theirs = v2.AugMix(all_ops=False)
    magnitudes, signed = theirs._PARTIAL_AUGMENTATION_SPACE[name]
    listed = magnitudes(BINS, image.height, image.width)
    for level in range(SEVERITY):
        magnitude = 0.0 if listed is None else float(listed[level]) * (sign if signed else 1)
        expected = theirs._apply_image_or_video_transform(
            image, name, magnitude, InterpolationMode.BILINEAR, theirs._fill
        )
        own = np.asarray(_operations()[name](image, sign * level / (BINS - 1)), dtype=int)
        # Torchvision's slopes are rounded to float32, which moves the border by a pixel.
        assert (np.abs(own - np.asarray(expected)) > 1).mean() <= (0.03 if "Shear" in name else 0)


def test_no_operation_of_augmix_has_the_name_of_a_corruption():
    assert not {name.lower() for name in _operations()} & {name.replace("_", "") for name in CORRUPTIONS.names}
    assert list(_operations()) == list(v2.AugMix._PARTIAL_AUGMENTATION_SPACE)


def test_augmix_mixes_as_much_as_torchvisions(picture):
    image = v2.functional.to_image(picture.transpose(1, 2, 0).copy())
    theirs = v2.AugMix(all_ops=False)
    own = [np.abs(augmix(picture, np.random.default_rng(seed)).astype(float) - picture).mean() for seed in range(300)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other = [np.abs(theirs(image).numpy().astype(float) - picture).mean() for _ in range(300)]
    assert np.mean(own) == pytest.approx(np.mean(other), rel=0.15)
    assert np.std(own) == pytest.approx(np.std(other), rel=0.25)


def test_noise_is_gaussian_of_a_uniform_strength_on_every_other_picture():
    grey = np.full((3, 32, 32), 128, dtype=np.uint8)
    noisy = [noise(grey, np.random.default_rng(seed)).astype(float) for seed in range(400)]
    deviations = np.array([one.std() / 255 for one in noisy])
    assert (deviations == 0).mean() == pytest.approx(0.5, abs=0.08)
    assert deviations.max() == pytest.approx(LARGEST_NOISE, rel=0.05)
    assert deviations[deviations > 0].mean() == pytest.approx(LARGEST_NOISE / 2, rel=0.1)
    assert np.mean(noisy) == pytest.approx(128, abs=0.1)


def test_recipes_know_every_augmentation():
    assert ("none", *AUGMENTATIONS) == AUGMENTS
