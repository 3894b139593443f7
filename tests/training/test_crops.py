import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop, v2

from robustbench_bi.training.crops import NUMBERS, crop_and_flip, inception_box, inception_crop
from robustbench_bi.training.recipe import Recipe


@pytest.fixture
def batch():
    return torch.randint(1, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def numbers(**columns):
    """Numbers of one picture: no flip, no move, and what is given."""
    chosen = {"flip": 0.9, "down": 0.5, "across": 0.5, "area": 0.999999, "aspect": 0.5, **columns}
    return torch.tensor([list(chosen.values())])


@pytest.mark.parametrize(("place", "moved"), [(0.0, -3), (0.5, 0), (0.999, 3)])
def test_a_shift_moves_by_whole_pixels_and_fills_with_black(batch, place, moved):
    result = crop_and_flip(batch[:1], numbers(down=place), Recipe(crop="shift", shift=3), 16)
    expected = torch.zeros_like(batch[:1])
    for row in range(16):
        if 0 <= row + moved < 16:
            expected[:, :, row] = batch[:1, :, row + moved]
    assert torch.equal(result, expected)


def test_a_flip_mirrors_left_to_right(batch):
    recipe = Recipe(crop="none")
    assert torch.equal(crop_and_flip(batch[:1], numbers(flip=0.49), recipe, 16), batch[:1].flip(-1))
    assert torch.equal(crop_and_flip(batch[:1], numbers(flip=0.51), recipe, 16), batch[:1])
    assert torch.equal(crop_and_flip(batch[:1], numbers(flip=0.0), Recipe(crop="none", flip=False), 16), batch[:1])


def test_the_largest_inception_crop_is_the_picture(batch):
    assert torch.equal(crop_and_flip(batch[:1], numbers(), Recipe(), 16), batch[:1])


@pytest.mark.parametrize(("area", "aspect"), [(0.0, 0.5), (0.0, 0.0), (0.0, 0.999), (0.5, 0.2)])
def test_an_inception_crop_takes_a_box_of_the_drawn_area_and_aspect(area, aspect):
    side, whole = 50, 100
    down, across = torch.meshgrid(torch.arange(whole), torch.arange(whole), indexing="ij")
    picture = torch.stack([down, across, torch.zeros_like(down)]).to(torch.uint8)[None]
    crop = crop_and_flip(picture, numbers(area=area, aspect=aspect), Recipe(flip=False), side)[0].float()
    pixels = (side - 1) / side
    height = (crop[0].max() - crop[0].min()).item() / pixels
    width = (crop[1].max() - crop[1].min()).item() / pixels
    assert height * width / whole**2 == pytest.approx(0.08 + 0.92 * area, rel=0.1)
    assert width / height == pytest.approx((4 / 3) ** (2 * aspect - 1), rel=0.1)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(crop="shift", shift=4), Recipe(crop="none")])
def test_a_picture_is_the_same_alone_and_in_a_batch(batch, recipe):
    drawn = torch.rand((6, NUMBERS), generator=torch.Generator().manual_seed(1))
    before = batch.clone()
    together = crop_and_flip(batch, drawn, recipe, 16)
    alone = torch.cat([crop_and_flip(batch[i : i + 1], drawn[i : i + 1], recipe, 16) for i in range(6)])
    assert torch.equal(together, alone)
    assert torch.equal(batch, before)
    assert together.dtype == torch.uint8
    assert together.shape == batch.shape


def boxes(width, height, count=4000):
    generator = np.random.default_rng(0)
    return np.array([inception_box(width, height, generator.random(NUMBERS), generator) for _ in range(count)])


@pytest.mark.parametrize(("width", "height"), [(500, 375), (333, 500), (64, 64)])
def test_boxes_of_whole_pictures_have_torchvisions_distribution(width, height):
    left, top, right, bottom = boxes(width, height).T
    own = np.stack([left, top, right - left, bottom - top])
    canvas = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [RandomResizedCrop.get_params(canvas, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    theirs = np.array(drawn)[:, [1, 0, 3, 2]].T
    for mine, other in zip(own, theirs, strict=True):
        assert ks_2samp(mine, other).pvalue > 1e-4
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= width
    assert bottom.max() <= height


def test_a_picture_that_no_box_fits_gives_the_largest_one_in_its_centre():
    assert set(map(tuple, boxes(1000, 20, 50))) == {(486, 0, 513, 20)}
    assert set(map(tuple, boxes(20, 1000, 50))) == {(0, 486, 20, 513)}


def test_a_crop_of_a_whole_picture_is_its_box_resized_as_by_torchvision():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    picture, drawn = Image.fromarray(pixels), np.array([0.9, 0.3, 0.6, 0.4, 0.7])
    left, top, right, bottom = inception_box(120, 90, drawn, np.random.default_rng(0))
    expected = v2.functional.resized_crop(picture, top, left, bottom - top, right - left, [32, 32])
    crop = inception_crop(picture, drawn, np.random.default_rng(0), 32)
    assert np.array_equal(crop, np.asarray(expected).transpose(2, 0, 1))
