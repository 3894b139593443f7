"""Our corruptions of ImageNet-C-bar and CIFAR-10-C-bar against the published code, by statistics.

    python c_bar.py PHOTOS FOLDER c-bar.csv [corruptions, suites, or suite/corruption]

FOLDER is imagenet_c_bar of facebookresearch/augmentation-corruption. For each corruption, of the severities 1, 3 and 5:
the mean absolute change of a picture; the size of the change in four bands of frequency (root of the mean square, in
grey levels); and the top-1 of EfficientNet-Lite0 after JPEG 85. Each with the difference of ours to the published, and
half of the interval that holds the true difference of all in the table together at 95 % (Bonferroni).
"""

import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from effnet import lite0
from scipy.stats import norm

from robustbench_bi.corruptions import SUITES, corrupt, jpeg_round_trip
from robustbench_bi.data import open_data, preprocessing_of

SEVERITIES = (1, 3, 5)
BANDS = (0, 1 / 16, 1 / 8, 1 / 4, 1)  # cycles a pixel
MEASURES = ("change", "band 1", "band 2", "band 3", "band 4", "top-1")
TESTS = 2 * 10 * len(SEVERITIES) * len(MEASURES)


def published_values(folder: Path, suite: str) -> dict[str, list[float]]:
    """The value of each severity, by our names."""
    lines = (folder / f"{suite.replace('-', '_').replace('cifar_10', 'cifar10')}.csv").read_text().split()
    spelt = {"cocentric_sine_waves": "concentric_sine_waves"}
    spelt["transverse_chromatic_abberation"] = "transverse_chromatic_aberration"
    rows = (line.split(",") for line in lines)
    return {spelt.get(name, name): [name, *map(float, values)] for name, *values in rows}


def of_published_code(images: torch.Tensor, name: str, value: float) -> torch.Tensor:
    """What the published code makes of images; its generator is seeded for each."""
    np.int = int  # type: ignore[attr-defined]  # noqa: NPY001  (NumPy has dropped it, and the published code names it)
    from transform_finder import build_transform

    transform = build_transform(name, value, "imagenet")
    results = []
    for number, image in enumerate(images.permute(0, 2, 3, 1).contiguous().numpy()):
        np.random.seed(number)  # noqa: NPY002
        results.append(transform(image))
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2).contiguous()


def measured(model: torch.nn.Module, clean: torch.Tensor, corrupted: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """The measures of each picture, (n, 6)."""
    change = corrupted.float() - clean.float()
    side = change.shape[-1]
    power = torch.fft.rfft2(change).abs().square().sum(dim=1) / 3 / side**4
    power[..., 1 : (side + 1) // 2] *= 2
    radius = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side))
    bands = [power[:, (radius >= low) & (radius < high)].sum(dim=1).sqrt() for low, high in itertools.pairwise(BANDS)]
    # In half precision, for both alike: it halves the hours.
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        pictures = (jpeg_round_trip(corrupted).float() / 255 - 0.5) / 0.5
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        predicted = torch.cat([model(part).argmax(dim=1) for part in pictures.split(50)])
    top1 = (predicted == labels).double() * 100
    return torch.stack([change.abs().mean(dim=(1, 2, 3)), *bands, top1], dim=1).numpy()


def compared(ours: np.ndarray, published: np.ndarray) -> list[dict[str, float]]:
    """Both means, their difference, and half of its interval, for each measure; pictures are paired."""
    differences = ours - published
    errors = differences.std(axis=0, ddof=1) / len(differences) ** 0.5
    numbers = (published.mean(axis=0), ours.mean(axis=0), differences.mean(axis=0), norm.isf(0.025 / TESTS) * errors)
    return [
        dict(zip(("published", "ours", "difference", "half"), row, strict=True)) for row in zip(*numbers, strict=True)
    ]


def main(photographs: str, folder: str, table: str, *names: str) -> None:
    """Write the table, row by row."""
    sys.path.insert(0, folder)
    model = lite0().eval().to(memory_format=torch.channels_last)
    data = open_data(photographs)
    clean = torch.from_numpy(data.read(range(len(data)), preprocessing_of(model)))
    labels = torch.from_numpy(data.labels).long()
    rows = []
    for suite, constants in (("imagenet-c-bar", "imagenet-c"), ("cifar-10-c-bar", "cifar-10-c")):
        for name, (published_name, *values) in published_values(Path(folder), suite).items():
            if names and not {suite, name, f"{suite}/{name}"} & set(names):
                continue
            # At this side the published code has five whirls along an axis, whatever the set.
            constants_here = constants if name in SUITES["imagenet-c-bar"].corruptions else "imagenet-c"
            for severity in SEVERITIES:
                published = of_published_code(clean, published_name, values[severity - 1])
                ours = corrupt(clean, name, severity, table=constants_here)
                pair = [measured(model, clean, pictures, labels) for pictures in (ours, published)]
                for measure, row in zip(MEASURES, compared(*pair), strict=True):
                    rows.append({"suite": suite, "corruption": name, "severity": severity, "measure": measure, **row})
                pd.DataFrame(rows).round(4).to_csv(table, index=False)
                print(suite, name, severity, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
