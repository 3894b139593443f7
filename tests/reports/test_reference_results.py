"""What is committed under reports/: its commands are commands, and its tables hold the numbers of its files."""

import importlib.util
import math
import os
import re
import shlex
from pathlib import Path

import click
import pandas as pd
import pytest

from robustbench_bi.analysis.comparison import Comparison
from robustbench_bi.analysis.text import format_interval
from robustbench_bi.cli import cli
from robustbench_bi.models import create_model
from robustbench_bi.models.profile import profile
from robustbench_bi.models.weights import read_metadata
from robustbench_bi.reports.tables.display import display_comparison, markdown_table
from robustbench_bi.reports.tables.fourier import display_bands
from robustbench_bi.tasks import TASKS

ROOT = Path(__file__).parents[2]
READMES = sorted((ROOT / "reports").glob("*/README.md"))
CIFAR10 = ROOT / "reports" / "cifar10"


def reproduction():
    """The script that makes reports/cifar10, as a module."""
    spec = importlib.util.spec_from_file_location("reproduce", CIFAR10 / "reproduce.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
def test_every_command_is_one(readme, monkeypatch):
    found = commands(readme)
    assert found
    monkeypatch.chdir(readme.parent)  # Weights that are named lie there.
    for folder in ("CIFAR", "PHOTOS"):
        monkeypatch.setenv(folder, str(readme.parent))
    for name, *arguments in found:
        # Options that are not there, or lack their value, raise click's usage errors.
        expanded = [os.path.expandvars(argument) for argument in arguments]
        cli.get_command(click.Context(cli), name).make_context(name, expanded, **cli.context_settings)


def test_bands_of_the_fourier_maps():
    table = display_bands(pd.read_csv(ROOT / "reports" / "fourier" / "fourier_bands.csv"))
    rows = markdown_table(table).splitlines()[2:]
    assert len(rows) > 1
    for row in rows:
        (shown,) = rows_of("fourier/README.md", row.split(" ")[1])
        assert_same_text(shown, row)


def test_correlations_of_the_heat_maps():
    frame = pd.read_csv(ROOT / "reports" / "fig4" / "heatmaps.csv")
    assert frame["model"].nunique() > 1
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
    [
        (folder, ("comparison.csv", "corruptions.csv"))
        for folder in (
            "demo/comparison",
            "real-check",
            "cifar10/seed0/comparison",
            "cifar10/seed0/ablation",
            "cifar10/seed1/comparison",
        )
    ],
)
def test_tables_in_markdown_are_those_in_csv(folder, tables):
    text = (ROOT / "reports" / folder / "comparison.md").read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if line.startswith("|")]
    frames = [pd.read_csv(ROOT / "reports" / folder / table) for table in tables]
    found = [Comparison(frame, TASKS["classification"]) for frame in frames]
    wanted = [line for comparison in found for line in markdown_table(display_comparison(comparison)).splitlines()]
    assert_same_text("\n".join(shown), "\n".join(wanted))


def test_claims_on_cifar10():
    module = reproduction()
    claims = pd.read_csv(CIFAR10 / "claims.csv")
    wanted = [
        (*claim[:4], seed)
        for claim in module.CLAIMS
        for seed, networks in module.SEEDS.items()
        if {claim.model, claim.baseline} <= set(networks)
    ]
    assert list(claims[["model", "baseline", "name", "expected", "seed"]].itertuples(index=False, name=None)) == wanted
    for claim in claims.itertuples():
        assert claim.outcome == module.outcome(claim.expected, claim.delta_low, claim.delta_high)
    for row in markdown_table(module.display_claims(claims)).splitlines()[2:]:
        difference, on, *_ = row.removeprefix("| ").split(" | ")
        (shown,) = rows_of("cifar10/README.md", f"{difference} | {on} ")
        assert_same_text(shown, row)


def test_how_far_a_seed_moves_a_difference_on_cifar10():
    deltas = pd.read_csv(CIFAR10 / "claims.csv").pivot(
        index=["model", "baseline", "name"], columns="seed", values="delta"
    )
    moved = (deltas[1] - deltas[0]).abs().dropna()
    text = " ".join((CIFAR10 / "README.md").read_text(encoding="utf-8").split())
    assert f"moved by a median of {moved.median():.1f} points and by up to {moved.max():.1f}" in text


def test_a_claim_has_an_outcome_only_where_the_seeds_agree():
    module = reproduction()
    rows = [
        ("a", "clean", 0, 1.0, 0.5, 1.5, "held"),
        ("a", "clean", 1, 2.0, 1.5, 2.5, "held"),
        ("a", "noise", 0, 1.0, 0.5, 1.5, "held"),
        ("a", "noise", 1, -1.0, -1.5, -0.5, "did not hold"),
        ("b", "clean", 0, -1.0, -1.5, -0.5, "did not hold"),
    ]
    frame = pd.DataFrame(rows, columns=["model", "name", "seed", "delta", "delta_low", "delta_high", "outcome"])
    shown = module.display_claims(frame.assign(baseline="c", expected="above", paper=[0.5] * 4 + [math.nan]))
    assert list(shown["outcome"]) == ["held", "not decidable", "did not hold"]
    assert list(shown["paper"]) == ["+0.5", "+0.5", "above"]
    assert list(shown["seed 1"]) == ["+2.0 [+1.5, +2.5]", "-1.0 [-1.5, -0.5]", ""]


@pytest.mark.parametrize(
    ("expected", "low", "high", "judged"),
    [
        ("above", 0.1, 2.0, "held"),
        ("above", -0.1, 2.0, "not decidable"),
        ("above", -2.0, -0.1, "did not hold"),
        ("below", -2.0, -0.1, "held"),
        ("below", 0.1, 2.0, "did not hold"),
        ("alike", -0.9, 0.8, "held"),
        ("alike", -0.5, 1.5, "not decidable"),
        ("alike", 0.5, 1.5, "did not hold"),
    ],
)
def test_how_a_claim_is_judged(expected, low, high, judged):
    assert reproduction().outcome(expected, low, high) == judged


def test_networks_on_cifar10():
    module = reproduction()
    for name in module.NETWORKS:
        weights = CIFAR10 / "weights" / f"{name}.safetensors"
        assert weights.stat().st_size < 5e6
        stored = read_metadata(weights)
        assert (stored["seed"], stored["recipe"]["epochs"]) == (0, module.RECIPE["epochs"])
        create_model(name, weights=str(weights))
        top1 = []
        for seed in (seed for seed, networks in module.SEEDS.items() if name in networks):
            log = pd.read_csv(CIFAR10 / f"seed{seed}" / "logs" / f"{name}.csv")
            assert len(log) == stored["recipe"]["epochs"]
            top1.append(log["evaluation_top1"].iloc[-1])
        assert math.isclose(stored["accuracy"]["top1"], top1[0], abs_tol=1e-4)
        counts = profile(name, 32, num_classes=10, **stored["options"])
        (row,) = rows_of("cifar10/README.md", f"{name} | {counts['parameters']:,} ")
        cells = row.strip("| ").split(" | ")
        assert cells[2] == f"{counts['macs'] / 1e6:.1f} M"
        assert [cell.split(" [")[0] for cell in cells[3:] if cell] == [f"{value:.1f}" for value in top1]
