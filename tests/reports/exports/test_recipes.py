"""The recipes of docs/exports.md, with stand-ins that take what the programs take and write down what they get."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "exports.md").read_text(encoding="utf-8")
# What MLflow allows in the name of a metric (mlflow/utils/validation.py, release 3).
ALLOWED = re.compile(r"[/\w.\- :]*")


class Entered:
    """Something that is entered by `with`."""

    def __init__(self, **given):
        self.given, self.summary = given, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def logged(monkeypatch):
    """What the stand-ins were given."""
    found = {}
    mlflow, wandb = ModuleType("mlflow"), ModuleType("wandb")
    mlflow.set_experiment = lambda name: found.update(experiment=name)
    mlflow.start_run = lambda *, run_name: Entered(run_name=run_name)
    mlflow.log_metrics = lambda metrics: found.update(metrics=metrics)
    mlflow.log_artifact = lambda path: found.update(artifact=Path(path).read_text())

    def init(*, project, name, mode):
        found["run"] = Entered(project=project, name=name, mode=mode)
        return found["run"]

    wandb.init = init
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    return found


def test_recipes_log_every_number(make_run, logged, tmp_path, monkeypatch):
    from robustbench_bi.reports.exports import export_runs

    run = make_run(corruptions=("fog", "snow"))
    export_runs([run], "json", tmp_path / "metrics.json")
    export_runs([run], "csv", tmp_path / "cells.csv")
    monkeypatch.chdir(tmp_path)
    recipes = re.findall(r"^```py\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(recipes) == 2
    for recipe in recipes:
        assert len([line for line in recipe.splitlines() if line]) <= 10
        exec(compile(recipe, "docs/exports.md", "exec"), {})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert logged["metrics"] == metrics == logged["run"].summary
    assert all(ALLOWED.fullmatch(name) for name in metrics)
    assert logged["run"].given["mode"] == "offline"
    assert logged["artifact"].startswith("model,data,fingerprint")
