"""Stages d and e of `gpu.py`: a whole evaluation against its forward passes, and a training against its steps."""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from corruptions import photographs
from end_to_end import evaluation, write_photographs
from gpu_stages import Bench, synchronise
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training import bare_step, our_step
from training import write_photographs as write_training_photographs

from robustbench_bi.corruptions import SUITES
from robustbench_bi.data import normalise, preprocessing_of
from robustbench_bi.models import create_model
from robustbench_bi.training import STEPS_TO_READ

RATIO = 1.1
"""The goal of an evaluation: its wall time over that of its forward passes."""

SHOWN = 30
"""Rows of the profile."""


def end_to_end(bench: Bench) -> None:
    """`eval` of ResNet-50 on 19 corruptions against bare forward passes; how busy the device is, and with what."""
    count, batch, side = (4, 2, 32) if bench.quick else (1024, 256, 224)
    names, severities = (("fog",), (3,)) if bench.quick else (SUITES["all"].corruptions, (1, 3, 5))
    images = photographs(min(count, 64), side).repeat(-(-count // 64), 1, 1, 1)[:count]
    options: dict[str, Any] = {"weights": "none", "batch_size": batch, "block_size": count, "device": str(bench.device)}
    options |= {"suite": names, "severities": severities, "input_size": side, "resize_size": side}
    cells, network = 1 + len(severities) * len(names), create_model("resnet50", num_classes=1000).eval()
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(images, Path(folder))
        for precision in ("fp32",) if bench.quick else ("bf16", "fp32"):
            key = {"network": "resnet50", "precision": precision, "images": count, "cells": cells, "batch": batch}
            if bench.due("gpu_end_to_end.csv", key):

                def whole(precision: str = precision) -> float:
                    return evaluation("resnet50", Path(folder), **options, precision=precision)["eval"]

                whole()
                rounds = 1 if bench.quick else 2
                given = (network, images, cells, batch, precision, bench)
                pairs = [(whole(), forward_passes(*given)) for _ in range(rounds)]
                wall, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
                busy = profiled(whole, key, bench)
                bench.add(
                    "gpu_end_to_end.csv",
                    key,
                    {
                        "eval_seconds": round(wall, 3),
                        "forward_seconds": round(bare, 3),
                        "ratio": round(wall / bare, 3),
                        "of_goal": round(RATIO * bare / wall, 3),
                        "images_per_second": round(count * cells / wall, 1),
                        "forward_images_per_second": round(count * cells / bare, 1),
                        "device_busy": round(busy, 3),
                    },
                )


def forward_passes(
    network: torch.nn.Module, images: torch.Tensor, cells: int, batch: int, precision: str, bench: Bench
) -> float:
    """Seconds of as many forward passes, of batches that are on the device."""
    prepared, images = preprocessing_of(network), images.to(bench.device)
    network.to(bench.device).to(memory_format=torch.channels_last)
    synchronise(bench.device)
    started = time.perf_counter()
    narrow = torch.autocast(bench.device.type, torch.bfloat16, enabled=precision == "bf16")
    with torch.inference_mode(), narrow, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for _ in range(cells):
            for part in images.split(batch):
                network(normalise(part, prepared).contiguous(memory_format=torch.channels_last))
    synchronise(bench.device)
    return time.perf_counter() - started


def profiled(work: Callable[[], float], key: dict[str, Any], bench: Bench) -> float:
    """The share of a run's wall time in which the device works; what it works on goes to gpu_profile.csv."""
    on_gpu = bench.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiler:
        wall = work()
    names: dict[str, list[float]] = defaultdict(list)
    for event in profiler.events() or []:
        if not on_gpu or event.device_type == DeviceType.CUDA:
            names[event.name].append((event.time_range.elapsed_us() if on_gpu else event.self_cpu_time_total) / 1e6)
    busy = sum(map(sum, names.values()))
    table = {**dict(sorted(names.items(), key=lambda item: -sum(item[1]))[:SHOWN]), "idle": [max(0.0, wall - busy)]}
    for name, taken in table.items():
        shown = {"operation": name[:120], "calls": len(taken), "seconds": round(sum(taken), 4)}
        bench.add("gpu_profile.csv", {**key, **shown}, {"of_wall": round(sum(taken) / wall, 4)})
    return min(1.0, busy / wall)


def training(bench: Bench) -> None:
    """Images a second of training, JPEG files decoded on the way, against steps on a batch that is in memory."""
    on_gpu = bench.device.type == "cuda"
    batch, side, steps = (4, 64, 3) if bench.quick else (256, 224, 3 * STEPS_TO_READ)
    warm = STEPS_TO_READ if on_gpu else 1
    networks = ("resnet38",) if bench.quick else ("resnet50", "binet50_dc_ca")
    with tempfile.TemporaryDirectory() as folder:
        written = False
        for name in networks:
            key = {"network": name, "batch": batch, "compiled": False, "side": side}
            key["precision"] = "fp32" if bench.quick else "bf16"
            if bench.due("gpu_training.csv", key):
                if not written:
                    write_training_photographs(Path(folder), steps * batch)
                    written = True
                options = argparse.Namespace(
                    model=name,
                    batch_size=batch,
                    precision=key["precision"],
                    compile=False,
                    device=bench.device.type,
                    steps=steps,
                    side=side,
                )
                bare, ours = bare_step(options, warm), our_step(Path(folder), options, warm)
                bench.add(
                    "gpu_training.csv",
                    key,
                    {
                        "images_per_second": round(batch / ours, 1),
                        "bare_images_per_second": round(batch / bare, 1),
                        "ratio": round(ours / bare, 3),
                    },
                )
