"""Other pictures under the same names and of the same sizes, as uncompressed files have, are another run."""

import json

import pytest
from coloured import Reader, picture

import robustbench_bi as rb
from robustbench_bi.analysis.baseline import outcomes_of, read_baseline, write_baseline
from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.analysis.gate import gate_frame
from robustbench_bi.corrupted_files import write_corrupted
from robustbench_bi.data import dataset as dataset_module
from robustbench_bi.data import open_data
from robustbench_bi.errors import DataError, RunMismatchError
from robustbench_bi.runs import open_run
from robustbench_bi.runs.identity import fingerprint_of
from robustbench_bi.runs.images import FILE

IMAGES = 12
BLACK = {"suite": "contrast", "severities": 1, "jpeg": None}


def fill(root, answers):
    """Three classes of uncompressed pictures that show these answers."""
    for number, answer in enumerate(answers):
        path = root / f"class {number % 3}" / f"{number:02d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(answer).save(path)
    return root


@pytest.fixture
def right(tmp_path):
    return fill(tmp_path / "right", [number % 3 for number in range(IMAGES)])


@pytest.fixture
def wrong(tmp_path):
    return fill(tmp_path / "wrong", [(number + 1) % 3 for number in range(IMAGES)])


def clean_accuracy(data, out, **options):
    run = rb.evaluate(Reader(3), str(data), out=out, **{**BLACK, **options})
    return run.cells()["top1"][0], run


def test_names_and_sizes_alone_do_not_tell_them_apart(right, wrong):
    one, other = open_data(right), open_data(wrong)
    assert one.listing_hash == other.listing_hash
    assert one.content_hash != other.content_hash
    assert open_data(right, limit=5).content_hash != one.content_hash
    assert open_data("demo").content_hash == ""


def test_a_second_folder_gets_its_own_numbers(right, wrong, tmp_path):
    accuracy, first = clean_accuracy(right, tmp_path / "runs")
    assert (accuracy, clean_accuracy(right, tmp_path / "runs")[1].directory) == (100.0, first.directory)
    accuracy, second = clean_accuracy(wrong, tmp_path / "runs")
    assert accuracy == 0.0
    assert first.directory != second.directory
    assert first.cells()["top1"][0] == 100.0


def test_stored_cells_of_other_pictures_are_another_run(tmp_path):
    for place, answer in (("a", 0), ("b", 1)):
        for number in range(4):
            folder = tmp_path / place / "fog" / "1" / f"class {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            picture(answer).save(folder / f"{number}.bmp")
    accuracies = [
        rb.evaluate(Reader(2), f"imagenet-c:{tmp_path / place}", suite="fog", severities=1, out=tmp_path / "runs")
        for place in ("a", "b")
    ]
    assert len({run.directory for run in accuracies}) == 2


def test_the_clean_pictures_of_stored_ones_count_too(right, wrong, tmp_path):
    for number in range(IMAGES):
        folder = tmp_path / "c" / "fog" / "1" / f"class {number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        picture(number % 3).save(folder / f"{number:02d}.bmp")
    options = {"suite": "fog", "severities": 1, "out": tmp_path / "runs"}
    runs = [rb.evaluate(Reader(3), f"imagenet-c:{tmp_path / 'c'}", clean=str(own), **options) for own in (right, wrong)]
    assert [run.cells()["top1"].tolist() for run in runs] == [[100.0, 100.0], [0.0, 100.0]]


def test_the_images_of_a_run_are_not_opened_where_their_contents_are_others(right, wrong, tmp_path):
    run = clean_accuracy(right, tmp_path / "runs")[1]
    assert len(run.open_data()) == IMAGES
    with pytest.raises(DataError, match="no longer holds the same images: their names and sizes are the same, but"):
        run.open_data(str(wrong))
    older = dict(run.config)
    del older["content_hash"]
    older["fingerprint"] = fingerprint_of(older)
    (run.directory / "run.json").write_text(json.dumps(older))
    assert len(open_run(run.directory).open_data(str(wrong))) == IMAGES


