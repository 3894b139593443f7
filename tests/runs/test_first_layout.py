"""Runs that version 0.1.0 wrote before record files had the columns of their cell: one finished, one stopped."""

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import robustbench_bi as rb
from robustbench_bi.errors import DataError
from robustbench_bi.ground.declared import identity
from robustbench_bi.runs.identity import EvalConfig, differing, value_of
from robustbench_bi.tasks.classification import COLUMNS

KEPT = Path(__file__).parent / "first_layout"
OPTIONS = {"suite": "fog,contrast", "severities": "1,5", "limit": 12, "block_size": 8}
NAME = "resnet50-c390cc43345b"


def records_of(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "records").iterdir())}


def test_a_stopped_run_goes_on_in_its_folder(tmp_path):
    folder = shutil.copytree(KEPT / "unfinished", tmp_path / NAME)
    kept = records_of(folder)
    run = rb.evaluate("resnet50", out=tmp_path, **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [NAME] == [run.directory.name]
    found = records_of(folder)
    assert {name: found[name] for name in kept} == kept
    assert found.keys() == records_of(KEPT / "whole").keys()
    for name in found:
        assert pq.read_schema(folder / "records" / name).names == list(COLUMNS)
    whole = rb.open_run(KEPT / "whole").records()
    discrete = ["corruption", "severity", "image_id", "label", "prediction", "rank"]
    pd.testing.assert_frame_equal(run.records()[discrete], whole[discrete])
    assert run.records()["loss"].to_numpy() == pytest.approx(whole["loss"].to_numpy(), abs=1e-3)
    assert len(json.loads((folder / "run.json").read_text())["runtime"]["resumed"]) == 1
    assert run.images()["name"].str.contains("/").all()


def test_a_finished_run_opens():
    run = rb.open_run(KEPT / "whole")
    assert run.missing() == []
    assert run.cells()["n"].tolist() == [12] * 5
    images = run.images()
    assert images.columns.tolist() == ["image_id", "label"]
    assert images["image_id"].is_monotonic_increasing and len(images) == 12
    with pytest.raises(DataError, match="does not hold the names of its images; run the same eval command again"):
        run.records(names=True)
    assert run.open_data().image_ids.tolist() == images["image_id"].tolist()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grown(EvalConfig):
    """A configuration of a later version."""

    adapt: str = identity(default="none", compared="must agree", words="the adaptation", added=True)


def test_a_field_that_is_added_later_changes_a_run_only_where_it_is_used():
    fields = json.loads((KEPT / "whole" / "run.json").read_text())
    runtime = fields.pop("runtime")
    del fields["cells"]
    fingerprint = fields.pop("fingerprint")
    fields |= {"name": runtime["name"], "mean": tuple(fields["mean"]), "std": tuple(fields["std"])}
    assert EvalConfig(**fields).fingerprint == fingerprint
    assert Grown(**fields).fingerprint == fingerprint
    assert Grown(**fields, adapt="bn").fingerprint != fingerprint
    assert "adapt" not in Grown(**fields).as_json()
    assert Grown(**fields, adapt="bn").as_json()["adapt"] == "bn"


def test_what_an_older_run_lacks_reads_as_the_default():
    assert value_of({}, "task") == "classification"
    assert value_of({}, "seed") is None
    assert differing({"seed": 1}, {"seed": 1, "task": "classification"}) == []
    assert differing({"seed": 1, "task": "detection"}, {"seed": 1}) == ["task"]
    assert differing({"seed": 1}, {"seed": 2}) == ["seed"]
