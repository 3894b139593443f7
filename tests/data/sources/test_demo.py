import hashlib
import math

import numpy as np
import pytest

from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.data.sources import demo
from robustbench_bi.data.sources.demo import CLASS_NAMES, RENDERER_VERSION, SHAPES, draw, open_demo
from robustbench_bi.errors import InputError

AREAS = {
    "circle": math.pi * 0.8**2,
    "square": 1.4**2,
    "triangle": 3 * math.sqrt(3) * 0.52**2,
    "hourglass": 4 * (0.12 * 0.85 + 0.7 * 0.85**2 / 2),
    "cross": 2 * 1.9 * 0.56 - 0.56**2,
    "ring": math.pi * (0.92**2 - 0.48**2),
    "heart": 0.8 * 0.8 * 2 + math.pi * (0.4 * math.sqrt(2)) ** 2,
}


MEANS = (84.361, 82.902, 83.626, 76.942, 78.810, 80.113, 87.758, 79.900, 76.960, 78.104)
SPREADS = (49.914, 51.831, 52.285, 49.181, 46.324, 50.395, 49.565, 47.953, 48.667, 52.698)
"""Of the grey levels of each class in the evaluation split of seed 0."""


@pytest.fixture(scope="module")
def evaluation():
    return draw("evaluation")


def test_a_picture_is_the_same_alone_in_a_batch_and_in_another_order(evaluation):
    images, labels = evaluation
    order = np.random.default_rng(0).permutation(500)[:60]
    shuffled, shuffled_labels = draw("evaluation", order)
    assert np.array_equal(shuffled, images[order])
    assert np.array_equal(shuffled_labels, labels[order])
    assert all(np.array_equal(draw("evaluation", [i])[0][0], images[i]) for i in (0, 7, 123, 499))


def test_classes_are_balanced_and_interleaved(evaluation):
    images, labels = evaluation
    assert images.shape == (500, 3, 64, 64)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    assert np.bincount(labels).tolist() == [50] * 10
    assert sorted(labels[:10]) == list(range(10))
    assert np.bincount(open_demo(split="training").labels).tolist() == [1000] * 10


def test_no_picture_is_drawn_twice_within_or_across_splits_and_seeds(evaluation):
    batches = [evaluation[0], draw("training", range(1500))[0], draw("evaluation", range(300), seed=1)[0]]
    pictures = {hashlib.sha256(picture.tobytes()).digest() for batch in batches for picture in batch}
    assert len(pictures) == 500 + 1500 + 300


@pytest.mark.parametrize("name", AREAS)
def test_shapes_have_the_area_of_their_geometry(name):
    axis = (np.arange(800, dtype=np.float32) + 0.5) / 400 - 1
    x, y = np.meshgrid(axis * 1.2, axis * 1.2)
    inside = SHAPES[CLASS_NAMES.index(name)](x, y) < 0
    assert inside.mean() * 2.4**2 == pytest.approx(AREAS[name], rel=5e-3)


def test_a_star_has_five_arms_a_crescent_one_horn_side_and_an_arrow_points_up():
    axis = np.linspace(-1, 1, 201, dtype=np.float32)
    star, crescent, arrow = (SHAPES[CLASS_NAMES.index(name)] for name in ("star", "crescent", "arrow"))
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False, dtype=np.float32)
    around = star(0.7 * np.cos(angle), 0.7 * np.sin(angle)) < 0
    assert np.count_nonzero(around & ~np.roll(around, 1)) == 5
    row = crescent(axis, np.zeros_like(axis)) < 0
    assert row[axis < -0.4].any()
    assert not row[axis > -0.2].any()
    widths = [np.count_nonzero(arrow(axis, np.full_like(axis, y)) < 0) for y in (0.7, 0.1, -0.5)]
    assert widths[1] > widths[2] > 0
    assert widths[1] > widths[0] > 0


def test_a_change_of_the_renderer_is_noticed(evaluation):
    # Raise RENDERER_VERSION, retrain the demo weights, and store the new numbers. They are means, with a tolerance
    # of two hundredths of a grey level, so that another processor's last bit passes and a moved edge does not.
    images, labels = evaluation
    assert RENDERER_VERSION == 1
    means = [images[labels == label].mean() for label in range(10)]
    spreads = [images[labels == label].std() for label in range(10)]
    assert means == pytest.approx(MEANS, abs=0.02)
    assert spreads == pytest.approx(SPREADS, abs=0.02)


def test_the_dataset_reads_what_draw_draws(evaluation):
    dataset = open_data("demo")
    rows = [5, 490, 33]
    assert np.array_equal(dataset.read(rows, Preprocessing(64, 64)), evaluation[0][rows])
    assert np.array_equal(dataset.labels, evaluation[1])
    assert dataset.native_size == 64
    assert dataset.stored_cells is None
    assert dataset.find_broken() == ()
    limited = open_data("demo", limit=40)
    assert np.array_equal(limited.read([0, 39], Preprocessing(64, 64)), evaluation[0][limited.image_ids[[0, 39]]])
    assert dataset.read([1], Preprocessing(128, 128)).shape == (1, 3, 128, 128)


def test_the_listing_hash_knows_split_and_renderer(monkeypatch):
    hashes = {open_demo().listing_hash, open_demo(split="training").listing_hash}
    monkeypatch.setattr(demo, "RENDERER_VERSION", RENDERER_VERSION + 1)
    hashes.add(open_demo().listing_hash)
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"split": "test"}, "split must be one of evaluation, training, got 'test'"),
        ({"ids": [500]}, "ids of the evaluation split must be from 0 to 499, got 500 to 500"),
        ({"ids": [-1, 3]}, "ids of the evaluation split must be from 0 to 499, got -1 to 3"),
        ({"seed": -1}, "seed must be an integer from 0 to 2\\*\\*64 - 1, got -1"),
        ({"seed": True}, "seed must be an integer from 0 to 2\\*\\*64 - 1, got True"),
    ],
)
def test_bad_input_is_refused(arguments, text):
    with pytest.raises(InputError, match=text):
        draw(**arguments)


def test_no_pictures_is_an_empty_batch():
    images, labels = draw("training", [])
    assert images.shape == (0, 3, 64, 64)
    assert labels.shape == (0,)
