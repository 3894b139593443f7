"""How often a prepared network predicts another class than the network as it came:
`python benchmarks/agreement.py MODEL DATA [WEIGHTS] [SEVERITIES]`; it appends to results/agreement.csv.

Both are evaluated on the same pictures with the 19 corruptions: folded, channels last, few at once; and eager.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import append, machine

import robustbench_bi as rb

STATED = ("mean", "std", "input_size", "resize_size", "interpolation", "crop_mode", "cut_as", "class_names")


class AsItCame(torch.nn.Module):
    """A network whose layers nobody finds, so that nothing is done to them."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.hidden = (network,)
        for name in STATED:
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, images: torch.Tensor) -> Any:
        """(B, 3, H, W) to (B, K)."""
        return self.hidden[0](images)


def main() -> None:
    """Evaluate twice and count."""
    model, data, *more = sys.argv[1:]
    network = rb.create_model(model, weights=more[0] if more and more[0] else None).eval()
    options = {"suite": "all", "severities": more[1] if len(more) > 1 else "1-5", "batch_size": 32}
    with tempfile.TemporaryDirectory() as out:
        runs = [rb.evaluate(one, data, out=out, **options) for one in (network, AsItCame(network))]
        frames = [run.records().sort_values(["corruption", "severity", "image_id"]) for run in runs]
    first, second = (frame["prediction"].to_numpy() for frame in frames)
    differing = int(np.count_nonzero(first != second))
    losses = np.abs(frames[0]["loss"].to_numpy() - frames[1]["loss"].to_numpy())
    row = {"model": model, "data": Path(data).name, "predictions": len(first), "differing": differing}
    row |= {"of_10000": round(1e4 * differing / len(first), 2), "largest_difference_of_a_loss": f"{losses.max():.1e}"}
    forms = [run.config["runtime"]["forward_pass"] for run in runs]
    row |= {name: str(form) for name, form in zip(("prepared", "eager"), forms, strict=True)}
    print(*row.values(), sep=" | ")
    append("agreement.csv", {**row, **machine("torch", "torchvision")})


if __name__ == "__main__":
    main()
