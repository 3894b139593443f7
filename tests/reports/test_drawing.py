"""Figures that a process of its own draws: the same files, the same errors, and no process that stays."""

import os

import pytest

from robustbench_bi.analysis import comparison_frame
from robustbench_bi.errors import DataError
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports import drawing, write_comparison


def _end(*_):
    os._exit(9)


def test_a_process_of_its_own_writes_the_same_files_and_says_what_went_wrong(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "_LARGE", 0)
    monkeypatch.setattr(drawing, "available_cores", lambda: 2)
    baseline, *runs = (make_run(name, n=40, corruptions=("fog", "snow"), luck=own) for own, name in enumerate("ab"))
    bars = comparison_frame(runs, baseline, resampling=Resampling(repeats=100))
    with drawing.drawing_aside(1) as begin:
        assert begin is not drawing.when_asked
        aside = write_comparison(runs, baseline, bars, tmp_path / "aside", begin=begin)
        with pytest.raises(FileNotFoundError, match="no-such-folder"):
            begin(os.listdir, "no-such-folder")()
        drawn_by = begin(os.getpid)()
    assert drawn_by != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(drawn_by, 0)
    here = write_comparison(runs, baseline, bars, tmp_path / "here")
    assert [path.name for path in aside] == [path.name for path in here]
    for path, other in zip(aside, here, strict=True):
        assert path.read_bytes() == other.read_bytes(), path.name
    with pytest.raises(DataError, match="the process that draws the figures died"), drawing.drawing_aside(1) as begin:
        begin(_end)()


@pytest.mark.parametrize(("records", "cores"), [(10**9, 1), (1000, 2)])
def test_one_core_and_few_records_are_drawn_here(records, cores, monkeypatch):
    monkeypatch.setattr(drawing, "available_cores", lambda: cores)
    with drawing.drawing_aside(records) as begin:
        assert begin is drawing.when_asked
        assert begin(os.getpid)() == os.getpid()
