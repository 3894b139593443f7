"""A frame with what must be said of it."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, eq=False)
class Result:
    """A frame, and the sentences that belong to it wherever it is shown.

    Attributes:
        frame: the numbers.
        caption: what they are of, and how their intervals were made.
        notes: what was left out or differs, a sentence each.
        header: what was evaluated, to stand above the numbers.
    """

    frame: pd.DataFrame
    caption: str = ""
    notes: tuple[str, ...] = ()
    header: str = ""
