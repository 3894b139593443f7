"""Detectors go the whole way on the one loop: from annotated pictures of several sizes to the gate."""

import json
import os
import subprocess
import sys
from pathlib import Path

import coloured_boxes
import numpy as np
import pandas as pd
import pytest
import torch

import robustbench_bi as rb
from robustbench_bi.analysis import comparison_frame, summary_frame
from robustbench_bi.errors import DataError, InputError, ModelOutputError, RunMismatchError
from robustbench_bi.evaluation import Share
from robustbench_bi.runs import open_run
from robustbench_bi.tasks.detection import _signs

FILES = 7 * 3


def contents(run):
    return {path.name: path.read_bytes() for path in sorted((run.directory / "records").iterdir())}


def test_a_perfect_detector_is_perfect_where_pictures_are_clean(found_run):
    cells = found_run.cells()
    clean = cells.iloc[0]
    assert (clean["corruption"], clean["severity"], clean["n"]) == ("none", 0, 6)
    assert clean[["AP", "AP50", "AP75", "AR"]].tolist() == pytest.approx([100] * 4)
    assert clean["mask_AP"] == pytest.approx(100)
    assert np.isnan(clean["APl"]) and np.isnan(clean["mask_APl"]) and clean["APs"] == pytest.approx(100)
    assert cells.loc[cells["severity"] == 5, "AP"].min() < 60
    summary = summary_frame(found_run)
    row = summary.frame.iloc[0]
    assert row["AP_high"] == row["AR_high"] == row["mask_AP50_high"] == 100 and row["AP_low"] < 95
    assert "95 % intervals: t with 2,000 random halves of the images, corrected for bias." in summary.caption


def test_what_a_run_keeps(found_run):
    records, truth = found_run.records(names=True), found_run.truth()
    assert list(records) == [
        "corruption",
        "severity",
        "image_id",
        "category",
        "score",
        "x1",
        "y1",
        "x2",
        "y2",
        "mask",
        "name",
    ]
    assert records["name"].notna().all()
    assert truth["name"].cat.categories.tolist() == list(coloured_boxes.NAMES)
    assert found_run.images()["width"].tolist() == [64, 40, 56, 64, 40, 56]
    config = found_run.config
    assert (config["task"], config["table"], config["jpeg"], config["input_size"]) == (
        "detection",
        "imagecorruptions",
        None,
        None,
    )
    assert config["objects"] == len(truth) and config["object_classes"] == 3 and len(config["truth_hash"]) == 64
    assert len(contents(found_run)) == FILES


def test_pictures_are_corrupted_whole_and_keyed_by_their_ids(boxes, tmp_path):
    seen = {}

    def look(images):
        for image in images:
            seen.setdefault(tuple(image.shape), []).append(image.clone())
        return coloured_boxes.find(images)

    look.class_names = coloured_boxes.NAMES
    run = rb.detect(look, boxes, suite="gaussian_noise", severities=3, seed=5, out=tmp_path, limit=3)
    opened = run.open_data()
    for image_id, picture in zip(opened.image_ids, opened.read(range(3), None), strict=True):
        wanted = rb.corrupt(
            torch.from_numpy(picture)[None], "gaussian_noise", 3, seed=5, ids=[image_id], table="imagecorruptions"
        )[0]
        assert any(torch.equal(wanted, own) for own in seen[tuple(wanted.shape)])


def test_batches_blocks_and_shares_change_no_record(found_run, boxes, tmp_path):
    whole = rb.detect(
        coloured_boxes.find, boxes, out=tmp_path / "whole", batch_size=1, block_size=2, **coloured_boxes.CELLS
    )
    assert contents(whole) == contents(found_run)
    for rank in (1, 0):
        shared = rb.detect(
            coloured_boxes.find,
            boxes,
            out=tmp_path / "shared",
            block_size=2,
            share=Share(rank, 2),
            **coloured_boxes.CELLS,
        )
    assert contents(shared) == contents(found_run) and shared.missing() == []


