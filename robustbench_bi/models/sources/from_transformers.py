"""Networks of transformers, from Hugging Face's hub or a folder: safetensors only, and never code of the repository."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robustbench_bi.errors import BivoRobustError, InputError, WeightsError
from robustbench_bi.models.sources import downloads
from robustbench_bi.models.sources.finish import check_classes, extra, finished, weights_file
from robustbench_bi.models.sources.image_processor import ADVICE, LikeTheProcessor, followed

BACKGROUND_CLASSES = 1001
"""Of networks trained with TensorFlow: ImageNet's 1000 behind a first class "background"."""

OF_TIMM = "timm_wrapper"
"""What transformers calls the networks of timm, whose preprocessing timm alone knows."""


class HubClassifier(nn.Module):
    """A network of transformers that maps images (B, 3, H, W) to logits (B, K).

    Args:
        network: of `AutoModelForImageClassification`.
        background: whether its first class is a background, which is left out.
        flipped: whether it takes blue, green, red.
    """

    def __init__(self, network: nn.Module, background: bool, flipped: bool) -> None:
        super().__init__()
        self.network = network
        self.background = background
        self.flipped = flipped

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, K)."""
        logits: Tensor = self.network(pixel_values=images.flip(1) if self.flipped else images).logits
        return logits[:, 1:] if self.background else logits


def build(name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]) -> nn.Module:
    """Build a network of transformers, with the preprocessing of its image processor.

    Args:
        name: OWNER/NAME, with @REVISION where it is not the newest, or the path of a folder.
        num_classes: outputs; with the repository's own weights None or their number.
        weights: None or "pretrained" for the repository's own; a file; or "none" for random ones.
        options: `processor`, "slow" or "fast"; without it as the repository names it.

    Raises:
        InputError: transformers is not installed; the network needs code of the repository, or is none for image
            classification; or its processor cannot be followed.
        WeightsError: something cannot be had, or does not fit.
    """
    unknown = sorted(options.keys() - {"processor"})
    if unknown or options.get("processor", "slow") not in ("slow", "fast"):
        raise InputError(f"hf:{name} has one option, processor ('slow' or 'fast'), got {dict(options)!r}")
    library = extra("transformers", "hf", f"hf:{name}")
    own = weights in (None, "pretrained")
    file = None if own else weights_file(weights, f"hf:{name}")
    place, revision = _place(name, own)
    there = Path(place).is_dir() or downloads.is_reachable(downloads.hub_page(place))
    with _quiet(library), _in_one_line(name, place, there), downloads.asking_no_hub(not there):
        config = library.AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        if config.model_type == OF_TIMM:
            raise InputError(f"hf:{name} is a network of timm; use timm:hf-hub:{name}")
        if getattr(config, "num_channels", 3) == 1:
            raise InputError(f"hf:{name} takes grey images; {ADVICE}, with in_chans = 1")
        if own:
            network = _with_own_weights(library, name, place, revision, config)
        else:
            config.num_labels = config.num_labels if num_classes is None else num_classes
            network = library.AutoModelForImageClassification.from_config(config, trust_remote_code=False)
        like = followed(library, place, revision, options.get("processor"))
        digest = _digest(library, place, revision)
    return _finished(name, network, like, num_classes, file, digest, options)


def _finished(
    name: str,
    network: nn.Module,
    like: LikeTheProcessor,
    num_classes: int | None,
    file: str | Path | None,
    digest: str,
    options: Mapping[str, Any],
) -> nn.Module:
    from robustbench_bi.models.weights import load_weights

    if file is not None:
        load_weights(network, file)
    labels = _labels(network)
    first = labels[0].lower()
    background = len(labels) == BACKGROUND_CLASSES and (first == "background" or first.startswith("label_"))
    labels = labels[1:] if background else labels
    check_classes(f"hf:{name}", len(labels), num_classes)
    said = {**options, "config": digest, **({"background": "left out"} if background else {})}
    classifier = HubClassifier(network, background, like.flipped)
    named = any(not label.lower().startswith("label_") for label in labels)
    preprocessing = {**like.preprocessing, "class_names": labels if named else None}
    shown = Path(name).expanduser().resolve().name if Path(name).expanduser().is_dir() else name
    return finished(classifier, f"hf:{shown}", preprocessing, said, len(labels), None)


def _labels(network: nn.Module) -> list[str]:
    config: Any = network.config
    return [str(config.id2label.get(number, f"LABEL_{number}")) for number in range(config.num_labels)]


def _place(name: str, own: bool) -> tuple[str, str | None]:
    """Where transformers finds it, and which revision.

    Raises:
        InputError: it is neither a folder nor OWNER/NAME, or a network of timm.
        WeightsError: the folder lacks a file.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_not_of_timm(name, folder)
        needed = ["config.json", "preprocessor_config.json"]
        missing = [file for file in needed if not (folder / file).is_file()]
        if own and not any(folder.glob("model*.safetensors")):
            missing.append("model.safetensors")
        if missing:
            raise WeightsError(
                f"the folder {folder} lacks {', '.join(missing)}; call save_pretrained() of the network and its image "
                "processor to write them (weights are read from safetensors only)"
            )
        return str(folder), None
    return downloads.repository_of("hf", name, downloads.AN_EXISTING_FOLDER)


