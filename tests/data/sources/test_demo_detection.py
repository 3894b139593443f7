import numpy as np
import pytest

from robustbench_bi.data import open_data
from robustbench_bi.data.sources.demo import CLASS_NAMES
from robustbench_bi.data.sources.demo_detection import MOST, SIZES, SPLITS, draw
from robustbench_bi.errors import InputError
from robustbench_bi.ground.run_lengths import of_text, to_bitmap


@pytest.fixture(scope="module")
def data():
    return open_data("demo-detection")


def test_a_picture_is_a_function_of_split_and_id_alone():
    picture, shapes = draw("evaluation", 7)
    again, same = draw("evaluation", 7)
    assert (picture == again).all()
    assert [label for label, _ in shapes] == [label for label, _ in same]
    other, _ = draw("training", 7)
    assert other.shape == picture.shape and (other != picture).mean() > 0.5


def test_pictures_have_three_sizes_and_objects_of_every_class_and_two_sizes(data):
    assert len(data) == SPLITS["evaluation"] == 200 and data.class_names == CLASS_NAMES
    assert {tuple(size) for size in data.sizes().tolist()} == {(width, height) for height, width in SIZES}
    columns = data.objects.columns
    counts = np.bincount(columns["image_id"], minlength=200)
    assert counts.min() >= 1 and counts.max() == MOST
    assert set(columns["category"].tolist()) == set(range(10))
    small = (columns["area"] < 32**2).mean()
    assert 0.3 < small < 0.8


def test_masks_are_what_is_seen_and_boxes_lie_tight_around_them(data):
    columns = data.objects.columns
    for image_id in range(12):
        rows = np.flatnonzero(columns["image_id"] == image_id)
        width, height = data.objects.sizes[image_id]
        masks = [to_bitmap(of_text(columns["mask"][row], width * height), height, width) for row in rows]
        assert np.sum(masks, axis=0).max() == 1, "two shapes are never seen in one pixel"
        for row, mask in zip(rows, masks, strict=True):
            down, across = np.nonzero(mask)
            box = [columns[name][row] for name in ("x", "y", "width", "height")]
            assert box == [across.min(), down.min(), np.ptp(across) + 1, np.ptp(down) + 1]
            assert columns["area"][row] == mask.sum() > 0


def test_pictures_are_read_in_their_sizes(data):
    pictures = data.read([4, 0], None, workers=2)
    assert (pictures[0] == draw("evaluation", 4)[0]).all() and pictures[1].shape == (3, *SIZES[0])
    assert data.limited(5).objects is data.objects


def test_neither_path_nor_classes():
    with pytest.raises(InputError, match="demo-detection takes no path"):
        open_data("demo-detection:x")


def test_a_set_without_difficult_objects_keeps_the_hash_that_runs_have(data):
    few = data.limited(5)
    assert few.objects.digest(few.image_ids) == "a4fab6853fa3f3e6000e6a908072dd90a8e2ad577012881d2e86b4cb9d4d71b1"