def test_they_are_not_compared(right, wrong, tmp_path):
    runs = [clean_accuracy(own, tmp_path / "runs")[1] for own in (right, wrong)]
    write_baseline(outcomes_of(runs[0]), tmp_path / "baseline.json")
    baseline = read_baseline(tmp_path / "baseline.json")
    assert not gate_frame(outcomes_of(runs[0]), baseline).regressed
    said = r"was made on other images with the same names, .* on its own"
    with pytest.raises(RunMismatchError, match=said):
        gate_frame(outcomes_of(runs[1]), baseline)
    with pytest.raises(RunMismatchError, match=said):
        comparison_frame([runs[1]], runs[0])


def as_older(run, out, checksums):
    """The run as a version wrote it that kept no hash of contents."""

    content = json.loads((run.directory / "run.json").read_text())
    del content["content_hash"]
    content["fingerprint"] = fingerprint_of(content)
    folder = run.directory.rename(out / f"{run.name}-{content['fingerprint'][:12]}")
    (folder / "run.json").write_text(json.dumps(content))
    if not checksums:
        (folder / FILE).unlink()
    return open_run(folder)


@pytest.mark.parametrize("checksums", [True, False])
def test_a_run_from_before_goes_on_and_compares(right, wrong, tmp_path, checksums):
    out = tmp_path / "runs"
    older = as_older(clean_accuracy(right, out)[1], out, checksums)
    assert clean_accuracy(right, out)[1].directory == older.directory
    if checksums:
        accuracy, other = clean_accuracy(wrong, out)
        assert (accuracy, other.directory != older.directory) == (0.0, True)
    newer = clean_accuracy(right, tmp_path / "elsewhere")[1]
    write_baseline(outcomes_of(older), tmp_path / "baseline.json")
    assert "content_hash" not in (tmp_path / "baseline.json").read_text()
    assert not gate_frame(outcomes_of(newer), read_baseline(tmp_path / "baseline.json")).regressed
    assert comparison_frame([newer], older).frame["delta"].abs().max() == 0


def test_corrupt_notices_another_source(right, wrong, tmp_path):
    options = {"suite": "contrast", "severities": 1, "size": 64, "workers": 1}
    write_corrupted(right, tmp_path / "c", **options)
    with pytest.raises(
        RunMismatchError, match="other images or settings: the images there have the same names and sizes"
    ):
        write_corrupted(wrong, tmp_path / "c", **options)
    assert write_corrupted(right, tmp_path / "c", **options).written == 0
    description = json.loads((tmp_path / "c" / "bivo-robust.json").read_text())
    del description["identity"]["content_hash"]
    (tmp_path / "c" / "bivo-robust.json").write_text(json.dumps(description))
    assert write_corrupted(right, tmp_path / "c", **options).written == 0


def test_of_many_files_a_sample_is_read(right, monkeypatch):
    read = []
    monkeypatch.setattr(dataset_module, "SAMPLED_FILES", 5)
    monkeypatch.setattr(dataset_module, "SAMPLED_IMAGES", 2)
    dataset = open_data(right)
    before = dataset.contents
    monkeypatch.setitem(dataset.__dict__, "contents", lambda ids: read.extend(ids.tolist()) or before(ids))
    assert len(dataset.content_hash) == 64
    assert read == dataset.limited(5).image_ids.tolist()


def test_a_file_that_is_not_there_is_left_to_those_who_decode(right, tmp_path):
    (right / "class 0" / "00.bmp").unlink()
    (right / "class 0" / "00.bmp").symlink_to(tmp_path / "nowhere")
    accuracy, run = clean_accuracy(right, tmp_path / "runs", skip_broken=True)
    assert (accuracy, run.config["n"]) == (100.0, IMAGES - 1)
