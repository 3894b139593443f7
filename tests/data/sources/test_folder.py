import io
import itertools
import os
import shutil
import struct
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from robustbench_bi.data import open_data
from robustbench_bi.data.containers.image_files import why_broken
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError, InputError

GEOMETRY = Preprocessing(32, 36)


def picture(seed, size=(40, 36)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def jpeg(seed=0, **options):
    stream = io.BytesIO()
    picture(seed, (80, 64)).save(stream, "JPEG", **options)
    return stream.getvalue()


def make(root, *files):
    """Images at the given paths, each with another content."""
    for seed, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(root / file)
    return root


@pytest.fixture
def two_classes(tmp_path):
    return make(tmp_path / "data", *(f"{name}/{number}.png" for name in ("dogs", "cats") for number in range(6)))


def test_classes_and_images_are_sorted(two_classes):
    dataset = open_data(str(two_classes))
    assert dataset.class_names == ("cats", "dogs")
    assert dataset.labels.tolist() == [0] * 6 + [1] * 6
    assert dataset.image_ids.tolist() == list(range(12))
    assert (dataset.labels.dtype, dataset.image_ids.dtype) == (np.int32, np.int64)
    assert (dataset.native_size, dataset.stored_cells) == (None, None)


def test_names_are_paths_inside_the_folder_and_stay_with_their_images(two_classes):
    dataset = open_data(str(two_classes))
    assert dataset.names() == tuple(f"{name}/{number}.png" for name in ("cats", "dogs") for number in range(6))
    assert dataset.without([0, 7]).names() == dataset.names()[1:7] + dataset.names()[8:]
    few = dataset.limited(3)
    assert few.names() == tuple(dataset.names()[image_id] for image_id in few.image_ids)
    assert few.sizes() is None


def test_names_are_those_of_the_split(two_classes, tmp_path):
    make(tmp_path / "splits", "train/cats/a.png", "val/cats/b.png")
    assert open_data(str(tmp_path / "splits")).names() == ("cats/b.png",)
    assert open_data(str(tmp_path / "splits")).remarks == ("splits/ has splits, of which val/ was read",)
    assert open_data(str(tmp_path / "splits"), split="training").names() == ("cats/a.png",)


def test_a_name_that_is_no_text_is_kept_byte_by_byte(tmp_path):
    name = os.fsdecode(b"caf\xe9\t1.png")
    (tmp_path / "cats").mkdir()
    try:
        picture(0).save(tmp_path / "cats" / name)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 only")
    (found,) = open_data(str(tmp_path)).names()
    assert found == f"cats/{name}"
    assert (tmp_path / found).is_file()


def test_read_gives_the_pixels_of_the_rows_that_were_asked_for(two_classes):
    dataset = open_data(str(two_classes))
    images = dataset.read([11, 0, 3], Preprocessing(36, 36))
    assert (images.shape, images.dtype) == ((3, 3, 36, 36), np.uint8)
    for image, seed in zip(images, [5, 6, 9], strict=True):  # dogs were made first
        assert np.array_equal(image, np.asarray(picture(seed)).transpose(2, 0, 1)[:, :, 2:38])


def test_the_number_of_workers_changes_no_pixel(two_classes):
    dataset = open_data(str(two_classes))
    alone = dataset.read(range(12), GEOMETRY)
    for workers in (1, 2, 5):
        assert np.array_equal(dataset.read(range(12), GEOMETRY, workers=workers), alone)


def test_extensions_in_any_case_are_images_and_other_files_are_not(tmp_path):
    names = ["a.JPEG", "b.jpg", "c.png", "d.bmp", "e.webp", "f.ppm", "g.tif", "h.TIFF", "i.PNG"]
    root = make(tmp_path / "data", *(f"cats/{name}" for name in names), "cats/.hidden.png", ".git/x.png")
    (root / "cats" / "notes.txt").write_text("no image")
    (root / "cats" / "folder.png").mkdir()
    (root / "README.md").write_text("no class")
    dataset = open_data(str(root))
    assert len(dataset) == len(names)
    assert dataset.class_names == ("cats",)
    assert dataset.find_broken() == ()


def test_links_are_followed(two_classes, tmp_path):
    linked = tmp_path / "linked"
    (linked / "cats").mkdir(parents=True)
    (linked / "dogs").symlink_to(two_classes / "dogs")
    (linked / "cats" / "0.png").symlink_to(two_classes / "cats" / "0.png")
    (linked / "cats" / "1.png").symlink_to(two_classes / "nowhere.png")
    dataset = open_data(str(linked))
    assert len(dataset) == 8
    assert len(dataset.listing_hash) == 64
    assert [(broken.image_id, broken.reason) for broken in dataset.find_broken()] == [(1, "No such file or directory")]


def test_the_listing_hash_follows_names_sizes_labels_and_selection(two_classes, tmp_path):
    reference = open_data(str(two_classes)).listing_hash
    assert open_data(f"folder:{two_classes}/").listing_hash == reference
    assert open_data(str(two_classes), limit=5).listing_hash != reference
    classes = tmp_path / "classes.tsv"
    classes.write_text("1\tcats\tcat\n0\tdogs\tdog\n")
    assert open_data(str(two_classes), classes=classes).listing_hash != reference
    image = two_classes / "cats" / "3.png"
    content = image.read_bytes()
    image.write_bytes(content + b"\0")
    assert open_data(str(two_classes)).listing_hash != reference
    image.write_bytes(content)
    assert open_data(str(two_classes)).listing_hash == reference
    image.rename(image.with_name("3b.png"))
    assert open_data(str(two_classes)).listing_hash != reference


def test_a_limit_keeps_ids_nests_and_takes_all_classes(tmp_path):
    root = tmp_path / "data"
    content = jpeg()
    for name in "abcd":
        (root / name).mkdir(parents=True)
        for number in range(50):
            (root / name / f"{number:02}.jpg").write_bytes(content)
    ids = [open_data(str(root), limit=limit).image_ids for limit in (1, 7, 40, 200, 1000)]
    assert [len(chosen) for chosen in ids] == [1, 7, 40, 200, 200]
    for small, large in itertools.pairwise(ids):
        assert np.isin(small, large).all()
        assert (np.diff(large) > 0).all()
    forty = open_data(str(root), limit=40)
    assert np.array_equal(forty.labels, forty.image_ids // 50)
    assert np.bincount(forty.labels, minlength=4).min() >= 4
    with pytest.raises(InputError, match="limit must be a positive integer, got 0"):
        open_data(str(root), limit=0)


def test_without_leaves_the_other_ids_and_pixels(two_classes):
    dataset = open_data(str(two_classes))
    rest = dataset.without([0, 7])
    assert rest.image_ids.tolist() == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert rest.labels.tolist() == [0] * 5 + [1] * 5
    assert np.array_equal(rest.read([0, 6], GEOMETRY), dataset.read([1, 8], GEOMETRY))
    assert rest.listing_hash != dataset.listing_hash
    with pytest.raises(DataError, match="no images are left"):
        dataset.without(dataset.image_ids)


def test_a_folder_holds_no_corrupted_cells(two_classes):
    with pytest.raises(DataError, match="holds clean images only, got a request for fog at severity 3"):
        open_data(str(two_classes)).read([0], GEOMETRY, ("fog", 3))


@pytest.mark.parametrize("workers", [0, 3])
def test_broken_files_are_named_and_the_others_are_not(two_classes, workers):
    (two_classes / "cats" / "1.png").write_bytes(b"")
    (two_classes / "cats" / "4.jpg").write_bytes(jpeg()[:-700])
    (two_classes / "dogs" / "2.jpg").write_text("a text that was renamed")
    (two_classes / "dogs" / "3.png").write_bytes((two_classes / "dogs" / "4.png").read_bytes()[:-900])
    dataset = open_data(str(two_classes))
    broken = dataset.find_broken(workers)
    assert [(item.image_id, item.path) for item in broken] == [
        (1, str(two_classes / "cats" / "1.png")),
        (4, str(two_classes / "cats" / "4.jpg")),
        (9, str(two_classes / "dogs" / "2.jpg")),
        (11, str(two_classes / "dogs" / "3.png")),
    ]
    assert [item.reason.split()[0] for item in broken] == ["the", "image", "not", "image"]
    assert dataset.without([item.image_id for item in broken]).find_broken() == ()
    with pytest.raises(DataError, match=r"cannot read image .*4\.jpg: image file is truncated"):
        dataset.read(range(2, len(dataset)), GEOMETRY, workers=workers)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}])
