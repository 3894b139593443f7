import doctest
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from robustbench_bi.cli import cli
from robustbench_bi.commands.list_rows import LISTED
from robustbench_bi.metrics.robustness import benchmark_corruptions

ROOT = Path(__file__).parent.parent
SMALL = ["--suite", "contrast", "--severities", "1,5", "--limit", "16", "--quiet"]


def invoke(*arguments, code=0):
    """Run the command line in this process; returns what it printed, checked for its exit code."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def every_command():
    """Name and command of each that the program has. A loop over `cli.commands` sees none that is not loaded yet."""
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    assert len(found) >= 13
    return found


def one_line(*arguments):
    """The single line that a command with bad input ends with."""
    result = invoke(*arguments, code=2)
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one small finished run each of two networks."""
    out = tmp_path_factory.mktemp("runs")
    invoke("eval", "--model", "resnet50", "--model", "binet50", *SMALL, "--out", out)
    return out


def folder_of(runs, name):
    return next(runs.glob(f"{name}-*"))


def test_eval_prints_the_table_and_where_the_records_lie(runs):
    result = invoke("eval", "--model", "binet50", *SMALL, "--out", runs)
    for text in ("binet50", "clean", "Δ to clean", "digital (1 of 4)", "contrast", "n = 16 images of demo"):
        assert text in result.stdout
    assert re.search(r"clean +16 +\d+\.\d \[\d+\.\d, \d+\.\d\]", result.stdout)
    assert str(folder_of(runs, "binet50") / "records") in result.stdout.replace("\n", "")
    assert "mCE" not in result.stdout


def test_eval_json_is_machine_readable(runs):
    result = invoke("eval", "--model", "resnet50", "--model", "binet50", *SMALL, "--out", runs, "--json")
    loaded = json.loads(result.stdout)
    assert [run["name"] for run in loaded] == ["resnet50", "binet50"]
    assert Path(loaded[0]["directory"]) == folder_of(runs, "resnet50")
    assert [(cell["corruption"], cell["severity"], cell["n"]) for cell in loaded[0]["cells"]] == [
        ("none", 0, 16),
        ("contrast", 1, 16),
        ("contrast", 5, 16),
    ]
    clean = loaded[0]["summary"][0]
    assert clean["top1_low"] <= clean["top1"] <= clean["top1_high"]
    assert clean["delta"] is None


def test_eval_shows_plain_progress_where_there_is_no_terminal(tmp_path):
    result = invoke("eval", "--model", "resnet50", *SMALL[:-1], "--out", tmp_path)
    assert re.search(r"^3/3 cells, \d+ images/s, 0 s left$", result.stderr, flags=re.MULTILINE)
    again = invoke("eval", "--model", "resnet50", *SMALL[:-1], "--out", tmp_path)
    folder = folder_of(tmp_path, "resnet50")
    assert f"Already finished, nothing was computed: {folder}\n" in again.stderr
    assert "Already finished" not in result.stderr


def test_compare_prints_and_writes(runs, tmp_path):
    out = tmp_path / "comparison"
    result = invoke("compare", folder_of(runs, "binet50"), "--baseline", folder_of(runs, "resnet50"), "--out", out)
    assert "Δ top-1" in result.stdout and "digital (1 of 4)" in result.stdout
    assert {"fig3.png", "fig3.svg", "comparison.csv", "comparison.md"} <= {path.name for path in out.iterdir()}
    loaded = json.loads(
        invoke(
            "compare", folder_of(runs, "binet50"), "--baseline", folder_of(runs, "resnet50"), "--out", out, "--json"
        ).stdout
    )
    assert loaded["baseline"]["name"] == "resnet50"
    assert {row["model"] for row in loaded["bars"]} == {"binet50"}


def test_report_writes_a_page(runs, tmp_path):
    out = tmp_path / "pages" / "report.html"
    folders = folder_of(runs, "binet50"), folder_of(runs, "resnet50")
    result = invoke("report", *folders, "--baseline", folders[1], "--out", out)
    assert result.stdout.startswith("Compared with resnet50: binet50\n")
    assert re.search(r"^Written: .*report\.html \(\d+ kB\)$", result.stdout, flags=re.MULTILINE)
    page = out.read_text(encoding="utf-8")
    assert "Against resnet50" in page and "without pictures" in page and "<img" not in page
    before = out.read_bytes()
    invoke("report", folders[0], "--baseline", folders[1], "--out", out)
    assert out.read_bytes() == before
    assert "Compared with binet50: resnet50" in invoke("report", *folders, "--out", out).stdout


def test_report_shows_pictures_of_the_demo_images(runs, tmp_path):
    out = tmp_path / "report.html"
    assert "Compared" not in invoke("report", folder_of(runs, "resnet50"), "--pictures", "--out", out).stdout
    page = out.read_text(encoding="utf-8")
    assert page.count("<img") == 2
    assert "power spectrum" in page and "for the first 16 images" in page


def test_report_writes_tables_for_a_paper(runs, tmp_path):
    folders = folder_of(runs, "resnet50"), folder_of(runs, "binet50")
    invoke("report", *folders, "--out", tmp_path / "report.md")
    assert "| digital (1 of 4) |" in (tmp_path / "report.md").read_text(encoding="utf-8")
    invoke("report", *folders, "--out", tmp_path / "table.txt", "--format", "latex")
    assert "\\toprule" in (tmp_path / "table.txt").read_text(encoding="utf-8")


