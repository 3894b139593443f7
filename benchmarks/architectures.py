"""Which architectures fold and compile, and what that does to logits: `python benchmarks/architectures.py [NAME …]`.

Random weights, batch norms with statistics of their own, two pictures of noise. `eager_over_prepared` is how many times
as much processor time 16 pictures take without any preparation as with it (not compiled). Appends to
results/architectures.csv, and leaves out what stands there. Each network takes up to minutes, most of them for the
compiler.
"""

import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import RESULTS, append, machine
from torch import nn

from robustbench_bi.models import create_model, prepare_forward_pass

SMALL_SIDE = 64
CLASSES = 10
TORCHVISION = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 googlenet mnasnet1_0 mobilenet_v2 mobilenet_v3_small "
    "regnet_y_400mf resnet18 resnet50 resnext50_32x4d shufflenet_v2_x1_0 squeezenet1_1 swin_t "
    "vgg11_bn vit_b_16 wide_resnet50_2"
)
TIMM = (
    "convmixer_768_32 deit_tiny_patch16_224 edgenext_small efficientnet_lite0 ghostnet_100 inception_next_tiny "
    "levit_128 mixer_s32_224 mobileone_s0 mobilevit_s nfnet_l0 poolformer_s12 repvgg_a0 res2net50_26w_4s resnet18d "
    "resnetv2_50 swin_tiny_patch4_window7_224 tf_efficientnet_b0 vit_tiny_patch16_224"
)
TRANSFORMERS = {
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]},
    "ViT": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 64},
    "ConvNext": {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]},
}


def names() -> list[str]:
    """All architectures: 18 of torchvision, 19 of timm and 3 of transformers."""
    own = [f"torchvision:{name}" for name in TORCHVISION.split()] + [f"timm:{name}" for name in TIMM.split()]
    return [*own, *(f"transformers:{name}" for name in TRANSFORMERS)]


def build(name: str) -> tuple[nn.Module, int]:
    """A network of random weights, and the side of its pictures: small where it takes any."""
    source, _, own = name.partition(":")
    if source == "transformers":
        import transformers

        settings = getattr(transformers, f"{own}Config")(**TRANSFORMERS[own], num_labels=CLASSES)
        network = getattr(transformers, f"{own}ForImageClassification")(settings).eval()
        with tempfile.TemporaryDirectory() as folder:
            network.save_pretrained(folder)
            transformers.ViTImageProcessor(size={"height": SMALL_SIDE, "width": SMALL_SIDE}).save_pretrained(folder)
            return create_model(f"hf:{folder}").eval(), SMALL_SIDE
    network = create_model(name, weights="none", num_classes=CLASSES).eval()
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 3, SMALL_SIDE, SMALL_SIDE))
    except Exception:  # it wants its own side, and each says so in its own way
        return network, int(network.input_size)  # type: ignore[arg-type]
    return network, SMALL_SIDE


def give_statistics(network: nn.Module) -> None:
    """Statistics that are not those of a new network, so that folding changes weights, and no head that starts at 0."""
    for module in network.modules():
        if isinstance(getattr(module, "running_var", None), torch.Tensor):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)


def processor_seconds(network: nn.Module, images: torch.Tensor) -> float:
    """Of a forward pass, the least of five: what else the machine does counts little."""
    times = []
    with torch.inference_mode():
        for _ in range(5):
            started = time.process_time()
            network(images)
            times.append(time.process_time() - started)
    return min(times)


def measured(name: str) -> dict[str, Any]:
    """Batch norms folded and left, whether it compiles, and the largest difference of a logit, of their spread."""
    torch.manual_seed(0)
    network, side = build(name)
    give_statistics(network)
    images = torch.randn(2, 3, side, side)
    folded = prepare_forward_pass(network, images[:1], name)
    compiled = prepare_forward_pass(network, images[:1], name, 2)
    with torch.inference_mode():
        logits = network(images)
        spread = float(logits.std())
        by = {key: float((made.network(images) - logits).abs().max()) for key, made in (("f", folded), ("c", compiled))}
    many = torch.randn(16, 3, side, side)
    return {
        "network": name,
        "side": side,
        "folded": folded.about["folded"],
        "left": folded.about["left"],
        "compiles": compiled.how == "compiled",
        "spread_of_logits": f"{spread:.2e}",
        "largest_difference_folded": f"{by['f']:.1e}",
        "largest_difference_compiled": f"{by['c']:.1e}",
        "memory_format": str(folded.about.get("memory_format", "as it comes")),
        "eager_over_prepared": round(processor_seconds(network, many) / processor_seconds(folded.network, many), 2),
        "reason": str(compiled.about.get("not_compiled") or folded.about.get("reason", "")),
    }


def main() -> None:
    """Measure what is named, or all that is not there yet."""
    path = Path(RESULTS) / "architectures.csv"
    there = {row["network"] for row in csv.DictReader(path.open())} if path.exists() else set()
    for name in sys.argv[1:] or [name for name in names() if name not in there]:
        torch.compiler.reset()
        row = measured(name)
        print(*row.values(), flush=True)
        append("architectures.csv", {**row, **machine("torch", "torchvision", "timm", "transformers")})


if __name__ == "__main__":
    main()