def test_a_stopped_run_goes_on_to_the_same_records(found_run, boxes, tmp_path):
    def stop(progress):
        if progress.steps_done == 4:
            raise KeyboardInterrupt

    options = {"out": tmp_path, "block_size": 2, **coloured_boxes.CELLS}
    with pytest.raises(KeyboardInterrupt):
        rb.detect(coloured_boxes.find, boxes, progress=stop, **options)
    (folder,) = tmp_path.iterdir()
    files = sorted((folder / "records").glob("*.parquet"))
    assert 0 < len(files) < FILES
    files[0].write_bytes(files[0].read_bytes()[:100])
    again = rb.detect(coloured_boxes.find, boxes, **options)
    assert contents(again) == contents(found_run)
    assert (again.directory / "truth.parquet").read_bytes() == (found_run.directory / "truth.parquet").read_bytes()


def test_a_killed_run_goes_on_to_the_same_records(found_run, boxes, tmp_path):
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(coloured_boxes.__file__).parent), *sys.path])}
    program = (
        "import sys, coloured_boxes, robustbench_bi as rb\n"
        "data, out = sys.argv[1:]\n"
        "rb.detect(coloured_boxes.mortal_detector(), data, out=out, block_size=2, **coloured_boxes.CELLS)"
    )
    command = [sys.executable, "-c", program, boxes, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False, env={**where, "END_AT": "12"})
    assert done.returncode == 9, done.stderr
    (folder,) = tmp_path.iterdir()
    assert 1 < len(list((folder / "records").iterdir())) < FILES
    subprocess.run(command, capture_output=True, check=True, env=where)
    assert contents(open_run(folder)) == contents(found_run)


def test_a_cell_without_detections_is_zero(boxes, tmp_path):
    def nothing(images):
        return [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=int)}] * len(
            images
        )

    nothing.class_names = coloured_boxes.NAMES
    run = rb.detect(nothing, boxes, suite="fog", severities=1, out=tmp_path)
    assert run.cells()[["AP", "AR"]].to_numpy().tolist() == [[0, 0], [0, 0]]
    assert run.cells()["mask_AP"].isna().all()
    summary = summary_frame(run)
    assert summary.notes == ("The detector found nothing in any image.",)
    row = summary.frame.iloc[0]
    assert row["AP_low"] == 0 and 5 < row["AP_high"] < 60, "six images say little"


def test_a_detector_that_drops_low_scores_is_told_of(found_run):
    assert found_run.records()["score"].min() > 0.1
    assert "detections below it were dropped, which lowers AP" in summary_frame(found_run).notes[0]


def answers(**change):
    def wrong(images):
        return [{**own, **{key: value(own) for key, value in change.items()}} for own in coloured_boxes.find(images)]

    wrong.class_names = coloured_boxes.NAMES
    return wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": lambda own: own["boxes"] * np.nan}, "boxes or scores are not finite"),
        ({"scores": lambda own: own["scores"][:-1]}, r"boxes \(N, 4\), scores \(N,\) and labels \(N,\) are expected"),
        ({"boxes": lambda own: own["boxes"][:, [2, 3, 0, 1]]}, "boxes must be x1, y1, x2, y2"),
        ({"labels": lambda own: own["labels"] + 3}, "labels must be whole numbers from 0 to 2"),
        ({"labels": lambda own: own["labels"] + 0.5}, "labels must be whole numbers"),
        ({"labels": lambda own: None}, "missing: labels"),
        ({"masks": lambda own: own["masks"][:, ::2]}, "masks must be .* the image's size"),
        ({"boxes": lambda own: own["boxes"] / 100}, "fractions of the image"),
        ({"boxes": lambda own: own["boxes"] * 30}, "outside"),
    ],
)
def test_an_answer_that_does_not_fit_leaves_nothing_behind(boxes, tmp_path, change, message):
    with pytest.raises(ModelOutputError, match=message) as caught:
        rb.detect(answers(**change), boxes, suite="fog", severities=1, out=tmp_path / "runs")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "runs").rglob("*.parquet"))


