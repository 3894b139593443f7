"""Tables on a terminal that is too narrow: nothing is broken over lines, nothing is left out."""

import pandas as pd
import pytest

from robustbench_bi.commands import terminal
from robustbench_bi.commands.terminal import print_table

MODELS = ("timm:vit_small_patch16_224.augreg_in21k_ft_in1k", "resnet50")
CORRUPTIONS = ("gaussian_noise", "fog")


def table(numbers):
    rows = [{"model": model, "corruption": corruption} for model in MODELS for corruption in CORRUPTIONS]
    cells = [{f"number {own}": f"{at}.{own} [low, high]" for own in range(numbers)} for at in range(len(rows))]
    return pd.DataFrame([row | own for row, own in zip(rows, cells, strict=True)])


@pytest.mark.parametrize("width", [60, 80, 110, 400])
def test_no_name_and_no_number_is_broken(width, capsys, monkeypatch):
    monkeypatch.setattr(terminal, "WIDTH_OF_FILES", width)
    print_table(table(5), title="What it is", rule_after=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "What it is" and max(map(len, lines)) <= width
    for words in [*MODELS, *CORRUPTIONS, *(f"number {own}" for own in range(5))]:
        assert any(words in line for line in lines), words
    for at in range(4):
        for own in range(5):
            assert sum(f"{at}.{own} [low, high]" in line for line in lines) == 1
    firsts = [next(at for at, line in enumerate(lines) if name in line) for name in MODELS]
    assert firsts == sorted(firsts)
    # Each number stands beside the corruption that it is of, and below its model.
    model = ""
    for line in lines:
        model = next((name for name in MODELS if name in line), model)
        for at in range(4):
            if f"{at}." in line:
                assert CORRUPTIONS[at % 2] in line and model == MODELS[at // 2]


def test_what_fits_is_one_table_and_a_row_a_model_stays_together(capsys, monkeypatch):
    print_table(table(2))
    assert capsys.readouterr().out.count("number 0") == 1
    monkeypatch.setattr(terminal, "WIDTH_OF_FILES", 70)
    board = table(2).drop_duplicates("model").drop(columns="corruption")
    print_table(board)
    heads = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("model")]
    assert [line.split() for line in heads] == [["model", "number", "0"], ["model", "number", "1"]]
    monkeypatch.setattr(terminal, "WIDTH_OF_FILES", 30)
    print_table(board)
    assert capsys.readouterr().out.count("number") == 2, "too narrow even for one: broken, but there"


def test_columns_of_one_name_stay_apart(capsys):
    print_table(pd.DataFrame([["binet50", "17.7", "2.9"]], columns=["model", "paper", "paper"]))
    assert [line.split() for line in capsys.readouterr().out.splitlines()][3] == ["binet50", "17.7", "2.9"]


DETECTORS = pd.DataFrame(
    [["Faster R-CNN, RedNet-50, involution / convolution", "29.512", "29.650", "29.5", "39.5 / 36.4"]],
    columns=["detector", "trainable", "all", "published", "published"],
)


@pytest.mark.parametrize(("width", "parts"), [(100, 1), (60, 1), (40, 2), (30, 4)])
def test_a_name_is_broken_only_where_no_number_fits_beside_it(width, parts, capsys, monkeypatch):
    monkeypatch.setattr(terminal, "WIDTH_OF_FILES", width)
    print_table(DETECTORS)
    shown = capsys.readouterr().out
    assert shown.count("detector") == parts and max(map(len, shown.splitlines())) <= width
    for whole in ("trainable", "29.512", "29.650", "39.5 / 36.4", "R-CNN,"):
        assert whole in shown
    assert shown.count(" published") == 2
