import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from robustbench_bi.analysis.baseline import Outcomes, _checksum, outcomes_of, read_baseline, write_baseline
from robustbench_bi.errors import DataError, UnknownNameError
from robustbench_bi.runs.identity import fields_compared
from robustbench_bi.tasks.classification import Answers


@pytest.fixture
def saved(make_run, tmp_path):
    """A run's outcomes, and its baseline file."""
    outcomes = outcomes_of(make_run(n=203, corruptions=("fog", "contrast"), first_image=7, jpeg=85))
    write_baseline(outcomes, tmp_path / "kept" / "baseline.json")
    return outcomes, tmp_path / "kept" / "baseline.json"


def test_outcomes_are_those_of_the_records(make_run):
    run = make_run(n=50, corruptions=("fog",))
    outcomes = outcomes_of(run)
    records = run.records().sample(frac=1, random_state=0)
    wanted = records.assign(right=records["rank"] == 0).pivot(
        index="image_id", columns=["corruption", "severity"], values="right"
    )
    assert outcomes.cells == (("none", 0), *(("fog", severity) for severity in (1, 2, 3, 4, 5)))
    assert (outcomes.kept.correct == wanted[list(outcomes.cells)].to_numpy()).all()
    declared = {
        name: own for how in ("must agree", "noted", "normalisation") for name, own in fields_compared(how).items()
    }
    added = {name for name, own in declared.items() if own.added}
    assert "task" in added
    assert set(outcomes.settings) == {"data", *declared} - added, "what was added later is not there by default"
    assert not {"weights_hash", "model", "device"} & set(outcomes.settings)


def test_what_is_read_is_what_was_written(saved):
    outcomes, path = saved
    kept = read_baseline(path)
    assert (kept.run, kept.settings, kept.cells) == (outcomes.run, outcomes.settings, outcomes.cells)
    assert np.array_equal(kept.image_ids, outcomes.image_ids)
    for name in ("labels", "correct"):
        assert np.array_equal(getattr(kept.kept, name), getattr(outcomes.kept, name))


def test_the_same_run_gives_the_same_file_with_readable_counts(saved, tmp_path):
    outcomes, path = saved
    write_baseline(outcomes, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell["correct"] for cell in cells] == outcomes.kept.correct.sum(axis=0).tolist()


def test_the_committed_baseline_is_written_again_byte_by_byte(tmp_path):
    committed = Path(__file__).parents[2] / "reports" / "gate" / "baseline.json"
    write_baseline(read_baseline(committed), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == committed.read_bytes()


def test_a_baseline_of_before_or_after_a_setting_was_added_is_read(saved, tmp_path):
    _, path = saved
    contents = json.loads(path.read_text(encoding="utf-8"))
    del contents["checksum"], contents["settings"]["precision"]
    contents["settings"]["of_later"] = 7
    path.write_text(json.dumps({**contents, "checksum": _checksum(contents)}), encoding="utf-8")
    kept = read_baseline(path)
    assert "precision" not in kept.settings and kept.settings["of_later"] == 7
    write_baseline(kept, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))["settings"] == contents["settings"]


def test_a_baseline_of_an_unknown_task_is_refused(saved):
    _, path = saved
    contents = json.loads(path.read_text(encoding="utf-8"))
    del contents["checksum"]
    contents["settings"]["task"] = "juggling"
    path.write_text(json.dumps({**contents, "checksum": _checksum(contents)}), encoding="utf-8")
    with pytest.raises(UnknownNameError, match="unknown task 'juggling'"):
        read_baseline(path)


def test_the_layout_of_the_file_does_not_matter(saved):
    """A repository may change line ends, an editor the indentation."""
    outcomes, path = saved
    path.write_bytes(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=4).replace("\n", "\r\n").encode())
    assert (read_baseline(path).kept.correct == outcomes.kept.correct).all()


