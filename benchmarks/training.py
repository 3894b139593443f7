"""A training step against a bare loop: `python benchmarks/training.py` appends to results/training.csv.

Ours is the whole of `bivo-robust train`: JPEG files of 500×375 are decoded, cut and mirrored while the network works,
and the loss is read and told. The bare loop has one batch in memory and does nothing but the step: the same network,
optimiser, memory format and precision. Both alternate; of each start the first steps are left out.

    python benchmarks/training.py --model binet50 --batch-size 256 --precision bf16 --device cuda --steps 100
"""

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corruptions import photographs
from machine import append, machine
from PIL import Image

from robustbench_bi.data import normalise, preprocessing_of
from robustbench_bi.models import create_model
from robustbench_bi.training import STEPS_TO_READ, train

CLASSES = 10


def write_photographs(folder: Path, count: int) -> None:
    """Class folders for training, and a few pictures for evaluation; the files repeat after 50."""
    files = [encoded(picture) for picture in photographs(min(count, 50))]
    for split, images in (("train", count), ("val", CLASSES)):
        for number in range(images):
            path = folder / split / f"class{number % CLASSES}" / f"{number:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[number % len(files)])


def encoded(picture: torch.Tensor) -> bytes:
    """A picture (3, H, W) as a JPEG file of 500×375."""
    stream = io.BytesIO()
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    Image.fromarray(pixels).resize((500, 375)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def our_step(folder: Path, options: argparse.Namespace, warm: int) -> float:
    """Seconds a step of our loop."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        train(
            options.model,
            str(folder),
            epochs=1,
            recipe={"batch_size": options.batch_size, "input_size": options.side},
            precision=options.precision,
            device=options.device,
            compiled=options.compile,
            out=out,
            progress=lambda _: ends.append(time.perf_counter()),
        )
    return (ends[-1] - ends[warm - 1]) / (len(ends) - warm)


def bare_step(options: argparse.Namespace, warm: int) -> float:
    """Seconds a step of nothing but the network and its optimiser."""
    device = torch.device(options.device)
    network = create_model(options.model, num_classes=CLASSES)
    prepared = preprocessing_of(network)
    network.to(device).to(memory_format=torch.channels_last)
    if options.compile:
        network.compile()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    images = photographs(options.batch_size, options.side).to(device)
    batch = normalise(images, prepared).contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(options.batch_size) % CLASSES).to(device)
    for number in range(options.steps):
        if number == warm:
            started = _now(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            logits = network(batch)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (_now(device) - started) / (options.steps - warm)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=6, help="of each start, the first included")
    parser.add_argument("--side", type=int, default=224, help="of the images, in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Measure and append the medians over rounds."""
    options = arguments()
    # On CUDA our loop tells several steps at once.
    warm = STEPS_TO_READ if options.device == "cuda" else 1
    if options.steps <= warm:
        raise SystemExit(f"--steps must be more than the {warm} that are left out")
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), options.steps * options.batch_size)
        for _ in range(options.rounds):
            bare.append(bare_step(options, warm))
            ours.append(our_step(Path(folder), options, warm))
            print(f"ours {ours[-1]:.3f} s, bare {bare[-1]:.3f} s a step", flush=True)
    seconds, peer = statistics.median(ours), statistics.median(bare)
    row: dict[str, Any] = {
        "model": options.model,
        "batch_size": options.batch_size,
        "precision": options.precision,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "compiled": options.compile,
        "seconds_a_step": round(seconds, 4),
        "bare_seconds_a_step": round(peer, 4),
        "ratio": round(seconds / peer, 3),
        "images_per_second": round(options.batch_size / seconds, 2),
        "steps": options.steps - warm,
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
    }
    print(f"{options.model}: {seconds:.3f} s a step, {row['ratio']} of the bare loop")
    append("training.csv", {**row, **machine("torch", "torchvision", "pillow")})


if __name__ == "__main__":
    main()
