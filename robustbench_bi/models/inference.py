"""Running a network: where, in which memory format and precision, and what its logits say of the labels."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustbench_bi.errors import BivoRobustError, InputError, ModelOutputError
from robustbench_bi.models import MODELS, VARIANTS, classes_advice
from robustbench_bi.models.sources import split_name

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
HALVES = {"bf16": "BFloat16", "fp16": "Half"}
"""What torch calls them where a network's weights are of them and images are not."""


def choose_device(name: str) -> torch.device:
    """The device of that name, once it has been shown to work; "auto" is CUDA where there is one, else the CPU.

    The corruptions need float64, which Apple's MPS lacks.

    Raises:
        InputError: the device cannot be used here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device, dtype=torch.float64).item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = re.split(r"\. |\n", str(error))[0]
        raise InputError(f"device {name!r} is not available: {reason[:200]}") from error
    return device


def is_known(name: str) -> bool:
    """Whether a name is that of a network of this package, timm or torchvision; a user's own may do anything."""
    elsewhere = split_name(name)
    return name in MODELS or name in VARIANTS if elsewhere is None else elsewhere[0].channels_last


def memory_format(name: str) -> torch.memory_format:
    """Channels last for networks that are known, where it is faster. A user's own may not be written for it."""
    return torch.channels_last if is_known(name) else torch.contiguous_format


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 inside: by default cuDNN rounds float32 to ten bits, so that "fp32" would be another number on a GPU."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


class Asked(Protocol):
    """A network that can be asked, and all that is needed for it."""

    @property
    def network(self) -> nn.Module:
        """On its device, in evaluation mode."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def precision(self) -> str:
        """Of the forward pass: "fp32", or "bf16" or "fp16" by autocast."""

    @property
    def num_classes(self) -> int:
        """Of the data."""

    def prepared(self, images: Tensor) -> Tensor:
        """Uint8 images (B, 3, H, W) as the network wants them: normalised float32, on its device; those stay so."""


def run_network(asked: Asked, images: Tensor) -> Any:
    """What a network returns for a batch, without gradients.

    Args:
        asked: the network.
        images: uint8 (B, 3, H, W).

    Raises:
        ModelOutputError: the network fails.
    """
    batch = asked.prepared(images)
    narrow = autocast(batch.device, asked.precision)
    with torch.inference_mode(), full_precision(), narrow, failing_in_a_line(batch, asked.name):
        return asked.network(batch)


def logits_of(asked: Asked, images: Tensor) -> Tensor:
    """Logits of a batch, float32 (B, K).

    Raises:
        ModelOutputError: the network fails, or returns something of another shape.
    """
    return checked_logits(run_network(asked, images), images, asked.name, asked.num_classes)


def finite_logits(asked: Asked, images: Tensor, place: str) -> Tensor:
    """`logits_of`, refusing logits that are not finite; a place says where: "on fog severity 3".

    Raises:
        ModelOutputError: they are not, or as `logits_of`.
    """
    logits = logits_of(asked, images)
    check_finite(logits, asked, place)
    return logits


def check_finite(logits: Tensor, asked: Asked, place: str) -> None:
    """Refuse logits that are not finite.

    Raises:
        ModelOutputError: one is not.
    """
    if not torch.isfinite(logits).all():
        advice = "" if asked.precision == "fp32" else "; try --precision fp32"
        raise ModelOutputError(f"{asked.name} returned NaN or infinite logits {place}{advice}")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Operations in a narrower precision where torch holds that safe; for "fp32" it changes nothing."""
    dtype = AUTOCAST.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