def test_report_refuses_what_it_cannot_compare_or_name(runs, tmp_path):
    folder = folder_of(runs, "resnet50")
    out = tmp_path / "report.html"
    line = one_line("report", folder, "--baseline", folder, "--out", out)
    assert "needs at least one run besides the baseline, got none" in line
    assert "the name of a report must end in .html" in one_line("report", folder, "--out", tmp_path / "report.pdf")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(folder, unfinished)
    next(unfinished.glob("records/contrast-5-*")).unlink()
    assert "unfinished is not finished: 1 of 3 cell-blocks are missing" in one_line("report", unfinished, "--out", out)
    other = tmp_path / "other"
    invoke("eval", "--model", "binet50", *SMALL, "--seed", 1, "--out", other)
    message = "was made with seed 1, resnet50 with seed 0; evaluate both in the same way"
    assert message in one_line("report", *other.glob("*"), "--baseline", folder, "--out", out)
    assert not out.exists()


def test_score_of_the_published_resnet50(tmp_path):
    accuracies = {
        "clean": 76.13, "gaussian_noise": 29.29, "shot_noise": 27.03, "impulse_noise": 23.81, "defocus_blur": 38.75,
        "glass_blur": 26.79, "motion_blur": 38.67, "zoom_blur": 36.24, "snow": 32.53, "frost": 38.14, "fog": 45.83,
        "brightness": 68.02, "contrast": 39.06, "elastic_transform": 45.25, "pixelate": 44.79,
        "jpeg_compression": 53.41,
    }  # fmt: skip
    table = tmp_path / "resnet50.csv"
    table.write_text("corruption,top1\n" + "".join(f"{name},{top1}\n" for name, top1 in accuracies.items()))
    scores = json.loads(invoke("score", table, "--json").stdout)["scores"]
    named = {row["name"]: row for row in scores}
    assert named["mCE"]["corruption_error"] == pytest.approx(76.70, abs=0.01)
    assert named["relative mCE"]["corruption_error"] == pytest.approx(104.95, abs=0.01)
    shown = invoke("score", table).stdout
    assert "mCE" in shown
    assert named["mCE"]["mean_error"] == pytest.approx(100 - named["mean"]["top1"])
    assert named["relative mCE"]["mean_error"] is None
    assert "\nmCE: 76.70 (mean error, not normalised: 60.83)\n" in shown


def test_score_of_detectors(tmp_path):
    table = tmp_path / "detectors.csv"
    names = benchmark_corruptions()
    rows = [f"net,bbox,{name},{severity},{0.1 + 0.01 * severity}\n" for name in names for severity in range(1, 6)]
    table.write_text("model,task,corruption,severity,AP\nnet,bbox,none,0,0.26\n" + "".join(rows))
    (score,) = json.loads(invoke("score", table, "--json").stdout)["scores"]
    assert (score["model"], score["task"], score["name"]) == ("net", "bbox", "mPC")
    assert [score[name] for name in ("P", "mPC", "rPC")] == pytest.approx([26, 13, 50])
    assert "mPC %" in invoke("score", table).stdout
    assert "leave out --normalizer" in one_line("score", table, "--normalizer", table)


def test_train_then_eval_with_the_checkpoint(tmp_path):
    invoke(
        "train", "--model", "resnet50", "--option", "width=0.125", "--epochs", 1, "--limit", 128, "--out", tmp_path,
        "--quiet",
    )  # fmt: skip
    weights = tmp_path / "resnet50.safetensors"
    result = invoke("eval", "--model", "resnet50", "--weights", weights, *SMALL, "--out", tmp_path, "--json")
    assert json.loads(result.stdout)[0]["name"] == "resnet50"


TRAINED = ["train", "--model", "resnet29", "--option", "width=0.125", "--limit", 64, "--batch-size", 32]


def test_train_goes_on_refuses_and_does_not_repeat(tmp_path):
    options = ["--epochs", 2, "--ema", 0.9, "--augment", "noise", "--recipe", "flip=false", "--accumulate", 2]
    first = invoke(*TRAINED, *options, "--out", tmp_path)
    assert re.findall(r"^epoch (\d)/2, step 2/2, loss \d\.\d{3}, \d+ images/s$", first.stderr, re.M) == ["1", "2"]
    assert first.stdout == f"Written: {tmp_path}/resnet29.safetensors\n"
    again = invoke(*TRAINED, *options, "--out", tmp_path, "--quiet")
    assert again.stderr == f"Training already finished: {tmp_path}/resnet29.safetensors. Nothing to do.\n"
    line = one_line(*TRAINED, *options, "--label-smoothing", 0.1, "--learning-rate", 0.05, "--out", tmp_path)
    assert (
        "belongs to another training run: learning_rate was 0.2, now 0.05; label_smoothing was 0.0, now 0.1. Choose"
        in line
    )