def test_boxes_of_a_smaller_input_are_told_by_the_objects_that_they_never_reach(tmp_path):
    from robustbench_bi.evaluation.box_scale import PICTURES

    stored = coloured_boxes.write(tmp_path, n=PICTURES)
    for entry in stored["annotations"]:
        entry["bbox"][0] = 50 if entry["bbox"][2] < 6 else entry["bbox"][0]
    for image in stored["images"][:4]:
        box = [image["width"] * 0.8, 2, image["width"] * 0.15, 5]
        own = {"id": 1000 + image["id"], "image_id": image["id"], "category_id": 5, "iscrowd": 0, "area": 10}
        stored["annotations"].append({**own, "bbox": box})
    (tmp_path / "boxes.json").write_text(json.dumps(stored))

    def small(images, scale=0.5):
        some = [(scale * x * image.shape[2], scale * x * image.shape[1]) for image in images for x in (0.2, 0.6, 0.9)]
        return [
            {
                "boxes": [[0, 0, *end] for end in some[3 * place : 3 * place + 3]],
                "scores": [0.5] * 3,
                "labels": [0, 1, 2],
            }
            for place in range(len(images))
        ]

    def whole(images):
        return small(images, 1.0)

    small.class_names = whole.class_names = coloured_boxes.NAMES
    options = {"suite": (), "out": tmp_path / "runs"}
    with pytest.raises(ModelOutputError, match="none reaches the last quarter of the width, where 4 objects lie"):
        rb.detect(small, f"coco:{tmp_path / 'boxes.json'}", **options)
    rb.detect(whole, f"coco:{tmp_path / 'boxes.json'}", **options)


def test_boxes_of_a_square_input_are_told_in_pictures_that_lie_and_that_stand(tmp_path):
    """Of a detector that squashes pictures to 40×40: its boxes reach the last quarter of the width of standing ones."""
    stored = coloured_boxes.write(tmp_path)
    for image in stored["images"][:4]:
        box = [image["width"] - 12, 2, 10, 5] if image["width"] > 50 else [2, image["height"] - 12, 10, 5]
        own = {"id": 1000 + image["id"], "image_id": image["id"], "category_id": 5, "iscrowd": 0, "area": 10}
        stored["annotations"].append({**own, "bbox": box})
    (tmp_path / "boxes.json").write_text(json.dumps(stored))

    def squashed(images, side=40):
        random = np.random.default_rng(0)
        boxes = [np.sort(random.random((12, 2, 2)), axis=1).reshape(12, 4) for _ in images]
        sizes = [np.array([image.shape[2], image.shape[1]] * 2) if side is None else side for image in images]
        return [
            {"boxes": own * size, "scores": np.full(12, 0.5), "labels": np.zeros(12, int)}
            for own, size in zip(boxes, sizes, strict=True)
        ]

    def right(images):
        return squashed(images, None)

    squashed.class_names = right.class_names = coloured_boxes.NAMES
    options = {"suite": (), "out": tmp_path / "runs"}
    with pytest.raises(ModelOutputError, match=r"36 boxes on 3 images, and none reaches beyond pixel \d+ of the width"):
        rb.detect(squashed, f"coco:{tmp_path / 'boxes.json'}", **options)
    assert not list(tmp_path.rglob("*.parquet"))
    rb.detect(right, f"coco:{tmp_path / 'boxes.json'}", **options)


@pytest.mark.parametrize("change", [{"annotations": []}, {"iscrowd": 1}])
def test_images_without_an_object_to_find_are_refused(boxes, tmp_path, change):
    root = Path(boxes.removeprefix("coco:")).parent
    stored = json.loads((root / "boxes.json").read_text())
    stored["annotations"] = change.get("annotations", [{**own, **change} for own in stored["annotations"]])
    file = tmp_path / "few.json"
    file.write_text(json.dumps(stored))
    with pytest.raises(DataError, match="has no object to find in 6 images, so average precision is not defined there"):
        rb.detect(coloured_boxes.find, f"coco:{file}", images_root=root, out=tmp_path / "runs")
    assert not list(tmp_path.rglob("*.parquet"))


