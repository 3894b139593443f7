"""Stages b and c of `gpu.py`: how fast corruptions, the dynamic filter and whole networks are on a device."""

from collections.abc import Callable
from typing import Any

import torch
from corruptions import photographs
from gpu_stages import GIGABYTE, Bench, bandwidth, device_seconds, seconds
from ops import Case, arguments, passes, unfolded
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from robustbench_bi.corruptions import SUITES, corrupt, jpeg_round_trip
from robustbench_bi.models import create_model, profile_model
from robustbench_bi.ops import dynamic_filter

IMAGES_PER_SECOND = 10_000
"""The goal of every cell of corruptions."""

SHARE_OF_LIMIT = 0.6
"""The goal of the dynamic filter: of the time that reading its arguments and writing its results takes at least."""

NETWORKS = ("resnet50", "binet50_dc_ca", "ddf_resnet50", "binet50_dc", "rednet50")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
SHAPES = {1: (64, 56), 2: (128, 28), 3: (256, 14), 4: (512, 7)}
"""Channels and side of the four stages at 224×224."""


def corruptions(bench: Bench) -> None:
    """Images a second of each cell, the memory that it moves at least and takes at most, and where it waits."""
    batch, side = (4, 32) if bench.quick else (256, 224)
    images = photographs(min(batch, 32), side).repeat(-(-batch // 32), 1, 1, 1)[:batch].to(bench.device)
    severities = (3,) if bench.quick else (1, 2, 3, 4, 5)
    cells: dict[tuple[str, int], Callable[[], Tensor]] = {
        (name, severity): lambda name=name, severity=severity: corrupt(images, name, severity)  # type: ignore[misc]
        for severity in severities
        for name in SUITES["all"].corruptions
    }
    cells["jpeg_round_trip", 0] = lambda: jpeg_round_trip(images)
    for (name, severity), work in cells.items():
        key = {"corruption": name, "severity": severity, "batch": batch, "side": side}
        if bench.due("gpu_corruptions.csv", key):
            taken = seconds(work, bench.device, calls=1 if bench.quick else 5)
            rate, moved = batch / taken, 2 * images.nbytes / taken
            bench.add(
                "gpu_corruptions.csv",
                key,
                {
                    "images_per_second": round(rate, 1),
                    "of_goal": round(rate / IMAGES_PER_SECOND, 3),
                    "least_gigabytes_per_second": round(moved / GIGABYTE, 3),
                    "of_bandwidth": round(moved / bandwidth(bench.device, bench.quick), 5),
                    **resources(work, images),
                },
            )


def resources(work: Callable[[], object], images: Tensor) -> dict[str, Any]:
    """What a call takes beside time: memory in multiples of its images, kernels, and waits of the host."""
    multiple = 0.0
    if images.is_cuda:
        before = torch.cuda.memory_allocated(images.device)
        torch.cuda.reset_peak_memory_stats(images.device)
        work()
        multiple = (torch.cuda.max_memory_allocated(images.device) - before) / images.nbytes
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if images.is_cuda else [])]
    with profile(activities=kinds) as profiled:
        work()
    events = list(profiled.events() or [])
    return {
        "multiple_of_the_batch": round(multiple, 2),
        "kernels": sum(event.device_type == DeviceType.CUDA for event in events),
        "waits": sum(event.name in WAITS for event in events),
    }


