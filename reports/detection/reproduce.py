"""Train small Faster R-CNNs on the drawn set `demo-detection` and compare them under the 15 corruptions.

    python reports/detection/reproduce.py train WORK [NAME …]      the networks that are not trained yet, one by one
    python reports/detection/reproduce.py evaluate WORK [NAME …]   those that are, on 15 corruptions at five severities
    python reports/detection/reproduce.py compare WORK OUT         the tables and weights of this folder

The claims and the rule that judges them were committed before the first training. So was a first recipe, from random
weights; it was given up after three epochs of the first network, with an AP of 0.5 %, and before any other was begun.
This one begins, as the paper's, from backbones that have learned to classify.
"""

import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

import robustbench_bi as rb
from robustbench_bi.analysis import comparison_frame, format_interval
from robustbench_bi.reports import markdown_table, write_csv
from robustbench_bi.runs import Run, open_run
from robustbench_bi.training import train

DATA = "demo-detection"
PICTURES = 400
"""Training pictures, chosen by a hash of their ids; the 200 of evaluation are all taken."""
SEED = 0
BACKBONE: Mapping[str, Any] = {"preset": "demo", "epochs": 5}
"""How backbones learn to classify the ten shapes of `demo`, before they learn to find them."""
WIDTH = 0.125

_BIVOLUTION = {"neck": "bivolution", "head": "bivolution"}

NETWORKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "resnet50": ("fasterrcnn_resnet50", {}),
    "binet50_dc_bivolution": ("fasterrcnn_binet50_dc", _BIVOLUTION),
    "binet50_dc": ("fasterrcnn_binet50_dc", {}),
    "rednet50": ("fasterrcnn_rednet50", {}),
    "resnet50_bivolution": ("fasterrcnn_resnet50", _BIVOLUTION),
    "rednet50_bivolution": ("fasterrcnn_rednet50", _BIVOLUTION),
}
"""Model and options of each, in the order in which they are trained: the paper's two ends first."""


class Claim(NamedTuple):
    """A sentence of the paper as a difference in AP that can be measured.

    Attributes:
        model, baseline: keys of `NETWORKS`.
        name: of a row of `comparison_frame`.
        expected: what the paper says of the difference.
        paper: its points, where it has a number.
    """

    model: str
    baseline: str
    name: str
    expected: Literal["above", "below"]
    paper: float | None = None


CLAIMS = (
    # Table 2 and the text beside it: clean pictures.
    Claim("rednet50", "resnet50", "clean", "above", 1.8),
    Claim("binet50_dc", "resnet50", "clean", "above", 2.3),
    Claim("binet50_dc", "rednet50", "clean", "above", 0.5),
    Claim("binet50_dc_bivolution", "resnet50", "clean", "above", 2.4),
    Claim("binet50_dc_bivolution", "binet50_dc", "clean", "above", 0.1),
    # Section 4.2 is about classifiers: BiNet above convolution and above dynamic filters. Here detectors are asked.
    Claim("binet50_dc_bivolution", "resnet50", "noise", "above"),
    Claim("binet50_dc", "rednet50", "noise", "above"),
    Claim("binet50_dc", "rednet50", "blur", "above"),
    Claim("binet50_dc", "rednet50", "weather", "above"),
    Claim("binet50_dc", "rednet50", "digital", "above"),
    Claim("binet50_dc_bivolution", "resnet50", "mean", "above"),
    Claim("binet50_dc", "rednet50", "mean", "above"),
)

LEAST_AP = 5.0
"""Clean AP in percent below which a network has learned too little to say anything by it."""


def train_all(work: Path, names: list[str]) -> None:
    """Train what has no weights yet; WORK/NAME/MODEL.safetensors."""
    for name, (model, options) in NETWORKS.items():
        if (name in names or not names) and not weights_of(work, name).exists():
            begun = {**options, "backbone_weights": str(trained_backbone(work, model.removeprefix("fasterrcnn_")))}
            train(model, DATA, preset=DATA, limit=PICTURES, seed=SEED, options=begun, out=work / name)
            print(weights_of(work, name), flush=True)


def trained_backbone(work: Path, backbone: str) -> Path:
    """The weights of a backbone, which all detectors on it begin from; a finished training is not repeated."""
    return train(backbone, "demo", seed=SEED, options={"width": WIDTH}, out=work / "backbones", **BACKBONE)


