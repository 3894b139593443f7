import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.corruptions.apply import corrupt
from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.reports.view.album import open_album
from robustbench_bi.runs.identity import fingerprint_of
from robustbench_bi.runs.run import open_run

FOG = ("fog", 3)


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)))


class Noting(torch.nn.Module):
    """Keeps the bytes that it is shown."""

    input_size, resize_size, mean, std = 64, 64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.extend((images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
        return images.mean(dim=(2, 3))


@pytest.fixture
def evaluated(photos, tmp_path):
    """A run of a network of ours on the photographs, and what the network was shown."""
    network = Noting()
    run = rb.evaluate(
        network, photos, suite="fog,gaussian_noise", severities="3", jpeg=85, seed=4, out=tmp_path / "runs"
    )
    return run, network.seen


def test_pictures_are_the_bytes_that_the_network_saw(evaluated):
    run, seen = evaluated
    album = open_album([run])
    cells = [("none", 0), ("gaussian_noise", 3), FOG]
    assert [tuple(cell) for cell in run.cell_names] == cells
    # What tries the network out, before anything is written, is shown first.
    shown = seen[-18:]
    for number, (cell, place) in enumerate((cell, place) for cell in cells for place in range(6)):
        assert (decoded(album.pictures.png(0, place, cell)) == shown[number]).all(), (cell, place)


def test_runs_that_saw_other_pictures_have_views_of_their_own(write_demo_run):
    album = open_album(
        [write_demo_run("a", 0), write_demo_run("b", 1), write_demo_run("c", 2, interpolation="bicubic")]
    )
    assert album.pictures.views == [0, 0, 2]


def test_the_seed_and_the_id_of_the_image_key_what_is_drawn(write_demo_run, thirty):
    album = open_album([write_demo_run(seed=3)])
    clean = album.pictures.picture(0, 20, ("none", 0))
    noisy = corrupt(clean, "gaussian_noise", 5, seed=3, ids=[20], table="tiny-imagenet-c")
    assert (decoded(album.pictures.png(0, 20, ("gaussian_noise", 5))) == noisy).all()


def test_images_that_have_moved_are_looked_for_and_found(evaluated, photos, tmp_path):
    run, _ = evaluated
    photos.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"there is no folder .*Looked in .*/photos; say where they are with --data"):
        open_album([run])
    assert len(open_album([run], str(tmp_path / "moved"))) == 6
    with pytest.raises(DataError, match=r"Looked in .*/nowhere; say where"):
        open_album([run], str(tmp_path / "nowhere"))


def test_a_relative_path_was_looked_for_here_and_where_the_run_was_started(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = rb.evaluate(Noting(), "photos", suite="fog", severities="3", out="runs")
    run = open_run(run.directory)
    photos.rename(tmp_path / "moved")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    there = f"and now: there is no folder 'photos'. Looked in {tmp_path}/here/photos and {tmp_path}/photos; say"
    with pytest.raises(DataError, match=there):
        open_album([run])


def test_runs_of_other_pictures_are_not_put_side_by_side(write_demo_run):
    first = write_demo_run("a", 0)
    for changed, words in (
        (
            {"listing_hash": "b" * 64, "data": "cifar-10", "source": "cifar-10"},
            "made on cifar-10, and .* on the demo set",
        ),
        ({"seed": 5}, "made with seed 5, and .* with seed 0"),
    ):
        with pytest.raises(RunMismatchError, match=words):
            open_album([first, write_demo_run("b", 1, **changed)])


def test_cells_that_not_every_run_holds_are_left_out_and_named(write_demo_run):
    album = open_album([write_demo_run("a", 0), write_demo_run("b", 1, severities=(1, 3))])
    assert ("fog", 5) not in album.cells and FOG in album.cells
    assert "Not shown, because not every run contains it: fog severity 5, gaussian_noise severity 5." in album.notes


def test_an_unfinished_run_is_refused(write_demo_run):
    run = write_demo_run()
    next((run.directory / "records").glob("fog-3-*")).unlink()
    with pytest.raises(RunMismatchError, match="is not finished: 1 cell-blocks are missing"):
        open_album([open_run(run.directory)])


def test_detectors_are_refused(write_demo_run):
    run = write_demo_run()
    path = run.directory / "run.json"
    config = json.loads(path.read_text()) | {"task": "detection"}
    path.write_text(json.dumps(config | {"fingerprint": fingerprint_of(config)}))
    with pytest.raises(InputError, match=r"view shows the answers of classifiers, and .* is a run of detection"):
        open_album([open_run(run.directory)])


def test_records_of_other_images_are_found(write_demo_run, thirty):
    run = write_demo_run(block_size=10)
    (one, two) = sorted((run.directory / "records").glob("fog-3-000[01]*"))
    two.write_bytes(one.read_bytes())
    with pytest.raises(DataError, match=r"is damaged .it lists other images."):
        open_album([run]).columns[0].cell(FOG)


def test_pictures_that_may_not_be_shown_are_not(write_demo_run, monkeypatch):
    album = open_album([write_demo_run()])
    album.pictures.refusal = "those of objectnet are not shown: its licence"
    with pytest.raises(DataError, match="those of objectnet are not shown"):
        album.pictures.png(0, 0, FOG)
    assert "No images: those of objectnet are not shown: its licence." in album.notes


def test_pixels_of_another_version_are_not_shown_as_if_they_were_these(write_demo_run):
    album = open_album([write_demo_run(pixel_version=0)])
    with pytest.raises(DataError, match="the run used version 0 of the corruptions"):
        album.pictures.png(0, 0, FOG)


def test_pictures_that_a_gpu_corrupted_are_said_to_be_made_anew(write_demo_run):
    notes = open_album([write_demo_run(device="cuda")]).notes
    assert any("corrupted on cuda" in note for note in notes)


def test_a_picture_of_another_size_is_found_when_the_images_are_opened(evaluated, photos):
    Image.new("RGB", (64, 70)).save(photos / "cat" / "<b>0.png")
    same = r"photos no longer holds the same images: all names are there, so some files have other sizes.*--data"
    with pytest.raises(DataError, match=same):
        open_album([evaluated[0]])
    (photos / "cat" / "<b>0.png").unlink()
    with pytest.raises(DataError, match=r"no longer holds the same images: 1 of 6 .*the first is cat/<b>0\.png"):
        open_album([evaluated[0]])


def test_a_picture_whose_bytes_differ_is_not_shown(evaluated, photos):
    """Of the same name and size: pixels of another picture beside the answers to this one."""
    path = photos / "cat" / "<b>1.png"
    changed, size = bytearray(path.read_bytes()), path.stat().st_size
    changed[-20] ^= 1
    path.write_bytes(changed)
    assert path.stat().st_size == size
    album = open_album([evaluated[0]])
    place = list(album.names).index("cat/<b>1.png")
    with pytest.raises(DataError, match=r"cat/<b>1\.png has changed since the run: its bytes differ"):
        album.pictures.png(0, place, FOG)
    assert album.pictures.png(0, list(album.names).index("cat/<b>0.png"), FOG)
