"""What files that torch wrote and can run have in common: a digest, one output of scores, perhaps a fixed batch."""

from __future__ import annotations

import hashlib
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.ground.sizes import size_of
from robustbench_bi.models.sources.finish import USUAL_SIDE, check_classes, finished
from robustbench_bi.models.sources.scores import Batches, as_logits, looks_like_probabilities, settle_output

FORMATS = {
    "a torch.export file": (("archive_format", "serialized_exported_program.json"), "name it export:{path}"),
    "a TorchScript file": (("constants.pkl",), "name it torchscript:{path}"),
    "a checkpoint": (("data.pkl",), "give it as the weights of a network, with --weights {path}"),
}
"""What torch writes as zip archives, by the entry that tells it, and what to do with it; the first that fits."""


class FileNetwork(nn.Module):
    """A module from a file that maps images (B, 3, H, W) to logits (B, K).

    Args:
        network: the module.
        digest: SHA-256 of the file.
        batch: the one size of batch that it takes; None for any.
    """

    def __init__(self, network: nn.Module, digest: bytes, batch: int | None) -> None:
        super().__init__()
        self.network = network
        self.batches = Batches(batch)
        self.output = "0"
        self.probabilities = False
        self.register_buffer("digest", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    @classmethod
    def settled(
        cls,
        source: str,
        path: Path,
        network: nn.Module,
        num_classes: int | None,
        *,
        batch: int | None = None,
        size: Any = None,
    ) -> FileNetwork:
        """The network once it has been tried: its output is known, and its classes are those asked for.

        Args:
            source: the prefix of its name.
            path: of the file.
            network: the module.
            num_classes: those asked for, or None.
            batch: the one size of batch that it takes, or None.
            size: of its images, or None where that is not known.

        Raises:
            InputError: it is no classifier of single images, or is in training mode.
            WeightsError: it is one of other classes.
        """
        built = cls(network, hashlib.sha256(path.read_bytes()).digest(), batch)
        stated = {} if size is None else {"input_size": size_of(size)}
        before = [buffer.clone() for buffer in network.buffers()]
        with torch.no_grad():
            scores, built.output = settle_output(path, built.outputs, stated.get("input_size", USUAL_SIDE))
        if not all(((now == was) | (was != was)).all() for now, was in zip(network.buffers(), before, strict=True)):
            raise InputError(
                f"{path} changes its own statistics, as batch norms in training mode do; export it again after eval()"
            )
        built.probabilities = looks_like_probabilities(scores)
        check_classes(f"{source}:{path}", scores.shape[1], num_classes)
        said = {"outputs": "probabilities"} if built.probabilities else {}
        finished(built, f"{source}:{path.name}", stated, said, scores.shape[1], None)
        return built

    def outputs(self, images: Tensor) -> dict[str, Any]:
        """What the file gives for images, by name; what has none, by position."""
        some = images[:1] if self.batches.size is None else images.new_zeros(self.batches.size, *images.shape[1:])
        found = _by_name(self.network(some))
        return {
            name: self._scores(name, images) if isinstance(value, Tensor) and value.ndim else value
            for name, value in found.items()
        }

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, K)."""
        scores = self._scores(self.output, images)
        return as_logits(scores) if self.probabilities else scores

    def _scores(self, name: str, images: Tensor) -> Tensor:
        return self.batches.run(lambda part: _by_name(self.network(part))[name], images)

    def train(self, mode: bool = True) -> FileNetwork:
        """A file is what it is: exported for evaluation, it stays so."""
        self.training = mode
        return self


def _by_name(result: Any) -> dict[str, Any]:
    """Outputs by name, or by position."""
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    parts = result if isinstance(result, tuple | list) else (result,)
    return {str(number): value for number, value in enumerate(parts)}


def check_format(path: Path, wanted: str) -> None:
    """Refuse a file of another format than the one that its source reads.

    Args:
        path: of the file.
        wanted: one of `FORMATS`.

    Raises:
        WeightsError: it is none of that format; the message says what it is, if that is known.
    """
    found = None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = {entry.rpartition("/")[2] for entry in archive.namelist()}
        found = next((kind for kind, (told, _) in FORMATS.items() if not entries.isdisjoint(told)), None)
    if found is None:
        raise WeightsError(f"{path} is not {wanted}")
    if found != wanted:
        raise WeightsError(f"{path} is not {wanted} but {found}; {FORMATS[found][1].format(path=path)}")


@contextmanager
def without_warnings() -> Iterator[None]:
    """None of torch's own advice on old formats and no tracebacks in its log; what matters is said in our words."""
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
