"""What other programs read, by their own readers where they have some."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from robustbench_bi.errors import InputError
from robustbench_bi.reports.exports import EXPORTS, robustbench
from robustbench_bi.reports.exports.model_card import _data
from robustbench_bi.runs.images import FILE


def exported(form, *runs):
    return EXPORTS.load(form)(list(runs))


def test_flat_json_has_names_and_finite_numbers(make_run):
    numbers = json.loads(exported("json", make_run(corruptions=("fog", "snow"))))
    assert all(isinstance(value, float) and np.isfinite(value) for value in numbers.values())
    assert numbers["top1/mean"] == pytest.approx(
        np.mean([numbers[f"top1/{name}/{severity}"] for name in ("fog", "snow") for severity in range(1, 6)])
    )
    assert {"top1/clean", "loss/fog/3", "flip_rate/mean", "right_under_all/5"} <= set(numbers)
    assert "mce" not in numbers  # the demo has none
    assert numbers["n"] == 150
    for name in ("top1/mean", "top1/clean", "top1/fog/3", "flip_rate/mean", "right_under_all/5"):
        assert numbers[f"{name}/low"] < numbers[name] < numbers[f"{name}/high"], name
    both = json.loads(
        exported("json", make_run("a", corruptions=("fog",)), make_run("b", corruptions=("fog",), luck=1))
    )
    assert {"a/top1/clean", "b/top1/clean"} <= set(both)


def test_a_starred_mce_is_not_called_mce(make_run, imagenet):
    assert "mce" not in json.loads(exported("json", make_run(**imagenet)))
    names = [metric["name"] for metric in results(exported("model-card", make_run(**imagenet)))[-1]["metrics"]]
    assert [name for name in names if name.startswith("mCE* (n=150)")]


def test_timm_rows(make_run):
    run = make_run(corruptions=("fog",), severities=(1,), runtime={"parameters": 25_557_032})
    row = pd.read_csv(pd.io.common.StringIO(exported("timm", run))).iloc[0]
    cells = run.cells().set_index("corruption")
    assert list(row.index[:9]) == [
        "model", "img_size", "top1", "top1_err", "top5", "top5_err", "param_count", "crop_pct", "interpolation",
    ]  # fmt: skip
    assert (row["top1"], row["top1_err"]) == pytest.approx(
        (cells["top1"]["none"], 100 - cells["top1"]["none"]), abs=1e-3
    )
    assert (row["param_count"], row["crop_pct"], row["img_size"]) == (25.56, 1.0, 64)
    assert row["corrupted_top1"] == pytest.approx(cells["top1"]["fog"], abs=1e-3)
    assert row["images"] == 150
    for name in ("top1", "corrupted_top1"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    with pytest.raises(InputError, match="timm needs clean images"):
        exported("timm", make_run(corruptions=("fog",), clean=False))


def results(card):
    start, header, end = card.split("---\n")
    assert start == end == ""
    return yaml.safe_load(header)["model-index"][0]["results"]


def test_a_model_card_is_read_by_the_hub(make_run):
    run = make_run("resnet50", corruptions=("fog", "snow"), severities=(1, 5))
    card = exported("model-card", run)
    header = yaml.safe_load(card.split("---\n")[1])
    name, found = model_index_to_eval_results(header["model-index"])
    assert name == "resnet50"
    by_cell = {
        (own.dataset_config, own.dataset_split): own.metric_value for own in found if own.metric_name == "top-1 (%)"
    }
    cells = run.cells().set_index(["corruption", "severity"])["top1"]
    assert by_cell["fog", "severity-5"] == pytest.approx(cells["fog", 5], abs=1e-3)
    assert by_cell[None, None] == pytest.approx(cells["none", 0], abs=1e-3)
    assert {own.task_type for own in found} == {"image-classification"}
    assert {own.dataset_type for own in found} == {"demo", "demo-corrupted"}
    assert "top-1, mean (2 of 15) (%)" in [own.metric_name for own in found]


def test_a_model_card_does_not_pass_a_few_pictures_off_as_imagenet(make_run, imagenet):
    run = make_run(corruptions=("fog",), **imagenet)
    data = [own["dataset"] for own in results(exported("model-card", run))]
    assert {own["type"] for own in data} == {"folder", "folder-corrupted"}
    assert all(", 150 images" in own["name"] for own in data)
    kept = {**run.config, "n": 50_000}
    assert _data(kept, clean=True)["type"] == "imagenet-1k"
    assert _data({**kept, "data": "imagenet-a"}, clean=True)["type"] == "imagenet-a"


@pytest.fixture
def named(make_run, imagenet):
    """A run on ImageNet's classes that holds the names of its pictures."""

    def make(**options):
        run = make_run(**{**imagenet, **options})
        n = run.config["n"]
        names = [f"n01440764/ILSVRC2012_val_{number + 1:08d}.JPEG" for number in range(n)]
        labels = run.records()["label"].to_numpy()[:n]
        images = pd.DataFrame({"image_id": np.arange(n), "name": names, "label": labels.astype("int32")})
        images.assign(width=pd.NA, height=pd.NA).astype({"width": "Int32", "height": "Int32"}).to_parquet(
            run.directory / FILE, index=False
        )
        return run

    return make


