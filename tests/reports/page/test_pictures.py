import base64
import dataclasses
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.corruptions.apply import corrupt
from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports.content import Report
from robustbench_bi.reports.page.pictures import (
    Pictures,
    data_url,
    example_pictures,
    middle_cells,
    pictures_of,
    power_spectra,
    typical_image,
)
from robustbench_bi.reports.report import write_report

CLEAN = ("none", 0)


@pytest.fixture
def demo_run(make_run):
    """A run on the first thirty demo images, and the dataset reduced to them."""
    dataset = open_data("demo")
    dataset = dataset.without(np.arange(30, 500))

    def make(**config):
        fields = {"listing_hash": dataset.listing_hash, "runtime": {"source": "demo"}} | config
        return make_run(n=30, corruptions=("fog", "gaussian_noise"), **fields)

    return make, dataset


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_pictures_are_those_that_the_run_saw(demo_run):
    make, dataset = demo_run
    pictures = pictures_of(make(seed=3), [7, 20], [CLEAN, ("gaussian_noise", 4)])
    clean = dataset.read([7, 20], Preprocessing(64, 64)).transpose(0, 2, 3, 1)
    assert (pictures.cells[CLEAN] == clean).all()
    noisy = corrupt(clean, "gaussian_noise", 4, seed=3, ids=[7, 20], table="tiny-imagenet-c", backend="reference")
    assert (pictures.cells["gaussian_noise", 4] == noisy).all()
    assert pictures.class_names == dataset.class_names


def test_jpeg_is_applied_where_the_run_did(demo_run):
    make, _ = demo_run
    sharp, compressed = (pictures_of(make(jpeg=jpeg), [7], [("fog", 1)]).cells["fog", 1] for jpeg in (None, 30))
    assert 0 < np.abs(sharp.astype(int) - compressed).mean() < 20


def test_other_images_are_not_shown(demo_run):
    make, _ = demo_run
    with pytest.raises(DataError, match="demo no longer holds the same images"):
        pictures_of(make(listing_hash="a" * 64), [7], [CLEAN])
    with pytest.raises(DataError, match="made by imagecorruptions; only this package's own can be drawn"):
        pictures_of(make(generator="imagecorruptions"), [7], [("fog", 1)])
    with pytest.raises(DataError, match="the run used version 0 of the corruptions, but this program makes"):
        pictures_of(make(pixel_version=0), [7], [("fog", 1)])


@pytest.mark.parametrize("source", ["imagenette", "cifar-10"])
def test_nothing_is_fetched(demo_run, tmp_path, source):
    make, _ = demo_run
    with pytest.raises(DataError, match="is not on this machine"):
        pictures_of(make(runtime={"source": f"{source}:{tmp_path}"}), [7], [CLEAN])
    assert list(tmp_path.glob(f"*{source[:5]}*")) == []


def test_published_files_are_shown_as_they_are(make_run, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    folder = tmp_path / "files"
    folder.mkdir()
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", np.tile(np.arange(10), 5))
    source = f"cifar-10-c:{folder}"
    run = make_run(
        n=10,
        corruptions=("fog",),
        clean=False,
        generator="files",
        listing_hash=open_data(source).listing_hash,
        input_size=32,
        resize_size=32,
        runtime={"source": source},
    )
    assert (pictures_of(run, [2, 5], [("fog", 3)]).cells["fog", 3] == images[[22, 25]]).all()
    report = Report([run], Resampling(repeats=100))
    assert [example.name for example in example_pictures(report, pictures_of).pictures] == ["fog"]
    assert power_spectra(report, pictures_of) is None


def test_the_image_shown_is_about_as_hard_as_the_average(make_run):
    runs = [make_run("a", n=60, corruptions=("fog",)), make_run("b", n=60, corruptions=("fog",), luck=1)]
    chosen = typical_image(runs)
    records = pd.concat([run.records() for run in runs])
    right = records["rank"] < 1
    share = right.groupby(records["image_id"]).mean()
    assert abs(share[chosen] - share.mean()) < 0.1
    assert right[(records["image_id"] == chosen) & (records["corruption"] == "none")].all()
    assert chosen == typical_image(runs[::-1])


def test_an_image_that_is_not_known_when_clean_is_not_shown(make_run):
    run = make_run("a", n=3, corruptions=("fog",), severities=(1, 2, 3))
    # Right in clean and in fog 1 to 3: the first image is the most average one, the second the next.
    right = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).T.ravel()
    assert typical_image([dataclasses.replace(run, frame=run.frame.assign(rank=1 - right))]) == 1


