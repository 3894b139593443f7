"""The folder of a run: made, checked, noted as started again, and removed when it stays empty."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import DataError, RunMismatchError
from robustbench_bi.evaluation.sharing import ALONE, Share, wait_until
from robustbench_bi.ground.atomic import remove_partial_files, replacing
from robustbench_bi.runs.identity import EvalConfig, differing
from robustbench_bi.runs.images import FILE as IMAGES
from robustbench_bi.runs.images import write_images
from robustbench_bi.runs.run import Run
from robustbench_bi.runs.truth import FILE as TRUTH
from robustbench_bi.runs.truth import write_truth

if TYPE_CHECKING:
    from robustbench_bi.data import Dataset


def open_folder(out: Path, config: EvalConfig, dataset: Dataset, share: Share = ALONE) -> Run:
    """The run's folder: made with its `run.json` when new; when it is there, checked and noted as started again.

    It holds the list of its images, also where an older version began it without.

    Of several processes only rank 0 notes that. Where they were started together, the others wait for its folder.

    Raises:
        RunMismatchError: the folder holds a different configuration.
        DataError: it cannot be written, or rank 0 does not make it.
    """
    run = Run(out.absolute() / config.folder)
    path = run.directory / "run.json"
    content = config.as_json()
    if share.follows and not wait_until(path.exists):
        raise DataError(
            f"rank 0 has not created {path}; check its output, and start all processes with the same options"
        )
    if path.exists():
        found = _read_same(run, content)
        remove_partial_files(run.directory / "records")
        write_images(run.directory, dataset)
        write_truth(run.directory, dataset)
        if share.rank == 0 and found["runtime"].get("remarks", []) != list(config.remarks):
            found["runtime"]["remarks"] = list(config.remarks)
            note(run, remarks=list(config.remarks))
        if share.rank > 0 or not run.missing():
            return run
        again = {key: content["runtime"][key] for key in ("started", "device", "batch_size", "workers", "versions")}
        found["runtime"]["resumed"] = [*found["runtime"].get("resumed", []), again]
        content = found
    try:
        _write(path, content)
        write_images(run.directory, dataset)
        write_truth(run.directory, dataset)
    except BaseException:
        close_folder(run, share)
        raise
    return Run(run.directory)


def _read_same(run: Run, content: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a run's folder holds.

    Raises:
        RunMismatchError: it cannot be read, or is another than `content`.
    """
    path = run.directory / "run.json"
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        dict(found["runtime"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunMismatchError(
            f"{path} cannot be read ({error}). Move {run.directory} away or choose another --out"
        ) from error
    differ = differing(found, {name: value for name, value in content.items() if name != "runtime"})
    if differ:
        here = json.loads(json.dumps(content[differ[0]])) if differ[0] in content else None
        raise RunMismatchError(
            f"{run.directory} holds a different configuration: {differ[0]} is {found.get(differ[0])!r} there and "
            f"{here!r} here. Move it away or choose another --out"
        )
    return found


def note(run: Run, **runtime: Any) -> None:
    """Write down what became known while a run was filled; what is None is not known."""
    known = {name: value for name, value in runtime.items() if value is not None}
    path = run.directory / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    if not known or content["runtime"] == {**content["runtime"], **known}:
        return
    content["runtime"].update(known)
    _write(path, content)
    run.__dict__.pop("config", None)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def close_folder(run: Run, share: Share = ALONE) -> None:
    """Remove a run folder that holds no record: what failed before the first one leaves nothing behind.

    Where others share the work it stays, for they may be at their first record.
    """
    records = run.directory / "records"
    remove_partial_files(records)
    if share.count > 1 or any(records.glob("*")):
        return
    with suppress(OSError):
        (run.directory / "run.json").unlink()
        (run.directory / IMAGES).unlink(missing_ok=True)
        (run.directory / TRUTH).unlink(missing_ok=True)
        if records.exists():
            records.rmdir()
        run.directory.rmdir()
