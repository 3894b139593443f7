"""What the gate can say of a row, and of a baseline that is missing; pandas is not needed for either."""

from pathlib import Path

from robustbench_bi.errors import DataError

HOLDS, UNPROVEN, REGRESSED = "holds", "drop not proven", "REGRESSED"


def check_baseline_file(path: Path) -> None:
    """Refuse a baseline that is not there, or a folder.

    Raises:
        DataError: it is.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a baseline; save one with: bivo-robust gate RUN --save baseline.json")
    if not path.exists():
        raise DataError(f"no baseline at {path}; make one with: bivo-robust gate RUN --save {path}")
