import pytest
import torch

from robustbench_bi.training.augment import NUMBERS, augment
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
    result = augment(batch[:1], numbers(down=place), Recipe(crop="shift", shift=3), 16)
    expected = torch.zeros_like(batch[:1])
    for row in range(16):
        if 0 <= row + moved < 16:
            expected[:, :, row] = batch[:1, :, row + moved]
    assert torch.equal(result, expected)


def test_a_flip_mirrors_left_to_right(batch):
    recipe = Recipe(crop="none")
    assert torch.equal(augment(batch[:1], numbers(flip=0.49), recipe, 16), batch[:1].flip(-1))
    assert torch.equal(augment(batch[:1], numbers(flip=0.51), recipe, 16), batch[:1])
    assert torch.equal(augment(batch[:1], numbers(flip=0.0), Recipe(crop="none", flip=False), 16), batch[:1])


def test_the_largest_inception_crop_is_the_picture(batch):
    assert torch.equal(augment(batch[:1], numbers(), Recipe(), 16), batch[:1])


@pytest.mark.parametrize(("area", "aspect"), [(0.0, 0.5), (0.0, 0.0), (0.0, 0.999), (0.5, 0.2)])
def test_an_inception_crop_takes_a_box_of_the_drawn_area_and_aspect(area, aspect):
    side, whole = 50, 100
    down, across = torch.meshgrid(torch.arange(whole), torch.arange(whole), indexing="ij")
    picture = torch.stack([down, across, torch.zeros_like(down)]).to(torch.uint8)[None]
    crop = augment(picture, numbers(area=area, aspect=aspect), Recipe(flip=False), side)[0].float()
    pixels = (side - 1) / side
    height = (crop[0].max() - crop[0].min()).item() / pixels
    width = (crop[1].max() - crop[1].min()).item() / pixels
    assert height * width / whole**2 == pytest.approx(0.08 + 0.92 * area, rel=0.1)
    assert width / height == pytest.approx((4 / 3) ** (2 * aspect - 1), rel=0.1)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(crop="shift", shift=4), Recipe(crop="none")])
def test_a_picture_is_the_same_alone_and_in_a_batch(batch, recipe):
    drawn = torch.rand((6, NUMBERS), generator=torch.Generator().manual_seed(1))
    before = batch.clone()
    together = augment(batch, drawn, recipe, 16)
    alone = torch.cat([augment(batch[i : i + 1], drawn[i : i + 1], recipe, 16) for i in range(6)])
    assert torch.equal(together, alone)
    assert torch.equal(batch, before)
    assert together.dtype == torch.uint8
    assert together.shape == batch.shape
