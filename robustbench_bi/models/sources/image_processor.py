"""What an image processor of transformers does, in our words; taken for true only where both give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cut import CutRule, cut_image
from robustbench_bi.ground.sizes import pair, size_of

RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""PIL's numbers, which processors keep."""
TRIED_SIZES = ((61, 47), (301, 213), (130, 259))
"""Width and height of the pictures that both are tried on, beside one of exactly the network's size."""
ADVICE = "prepare the images in your own package.module:function"
"""Where a processor cannot be followed."""
CONVNEXT_SQUASHES_FROM = 384
LEVIT_MARGIN = 256 / 224


@dataclass(frozen=True)
class LikeTheProcessor:
    """A processor in our words: the attributes of preprocessing, and whether it hands out blue, green, red."""

    preprocessing: Mapping[str, Any]
    flipped: bool


def followed(library: Any, place: str, revision: str | None, wanted: str | None) -> LikeTheProcessor:
    """Load the processor of a repository and find the preprocessing that gives its bytes.

    A network is followed slow (PIL) or fast (tensors) as its repository names the processor: a name that ends in
    "Fast" is the fast one. Version 5 of transformers writes names without that, and those are read as slow, as nearly
    all published accuracies were made.

    Args:
        library: transformers.
        place: a folder or a repository's name.
        revision: of the repository.
        wanted: "slow" or "fast"; None for as the repository names it.

    Raises:
        InputError: no way of cutting that is known gives the processor's bytes.
    """
    stated = _json(library.utils.cached_file(place, "preprocessor_config.json", revision=revision))
    kind = str(stated.get("image_processor_type") or stated.get("feature_extractor_type") or "")
    fast = kind.endswith("Fast") if wanted is None else wanted == "fast"
    newer = int(library.__version__.partition(".")[0]) >= 5
    choice = {"backend": "torchvision" if fast else "pil"} if newer else {"use_fast": fast}
    processor = library.AutoImageProcessor.from_pretrained(place, revision=revision, trust_remote_code=False, **choice)
    return preprocessing_of_processor(processor, fast)


def preprocessing_of_processor(processor: Any, fast: bool) -> LikeTheProcessor:
    """The preprocessing that gives a processor's bytes.

    Raises:
        InputError: none that is known does; the message says what the processor asks for.
    """
    stated = {name: _plain(value) for name, value in processor.to_dict().items()}
    # Version 5 of transformers has a class for each way of resizing; files name them without.
    kind = type(processor).__name__.removesuffix("Pil")
    readings = _readings(stated, kind)
    resample = 2 if stated.get("resample") is None else int(stated["resample"])
    if resample not in range(len(RESAMPLE)):
        raise InputError(f"the image processor {kind} has the resample {resample}, a mode we do not support; {ADVICE}")
    tint = _Tint.of(processor, pair(readings[0]["input_size"]))
    common = {
        **tint.normalisation(stated, kind),
        "interpolation": RESAMPLE[resample],
        "cut_as": "transformers-fast" if fast else "transformers",
    }
    for reading in readings:
        if _same_bytes(processor, {**reading, **common}, tint):
            return LikeTheProcessor({**reading, **common}, tint.flipped)
    asked = {name: value for name, value in stated.items() if name.startswith("do_") and value}
    raise InputError(
        f"the image processor {kind} does something we do not support (it asks for {', '.join(asked) or 'nothing'}, "
        f"size {stated.get('size')}); {ADVICE}"
    )


