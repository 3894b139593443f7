"""What is shown of detectors beside their summary: classes one by one, their options, and example pictures."""

import json
import re
from pathlib import Path

import coloured_boxes
import numpy as np
import pandas as pd
import pytest

import robustbench_bi as rb
from robustbench_bi.analysis import categories_frame
from robustbench_bi.analysis.comparison import further_comparisons
from robustbench_bi.commands.output import print_categories
from robustbench_bi.errors import InputError
from robustbench_bi.reports.page.boxes import found_boxes, typical_picture


def test_classes_one_by_one_are_those_of_the_reference(found_run, boxes, tmp_path):
    own = found_run.categories()
    assert list(own) == [
        *("corruption", "severity", "category", "name", "objects", "AP", "AP50", "AP75", "AR"),
        *("mask_AP", "mask_AP50", "mask_AP75", "mask_AR"),
    ]
    assert len(own) == 7 * 3 and own["name"].tolist()[:3] == list(coloured_boxes.NAMES)
    assert own["objects"].tolist()[:3] == found_run.truth()["category"].value_counts().sort_index().tolist()
    means = own.groupby(["corruption", "severity"], sort=False, observed=True)[["AP", "AR", "mask_AP75"]].mean()
    assert np.allclose(means, found_run.cells()[["AP", "AR", "mask_AP75"]])
    frame = categories_frame(found_run)
    fog = own[(own["corruption"] == "fog") & (own["name"] == "green")]["AP"].mean()
    assert frame["weather (1 of 4)"][1] == pytest.approx(fog) and frame["clean"].tolist() == pytest.approx([100] * 3)
    assert any(title.startswith("mPC*") for title in frame), "three corruptions are not the protocol's"


def test_classes_without_objects_have_no_number(boxes, tmp_path, capsys):
    stored = json.loads(Path(boxes.removeprefix("coco:")).read_text())
    stored["annotations"] = [own for own in stored["annotations"] if own["category_id"] != 7]
    file = tmp_path / "few.json"
    file.write_text(json.dumps(stored))
    root = Path(boxes.removeprefix("coco:")).parent
    run = rb.detect(coloured_boxes.find, f"coco:{file}", images_root=root, suite="fog", severities=1, out=tmp_path)
    own = run.categories()
    assert own["objects"].tolist() == [5, 0, 1] * 2 and np.isnan(own["AP"][1]) and np.isnan(own["mask_AR"][1])
    print_categories(run)
    shown = capsys.readouterr().out
    assert (
        "red" in shown
        and "green" not in shown
        and shown.endswith("with objects; no intervals. Classes without objects: 1.\n")
    )


def test_masks_are_compared_too_where_both_runs_have_them(found_run, strict_run, boxes, tmp_path, invoke):
    command = ("compare", strict_run.directory, "--baseline", found_run.directory, "--out", tmp_path / "out")
    assert "Δ mask AP" in invoke(*command).output
    frame = pd.read_csv(tmp_path / "out" / "comparison_mask_AP.csv")
    own, baseline = (run.cells().set_index(["corruption", "severity"]) for run in (strict_run, found_run))
    rows = frame.set_index("name")
    gone = (own["mask_AP"] - baseline["mask_AP"]).loc["gaussian_noise"].mean()
    assert rows.loc["noise (1 of 3)", "delta"] == pytest.approx(gone)
    assert gone != pytest.approx((own["AP"] - baseline["AP"]).loc["gaussian_noise"].mean())
    known = rows[rows["p_value"].notna()]  # where a run finds nothing in any picture, nothing spreads
    assert {"noise (1 of 3)", "mean (3 of 15)"} <= set(known.index) and (known["p_holm"] >= known["p_value"]).all()
    assert "## Mask AP" in (tmp_path / "out" / "comparison.md").read_text()
    found = json.loads(invoke(*command, "--json").stdout)["further"]["mask_AP"]
    assert [row["delta"] for row in found] == pytest.approx(rows["delta"].tolist())

    def without_masks(images):
        return coloured_boxes.find(images, masks=False)

    without_masks.class_names = coloured_boxes.NAMES
    plain = rb.detect(without_masks, boxes, out=tmp_path, block_size=2, **coloured_boxes.CELLS)
    assert further_comparisons([plain], found_run) == [] == further_comparisons([found_run], plain)
    invoke("report", plain.directory, "--out", tmp_path / "plain.html")
    assert "mask average precision" not in (tmp_path / "plain.html").read_text()
    (some,) = further_comparisons([plain, strict_run], found_run)
    assert set(some.frame["model"]) == {"find_strictly"}


