import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.data import open_data
from robustbench_bi.errors import DataError
from robustbench_bi.models import create_model
from robustbench_bi.models.weights import save_checkpoint

SMALL = {"suite": "contrast", "severities": "1", "input_size": 64, "resize_size": 64}


@pytest.fixture
def photos(tmp_path):
    """Three classes of two images, the second folder with a name in which a class file puts it first."""
    for number, label in enumerate(("cat", "dog", "elk")):
        for image in range(2):
            path = tmp_path / "photos" / label / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (70, 80), (80 * number, 90 * image, 40)).save(path)
    (tmp_path / "classes.tsv").write_text("1\tcat\tcat\n0\tdog\tdog\n2\telk\telk\n")
    return tmp_path / "photos"


@pytest.fixture
def network(tmp_path):
    network = create_model("resnet38", num_classes=3, width=0.125, input_size=64)
    save_checkpoint(tmp_path / "net.safetensors", network, {})
    return {"model": "resnet38", "weights": str(tmp_path / "net.safetensors")}


def test_a_run_lists_its_images_once(tmp_path, photos, network):
    run = rb.evaluate(**network, data=photos, out=tmp_path / "runs", **SMALL)
    images = run.images()
    assert images["name"].tolist() == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "elk/0.png", "elk/1.png"]
    assert images["label"].tolist() == [0, 0, 1, 1, 2, 2]
    assert images["width"].isna().all()
    demo = rb.evaluate("resnet50", suite="contrast", severities=1, limit=3, out=tmp_path / "runs")
    assert demo.images()[["width", "height"]].to_numpy().tolist() == [[64, 64]] * 3


def test_records_tell_their_images_by_name(tmp_path, photos, network):
    records = rb.evaluate(**network, data=photos, out=tmp_path / "runs", **SMALL).records(names=True)
    assert len(records) == 12
    assert (records["name"].str[:3].map({"cat": 0, "dog": 1, "elk": 2}) == records["label"]).all()
    assert "name" not in rb.open_run(next((tmp_path / "runs").iterdir())).records()


def test_a_folder_of_record_files_tells_its_cells_apart(tmp_path):
    run = rb.evaluate("resnet50", suite="contrast,fog", severities="1,5", limit=6, out=tmp_path, block_size=4)
    read = pd.read_parquet(run.directory / "records").astype({"corruption": str, "severity": int})
    own = run.records().astype({"corruption": str, "severity": int})
    keys = ["corruption", "severity", "image_id"]
    pd.testing.assert_frame_equal(
        read.sort_values(keys, ignore_index=True)[own.columns], own.sort_values(keys, ignore_index=True)
    )


def test_the_images_of_a_run_open_with_the_options_that_it_had(tmp_path, photos, network, monkeypatch):
    classes = tmp_path / "classes.tsv"
    run = rb.evaluate(**network, data=photos, classes=classes, limit=4, out=tmp_path / "runs", **SMALL)
    assert run.config["runtime"]["data_request"] == {"source": str(photos), "classes": str(classes), "limit": 4}
    again = run.open_data()
    assert again.image_ids.tolist() == run.images()["image_id"].tolist()
    assert again.labels.tolist() == run.images()["label"].tolist()
    assert again.class_names == ("dog", "cat", "elk")
    whole = open_data(photos, classes=classes)
    rows = np.searchsorted(whole.image_ids, again.image_ids)
    assert whole.labels[rows].tolist() == again.labels.tolist()


def test_relative_paths_are_found_from_where_the_run_was_started(tmp_path, photos, network, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = rb.evaluate(**network, data="photos", classes="classes.tsv", out="runs", **SMALL)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert rb.open_run(run.directory).open_data().class_names == ("dog", "cat", "elk")


def test_what_has_moved_or_changed_is_said(tmp_path, photos, network):
    run = rb.evaluate(**network, data=photos, out=tmp_path / "runs", **SMALL)
    Image.new("RGB", (90, 90)).save(photos / "cat" / "0.png")
    with pytest.raises(DataError, match=r"photos no longer holds the same images"):
        run.open_data()
    photos.rename(tmp_path / "moved")
    with pytest.raises(
        DataError, match=rf"the images of {run.directory.name} were .*photos, and now: there is no folder"
    ):
        run.open_data()
    # They never were where somebody says that they are now.
    with pytest.raises(DataError, match=rf"the images of {run.directory.name} are not .*gone: there is no folder"):
        run.open_data(str(tmp_path / "gone"))


def test_images_that_were_left_out_stay_out(tmp_path, photos, network):
    (photos / "dog" / "1.png").write_bytes(b"no image")
    run = rb.evaluate(**network, data=photos, out=tmp_path / "runs", skip_broken=True, **SMALL)
    assert run.images()["name"].tolist() == ["cat/0.png", "cat/1.png", "dog/0.png", "elk/0.png", "elk/1.png"]
    assert len(run.open_data()) == 5


def test_a_damaged_list_of_images_is_one_line(tmp_path):
    run = rb.evaluate("resnet50", suite="contrast", severities=1, limit=4, out=tmp_path)
    (run.directory / "images.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"images\.parquet is damaged .* remove it and run the same eval command again"):
        run.images()
    assert json.loads((run.directory / "run.json").read_text())["n"] == 4
