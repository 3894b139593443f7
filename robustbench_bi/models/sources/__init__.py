"""A table of where networks come from beside our own; one file a source.

Example:
    >>> [row.written for row in MODEL_SOURCES]
    ['timm:NAME', 'timm:hf-hub:OWNER/NAME', 'torchvision:NAME', 'hf:OWNER/NAME', 'onnx:FILE', 'export:FILE', \
'torchscript:FILE', 'package.module:function']
"""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_bi.ground.registry import Table


@dataclass(frozen=True)
class ModelSource:
    """A row of `MODEL_SOURCES`.

    Args:
        name: what stands before a colon; of two that fit the longer, and the row "function" is for everything else.
        code: "module:function" of the builder, `(name, num_classes, weights, options) -> nn.Module`; the name comes
            without the prefix, and whole where there is none.
        written: how a network of it is typed.
        summary: one line for a list.
        brings_weights: whether a network may come with its weights, so that none need be named.
        channels_last: whether its networks run in that memory format, which is faster; a user's own may not be written
            for it.
        takes_size: whether its builder has an option `input_size`, the size of images, since its networks cannot be
            known without being tried.
        hub: the address that its published weights come from, by default.
    """

    name: str
    code: str
    written: str
    summary: str
    brings_weights: bool = False
    channels_last: bool = True
    takes_size: bool = False
    hub: str = ""


_HUB = "https://huggingface.co"
_HOME = "robustbench_bi.models.sources"

MODEL_SOURCES = Table(
    "source of models",
    [
        ModelSource("timm", f"{_HOME}.from_timm:build", "timm:NAME", "timm's networks", hub=_HUB),
        ModelSource(
            "timm:hf-hub",
            f"{_HOME}.from_timm:build_from_hub",
            "timm:hf-hub:OWNER/NAME",
            "timm's networks on the Hugging Face Hub",
            brings_weights=True,
            hub=_HUB,
        ),
        ModelSource(
            "torchvision",
            f"{_HOME}.from_torchvision:build",
            "torchvision:NAME",
            "torchvision's networks",
            hub="https://download.pytorch.org",
        ),
        ModelSource(
            "hf",
            f"{_HOME}.from_transformers:build",
            "hf:OWNER/NAME",
            "image classifiers of transformers, from the Hub (OWNER/NAME@REVISION) or a folder (./FOLDER)",
            brings_weights=True,
            hub=_HUB,
        ),
        *(
            ModelSource(
                *(name, f"{_HOME}.from_{name}:build", f"{name}:FILE", summary),
                brings_weights=True,
                channels_last=False,
                takes_size=True,
            )
            for name, summary in (
                ("onnx", "ONNX files, run by onnxruntime on the CPU"),
                ("export", "files written by torch.export.save"),
                ("torchscript", "TorchScript files (TorchScript is deprecated)"),
            )
        ),
        ModelSource(
            "function",
            f"{_HOME}.from_function:build",
            "package.module:function",
            "your own function that returns a torch.nn.Module",
            brings_weights=True,
            channels_last=False,
        ),
    ],
)


def split_name(model: str) -> tuple[ModelSource, str] | None:
    """The source of a model, and its name there; None for a name without a colon, which is one of ours or none.

    Example:
        >>> row, name = split_name("timm:resnet18")
        >>> row.name, name
        ('timm', 'resnet18')
        >>> split_name("my_models:build")[1], split_name("timm:hf-hub:timm/resnet18.a1_in1k")[1]
        ('my_models:build', 'timm/resnet18.a1_in1k')
    """
    if ":" not in model:
        return None
    own = MODEL_SOURCES["function"]
    fitting = [row for row in MODEL_SOURCES if row is not own and model.startswith(f"{row.name}:")]
    row = max(fitting, key=lambda row: len(row.name), default=own)
    return row, model if row is own else model.removeprefix(f"{row.name}:")


def brings_weights(model: str) -> bool:
    """Whether a model may come with its weights, so that none need be named.

    Example:
        >>> brings_weights("my_models:build"), brings_weights("timm:resnet18"), brings_weights("resnet50")
        (True, False, False)
    """
    found = split_name(model)
    return found is not None and found[0].brings_weights


def how_to_name_a_model() -> str:
    """The ways, for whoever named none.

    Example:
        >>> print(how_to_name_a_model().partition(", ")[0])
        a model is a name from `bivo-robust list models`
    """
    *first, last = (row.written for row in MODEL_SOURCES)
    return f"a model is a name from `bivo-robust list models`, {', '.join(first)} or {last}"