def _check_not_of_timm(name: str, folder: Path) -> None:
    """Refuse a folder that timm wrote, which states no image processor.

    Raises:
        InputError: it is one.
    """
    try:
        stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # said when transformers reads it
        return
    if "pretrained_cfg" in stated:
        raise InputError(
            f"hf:{name} is a network of timm; use timm:{stated.get('architecture')} with --weights and the folder's "
            "weights file"
        )


def _with_own_weights(library: Any, name: str, place: str, revision: str | None, config: Any) -> Any:
    """The network with all of its weights; a part that would be left random is refused.

    Raises:
        WeightsError: it lacks weights, as those of a backbone do.
    """
    network, found = library.AutoModelForImageClassification.from_pretrained(
        place,
        config=config,
        revision=revision,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    missing = sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"])
    if missing:
        raise WeightsError(
            f"hf:{name} is not a trained classifier: it has no weights for {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}, which would be random"
        )
    return network


def _digest(library: Any, place: str, revision: str | None) -> str:
    """SHA-256 of the configuration file, which decides more than weights and names tell."""
    path = library.utils.cached_file(place, "config.json", revision=revision)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """No advice and no progress bars of the library's on the terminal."""
    logging = library.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    hub = getLogger("huggingface_hub")
    of_hub = hub.level
    hub.setLevel(ERROR)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        hub.setLevel(of_hub)
        logging.set_verbosity(before)
        logging.enable_progress_bar()


@contextmanager
def _in_one_line(name: str, place: str, there: bool) -> Iterator[None]:
    """What transformers raises, in a line that says what to do, also where the hub is not there.

    Raises:
        InputError, WeightsError: it raised.
    """
    try:
        yield
    except BivoRobustError:
        raise
    except Exception as error:  # each version of the library, and each file, has errors of its own
        text = " ".join(str(error).split()) or type(error).__name__
        reason = re.split(r"(?<=[a-z)'])\. ", text)[0][:200]
        if "trust_remote_code" in text or "custom code" in text:
            message = f"hf:{name} needs code from its repository, which is never run; load it in a function of your own"
            raise InputError(message) from error
        if "Unrecognized configuration class" in text or "AutoModelForImageClassification" in text:
            raise InputError(f"hf:{name} is not an image classifier: {reason}") from error
        if Path(place).is_dir():
            raise WeightsError(f"the network in {place} cannot be loaded: {reason}") from error
        reason = reason if there else downloads.no_answer(downloads.hub_page(place))
        raise WeightsError(
            f"hf:{name} could not be downloaded: {reason}. Download config.json, preprocessor_config.json and "
            f"model.safetensors from https://huggingface.co/{place} into a folder and use hf:./FOLDER"
        ) from error