@contextmanager
def failing_in_a_line(
    images: Tensor, name: str, passes: Callable[[Exception], bool] = lambda _: False
) -> Iterator[None]:
    """Show what a network raises, which may be anything, as one line with its cause.

    Args:
        images: that it is given.
        name: of the network.
        passes: whether an error is not the network's, and is left as it is. This package's own are.

    Raises:
        ModelOutputError: the network failed.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, BivoRobustError) or passes(error):
            raise
        first_line = next(iter(str(error).strip().splitlines()), "")
        shape = tuple(images.shape)
        advice = next((f"; try --precision {own}" for own, word in HALVES.items() if word in first_line), "")
        raise ModelOutputError(
            f"{name} failed on images of shape {shape}: {type(error).__name__}: {first_line}{advice}"
        ) from error


def checked_logits(logits: object, images: Tensor, name: str, num_classes: int) -> Tensor:
    """Logits in float32.

    Raises:
        ModelOutputError: they are no tensor (B, K).
    """
    expected = (len(images), num_classes)
    if not isinstance(logits, Tensor) or logits.shape != expected:
        came, advice = type(logits).__name__, "return the logits alone, as one tensor"
        if isinstance(logits, Mapping | Sequence):
            part = '["logits"]' if isinstance(logits, Mapping) else "[0]"
            advice += f": wrap the network in a module whose forward returns, say, network(images){part}"
        if isinstance(logits, Tensor):
            came, advice = str(tuple(logits.shape)), "return one row of class scores per image"
            if logits.ndim == 2 and len(logits) == len(images):
                advice = classes_advice(logits.shape[1], num_classes)
        raise ModelOutputError(
            f"{name} must return logits of shape {expected} for data with {num_classes} classes, got {came}; {advice}"
        )
    return logits.float()


def score(
    logits: Tensor, labels: Tensor, accepted: Tensor | None = None, competing: Tensor | None = None
) -> dict[str, NDArray[Any]]:
    """The record columns of a batch, from label to Brier score; see `records`.

    A tie counts against the class of the higher number, as in argmax, so that rank 0 is exactly a right prediction.
    Where several classes count for an image, its rank is that of the best of them, and its loss that of all of them
    together. Classes that do not compete are left out before the softmax.

    Args:
        logits: float (B, K), finite.
        labels: integers (B,), from 0 to K - 1.
        accepted: integers (B, k), the classes that count, -1 where there are fewer; None: the labels.
        competing: integers, the classes that compete; None: all.

    Example:
        >>> columns = score(torch.tensor([[2.0, 1.0, 1.0]]), torch.tensor([2]))
        >>> columns["prediction"].item(), columns["rank"].item()
        (0, 2)
        >>> score(torch.tensor([[2.0, 1.0, 1.5]]), torch.tensor([2]), competing=torch.tensor([1, 2]))["rank"].item()
        0
        >>> score(torch.tensor([[2.0, 1.0, 1.5]]), torch.tensor([2]), accepted=torch.tensor([[2, 0]]))["rank"].item()
        0
    """
    labels = labels.long()
    accepted = labels[:, None] if accepted is None else accepted.long()
    if competing is not None:
        kept = torch.full_like(logits, -torch.inf)
        logits = kept.index_copy(1, competing.long(), logits[:, competing.long()])
    none = accepted < 0
    of_accepted = logits.gather(1, accepted.clamp(min=0)).masked_fill(none, -torch.inf)
    best = of_accepted.max(dim=1, keepdim=True).values
    lowest = accepted.masked_fill(none | (of_accepted < best), logits.shape[1]).min(dim=1, keepdim=True).values
    number = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > best) | ((logits == best) & (number < lowest))
    log_probabilities = torch.log_softmax(logits, dim=1)
    confidence, _ = log_probabilities.max(dim=1)
    of_accepted = log_probabilities.gather(1, accepted.clamp(min=0)).masked_fill(none, -torch.inf)
    columns = {
        "label": labels,
        "prediction": logits.argmax(dim=1),
        "rank": ahead.sum(dim=1),
        "confidence": confidence.exp(),
        "loss": -of_accepted.logsumexp(dim=1),
        "brier": _brier(log_probabilities, of_accepted),
    }
    return {name: column.cpu().numpy() for name, column in columns.items()}


def _brier(log_probabilities: Tensor, of_accepted: Tensor) -> Tensor:
    """Σ over classes of (probability − 1 for the label, 0 for the others)² (B,); the classes that count are one class.

    Args:
        log_probabilities: (B, K).
        of_accepted: (B, k), those of the classes that count, −∞ where there are fewer.
    """
    accepted = of_accepted.exp()
    others = log_probabilities.exp().square().sum(dim=1) - accepted.square().sum(dim=1)
    # What is left of rounding may lie below zero.
    return others.clamp(min=0) + (1 - accepted.sum(dim=1)).square()


@contextmanager
def unchanged(models: Sequence[str | nn.Module]) -> Iterator[None]:
    """Leave the modules among the models in the modes, and on the device, in which they came.

    Example:
        >>> block = nn.Sequential(nn.Dropout().eval(), nn.ReLU())
        >>> with unchanged([block]):
        ...     _ = block.eval()
        >>> [module.training for module in block.modules()]
        [True, False, True]
    """
    states = [
        (
            model,
            next((parameter.device for parameter in model.parameters()), torch.device("cpu")),
            [module for module in model.modules() if module.training],
        )
        for model in models
        if isinstance(model, nn.Module)
    ]
    try:
        yield
    finally:
        for model, device, training in states:
            model.eval().to(device)
            for module in training:
                module.training = True
