"""`detect`: detectors on clean and corrupted images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion, early
from robustbench_bi.commands.eval_options import EVAL_OPTIONS, FOR_CLASSIFICATION, eval_options
from robustbench_bi.commands.options import key_and_value
from robustbench_bi.commands.running import run_requests
from robustbench_bi.evaluation.detect import detection_request
from robustbench_bi.ground.checks import LARGEST_SIDE


@click.command()
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    callback=early.a_detector,
    metavar="NAME",
    help="A name from `list detectors`, torchvision:NAME, or your own package.module:function. Repeat it to evaluate "
    "several detectors on the same corrupted images.",
)
@click.option(
    "--weights",
    multiple=True,
    callback=early.weights,
    metavar="W",
    help="A file, a torchvision weights name, pretrained or none (random). Give one for all models or one for each.",
)
@click.option(
    "--data",
    default="demo-detection",
    show_default=True,
    metavar="SOURCE",
    shell_complete=completion.sources,
    help="coco:PATH, COCO's folder (val2017) or an annotation file; voc:PATH, a year's folder of PASCAL VOC (val.txt) "
    "or one of its lists; or demo-detection.",
)
@click.option(
    "--option",
    "network_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Network option, such as neck=involution; our checkpoints store their own.",
)
@eval_options([name for name in EVAL_OPTIONS if name not in FOR_CLASSIFICATION])
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    help="Lowest score to keep, if the detector has such a limit.",
)
@click.option(
    "--max-detections",
    type=click.IntRange(1),
    metavar="N",
    help="Most detections per image, if the detector has such a limit.",
)
@click.option(
    "--min-size", type=click.IntRange(1, LARGEST_SIDE), metavar="PIXELS", help="Override the detector's short side."
)
@click.option(
    "--max-size", type=click.IntRange(1, LARGEST_SIDE), metavar="PIXELS", help="Override the detector's long side."
)
@click.option("--per-category", is_flag=True, help="Also show AP by class; --json has it for every cell.")
def detect(
    models: tuple[str, ...],
    weights: tuple[str, ...],
    data: str,
    network_options: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    per_category: bool,
    **options: Any,
) -> None:
    """Evaluate detectors on clean and corrupted images.

    Prints COCO's average precision on clean images (P), its mean over corruptions (mPC) and their ratio (rPC). Saves
    every detection under --out. Run the same command to resume a run that was stopped. Images are corrupted at their
    own size, as in Michaelis et al. (2019).
    """
    options["model_options"] = dict(key_and_value(text, example="neck=involution") for text in network_options)
    request = detection_request(models, data, weights=weights or None, **options)
    request.check_early()
    run_requests({data: request}, Path(request.out), quiet, as_json, board=False, per_category=per_category)
