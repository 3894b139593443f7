"""Which runs can be compared, and in what two of them are apart, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robustbench_bi.data.sources import SOURCES
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.runs.identity import fields_compared, value_of

if TYPE_CHECKING:
    from robustbench_bi.runs.run import Run

# Where these differ, the same image id is not the same picture.
MUST_AGREE = fields_compared("must agree")
WHERE_KNOWN = fields_compared("where known")
IMAGES = "listing_hash"
_CALLED = {"files": "published files"}


def check_across(across: Sequence[str]) -> None:
    """Refuse settings that a comparison cannot be across.

    Raises:
        InputError: one is not.
    """
    may = [field for field, declared in MUST_AGREE.items() if declared.across]
    for field in across:
        if field not in may:
            raise InputError(f"a comparison can be across {', '.join(may)}, got {field!r}")


def apart(config: Mapping[str, Any], other: Mapping[str, Any], across: Sequence[str] = ()) -> tuple[str, str] | None:
    """How two runs were made, where that keeps them from being compared; None where nothing does.

    Args:
        config, other: configurations, or the settings of a baseline.
        across: settings that may differ all the same.

    Returns:
        What to say of the one and of the other, after "was made".

    Example:
        >>> apart({"data": "demo", "seed": 1}, {"data": "demo", "seed": 0})
        ('with seed 1', 'with seed 0')
        >>> apart({"data": "demo", "listing_hash": "a"}, {"data": "cifar-10", "listing_hash": "b"})
        ('on the demo set', 'on cifar-10')
    """
    files = config.get("generator") == "files"
    # Other images explain most else that differs, so they are looked at first.
    known = {
        name: declared for name, declared in WHERE_KNOWN.items() if value_of(config, name) and value_of(other, name)
    }
    fields = {**known, **MUST_AGREE}
    for field in sorted(fields, key=lambda name: name != IMAGES):
        declared = fields[field]
        own, others = value_of(config, field), value_of(other, field)
        if own == others or {field, declared.part_of} & {*across} or (files and declared.of_made_pictures):
            continue
        if field == IMAGES:
            return _images_apart(config, other)
        if "{}" not in declared.words:  # no value that would say anything, such as a hash
            return declared.words, declared.without or "with its own"
        return tuple(declared.said_of(_CALLED.get(value, value)) for value in (own, others))  # type: ignore[return-value]
    return None


def comparable_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs in groups within which each can be compared with the first; the largest group first."""
    groups: list[list[Run]] = []
    for run in runs:
        fitting = next((group for group in groups if run_apart(run, group[0]) is None), None)
        if fitting is None:
            groups.append([run])
        else:
            fitting.append(run)
    return sorted(groups, key=len, reverse=True)


def run_apart(run: Run, other: Run, across: Sequence[str] = ()) -> tuple[str, str] | None:
    """As `apart`; two runs must share a corrupted cell too."""
    found = apart(run.config, other.config, across)
    if found is None and not set(run.cell_names) & set(other.cell_names) - {CLEAN}:
        return "on other corruptions", "on others"
    return found


def _images_apart(config: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str]:
    own, others = _source(config), _source(other)
    if own != others:
        return f"on {own}", f"on {others}"
    if config.get("n") != other.get("n"):
        return f"on {config.get('n'):,} images of {own}", f"on {other.get('n'):,}"
    content = value_of(config, "content_hash")
    if content and content == value_of(other, "content_hash"):
        return "with one class numbering (--classes, --labels)", "with another"
    return f"on one choice of the images of {own} or with one class numbering", "on another"


def _source(config: Mapping[str, Any]) -> str:
    """Where the images of a run are from, as its user would say; a saved baseline knows only what kind they are."""
    kind = str(config.get("data"))
    typed = str(config.get("runtime", {}).get("source") or "")
    if kind == "folder":
        return f"{typed.rstrip('/')}/" if typed else "a folder"
    if kind in SOURCES and SOURCES[kind].path == "none":
        return f"the {kind} set"
    return typed or kind
