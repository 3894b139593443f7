"""Show correlations of heat maps as text."""

import pandas as pd

from robustbench_bi.analysis.correlations import ANOTHER_IMAGE
from robustbench_bi.analysis.text import format_interval


def display_correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """`correlation_frame` as text.

    Args:
        frame: one row a model and corruption.

    Returns:
        A frame of strings.
    """
    first = frame["model"].iloc[0]
    shown = frame[["model", "corruption"]].replace({"corruption": {ANOTHER_IMAGE[0]: "another image"}})
    shown["n"] = [f"{n:,}" for n in frame["n"]]
    for name, heading in (("correlation", "r with clean"), ("delta", f"Δ to {first}")):
        columns = [name, f"{name}_low", f"{name}_high"]
        shown[heading] = [
            format_interval(*row, signed=name == "delta", decimals=3)
            for row in frame[columns].itertuples(index=False, name=None)
        ]
    return shown if frame["model"].nunique() > 1 else shown.drop(columns=f"Δ to {first}")
