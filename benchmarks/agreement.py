"""How often a prepared network predicts another class than the network as it came:
`python benchmarks/agreement.py MODEL DATA [WEIGHTS] [SEVERITIES]`; it appends to results/agreement.csv.

Both evaluate the same pictures with the 19 corruptions; folded, channels last and in parts, against eager.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from machine import append, machine

import robustbench_bi as rb
from robustbench_bi.models import prepare_forward_pass


def as_it_came(network: Any, image: Any, name: str, *_: Any) -> Any:
    """In the place of `prepare_forward_pass`: nothing is done to the network."""
    prepared = prepare_forward_pass(network, image, name)
    return type(prepared)(network)


def main() -> None:
    """Evaluate twice and count."""
    model, data, *more = sys.argv[1:]
    options: dict[str, Any] = {"suite": "all", "weights": more[0] if more and more[0] else None}
    options["severities"] = more[1] if len(more) > 1 else "1-5"
    with tempfile.TemporaryDirectory() as out:
        prepared = rb.evaluate(model, data, out=f"{out}/prepared", **options)
        with patch("robustbench_bi.evaluation.ready.forward_pass", as_it_came):
            eager = rb.evaluate(model, data, out=f"{out}/eager", **options)
        keys = ["corruption", "severity", "image_id"]
        both = [run.records().sort_values(keys)["prediction"].to_numpy() for run in (prepared, eager)]
    differing = int(np.count_nonzero(both[0] != both[1]))
    row = {"model": model, "weights": Path(more[0]).name if more else "", "data": Path(data).name}
    row |= {"predictions": len(both[0]), "differing": differing, "of_10000": round(1e4 * differing / len(both[0]), 2)}
    row |= {"forward": " ".join(f"{key}={value}" for key, value in prepared.config["runtime"]["forward_pass"].items())}
    print(*row.values(), sep=" | ")
    append("agreement.csv", {**row, **machine("torch", "torchvision")})


if __name__ == "__main__":
    main()