def test_imagenet_x_gets_the_clean_predictions(named, make_run, monkeypatch):
    run = named(corruptions=("fog",))
    monkeypatch.setattr(
        type(run), "records", lambda self, names=False: with_names(self) if names else self.frame.copy()
    )
    table = pd.read_csv(pd.io.common.StringIO(exported("imagenet-x", run)))
    clean = run.frame[run.frame["corruption"] == "none"]
    assert table.columns.tolist() == ["file_name", "predicted_class", "predicted_probability"]
    assert table["file_name"].tolist()[:2] == ["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"]
    assert table["predicted_class"].tolist() == clean["prediction"].tolist()
    assert table["predicted_probability"].to_numpy() == pytest.approx(clean["confidence"].to_numpy(), abs=1e-6)
    with pytest.raises(InputError, match="1,000 classes"):
        exported("imagenet-x", make_run())
    with pytest.raises(InputError, match="takes one run, got 2"):
        exported("imagenet-x", run, run)


def with_names(run):
    return run.frame.assign(name=run.images().set_index("image_id")["name"].reindex(run.frame["image_id"]).to_numpy())


def test_robustbench_refuses_other_pictures(named):
    with pytest.raises(InputError, match="only for RobustBench's 5,000 images, but resnet50 is of 150 others"):
        exported("robustbench", named())


def test_a_robustbench_entry(named, monkeypatch):
    run = named()
    files = sorted(name.rsplit("/", 1)[-1] for name in run.images()["name"])
    monkeypatch.setattr(robustbench, "NAMES", hashlib.sha256("\n".join(files).encode()).hexdigest())
    entry = json.loads(exported("robustbench", run))
    cells = run.cells()
    assert entry["clean_acc"] == str(round(cells["top1"][0], 2))
    assert entry["corruptions_acc"] == str(round(cells["top1"][1:].mean(), 2))
    assert (entry["dataset"], entry["link"], entry["number_forward_passes"]) == ("imagenet", None, 1)
    assert entry["footnote"].endswith("RobustBench reads the published files of ImageNet-C.")
    small = json.loads(exported("robustbench", named(input_size=64)))
    assert small["footnote"].endswith("Not as in ImageNet-C: 64 px.")
    assert json.loads(exported("robustbench", named(generator="files")))["footnote"] is None
    with pytest.raises(InputError, match="lacks 5 of 75 cells, the first is jpeg_compression severity 1"):
        names = run.config["corruptions"][:-1]
        exported("robustbench", named(corruptions=names))


def test_its_mce_is_normalised_by_alexnet_on_the_same_pictures():
    """RobustBench's own cells of its Standard_R50 give the mCE of its own table, 76.38, and AlexNet's give 100."""
    from pathlib import Path

    cells = pd.read_csv(Path(__file__).parents[2] / "metrics" / "robustbench_5k_cells.csv")
    for model, wanted in (("Standard_R50", 76.38), ("AlexNet", 100.0)):
        own = cells[cells["model"] == model].groupby("corruption")["top1"].mean()
        ratios = [100 * (100 - own[name]) / error for name, error in robustbench._alexnet_errors().items()]
        assert np.mean(ratios) == pytest.approx(wanted, abs=0.01)