def test_train_that_is_asked_to_stop_says_how_to_go_on(tmp_path, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt("stopped after step 3 of epoch 2; run the same command to resume")

    monkeypatch.setattr("robustbench_bi.training.loop.train", stopped)
    result = invoke(*TRAINED, "--out", tmp_path, code=130)
    assert result.stderr == "stopped after step 3 of epoch 2; run the same command to resume\n"


def test_corrupt_then_eval_of_its_files(tmp_path):
    out = tmp_path / "c"
    options = ["demo", out, "--suite", "contrast", "--severities", "1,5", "--limit", 16, "--clean", "--workers", 1]
    result = invoke("corrupt", *options)
    assert f"Written to {out}: 48 files." in result.stdout
    assert re.search(r"^3/3 cells, \d+ images/s, 0 s left$", result.stderr, flags=re.MULTILINE)
    result = invoke("corrupt", *options, "--quiet")
    assert f"Nothing to do: all 48 files already exist in {out}." in result.stdout
    assert result.stderr == ""
    next(out.glob("contrast/5/*/*.JPEG")).unlink()
    assert "1 of 48 files; the others already existed." in invoke("corrupt", *options, "--quiet").stdout
    command = result.stdout.strip().splitlines()[-1].removeprefix("Evaluate them with: bivo-robust ").split()
    command[command.index("NAME")] = "resnet50"
    small = ["--suite", "contrast", "--severities", "1,5", "--quiet", "--json", "--out", tmp_path / "runs"]
    # What is printed says which cells there are.
    files = json.loads(invoke(*command, "--weights", "demo", *small[4:]).stdout)[0]["cells"]
    drawn = json.loads(invoke("eval", "--model", "resnet50", "--limit", 16, "--jpeg", 85, *small).stdout)[0]["cells"]
    assert [cell["n"] for cell in files] == [16, 16, 16]
    assert [cell["top1"] for cell in files] == [cell["top1"] for cell in drawn]
    assert "seed is 0 there and 1 here" in one_line("corrupt", *options, "--seed", 1)


def test_corrupt_says_what_it_left_out(tmp_path):
    from PIL import Image

    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / "cat" / "a.png")
    (tmp_path / "photos" / "cat" / "b.png").write_bytes(b"")
    options = [tmp_path / "photos", tmp_path / "c", "--suite", "contrast", "--size", 32, "--workers", 1, "--quiet"]
    assert "1 of 2 images cannot be decoded" in one_line("corrupt", *options)
    result = invoke("corrupt", *options, "--skip-broken", "--jpeg", "none")
    assert "Skipped because they cannot be decoded: 1 images" in result.stdout
    assert [path.name for path in tmp_path.glob("c/contrast/3/cat/*")] == ["a.png"]


def test_profile_counts(tmp_path):
    (row,) = json.loads(invoke("profile", "rednet50", "--json").stdout)
    assert row["parameters"] == 15_540_806
    assert "rednet50" in invoke("profile", "rednet50").stdout


def test_profile_stands_beside_the_paper():
    result = invoke("profile", "binet50_dc_sakg7", "rednet101", "--size", 64)
    assert re.search(r"dc, 7×7 +binet50_dc_sakg7 +17.663 +17.7 +✓ +0.231 +2.9 +1 *$", result.stdout, flags=re.MULTILINE)
    assert re.search(r"RedNet-101 .+ 25.653 +25.6 +\+0.003 ", result.stdout)
    for text in ("Hu et al., AAAI 2022, Table 1 and Table 4", "K·K per", "[2] Its source prints 25.65 M"):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    (row,) = json.loads(invoke("profile", "rednet50", "--table", "4", "--size", 64, "--json").stdout)
    assert (row["architecture"], row["paper_parameters"], row["parameters_beyond"]) == ("dc, 1×1", 15.5, 0.0)


def test_convert_then_eval_without_further_options(tmp_path):
    import torch

    from robustbench_bi.models import create_model
    from robustbench_bi.models.weights import read_metadata

    old, new = tmp_path / "old.pth", tmp_path / "new.safetensors"
    network = create_model("resnet50", num_classes=10, width=0.125)
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, old)
    command = ["convert", "resnet50", "--weights", old, "--out", new, "--option", "width=0.125"]
    result = invoke(*command, "--interpolation", "bicubic", "--resize-size", 240)
    assert result.stdout == f"Written: {new} (resnet50, 10 classes)\n"
    stated = {key: read_metadata(new)[key] for key in ("interpolation", "resize_size", "num_classes", "converted_from")}
    assert stated == {"interpolation": "bicubic", "resize_size": 240, "num_classes": 10, "converted_from": "old.pth"}
    before = new.read_bytes()
    assert "already exists; choose another --out, or --force" in one_line(*command)
    assert new.read_bytes() == before
    invoke(*command, "--force")
    assert read_metadata(new)["interpolation"] == "bilinear"
    result = invoke("eval", "--model", "resnet50", "--weights", new, *SMALL, "--out", tmp_path, "--json")
    assert json.loads(result.stdout)[0]["name"] == "resnet50"


def test_spectra_prints_and_writes(tmp_path):
    out = tmp_path / "spectra"
    result = invoke("spectra", "--corruptions", "contrast,fog", "--severities", "1,5", "--size", 64, "--out", out)
    table = r"contrast +1 +10 +0\.\d+ \[0\.\d+, 0\.\d+\] +0\.\d+ \[.+\] +0\.\d+ \[.+\]"
    assert re.search(table, result.stdout)
    assert "n = 10 images of photographs, 64 px, constants of tiny-imagenet-c, no JPEG." in result.stdout
    assert re.search(r"^5/5 cells, \d+ images/s, 0 s left$", result.stderr, flags=re.MULTILINE)
    assert {path.name for path in out.iterdir()} == {
        "spectra.csv", "spectra_bands.csv", "spectra.png", "spectra.svg", "spectra.pdf",
    }  # fmt: skip


def test_spectra_json_of_any_data_source(tmp_path):
    options = ["--images", "demo", "--limit", 3, "--corruptions", "contrast", "--jpeg", 85, "--quiet", "--json"]
    loaded = json.loads(invoke("spectra", *options, "--out", tmp_path).stdout)
    assert [(row["band"], row["n"]) for row in loaded["bands"]] == [("low", 3), ("middle", 3), ("high", 3)]
    # Contrast at severity 3 multiplies differences by 0.2.
    assert loaded["bands"][0]["ratio"] == pytest.approx(0.04, rel=0.03)
    assert loaded["caption"].startswith("n = 3 images of demo, 64 px, constants of tiny-imagenet-c, JPEG 85.")
    assert all(Path(path).exists() for path in loaded["files"])


