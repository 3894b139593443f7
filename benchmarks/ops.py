"""How fast `rb.ops.dynamic_filter` and `rb.ops.local_logits` are on the CPU, against their unfold formulations;
appends to results/ops*.csv, networks_prepared.csv and networks_parts.csv (networks.csv is of unprepared networks).

    python benchmarks/ops.py speed      milliseconds of both, forward and backward, median of paired ratios
    python benchmarks/ops.py memory     peak memory in multiples of inputs and outputs together (Linux)
    python benchmarks/ops.py overhead   microseconds of a call with next to nothing to compute
    python benchmarks/ops.py networks   images a second of whole networks, and what their MACs would let one expect
    python benchmarks/ops.py parts      where their time goes: milliseconds an image and thread, by kind of operator

Two threads, float32; operators get a batch of 8 in both memory formats. What is compiled or loaded on first use is not
counted.
"""

import ctypes
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import append, keep_freed_memory, machine
from torch import Tensor
from torch.nn import functional as F

from robustbench_bi.models import create_model, prepare_forward_pass, profile_model
from robustbench_bi.ops import dynamic_filter, local_logits

DYNAMIC = ("Bivolution2d", "DDF2d", "Involution2d")
WITHOUT = " without dynamic filters"
NETWORKS = ("resnet50", "binet50_dc_ca", "binet50_dc", "rednet50", "ddf_resnet50")
THREADS = 2
PAIRS = 9
BATCH, ROUNDS = 32, 5
KINDS = ("1x1", "3x3", "7x7", "fused", "rest")
"""Convolutions by their kernels, layers with dynamic filters and what is fused with them, and what else there is."""
FUSED = ("FusedConv2d", "FusedLayer")
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


class Case(NamedTuple):
    """A shape, as it stands in a network at 224×224."""

    batch: int
    channels: int
    side: int
    kernel_size: int
    groups: int
    channel_filter: bool = False
    stride: int = 1
    logits: bool = False


CASES = {
    "involution, RedNet stage 1": Case(8, 64, 56, 7, 4, False),
    "involution, RedNet stage 3": Case(8, 256, 14, 7, 16, False),
    "involution, BiNet (dc) stage 3": Case(8, 256, 14, 5, 16, False),
    "DDF stage 1": Case(8, 64, 56, 3, 1, True),
    "DDF stage 2, stride 2": Case(8, 128, 56, 3, 1, True, 2),
    "DDF stage 3": Case(8, 256, 14, 3, 1, True),
    "DDF stage 4": Case(8, 512, 7, 3, 1, True),
    "local logits, 8 heads": Case(8, 64, 56, 7, 8, logits=True),
}


