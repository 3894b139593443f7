"""What the gate can say of a row, and of a baseline that is missing; pandas is not needed for either."""

from pathlib import Path

from robustbench_bi.errors import DataError

HOLDS, UNPROVEN, REGRESSED = "holds", "drop not proven", "REGRESSED"


def check_baseline_file(path: Path) -> None:
    """Refuse a baseline that is not there.

    Raises:
        DataError: it is not.
    """
    if not path.exists():
        raise DataError(f"no baseline at {path}; make one with: bivo-robust gate RUN --save {path}")
