"""`train`: a network from random weights."""

from __future__ import annotations

import os
from typing import Any

import click

from robustbench_bi.commands import completion, early
from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.eval_options import eval_options
from robustbench_bi.commands.options import NETWORK_OPTION, QUIET, key_and_value, out_option
from robustbench_bi.commands.terminal import training_progress
from robustbench_bi.data import named_source
from robustbench_bi.data.request import DataRequest
from robustbench_bi.models import check_options
from robustbench_bi.training.recipe import AUGMENTS, PRESETS, resolve_recipe

_FREQUENT = ("epochs", "batch_size", "learning_rate", "warmup_epochs", "label_smoothing", "ema", "augment")


@click.command()
@click.option(
    "--model",
    required=True,
    metavar="NAME",
    help="A name from `list models` or `list detectors`, or another library's network.",
    shell_complete=completion.models,
    callback=early.a_model_or_detector,
)
@click.option(
    "--data",
    default="demo",
    show_default=True,
    metavar="SOURCE",
    help="A data source with a training split.",
    shell_complete=completion.sources,
    callback=early.a_training_source,
)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="Training recipe.  [default: demo for the demo data, demo-detection and detection for detectors, else paper]",
)
@click.option("--epochs", type=click.IntRange(1), help="Overrides the preset, like the next seven options.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per step, over all processes.")
@click.option(
    "--learning-rate",
    type=float,
    metavar="RATE",
    help="Learning rate for 256 images per step; scaled with --batch-size.",
)
@click.option("--warmup-epochs", type=float, metavar="N", help="Epochs of linear warm-up.")
@click.option("--label-smoothing", type=float, metavar="SHARE", help="Label smoothing, such as 0.1.")
@click.option("--ema", type=float, metavar="DECAY", help="Evaluate and save a moving average of the weights.")
@click.option("--augment", type=click.Choice(AUGMENTS), help="Augmentation for a robustness baseline.")
@click.option(
    "--recipe", "changes", multiple=True, metavar="KEY=VALUE", help="Set any recipe field, such as weight_decay=5e-5."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Train on N images.")
@NETWORK_OPTION
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed.")
@click.option("--device", default="auto", show_default=True, callback=early.a_device, help="auto, cpu, cuda, cuda:1, …")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Precision of the forward passes.",
)
@click.option(
    "--accumulate", type=click.IntRange(1), default=1, metavar="N", help="Micro-batches per step, to save memory."
)
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile.")
@click.option(
    "--sync-batch-norm/--no-sync-batch-norm",
    default=None,
    help="Synchronise batch normalisation across processes.  [default: on CUDA]",
)
@click.option(
    "--workers", type=click.IntRange(0), metavar="N", help="Decoding threads.  [default: one per core, up to 8]"
)
@eval_options(["classes"])
@out_option("trained", "Folder of the results.")
@click.option(
    "--save-every",
    type=click.FloatRange(0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Also save the training state within epochs.",
)
@click.option("--tensorboard", "events", is_flag=True, help="Write TensorBoard logs to OUT/NAME-tensorboard.")
@QUIET
def train(
    model: str,
    data: str,
    preset: str | None,
    changes: tuple[str, ...],
    options: tuple[str, ...],
    quiet: bool,
    **rest: Any,
) -> None:
    """Train a network from scratch and save it as OUT/NAME.safetensors.

    The checkpoint stores the network's options, classes and preprocessing, so `eval --model NAME --weights FILE` needs
    no other options. Training never uses the benchmark's corruptions. Run the same command to resume exactly where
    training stopped. Under torchrun, processes share each batch; see docs/training.md.
    """
    preset = preset or named_source(data)[0].preset
    recipe = _recipe(changes, {name: rest.pop(name) for name in _FREQUENT})
    chosen = dict(key_and_value(text) for text in options)
    resolve_recipe(preset, **recipe)
    check_options(model, chosen)
    DataRequest(data, classes=rest["classes"]).check_source()
    from robustbench_bi.training.loop import train as run_training

    follows = os.environ.get("RANK", "0") != "0"
    with training_progress(quiet or follows) as (progress, note):
        path = run_training(
            model, data, preset=preset, recipe=recipe, options=chosen, progress=progress, note=note, **rest
        )
    if not follows:
        click.echo(f"Written: {path}")


def _recipe(changes: tuple[str, ...], frequent: dict[str, Any]) -> dict[str, Any]:
    """The fields that options of their own set, and those that `--recipe` sets; none may be set twice."""
    recipe = {name: value for name, value in frequent.items() if value is not None}
    for name, value in (key_and_value(text, "--recipe", "weight_decay=5e-5") for text in changes):
        if name in recipe:
            raise OneLineError(f"two options set {name} of the recipe; leave one of them out")
        recipe[name] = value
    return recipe