def _readings(stated: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The ways of cutting that a processor's settings may mean, the likeliest first.

    Raises:
        InputError: there is none.
    """
    size, crop = stated.get("size") or {}, stated.get("crop_size") or {}
    percent, edge = stated.get("crop_pct"), size.get("shortest_edge")
    cropped = size_of([crop["height"], crop["width"]]) if stated.get("do_center_crop") and "height" in crop else None
    if not stated.get("do_resize", False):
        raise InputError(f"the image processor {kind} does not resize, so images differ in size; {ADVICE}")
    if edge and cropped is None and "crop_pct" in stated:
        if edge >= CONVNEXT_SQUASHES_FROM:
            return [_reading(edge, edge, "squash")]
        if percent:
            return [_reading(edge, int(edge / percent), "center")]
    if edge:
        if cropped is None:
            raise InputError(
                f"the image processor {kind} does not crop (size {size}), so images differ in size; {ADVICE}"
            )
        sides = [int(edge / percent)] if percent else [edge, int(LEVIT_MARGIN * edge)]
        return [_reading(cropped, side, "center") for side in sides]
    if "height" in size and "width" in size:
        whole = size_of([size["height"], size["width"]])
        if percent and isinstance(whole, int) and cropped is not None:
            return [_reading(cropped, int(whole / percent), "center")]
        return [_reading(whole if cropped is None else cropped, whole, "squash")]
    raise InputError(f"the image processor {kind} has the size {size or None}, a mode we do not support; {ADVICE}")


def _reading(size: Any, resized: Any, mode: str) -> dict[str, Any]:
    smaller = any(own < least for own, least in zip(pair(resized), pair(size), strict=True))
    return {"input_size": size, "resize_size": resized, "crop_mode": "padded" if smaller else mode}


@dataclass(frozen=True)
class _Tint:
    """What becomes of black and white, and of red: the affine map of pixels that a processor ends with."""

    black: NDArray[np.float64]
    white: NDArray[np.float64]
    flipped: bool

    @classmethod
    def of(cls, processor: Any, shape: tuple[int, int]) -> _Tint:
        middle = (slice(None), shape[0] // 2, shape[1] // 2)
        black, white, red = (
            _values(processor, Image.new("RGB", shape[::-1], colour))[middle].astype(np.float64)
            for colour in ((0, 0, 0), (255, 255, 255), (255, 0, 0))
        )
        return cls(black, white, bool(abs(red - black).argmax() == 2))

    def pixels(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The pixels from 0 to 255 that values (3, H, W) were made of."""
        span = (self.white - self.black)[:, None, None]
        found: NDArray[np.float64] = (values - self.black[:, None, None]) / span * 255
        return found

    def normalisation(self, stated: Mapping[str, Any], kind: str) -> dict[str, tuple[float, ...]]:
        """Mean and std of pixels from 0 to 1; the stated numbers where these are they, but for rounding.

        Raises:
            InputError: they are outside of what preprocessing takes.
        """
        order = slice(None, None, -1) if self.flipped else slice(None)
        span = (self.white - self.black)[order]
        measured = {"mean": -self.black[order] / span, "std": 1 / span}
        numbers = np.concatenate([*measured.values()]).round(6)
        if numbers.min() < 0 or numbers.max() > 1:
            raise InputError(
                f"the image processor {kind} asks for a mean or std outside 0 to 1 (rescale_factor "
                f"{stated.get('rescale_factor')}, rescale_offset {stated.get('rescale_offset')}); {ADVICE}"
            )
        found = {}
        for name, values in measured.items():
            said = np.asarray(stated.get(f"image_{name}") or (0.0,), dtype=np.float64)
            plain = (0.0, 0.0, 0.0) if name == "mean" else (1.0, 1.0, 1.0)
            near = [
                one for one in (said, np.asarray(plain)) if one.shape == (3,) == values.shape and _near(one, values)
            ]
            found[name] = tuple((near[0] if near else values.round(6)).tolist())
        return found


def _same_bytes(processor: Any, preprocessing: Mapping[str, Any], tint: _Tint) -> bool:
    """Whether a processor and a preprocessing agree on every picture that both are tried on."""
    rule = CutRule(**{name: preprocessing[name] for name in preprocessing if name != "std"})
    exactly = pair(preprocessing["input_size"])[::-1]
    for width, height in (*TRIED_SIZES, exactly):
        noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        theirs = tint.pixels(_values(processor, Image.fromarray(noise)))
        ours = np.asarray(cut_image(Image.fromarray(noise), rule)).transpose(2, 0, 1)
        if theirs.shape != ours.shape or np.abs(theirs - (ours[::-1] if tint.flipped else ours)).max() > 0.1:
            return False
    return True


def _values(processor: Any, image: Image.Image) -> NDArray[Any]:
    """What a processor makes of a picture, (3, H, W)."""
    (values,) = np.asarray(processor(images=image, return_tensors="pt")["pixel_values"])
    return np.asarray(values)


def _near(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool(np.allclose(one, other, atol=1e-5))


def _plain(value: Any) -> Any:
    """A size as a dict without what is not set."""
    fields = getattr(value, "items", None) and dict(value)
    return {key: own for key, own in fields.items() if own is not None} if isinstance(fields, dict) else value


def _json(path: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return loaded
