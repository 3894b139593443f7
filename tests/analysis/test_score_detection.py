import math

import pytest

from robustbench_bi.analysis.score_detection import is_of_detectors, read_detection_cells, score_detection
from robustbench_bi.errors import DataError, UnknownNameError
from robustbench_bi.metrics.robustness import benchmark_corruptions
from robustbench_bi.reports.tables.display import display_detection_scores

HEAD = "model,task,corruption,severity,AP,AP50,APs\n"


def rows_of(model, task, clean, scale=1.0, small=True):
    """Cells whose AP is clean / (2 + place of the corruption / 10 + severity / 5), with AP50 twice that."""
    cells = [("none", 0, clean)] + [
        (name, severity, clean / (2 + place / 10 + severity / 5))
        for place, name in enumerate(benchmark_corruptions())
        for severity in range(1, 6)
    ]
    return "".join(
        f"{model},{task},{name},{severity},{scale * ap!r},{scale * 1.5 * ap!r},{scale * ap / 3 if small else -1}\n"
        for name, severity, ap in cells
    )


@pytest.fixture
def table(tmp_path):
    def write(text):
        (tmp_path / "cells.csv").write_text(text, encoding="utf-8")
        return tmp_path / "cells.csv"

    return write


def row(found, metric="AP", **which):
    frame = found.frame[found.frame["metric"] == metric]
    for name, value in which.items():
        frame = frame[frame[name] == value]
    (one,) = frame.to_dict(orient="records")
    return one


def mean_of(clean):
    ratios = [1 / (2 + place / 10 + severity / 5) for place in range(15) for severity in range(1, 6)]
    return 100 * clean * sum(ratios) / 75


def test_p_mpc_and_rpc_of_each_model_and_task(table):
    path = table(HEAD + rows_of("a", "bbox", 0.4) + rows_of("a", "segm", 0.3) + rows_of("b", "bbox", 0.2))
    found = score_detection(read_detection_cells(path))
    assert found.frame.groupby(["model", "task"], sort=False).size().to_dict() == {
        ("a", "bbox"): 3,
        ("a", "segm"): 3,
        ("b", "bbox"): 3,
    }
    for model, task, clean in (("a", "bbox", 0.4), ("a", "segm", 0.3), ("b", "bbox", 0.2)):
        own = row(found, model=model, task=task)
        assert own["name"] == "mPC" and own["cells"] == 75
        assert own["P"] == pytest.approx(100 * clean)
        assert own["mPC"] == pytest.approx(mean_of(clean), rel=1e-12)
        assert own["rPC"] == pytest.approx(mean_of(clean) / clean, rel=1e-12)


def test_percent_gives_the_same_as_fractions_and_only_fractions_are_remarked(table):
    fractions = score_detection(read_detection_cells(table(HEAD + rows_of("a", "bbox", 0.4))))
    percent = score_detection(read_detection_cells(table(HEAD + rows_of("a", "bbox", 0.4, scale=100))))
    for metric in ("AP", "AP50", "APs"):
        assert row(fractions, metric)["mPC"] == pytest.approx(row(percent, metric)["mPC"], rel=1e-12)
    assert "read as fractions" in fractions.notes[0] and list(percent.notes) == []


def test_one_model_in_percent_leaves_another_in_fractions(table):
    path = table(HEAD + rows_of("a", "bbox", 0.4, scale=100) + rows_of("b", "bbox", 0.4))
    found = score_detection(read_detection_cells(path))
    assert row(found, model="a")["mPC"] == pytest.approx(row(found, model="b")["mPC"], rel=1e-12)


def test_other_corruptions_enter_no_mean(table):
    plain = score_detection(read_detection_cells(table(HEAD + rows_of("a", "bbox", 0.4))))
    extra = "".join(f"a,bbox,spatter,{severity},0.39,0.4,0.1\n" for severity in range(1, 6))
    with_extra = score_detection(read_detection_cells(table(HEAD + rows_of("a", "bbox", 0.4) + extra)))
    assert row(with_extra)["mPC"] == row(plain)["mPC"] and row(with_extra)["cells"] == 75
    assert "spatter" in set(with_extra.corruptions["name"])


def test_a_part_of_the_cells_has_a_mean_but_no_mpc(table):
    text = "\n".join((HEAD + rows_of("a", "bbox", 0.4)).splitlines()[:-1])
    found = score_detection(read_detection_cells(table(text)))
    own = row(found)
    assert own["name"] == "mPC* (74 of 75 cells)"
    assert math.isnan(own["mPC"]) and math.isnan(own["rPC"])
    assert own["relative"] == pytest.approx(100 * own["mean"] / 40)
    assert any("jpeg_compression severity 5" in note for note in found.notes)
    assert "mean / P %" in display_detection_scores(found.frame)


def test_an_undefined_size_is_no_number(table):
    found = score_detection(read_detection_cells(table(HEAD + rows_of("a", "bbox", 0.4, small=False))))
    small = row(found, "APs")
    assert all(math.isnan(small[name]) for name in ("P", "mPC", "rPC", "mean"))
    assert any("APs is undefined in 76 of 76 cells" in note for note in found.notes)
    shown = display_detection_scores(found.frame).set_index("metric")
    assert shown.loc["APs"].tolist() == ["–"] * 3 and "mPC %" in shown, "what is undefined has no name either"
    # Taken for -1 percent or 0, one undefined cell would lower the mean.
    one = rows_of("a", "bbox", 0.4).replace(",0.13333333333333333\n", ",-1\n", 1)
    some = row(score_detection(read_detection_cells(table(HEAD + one))), "APs")
    assert math.isnan(some["P"]) and some["mPC"] == pytest.approx(mean_of(0.4) / 3, rel=1e-9)


