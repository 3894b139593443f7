import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustbench_bi.data import SOURCES, Dataset, named_source, open_data, splitmix64
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError, InputError, UnknownNameError

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", SOURCES.names)
def test_every_source_has_an_opener_with_the_common_signature(name):
    opener = SOURCES.load(name)
    parameters = inspect.signature(opener).parameters
    assert list(parameters) == ["path", "split", "classes"]
    assert opener.__doc__
    assert SOURCES[name].path in ("none", "optional", "required")


@pytest.mark.parametrize("name", SOURCES.names)
def test_a_path_belongs_where_the_table_says(name):
    need = SOURCES[name].path
    if need == "none":
        with pytest.raises(InputError, match=f"{name} takes no path, got '{name}:x'"):
            open_data(f"{name}:x")
    if need == "required":
        for source in (name, f"{name}:"):
            with pytest.raises(InputError, match=f"{name} needs a path: {name}:PATH"):
                open_data(source)


@pytest.mark.parametrize("name", SOURCES.names)
def test_splits_and_class_files_belong_where_the_table_says(name, tmp_path):
    row = SOURCES[name]
    source = name if row.path == "none" else f"{name}:{tmp_path / 'missing'}"
    if not row.training:
        with pytest.raises(InputError, match=f"{name} has no training split"):
            open_data(source, split="training")
    if not row.class_file:
        with pytest.raises(InputError, match=rf"class folders \(folder, imagenet-c, .*\), not with {name}"):
            open_data(source, classes=tmp_path / "classes.tsv")
    with pytest.raises(InputError, match="split must be 'evaluation' or 'training', got 'test'"):
        open_data(source, split="test")


@pytest.mark.parametrize(
    ("source", "row", "path"),
    [
        ("demo", "demo", None),
        ("cifar-10", "cifar-10", None),
        ("cifar-10-c:data/c", "cifar-10-c", "data/c"),
        ("imagenet-c:C:/data", "imagenet-c", "C:/data"),
        ("folder:photos", "folder", "photos"),
        ("photos", "folder", "photos"),
        ("C:/photos", "folder", "C:/photos"),
        ("./demo", "folder", "./demo"),
    ],
)
def test_a_source_is_a_row_and_a_path(source, row, path):
    assert named_source(source) == (SOURCES[row], path)


def test_what_a_source_is_stands_in_its_row():
    def names(wanted):
        return [row.name for row in SOURCES if wanted(row)]

    cifar = ["cifar-100", "cifar-100-c", "cifar-10.1", "cifar-10.2"]
    shifts = ["imagenet-v2", "imagenet-a", "imagenet-r", "imagenet-sketch", "objectnet"]
    tiny = ["tiny-imagenet", "tiny-imagenet-c"]
    boxes = ["coco", "voc", "demo-detection"]
    assert names(lambda row: not row.mce_applies) == ["demo", "cifar-10", "cifar-10-c", *shifts, *tiny, *cifar, *boxes]
    assert names(lambda row: row.part_of_imagenet) == ["imagenette"]
    assert names(lambda row: row.download_folder) == ["cifar-10", "imagenette", "cifar-100"]
    assert names(lambda row: row.arrays) == ["cifar-10", "cifar-10-c", *cifar]
    stored = ["imagenet-c", "cifar-10-c", "tiny-imagenet-c", "cifar-100-c", *boxes]
    assert names(lambda row: row.corrupted_as is None) == stored
    assert names(lambda row: row.class_space) == ["imagenet-a", "imagenet-r", "objectnet"]
    assert names(lambda row: row.weights) == ["demo"]
    assert names(lambda row: row.preset != "paper") == ["demo", *boxes]
    assert names(lambda row: row.task == "detection") == boxes
    assert names(lambda row: row.images_root) == ["coco"]


@pytest.mark.parametrize("row", SOURCES, ids=lambda row: row.name)
def test_what_is_written_from_a_source_can_be_opened(row):
    if row.corrupted_as is not None:
        reader = SOURCES[row.corrupted_as]
        assert (reader.corrupted_as, reader.arrays) == (None, row.arrays)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("imagnet-c:/data/c", "there is no folder and no data source 'imagnet-c'. Did you mean 'imagenet-c'?"),
        ("cifar10", "there is no folder and no data source 'cifar10'. Did you mean 'cifar-10'?"),
        ("photos", "there is no folder and no data source 'photos'. There are 22, such as "),
    ],
)
def test_an_unknown_source_gets_a_suggestion(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match=message):
        open_data(source)


def test_paths_are_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "some:photos", "demo"):
        (tmp_path / folder / "cats").mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / folder / "cats" / "0.png")
    for source in ("photos", "./photos", "folder:photos", str(tmp_path / "photos"), tmp_path / "photos", "some:photos"):
        assert len(open_data(source)) == 1
        assert open_data(source).name == str(source)
        assert open_data(source).kind == "folder"
    assert open_data("./demo").class_names == ("cats",)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(open_data("~/photos")) == 1
    with pytest.raises(DataError, match=r"there is no folder missing/photos"):
        open_data("missing/photos")
    for odd in ("~nobody-of-that-name/photos", "/" + "long" * 2000, "a/\0"):
        with pytest.raises(DataError, match="there is no folder"):
            open_data(odd)
    with pytest.raises(InputError, match="got an empty text"):
        open_data("")


def test_the_demo_set_opens():
    dataset = open_data("demo", limit=4)
    assert isinstance(dataset, Dataset)
    assert dataset.kind == "demo"
    assert (len(dataset), dataset.num_classes, dataset.native_size) == (4, 10, 64)
    assert dataset.read([0, 3], Preprocessing(64, 73)).shape == (2, 3, 64, 64)
    assert dataset.names() == tuple(f"{dataset.class_names[i % 10]}/{i:05d}" for i in dataset.image_ids)
    assert (dataset.sizes().tolist(), dataset.sizes().dtype) == ([[64, 64]] * 4, np.int32)
    assert dataset.find_broken() == ()
    assert dataset.listing_hash != open_data("demo").listing_hash


def test_splitmix64_equals_its_definition():
    def reference(value):
        mask = 2**64 - 1
        mixed = (value + 0x9E3779B97F4A7C15) & mask
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & mask
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & mask
        return mixed ^ (mixed >> 31)

    values = [0, 1, 12345, 2**40, 2**63 - 1]
    assert splitmix64(np.array(values)).tolist() == [reference(value) for value in values]


def test_listing_the_sources_imports_nothing_heavy():
    code = "import sys, robustbench_bi.data as data; list(data.SOURCES); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert importlib.import_module("robustbench_bi.data").__name__ in loaded
    assert not {"numpy", "torch", "PIL", "pandas", "torchvision"} & set(loaded)


@pytest.mark.parametrize("name", SOURCES.names)
def test_the_page_on_data_has_a_row_and_a_command_for_each_source(name):
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    typed = "photos" if name == "folder" else re.escape(name)
    assert re.search(rf"^\|[^|]*`{re.escape(name)}(\[?:[^`]*)?`[^|]*(\|[^|\n]+){{5}}\|$", page, re.MULTILINE)
    assert re.search(rf"--data \"?{typed}(:|$|\s)", page, re.MULTILINE)
