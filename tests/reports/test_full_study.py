"""The full CIFAR-10 study: its rules judge planted truths rightly, and its pictures are moved as its recipe says."""

from __future__ import annotations

import importlib
import io
import itertools
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from robustbench_bi.training import resolve_recipe

CIFAR10 = Path(__file__).parents[2] / "reports" / "cifar10"


@pytest.fixture(params=["full", "learning", "verdicts"])
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(CIFAR10)
    return importlib.import_module(request.param)


only = pytest.mark.parametrize


def epochs(clean: list[float], gap: float = 0.0, slope: float = 0.8) -> pd.DataFrame:
    """Kept epochs on a line between the logits, and so many points beside it."""
    logits = np.log(np.array(clean) / (100 - np.array(clean)))
    return pd.DataFrame({"clean": clean, "mean": 100 / (1 + np.exp(-(slope * logits - 0.5))) + gap})


BASELINE = epochs([60.0, 70.0, 80.0, 85.0, 90.0])


@only("part", ["verdicts"], indirect=True)
def test_a_network_that_is_only_more_accurate_is_not_more_robust_at_equal_accuracy(part: ModuleType) -> None:
    better = epochs([65.0, 76.0, 84.0, 88.0, 94.0])
    assert (better["mean"].to_numpy() > BASELINE["mean"].to_numpy()).all()
    assert part.excess(better, BASELINE) == pytest.approx(0, abs=1e-9)
    assert part.excess(epochs([65.0, 76.0, 84.0, 94.0], gap=2.0), BASELINE) == pytest.approx(2.0)
    # In percent the line would be bent, and all of this an excess.
    straight = np.polyval(np.polyfit(BASELINE["clean"], BASELINE["mean"], 1), better["clean"])
    assert abs((better["mean"] - straight)[:4].mean()) > 0.1


@only("part", ["verdicts"], indirect=True)
def test_a_line_is_not_drawn_out(part: ModuleType) -> None:
    assert math.isnan(part.excess(epochs([85.0, 89.0, 91.0, 93.0, 95.0], gap=3.0), BASELINE))
    assert part.excess(epochs([85.0, 89.0, 90.0, 93.0, 95.0], gap=3.0), BASELINE) == pytest.approx(3.0)
    assert math.isnan(part.excess(BASELINE, epochs([80.0] * 5)))


@only("part", ["verdicts"], indirect=True)
def test_a_verdict_rests_on_the_spread_of_at_least_five_seeds(part: ModuleType) -> None:
    close = dict(enumerate([1.0, 1.2, 0.8, 1.1, 0.9]))
    held = part.verdict(close, "above")
    assert (held["seeds"], held["outcome"]) == (5, "held")
    # Student's factor for four degrees of freedom is 2.776, the normal one 1.960.
    assert held["high"] - held["value"] == pytest.approx(
        2.776 * np.std([1, 1.2, 0.8, 1.1, 0.9], ddof=1) / 5**0.5, rel=1e-3
    )
    assert part.verdict(close, "below")["outcome"] == "did not hold"
    four = {seed: close[seed] for seed in range(4)}
    assert part.verdict(four, "above")["outcome"] == "not decidable"
    assert part.verdict({**four, 4: math.nan}, "above")["outcome"] == "not decidable"
    assert part.verdict(dict(enumerate([4.0, -1.0, 3.0, -1.0, 2.0])), "above")["outcome"] == "not decidable"
    assert part.verdict({}, "above")["outcome"] == "not decidable"


@only("part", ["verdicts"], indirect=True)
def test_a_resnet_of_another_size_lies_between_two(part: ModuleType) -> None:
    controls = {100.0: 60.0, 400.0: 64.0}
    assert [part.of_size(count, controls) for count in (100, 200, 400)] == pytest.approx([60.0, 62.0, 64.0])
    with pytest.raises(SystemExit, match="outside the controls' 100 to 400"):
        part.of_size(500, controls)


def write_network(full: ModuleType, folder: Path, name: str, seed: int, clean: float, corrupted: float) -> None:
    """Files as `train` writes them: a network that comes to so many percent, after lower ones."""
    rows = []
    asked = [*((epoch, "probe", full.PROBE) for epoch in full.KEPT), (full.EPOCHS, "whole", full.WHOLE)]
    for epoch, part, cells in asked:
        drop = (full.EPOCHS - epoch) / 2
        for corruption, severity in cells:
            right = round(100 * ((clean if corruption == "none" else corrupted) - drop))
            rows.append({"network": name, "seed": seed, "epoch": epoch, "part": part, "corruption": corruption})
            rows[-1] |= {"severity": severity, "n": 10_000, "right": right}
    full.write(folder / f"{name}-seed{seed}.csv", rows)


