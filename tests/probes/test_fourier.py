import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.errors import DataError, InputError, ModelOutputError, RunMismatchError
from robustbench_bi.probes import fourier
from robustbench_bi.probes.fourier import fourier_errors
from robustbench_bi.probes.frequencies import default_norm, fourier_basis

SMALL = {"radius": 3, "step": 1, "limit": 10, "batch_size": 4}


class Tone(torch.nn.Module):
    """Tells dark from bright pictures, and takes one for the other where a frequency is strong."""

    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)
    input_size = 32
    resize_size = 32

    def __init__(self, vertical, horizontal):
        super().__init__()
        self.register_buffer("basis", fourier_basis(32, vertical, horizontal))

    def forward(self, images):
        tone = (images * self.basis).sum(dim=(2, 3)).abs().sum(dim=1) > 6
        bright = images.mean(dim=(1, 2, 3)) > 0.5
        return torch.nn.functional.one_hot((bright ^ tone).long(), 2).float()


class Patches(torch.nn.Module):
    """A fixed random projection of the mean colours of 64 patches."""

    def __init__(self, seed=0):
        super().__init__()
        self.head = torch.nn.Linear(192, 10)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(10, 192, generator=torch.Generator().manual_seed(seed)))
            self.head.bias.zero_()

    def forward(self, images):
        return self.head(torch.nn.functional.adaptive_avg_pool2d(images, 8).flatten(1))


@pytest.fixture
def shades(tmp_path):
    """A folder of four flat pictures: dark ones of class 0, bright ones of class 1."""
    for label, levels in (("a", (90, 100)), ("b", (150, 160))):
        (tmp_path / "shades" / label).mkdir(parents=True)
        for level in levels:
            Image.new("RGB", (32, 32), (level, level, level)).save(tmp_path / "shades" / label / f"{level}.png")
    return str(tmp_path / "shades")


def errors_of(frame):
    """(vertical, horizontal, norm) -> errors."""
    counts = [np.unpackbits(np.frombuffer(row.wrong, np.uint8), count=row.n).sum() for row in frame.itertuples()]
    return dict(zip(zip(frame["vertical"], frame["horizontal"], frame["norm"], strict=True), counts, strict=True))


@pytest.mark.parametrize("frequency", [(3, 5), (0, 7), (4, -2), (16, 16), (5, 16)])
def test_a_network_that_listens_to_one_frequency_errs_there_alone(shades, tmp_path, frequency):
    frame = fourier_errors([Tone(*frequency)], shades, norm=4.0, out=tmp_path / "out").frame
    errors = errors_of(frame)
    assert len(errors) == 515
    assert errors.pop((*frequency, 4.0)) == 4
    assert set(errors.values()) == {0}


def test_clean_errors_are_those_of_evaluation(tmp_path):
    frame = fourier_errors(["resnet50"], limit=40, radius=1, out=tmp_path / "out").frame
    run = rb.evaluate("resnet50", suite="contrast", severities=1, limit=40, out=tmp_path / "runs")
    assert errors_of(frame)[0, 0, 0.0] == round(40 * (1 - run.cells()["top1"][0] / 100))
    assert frame[["vertical", "horizontal"]].values.tolist() == [[0, 0], [0, 0]]
    assert frame["norm"].round(2).tolist() == [0.0, 6.51]


def test_a_run_that_was_stopped_continues_to_the_same_result(tmp_path):
    whole = fourier_errors([Patches()], out=tmp_path / "whole", **SMALL).frame

    def stop(progress):
        if progress.steps_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fourier_errors([Patches()], out=tmp_path / "stopped", progress=stop, **SMALL)
    (path,) = (tmp_path / "stopped").iterdir()
    assert len(pd.read_parquet(path)) == 5
    seen = []
    again = fourier_errors([Patches()], out=tmp_path / "stopped", progress=seen.append, **SMALL).frame
    pd.testing.assert_frame_equal(again, whole)
    assert (seen[0].steps_done, seen[-1].steps_done, seen[-1].steps_total) == (6, 16, 16)
    assert (seen[0].images, seen[-1].images, seen[0].images_total) == (10, 110, 110)
    fourier_errors([Patches()], out=tmp_path / "stopped", progress=seen.append, **SMALL)
    assert len(seen) == 11