def operators(bench: Bench) -> None:
    """The dynamic filter at the shapes of stages 1 to 4: its memory limit, unfold, and a depthwise convolution."""
    batch = 2 if bench.quick else 128
    cases = {
        f"{layer}, stage {stage}": (
            Case(batch, channels, side, size, 1 if layer == "DDF" else channels // 16, layer == "DDF")
        )
        for stage, (channels, side) in SHAPES.items()
        for layer, size in (("DDF", 3), ("involution", 7))
        if not bench.quick or stage == 4
    }
    for name, case in cases.items():
        for direction in ("forward", "backward"):
            key = {"case": name, "pass": direction, "batch": batch, "dtype": "bfloat16"}
            if bench.due("gpu_operators.csv", key):
                bench.add("gpu_operators.csv", key, compared(case, direction, bench))


def compared(case: Case, direction: str, bench: Bench) -> dict[str, Any]:
    """Milliseconds of the dynamic filter and of its rivals at one shape, and its share of what memory allows."""
    tensors, options = arguments(case, torch.channels_last, bench.device, torch.bfloat16)
    rounds = 2 if bench.quick else 15
    weight = torch.randn(case.channels, 1, case.kernel_size, case.kernel_size, device=bench.device)
    weight = weight.to(torch.bfloat16).requires_grad_()

    def convolution(x: Tensor, weight: Tensor, *, kernel_size: int, stride: int) -> Tensor:
        return F.conv2d(x, weight, stride=stride, padding=kernel_size // 2, groups=case.channels)

    rivals = {"ours": (dynamic_filter, tensors), "unfold": (unfolded, tensors)}
    rivals["depthwise_convolution"] = (convolution, [tensors[0], weight])
    times = {}
    for rival, (function, given) in rivals.items():
        times[rival] = device_seconds(passes(function, given, options)[direction], bench.device, rounds)
    output = dynamic_filter(*tensors, **options).nbytes
    inputs = sum(tensor.nbytes for tensor in tensors)
    # The backward pass reads the gradient of the output too, and writes one of each input.
    least = inputs + output if direction == "forward" else 2 * inputs + output
    share = least / bandwidth(bench.device, bench.quick) / times["ours"]
    return {
        **{f"{rival}_ms": round(taken * 1e3, 4) for rival, taken in times.items()},
        "over_unfold": round(times["unfold"] / times["ours"], 2),
        "over_depthwise_convolution": round(times["depthwise_convolution"] / times["ours"], 3),
        "of_memory_limit": round(share, 3),
        "of_goal": round(share / SHARE_OF_LIMIT, 3),
    }


def networks(bench: Bench) -> None:
    """Whole networks in bfloat16 and channels-last, eager and compiled, beside ResNet-50 run in the same way."""
    batch, side = (2, 32) if bench.quick else (128, 224)
    names = ("resnet29", "binet29_dc_ca") if bench.quick else NETWORKS
    kinds = [(compiled, direction) for compiled in (False, True) for direction in ("inference", "training")]
    # The first two of each kind before the others, because compiling takes long.
    for few in (names[:2], names[2:]):
        for compiled, direction in (kinds[0], kinds[3]) if bench.quick else kinds:
            for name in few:
                key = {"network": name, "compiled": compiled, "pass": direction, "batch": batch, "side": side}
                if bench.due("gpu_networks.csv", key):
                    rate = images_per_second(name, compiled, direction, batch, side, bench)
                    values = {"images_per_second": round(rate, 1), **beside(key, names[0], rate, bench)}
                    bench.add("gpu_networks.csv", key, values)


def images_per_second(name: str, compiled: bool, direction: str, batch: int, side: int, bench: Bench) -> float:
    """Of one network, in inference or with the backward pass."""
    network = create_model(name, num_classes=1000, **({"width": 0.125} if bench.quick else {}))
    network = network.to(bench.device).to(memory_format=torch.channels_last).train(direction == "training")
    images = torch.randn(batch, 3, side, side, device=bench.device).contiguous(memory_format=torch.channels_last)
    run: Callable[[Tensor], Tensor] = torch.compile(network, backend=bench.compiler) if compiled else network
    work = (lambda: inference(run, images)) if direction == "inference" else (lambda: learning(run, network, images))
    rate = batch / seconds(work, bench.device, *((1, 1) if bench.quick else (10, 3)))
    torch._dynamo.reset()
    return rate


def inference(run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """A forward pass."""
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
        return run(images)


def learning(run: Callable[[Tensor], Tensor], network: nn.Module, images: Tensor) -> None:
    """A forward and a backward pass."""
    network.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16):
        logits = run(images)
    logits.float().logsumexp(dim=1).mean().backward()


def beside(key: dict[str, Any], reference: str, rate: float, bench: Bench) -> dict[str, Any]:
    """The rate over that of the reference, as it is and for equal operations; empty where that was not measured."""
    like = {name: str(value) for name, value in {**key, "network": reference}.items()}
    rows = [row for row in bench.rows("gpu_networks.csv") if like.items() <= row.items()]
    rates = [rate] if key["network"] == reference else [float(row["images_per_second"]) for row in rows]
    macs, own = (profile_model(name, key["side"])["macs"] for name in (reference, key["network"]))
    ratio = rate / rates[-1] if rates else None
    return {
        "macs": own,
        "over_resnet": "" if ratio is None else round(ratio, 3),
        "over_resnet_for_its_macs": "" if ratio is None else round(ratio * own / macs, 3),
    }
