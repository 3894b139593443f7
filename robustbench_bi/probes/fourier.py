"""Which frequencies mislead a network: the Fourier heat map of Yin et al. (NeurIPS 2019).

Each image gets one Fourier basis vector of a fixed norm added, and the error rate is drawn against its frequency.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from robustbench_bi.data import Dataset, open_data
from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.ground.atomic import remove_partial_files, replacing
from robustbench_bi.ground.cells import Progress
from robustbench_bi.models.inference import finite_logits
from robustbench_bi.probes.frequencies import add_frequency, default_norm, frequencies
from robustbench_bi.probes.subjects import Subject, left_out, open_subjects, unchanged
from robustbench_bi.runs.identity import BLOCK_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAP_VERSION = 1
"""Raised with a change that moves a perturbed pixel; kept results of another version are not continued."""

_CELLS_ACROSS = 32
_CHECKPOINT_SECONDS = 20.0
_METADATA = b"bivo-robust"

# Vertical and horizontal frequency, and the norm of what is added; a norm of 0 is the clean image.
Cell = tuple[int, int, float]
_CLEAN: Cell = (0, 0, 0.0)


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
) -> pd.DataFrame:
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
        One row a model and frequency, low ones first and before them the clean images, with norm 0: model, side,
        vertical, horizontal (cycles per image), norm, n, and wrong, bytes: a bit for each image in the order of the
        data, the highest bit first, as `numpy.packbits` has it. `attrs["data"]` tells what the images are.

    Raises:
        InputError: an option is out of range, or the source holds corrupted files.
        UnknownNameError, DataError, WeightsError, ModelOutputError: as `evaluate_models`.

    Example:
        >>> import tempfile
        >>> frame = fourier_errors(["resnet50"], radius=2, step=1, limit=4, out=tempfile.mkdtemp())
        >>> len(frame), frame[["vertical", "horizontal", "n"]].iloc[-1].tolist()
        (8, [2, 0, 4])
    """
    if step is not None and (isinstance(step, bool) or not isinstance(step, int) or step < 1):
        raise InputError(f"step must be an integer of at least 1, got {step!r}")
    for name, value in (("norm", norm), ("radius", radius)):
        if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
            raise InputError(f"{name} must be a number above 0, got {value!r}")
    dataset = open_data(data, limit=limit, classes=classes)
    if dataset.stored_cells is not None:
        raise InputError(f"frequencies are added to clean images; {dataset.kind} holds corrupted files")
    with unchanged(models):
        dataset, subjects = open_subjects(models, dataset, **options)
        remove_partial_files(Path(out))
        probes = []
        for subject in subjects:
            side = subject.preprocessing.input_size
            chosen = frequencies(side, step=step or -(-side // _CELLS_ACROSS), radius=radius)
            added = default_norm(side) if norm is None else float(norm)
            cells = [_CLEAN, *((vertical, horizontal, added) for vertical, horizontal in chosen)]
            probes.append(_Probe(subject, dataset, cells, Path(out)))
        count = _counter(probes, progress)
        for probe in probes:
            probe.run(count)
    frame = pd.concat([probe.frame() for probe in probes], ignore_index=True)
    frame.attrs["data"] = f"{dataset.kind}.{left_out(subjects[0])}"
    return frame


def _counter(probes: Sequence[_Probe], progress: Callable[[Progress], None] | None) -> Callable[[Cell, int], None]:
    """A callback that adds up finished cells and images, and reports them."""
    missing = [(len(rows), len(cells)) for probe in probes for _, rows, cells in probe.missing()]
    steps_total = sum(len(probe.cells) * -(-len(probe.dataset) // BLOCK_SIZE) for probe in probes)
    steps_done = steps_total - sum(cells for _, cells in missing)
    images, images_total = 0, sum(rows * cells for rows, cells in missing)

    def count(cell: Cell, rows: int) -> None:
        nonlocal steps_done, images
        steps_done, images = steps_done + 1, images + rows
        if progress is not None:
            vertical, horizontal, _ = cell
            progress(
                Progress(
                    f"frequency {vertical}, {horizontal}", "frequencies", steps_done, steps_total, images, images_total
                )
            )

    return count


class _Probe:
    """One model's map: the cells that it is made of, and what is known of them."""

    def __init__(self, subject: Subject, dataset: Dataset, cells: list[Cell], out: Path) -> None:
        self.subject = subject
        self.dataset = dataset
        self.cells = cells
        self.kept = _Kept(out / f"{subject.config.folder}.parquet", subject.config.as_json())

    def missing(self) -> Iterator[tuple[int, NDArray[np.int64], list[Cell]]]:
        """Each block of images that lacks cells: its number, its rows and those cells."""
        for block, start in enumerate(range(0, len(self.dataset), BLOCK_SIZE)):
            lacking = [cell for cell in self.cells if (block, *cell) not in self.kept.wrong]
            if lacking:
                yield block, np.arange(start, min(start + BLOCK_SIZE, len(self.dataset))), lacking

    def run(self, on_cell: Callable[[Cell, int], None]) -> None:
        """Fill what is missing; what is known when it ends, for whatever reason, is kept."""
        try:
            for block, rows, cells in self.missing():
                images = self.dataset.read(rows, self.subject.preprocessing, workers=self.subject.config.workers or 0)
                for cell in cells:
                    self.kept.add((block, *cell), self._wrong(images, rows, cell))
                    on_cell(cell, len(rows))
        finally:
            self.kept.write()

    def _wrong(self, images: NDArray[np.uint8], rows: NDArray[np.int64], cell: Cell) -> NDArray[np.bool_]:
        """Which of the images (B, 3, S, S) the network gets wrong in a cell."""
        subject, config = self.subject, self.subject.config
        vertical, horizontal, norm = cell
        parts = []
        for start in range(0, len(images), config.batch_size):
            chosen = rows[start : start + config.batch_size]
            batch = torch.from_numpy(images[start : start + config.batch_size]).to(config.device)
            if norm:
                ids = torch.from_numpy(self.dataset.image_ids[chosen]).to(config.device)
                batch = add_frequency(batch, ids, vertical, horizontal, norm=norm, seed=config.seed)
            place = f"at frequency ({vertical}, {horizontal})"
            prepared = subject.prepared(batch)
            logits = finite_logits(
                subject.network, prepared, subject.label, config.precision, config.num_classes, place=place
            )
            parts.append(logits.argmax(dim=1).cpu().numpy() != self.dataset.labels[chosen])
        return np.concatenate(parts)

    def frame(self) -> pd.DataFrame:
        """The rows of this model, as `fourier_errors` returns them."""
        blocks = range(-(-len(self.dataset) // BLOCK_SIZE))
        wrong = [np.concatenate([self.kept.wrong[(block, *cell)] for block in blocks]) for cell in self.cells]
        frame = pd.DataFrame(self.cells, columns=["vertical", "horizontal", "norm"])
        frame.insert(0, "model", self.subject.label)
        frame.insert(1, "side", self.subject.preprocessing.input_size)
        frame["n"] = len(self.dataset)
        frame["wrong"] = [np.packbits(bits).tobytes() for bits in wrong]
        return frame


class _Kept:
    """What is known of each block and cell, in one file that is replaced as a whole now and then."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.settings = {"map_version": MAP_VERSION, **config}
        self.wrong: dict[tuple[int, int, int, float], NDArray[np.bool_]] = self._read() if path.exists() else {}
        self.unwritten = 0
        self.written_at = time.monotonic()

    def add(self, key: tuple[int, int, int, float], wrong: NDArray[np.bool_]) -> None:
        """Take note of a cell of a block."""
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

    def _read(self) -> dict[tuple[int, int, int, float], NDArray[np.bool_]]:
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
            raise DataError(f"{self.path} is damaged ({reason}); remove it to make it anew") from error
        identity = ("map_version", "fingerprint")
        if any(settings.get(key) != self.settings[key] for key in identity):
            raise RunMismatchError(f"{self.path} holds another configuration; move it away or choose another --out")
        return known


def _unpacked(packed: bytes, count: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count).astype(np.bool_)