def test_classes_are_matched_by_name(boxes, tmp_path):
    def turned(images):
        return [{**own, "labels": 3 - own["labels"]} for own in coloured_boxes.find(images)]

    turned.class_names = ("yellow", *reversed(coloured_boxes.NAMES))
    run = rb.detect(turned, boxes, suite="fog", severities=1, out=tmp_path)
    assert run.cells()["AP"][0] == pytest.approx(100)
    turned.class_names = ("red", "verde", "blue")
    with pytest.raises(InputError, match="lacks 1 of the 3 classes of the data: 'green'; its own are 'red', 'verde'"):
        rb.detect(turned, boxes, out=tmp_path)
    turned.class_names = ("red", "red", "green", "blue")
    with pytest.raises(InputError, match="has the class 'red' twice"):
        rb.detect(turned, boxes, out=tmp_path)
    del turned.class_names
    with pytest.raises(InputError, match="must have the attribute class_names"):
        rb.detect(turned, boxes, out=tmp_path)


def test_each_task_has_its_data(boxes, tmp_path):
    with pytest.raises(InputError, match="detection needs images with boxes"):
        rb.detect(coloured_boxes.find, "demo", out=tmp_path)
    with pytest.raises(InputError, match=r"coco has boxes .*; use detect"):
        rb.evaluate("resnet50", boxes, weights="none", out=tmp_path)
    with pytest.raises(InputError, match="detectors prepare their own input; leave out input_size"):
        rb.detect(coloured_boxes.find, boxes, input_size=64, out=tmp_path)
    with pytest.raises(InputError, match="find has no score_threshold"):
        rb.detect(coloured_boxes.find, boxes, score_threshold=0.1, out=tmp_path)
    with pytest.raises(InputError, match="score_threshold is for detectors"):
        rb.evaluate("resnet50", "demo", score_threshold=0.1, out=tmp_path)
    assert not list(tmp_path.iterdir())


class Whole(torch.nn.Module):
    """A module by torchvision's convention, in training mode as it comes."""

    class_names = ("__background__", *coloured_boxes.NAMES)

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(255.0))

    def forward(self, images):
        assert not self.training and len(images) == 1 and images[0].dtype == torch.float32
        whole = [(image * self.scale).round().to(torch.uint8) for image in images]
        return [{**own, "labels": own["labels"] + 1} for own in coloured_boxes.find(whole)]


def test_a_module_by_torchvisions_convention(boxes, found_run, tmp_path):
    network = Whole()
    found = rb.detect(network, boxes, out=tmp_path, block_size=2, **coloured_boxes.CELLS)
    assert contents(found) == contents(found_run)
    assert network.training


def test_a_detector_of_torchvision(boxes, tmp_path):
    name = "torchvision:ssdlite320_mobilenet_v3_large"
    options = {"weights": "none", "suite": (), "limit": 2, "out": tmp_path}
    run = rb.detect(name, boxes, score_threshold=0.02, max_detections=7, **options)
    assert (run.config["score_threshold"], run.config["max_detections"], run.config["max_size"]) == (0.02, 7, 320)
    assert len(run.records()) <= 14
    with pytest.raises(InputError, match="has no min_size"):
        rb.detect(name, boxes, min_size=200, **options)
    with pytest.raises(InputError, match="needs --weights"):
        rb.detect(name, boxes, **{**options, "weights": None})


def test_runs_are_compared_and_gated(found_run, strict_run, tmp_path, invoke):
    out = tmp_path / "out"
    printed = json.loads(
        invoke("compare", strict_run.directory, "--baseline", found_run.directory, "--out", out, "--json").stdout
    )
    rows = {row["name"]: row for row in printed["bars"]}
    assert rows["clean"]["delta"] == pytest.approx(strict_run.cells()["AP"][0] - found_run.cells()["AP"][0])
    assert all(row["test"] == "paired bootstrap" for row in printed["bars"])
    assert any(row["p_holm"] is not None for row in printed["bars"])
    assert (out / "fig3.png").exists()
    baseline = tmp_path / "baseline.json"
    invoke("gate", found_run.directory, "--save", baseline)
    invoke("gate", found_run.directory, "--baseline", baseline)
    changed = json.loads(baseline.read_text())
    for cell in changed["cells"]:
        cell["detections"] += 1
    baseline.write_text(json.dumps(changed))
    assert "baseline.json" in invoke("gate", found_run.directory, "--baseline", baseline, code=2).output