def test_the_check_finds_what_a_full_decode_finds(tmp_path, options):
    content = jpeg(**options)
    path = tmp_path / "image.jpg"
    outcomes = set()
    for length in [*range(0, len(content), 97), *range(len(content) - 8, len(content) + 1)]:
        path.write_bytes(content[:length])
        try:
            with Image.open(path) as image:
                image.convert("RGB")
            decodes = True
        except OSError:
            decodes = False
        assert (why_broken(path) is None) == decodes, length
        outcomes.add(decodes)
    assert outcomes == {True, False}


def test_truncated_files_are_broken_also_where_pillow_was_told_to_pad_them(two_classes, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    (two_classes / "cats" / "0.jpg").write_bytes(jpeg()[:-700])
    dataset = open_data(str(two_classes))
    assert [item.image_id for item in dataset.find_broken()] == [0]
    with pytest.raises(DataError, match="truncated"):
        dataset.read([0], GEOMETRY)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("workers", [0, 2])
def test_warnings_of_the_decoder_are_no_errors(two_classes, monkeypatch, workers):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHLL", 5, 0x11A, 5, 1, 4000)
    (two_classes / "cats" / "0.jpg").write_bytes(jpeg(exif=exif))
    with pytest.warns(Image.DecompressionBombWarning), Image.open(two_classes / "cats" / "1.png"):
        pass
    dataset = open_data(str(two_classes)).without([0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dataset.find_broken(workers) == ()
        assert len(dataset.read(range(len(dataset)), GEOMETRY, workers=workers)) == 12


def test_a_decompression_bomb_is_broken(two_classes, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    broken = open_data(str(two_classes)).find_broken()
    assert len(broken) == 12
    assert "decompression bomb" in broken[0].reason


def test_splits(two_classes, tmp_path):
    both = make(tmp_path / "both", "train/a/0.png", "train/a/1.png", "val/a/0.png", "test/a/0.png")
    assert len(open_data(str(both))) == 1
    assert len(open_data(str(both), split="training")) == 2
    assert len(open_data(str(two_classes), split="training")) == 12
    lines = make(tmp_path / "lines", "plane/0.png", "train/0.png", "train/1.png", "val/0.png")
    assert open_data(str(lines)).class_names == ("plane", "train", "val")
    assert len(open_data(str(lines), split="training")) == 4


def test_layouts_that_do_not_fit_are_refused_with_text(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*missing"):
        open_data(str(tmp_path / "missing"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file must be a folder of class folders, but it is a file"):
        open_data(str(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty, which holds neither class folders nor images"):
        open_data(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="flat, which holds images but no class folders"):
        open_data(str(make(tmp_path / "flat", "0.png")))
    (tmp_path / "hollow" / "a").mkdir(parents=True)
    make(tmp_path / "hollow", "b/0.png")
    with pytest.raises(DataError, match=r"images in every class folder of .*hollow, but 1 of 2 hold none, such as a$"):
        open_data(str(tmp_path / "hollow"))
    for name in ("val", "validation", "train"):
        nested = make(tmp_path / f"with_{name}", f"{name}/a/0.png", f"{name}/b/0.png")
        with pytest.raises(DataError, match=f"if {nested / name} holds the class folders, give that path"):
            open_data(str(nested))


@contextmanager
def rights_that_count():
    """Within, root is nobody: root itself may read every folder."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_that_may_not_be_listed_is_refused_with_text(two_classes):
    with tempfile.TemporaryDirectory() as folder:  # that of pytest is closed to nobody
        Path(folder).chmod(0o755)
        root = shutil.copytree(two_classes, Path(folder) / "images")
        with rights_that_count():
            assert len(open_data(str(root))) > 0
        (root / "cats").chmod(0)
        try:
            with rights_that_count(), pytest.raises(DataError, match=r"cannot list .*cats: Permission denied"):
                open_data(str(root))
        finally:
            (root / "cats").chmod(0o700)
