import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from robustbench_bi.cli import LISTED, cli

ROOT = Path(__file__).parent.parent
SMALL = ["--suite", "contrast", "--severities", "1,5", "--limit", "16", "--quiet"]


def invoke(*arguments, code=0):
    """Run the command line in this process; returns what it printed, checked for its exit code."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


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
    assert "mCE" in invoke("score", table).stdout


def test_train_then_eval_with_the_checkpoint(tmp_path):
    invoke(
        "train", "--model", "resnet50", "--option", "width=0.125", "--epochs", 1, "--limit", 128, "--out", tmp_path,
        "--quiet",
    )  # fmt: skip
    weights = tmp_path / "resnet50.safetensors"
    result = invoke("eval", "--model", "resnet50", "--weights", weights, *SMALL, "--out", tmp_path, "--json")
    assert json.loads(result.stdout)[0]["name"] == "resnet50"


def test_corrupt_then_eval_of_its_files(tmp_path):
    out = tmp_path / "c"
    options = ["demo", out, "--suite", "contrast", "--severities", "1,5", "--limit", 16, "--clean", "--workers", 1]
    result = invoke("corrupt", *options)
    assert f"Written to {out}: 48 files." in result.stdout
    assert re.search(r"^3/3 cells, \d+ images/s, 0 s left$", result.stderr, flags=re.MULTILINE)
    result = invoke("corrupt", *options, "--quiet")
    assert f"Nothing to do: all 48 files are there, in {out}." in result.stdout
    assert result.stderr == ""
    next(out.glob("contrast/5/*/*.JPEG")).unlink()
    assert "1 of 48 files; the others were there." in invoke("corrupt", *options, "--quiet").stdout
    command = result.stdout.strip().splitlines()[-1].removeprefix("Evaluate them with: bivo-robust ").split()
    command[command.index("NAME")] = "resnet50"
    small = ["--suite", "contrast", "--severities", "1,5", "--quiet", "--json", "--out", tmp_path / "runs"]
    files = json.loads(invoke(*command, "--weights", "demo", *small).stdout)[0]["cells"]
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
    assert "Left out, because they cannot be decoded: 1 images" in result.stdout
    assert [path.name for path in tmp_path.glob("c/contrast/3/cat/*")] == ["a.png"]


def test_profile_counts(tmp_path):
    (row,) = json.loads(invoke("profile", "rednet50", "--json").stdout)
    assert row["parameters"] == 15_540_806
    assert "rednet50" in invoke("profile", "rednet50").stdout


@pytest.mark.parametrize("what", LISTED)
def test_list_names_every_row(what):
    rows = json.loads(invoke("list", what, "--json").stdout)
    text = invoke("list", what).stdout
    assert len(rows) >= 2
    assert all(row["name"] in text for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--model", "resnet5O"], "unknown model 'resnet5O'. Did you mean 'resnet50'?"),
        (["eval", "--model", "resnet50", "--suite", "gausian_noise"], "Did you mean 'gaussian_noise'?"),
        (["eval", "--model", "resnet50", "--data", "imagnet-c:/x"], "Did you mean 'imagenet-c'?"),
        (["eval", "--model", "resnet50", "--data", "/no/such/folder"], "/no/such/folder"),
        (["eval", "--model", "resnet50", "--severities", "0-5"], "severity must be an integer from 1 to 5, got 0"),
        (["eval", "--model", "resnet50", "--weights", "absent.pth"], "absent.pth"),
        (["eval", "--model", "resnet50", "--mean", "a,b,c"], "--mean must be numbers with commas"),
        (["eval", "--model", "resnet50", "--mean", "100,100,100"], "mean must be three numbers from 0 to 1"),
        (["eval", "--model", "no_such_package.models:build"], "no_such_package"),
        (["compare", "absent", "--baseline", "absent"], "no run in absent"),
        (["score", "absent.csv"], "absent.csv"),
        (["train", "--model", "resnet50", "--option", "width"], "--option must be KEY=VALUE"),
        (["train", "--model", "resnet50", "--option", "widht=1"], "Did you mean 'width'?"),
        (["profile", "resnet5O"], "Did you mean 'resnet50'?"),
        (["eval", "--model", "resnet50", "--limit", "0"], "'--limit'"),
        (["eval", "--model", "resnet50", "--precision", "fp64"], "'fp64' is not one of"),
        (["eval"], "Missing option '--model'"),
        (["corrupt", "demo"], "Missing argument 'DST'"),
        (["corrupt", "/no/such/folder", "c"], "there is no folder /no/such/folder"),
        (["corrupt", "demo", "c", "--suite", "fogg"], "Did you mean 'fog'?"),
        (["corrupt", "demo", "c", "--severities", "6"], "severity must be an integer from 1 to 5, got 6"),
        (["corrupt", "demo", "c", "--jpeg", "100"], "jpeg must be a quality from 1 to 95 or 'none', got '100'"),
        (["corrupt", "demo", "c", "--table", "imagenetc"], "Did you mean 'imagenet-c'?"),
        (["corrupt", "demo", "c", "--size", "64"], "demo images are 64 pixels and are not resized"),
        (["corrupt", "demo", "c", "--size", "8"], "'--size'"),
        (["evl"], "No such command 'evl'"),
        (["list", "modles"], "'modles' is not one of"),
        (["eval", "--model", "resnet50", "--severities", "1-999999999999"], "severity must be an integer from 1 to 5"),
        (["eval", "--model", "resnet50", "--suite", "fog,"], "single commas"),
        (["eval", "--model", "resnet50", "--jpeg", "²"], "jpeg must be a quality"),
        (["eval", "--model", "resnet50", "--device", "meta"], "device 'meta' cannot be used here"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    line = one_line(*arguments)
    assert line.startswith("Error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_run_compared_with_itself_only_is_refused(runs):
    assert "at least one run" in one_line(
        "compare", folder_of(runs, "resnet50"), "--baseline", folder_of(runs, "resnet50")
    )


def test_the_module_is_the_same_program():
    module = subprocess.run(
        [sys.executable, "-m", "robustbench_bi", "list", "suites"], capture_output=True, text=True, check=True
    )
    assert module.stdout == invoke("list", "suites").stdout


def test_help_imports_nothing_heavy():
    heavy = ("torch", "numpy", "pandas", "scipy", "matplotlib", "PIL", "numba", "timm", "rich.table", "pyarrow")
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom robustbench_bi.cli import cli\n"
        "for arguments in (['--help'], ['eval', '--help'], ['list', 'models'], ['list', 'metrics'], ['list', 'data'],\n"
        "                  ['list', 'corruptions'], ['list', 'figures'], ['corrupt', '--help']):\n"
        "    assert CliRunner().invoke(cli, arguments).exit_code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_reference_is_current():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == generate["command_line_reference"](), "run: python docs/generate.py"


def test_every_command_and_option_has_help():
    for command in cli.commands.values():
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
    assert "--gallery is of corruptions, got 'suites'" in one_line("list", "suites", "--gallery", tmp_path)


def test_list_corruptions_says_where_they_run():
    lines = invoke("list", "corruptions").stdout.splitlines()
    assert len(lines) == 20
    assert lines[5].split()[:4] == ["motion_blur", "blur", "numba,", "triton"]
    assert lines[-1].endswith("none passes through the CPU.")
