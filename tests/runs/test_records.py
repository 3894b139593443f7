import json

import numpy as np
import pandas as pd
import pytest

from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.runs.records import cell_file, is_whole, write_cell
from robustbench_bi.runs.run import Run, open_run
from robustbench_bi.tasks.classification import COLUMNS

RANKS = {("none", 0): [0, 0, 1, 7], ("fog", 3): [0, 4, 5, 9]}


def columns(ranks):
    """Record columns of images numbered from 10, with these ranks."""
    n = len(ranks)
    return {
        "image_id": np.arange(10, 10 + n),
        "label": np.zeros(n, dtype=np.int64),
        "prediction": np.minimum(ranks, 1),
        "rank": np.array(ranks),
        "confidence": np.full(n, 0.5),
        "loss": np.array(ranks, dtype=np.float64),
    }


@pytest.fixture
def run(tmp_path, make_config, write_run):
    """A finished run of two cells in blocks of three images."""
    config = make_config(n=4, block_size=3, corruptions=("fog",), severities=(3,), name="net")
    write_run(tmp_path, config, {cell: columns(ranks) for cell, ranks in RANKS.items()})
    return open_run(tmp_path)


def test_a_cell_file_is_plain_parquet_of_the_declared_types(run):
    frame = pd.read_parquet(run.directory / "records" / "fog-3-0000.parquet")
    cell = {"corruption": "category", "severity": "int8"}
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == cell | COLUMNS
    assert set(zip(frame["corruption"], frame["severity"], strict=True)) == {("fog", 3)}
    assert frame["rank"].tolist() == [0, 4, 5]


def test_records_of_all_cells_come_in_order(run):
    records = run.records()
    assert records.columns.tolist() == ["corruption", "severity", *COLUMNS]
    assert records["rank"].tolist() == [0, 0, 1, 7, 0, 4, 5, 9]
    assert records["corruption"].tolist() == ["none"] * 4 + ["fog"] * 4


def test_cells_are_percent(run):
    cells = run.cells()
    assert cells["corruption"].tolist() == ["none", "fog"]
    assert cells["n"].tolist() == [4, 4]
    assert cells["top1"].tolist() == [50.0, 25.0]
    assert cells["top5"].tolist() == [75.0, 50.0]
    assert cells["loss"].tolist() == [2.0, 4.5]


def test_an_unfinished_run_says_what_is_missing(run):
    cell_file(run.directory, ("fog", 3), 1).unlink()
    assert run.missing() == [(("fog", 3), 1)]
    with pytest.raises(RunMismatchError, match=r"1 of \d cell-blocks are missing, the first is fog severity 3"):
        run.records()


def test_no_flipped_bit_is_read_as_another_record(run):
    path = cell_file(run.directory, ("fog", 3), 0)
    whole, expected = path.read_bytes(), Run(run.directory).records()
    noticed = 0
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        if is_whole(path, 3, COLUMNS):
            pd.testing.assert_frame_equal(Run(run.directory).records(), expected)
        else:
            noticed += 1
            with pytest.raises((DataError, RunMismatchError), match=path.name):
                Run(run.directory).records()
    assert noticed > len(whole) / 20


def test_a_damaged_or_short_file_is_not_whole(run):
    path = cell_file(run.directory, ("fog", 3), 0)
    assert is_whole(path, 3, COLUMNS)
    assert not is_whole(path, 2, COLUMNS)
    path.write_bytes(path.read_bytes()[:-10])
    assert not is_whole(path, 3, COLUMNS)
    assert not is_whole(path.with_name("absent"), 3, COLUMNS)


def test_wrong_columns_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="records must have the columns image_id, label"):
        write_cell(tmp_path / "x.parquet", {"image_id": np.zeros(1)}, COLUMNS, ("fog", 3), 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"record_schema": 99}'])
def test_a_folder_that_is_no_run_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError, match=str(tmp_path)):
        open_run(tmp_path)


def test_the_name_is_the_one_typed(run):
    assert isinstance(run, Run)
    assert run.name == "net"


def test_a_file_under_the_name_of_another_cell_is_refused(run):
    other = cell_file(run.directory, ("none", 0), 0)
    cell_file(run.directory, ("fog", 3), 0).write_bytes(other.read_bytes())
    assert not run.has_whole(("fog", 3), 0, 3)
    with pytest.raises(DataError, match=r"fog-3-0000\.parquet is damaged \(its records are of another cell\)"):
        run.records()


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("table", "cifar-10-c"), ("mean", [0.4, 0.5, 0.5])])
def test_a_changed_setting_of_a_run_is_noticed(run, name, value):
    assert open_run(run.directory).config["fingerprint"]
    path = run.directory / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), name: value}), encoding="utf-8")
    with pytest.raises(DataError, match="was changed after the run started"):
        open_run(run.directory)


def test_later_columns_are_kept_by_new_runs_and_left_out_by_older_ones(make_config, tmp_path):
    """A run begun before Brier scores were kept goes on without them, so that its files are alike."""
    columns = {name: np.zeros(3, dtype=dtype) for name, dtype in COLUMNS.items()} | {"brier": np.full(3, 0.25)}
    for layout, wanted in ((1, False), (2, False), (3, True)):
        run = Run(tmp_path / str(layout))
        run.directory.mkdir()
        config = make_config(n=3, corruptions=("fog",), severities=(1,), layout=layout)
        (run.directory / "run.json").write_text(json.dumps(config.as_json()))
        for cell in run.cell_names:
            run.write_block(cell, 0, columns, 3)
            assert run.has_whole(cell, 0, 3)
        assert ("brier" in run.records()) is wanted
        assert set(COLUMNS) <= set(run.records())


def test_a_later_column_that_some_files_lack_is_not_read(make_config, write_run, tmp_path):
    columns = {name: np.zeros(3, dtype=dtype) for name, dtype in COLUMNS.items()}
    config = make_config(n=3, corruptions=("fog",), severities=(1,))
    run = write_run(tmp_path, config, {("none", 0): columns, ("fog", 1): columns | {"brier": np.ones(3)}})
    assert "brier" not in run.records()
