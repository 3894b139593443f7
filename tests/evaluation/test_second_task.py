"""A task whose images have any number of rows, also none, goes the whole way: from pixels to the gate."""

import json

import counting_task
import pytest
import torch
from click.testing import CliRunner

import robustbench_bi as rb
import robustbench_bi.tasks
from robustbench_bi.cli import cli
from robustbench_bi.errors import RunMismatchError

SMALL = {"task": "counting", "suite": "fog,contrast", "severities": "1,5", "limit": 20, "block_size": 8}
FILES = 5 * 3


class Marks(torch.nn.Module):
    """Makes as many marks as an image is bright; a sharper eye counts more of them."""

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, sharpness=8.0):
        super().__init__()
        self.sharpness = torch.nn.Parameter(torch.tensor(sharpness))

    def forward(self, images):
        return images.std(dim=(1, 2, 3)) * self.sharpness


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(robustbench_bi.tasks, "TASKS", counting_task.table_with_it())


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def contents(run):
    return {path.name: path.read_bytes() for path in sorted((run.directory / "records").iterdir())}


def test_images_have_any_number_of_rows(tmp_path):
    run = rb.evaluate(Marks(), out=tmp_path, **SMALL)
    records, images = run.records(names=True), run.images()
    rows = records.groupby(["corruption", "severity", "image_id"], observed=True).size()
    assert len(images) == 20 and len(rows) < 5 * 20 and rows.max() > 1
    assert records["name"].notna().all()
    cells = run.cells()
    assert cells["n"].tolist() == [20] * 5
    assert cells.columns.tolist() == ["corruption", "severity", "n", "f1", "marks"]
    assert run.config["task"] == "counting" and run.missing() == []


def test_an_answer_without_a_row_is_an_answer(tmp_path):
    run = rb.evaluate(Marks(0.0), out=tmp_path, **{**SMALL, "limit": 3, "block_size": 1})
    assert run.missing() == []
    whole = contents(run)
    assert contents(rb.evaluate(Marks(0.0), out=tmp_path, **{**SMALL, "limit": 3, "block_size": 1})) == whole
    assert (run.cells()["marks"] == 0).all()


@pytest.mark.parametrize("files", [1, 7, FILES - 1])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, files):
    class StopError(Exception):
        pass

    def stop(progress):
        if progress.steps_done == files:
            raise StopError

    whole = rb.evaluate(Marks(), out=tmp_path / "whole", **SMALL)
    with pytest.raises(StopError):
        rb.evaluate(Marks(), out=tmp_path / "stopped", progress=stop, **SMALL)
    stopped = rb.open_run(tmp_path / "stopped" / whole.directory.name)
    assert len(stopped.missing()) == FILES - files
    with pytest.raises(RunMismatchError, match="is not finished"):
        stopped.records()
    assert contents(rb.evaluate(Marks(), out=tmp_path / "stopped", **SMALL)) == contents(whole)


def test_the_reports_and_the_gate_take_it_as_it_is(tmp_path):
    runs = {name: rb.evaluate(Marks(own), out=tmp_path / name, **SMALL) for name, own in (("a", 8.0), ("b", 5.0))}
    a, b = (run.directory for run in runs.values())
    compared = invoke("compare", b, "--baseline", a, "--out", tmp_path / "comparison")
    assert "Δ F1" in compared.stdout and "top-1" not in compared.stdout
    assert {"comparison.csv", "fig3.png"} <= {path.name for path in (tmp_path / "comparison").iterdir()}
    assert not (tmp_path / "comparison" / "reliability_diagram.png").exists()
    invoke("report", a, b, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "F1" in page and "top-1" not in page and "ECE" not in page
    invoke("gate", a, "--save", tmp_path / "baseline.json")
    assert json.loads((tmp_path / "baseline.json").read_text())["settings"]["task"] == "counting"
    held = invoke("gate", a, "--baseline", tmp_path / "baseline.json")
    assert "No regression" in held.stdout
    worse = rb.evaluate(Marks(0.0), out=tmp_path / "worse", **SMALL)
    assert "REGRESSED" in invoke("gate", worse.directory, "--baseline", tmp_path / "baseline.json", code=1).stdout


def test_runs_of_two_tasks_are_not_compared(tmp_path):
    counting = rb.evaluate(Marks(), out=tmp_path, **SMALL)
    classified = rb.evaluate("resnet50", out=tmp_path, **{**SMALL, "task": "classification"})
    refused = invoke("compare", counting.directory, "--baseline", classified.directory, code=2)
    assert (
        "was made for counting, resnet50 for classification" in refused.output and len(refused.output.splitlines()) == 1
    )