def test_runs_of_other_objects_cannot_be_compared(found_run, boxes, tmp_path):
    folder = Path(boxes.removeprefix("coco:")).parent
    stored = json.loads((folder / "boxes.json").read_text())
    stored["annotations"][0]["bbox"][2] += 1
    (folder / "other.json").write_text(json.dumps(stored))
    other = rb.detect(
        coloured_boxes.find, f"coco:{folder / 'other.json'}", out=tmp_path, block_size=2, **coloured_boxes.CELLS
    )
    with pytest.raises(RunMismatchError, match="other annotations"):
        comparison_frame([other], found_run)


def test_a_summary_names_mpc_by_the_protocol_alone(found_run, boxes, tmp_path):
    frame = summary_frame(found_run).frame.set_index("name")
    name = "mPC* (over 3 of 15 corruptions, 6 of 15 cells)"
    assert frame.loc[name, "relative"] == pytest.approx(100 * frame.loc[name, "AP"] / frame.loc["clean", "AP"])
    assert frame.loc[name, "relative_low"] <= frame.loc[name, "relative"] <= frame.loc[name, "relative_high"]
    full = rb.detect(coloured_boxes.find, boxes, out=tmp_path)
    summary = summary_frame(full)
    rows = summary.frame.set_index("name")
    corrupted = full.cells().iloc[1:]
    assert len(corrupted) == 75 and rows.loc["mPC", "AP"] == pytest.approx(corrupted["AP"].mean())
    assert "6 images of coco:boxes.json with 9 objects of 3 classes, native size" in summary.caption
    other = rb.detect(coloured_boxes.find, boxes, table="imagenet-c", out=tmp_path)
    assert "mPC* (table imagenet-c)" in set(summary_frame(other).frame["name"])


def test_the_command_line(found_run, boxes, tmp_path):
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(coloured_boxes.__file__).parent), *sys.path])}
    arguments = [
        "--data",
        boxes,
        "--suite",
        coloured_boxes.CELLS["suite"],
        "--severities",
        "1,5",
        "--out",
        tmp_path,
        "--json",
        "--quiet",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "robustbench_bi", "detect", "--model", "coloured_boxes:detector", *map(str, arguments)],
        capture_output=True, text=True, check=True, env=where,
    )  # fmt: skip
    (result,) = json.loads(done.stdout)
    assert [cell["AP"] for cell in result["cells"]] == pytest.approx(found_run.cells()["AP"].tolist())
    assert result["summary"][0]["name"] == "clean"


def test_a_report_of_detectors(found_run, strict_run, tmp_path, invoke):
    invoke("report", found_run.directory, strict_run.directory, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<dt>change from ") == 3, "of both from clean, and of one from the other, though its mean is mPC*"
    assert "<dt>p of the change</dt>" in page and "<dt>AP at an overlap of 0.5</dt>" in page
    invoke("report", found_run.directory, "--out", tmp_path / "report.md")
    assert "mPC" in (tmp_path / "report.md").read_text()


def test_damaged_truth_is_one_clear_error(boxes, tmp_path):
    run = rb.detect(coloured_boxes.find, boxes, suite=(), out=tmp_path)
    path = run.directory / "truth.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"truth\.parquet is damaged"):
        run.cells()


def test_a_baseline_without_difficult_objects_keeps_the_numbers_of_its_images():
    rows = {"image_id": [3, 3, 8], "category": [0, 1, 0], "x": [1.0, 2, 3], "y": [1.0, 2, 3]}
    rows |= {
        "width": [4.0, 5, 6],
        "height": [4.0, 5, 6],
        "area": [16.0, 25, 36],
        "crowd": [False] * 3,
        "mask": [""] * 3,
    }
    truth = pd.DataFrame(rows)
    truth.insert(2, "name", pd.Categorical.from_codes(truth["category"], ["a", "b"]))
    signs = _signs(truth.assign(difficult=False), np.array([3, 8]))
    assert signs.tolist() == [1188994266726477906, -1870969774577502118]
    marked = _signs(truth.assign(difficult=[False, False, True]), np.array([3, 8]))
    assert marked[0] == signs[0] and marked[1] != signs[1]
