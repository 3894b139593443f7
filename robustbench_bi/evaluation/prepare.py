"""What stands before the loop: options are checked, networks and images are made to fit, a run folder is opened.

Everything that can be refused is refused here, before anything is written.
"""

from __future__ import annotations

from robustbench_bi.errors import InputError
from robustbench_bi.runs.identity import GENERATORS, PRECISIONS


def check_options(precision: str, generator: str, seed: int, **counts: int | None) -> None:
    """Refuse options that are out of range; each of `counts` is a positive integer, or None where it is not given.

    Raises:
        InputError: one is.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if generator not in GENERATORS[:2]:
        raise InputError(f"generator must be one of {', '.join(GENERATORS[:2])}, got {generator!r}")
    if not _is_integer(seed) or not 0 <= seed < 2**64:
        raise InputError(f"seed must be an integer from 0 to 2**64 - 1, got {seed!r}")
    for name, value in counts.items():
        least = 0 if name == "workers" else 1
        if value is not None and (not _is_integer(value) or value < least):
            raise InputError(f"{name} must be an integer of at least {least}, got {value!r}")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