KILLED = """
import os, signal, sys
from robustbench_bi.probes import fourier
sys.path.insert(0, os.path.dirname(sys.argv[2]))
from test_fourier import Patches
fourier._CHECKPOINT_SECONDS = 0.0
def stop(progress):
    if progress.steps_done == 7:
        os.kill(os.getpid(), signal.SIGKILL)
fourier.fourier_errors([Patches()], radius=3, step=1, limit=10, batch_size=4, out=sys.argv[1], progress=stop)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_a_whole_file_to_continue_from(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "killed", __file__], check=False)
    assert done.returncode == -signal.SIGKILL
    (path,) = (tmp_path / "killed").iterdir()
    assert len(pd.read_parquet(path)) == 7
    again = fourier_errors([Patches()], out=tmp_path / "killed", **SMALL).frame
    pd.testing.assert_frame_equal(again, fourier_errors([Patches()], out=tmp_path / "whole", **SMALL).frame)


def test_a_file_of_an_earlier_version_is_continued(tmp_path):
    """The file as it has been written since map version 1: columns, types and metadata."""
    whole = fourier_errors([Patches()], out=tmp_path, **SMALL).frame
    (path,) = tmp_path.iterdir()
    written = pq.read_table(path)
    assert [(field.name, str(field.type)) for field in written.schema] == [
        ("block", "int32"),
        ("vertical", "int32"),
        ("horizontal", "int32"),
        ("norm", "double"),
        ("n", "int32"),
        ("wrong", "binary"),
    ]
    settings = json.loads(written.schema.metadata[b"bivo-robust"])
    assert (settings["map_version"], settings["data"], settings["n"]) == (1, "demo", 10)
    assert written.slice(0, 2).drop_columns("wrong").to_pylist() == [
        {"block": 0, "vertical": 0, "horizontal": 0, "norm": norm, "n": 10} for norm in (0.0, default_norm(64))
    ]
    # All images wrong at the first three: an answer that no network here gives.
    rows = [{**row, "wrong": np.packbits(np.ones(10, bool)).tobytes()} for row in written.slice(0, 3).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, written.schema), path)
    seen = []
    again = fourier_errors([Patches()], out=tmp_path, progress=seen.append, **SMALL).frame
    assert [(step.unit, step.steps_done) for step in seen] == [("frequencies", number) for number in range(4, 17)]
    assert list(errors_of(again).values())[:3] == [10, 10, 10]
    assert list(errors_of(again).values())[3:] == list(errors_of(whole).values())[3:]


def test_more_frequencies_and_other_norms_are_added_and_another_seed_is_apart(tmp_path):
    first = fourier_errors([Patches()], out=tmp_path, **SMALL).frame
    (path,) = tmp_path.iterdir()
    wider = fourier_errors([Patches()], out=tmp_path, **{**SMALL, "radius": 4}).frame
    weak = fourier_errors([Patches()], out=tmp_path, norm=0.01, **SMALL).frame
    assert list(tmp_path.iterdir()) == [path]
    assert len(pd.read_parquet(path)) == len(wider) + len(weak) - 1
    assert errors_of(first).items() <= errors_of(wider).items()
    # So weak a wave vanishes in the rounding.
    assert set(errors_of(weak).values()) == {errors_of(first)[0, 0, 0.0]}
    fourier_errors([Patches()], out=tmp_path, seed=1, **SMALL)
    assert len(list(tmp_path.iterdir())) == 2


def test_neither_batches_nor_blocks_change_the_result(tmp_path, monkeypatch):
    whole = fourier_errors([Patches()], out=tmp_path / "a", **SMALL).frame
    monkeypatch.setattr(fourier, "BLOCK_SIZE", 3)
    parts = fourier_errors([Patches()], out=tmp_path / "b", **{**SMALL, "batch_size": 2}).frame
    pd.testing.assert_frame_equal(whole, parts)


def test_several_models_each_have_their_rows_and_file(tmp_path):
    found = fourier_errors([Patches(), "resnet50"], out=tmp_path, **SMALL)
    assert found.frame.groupby("model", sort=False).size().to_dict() == {"Patches": 16, "resnet50": 16}
    assert sorted(path.name[:8] for path in tmp_path.iterdir()) == ["Patches-", "resnet50"]
    assert found.data.startswith("demo. Drawn at random from 500 images. Patches does not state its mean and std, so ")
    assert found.data.endswith(
        " Networks: Patches (1.93 k parameters, 64 px), resnet50 (width 0.25, 1.49 M parameters, 64 px)."
    )


def test_what_does_not_fit_is_refused(tmp_path, shades):
    fourier_errors([Patches()], out=tmp_path / "out", **SMALL)
    (path,) = (tmp_path / "out").iterdir()
    kept = path.read_bytes()
    path.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(DataError, match=r"\.parquet is damaged .*; delete it to recompute it"):
        fourier_errors([Patches()], out=tmp_path / "out", **SMALL)
    path.unlink()
    fourier_errors([Patches()], out=tmp_path / "out", seed=1, **SMALL)
    next((tmp_path / "out").iterdir()).rename(path)
    with pytest.raises(RunMismatchError, match="was made with other settings"):
        fourier_errors([Patches()], out=tmp_path / "out", **SMALL)
    with pytest.raises(InputError, match="imagenet-c contains corrupted ones"):
        (tmp_path / "c" / "fog").mkdir(parents=True)
        (tmp_path / "c" / "fog" / "1").symlink_to(shades)
        fourier_errors([Tone(1, 1)], f"imagenet-c:{tmp_path / 'c'}", out=tmp_path / "new")
    for options, message in (
        ({"norm": 0}, "norm must be a number above 0, got 0"),
        ({"norm": True}, "norm must be a number above 0, got True"),
        ({"norm": float("nan")}, "norm must be a number above 0, got nan"),
        ({"radius": -1.0}, "radius must be a number above 0"),
        ({"step": 0}, "step must be an integer of at least 1, got 0"),
        ({"radius": 1000}, r"radius must be at most \d+ cycles per image, the side of the images, got 1000"),
        ({"step": 1000}, r"step must be at most \d+, half the side of the images, got 1000"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"sevrity": 3}, "got sevrity"),
    ):
        with pytest.raises(InputError, match=message):
            fourier_errors([Patches()], out=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_logits_that_are_not_finite_are_refused_and_what_was_done_is_kept(shades, tmp_path):
    class Broken(Tone):
        def forward(self, images):
            return super().forward(images) / (images.std() < 0.15)

    with pytest.raises(ModelOutputError, match=r"Broken returned NaN or infinite logits at frequency \(0, 0\)"):
        fourier_errors([Broken(3, 5)], shades, norm=8.0, out=tmp_path / "out")
    assert len(pd.read_parquet(next((tmp_path / "out").iterdir()))) == 1
