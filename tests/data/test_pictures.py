import io

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_bi.corruptions.apply import corrupt, jpeg_round_trip
from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.data import open_data
from robustbench_bi.data.containers.image_files import load_image
from robustbench_bi.data.pictures import open_pictures, picture_preprocessing, read_cells
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError, InputError, UnknownNameError
from robustbench_bi.ground.cells import CLEAN

GEOMETRY = Preprocessing(32, 36)


@pytest.fixture
def folder(tmp_path):
    """Three pictures of different sizes, and what is none."""
    for number, name in enumerate(("b.png", "a.jpg", "c.bmp")):
        pixels = np.random.default_rng(number).integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def test_photographs_are_ten_different_pictures_that_need_no_files():
    photographs = open_pictures()
    assert (photographs.name, len(photographs), len(set(photographs.describe(photographs.image_ids)))) == (
        "photographs", 10, 10,
    )  # fmt: skip
    pictures = photographs.read(range(10), picture_preprocessing(photographs))
    assert (pictures.shape, pictures.dtype) == ((10, 3, 224, 224), np.uint8)
    assert pictures.std(axis=(1, 2, 3)).min() > 20
    assert len({picture.tobytes() for picture in pictures}) == 10


def test_a_file_is_one_picture(folder):
    picture = open_pictures(folder / "b.png")
    assert np.array_equal(picture.read([0], GEOMETRY)[0], load_image(folder / "b.png", GEOMETRY))
    assert len(picture) == 1


def test_a_folder_of_images_comes_in_the_order_of_names(folder):
    pictures = open_pictures(str(folder))
    assert [line.split("\t")[0] for line in pictures.describe(pictures.image_ids)] == ["a.jpg", "b.png", "c.bmp"]
    expected = [load_image(folder / name, GEOMETRY) for name in ("a.jpg", "b.png", "c.bmp")]
    assert np.array_equal(pictures.read([0, 1, 2], GEOMETRY, workers=2), expected)
    assert open_pictures(folder, limit=2).image_ids.tolist() == pictures.limited(2).image_ids.tolist()


def test_pictures_have_names(folder):
    assert open_pictures(folder).names() == ("a.jpg", "b.png", "c.bmp")
    assert open_pictures(folder / "b.png").names() == ("b.png",)
    assert open_pictures().names()[:3] == ("astronaut", "brick", "camera")


def test_any_data_source_opens(tmp_path):
    assert open_pictures("demo", limit=7).listing_hash == open_data("demo", limit=7).listing_hash
    (tmp_path / "cats").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "cats" / "a.png")
    assert open_pictures(tmp_path).class_names == ("cats",)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("/no/such/picture.png", DataError, "there is no folder /no/such/picture.png"),
        ("photograps", UnknownNameError, "there is no folder and no data source 'photograps'"),
        ("a\0b/", DataError, "there is no folder"),
        ("", InputError, "got an empty text"),
    ],
)
def test_what_cannot_be_opened_is_said(folder, monkeypatch, source, error, message):
    monkeypatch.chdir(folder)
    with pytest.raises(error, match=message):
        open_pictures(source)


def test_a_file_that_is_no_picture_is_named(folder):
    notes = open_pictures(folder / "notes.txt")
    with pytest.raises(DataError, match=r"cannot read image .*notes.txt: not an image in a format"):
        notes.read([0], GEOMETRY)
    assert [broken.path for broken in notes.find_broken()] == [str(folder / "notes.txt")]


def test_geometry_of_files_and_of_native_sizes(folder):
    assert picture_preprocessing(open_pictures(folder)) == Preprocessing(224, 256)
    assert picture_preprocessing(open_pictures(folder), 112) == Preprocessing(112, 128)
    assert picture_preprocessing(open_pictures("demo"), 64) == Preprocessing(64, 64)
    with pytest.raises(InputError, match="demo images are 64 pixels and are not resized, got size 32; leave it out"):
        picture_preprocessing(open_pictures("demo"), 32)


def test_cells_are_those_of_corrupt_in_every_batch():
    dataset = open_pictures("demo", limit=70)
    preprocessing, cells = picture_preprocessing(dataset), [CLEAN, ("gaussian_noise", 2), ("pixelate", 5)]
    shown = []
    made = {}
    for cell, own in read_cells(dataset, preprocessing, cells, Pixels().of_cell, progress=shown.append):
        made.setdefault(cell, []).append(own)
    assert [len(part) for part in made[CLEAN]] == [64, 6]
    whole = {cell: np.concatenate(parts) for cell, parts in made.items()}
    clean = dataset.read(range(70), preprocessing).transpose(0, 2, 3, 1)
    assert np.array_equal(whole[CLEAN], clean)
    for cell in cells[1:]:
        assert np.array_equal(whole[cell], corrupt(clean, *cell, ids=dataset.image_ids, table="auto"))
    assert [(p.steps_done, p.images) for p in shown] == [(1, 64), (2, 128), (3, 192), (4, 198), (5, 204), (6, 210)]
    assert {(p.steps_total, p.images_total) for p in shown} == {(6, 210)}


def test_jpeg_comes_after_a_corruption_and_not_after_clean():
    dataset = open_pictures("demo", limit=1)
    clean = dataset.read([0], picture_preprocessing(dataset))
    cells = [CLEAN, ("contrast", 1)]
    made = {cell: Pixels(jpeg=30).of_cell(clean, cell, dataset.image_ids) for cell in cells}
    assert np.array_equal(made[CLEAN], clean)
    flat = corrupt(torch.from_numpy(clean), "contrast", 1, table="auto")
    assert np.array_equal(made["contrast", 1], jpeg_round_trip(flat, quality=30))
    assert not np.array_equal(made["contrast", 1], flat)


def test_stored_cells_are_read_as_they_are(tmp_path):
    written = {}
    for number, cell in enumerate([CLEAN, ("fog", 3)]):
        path = tmp_path / cell[0] / str(cell[1]) / "cats" / "a.png"
        path.parent.mkdir(parents=True)
        written[cell] = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(written[cell]).save(path)
    stored = open_pictures(f"imagenet-c:{tmp_path}")
    read = dict(read_cells(stored, picture_preprocessing(stored, 40), list(written), Pixels().of_cell))
    assert all(np.array_equal(read[cell][0], pixels) for cell, pixels in written.items())
    with pytest.raises(DataError, match="holds no files for snow at severity 1"):
        list(read_cells(stored, picture_preprocessing(stored, 40), [("snow", 1)], Pixels().of_cell))


def test_corrupted_pictures_without_the_clean_ones_are_refused(tmp_path):
    (tmp_path / "fog" / "1" / "cats").mkdir(parents=True)
    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, "JPEG")
    (tmp_path / "fog" / "1" / "cats" / "a.JPEG").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match="holds only corrupted images; give clean ones"):
        open_pictures(f"imagenet-c:{tmp_path}")
