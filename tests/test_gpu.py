"""What a GPU must give; without one, the same tests run small on the CPU, so that a GPU runs none of them first.

`pytest -m gpu` runs these and the tests of the Triton kernels: on a GPU at every size and in every type.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from robustbench_bi.corruptions import SUITES, corrupt, jpeg_round_trip
from robustbench_bi.evaluation import Progress, evaluate
from robustbench_bi.models import create_model
from robustbench_bi.models.inference import full_precision

pytestmark = pytest.mark.gpu

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
# On a CPU, plain torch stands for the device: it is what CUDA runs wherever there is no Triton kernel.
BACKEND = None if ON_GPU else "reference"
SIZES = ((224, 224), (32, 32), (299, 299), (33, 47)) if ON_GPU else ((32, 32), (33, 47))
NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
# Compiling takes long, so a CPU gets one network.
COMPILED = [
    *itertools.product(("ddf_resnet29", "binet29_dc", "binet29_dc_ca"), (torch.float32, torch.bfloat16)),
][:: 1 if ON_GPU else 6]
NEAR_TIE = 0.02
"""Of two probabilities. Classes that are closer on the CPU may change places on a GPU, which sums in another order."""


def photographs(count: int, height: int, width: int) -> Tensor:
    pictures = [Image.fromarray(getattr(skimage.data, name)()) for name in ("astronaut", "chelsea")]
    crops = [pictures[number % 2].resize((width, height), box=(40, 40, 140, 140)) for number in range(count)]
    return torch.from_numpy(np.stack([np.array(crop) for crop in crops])).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SUITES["all"].corruptions)
def test_every_cell_has_the_pixels_of_the_cpu(name: str, size: tuple[int, int]) -> None:
    images = photographs(4, *size)
    for severity in range(1, 6):
        options = {"table": "auto", "ids": [5, 2**40, 0, 7], "seed": 3}
        expected = corrupt(images, name, severity, **options)  # type: ignore[arg-type]
        result = corrupt(images.to(DEVICE), name, severity, backend=BACKEND, **options)  # type: ignore[arg-type]
        assert result.device.type == DEVICE
        apart = (result.cpu().int() - expected.int()).abs()
        assert int(apart.max()) <= (0 if name in NOISES else 1)
        assert float((apart > 0).float().mean()) <= 1e-3


def test_the_jpeg_round_trip_has_the_bytes_of_the_cpu() -> None:
    for size in SIZES:
        images = photographs(3, *size)
        result = jpeg_round_trip(images.to(DEVICE), backend=BACKEND)
        assert torch.equal(result.cpu(), jpeg_round_trip(images))


@pytest.mark.parametrize("model", ["resnet50", "binet50"])
def test_an_evaluation_predicts_what_the_cpu_predicts(model: str, tmp_path: Path) -> None:
    options = {"suite": "gaussian_noise,fog", "severities": 3, "limit": None if ON_GPU else 24}
    expected, run = (evaluate(model, device=device, out=tmp_path / device, **options) for device in ("cpu", DEVICE))
    both = expected.records().merge(run.records(), on=["corruption", "severity", "image_id"], suffixes=("", "_there"))
    assert len(both) == len(expected.records())
    changed = both[both["prediction"] != both["prediction_there"]]
    # Where two classes are near-ties, neither has more than half.
    assert (changed[["confidence", "confidence_there"]] <= 0.5 + NEAR_TIE).all(axis=None)
    assert ((changed["confidence"] - changed["confidence_there"]).abs() <= NEAR_TIE).all()
    assert len(changed) <= 0.01 * len(both)
    assert float((both["loss"] - both["loss_there"]).abs().median()) < 1e-3


def test_a_run_that_was_begun_on_the_cpu_goes_on_elsewhere(tmp_path: Path) -> None:
    options = {"suite": "contrast,gaussian_noise", "severities": 5, "limit": 24, "out": tmp_path}

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate("resnet50", device="cpu", progress=stop, **options)
    seen: list[str] = []
    run = evaluate("resnet50", device=DEVICE, progress=lambda progress: seen.append(progress.label), **options)
    assert len(seen) == 2
    assert not run.missing()
    assert len(list(tmp_path.iterdir())) == 1


def steps(network: torch.nn.Module, run: Callable[[Tensor], Tensor], precision: torch.dtype) -> list[Tensor]:
    """The logits of a batch, and the gradients of the first and the last weights."""
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = images.to(DEVICE).contiguous(memory_format=torch.channels_last)
    network.zero_grad()
    with full_precision():
        with torch.autocast(DEVICE, precision, enabled=precision != torch.float32):
            logits = run(images)
        logits.float().square().sum().backward()
    weights = list(network.parameters())
    return [logits.detach().float().cpu(), *(weights[place].grad.cpu() for place in (0, -1))]  # type: ignore[union-attr]


@pytest.mark.filterwarnings("default")  # what compilers say of a machine is no error
@pytest.mark.parametrize(("model", "precision"), COMPILED, ids=str)
def test_a_compiled_network_is_the_same_network(model: str, precision: torch.dtype) -> None:
    torch.manual_seed(0)
    network = create_model(model, num_classes=10, width=0.25).to(DEVICE).to(memory_format=torch.channels_last).eval()
    compiled = torch.compile(network, backend="inductor" if ON_GPU else "aot_eager")
    for result, expected in zip(steps(network, compiled, precision), steps(network, network, precision), strict=True):
        tolerance = (1e-3 if precision == torch.float32 else 1e-1) * float(expected.abs().max())
        torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)
    torch._dynamo.reset()
