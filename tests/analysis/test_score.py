from pathlib import Path

import pandas as pd
import pytest

from robustbench_bi.analysis.score import read_cells, score
from robustbench_bi.errors import BivoRobustError, DataError, UnknownNameError
from robustbench_bi.metrics.robustness import benchmark_corruptions
from robustbench_bi.reports.tables.display import display_summary

ROBUSTBENCH = Path(__file__).parent.parent / "metrics" / "robustbench_5k_cells.csv"
# ResNet-50 (torchvision, IMAGENET1K_V1) on the published files, means over severities.
RESNET50 = [29.29, 27.03, 23.81, 38.75, 26.79, 38.67, 36.24, 32.53, 38.14, 45.83, 68.02, 39.06, 45.25, 44.79, 53.41]
MEANS = "corruption,severity,top1\nclean,,76.13\n" + "".join(
    f"{name},,{top1}\n" for name, top1 in zip(benchmark_corruptions(), RESNET50, strict=True)
)


@pytest.fixture
def table(tmp_path):
    def write(text, name="table.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def by_name(frame):
    return frame.set_index("name")


def test_published_means(table):
    found = score(read_cells(table(MEANS)))
    frame = found.frame
    rows = by_name(frame)
    assert set(frame["model"]) == {"table"}
    assert rows.loc["clean", "top1"] == 76.13
    assert rows.loc["mean", "top1"] == pytest.approx(39.17, abs=0.005)
    assert rows.loc[["noise", "blur", "weather", "digital"], "top1"].round(2).tolist() == [26.71, 35.11, 46.13, 45.63]
    assert rows.loc["mCE", "corruption_error"] == pytest.approx(76.70, abs=0.005)
    assert rows.loc["relative mCE", "corruption_error"] == pytest.approx(104.95, abs=0.005)
    assert rows.loc["glass_blur", "corruption_error"] == pytest.approx(88.61, abs=0.01)
    assert rows.loc["mean", "delta"] == pytest.approx(39.17 - 76.13, abs=0.005)
    assert rows.loc["mean", "cells"] == 75
    assert list(found.notes) == []


def test_robustbench_with_its_own_alexnet():
    cells = read_cells(ROBUSTBENCH)
    found = score(cells, cells)
    frame = found.frame
    rows = by_name(frame[frame["model"] == "Standard_R50"])
    assert rows.loc["mCE", "corruption_error"] == pytest.approx(76.3774, abs=5e-5)
    assert by_name(frame[frame["model"] == "AlexNet"]).loc["mCE", "corruption_error"] == pytest.approx(100)
    # There is no clean row: what needs it is absent, not zero.
    assert rows["delta"].isna().all()
    assert not set(rows["kind"]) & {"clean", "relative_mce"}
    assert any("Standard_R50: no clean row" in note for note in found.notes)
    assert "the errors of AlexNet as given" in found.caption


def test_a_subset_never_prints_as_plain_mce(table):
    lines = MEANS.splitlines()
    found = score(read_cells(table("\n".join(lines[:-3]))))
    frame = found.frame
    assert "mCE* (over 12 of 15 corruptions)" in set(frame["name"])
    assert "mCE" not in set(frame["name"])
    assert list(found.notes) == ["table: missing from ImageNet-C: elastic_transform, pixelate, jpeg_compression"]
    single = table("corruption,severity,top1\n" + "".join(f"fog,{s},{60 - 5 * s}\n" for s in (1, 2)))
    found = score(read_cells(single))
    frame = found.frame
    assert "mCE* (over 1 of 15 corruptions, 2 of 5 cells)" in set(frame["name"])
    assert "fog severity 3, fog severity 4, fog severity 5" in found.notes[1]


def test_n_qualifies_where_the_table_tells_it(table):
    rows = MEANS.splitlines()
    for n, name in (("50000", "mCE"), ("5000", "mCE* (n=5,000)")):
        text = "\n".join([f"{rows[0]},n", *(f"{row},{n}" for row in rows[1:])])
        frame = score(read_cells(table(text))).frame
        assert name in set(frame["name"])
        assert (frame["n"] == int(n)).all()
    mixed = "\n".join([f"{rows[0]},n", *(f"{row},{i + 1}000" for i, row in enumerate(rows[1:]))])
    assert "mCE* (n=1,000-16,000)" in set(score(read_cells(table(mixed))).frame["name"])


def test_another_normaliser_is_named(table):
    cells = read_cells(table(MEANS))
    other = read_cells(table(MEANS, "resnet50.csv"))
    frame = score(cells, other).frame
    rows = by_name(frame)
    assert rows.loc["mCE* (relative to resnet50)", "corruption_error"] == pytest.approx(100)
    alexnet = read_cells(table(MEANS, "my_alexnet_cells.csv"))
    assert "mCE" in set(score(cells, alexnet).frame["name"])


def test_a_normaliser_that_lacks_a_corruption_shortens_the_mean(table):
    lines = MEANS.splitlines()
    alexnet = read_cells(table("\n".join(lines[:-1]), "alexnet.csv"))
    found = score(read_cells(table(MEANS)), alexnet)
    frame = found.frame
    assert "mCE* (over 14 of 15 corruptions)" in set(frame["name"])
    assert "the normaliser lacks cells of: jpeg_compression" in found.notes[0]
    # The mean error beside it is over the same fourteen, and not over the fifteen that have an accuracy.
    errors = [100 - float(line.split(",")[2]) for line in lines[2:-1]]
    row = by_name(frame).loc["mCE* (over 14 of 15 corruptions)"]
    assert row["mean_error"] == pytest.approx(sum(errors) / 14)


def test_several_models_and_no_alexnet_is_no_normaliser(table):
    two = table("corruption,severity,top1,model\nfog,,50,a\nfog,,40,b\n")
    cells = read_cells(two)
    assert score(cells).frame.groupby("model").size().to_dict() == {"a": 4, "b": 4}
    with pytest.raises(DataError, match="a normaliser must be one model, or contain one named AlexNet, got a, b"):
        score(cells, cells)


def test_the_severity_column_may_be_missing_and_clean_may_be_none(table):
    frame = score(read_cells(table("corruption,top1\nnone,70\nfog,40\nspatter,20\n"))).frame
    assert frame["name"].tolist()[:2] == ["clean", "mean (1 of 15)"]
    assert by_name(frame).loc["spatter", "corruption_error"] == pytest.approx(100 * 80 / 71.7512)


def test_shown_as_text(table):
    shown = display_summary(score(read_cells(table(MEANS))))
    assert list(shown) == ["model", "corruption", "n", "top-1 %", "Δ to clean", "CE / mCE %"]
    assert shown.iloc[-2].tolist() == ["table", "mCE", "–", "–", "–", "76.70"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corruption,accuracy\nfog,50\n", "must have the columns corruption, severity and top1 .* missing: top1"),
        ("corruption,severity,top1\n", "holds no rows"),
        ("", "cannot be read as CSV: No columns to parse"),
        (
            "corruption,severity,top1\nfog,1,fifty\n",
            "row 1: top1 must be a number from 0 to 100, in percent, got 'fifty'",
        ),
        ("corruption,severity,top1\nfog,1,50\nfog,2,\n", "row 2: top1 must be a number .* got ''"),
        ("corruption,severity,top1\nfog,1,nan\n", "got 'nan'"),
        ("corruption,severity,top1\nfog,1,104\n", "row 1: top1 must be a number from 0 to 100, in percent, got '104'"),
        ("corruption,severity,top1\nfog,1,-3\n", "got '-3'"),
        ("corruption,severity,top1\nfog,6,50\n", "severity must be an integer from 1 to 5, .* got '6'"),
        ("corruption,severity,top1\nfog,2.5,50\n", "severity must be an integer from 1 to 5, .* got '2.5'"),
        ("corruption,severity,top1\nfog,0,50\n", "severity must be an integer from 1 to 5, .* got '0'"),
        ("corruption,severity,top1\nclean,3,50\n", "row 1: clean has no severity; leave it empty or 0, got '3'"),
        ("corruption,severity,top1\nfog,1,50\nfog,1,50\n", "table: fog severity 1 appears twice"),
        ("corruption,severity,top1\nclean,,70\nnone,0,71\n", "clean appears twice"),
        ("corruption,severity,top1\nfog,,50\nfog,1,60\n", "fog has both a mean and single severities"),
        ("corruption,severity,top1\nfog,1,0.5\nfog,2,0.76\n", "the largest value is 0.76, .* multiply by 100"),
        ("corruption,severity,top1,n\nfog,1,50,many\n", "n must be the number of images, at least 1, got 'many'"),
        ("corruption,severity,top1\nfog,1,50,7\nfog,2,50,8\n", "cannot be read as CSV"),
        ("corruption,severity,top1\nfog,1,50\nfog,2,50,8\n", "cannot be read as CSV"),
    ],
)
def test_a_bad_table_is_one_clear_error(table, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read_cells(table(text))
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_corruption_gets_a_suggestion(table):
    path = table("corruption,severity,top1\nfog,1,50\ngausian_noise,1,50\n")
    with pytest.raises(
        UnknownNameError, match=r"row 2: unknown corruption 'gausian_noise'\. Did you mean 'gaussian_noise'"
    ):
        read_cells(path)


def test_files_that_are_not_tables(tmp_path):
    with pytest.raises(DataError, match="no table at"):
        read_cells(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_cells(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(BivoRobustError, match=r"binary\.csv"):
        read_cells(tmp_path / "binary.csv")


def test_one_fraction_among_percentages_is_a_percentage(table):
    cells = read_cells(table("corruption,severity,top1\nclean,,57\nshot_noise,5,0.8\n"))
    assert isinstance(cells, pd.DataFrame)
    assert cells["top1"].tolist() == [57, 0.8]


def test_spaces_and_a_byte_order_mark_do_no_harm(table):
    path = table("")
    path.write_bytes("\ufeffcorruption, severity, top1\nfog , 1.0, 50\n".encode())
    assert read_cells(path)[["corruption", "severity", "top1"]].values.tolist() == [["fog", 1, 50.0]]


def test_data_that_alexnet_says_nothing_of_get_no_corruption_errors(tmp_path):
    rows = "model,data,corruption,severity,n,top1\nnet,{data},clean,,60,80\nnet,{data},fog,3,60,50\n"
    for data, kinds in (("demo", set()), ("cifar-10-c:mine", set()), ("val", {"mce", "relative_mce"})):
        table = tmp_path / "cells.csv"
        table.write_text(rows.format(data=data))
        found = score(read_cells(table))
        assert set(found.frame["kind"]) & {"mce", "relative_mce"} == kinds
        assert found.frame["corruption_error"].notna().any() == bool(kinds)
        assert any("AlexNet's errors on ImageNet-C do not apply to" in note for note in found.notes) == (not kinds)
        assert found.frame["n"].tolist() == [60] * len(found.frame) and found.frame["n"].dtype == int
    table.write_text(rows.format(data="demo"))
    assert {"mce"} <= set(score(read_cells(table), read_cells(table).assign(model="AlexNet")).frame["kind"])
