"""`train`: a network from random weights."""

from __future__ import annotations

import os
from typing import Any

import click

from robustbench_bi.commands import completion
from robustbench_bi.commands.eval_options import eval_options
from robustbench_bi.commands.options import NETWORK_OPTION, QUIET, key_and_value, out_option
from robustbench_bi.commands.terminal import training_progress


@click.command()
@click.option(
    "--model",
    required=True,
    metavar="NAME",
    help="A row of `list models`, or another library's network.",
    shell_complete=completion.models,
)
@click.option(
    "--data",
    default="demo",
    show_default=True,
    metavar="SOURCE",
    help="A source with a training split.",
    shell_complete=completion.sources,
)
@click.option(
    "--preset", type=click.Choice(["paper", "cifar", "demo"]), help="[default: demo for the demo data, else paper]"
)
@click.option("--epochs", type=click.IntRange(1), help="In place of the preset's, as the next seven.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images a step, of all processes together.")
@click.option("--learning-rate", type=float, metavar="RATE", help="For 256 images a step; scaled with --batch-size.")
@click.option("--warmup-epochs", type=float, metavar="N", help="The learning rate rises linearly over these.")
@click.option("--label-smoothing", type=float, metavar="SHARE", help="Such as 0.1.")
@click.option("--ema", type=float, metavar="DECAY", help="Evaluate and save a moving average of the weights.")
@click.option("--augment", type=click.Choice(["none", "augmix", "noise"]), help="A baseline of robustness.")
@click.option("--recipe", "changes", multiple=True, metavar="KEY=VALUE", help="Another part, as weight_decay=5e-5.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Train on N images.")
@NETWORK_OPTION
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--accumulate", type=click.IntRange(1), default=1, metavar="N", help="Micro-batches a step: less memory.")
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile.")
@click.option(
    "--sync-batch-norm/--no-sync-batch-norm",
    default=None,
    help="Batch normalisation over all processes.  [default: on CUDA]",
)
@click.option(
    "--workers", type=click.IntRange(0), metavar="N", help="Decoding threads.  [default: one a core, up to 8]"
)
@eval_options(["classes"])
@out_option("trained", "Folder of the results.")
@click.option(
    "--save-every",
    type=click.FloatRange(0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Keep the state to go on from within an epoch too.",
)
@click.option("--tensorboard", "events", is_flag=True, help="Write TensorBoard's logs to OUT/NAME-tensorboard.")
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
    """Train a network from random weights; ends with OUT/NAME.safetensors.

    The checkpoint holds the network's options, classes and preprocessing: `eval --model NAME --weights FILE` needs no
    more. No corruption is ever shown in training. The same command continues a training that was stopped, exactly.
    Under torchrun several processes share each batch; docs/training.md describes it.
    """
    from robustbench_bi.data import named_source
    from robustbench_bi.training.loop import train as run_training

    preset = preset or named_source(data)[0].preset
    frequent = ("batch_size", "learning_rate", "warmup_epochs", "label_smoothing", "ema", "augment")
    recipe = {name: value for name in frequent if (value := rest.pop(name)) is not None}
    recipe |= dict(key_and_value(text, "--recipe", "weight_decay=5e-5") for text in changes)
    chosen = dict(key_and_value(text) for text in options)
    follows = os.environ.get("RANK", "0") != "0"
    with training_progress(quiet or follows) as (progress, note):
        path = run_training(
            model, data, preset=preset, recipe=recipe, options=chosen, progress=progress, note=note, **rest
        )
    if not follows:
        click.echo(f"Written: {path}")
