"""What options name is looked up while they are read: a typo is answered before large libraries are imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from robustbench_bi.corruptions import resolve_suite, resolve_table
from robustbench_bi.data.request import DataRequest
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import parse_severities
from robustbench_bi.models import find_model
from robustbench_bi.models.detectors import DETECTORS
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


def check_weights(weights: Iterable[str]) -> None:
    """Refuse files of weights that are not there; called by the command, since its options alone are sound.

    Raises:
        WeightsError: one is not.
    """
    for own in weights:
        check_weights_file(own)


def _check_model_or_detector(name: str) -> None:
    if name not in DETECTORS:
        find_model(name)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"there is no file {path}")


def _check_pictures(path: str) -> None:
    if path != "photographs":
        DataRequest(path).check_source(pictures=True)


a_model = checked(find_model)
a_model_or_detector = checked(_check_model_or_detector)
a_suite = checked(resolve_suite)
severities = checked(parse_severities)
a_table = checked(lambda name: resolve_table(name, 224))
a_source = checked(lambda source: DataRequest(source).check_source())
pictures = checked(_check_pictures)
a_file = checked(_check_file)

DECLARED: dict[str, Callback] = {
    "models": a_model,
    "suite": a_suite,
    "severities": severities,
    "table": a_table,
}
"""Of the options that a request declares, by field."""