def test_spectra_of_published_files(tmp_path):
    options = ["demo", tmp_path / "c", "--suite", "contrast", "--severities", 3, "--limit", 4, "--clean", "--quiet"]
    invoke("corrupt", *options, "--jpeg", "none", "--workers", 1)
    command = ["spectra", "--corruptions", "contrast", "--quiet", "--json", "--out", tmp_path]
    stored = json.loads(invoke(*command, "--images", f"imagenet-c:{tmp_path / 'c'}", "--size", 64).stdout)
    made = json.loads(invoke(*command, "--images", "demo", "--limit", 4).stdout)
    assert stored["bands"] == made["bands"]
    made_by_us = "bivo-robust made these files: constants of tiny-imagenet-c, no JPEG, seed 0."
    assert stored["caption"].startswith(f"n = 4 images of c, 64 px, stored files. {made_by_us}")


def test_the_reference_spectra_are_what_their_command_makes(tmp_path):
    import pandas as pd

    from robustbench_bi.reports.tables.spectra import display_bands
    from robustbench_bi.reports.write import markdown_table

    folder = ROOT / "reports" / "fig4"
    text = (folder / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^bivo-robust (spectra .*--out) reports/fig4$", text, flags=re.MULTILINE)
    invoke(*line.split(), tmp_path, "--quiet")
    for name in ("spectra.csv", "spectra_bands.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / name), pd.read_csv(folder / name), rtol=1e-3)
    bands = pd.read_csv(folder / "spectra_bands.csv")
    assert markdown_table(display_bands(bands)).splitlines()[2:] == [
        line for line in text.splitlines() if re.match(r"\| \w+_noise ", line)
    ]
    assert doctest.testfile(str(folder / "README.md"), module_relative=False).failed == 0


@pytest.mark.parametrize("what", LISTED)
def test_list_names_every_row(what):
    rows = json.loads(invoke("list", what, "--json").stdout)
    text = invoke("list", what).stdout
    assert len(rows) >= 2
    assert all(row["name"] in text for row in rows)


@pytest.fixture(scope="module")
def baseline(runs):
    """A baseline of the run of resnet50."""
    path = runs / "baselines" / "resnet50.json"
    result = invoke("gate", folder_of(runs, "resnet50"), "--save", path)
    assert result.stdout == f"Written: {path}, the baseline of resnet50: 16 images × 3 cells.\n"
    return path


def flawless(path, changed):
    """A baseline whose network errs nowhere, so that any run is worse."""
    from dataclasses import replace

    from robustbench_bi.analysis.baseline import read_baseline, write_baseline

    kept = read_baseline(path)
    answers = replace(kept.kept, correct=kept.kept.correct | True)
    write_baseline(replace(kept, kept=answers), changed)
    return changed


def test_gate_holds_with_exit_code_0(runs, baseline, tmp_path):
    result = invoke("gate", folder_of(runs, "resnet50"), "--baseline", baseline, "--junit", tmp_path / "gate.xml")
    assert "No regression in 2 rows (rows over the same cells count once)." in result.stdout
    assert re.search(r"contrast +16 +\d+\.\d +\d+\.\d +\+0\.00 \[\+0\.00, \+0\.00\] +holds", result.stdout)
    assert "paired by image. n = 16 images of demo" in result.stdout
    assert "::" not in result.stdout
    assert 'failures="0"' in (tmp_path / "gate.xml").read_text(encoding="utf-8")


def test_gate_ends_with_1_on_a_regression_and_tells_github(runs, baseline, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    best = flawless(baseline, tmp_path / "best.json")
    options = ["gate", folder_of(runs, "resnet50"), "--baseline", best, "--junit", tmp_path / "gate.xml"]
    result = invoke(*options, code=1)
    assert re.search(r"contrast .* REGRESSED", result.stdout)
    assert "::error title=bivo-robust gate::contrast: top-1 " in result.stdout
    assert "Regression: " in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert '<failure type="regressed"' in (tmp_path / "gate.xml").read_text(encoding="utf-8")
    assert invoke(*options, "--max-drop", 100).exit_code == 0


def test_gate_ends_with_2_on_trouble(runs, baseline, tmp_path, monkeypatch):
    line = one_line("gate", tmp_path / "absent", "--baseline", baseline, "--junit", tmp_path / "gate.xml")
    assert "no run in" in line
    assert 'errors="1"' in (tmp_path / "gate.xml").read_text(encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = invoke("gate", folder_of(runs, "resnet50"), "--baseline", tmp_path / "absent.json", code=2)
    assert result.stdout.startswith("::error title=bivo-robust gate::no baseline at ")


def test_gate_of_other_data_is_trouble(runs, baseline, tmp_path):
    options = ["--suite", "contrast", "--severities", "1,5", "--quiet", "--out", tmp_path]
    for change, message in (
        (["--limit", 15], "the run was made on 15 images of the demo set, the baseline on 16"),
        (["--limit", 16, "--seed", 1], "the run was made with seed 1, the baseline with seed 0"),
        (["--limit", 16, "--jpeg", 85], "the run was made with JPEG quality 85, the baseline without JPEG"),
        (["--limit", 16, "--precision", "bf16"], "precision of the run is bf16, of the baseline fp32"),
    ):
        run = json.loads(invoke("eval", "--model", "resnet50", *options, *change, "--json").stdout)[0]["directory"]
        assert message in one_line("gate", run, "--baseline", baseline)


def test_nothing_but_a_regression_ends_gate_with_1(runs, baseline, monkeypatch):
    """Python ends with 1 on an exception that nobody foresaw, click where a pipe is closed, Rich likewise."""
    from robustbench_bi.analysis import gate

    stop, pipe = KeyboardInterrupt(), BrokenPipeError(32, "closed")
    for error, code in ((KeyError("unforeseen"), 2), (SystemExit(1), 2), (stop, 130), (pipe, 2)):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(gate, "gate_frame", fail)
        invoke("gate", folder_of(runs, "resnet50"), "--baseline", baseline, code=code)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--model", "shufflenet_v2_x0_5"], "Did you mean 'torchvision:shufflenet_v2_x0_5'?"),
        (["eval", "--model", "resnet34"], "Did you mean 'timm:resnet34' or 'torchvision:resnet34'?"),
        (["eval", "--model", "resnet5O"], "unknown model 'resnet5O'. Did you mean 'resnet50'?"),
        (["eval", "--model", "resnet50", "--suite", "gausian_noise"], "Did you mean 'gaussian_noise'?"),
        (["eval", "--model", "resnet50", "--corruptions", "fog"], "'--corruptions'. Did you mean '--suite'?"),
        (["eval", "--model", "resnet50", "--data", "imagnet-c:/x"], "Did you mean 'imagenet-c'?"),
        (["eval", "--model", "resnet50", "--data", "/no/such/folder"], "/no/such/folder"),
        (["eval", "--model", "resnet50", "--severities", "0-5"], "severity must be an integer from 1 to 5, got 0"),
        (["eval", "--model", "resnet50", "--weights", "absent.pth"], "absent.pth"),
        (["eval", "--model", "resnet50", "--mean", "a,b,c"], "--mean must be comma-separated numbers"),
        (["eval", "--model", "resnet50", "--mean", "100,100,100"], "mean must be three numbers from 0 to 1"),
        (["eval", "--model", "no_such_package.models:build"], "no_such_package"),
        (["compare", "absent", "--baseline", "absent"], "no run in absent"),
        (["report", "absent"], "no run in absent"),
        (["report", "absent", "--format", "pdf"], "'pdf' is not one of"),
        (["view", "absent"], "no run in absent"),
        (["view", "absent", "--port", "0"], "'--port': 0 is not in the range"),
        (["view"], "Missing argument 'RUN...'"),
        (["score", "absent.csv"], "absent.csv"),
        (["gate", "absent", "--save", "b.json"], "no run in absent"),
        (["gate", "absent"], "gate needs either --baseline FILE, to compare with, or --save FILE, to make a baseline"),
        (["gate", "absent", "--save", "b.json", "--baseline", "b.json"], "gate needs either --baseline FILE"),
        (["gate", "absent", "--save", "b.json", "--max-drop", "2"], "--max-drop belongs to --baseline"),
        (["gate", "absent", "--save", "b.json", "--skip-new-cells"], "--skip-new-cells belongs to --baseline"),
        (["gate", "absent", "--baseline", "b.json", "--max-drop", "much"], "'much' is not a valid float"),
        (["gate", "absent", "another", "--baseline", "b.json"], "unexpected extra argument"),
        (["gate", "a", "b", "c", "--baseline", "b.json"], "gate takes one run, got 3"),
        (["train", "--model", "resnet50", "--option", "width"], "--option must be KEY=VALUE"),
        (["train", "--model", "resnet50", "--option", "widht=1"], "Did you mean 'width'?"),
        (["train", "--model", "resnet50", "--recipe", "flip"], "--recipe must be KEY=VALUE, such as weight_decay=5e-5"),
        (["train", "--model", "resnet50", "--recipe", "weight_decy=1"], "Did you mean 'weight_decay'?"),
        (["train", "--model", "resnet50", "--recipe", "epochs=none"], "epochs must be"),
        (["train", "--model", "resnet50", "--recipe", "epochs=2", "--epochs", "3"], "two options set epochs"),
        (["train", "--model", "resnet50", "--ema", "1"], "ema must be at least 0 and below 1, got 1.0"),
        (["train", "--model", "resnet50", "--augment", "mixup"], "'mixup' is not one of 'none', 'augmix', 'noise'"),
        (["train", "--model", "resnet50", "--accumulate", "3"], "cannot be split evenly over 1 processes × 3"),
        (["profile", "resnet5O"], "Did you mean 'resnet50'?"),
        (["profile", "binet50_dc_sakg"], "Did you mean 'binet50_dc_sakg"),
        (["profile", "--table", "3"], "'3' is not one of '1', '2', '4'"),
        (["convert", "resnet50", "--weights", "absent.pth", "--out", "new.safetensors"], "no weights file absent.pth"),
        (["convert", "se_resnet50", "--weights", "a.pth", "--out", "b.safetensors"], "convert is for rows of `list"),
        (
            ["convert", "resnet50", "--weights", "none", "--out", "new.pth"],
            "must be written as .safetensors, got new",
        ),
        (["convert", "resnet50", "--weights", "demo", "--out", "a.safetensors", "--mean", "1,2"], "mean must be three"),
        (["eval", "--model", "resnet50", "--limit", "0"], "'--limit'"),
        (["eval", "--model", "resnet50", "--precision", "fp64"], "'fp64' is not one of"),
        (["eval"], "Missing option '--model'"),
        (["compare", "a", "b"], "Missing option '--baseline': The run to compare with."),
        (["corrupt", "demo"], "Missing argument 'DST'"),
        (["corrupt", "/no/such/folder", "c"], "there is no folder /no/such/folder"),
        (["corrupt", "demo", "c", "--suite", "fogg"], "Did you mean 'fog'?"),
        (["corrupt", "demo", "c", "--severities", "6"], "severity must be an integer from 1 to 5, got 6"),
        (["corrupt", "demo", "c", "--jpeg", "100"], "jpeg must be a quality from 1 to 95 or 'none', got '100'"),
        (["corrupt", "demo", "c", "--table", "imagenetc"], "Did you mean 'imagenet-c'?"),
        (["corrupt", "demo", "c", "--size", "64"], "demo images are 64 pixels and are not resized"),
        (["corrupt", "demo", "c", "--size", "8"], "'--size'"),
        (["corrupt", "demo", "c", "--size", "100000"], "100000 is not in the range 32<=x<=4096"),
        (["corrupt", "demo", "c", "--resize", "100000"], "100000 is not in the range 32<=x<=4096"),
        (["eval", "--model", "resnet50", "--input-size", "100000"], "input_size must be an integer from 32 to 4096"),
        (["eval", "--model", "resnet50", "--resize-size", "20000"], "resize_size must be an integer from 32 to 4096"),
        (["eval", "--model", "resnet50", "--corrupt-size", "20000"], "corrupt_size must be an integer from 32 to 4096"),
        (["heatmaps", "--model", "resnet50", "--input-size", "20000"], "input_size must be an integer from 32 to 4096"),
        (["fourier", "--model", "resnet50", "--input-size", "20000"], "input_size must be an integer from 32 to 4096"),
        (["spectra", "--size", "100000"], "100000 is not in the range 32<=x<=4096"),
        (["profile", "resnet50", "--size", "100000"], "100000 is not in the range 32<=x<=4096"),
        (["detect", "--model", "fasterrcnn_resnet50", "--min-size", "100000"], "'--min-size'"),
        (["spectra", "--corruptions", "gausian_noise"], "Did you mean 'gaussian_noise'?"),
        (["spectra", "--severities", "0"], "severity must be an integer from 1 to 5, got 0"),
        (["spectra", "--images", "/no/such/picture.png"], "there is no folder /no/such/picture.png"),
        (["spectra", "--images", "photograps"], "there is no folder and no data source 'photograps'"),
        (["spectra", "--images", "demo", "--size", "32"], "demo images are 64 pixels and are not resized"),
        (["spectra", "--table", "imagenetc"], "Did you mean 'imagenet-c'?"),
        (["spectra", "--jpeg", "0"], "'--jpeg'"),
        (["evl"], "No such command 'evl'"),
        (["list", "modles"], "'modles' is not one of"),
        (["eval", "--model", "resnet50", "--severities", "1-999999999999"], "severity must be an integer from 1 to 5"),
        (["eval", "--model", "resnet50", "--suite", "fog,"], "single commas"),
        (["eval", "--model", "resnet50", "--jpeg", "²"], "jpeg must be a quality"),
        (["eval", "--model", "resnet50", "--device", "meta"], "unknown device 'meta'"),
        (["heatmaps", "--model", "resnet5O"], "Did you mean 'resnet50'?"),
        (["heatmaps", "--model", "resnet50", "--corruptions", "fogg"], "Did you mean 'fog'?"),
        (["heatmaps", "--model", "resnet50", "--limit", "1", "--layer", "layer3.9"], "Did you mean 'layer3."),
        (["heatmaps", "--model", "resnet50", "--images", "photographs"], "needs --weights"),
        (["heatmaps", "--model", "resnet50", "--reduce", "sum"], "'sum' is not one of"),
        (["fourier", "--model", "resnet50", "--norm", "0"], "norm must be a number above 0, got 0.0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    line = one_line(*arguments)
    assert line.startswith("Error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 30 GiB"), MemoryError(), RuntimeError("alloc_cpu: not enough memory")]
)
def test_memory_that_runs_out_is_one_line(monkeypatch, error):
    from robustbench_bi.probes import spectra

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(spectra, "picture_spectra", fail)
    line = one_line("spectra", "--quiet")
    assert line.startswith(f"Error: memory ran out ({str(error) or 'nothing is left'}); take smaller images")


def test_another_error_of_torch_is_not_taken_for_memory(monkeypatch):
    from robustbench_bi.probes import spectra

    def fail(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(spectra, "picture_spectra", fail)
    assert isinstance(invoke("spectra", "--quiet", code=1).exception, RuntimeError)


def test_a_run_compared_with_itself_only_is_refused(runs):
    assert "at least one run" in one_line(
        "compare", folder_of(runs, "resnet50"), "--baseline", folder_of(runs, "resnet50")
    )


def test_the_module_is_the_same_program():
    module = subprocess.run(
        [sys.executable, "-m", "robustbench_bi", "list", "suites"], capture_output=True, text=True, check=True
    )
    assert module.stdout == invoke("list", "suites").stdout


HEAVY = ("torch", "numpy", "pandas", "scipy", "matplotlib", "PIL", "numba", "timm", "rich.table", "pyarrow")


def test_help_imports_nothing_heavy():
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom robustbench_bi.cli import cli\n"
        "for arguments in (['--help'], ['eval', '--help'], ['list', 'models'], ['list', 'metrics'], ['list', 'data'],\n"
        "                  ['list', 'corruptions'], ['list', 'figures'], ['corrupt', '--help'],\n"
        "                  ['gate', '--help'], ['spectra', '--help']):\n"
        "    assert CliRunner().invoke(cli, arguments).exit_code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


EARLY = [
    ["eval", "--model", "resnet50", "--severities", "6"],
    ["eval", "--model", "resnet5O"],
    ["eval", "--model", "shufflenet_v2_x0_5"],
    ["eval", "--model", "resnet50", "--suite", "fogg"],
    ["eval", "--model", "resnet50", "--weights", "absent.pth"],
    ["eval", "--model", "resnet50", "--data", "/no/such/folder"],
    ["eval", "--model", "resnet50", "--jpeg", "0"],
    ["eval", "--model", "resnet50", "--mean", "100,100,100"],
    ["eval", "--config", "absent.toml"],
    ["corrupt", "demo", "c", "--severities", "6"],
    ["spectra", "--images", "photograps"],
    ["heatmaps", "--model", "resnet50", "--corruptions", "fogg"],
    ["fourier", "--model", "resnet5O"],
    ["profile", "resnet5O"],
    ["convert", "resnet50", "--weights", "absent.pth", "--out", "new.safetensors"],
    ["train", "--model", "resnet50", "--option", "width"],
    ["compare", "absent", "--baseline", "absent"],
    ["report", "absent"],
    ["view", "absent"],
    ["gate", "absent", "--save", "b.json"],
    ["score", "absent.csv"],
    ["score", __file__, "--normalizer", "absent.csv"],
    *(
        ["eval", "--model", model]
        for model in ("no_such_package.models:build", "torchvision:resnet5", "timm:resnet5", "hf:x", "onnx:absent.onnx")
    ),
    *(
        ["eval", "--model", "resnet50", option, value]
        for option, value in {
            "--device": "gpu",
            "--input-size": "5",
            "--resize-size": "-3",
            "--interpolation": "cubic",
            "--std": "0,0,0",
            "--corrupt-size": "0",
            "--channels": "2",
            "--classes": "absent.tsv",
            "--labels": "absent.txt",
            "--images": "absent.txt",
            "--clean": "/no/such/folder",
            "--weights": "absent",
        }.items()
    ),
    *(
        ["eval", "--model", "resnet50", "--data", f"{source}:/no/such"]
        for source in ("imagenet-c", "imagenet-v2", "tar", "parquet", "coco", "tiny-imagenet", "cifar-100-c")
    ),
    ["eval", "--model", "resnet50", "--data", "."],  # no weights
    ["eval", "--model", "resnet50", "--out", __file__],
    ["detect", "--model", "torchvision:fasterrcnn_resnet50_fpn"],
    ["detect", "--model", "torchvision:fasterrcnn_resnet50_fpn", "--weights", "absent.pth"],
    ["detect", "--model", "torchvision:fasterrcnn_resnet50_fpn", "--weights", "none", "--device", "gpu"],
    ["detect", "--model", "torchvision:fasterrcnn_resnet50_fpn", "--weights", "none", "--data", "coco:/no/such"],
    ["fourier", "--model", "resnet50", "--norm", "0"],
    ["fourier", "--model", "resnet50", "--radius", "-1"],
    ["fourier", "--model", "resnet50", "--device", "gpu"],
    ["heatmaps", "--model", "resnet50", "--device", "gpu"],
    ["heatmaps", "--model", "resnet50", "--jpeg", "0"],
    ["corrupt", "demo", "c", "--jpeg", "100"],
    ["corrupt", "demo", "c", "--classes", "absent.tsv"],
    ["train", "--model", "resnet50", "--recipe", "weight_decy=1"],
    ["train", "--model", "resnet50", "--recipe", "ema=0.5", "--ema", "0.9"],
    *([command, "--model", "resnet50", "--style", "absent"] for command in ("heatmaps", "fourier")),
    ["train", "--model", "resnet50", "--option", "widht=1"],
    ["train", "--model", "resnet50", "--ema", "1"],
    ["train", "--model", "resnet50", "--device", "gpu"],
    ["train", "--model", "resnet50", "--data", "tar:/no/such"],
    ["train", "--model", "resnet50", "--data", "imagenet-a:."],
    ["compare", "absent", "--baseline", "absent", "--across", "nosuch"],
    ["report", "absent", "--out", "report.pdf"],
    ["gate", "absent", "--baseline", "absent.json"],
    ["gate", "absent", "--baseline", "absent.json", "--confidence", "95"],
]


def test_bad_options_are_refused_before_large_libraries_are_imported(tmp_path):
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom robustbench_bi.cli import cli\n"
        f"for arguments in {EARLY!r}:\n"
        "    assert CliRunner().invoke(cli, arguments).exit_code == 2, arguments\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], arguments)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "".join(f"[] {arguments}\n" for arguments in EARLY)


def test_images_that_do_not_fit_are_refused_before_networks_are_built(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "flat" / "a.png", tmp_path / "one" / "cat" / "a.png"):
        path.parent.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(path)
    wrong = {
        "holds neither class folders nor images": ["--data", "empty"],
        "holds images but no class folders": ["--data", "flat"],
        "has only one class, 'cat'": ["--data", "one"],
        "are not resized; leave out resize_size": ["--data", "demo", "--resize-size", "80"],
    }
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom robustbench_bi.cli import cli\n"
        f"for message, options in {wrong!r}.items():\n"
        "    for command in ('eval', 'heatmaps', 'fourier'):\n"
        "        done = CliRunner().invoke(cli, [command, '--model', 'resnet50', '--weights', 'none', *options])\n"
        "        assert done.exit_code == 2 and message in done.output, (command, options, done.output)\n"
        "print([name for name in ('torch', 'pandas', 'numba', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"


def test_the_command_line_reference_is_current():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == generate["command_line_reference"](), "run: python docs/generate.py"
    sections = re.findall(r"^## bivo-robust (\S+)$", written, flags=re.MULTILINE)
    assert sorted(sections) == sorted(every_command())


def test_the_reference_of_a_group_without_commands_is_refused():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    with pytest.raises(ValueError, match="the group 'bivo-robust' has no commands"):
        list(generate["commands"]("bivo-robust", click.Group()))


def test_the_commands_of_the_workflow_are_valid():
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    lines = re.findall(r"^[ \-]*(?:run: )?bivo-robust (.+)$", text.replace("\\\n", " "), flags=re.MULTILINE)
    assert {line.split()[0] for line in lines} == {"eval", "gate"}
    for line in lines:
        name, *arguments = shlex.split(line)
        every_command()[name].make_context(name, arguments, **cli.context_settings)


def test_every_command_and_option_has_help():
    for command in every_command().values():
        assert command.help
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name not in ("device", "batch_size", "seed"):
                assert getattr(parameter, "help", None) or parameter.metavar or parameter.type.name == "choice", (
                    command.name,
                    parameter.name,
                )


def test_gallery(tmp_path):
    from PIL import Image

    assert (
        f"Written: {tmp_path / 'sheet' / 'corruptions.png'}"
        in invoke("list", "corruptions", "--gallery", tmp_path / "sheet").stdout
    )
    with Image.open(tmp_path / "sheet" / "corruptions.png") as sheet:
        assert sheet.height > 3 * sheet.width
    assert "--gallery is for corruptions, got 'suites'" in one_line("list", "suites", "--gallery", tmp_path)
    assert "--width applies only to --gallery" in one_line("list", "corruptions", "--width", 3.3)
    invoke("list", "corruptions", "--gallery", tmp_path / "column", "--width", 3.3)
    with Image.open(tmp_path / "column" / "corruptions.png") as sheet:
        assert sheet.width == round(3.3 * 300)


def test_list_corruptions_says_where_they_run():
    lines = invoke("list", "corruptions").stdout.splitlines()
    assert len(lines) == 35
    assert lines[5].split()[:4] == ["motion_blur", "blur", "numba,", "triton"]
    assert lines[-1].endswith("none passes through the CPU.")


def test_heatmaps_prints_and_writes(tmp_path):
    options = ["--corruptions", "fog", "--limit", 8, "--show", 2, "--quiet", "--out", tmp_path / "out"]
    result = invoke("heatmaps", "--model", "resnet50", "--model", "resnext50", *options)
    assert re.search(r"resnext50 +fog +8 +-?0\.\d+ \[.*\] +[+-]\d\.\d+ \[.*\]", result.stdout)
    assert "another image" in result.stdout
    assert "n = 8 images of demo, 64 px, constants of tiny-imagenet-c, no JPEG. Drawn at random" in result.stdout
    assert " Networks: resnet50 (width 0.25, " in result.stdout
    names = ["heatmaps.csv", "heatmaps.pdf", "heatmaps.png", "heatmaps.svg", "heatmaps_images.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    (row,) = json.loads(invoke("heatmaps", "--model", "resnet50", "--reduce", "pca", *options, "--json").stdout)[
        "correlations"
    ][:1]
    assert (row["model"], row["corruption"], row["n"], row["delta"]) == ("resnet50", "fog", 8, None)


def test_fourier_prints_writes_and_continues(tmp_path):
    options = ["--model", "resnet50", "--limit", 8, "--radius", 4, "--norm", 5, "--out", tmp_path]
    result = invoke("fourier", *options)
    assert re.search(r"^8/8 frequencies, \d+ images/s, 0 s left$", result.stderr, flags=re.MULTILINE)
    assert re.search(r"resnet50 +\d+\.\d \[\d+\.\d, \d+\.\d\]", result.stdout)
    assert "of norm 5 at 64 px for pixels in [0, 1]" in result.stdout
    assert "No measured frequency lies in 0.0625 to 0.125, 0.125 to 0.25, 0.25 to 0.5, 0.5 and more." in result.stdout
    assert {"fourier.csv", "fourier_bands.csv", "fourier.png", "fourier.svg"} < {p.name for p in tmp_path.iterdir()}
    again = invoke("fourier", *options, "--json")
    assert again.stderr == ""
    assert [row["band"] for row in json.loads(again.stdout)["bands"]] == ["clean", "0 to 0.0625"]


@pytest.mark.parametrize(
    ("corruptions", "clean"),
    [(("saturate",), False), (("blue_noise_sample", "plasma_noise"), False), (("plasma_noise",), True)],
)
def test_runs_without_a_bar_of_figure_3_or_a_clean_cell_are_compared(
    tmp_path, make_config, write_run, corruptions, clean
):
    draws, folders = np.random.default_rng(0), []
    for name in ("first", "second"):
        config = make_config(
            n=40, corruptions=corruptions, severities=(2,), clean=clean, name=name, model={"name": name}
        )
        ranks = {cell: draws.integers(0, 2, 40) for cell in config.cells}
        records = {
            cell: {
                "image_id": np.arange(40),
                "label": np.zeros(40, dtype=np.int64),
                "prediction": own,
                "rank": own,
                "confidence": np.full(40, 0.5),
                "loss": own + 0.5,
            }
            for cell, own in ranks.items()
        }
        folders.append(write_run(tmp_path / name, config, records).directory)
    shown = invoke("compare", folders[1], "--baseline", folders[0], "--out", tmp_path / "comparison").stdout
    assert all(shown.count(name) for name in corruptions)
    assert (tmp_path / "comparison" / "fig3.png").exists()
    invoke("report", *folders, "--out", tmp_path / "report.html")
