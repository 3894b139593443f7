"""Train small members of the four families on CIFAR-10 and compare them on its corruptions.

    python reports/cifar10/reproduce.py unpack FILE.parquet CIFAR   class folders from (split, label, jpeg) rows
    python reports/cifar10/reproduce.py train CIFAR WORK [NAME …]   the networks that are not trained yet, one by one
    python reports/cifar10/reproduce.py evaluate CIFAR WORK         all of them on 19 corruptions at five severities
    python reports/cifar10/reproduce.py compare WORK OUT            the tables and figures of this folder

The recipe, the claims and the rule that judges them were fixed before the first result.
"""

import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from robustbench_bi.analysis import comparison_frame, format_interval
from robustbench_bi.data import CIFAR_10_CLASSES
from robustbench_bi.evaluation import evaluate_models, share_of_environment
from robustbench_bi.reports import markdown_table, write_comparison, write_csv
from robustbench_bi.runs import Run, open_run
from robustbench_bi.training import train

RECIPE: Mapping[str, Any] = {"preset": "cifar", "epochs": 5}
WIDTH = 0.25
LIMIT = 2000
"""Images of the evaluation split, chosen by a hash of their ids."""

FAMILIES = ("resnet29", "binet29_dc_ca", "ddf_resnet29", "resnext29", "binet29_dc")
NETWORKS = (
    *FAMILIES,
    # The other rows of the paper's Table 3 for dc-ca; with neither part it is ddf_resnet29.
    "binet29_dc_ca_sakg5",
    "binet29_dc_ca_without_sakg",
)
"""In the order in which they are trained."""

SEEDS = {0: NETWORKS, 1: FAMILIES}
"""What is trained from each seed; the second was added once the first was known, to see how far a seed moves a Δ."""

COMPARISONS = {
    "comparison": ("resnet29", ("resnext29", "ddf_resnet29", "binet29_dc", "binet29_dc_ca")),
    "ablation": ("ddf_resnet29", ("binet29_dc_ca_without_sakg", "binet29_dc_ca_sakg5", "binet29_dc_ca")),
}
"""The paper's Fig. 3 over ResNet, and its Table 3 over DDF: a folder, its baseline, its models."""


class Claim(NamedTuple):
    """A sentence of the paper (Sections 4.2 and 4.3) as a difference in top-1 that can be measured.

    Attributes:
        model, baseline: networks of the same kind as the paper's.
        name: of a row of `comparison_frame`.
        expected: what the paper says of the difference.
        paper: its points, where it has a number.
    """

    model: str
    baseline: str
    name: str
    expected: Literal["above", "below", "alike"]
    paper: float | None = None


CLAIMS = (
    Claim("binet29_dc_ca", "resnet29", "clean", "above", 2.8),
    Claim("binet29_dc_ca", "ddf_resnet29", "clean", "above", 0.5),
    Claim("ddf_resnet29", "resnext29", "gaussian_noise", "below"),
    Claim("ddf_resnet29", "resnext29", "shot_noise", "below"),
    Claim("ddf_resnet29", "resnext29", "impulse_noise", "alike"),
    Claim("ddf_resnet29", "resnext29", "speckle_noise", "above"),
    Claim("binet29_dc_ca", "resnet29", "noise", "above"),
    Claim("binet29_dc_ca", "resnext29", "noise", "above"),
    Claim("binet29_dc_ca", "ddf_resnet29", "noise", "above", 3.0),
    Claim("binet29_dc_ca", "ddf_resnet29", "blur", "above", 1.1),
    Claim("binet29_dc_ca", "ddf_resnet29", "weather", "above", 0.8),
    Claim("binet29_dc_ca", "ddf_resnet29", "digital", "above", 0.5),
    Claim("binet29_dc_ca", "ddf_resnet29", "mean", "above", 1.2),
    Claim("binet29_dc_ca_without_sakg", "ddf_resnet29", "clean", "above", 0.2),
    Claim("binet29_dc_ca_sakg5", "ddf_resnet29", "clean", "above", 0.2),
    Claim("binet29_dc_ca", "binet29_dc_ca_without_sakg", "clean", "above", 0.1),
    Claim("binet29_dc_ca", "binet29_dc_ca_sakg5", "clean", "above", 0.1),
)

ALIKE = 1.0
"""Points within which the whole interval of a difference must lie for two networks to be alike."""


