import numpy as np
import pytest
from pycocotools import mask as reference

from robustbench_bi.errors import DataError
from robustbench_bi.ground.run_lengths import area, checked, of_bitmap, of_polygons, of_text, to_bitmap, to_text

# pycocotools hands arrays to NumPy in an older way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def bitmaps():
    random = np.random.default_rng(0)
    for _ in range(60):
        height, width = random.integers(1, 40, 2)
        yield random.random((height, width)) < random.choice([0, 0.1, 0.5, 0.9, 1])


def test_runs_and_their_text_are_those_of_the_reference():
    for mask in bitmaps():
        runs = of_bitmap(mask)
        assert to_text(runs) == reference.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert (of_text(to_text(runs), mask.size) == runs).all()
        assert (to_bitmap(runs, *mask.shape) == mask).all()
        assert area(runs) == mask.sum()


@pytest.mark.parametrize("rounded", [False, True])
def test_polygons_cover_the_pixels_of_the_reference(rounded):
    random = np.random.default_rng(1)
    for _ in range(80):
        height, width = (int(side) for side in random.integers(1, 40, 2))
        polygons = [random.uniform(-5, 45, 2 * random.integers(3, 9)) for _ in range(random.integers(1, 4))]
        polygons = [(np.round(own) if rounded else own).tolist() for own in polygons]
        wanted = reference.decode(reference.merge(reference.frPyObjects(polygons, height, width)))
        assert (to_bitmap(of_polygons(polygons, height, width), height, width) == wanted).all()


def test_a_polygon_that_crosses_itself_or_lies_outside():
    for polygon in ([1, 1, 9, 9, 9, 1, 1, 9], [20, 20, 30, 20, 30, 30], [2, 2, 2, 2, 8, 2, 8, 8, 2, 8]):
        wanted = reference.decode(reference.merge(reference.frPyObjects([polygon], 12, 12)))
        assert (to_bitmap(of_polygons([polygon], 12, 12), 12, 12) == wanted).all()


@pytest.mark.parametrize("polygon", [[1, 1, 5, 5], [1, 1, 5, 5, 3], [1, 1, 5, 5, 3, float("nan")], ["a"] * 6, 3, []])
def test_what_is_no_polygon_is_refused(polygon):
    with pytest.raises(DataError, match="at least three points"):
        of_polygons([polygon], 10, 10)


@pytest.mark.parametrize("text", ["", "225", "2", "\x7f\x7f", "PPPPPPPPPPPPPPPPPPPP", "é"])
def test_a_text_that_is_not_of_the_picture_is_refused(text):
    with pytest.raises(DataError, match="add up to the 10 pixels"):
        of_text(text, 10)


@pytest.mark.parametrize("runs", [[-1, 11], [5], [[10]], ["x"], None])
def test_runs_that_are_not_of_the_picture_are_refused(runs):
    with pytest.raises(DataError, match="add up to the 10 pixels"):
        checked(runs, 10)