def unfolded(x: Tensor, spatial: Tensor, channel: Tensor | None = None, *, kernel_size: int, stride: int) -> Tensor:
    """The same by unfold, reshape, multiply and sum, as it is usually written: all taps of the image in memory."""
    batch, channels = x.shape[:2]
    taps, groups = kernel_size**2, spatial.shape[1] // kernel_size**2
    pixels = F.unfold(x, kernel_size, padding=kernel_size // 2, stride=stride)
    weight = spatial.reshape(batch, groups, 1, taps, *spatial.shape[2:])
    if channel is not None:
        weight = weight * channel.reshape(batch, groups, channels // groups, taps, 1, 1)
    products = weight * pixels.reshape(batch, groups, channels // groups, taps, *spatial.shape[2:])
    return products.sum(3).reshape(batch, channels, *spatial.shape[2:])


def unfolded_logits(query: Tensor, key: Tensor, *, kernel_size: int, groups: int) -> Tensor:
    """The same for logits."""
    batch, _, height, width = query.shape
    keys = F.unfold(key, kernel_size, padding=kernel_size // 2)
    products = query.reshape(batch, groups, -1, 1, height, width) * keys.reshape(
        batch, groups, -1, kernel_size**2, height, width
    )
    return products.sum(2).reshape(batch, -1, height, width)


def both(case: Case) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """The unfold formulation and our operator."""
    return (unfolded_logits, local_logits) if case.logits else (unfolded, dynamic_filter)


def arguments(
    case: Case, layout: torch.memory_format, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], dict[str, int]]:
    """Random tensors that record gradients, and the geometry."""
    generator = torch.Generator().manual_seed(0)
    side, size = -(-case.side // case.stride), case.kernel_size
    image = (case.channels, case.side, case.side)
    shapes = [image, (case.groups * size**2, side, side), (case.channels, size, size)][: 2 + case.channel_filter]
    tensors = [
        torch.randn(case.batch, *shape, generator=generator)
        .to(device, dtype)
        .contiguous(memory_format=layout)
        .requires_grad_()
        for shape in ([image, image] if case.logits else shapes)
    ]
    return tensors, {"kernel_size": size, **({"groups": case.groups} if case.logits else {"stride": case.stride})}


def passes(
    function: Callable[..., Tensor], tensors: list[Tensor], options: dict[str, int]
) -> dict[str, Callable[[], object]]:
    """The forward pass without gradients, and the backward pass alone."""

    def forward() -> None:
        with torch.inference_mode():
            function(*tensors, **options)

    output = function(*tensors, **options)
    gradient = torch.ones_like(output)
    return {
        "forward": forward,
        "backward": lambda: torch.autograd.grad(output, tensors, gradient, retain_graph=True),
    }


def milliseconds(work: Callable[[], object]) -> float:
    """Time of one call."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def speed() -> None:
    """Pairs of both on the same tensors, alternately."""
    for name, case in CASES.items():
        for layout, memory_format in LAYOUTS.items():
            tensors, options = arguments(case, memory_format)
            unfold, ours = (passes(function, tensors, options) for function in both(case))
            for direction in unfold:
                pairs = []
                milliseconds(ours[direction])
                for _ in range(PAIRS):
                    theirs = milliseconds(unfold[direction])
                    pairs.append((theirs, min(milliseconds(ours[direction]) for _ in range(2))))
                row = {
                    "case": name,
                    "shape": "x".join(map(str, case[:3])) + f" K={case.kernel_size} G={case.groups}",
                    "layout": layout,
                    "pass": direction,
                    "unfold_ms": round(statistics.median(theirs for theirs, _ in pairs), 3),
                    "ours_ms": round(statistics.median(own for _, own in pairs), 3),
                    "ratio": round(statistics.median(theirs / own for theirs, own in pairs), 2),
                }
                print(*row.values(), sep=" | ", flush=True)
                append("ops.csv", {**row, "threads": THREADS, **machine("torch", "numba")})


def memory() -> None:
    """The peak of the resident memory over that before, and the inputs; an earlier call has loaded what it needs."""
    libc = ctypes.CDLL("libc.so.6")
    for name, case in CASES.items():
        for layout, memory_format in LAYOUTS.items():
            tensors, options = arguments(case, memory_format)
            inputs = sum(tensor.nbytes for tensor in tensors)
            operator = both(case)[1]
            output = operator(*tensors, **options).nbytes
            # The backward pass also reads the gradient of the output, and its outputs are as large as the inputs.
            sizes = {"forward": (inputs, output), "backward": (inputs + output, inputs)}
            for direction, work in passes(operator, tensors, options).items():
                work()
                libc.malloc_trim(0)
                Path("/proc/self/clear_refs").write_text("5")
                before = _kilobytes("VmRSS")
                result = work()
                grown = (_kilobytes("VmHWM") - before) * 1024
                given, made = sizes[direction]
                row = {"case": name, "layout": layout, "pass": direction}
                row["multiple_of_inputs_and_outputs"] = round((given + grown) / (given + made), 3)
                print(*row.values(), sep=" | ", flush=True)
                append("ops_memory.csv", {**row, "threads": THREADS, **machine("torch", "numba")})
                del result


def overhead() -> None:
    """A call for one pixel: checks, torch's dispatch, and getting in and out of a kernel."""
    tensors, options = arguments(Case(1, 16, 1, 1, 1, False), torch.contiguous_format)
    with torch.inference_mode():
        dynamic_filter(*tensors, **options)
        times = [milliseconds(lambda: dynamic_filter(*tensors, **options)) for _ in range(2000)]
    row = {"microseconds": round(statistics.median(times) * 1e3, 1)}
    print(*row.values())
    append("ops_overhead.csv", {**row, **machine("torch", "numba")})


def networks() -> None:
    """Inference at 224×224 in batches of 32, prepared as an evaluation does it, uncompiled and compiled; in turn.

    Expected is what torchvision's ResNet-50, prepared in the same way, reaches, times its MACs over the network's. How
    near to that a network could come shows what is left of it without its dynamic filters, measured by the MACs of the
    whole.
    """
    keep_freed_memory()
    reference = "torchvision:resnet50"
    images = torch.randn(BATCH, 3, 224, 224)
    runs: dict[tuple[str, bool], torch.nn.Module] = {}
    for name in (reference, *NETWORKS):
        network = create_model(name, weights="none").eval()
        for compiled in (False, True):
            made = prepare_forward_pass(network, images[:1], name, BATCH if compiled else None, batch_size=BATCH)
            runs[name, compiled] = made.network
        if take_out_dynamic_filters(network):
            made = prepare_forward_pass(network, images[:1], name, batch_size=BATCH)
            runs[name + WITHOUT, False] = made.network
    times: dict[tuple[str, bool], list[float]] = {key: [] for key in runs}
    with torch.inference_mode():
        for run in runs.values():
            run(images)
        for _ in range(ROUNDS):
            for key, run in runs.items():
                times[key].append(milliseconds(lambda run=run: run(images)))
    whole = {name.removesuffix(WITHOUT) for name, _ in runs}
    macs = {name: profile_model(name, 224, **({"weights": "none"} if ":" in name else {}))["macs"] for name in whole}
    macs |= {name: macs[name.removesuffix(WITHOUT)] for name, _ in runs}
    for (name, compiled), own in times.items():
        pairs = zip(times[reference, compiled], own, strict=True)
        share = statistics.median(theirs / mine for theirs, mine in pairs) * macs[name] / macs[reference]
        row = {
            "network": name,
            "compiled": compiled,
            "macs": macs[name],
            "images_per_second": round(len(images) / statistics.median(own) * 1e3, 2),
            "of_expected": round(share, 3),
        }
        print(*row.values(), sep=" | ", flush=True)
        append("networks_prepared.csv", {**row, "threads": THREADS, **machine("torch", "torchvision", "numba")})


def take_out_dynamic_filters(network: torch.nn.Module) -> int:
    """Leave the static branch, or nothing but the stride, of each layer with a dynamic filter; return how many."""
    layers = [(name, layer) for name, layer in network.named_modules() if type(layer).__name__ in DYNAMIC]
    for name, layer in layers:
        if hasattr(layer, "static"):
            network.set_submodule(name, layer.static or torch.nn.Identity())
        elif not name.endswith(".dynamic"):
            left = torch.nn.AvgPool2d(layer.stride) if layer.stride > 1 else torch.nn.Identity()
            network.set_submodule(name, left)
    return len(layers)


def parts() -> None:
    """The time of each kind of operator in whole networks, prepared as an evaluation does it, in batches of 32.

    In one thread, which gets as many images at once as each of several would.
    """
    keep_freed_memory()
    images = torch.randn(BATCH, 3, 224, 224)
    for name in ("torchvision:resnet50", *NETWORKS):
        network = create_model(name, weights="none").eval()
        network = prepare_forward_pass(network, images[:1], name, None, batch_size=BATCH).network
        network.size = network.fitting
        spent: dict[str, float] = defaultdict(float)
        _clock(network, spent)
        passes: list[dict[str, float]] = []
        torch.set_num_threads(1)
        with torch.inference_mode():
            for _ in range(ROUNDS + 2):
                spent.clear()
                whole = milliseconds(lambda network=network: network(images))
                passes.append({**spent, "rest": whole - sum(spent.values())})
        kinds = {kind: statistics.median(times.get(kind, 0) for times in passes[2:]) / BATCH for kind in KINDS}
        row = {"network": name, **{kind: round(time, 3) for kind, time in kinds.items()}}
        print(*row.values(), sep=" | ", flush=True)
        append("networks_parts.csv", {**row, "threads": 1, **machine("torch", "torchvision", "numba")})
        torch.set_num_threads(THREADS)


def _clock(network: torch.nn.Module, spent: dict[str, float]) -> None:
    """Let each convolution and each fused layer add its milliseconds to those of its kind."""
    fused = [name for name, module in network.named_modules() if type(module).__name__ in FUSED]
    for name, module in network.named_modules():
        convolution = type(module).__name__ == "PackedConv2d"
        if name not in fused and (not convolution or any(name.startswith(f"{outer}.") for outer in fused)):
            continue
        kind = "fused" if name in fused else "x".join(map(str, module.weight.shape[2:]))
        module.forward = _clocked(module.forward, kind, spent)


def _clocked(forward: Callable[..., Any], kind: str, spent: dict[str, float]) -> Callable[..., Any]:
    def clocked(*given: Any) -> Any:
        started = time.perf_counter()
        result = forward(*given)
        spent[kind] += (time.perf_counter() - started) * 1e3
        return result

    return clocked


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    """Run one of the comparisons."""
    torch.set_num_threads(THREADS)
    commands = {"speed": speed, "memory": memory, "overhead": overhead, "networks": networks, "parts": parts}
    for command in sys.argv[1:] or ["speed"]:
        commands[command]()


if __name__ == "__main__":
    main()