def test_a_baseline_is_small(tmp_path):
    """At most two thirds more than the bits themselves for the worst case of 500 images, 76 cells."""
    generator = np.random.default_rng(0)
    cells = tuple(("fog", number) for number in range(76))
    correct = generator.random((500, 76)) < 0.5
    run = {"name": "net", "fingerprint": "f" * 64}
    ids = np.sort(generator.permutation(50_000)[:500])
    write_baseline(Outcomes(run, {}, ids, cells, Answers(ids % 1000, correct)), tmp_path / "baseline.json")
    assert (tmp_path / "baseline.json").stat().st_size < 20_000


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"no baseline at .*b\.json; make one with: bivo-robust gate RUN --save /"):
        read_baseline(tmp_path / "b.json")
    with pytest.raises(DataError, match="is a folder, not a baseline; save one with: bivo-robust gate RUN --save"):
        read_baseline(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated(saved, share):
    _, path = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"cannot be read as a baseline .*save it again with gate --save"):
        read_baseline(path)


@pytest.mark.parametrize(
    "text", ["[]", '"text"', "{}", '{"format": "another"}', "[" * 100_000, "\x80\x04pickle", "1e999", "null"]
)
def test_another_file(tmp_path, text):
    (tmp_path / "b.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"is not a baseline; expected|cannot be read as a baseline") as caught:
        read_baseline(tmp_path / "b.json")
    assert len(str(caught.value)) < 1000


def test_another_schema(saved):
    _, path = saved
    path.write_text(path.read_text(encoding="utf-8").replace('"schema": 1', '"schema": 2'), encoding="utf-8")
    with pytest.raises(DataError, match=r"has baseline schema 2; this version reads 1\. Save it again"):
        read_baseline(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 0', '"seed": 1'),
        ('"jpeg": 85', '"jpeg": 95'),
        ('"correct": 1', '"correct": 2'),
        ('"images": "eN', '"images": "eM'),
    ],
)
def test_changed_by_hand(saved, old, new):
    _, path = saved
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match="was changed after it was saved: its checksum does not match"):
        read_baseline(path)


def test_without_a_checksum(saved):
    _, path = saved
    contents = json.loads(path.read_text(encoding="utf-8"))
    del contents["checksum"]
    path.write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(DataError, match="its checksum does not match"):
        read_baseline(path)


def packed(raw):
    return base64.b64encode(zlib.compress(raw)).decode()


def change_count(contents):
    contents["cells"][0]["correct"] -= 1


def change_bits(contents):
    contents["cells"][1]["images"] = packed(b"\xff" * 200)


def inflate(contents):
    contents["labels"] = packed(bytes(50_000_000))


def repeat_cell(contents):
    contents["cells"].append(contents["cells"][0])


def repeat_image(contents):
    contents["image_id_steps"] = packed(bytes(8 * contents["n"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda contents: contents.pop("cells"), "KeyError"),
        (lambda contents: contents.update(n="many"), "ValueError"),
        (lambda contents: contents.update(n=10**30), "OverflowError"),
        (lambda contents: contents.update(n=-1), "ValueError"),
        (lambda contents: contents.update(n=202), "expected 1616 packed bytes, got more"),
        (lambda contents: contents.update(settings=None), "TypeError"),
        (lambda contents: contents.update(cells=[]), "images and cells must be there, each once"),
        (lambda contents: contents.update(labels="not base64"), "Error"),
        (lambda contents: contents.update(labels=base64.b64encode(b"not zlib").decode()), "incorrect header check"),
        (change_count, "correct images, but their bits give"),
        (change_bits, "expected 26 packed bytes, got more"),
        (inflate, "expected 812 packed bytes, got more"),
        (repeat_cell, "images and cells must be there, each once"),
        (repeat_image, "images and cells must be there, each once"),
    ],
)
def test_unsound_contents_with_a_right_checksum(saved, change, message):
    _, path = saved
    contents = json.loads(path.read_text(encoding="utf-8"))
    del contents["checksum"]
    change(contents)
    path.write_text(json.dumps({**contents, "checksum": _checksum(contents)}), encoding="utf-8")
    with pytest.raises(DataError, match=f"is not a valid baseline .*{message}"):
        read_baseline(path)


def test_where_it_cannot_be_written(saved, tmp_path):
    outcomes, _ = saved
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        write_baseline(outcomes, tmp_path / "file" / "baseline.json")
