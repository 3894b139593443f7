"""Detectors of any make behind one question: pictures in, boxes in pixels of these pictures out."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from robustbench_bi.errors import InputError

BACKGROUND = ("__background__", "N/A")
"""Names in torchvision's lists of classes that are none."""
LIMITS = ("score_threshold", "max_detections", "min_size", "max_size")

Answer = Mapping[str, Any]


class Detector(nn.Module):
    """A detector with what tells it from others.

    Args:
        network: a module whose method `detect` is asked as the function is, or a module by torchvision's convention: a
            list of float pictures (3, H, W) from 0 to 1 in; for each a dict of boxes, labels, scores and perhaps masks
            out.
        function: in place of a network: `(list of uint8 (3, H, W), RGB) -> list of {boxes (N, 4) x1, y1, x2, y2 in
            pixels of the given picture, scores (N,), labels (N,), perhaps masks (N, H, W)}`.
        class_names: by label; those of `BACKGROUND` are no classes.
        identity: what tells it from others, for JSON.
    """

    def __init__(
        self,
        network: nn.Module | None,
        function: Callable[[Sequence[Tensor]], Sequence[Answer]] | None,
        class_names: Sequence[str],
        identity: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.network = network
        self.function = function
        self.class_names = tuple(str(name) for name in class_names)
        self.identity = dict(identity)

    @property
    def asked_together(self) -> bool:
        """Whether it gets several pictures at once, and might confuse them."""
        return self.function is not None or hasattr(self.network, "detect")

    def detect(self, images: Sequence[Tensor]) -> Sequence[Answer]:
        """Ask about pictures, uint8 (3, H, W) each.

        torchvision's detectors are asked about one at a time: in a batch they pad pictures to one size, and then an
        answer depends on the others.
        """
        if self.function is not None:
            return self.function(images)
        network: Any = self.network
        if self.asked_together:
            answers: Sequence[Answer] = network.detect(images)
            return answers
        return [network([image.float() / 255])[0] for image in images]

    def limits(self) -> dict[str, Any]:
        """What bounds its answers, `LIMITS`, where it is one of torchvision's; None where it does not tell."""
        network = self.network
        heads = getattr(network, "roi_heads", network)
        transform = getattr(network, "transform", None)
        shortest = getattr(transform, "min_size", None)
        return {
            "score_threshold": getattr(heads, "score_thresh", None),
            "max_detections": getattr(heads, "detections_per_img", None),
            "min_size": shortest[-1] if isinstance(shortest, Sequence) and shortest else shortest,
            "max_size": getattr(transform, "max_size", None),
        }

    def limit(self, wanted: Mapping[str, Any]) -> None:
        """Set what bounds its answers; entries that are None stay.

        Raises:
            InputError: it has no such bound.
        """
        stated = self.limits()
        for name, value in wanted.items():
            if value is None:
                continue
            fixed = getattr(getattr(self.network, "transform", None), "fixed_size", None) is not None
            if stated[name] is None or (fixed and name in ("min_size", "max_size")):
                raise InputError(
                    f"{self.identity.get('name')} has no {name}; leave it out, or set it in your own function"
                )
            heads = getattr(self.network, "roi_heads", self.network)
            if name == "score_threshold":
                heads.score_thresh = value  # type: ignore[union-attr]
            elif name == "max_detections":
                heads.detections_per_img = value  # type: ignore[union-attr]
            else:
                setattr(self.network.transform, name, (value,) if name == "min_size" else value)  # type: ignore[union-attr]


def as_detector(model: Any, name: str, identity: Mapping[str, Any] | None = None) -> Detector:
    """A user's own detector, a module or a function, behind the common question.

    Args:
        model: with the attribute `class_names`, by label.
        name: of it.
        identity: what tells it from others; by default its name, and a hash of a function's own code.

    Raises:
        InputError: it is neither, or does not say what its labels mean.
    """
    if isinstance(model, Detector):
        return model
    names = getattr(model, "class_names", None)
    if names is None or isinstance(names, str) or not all(isinstance(own, str) for own in names):
        raise InputError(
            f"{name} must have the attribute class_names, with the names of its labels in order, so that they can be "
            f"matched to the data's classes; got {names!r}"
        )
    if isinstance(model, nn.Module):
        return Detector(model, None, names, identity or {"name": name})
    function = getattr(model, "detect", model)
    if not callable(function):
        raise InputError(f"{name} must be a torch.nn.Module, a function, or an object with a detect method")
    stated = getattr(model, "identity", None) or {}
    return Detector(None, function, names, {"name": name, "code": _code_hash(model), **stated, **(identity or {})})


def _code_hash(function: Any) -> str:
    """SHA-256 (hex) of the file that a function, or an object's class, stands in; of its name where there is none."""
    kind = function if inspect.isfunction(function) or inspect.ismethod(function) else type(function)
    try:
        text = inspect.getsource(inspect.getmodule(kind) or kind)
    except (OSError, TypeError):
        text = getattr(kind, "__qualname__", "")
    return hashlib.sha256(text.encode()).hexdigest()
