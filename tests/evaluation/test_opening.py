"""Images are opened before torch is there; folders of corrupted pictures are no clean ones."""

import pytest
from PIL import Image

from robustbench_bi.errors import DataError
from robustbench_bi.evaluation.opening import check_clean


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(path)


@pytest.mark.parametrize("inside", ["", "fog", "fog/3"])
def test_corrupted_pictures_are_not_taken_for_clean_ones(inside, tmp_path):
    make(tmp_path, "fog/3/cat/a.png", "fog/3/dog/b.png", "contrast/1/cat/a.png", "none/0/cat/a.png")
    with pytest.raises(DataError, match=rf"corrupted pictures .* read them as imagenet-c:{tmp_path},"):
        check_clean(str(tmp_path / inside))
    check_clean(f"imagenet-c:{tmp_path}")


def test_folders_that_only_resemble_them_are_clean(tmp_path):
    """Clean images beside corrupted ones, and classes of weather."""
    make(tmp_path, "c/fog/3/cat/a.png", "c/none/0/cat/a.png", "weather/fog/a.png", "weather/snow/3/b.png")
    make(tmp_path, "weather/snow/a.png", "weather/fog/video 3/c.png")
    for clean in ("c/none/0", "c/none", "weather", ".", "c/fog/3/cat", "absent"):
        check_clean(str(tmp_path / clean))