@only("part", ["full"], indirect=True)
def test_planted_truths_are_judged_rightly(part: ModuleType, tmp_path: Path) -> None:
    verdicts = importlib.import_module("verdicts")
    for name, seed in itertools.product(part.NETWORKS, part.SEEDS):
        # All keep the same under corruption, but BiNet (dc-ca) ten points more, at the same accuracy on clean pictures.
        write_network(part, tmp_path, name, seed, 90 + 0.1 * seed, 70 + 0.1 * seed + 10 * (name == "binet29_dc_ca"))
    frame = verdicts.judged(tmp_path).set_index(["rule", "model", "baseline", "name"]).sort_index()
    assert (frame["seeds"] == 5).all()
    claim = frame.loc["claim"]
    assert claim.loc[("binet29_dc_ca", "ddf_resnet29", "noise"), "value"] == pytest.approx(10.0)
    assert claim.loc[("binet29_dc_ca", "ddf_resnet29", "mean"), "outcome"] == "held"
    assert claim.loc[("binet29_dc_ca", "resnet29", "clean"), "outcome"] == "not decidable"
    equal = frame.loc["equal clean accuracy"]
    assert (equal.loc["binet29_dc_ca", "outcome"] == "held").all()
    assert (equal.loc["binet29_dc", "value"].abs() < 0.05).all()
    sized = frame.loc["equal size"]
    assert sized.loc[("binet29_dc_ca", "resnet29 of its size", "mean"), "value"] == pytest.approx(10.0)
    verdicts.write_all(tmp_path)
    assert len(pd.read_csv(tmp_path / "verdicts.csv")) == len(frame)
    # A seed less, and nothing is decided.
    (tmp_path / "binet29_dc_ca-seed3.csv").unlink()
    left = verdicts.judged(tmp_path)
    assert set(left[left["model"] == "binet29_dc_ca"]["outcome"]) == {"not decidable"}


@only("part", ["full"], indirect=True)
def test_what_is_kept_ends_with_the_training_and_a_seed_is_finished_first(part: ModuleType, tmp_path: Path) -> None:
    assert part.EPOCHS >= 60 and part.KEPT[-1] == part.EPOCHS
    assert len(part.SEEDS) >= 5 and len(part.NETWORKS) == 8 and part.WIDTH >= 0.5
    options = type("Options", (), {"quick": False, "out": tmp_path})
    (tmp_path / "resnet29-seed0.csv").touch()
    left = part.units(options)
    assert len(left) == 39
    assert [seed for _, seed, _ in left] == sorted(seed for _, seed, _ in left)


@only("part", ["full"], indirect=True)
def test_the_fastest_way_is_that_of_all_its_processes_together(part: ModuleType, tmp_path: Path) -> None:
    assert part.fastest(tmp_path) == ("compiled", 1)

    def told(way: str, count: int, share: int, rate: float) -> None:
        row = {"network": "resnet29", "way": way, "processes": count, "share": share, "images_per_second": rate}
        part.write(tmp_path / "measured" / f"resnet29-{way}-{count}-{share}.csv", [row])

    told("compiled", 1, 0, 100.0)
    for share in range(2):
        told("graphs", 3, share, 60.0)
    # The third has not told yet.
    assert part.fastest(tmp_path) == ("compiled", 1)
    told("graphs", 3, 2, 60.0)
    assert part.fastest(tmp_path) == ("graphs", 3)


@only("part", ["learning"], indirect=True)
def test_each_picture_comes_once_an_epoch_moved_and_mirrored(part: ModuleType) -> None:
    images = torch.randint(1, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pictures, recipe = part.Pictures(images, torch.arange(12)), resolve_recipe("cifar", batch_size=4)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    seen = []
    for batch, labels in part.batches(pictures, recipe, 3, 1):
        for picture, label in zip(batch, labels.tolist(), strict=True):
            windows = [padded[label, :, top : top + 8, left : left + 8] for top in range(9) for left in range(9)]
            found = [(number, way) for number, window in enumerate(windows) for way, view in
                     enumerate((window, window.flip(2))) if torch.equal(view, picture)]  # fmt: skip
            assert len(found) == 1 or not picture.any()
            seen.append((label, *found[0]))
    assert sorted(label for label, *_ in seen) == list(range(12))
    assert {way for *_, way in seen} == {0, 1}
    assert len({number for _, number, _ in seen}) > 6

    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat([labels for _, labels in part.batches(pictures, recipe, seed, epoch)]).tolist()

    assert order(3, 1) == [label for label, *_ in seen]
    assert order(3, 2) != order(3, 1) != order(4, 1)


@only("part", ["learning"], indirect=True)
def test_a_table_and_class_folders_hold_the_same_pictures(part: ModuleType, tmp_path: Path) -> None:
    reproduce, rows = importlib.import_module("reproduce"), []
    for number in range(20):
        stream = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG")
        rows.append({"split": ("train", "test")[number % 2], "label": number // 2, "jpeg": stream.getvalue()})
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet")
    reproduce.unpack(tmp_path / "table.parquet", tmp_path / "folders")
    for split in ("training", "evaluation"):
        table, folders = (
            part.read(str(tmp_path / name), split, torch.device("cpu")) for name in ("table.parquet", "folders")
        )
        assert table.labels.tolist() == folders.labels.tolist() == list(range(10))
        assert torch.equal(table.images, folders.images)
