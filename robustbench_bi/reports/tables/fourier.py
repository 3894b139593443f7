"""Show bands of a Fourier heat map as text."""

import pandas as pd

from robustbench_bi.analysis.text import NO_VALUE, format_interval


def display_bands(frame: pd.DataFrame) -> pd.DataFrame:
    """`band_frame` as text, a row a model and a column a band.

    Args:
        frame: one row a model and band.

    Returns:
        A frame of strings.
    """
    error = [
        format_interval(*row) for row in frame[["error", "error_low", "error_high"]].itertuples(index=False, name=None)
    ]
    table = frame.assign(shown=error).pivot(index="model", columns="band", values="shown")
    table = table.loc[frame["model"].unique(), frame["band"].unique()].fillna(NO_VALUE)
    return table.rename_axis(columns=None).reset_index()