def unpack(table: Path, folder: Path) -> None:
    """Write each picture's own bytes as FOLDER/train|val/CLASS/NUMBER.jpg."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(table).to_pydict()
    for number, (split, label, content) in enumerate(zip(rows["split"], rows["label"], rows["jpeg"], strict=True)):
        path = folder / {"train": "train", "test": "val"}[split] / CIFAR_10_CLASSES[label] / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def train_all(data: Path, work: Path, names: list[str]) -> None:
    """Train what has no weights yet; WORK/seedN/NAME.safetensors."""
    for seed, networks in SEEDS.items():
        for name in networks:
            path = work / f"seed{seed}" / f"{name}.safetensors"
            if not path.exists() and (name in names or not names):
                train(name, str(data), seed=seed, out=path.parent, options={"width": WIDTH}, **RECIPE)
                print(path, flush=True)


def evaluate_all(data: Path, work: Path) -> None:
    """Every network on the same corrupted pictures; under torchrun, or in a job array, shared by the processes."""
    for seed, networks in SEEDS.items():
        folder = work / f"seed{seed}"
        evaluate_models(
            networks,
            data,
            weights=[str(folder / f"{name}.safetensors") for name in networks],
            suite="all",
            batch_size=250,
            # Pictures of 32 pixels stay as they are; the networks' own transform would enlarge and crop them.
            no_resize=True,
            limit=LIMIT,
            out=folder / "runs",
            share=share_of_environment(os.environ),
        )


def compare_all(work: Path, out: Path) -> None:
    """Tables and figures of each seed, the claims, and the weights of the first seed."""
    every_run: dict[int, dict[str, Run]] = {}
    for seed, networks in SEEDS.items():
        runs = {run.name: run for run in map(open_run, sorted((work / f"seed{seed}" / "runs").iterdir()))}
        every_run[seed] = runs
        folder = out / f"seed{seed}"
        for name, (baseline, others) in COMPARISONS.items():
            if set(networks).issuperset(others):
                models = [runs[other] for other in others]
                write_comparison(models, runs[baseline], comparison_frame(models, runs[baseline]), folder / name)
        (folder / "logs").mkdir(exist_ok=True)
        for name in networks:
            shutil.copy(work / f"seed{seed}" / f"{name}.csv", folder / "logs")
    claims = claims_frame(every_run)
    write_csv(claims, out / "claims.csv")
    print(markdown_table(display_claims(claims)))
    (out / "weights").mkdir(exist_ok=True)
    for name in NETWORKS:
        shutil.copy(work / "seed0" / f"{name}.safetensors", out / "weights")


def claims_frame(runs: Mapping[int, Mapping[str, Run]]) -> pd.DataFrame:
    """Each claim in each seed that has its networks: Δ top-1 in points, its 95 % interval over images, the outcome."""
    rows = []
    for claim in CLAIMS:
        for seed, of_seed in runs.items():
            if not {claim.model, claim.baseline} <= of_seed.keys():
                continue
            frame = comparison_frame([of_seed[claim.model]], of_seed[claim.baseline]).frame
            row = frame[frame["name"] == claim.name].iloc[0]
            rows.append(
                claim._asdict()
                | {"seed": seed}
                | row[["n", "delta", "delta_low", "delta_high"]].to_dict()
                | {"outcome": outcome(claim.expected, row["delta_low"], row["delta_high"])}
            )
    return pd.DataFrame(rows)


def outcome(expected: str, low: float, high: float) -> str:
    """Whether an interval of a difference bears out what is said of it, for these weights."""
    if expected == "alike":
        if low >= -ALIKE and high <= ALIKE:
            return "held"
        return "not decidable" if low <= 0 <= high else "did not hold"
    if expected == "below":
        low, high = -high, -low
    return "held" if low > 0 else "did not hold" if high < 0 else "not decidable"


def display_claims(frame: pd.DataFrame) -> pd.DataFrame:
    """`claims_frame` as text, as the README shows it: one row a claim, and an outcome only where the seeds agree."""
    rows = []
    for (model, baseline, name), seeds in frame.groupby(["model", "baseline", "name"], sort=False):
        expected, paper, outcome = seeds.iloc[0][["expected", "paper", "outcome"]]
        row = {"difference": f"{model} − {baseline}", "on": name}
        row["paper"] = expected if math.isnan(paper) else format_interval(paper, signed=True)
        for seed in seeds.itertuples():
            row[f"seed {seed.seed}"] = format_interval(seed.delta, seed.delta_low, seed.delta_high, signed=True)
        row["outcome"] = outcome if seeds["outcome"].nunique() == 1 else "not decidable"
        rows.append(row)
    columns = ["difference", "on", "paper", *(f"seed {seed}" for seed in SEEDS), "outcome"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def main() -> None:
    """Run one of the steps."""
    match sys.argv[1:]:
        case ["unpack", table, folder]:
            unpack(Path(table), Path(folder))
        case ["train", data, work, *names]:
            train_all(Path(data), Path(work), names)
        case ["evaluate", data, work]:
            evaluate_all(Path(data), Path(work))
        case ["compare", work, out]:
            compare_all(Path(work), Path(out))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
