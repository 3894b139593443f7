import shutil

import numpy as np
import pytest
from PIL import Image

from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError, InputError

CELLS = [(name, severity) for name in ("fog", "snow") for severity in range(1, 6)]
FILES = ["n02123045/val_2.JPEG", "n02123045/val_3.JPEG", "n15075141/val_1.JPEG"]
GEOMETRY = Preprocessing(32, 36)


def write(path, seed, side=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=85)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).transpose(2, 0, 1)


@pytest.fixture
def root(tmp_path):
    for number, (name, severity) in enumerate(CELLS):
        for position, file in enumerate(FILES):
            write(tmp_path / "c" / name / str(severity) / file, 10 * number + position)
    return tmp_path / "c"


def test_the_listing_is_common_and_the_cells_are_those_that_are_there(root):
    shutil.rmtree(root / "snow" / "4")
    (root / "README.md").write_text("")
    dataset = open_data(f"imagenet-c:{root}")
    assert dataset.labels.tolist() == [281, 281, 999]
    assert (dataset.num_classes, dataset.class_names[281]) == (1000, "tabby")
    assert dataset.stored_cells == set(CELLS) - {("snow", 4)}
    with pytest.raises(DataError, match="holds no files for snow at severity 4; it holds fog, snow"):
        dataset.read([0], GEOMETRY, ("snow", 4))
    with pytest.raises(DataError, match="holds no files for none at severity 0"):
        dataset.read([0], GEOMETRY)


def test_names_are_paths_inside_a_cell(root):
    dataset = open_data(f"imagenet-c:{root}")
    assert dataset.names() == tuple(FILES)
    assert dataset.without([1]).names() == (FILES[0], FILES[2])
    assert dataset.sizes() is None


def test_the_published_spelling_of_a_folder_is_understood(root):
    (root / "fog").rename(root / "cocentric_sine_waves")
    dataset = open_data(f"imagenet-c:{root}")
    assert {name for name, _ in dataset.stored_cells} == {"concentric_sine_waves", "snow"}
    found = dataset.read([0], GEOMETRY, ("concentric_sine_waves", 2))
    assert np.array_equal(found[0], pixels(root / "cocentric_sine_waves" / "2" / FILES[0])[:, 4:36, 4:36])


def test_severities_named_by_their_values_are_told_by_rank(root):
    for severity, value in enumerate(["1.00", "2.00", "4.00", "9.00", "10.00"], start=1):
        (root / "fog" / str(severity)).rename(root / "fog" / value)
    dataset = open_data(f"imagenet-c:{root}")
    assert dataset.stored_cells == set(CELLS)
    found = dataset.read([0], GEOMETRY, ("fog", 5))
    assert np.array_equal(found[0], pixels(root / "fog" / "10.00" / FILES[0])[:, 4:36, 4:36])


def test_files_are_read_from_their_cell_with_a_crop_and_no_resize(root):
    dataset = open_data(f"imagenet-c:{root}")
    for cell in CELLS:
        images = dataset.read([2, 0], GEOMETRY, cell, workers=2)
        for image, file in zip(images, [FILES[2], FILES[0]], strict=True):
            assert np.array_equal(image, pixels(root / cell[0] / str(cell[1]) / file)[:, 4:36, 4:36])
    whole = dataset.read([1], Preprocessing(40, 46), ("fog", 1))
    assert np.array_equal(whole[0], pixels(root / "fog" / "1" / FILES[1]))


def test_a_file_smaller_than_the_models_side_is_refused(root):
    with pytest.raises(DataError, match=r"never enlarged: the model takes 64×64 pixels, but .*val_2.JPEG has 40×40"):
        open_data(f"imagenet-c:{root}").read([0], Preprocessing(64, 73), ("fog", 1))


def test_clean_images_are_optional(root):
    for position, file in enumerate(FILES):
        write(root / "none" / "0" / file, 500 + position)
    dataset = open_data(f"imagenet-c:{root}")
    assert dataset.stored_cells == {*CELLS, ("none", 0)}
    assert np.array_equal(dataset.read([1], GEOMETRY)[0], pixels(root / "none" / "0" / FILES[1])[:, 4:36, 4:36])
    Image.new("RGB", (50, 40)).save(root / "none" / "0" / FILES[0])
    with pytest.raises(DataError, match=r"clean files under none/0 must be cropped .*val_2.JPEG has 50×40"):
        dataset.read([0], GEOMETRY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cell: (cell / FILES[1]).unlink(), "3 lacks n02123045/val_3.JPEG, unlike .*fog/1"),
        (lambda cell: write(cell / "n02123045" / "val_9.JPEG", 1), "3 has n02123045/val_9.JPEG, unlike"),
        (lambda cell: (cell / "n15075141").rename(cell / "n15075140"), "3 has n15075140/val_1.JPEG, unlike"),
    ],
)
def test_cells_with_other_files_are_refused(root, change, message):
    change(root / "snow" / "3")
    with pytest.raises(DataError, match="all cells must hold the same files, but .*snow/" + message):
        open_data(f"imagenet-c:{root}")


def test_a_file_that_is_broken_in_one_cell_breaks_its_image(root):
    (root / "snow" / "2" / FILES[1]).write_bytes(b"")
    (root / "snow" / "5" / FILES[1]).write_bytes(b"")
    dataset = open_data(f"imagenet-c:{root}")
    broken = dataset.find_broken(workers=2)
    assert [(item.image_id, item.path) for item in broken] == [(1, str(root / "snow" / "2" / FILES[1]))]
    assert dataset.find_broken(cells=[("snow", 1), ("fog", 2)]) == ()
    assert dataset.without([1]).find_broken() == ()
    with pytest.raises(DataError, match="holds no files for rain at severity 1"):
        dataset.find_broken(cells=[("rain", 1)])


def test_the_listing_hash_follows_every_cell(root):
    reference = open_data(f"imagenet-c:{root}").listing_hash
    assert open_data(f"imagenet-c:{root}").listing_hash == reference
    with (root / "snow" / "5" / FILES[2]).open("ab") as file:
        file.write(b"\0")
    assert open_data(f"imagenet-c:{root}").listing_hash != reference
    assert open_data(f"imagenet-c:{root}").without([2]).listing_hash != reference


def test_a_class_file_numbers_the_folders(root, tmp_path):
    classes = tmp_path / "classes.tsv"
    classes.write_text("0\tn15075141\tpaper\n1\tn02123045\tcat\n")
    assert open_data(f"imagenet-c:{root}", classes=str(classes)).labels.tolist() == [1, 1, 0]


def test_another_layout_is_refused(root, tmp_path):
    (tmp_path / "beside").mkdir()  # alone, a folder in a folder is taken for what an archive unpacked to
    with pytest.raises(DataError, match=r"expected .*<corruption>/<severity 1 to 5>/<class folder>/<image>"):
        open_data(f"imagenet-c:{tmp_path}")
    with pytest.raises(DataError, match="there is no folder"):
        open_data(f"imagenet-c:{tmp_path}/missing")
    with pytest.raises(InputError, match="imagenet-c has no training split"):
        open_data(f"imagenet-c:{root}", split="training")
