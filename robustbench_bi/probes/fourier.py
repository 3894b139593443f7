"""Run networks on images with one frequency added, for the Fourier heat map of Yin et al. (NeurIPS 2019).

Each image gets one Fourier basis vector of a fixed norm added; what is kept is which images a network gets wrong then.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from robustbench_bi.analysis.described import data_name
from robustbench_bi.analysis.fourier import FourierErrors
from robustbench_bi.data import Dataset, open_data
from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.ground.atomic import remove_partial_files, replacing
from robustbench_bi.ground.cells import Progress
from robustbench_bi.ground.checks import check_integer, is_number
from robustbench_bi.models.inference import finite_logits
from robustbench_bi.probes.frequencies import add_frequency, default_norm, frequencies
from robustbench_bi.probes.subjects import Subject, describe_subjects, left_out, open_subjects, unchanged
from robustbench_bi.runs.identity import BLOCK_SIZE
from robustbench_bi.tasks.classification import scored

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAP_VERSION = 1
"""Raised with a change that moves a perturbed pixel; kept results of another version are not continued."""

_FREQUENCIES_ACROSS = 32
_CHECKPOINT_SECONDS = 20.0
_METADATA = b"bivo-robust"


class Addition(NamedTuple):
    """What is added to every image: a frequency, in cycles per image, and its norm."""

    vertical: int
    horizontal: int
    norm: float


NOTHING = Addition(0, 0, 0.0)
"""The addition of the clean images."""

Key = tuple[int, int, int, float]
"""Block of images, and what is added to them."""


def fourier_errors(
    models: Sequence[str | nn.Module],
    data: str | Path = "demo",
    *,
    norm: float | None = None,
    step: int | None = None,
    radius: float | None = None,
    limit: int | None = None,
    classes: str | Path | None = None,
    out: str | Path = "fourier",
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> FourierErrors:
    """Which images each model gets wrong when one frequency is added, for each frequency.

    Results are kept in one Parquet file a model, `<out>/<model>-<fingerprint>.parquet`, replaced every twenty seconds.
    The same call continues where it stopped, and one with more frequencies, or another norm, adds to the file.

    Args:
        models: names or modules, as for `evaluate_models`.
        data: a source of clean images.
        norm: of what is added, see `add_frequency`; None for `default_norm` of the image side.
        step: see `frequencies`; None for side / 32 rounded up, which makes about 500 to 550 of them.
        radius: see `frequencies`.
        limit: take this many images, chosen by a hash of their ids.
        classes: as for `open_data`.
        out: folder of the kept results.
        progress: called after each frequency of each block of images.
        **options: as for `open_subjects`.

    Returns:
        What each model gets wrong; `error_frame` and `band_frame` make error rates of it.

    Raises:
        InputError: an option is out of range, or the source holds corrupted files.
        UnknownNameError, DataError, WeightsError, ModelOutputError: as `evaluate_models`.

    Example:
        >>> import tempfile
        >>> frame = fourier_errors(["resnet50"], radius=2, step=1, limit=4, out=tempfile.mkdtemp()).frame
        >>> len(frame), frame[["vertical", "horizontal", "n"]].iloc[-1].tolist()
        (8, [2, 0, 4])
    """
    if step is not None:
        check_integer("step", step, 1)
    for name, value in (("norm", norm), ("radius", radius)):
        if value is not None and not (is_number(value) and 0 < value < math.inf):
            raise InputError(f"{name} must be a number above 0, got {value!r}")
    dataset = open_data(data, limit=limit, classes=classes)
    if dataset.stored_cells is not None:
        raise InputError(
            f"frequencies are added to clean images, but {dataset.kind} contains corrupted ones; choose clean --data"
        )
    with unchanged(models):
        dataset, subjects = open_subjects(models, dataset, **options)
        remove_partial_files(Path(out))
        probes = []
        for subject in subjects:
            side = subject.preprocessing.side
            if subject.preprocessing.shape != (side, side):
                raise InputError(
                    f"frequencies are added to square images, but {subject.label} takes images that are not square"
                )
            if step is not None and step > side // 2:
                raise InputError(f"step must be at most {side // 2}, half the side of the images, got {step}")
            if radius is not None and radius > side:
                raise InputError(
                    f"radius must be at most {side} cycles per image, the side of the images, got {radius:g}"
                )
            chosen = frequencies(side, step=step or -(-side // _FREQUENCIES_ACROSS), radius=radius)
            added = default_norm(side) if norm is None else float(norm)
            additions = [NOTHING, *(Addition(*frequency, added) for frequency in chosen)]
            probes.append(_Probe(subject, dataset, additions, Path(out)))
        count = _counter(probes, progress)
        for probe in probes:
            probe.run(count)
    frame = pd.concat([probe.frame() for probe in probes], ignore_index=True)
    remarks = dict.fromkeys(remark for subject in subjects for remark in subject.config.remarks)
    told = "".join(f" {remark}." for remark in remarks)
    images = f"{data_name(subjects[0].config.as_json())}.{told}{left_out(subjects[0])}"
    return FourierErrors(frame, f"{images} {describe_subjects(subjects)}")


def _counter(probes: Sequence[_Probe], progress: Callable[[Progress], None] | None) -> Callable[[Addition, int], None]:
    """A callback that adds up finished frequencies and images, and reports them."""
    missing = [(len(rows), len(additions)) for probe in probes for _, rows, additions in probe.missing()]
    steps_total = sum(len(probe.additions) * -(-len(probe.dataset) // BLOCK_SIZE) for probe in probes)
    steps_done = steps_total - sum(count for _, count in missing)
    images, images_total = 0, sum(rows * count for rows, count in missing)

    def count(addition: Addition, rows: int) -> None:
        nonlocal steps_done, images
        steps_done, images = steps_done + 1, images + rows
        if progress is not None:
            label = f"frequency {addition.vertical}, {addition.horizontal}"
            progress(Progress(label, "frequencies", steps_done, steps_total, images, images_total))

    return count


class _Probe:
    """One model's map: what is added for it, and what is known of that."""

    def __init__(self, subject: Subject, dataset: Dataset, additions: list[Addition], out: Path) -> None:
        self.subject = subject
        self.dataset = dataset
        self.additions = additions
        self.kept = _Kept(out / f"{subject.config.folder}.parquet", subject.config.as_json())

    def missing(self) -> Iterator[tuple[int, NDArray[np.int64], list[Addition]]]:
        """Each block of images that lacks additions: its number, its rows and those additions."""
        for block, start in enumerate(range(0, len(self.dataset), BLOCK_SIZE)):
            lacking = [addition for addition in self.additions if (block, *addition) not in self.kept.wrong]
            if lacking:
                yield block, np.arange(start, min(start + BLOCK_SIZE, len(self.dataset))), lacking

    def run(self, on_addition: Callable[[Addition, int], None]) -> None:
        """Fill what is missing; what is known when it ends, for whatever reason, is kept."""
        try:
            for block, rows, additions in self.missing():
                images = self.dataset.read(rows, self.subject.preprocessing, workers=self.subject.config.workers or 0)
                for addition in additions:
                    self.kept.add((block, *addition), self._wrong(images, rows, addition))
                    on_addition(addition, len(rows))
        finally:
            self.kept.write()

    def _wrong(self, images: NDArray[np.uint8], rows: NDArray[np.int64], addition: Addition) -> NDArray[np.bool_]:
        """Which of the images (B, 3, S, S) the network gets wrong with an addition."""
        subject, config = self.subject, self.subject.config
        vertical, horizontal, norm = addition
        parts = []
        for start in range(0, len(images), subject.batch_size):
            chosen = rows[start : start + subject.batch_size]
            batch = torch.from_numpy(images[start : start + subject.batch_size]).to(config.device)
            if norm:
                ids = torch.from_numpy(self.dataset.image_ids[chosen]).to(config.device)
                batch = add_frequency(batch, ids, vertical, horizontal, norm=norm, seed=config.seed)
            place = f"at frequency ({vertical}, {horizontal})"
            logits = finite_logits(subject, batch, place)
            columns = scored(subject, logits, self.dataset.image_ids[chosen], self.dataset.labels[chosen])
            parts.append(columns["rank"] > 0)
        return np.concatenate(parts)

    def frame(self) -> pd.DataFrame:
        """The rows of this model, as `FourierErrors` has them."""
        blocks = range(-(-len(self.dataset) // BLOCK_SIZE))
        wrong = [
            np.concatenate([self.kept.wrong[(block, *addition)] for block in blocks]) for addition in self.additions
        ]
        frame = pd.DataFrame(self.additions, columns=Addition._fields)
        frame.insert(0, "model", self.subject.label)
        frame.insert(1, "side", self.subject.preprocessing.side)
        frame["n"] = len(self.dataset)
        frame["wrong"] = [np.packbits(bits).tobytes() for bits in wrong]
        return frame


class _Kept:
    """What is known of each block and addition, in one file that is replaced as a whole now and then."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.settings = {"map_version": MAP_VERSION, **config}
        self.wrong: dict[Key, NDArray[np.bool_]] = self._read() if path.exists() else {}
        self.unwritten = 0
        self.written_at = time.monotonic()

    def add(self, key: Key, wrong: NDArray[np.bool_]) -> None:
        """Take note of an addition to a block."""
        self.wrong[key] = wrong
        self.unwritten += 1
        if time.monotonic() - self.written_at >= _CHECKPOINT_SECONDS:
            self.write()

    def write(self) -> None:
        """Replace the file, where there is something new."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.unwritten:
            return
        block, vertical, horizontal, norm = zip(*self.wrong, strict=True)
        columns = {
            "block": pa.array(block, pa.int32()),
            "vertical": pa.array(vertical, pa.int32()),
            "horizontal": pa.array(horizontal, pa.int32()),
            "norm": pa.array(norm, pa.float64()),
            "n": pa.array([len(bits) for bits in self.wrong.values()], pa.int32()),
            "wrong": pa.array([np.packbits(bits).tobytes() for bits in self.wrong.values()], pa.binary()),
        }
        table = pa.table(columns, metadata={_METADATA: json.dumps(self.settings)})
        with replacing(self.path) as partial:
            pq.write_table(table, partial, compression="zstd")
        self.unwritten, self.written_at = 0, time.monotonic()

    def _read(self) -> dict[Key, NDArray[np.bool_]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path)
            settings = json.loads(table.schema.metadata[_METADATA])
            known = {
                (row["block"], row["vertical"], row["horizontal"], row["norm"]): _unpacked(row["wrong"], row["n"])
                for row in table.to_pylist()
            }
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{self.path} is damaged ({reason}); delete it to recompute it") from error
        identity = ("map_version", "fingerprint")
        if any(settings.get(key) != self.settings[key] for key in identity):
            raise RunMismatchError(f"{self.path} was made with other settings; move it away or choose another --out")
        return known


def _unpacked(packed: bytes, count: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count).astype(np.bool_)