def weights_of(work: Path, name: str) -> Path:
    """Where a network's weights lie."""
    return work / name / f"{NETWORKS[name][0]}.safetensors"


def evaluate_all(work: Path, names: list[str]) -> None:
    """Each trained network on the 200 pictures, clean and under 15 corruptions at five severities."""
    for name, (model, _) in NETWORKS.items():
        weights = weights_of(work, name)
        if (name in names or not names) and weights.exists():
            run = rb.detect(model, DATA, weights=str(weights), out=work / name / "runs")
            print(name, run.cells()["AP"].round(2).tolist()[:2], flush=True)


def compare_all(work: Path, out: Path) -> None:
    """The claims, AP of every cell, the logs and the weights of the networks that are evaluated."""
    runs = {name: run for name in NETWORKS if (run := run_of(work, name)) is not None}
    claims = claims_frame(runs)
    write_csv(claims, out / "claims.csv")
    cells = pd.concat([run.cells().assign(model=name) for name, run in runs.items()], ignore_index=True)
    columns = ["model", "corruption", "severity", "n", "AP", "AP50", "AP75", "APs", "APm", "APl", "AR"]
    write_csv(cells[columns].round(3), out / "cells.csv")
    for folder in ("weights", "logs"):
        (out / folder).mkdir(exist_ok=True)
    for name in runs:
        weights = weights_of(work, name)
        shutil.copy(weights, out / "weights" / f"{name}.safetensors")
        shutil.copy(weights.with_suffix(".csv"), out / "logs" / f"{name}.csv")
    print(markdown_table(display_networks(runs)), markdown_table(display_claims(claims)), sep="\n\n")


def run_of(work: Path, name: str) -> Run | None:
    """A network's finished run; None where there is none."""
    found = [run for path in sorted((work / name / "runs").glob("*/run.json")) for run in [open_run(path.parent)]]
    return next((run for run in found if not run.missing()), None)


def display_networks(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Clean AP and its mean under corruption, as text."""
    rows = []
    for name, run in runs.items():
        cells = run.cells().set_index("corruption")
        clean, corrupted = cells.loc["none"], cells.drop("none")
        numbers = {"clean AP": clean["AP"], "AP50": clean["AP50"], "mean corrupted AP": corrupted["AP"].mean()}
        numbers["kept, %"] = 100 * numbers["mean corrupted AP"] / numbers["clean AP"]
        rows.append({"network": name} | {key: f"{value:.1f}" for key, value in numbers.items()})
    return pd.DataFrame(rows)


def claims_frame(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Each claim whose networks are there: Δ AP in points, its 95 % interval over pictures, the outcome."""
    rows = []
    for claim in CLAIMS:
        if not {claim.model, claim.baseline} <= runs.keys():
            continue
        frame = comparison_frame([runs[claim.model]], runs[claim.baseline]).frame
        row = frame[frame["name"] == claim.name].iloc[0]
        learned = all(runs[name].cells()["AP"][0] >= LEAST_AP for name in (claim.model, claim.baseline))
        rows.append(
            claim._asdict()
            | row[["n", "delta", "delta_low", "delta_high"]].to_dict()
            | {"outcome": outcome(claim.expected, row["delta_low"], row["delta_high"], learned)}
        )
    return pd.DataFrame(rows)


def outcome(expected: str, low: float, high: float, learned: bool) -> str:
    """Whether an interval of a difference bears out what is said of it, for these weights."""
    if not learned:
        return "not decidable"
    if expected == "below":
        low, high = -high, -low
    return "held" if low > 0 else "did not hold" if high < 0 else "not decidable"


def display_claims(frame: pd.DataFrame) -> pd.DataFrame:
    """`claims_frame` as text, as the README shows it."""
    rows = []
    for claim in frame.itertuples():
        row = {"difference": f"{claim.model} − {claim.baseline}", "on": claim.name}
        row["paper"] = claim.expected if math.isnan(claim.paper) else format_interval(claim.paper, signed=True)
        row["here"] = format_interval(claim.delta, claim.delta_low, claim.delta_high, signed=True)
        rows.append(row | {"outcome": claim.outcome})
    return pd.DataFrame(rows)


def main() -> None:
    """Run one of the steps."""
    match sys.argv[1:]:
        case ["train", work, *names]:
            train_all(Path(work), names)
        case ["evaluate", work, *names]:
            evaluate_all(Path(work), names)
        case ["compare", work, out]:
            compare_all(Path(work), Path(out))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
