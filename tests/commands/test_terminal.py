"""Tables that are wider than the terminal: names are broken over lines, numbers and their headings are not."""

import pandas as pd
import pytest

from robustbench_bi.commands import terminal

FRAME = pd.DataFrame(
    [["Faster R-CNN, RedNet-50, involution / convolution", "29.512", "29.650", "29.5", "39.5 / 36.4"]],
    columns=["detector", "trainable", "all", "published", "published"],
)


@pytest.mark.parametrize(("width", "parts"), [(100, 1), (60, 2), (30, 4)])
def test_columns_that_do_not_fit_follow_in_further_tables(width, parts, capsys, monkeypatch):
    monkeypatch.setattr(terminal, "WIDTH_OF_FILES", width)
    terminal.print_table(FRAME, split=True)
    shown = capsys.readouterr().out
    assert shown.count("detector") == parts and max(map(len, shown.splitlines())) <= width
    for whole in ("trainable", "29.512", "29.650", "39.5 / 36.4", "R-CNN,"):
        assert whole in shown
    assert shown.count(" published") == 2


def test_a_table_is_not_split_unless_asked(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "WIDTH_OF_FILES", 40)
    terminal.print_table(FRAME)
    assert capsys.readouterr().out.count("R-CNN") == 1