def test_where_no_image_is_known_one_is_shown_all_the_same(make_run):
    assert 0 <= typical_image([make_run("a", n=5, corruptions=("fog",), skill=-50.0)]) < 5


def test_the_middle_severity_is_shown(make_run):
    assert middle_cells(make_run("a", corruptions=("fog", "snow"))) == [CLEAN, ("fog", 3), ("snow", 3)]
    assert middle_cells(make_run("b", corruptions=("fog",), severities=(1, 5), clean=False)) == [("fog", 1)]


def test_examples_hold_what_each_model_said(make_run):
    runs = [
        make_run("a", n=20, corruptions=("fog",)),
        make_run("b", n=20, corruptions=("fog",), severities=(5,), luck=1),
    ]
    names = tuple("abcdefghij")

    def squares(run, image_ids, cells):
        return Pictures(names, {cell: np.full((1, 40, 40, 3), cell[1], np.uint8) for cell in cells})

    examples = example_pictures(Report(runs, Resampling(repeats=100)), squares)
    clean, fog = examples.pictures
    assert (clean.name, fog.name, examples.severity) == ("clean", "fog", 3)
    assert decoded(fog.url).tolist() == np.full((40, 40, 3), 3).tolist()
    record = runs[0].records().query(f"image_id == {examples.image_id} and severity == 3").iloc[0]
    (answer,) = fog.answers
    assert (answer.number, answer.answer) == (0, names[record["prediction"]])
    assert answer.confidence == pytest.approx(100 * record["confidence"])
    assert answer.right == (record["prediction"] == record["label"])
    assert [own.number for own in clean.answers] == [0, 1]


def test_spectra_are_of_the_runs_own_images(demo_run):
    make, _ = demo_run
    frame = power_spectra(Report([make()], Resampling(repeats=100)), pictures_of).frame
    assert frame["n"].unique().tolist() == [30]
    assert frame["corruption"].unique().tolist() == ["none", "fog", "gaussian_noise"]
    high = frame[frame["frequency"] > 0.4].groupby("corruption")["ratio"].mean()
    assert high["gaussian_noise"] > 10


def test_large_pictures_become_small_files():
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    assert data_url(noise).startswith("data:image/jpeg;base64,")
    assert decoded(data_url(noise)).shape == (224, 168, 3)
    assert (decoded(data_url(noise[:64, :64])) == noise[:64, :64]).all()


def test_a_report_without_pictures_needs_no_torch():
    code = (
        "import sys; import robustbench_bi.reports.report, robustbench_bi.reports.page.pictures; "
        "sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_with_a_class_file_shows_its_pictures(tmp_path):
    """The class file is recorded with the run, so that the report finds the same images again."""
    for number, label in enumerate(("cat", "dog", "elk")):
        for image in range(2):
            path = tmp_path / "photos" / label / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (80 * number, 90 * image, 40)).save(path)
    (tmp_path / "classes.tsv").write_text("1\tcat\tkitten\n0\tdog\tpuppy\n2\telk\tcalf\n")

    class Three(torch.nn.Module):
        input_size = 64

        def forward(self, images):
            return images.mean(dim=(2, 3))

    options = {"classes": tmp_path / "classes.tsv", "suite": "fog", "severities": "1", "out": tmp_path / "runs"}
    run = rb.evaluate(Three(), tmp_path / "photos", resize_size=64, limit=4, **options)
    shown = pictures_of(run, run.images()["image_id"].to_numpy()[:1], [CLEAN])
    assert shown.class_names == ("puppy", "kitten", "calf")
    write_report([run], tmp_path / "page.html", open_pictures=pictures_of)
    assert any(name in (tmp_path / "page.html").read_text() for name in ("puppy", "kitten", "calf"))