def test_means_over_severities_and_no_clean_row(table):
    text = "corruption,AP\n" + "".join(f"{name},{place + 10}\n" for place, name in enumerate(benchmark_corruptions()))
    found = score_detection(read_detection_cells(table(text)))
    own = row(found)
    assert (own["model"], own["task"], own["mPC"]) == ("cells", "bbox", pytest.approx(17))
    assert math.isnan(own["P"]) and math.isnan(own["rPC"])
    assert any("no clean row" in note for note in found.notes)


def test_masks_beside_boxes_are_a_task_of_their_own(table):
    text = "corruption,severity,n,AP,AP50,AR,mask_AP,mask_AP50,mask_AR\nnone,0,9,40,60,70,30,50,65\nfog,1,9,20,30,40,"
    found = score_detection(read_detection_cells(table(text + "6,9,20\n")))
    assert found.frame[["task", "metric", "P", "mean"]].to_numpy().tolist() == [
        ["bbox", "AP", 40, 20],
        ["bbox", "AP50", 60, 30],
        ["segm", "AP", 30, 6],
        ["segm", "AP50", 50, 9],
    ]
    no_masks = "corruption,severity,AP,mask_AP\nnone,0,40,\nfog,1,20,\n"
    assert set(score_detection(read_detection_cells(table(no_masks))).frame["task"]) == {"bbox"}


def test_masks_alone_are_of_masks(table):
    path = table("corruption,severity,mask_AP,mask_AP50\nnone,0,30,50\nfog,1,6,9\n")
    assert is_of_detectors(path)
    found = score_detection(read_detection_cells(path))
    assert found.frame[["task", "metric", "P", "mean"]].to_numpy().tolist() == [
        ["segm", "AP", 30, 6],
        ["segm", "AP50", 50, 9],
    ]


def test_an_empty_model_or_task_is_as_none(table):
    path = table("model,task,corruption,AP\n,,none,40\n,bbox,fog,30\na,segm,fog,20\n")
    found = score_detection(read_detection_cells(path))
    assert found.frame[["model", "task", "P", "mean"]].fillna(0).to_numpy().tolist() == [
        ["cells", "bbox", 40, 30],
        ["a", "segm", 0, 20],
    ]


def test_what_may_be_fractions_among_percent_is_said(table):
    found = score_detection(read_detection_cells(table("corruption,AP\nnone,40\nfog,30\nsnow,0.2\n")))
    assert any("AP is at most 1 in every cell of snow, and was read as percent" in note for note in found.notes)
    weak = score_detection(read_detection_cells(table("corruption,AP\nnone,0.9\nfog,1.1\n")))
    assert row(weak)["P"] == 0.9 and not any("fractions" in note for note in weak.notes)


def test_cells_that_every_corruption_lacks_are_named_once(table):
    kept = [line for line in rows_of("a", "bbox", 0.4).splitlines() if ",2," not in line and ",4," not in line]
    found = score_detection(read_detection_cells(table(HEAD + "\n".join(kept))))
    assert "a bbox: missing from the 15 × 5 cells: severities 2, 4 of every corruption" in found.notes


def test_which_tables_are_of_detectors(table):
    assert is_of_detectors(table("corruption,AP\nfog,30\n"))
    assert not is_of_detectors(table("corruption,top1\nfog,30\n"))
    with pytest.raises(DataError, match="both columns top1 and AP"):
        is_of_detectors(table("corruption,AP,top1\nfog,30,40\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corruption,mAP\nfog,30\n", "must have the columns corruption, severity and AP"),
        ("corruption,AP,ap\nfog,30,30\n", "each once"),
        ("corruption,AP,AP\nfog,30,3\n", "has the column AP twice"),
        ("corruption;AP\nfog;30,5\n", "cannot be read as CSV: .*; commas must separate its columns"),
        ("corruption,AP\nfog,good\n", "row 1: AP must be a number .* got 'good'"),
        ("corruption,AP\nfog,\n", "row 1: AP must be a number .* got ''"),
        ("corruption,AP\nfog,nan\n", "got 'nan'"),
        ("corruption,AP\nfog,-3\n", "got '-3'"),
        ("corruption,AP\nfog,101\n", "got '101'"),
        ("corruption,severity,AP\nfog,1,30\nfog,1,30\n", "cells bbox: fog severity 1 appears twice"),
        ("corruption,severity,AP\nfog,,30\nfog,1,30\n", "fog has both a mean and single severities"),
        ("corruption,AP,AP50\nnone,40,0.6\nfog,30,0.5\n", "AP 40 is above AP50 0.6, which is impossible"),
        ("corruption,AP,AP50\nnone,0.4,60\nfog,0.3,50\n", "AP is at most 0.4 and AP50 up to 60"),
        ("corruption,AP\nnone,40\nfog,0.3\nsnow,0.2\n", "clean is 40 and no corrupted cell is above 0.3"),
        ("corruption,AP\nnone,0.4\nfog,30\nsnow,20\n", "clean is 0.4 and corrupted cells are up to 30; give all"),
        ("corruption,AP,mask_AP\nnone,0.4,0.3\nfog,0.3,x\n", "row 2: AP must be a number .* got 'x'"),
    ],
)
def test_a_bad_table_is_one_clear_error(table, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read_detection_cells(table(text))
    assert "\n" not in str(caught.value)


def test_an_unknown_corruption_gets_a_suggestion(table):
    with pytest.raises(UnknownNameError, match="row 1: unknown corruption 'fogg'"):
        read_detection_cells(table("corruption,AP\nfogg,30\n"))
