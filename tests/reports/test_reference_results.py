"""What is committed under reports/: its commands are commands, and its tables hold the numbers of its files."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from robustbench_bi.cli import cli
from robustbench_bi.reports.display import display_comparison, format_interval, markdown_table
from robustbench_bi.reports.fourier import display_bands

ROOT = Path(__file__).parents[2]
READMES = sorted((ROOT / "reports").glob("*/README.md"))


def commands(readme):
    """Arguments of the commands in the bash blocks, which are what the Makefile runs."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", readme.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [re.search(r"\bbivo-robust ([^>]*)", line) for line in lines]
    return [shlex.split(match[1]) for match in found if match]


def rows_of(readme, first):
    """Rows of a table in a README whose first cells begin so."""
    text = (ROOT / "reports" / readme).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith(f"| {first}")]


def assert_same_text(shown, wanted):
    """Equal but for the last digit of numbers: those of a file were rounded once before."""
    number = r"\d+(?:\.\d+)?"
    assert re.sub(number, "0", shown) == re.sub(number, "0", wanted)
    for first, second in zip(re.findall(number, shown), re.findall(number, wanted), strict=True):
        digits = len(first.partition(".")[2])
        assert abs(float(first) - float(second)) < 1.5 * 0.1**digits


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_every_command_is_one(readme):
    found = commands(readme)
    assert found
    for name, *arguments in found:
        # Options that are not there, or lack their value, raise click's usage errors.
        cli.commands[name].make_context(name, arguments, **cli.context_settings)


def test_bands_of_the_fourier_maps():
    table = display_bands(pd.read_csv(ROOT / "reports" / "fourier" / "fourier_bands.csv"))
    for row in markdown_table(table).splitlines()[2:]:
        (shown,) = rows_of("fourier/README.md", row.split(" ")[1])
        assert_same_text(shown, row)


def test_correlations_of_the_heat_maps():
    frame = pd.read_csv(ROOT / "reports" / "fig4" / "heatmaps.csv")
    for model, own in frame.groupby("model", sort=False):
        (shown,) = rows_of("fig4/README.md", model)
        cells = [
            format_interval(*row, decimals=3)
            for row in own[["correlation", "correlation_low", "correlation_high"]].itertuples(index=False)
        ]
        assert_same_text(shown, f"| {model} | {' | '.join(cells)} |")
    binet = frame[(frame["model"] == "binet50") & (frame["corruption"] != "another_image")]
    deltas = [
        format_interval(*row, decimals=3, signed=True)
        for row in binet[["delta", "delta_low", "delta_high"]].itertuples(index=False)
    ]
    (shown,) = rows_of("fig4/README.md", "Δ binet50")
    assert_same_text(shown, f"| Δ binet50 − ddf_resnet50 | {' | '.join(deltas)} | |")


@pytest.mark.parametrize(
    ("folder", "tables"),
    [("demo/comparison", ("comparison.csv", "corruptions.csv")), ("real-check", ("comparison.csv", "corruptions.csv"))],
)
def test_tables_in_markdown_are_those_in_csv(folder, tables):
    text = (ROOT / "reports" / folder / "comparison.md").read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if line.startswith("|")]
    frames = [pd.read_csv(ROOT / "reports" / folder / table) for table in tables]
    wanted = [line for frame in frames for line in markdown_table(display_comparison(frame)).splitlines()]
    assert_same_text("\n".join(shown), "\n".join(wanted))
