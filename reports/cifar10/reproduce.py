"""Train small members of the four families on CIFAR-10 and compare them on its corruptions.

    python reports/cifar10/reproduce.py unpack FILE.parquet CIFAR   class folders from (split, label, jpeg) rows
    python reports/cifar10/reproduce.py train CIFAR WORK [NAME …]   the networks that are not trained yet, one by one
    python reports/cifar10/reproduce.py evaluate CIFAR WORK         all of them on 19 corruptions at five severities
    python reports/cifar10/reproduce.py compare WORK OUT            the tables and figures of this folder

The recipe below was fixed before the first result.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustbench_bi.data.cifar import CLASS_NAMES
from robustbench_bi.evaluate import evaluate_models
from robustbench_bi.records import open_run
from robustbench_bi.reports.comparison import comparison_frame
from robustbench_bi.reports.write import write_comparison
from robustbench_bi.training.loop import train

RECIPE: Mapping[str, Any] = {"preset": "cifar", "epochs": 5}
WIDTH = 0.25
SEEDS = (0,)
LIMIT = 2000
"""Images of the evaluation split, chosen by a hash of their ids."""

NETWORKS = (
    "resnet29",
    "binet29_dc_ca",
    "ddf_resnet29",
    "resnext29",
    "binet29_dc",
    # The other rows of the paper's Table 3 for dc-ca; with neither part it is ddf_resnet29.
    "binet29_dc_ca_sakg5",
    "binet29_dc_ca_without_sakg",
)
"""In the order in which they are trained."""


def unpack(table: Path, folder: Path) -> None:
    """Write each picture's own bytes as FOLDER/train|val/CLASS/NUMBER.jpg."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(table).to_pydict()
    for number, (split, label, content) in enumerate(zip(rows["split"], rows["label"], rows["jpeg"], strict=True)):
        path = folder / {"train": "train", "test": "val"}[split] / CLASS_NAMES[label] / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def train_all(data: Path, work: Path, names: list[str]) -> None:
    """Train what has no weights yet; WORK/seedN/NAME.safetensors."""
    for seed in SEEDS:
        for name in names or NETWORKS:
            path = work / f"seed{seed}" / f"{name}.safetensors"
            if not path.exists():
                train(name, str(data), seed=seed, out=path.parent, options={"width": WIDTH}, **RECIPE)
            print(path, flush=True)


def evaluate_all(data: Path, work: Path) -> None:
    """Every network on the same corrupted pictures."""
    for seed in SEEDS:
        folder = work / f"seed{seed}"
        weights = [str(folder / f"{name}.safetensors") for name in NETWORKS]
        evaluate_models(NETWORKS, data, weights=weights, suite="all", batch_size=250, limit=LIMIT, out=folder / "runs")


def compare_all(work: Path, out: Path) -> None:
    """Fig. 3 of the paper over ResNet, and Table 3 over DDF-ResNet."""
    for seed in SEEDS:
        runs = {run.name: run for run in map(open_run, sorted((work / f"seed{seed}" / "runs").iterdir()))}
        families = [runs[name] for name in ("resnext29", "ddf_resnet29", "binet29_dc", "binet29_dc_ca")]
        ablation = [runs[name] for name in ("binet29_dc_ca_without_sakg", "binet29_dc_ca_sakg5", "binet29_dc_ca")]
        for folder, baseline, others in (
            ("comparison", runs["resnet29"], families),
            ("ablation", runs["ddf_resnet29"], ablation),
        ):
            write_comparison(others, baseline, comparison_frame(others, baseline), out / f"seed{seed}" / folder)


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
