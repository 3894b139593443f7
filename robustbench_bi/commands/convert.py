"""`convert`: a checkpoint that says what it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion, early
from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.options import NETWORK_OPTION, key_and_value, numbers


@click.command()
@click.argument("model", metavar="MODEL", callback=early.a_model_or_detector, shell_complete=completion.models)
@click.option(
    "--weights",
    required=True,
    metavar="FILE",
    help="The checkpoint: .pth, .pt or .safetensors.",
)
@click.option(
    "--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Output file, .safetensors."
)
@NETWORK_OPTION
@click.option("--resize-size", type=int, metavar="PIXELS", help="Short side before the crop.  [default: 256 for 224]")
@click.option("--interpolation", metavar="NAME", help="bilinear, bicubic, …  [default: bilinear]")
@click.option(
    "--mean", callback=numbers, help="Channel means, for pixels from 0 to 1.  [default: ImageNet's 0.485,0.456,0.406]"
)
@click.option("--std", callback=numbers, help="Channel standard deviations.  [default: 0.229,0.224,0.225]")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def convert(
    model: str,
    weights: str,
    out: Path,
    options: tuple[str, ...],
    force: bool,
    **preprocessing: Any,
) -> None:
    """Convert a checkpoint to a .safetensors file with model metadata.

    Recognises published checkpoints of RedNet (mmcls, mmdet), DDF, FcaNet, SAN, BAM, CBAM, torchvision and timm. The
    output stores the network's options, number of classes and preprocessing, so `eval --model MODEL --weights OUT`, or
    `detect` for a row of `list detectors`, needs no other options.
    """
    from dataclasses import asdict

    from robustbench_bi.models import check_options, create_model, resolve
    from robustbench_bi.models.detectors import DETECTORS
    from robustbench_bi.models.weights_files import check_weights_file

    if out.exists() and not force:
        raise OneLineError(f"{out} already exists; choose another --out, or --force to replace it")
    if ":" in resolve(model, {})[0]:
        raise OneLineError(f"convert is for rows of `list models`, got {model!r}; eval takes its checkpoint as it is")
    check_weights_file(weights)
    if out.suffix != ".safetensors":
        raise OneLineError(f"a checkpoint must be written as .safetensors, got {out}")
    chosen = dict(key_and_value(text) for text in options)
    check_options(model, chosen)
    from robustbench_bi.data.preprocess import preprocessing_of
    from robustbench_bi.models.weights import save_checkpoint

    network: Any = create_model(model, weights=weights, **chosen)
    finds_objects = network.identity["name"] in DETECTORS
    given = next((name for name, value in preprocessing.items() if value is not None), None)
    if finds_objects and given is not None:
        raise OneLineError(f"a detector prepares its images itself; leave out --{given.replace('_', '-')}")
    prepared = {} if finds_objects else asdict(preprocessing_of(network, **preprocessing))
    save_checkpoint(out, network, {**prepared, "converted_from": Path(weights).name})
    count = network.identity["num_classes"]
    classes = f"{count:,} classes" if count else "no classifier"
    click.echo(f"Written: {out} ({network.identity['name']}, {classes})")
