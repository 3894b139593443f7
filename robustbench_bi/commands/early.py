"""What options name is looked up while they are read: a typo is answered before large libraries are imported."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from robustbench_bi.corruptions import resolve_suite, resolve_table
from robustbench_bi.data import check_takes, find_source, named_source
from robustbench_bi.data.download import is_at_hand
from robustbench_bi.data.request import DataRequest
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.evaluation.opening import check_images
from robustbench_bi.evaluation.request import EvalRequest, option_names
from robustbench_bi.ground.cells import parse_severities
from robustbench_bi.ground.checks import check_number, check_quality
from robustbench_bi.ground.devices import check_device
from robustbench_bi.models.detectors import DETECTORS
from robustbench_bi.models.detectors.names import check_detector_name
from robustbench_bi.models.sources.typed_names import check_model_name
from robustbench_bi.models.weights_files import check_weights_file

Callback = Callable[[click.Context, click.Parameter, Any], Any]


def checked(check: Callable[[Any], object]) -> Callback:
    """Callback of an option or argument: hands its value on, or each of several, when it has passed a check.

    Args:
        check: raises what ends a command in one line.
    """

    def callback(context: click.Context, _: click.Parameter, value: Any) -> Any:
        if value is not None and not context.resilient_parsing:
            for one in value if isinstance(value, tuple) else (value,):
                check(one)
        return value

    return callback


def check_request(models: Iterable[str], data: str = "demo", **options: Any) -> None:
    """Refuse what an evaluation would refuse; for commands that share some of its options.

    Args:
        models: as they were typed.
        data: likewise.
        **options: of the command; those that an evaluation lacks are passed over.

    Raises:
        BivoRobustError: as `EvalRequest`, `DataRequest.check_source` and `check_images`.
    """
    own = {name: value for name, value in options.items() if name in option_names()}
    request = EvalRequest.of(tuple(models), data, **own)
    request.data.check_source()
    row, _ = find_source(data)
    # Listing archives takes long, and stored corrupted files are refused by name.
    if not row.pattern_of and row.corrupted_as is not None and is_at_hand(data):
        check_images(request, request.data.open())


def _check_model_or_detector(name: str) -> None:
    if name not in DETECTORS:
        check_model_name(name)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"there is no file {path}")


def _check_pictures(path: str) -> None:
    if path != "photographs":
        DataRequest(path).check_source(pictures=True)


def _check_detector(model: str) -> None:
    check_detector_name(model)
    if ":" in model and not model.startswith("torchvision:"):
        check_model_name(model)


def _check_training(source: str) -> None:
    DataRequest(source).check_source()
    check_takes(find_source(source)[0], split="training")


def a_number(above: float = 0, below: float = math.inf) -> Callback:
    """Callback of an option that takes a number between two bounds."""

    def callback(context: click.Context, option: click.Parameter, value: Any) -> Any:
        return value if value is None else check_number(str(option.name), value, above=above, below=below)

    return callback


def metrics(context: click.Context, _: click.Parameter, text: str | None) -> tuple[str, ...] | str:
    """Callback of --metrics: the names, none where it is not given, or "all"; a name that no table has is refused."""
    from robustbench_bi.metrics.rows import METRICS
    from robustbench_bi.tasks.chosen import ALL

    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if names == (ALL,):
        return ALL
    if text is not None and not names:
        raise InputError("--metrics must name at least one metric, as in --metrics flip_rate,aurc")
    return tuple(METRICS[name].name for name in names)


a_model = checked(check_model_name)
weights = checked(check_weights_file)
a_detector = checked(_check_detector)
a_model_or_detector = checked(_check_model_or_detector)
a_device = checked(check_device)
a_training_source = checked(_check_training)
a_quality = checked(lambda text: text == "none" or check_quality(text, 95, " or 'none'"))


def a_suite(context: click.Context, _: click.Parameter, value: Any) -> Any:
    """Callback of --suite and --corruptions. Stored files, which --data names before, may have names of their own."""
    data = context.params.get("data") or ()
    sources = (data,) if isinstance(data, str) else data
    stored = any(named_source(str(source))[0].corrupted_as is None for source in sources)
    if value is not None and not context.resilient_parsing:
        resolve_suite(value, stored=stored)
    return value


severities = checked(parse_severities)
a_table = checked(lambda name: resolve_table(name, 224))
a_source = checked(lambda source: DataRequest(source).check_source())
pictures = checked(_check_pictures)
a_file = checked(_check_file)

DECLARED: dict[str, Callback] = {
    "models": a_model,
    "weights": weights,
    "device": a_device,
    "suite": a_suite,
    "severities": severities,
    "table": a_table,
}
"""Of the options that a request declares, by field."""