def test_the_command_prints_classes_one_by_one(boxes, tmp_path, invoke):
    options = ("--model", "coloured_boxes:detector", "--data", boxes, "--suite", "fog", "--severities", 1)
    shown = invoke("detect", *options, "--out", tmp_path, "--per-category", "--quiet").output
    assert re.search(r"green +\d+ +100.0", shown) and "AP of each class" in shown
    found = json.loads(invoke("detect", *options, "--out", tmp_path, "--per-category", "--json", "--quiet").stdout)
    assert [row["name"] for row in found[0]["categories"]] == [*coloured_boxes.NAMES] * 2
    assert "categories" not in json.loads(invoke("detect", *options, "--out", tmp_path, "--json", "--quiet").stdout)[0]


def test_options_of_a_network_are_part_of_what_it_is(boxes, tmp_path, invoke):
    small = {"width": 0.125, "pyramid_channels": 16, "head_channels": 16, "min_size": 40, "max_size": 72}
    options = [part for item in small.items() for part in ("--option", "{}={}".format(*item))]
    command = ("detect", "--model", "fasterrcnn_resnet50", "--weights", "none", "--data", boxes, "--suite", "fog")
    command += ("--severities", 1, "--limit", 1, "--out", tmp_path, "--json", "--quiet", *options)
    plain, other = (json.loads(invoke(*command, *more).stdout)[0] for more in ((), ("--option", "neck=involution")))
    assert plain["fingerprint"] != other["fingerprint"]
    config = json.loads((Path(other["directory"]) / "run.json").read_text())
    assert config["model"]["options"] | small == config["model"]["options"]
    assert config["model"]["options"]["neck"] == "involution"
    wrong = invoke(*command, "--option", "nek=involution", code=2).output
    assert "has no option 'nek'. Did you mean 'neck'" in wrong
    with pytest.raises(InputError, match="model_options are for detectors"):
        rb.evaluate("resnet50", "demo", model_options={"width": 0.25})


def test_the_page_shows_boxes_on_clean_and_corrupted_pictures(found_run, strict_run, tmp_path, invoke):
    invoke("report", found_run.directory, strict_run.directory, "--pictures", "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    pictures = re.findall(r'<svg class="boxes".*?</svg>', page, flags=re.DOTALL)
    assert len(pictures) == 2 * 4 and sum("clean, boxes of" in own for own in pictures) == 2
    truth = found_run.truth()
    image_id = typical_picture(found_run)
    count = (truth["image_id"] == image_id).sum()
    assert count == 2, "of 1, 1, 2, 2 and 3 objects"
    assert pictures[0].count('class="object"') == pictures[0].count('class="right"') == count
    assert 'class="wrong"' not in pictures[0]
    assert page.count("mask average precision (AP)") >= 2
    urls = re.findall(r'<image href="(data:[^"]*)"', page)
    assert len(urls) == 8 and len(set(urls)) == 4, "both networks saw the same four images"


def test_which_boxes_are_shown_as_right():
    objects = pd.DataFrame({"x": [0.0], "y": [0.0], "x2": [10.0], "y2": [10.0], "category": [1]})
    objects = pd.concat([objects, objects.assign(x=20.0, x2=30.0)], ignore_index=True)
    rows = [(0.9, 1, 0), (0.8, 1, 1), (0.7, 1, 20), (0.95, 0, 20)]
    found = pd.DataFrame(
        [{"score": score, "category": own, "x1": x, "y1": 0.0, "x2": x + 10, "y2": 10.0} for score, own, x in rows]
    )
    shown = found_boxes(found, objects, ("cat", "dog"))
    assert [(box.name, box.right) for box in shown] == [("cat", False), ("dog", True)], "as many as there are objects"
    shown = found_boxes(found[:3], objects, ("cat", "dog"))
    assert [box.right for box in shown] == [True, False], "an object is found once"
