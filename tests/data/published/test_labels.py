"""Labels that a file tells: tables, lists, the devkit's numbers, and ReaL's lists of classes."""

import json

import numpy as np
import pytest
from coloured import Reader, png, write

import robustbench_bi as rb
from robustbench_bi.analysis import summary_frame
from robustbench_bi.commands.output import print_summary
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.errors import DataError, InputError

WNIDS = list(imagenet_classes())
NUMBERS = [500, 7, 999, 0, 7, 42]
FILES = [f"ILSVRC2012_val_{place:08d}.JPEG" for place in range(1, 7)]


@pytest.fixture
def flat(tmp_path):
    """ILSVRC's validation pictures as published: one folder, no classes. The fourth is answered wrongly."""
    for file, number in zip(FILES, NUMBERS, strict=True):
        write(tmp_path / "val" / file, 1 if number == 0 else number)
    return tmp_path / "val"


def top1(source, tmp_path, network=None, **options):
    return rb.evaluate(network or Reader(), str(source), suite=(), out=tmp_path / "runs", **options).cells()["top1"][0]


def table(rows):
    return "".join(f"{row}\n" for row in rows)


NAMED = list(zip(FILES, NUMBERS, strict=True))
TABLES = {
    "kaggle.csv": table(
        [
            "ImageId,PredictionString",
            *(f"{file[:-5]},{WNIDS[n]} 111 108 441 193 {WNIDS[n]} 1 2 3 4" for file, n in NAMED),
        ]
    ),
    "val.txt": table(f"{file} {number}" for file, number in NAMED),
    "wnids.txt": table(WNIDS[number] for number in NUMBERS),
    "bare.csv": table(f"{file},{WNIDS[number]}" for file, number in NAMED),
    "headed.csv": table(["label,filename", *(f"{number},{file}" for file, number in NAMED)]),
    "id_beside.csv": table(["id;path;species", *(f"{at};{file};{WNIDS[n]}" for at, (file, n) in enumerate(NAMED))]),
    "id_and_label.csv": table(["id,label,file_name", *(f"{at},{n},{file}" for at, (file, n) in enumerate(NAMED))]),
    "bom.tsv": "\ufeff" + table(["path\tlabel", *(f"{file}\t{number}" for file, number in NAMED)]),
    "crlf.csv": table(f"val/{file},{number}" for file, number in NAMED).replace("\n", "\r\n"),
    "absolute.csv": table(f"/data/imagenet/val/{file},{number}" for file, number in NAMED),
    "windows.csv": table(f"val\\{file};{number}" for file, number in NAMED),
    "more.csv": table([f"other.JPEG,{WNIDS[3]}", *(f"./{file},{WNIDS[number]}" for file, number in NAMED)]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_file_of_labels_gives_each_image_its_label(flat, tmp_path, name):
    (tmp_path / name).write_text(TABLES[name], encoding="utf-8", newline="")
    dataset = open_data(str(flat), labels=tmp_path / name)
    assert dataset.class_set == "imagenet-1k"
    assert dict(zip(dataset.names(), dataset.labels.tolist(), strict=True)) == {
        f"{WNIDS[number]}/{file}": number for file, number in NAMED
    }
    # A line of headings is no label.
    assert any("of no image" in remark for remark in dataset.remarks) == (name == "more.csv")
    # As class folders would have it: by class, then by name.
    assert dataset.names()[1:3] == (f"{WNIDS[7]}/{FILES[1]}", f"{WNIDS[7]}/{FILES[4]}")
    assert top1(flat, tmp_path, labels=tmp_path / name) == pytest.approx(100 * 5 / 6)


def test_the_options_of_a_run_open_its_images_again(flat, tmp_path, monkeypatch):
    (tmp_path / "val.txt").write_text(TABLES["val.txt"])
    monkeypatch.chdir(tmp_path)
    run = rb.evaluate(Reader(), "val", suite=(), labels="val.txt", out="runs")
    monkeypatch.chdir("/")
    assert len(rb.open_run(tmp_path / run.directory).open_data()) == 6


def test_the_devkits_numbers_are_refused_without_its_table(flat, tmp_path):
    from scipy.io import savemat

    # The devkit counts classes in an order of its own: here backwards.
    truth = tmp_path / "devkit" / "ILSVRC2012_validation_ground_truth.txt"
    truth.parent.mkdir()
    truth.write_text(table(1000 - number for number in NUMBERS))
    with pytest.raises(DataError, match=r"development kit counts classes in an order of its own.*meta\.mat beside"):
        open_data(str(flat), labels=truth)
    kind = [("ILSVRC2012_ID", "i4"), ("WNID", "U9")]
    savemat(truth.parent / "meta.mat", {"synsets": np.array([(1000 - n, w) for n, w in enumerate(WNIDS)], dtype=kind)})
    assert top1(flat, tmp_path, labels=truth) == pytest.approx(100 * 5 / 6)


@pytest.mark.parametrize(
    ("labels", "said"), [("ab", "the 2 labels in sorted order, numbered from 0."), ("01", "the 2 labels by their own")]
)
def test_the_classes_of_a_file_of_labels_are_called_labels(tmp_path, capsys, labels, said):
    for place, _ in enumerate(labels):
        write(tmp_path / "data" / f"{place}.png", place)
    (tmp_path / "labels.csv").write_text(table(f"{place}.png,{label}" for place, label in enumerate(labels)))
    run = rb.evaluate(
        Reader(2), str(tmp_path / "data"), suite=(), labels=tmp_path / "labels.csv", out=tmp_path / "runs"
    )
    print_summary(run, summary_frame(run))
    assert f"Classes: {said}" in capsys.readouterr().out


def test_words_and_numbers_without_imagenet(tmp_path):
    for place in range(4):
        write(tmp_path / "data" / "deep" / f"{place}.png", place % 2)
    (tmp_path / "words.csv").write_text("0.png,ant\n1.png,bee\n2.png,ant\n3.png,bee\n")
    (tmp_path / "numbers.csv").write_text("0.png,0\n1.png,1\n2.png,0\n3.png,1\n")
    for name in ("words.csv", "numbers.csv"):
        assert top1(tmp_path / "data", tmp_path, Reader(2), labels=tmp_path / name) == 100.0
    (tmp_path / "classes.tsv").write_text("1\tant\tan ant\n0\tbee\ta bee\n")
    options = {"classes": tmp_path / "classes.tsv", "labels": tmp_path / "words.csv"}
    assert top1(tmp_path / "data", tmp_path, Reader(2), **options) == 0.0
    options["labels"] = tmp_path / "numbers.csv"
    assert open_data(str(tmp_path / "data"), **options).names()[0] == "ant/1.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(f"{file},{number}" for file, number in NAMED[:4]), r"no label for 2 \(ILSVRC2012_val_00000005.JPEG"),
        (
            table(f"{file},{number}" for file, number in [*NAMED, NAMED[0]]),
            "line 7: .* appears twice, first in line 1",
        ),
        (
            table(f"{file},{number}" for file, number in [*NAMED, (f"val/{FILES[0]}", 3)]),
            r"no label for 1 \(ILSVRC2012_val_00000001.JPEG\) of the 6 images, or several files of that name",
        ),
        (
            table(f"IMG_{place}.JPG,{number}" for place, (_, number) in enumerate(NAMED)),
            r"names none of the 6 images: it has names like IMG_0.JPG, the data names like ILSVRC2012_val_0.*"
            "; names are taken from column 1; to choose, let the first line name the columns: path and label$",
        ),
        (
            table(["id,photo,species", *(f"{place},{file},cat" for place, file in enumerate(FILES))]),
            "it has names like 0, .*; names are taken from column id; to choose",
        ),
        (table(f"{file},{number + 1}" for file, number in NAMED), "class numbers must be from 0 to 999, got 1000"),
        (
            table(f"{file},{-number}" for file, number in NAMED),
            "from 0 to 999, got -999 and 3 others",
        ),
        (
            table([*(f"{file},{number}" for file, number in NAMED[:5]), f"{FILES[5]},cat"]),
            "is one and cat is none",
        ),
        (table([f"{FILES[0]},5", f"{FILES[1]},"]), "line 2: expected a name and a label"),
        (
            table(WNIDS[number] for number in NUMBERS[:5]),
            "lists 5 labels .*, but there are 6",
        ),
        ("", "is empty; expected lines of a name and a label"),
        ("a.png,caf\xe9\n".encode("latin-1"), "is not valid UTF-8 \\(byte 10\\)"),
        (table(f"{file},n99999999" for file in FILES), "has only one class|n99999999"),
    ],
)
def test_files_of_labels_that_do_not_fit_are_refused(flat, tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        top1(flat, tmp_path, labels=path)


def test_a_bare_name_and_a_path_may_be_two_images(tmp_path):
    write(tmp_path / "data" / "a.png", 0)
    write(tmp_path / "data" / "deep" / "a.png", 1)
    (tmp_path / "labels.csv").write_text("a.png,ant\ndeep/a.png,bee\n")
    assert open_data(str(tmp_path / "data"), labels=tmp_path / "labels.csv").names() == ("ant/a.png", "bee/a.png")


def test_integers_of_unknown_classes_must_be_all_of_them(tmp_path):
    for place in range(3):
        write(tmp_path / "data" / f"{place}.png", place)
    (tmp_path / "labels.csv").write_text("0.png,1\n1.png,2\n2.png,3\n")
    with pytest.raises(DataError, match=r"1 to 3; class numbers must be 0 to 2 without gaps.*--classes"):
        open_data(str(tmp_path / "data"), labels=tmp_path / "labels.csv")


REAL = [[500, 501], [8], [], [0, 1], [7], [3]]


def write_real(tmp_path):
    path = tmp_path / "real.json"
    path.write_text(json.dumps(REAL + [[1]] * 10))
    return path


def test_real_counts_an_answer_in_its_list_and_leaves_out_empty_ones(flat, tmp_path):
    real = write_real(tmp_path)
    for file, number in NAMED:
        write(tmp_path / "folders" / WNIDS[number] / file, 501 if number == 500 else 1 if number == 0 else number)
    run = rb.evaluate(Reader(), str(tmp_path / "folders"), suite=(), labels=real, out=tmp_path / "runs")
    # Right are 501 of (500, 501), 1 of (0, 1) and 7; wrong 7 for 8 and 42 for 3; the third has no label.
    assert run.cells()[["n", "top1"]].values.tolist() == [[5, 60.0]]
    assert run.config["left_out"] == {"without a label in ReaL": 1}
    assert run.config["answers"]["accepted"] == 2
    plain = rb.evaluate(Reader(), str(tmp_path / "folders"), suite=(), out=tmp_path / "runs").records()
    records = run.records()
    assert set(records["image_id"]) == set(plain["image_id"]) - {5}
    several = records.loc[records["label"] == 500].iloc[0]
    assert (several["prediction"], several["rank"]) == (501, 0)
    assert several["loss"] == pytest.approx(-np.log((np.exp(2) + 1) / (np.exp(2) + 999)), rel=1e-4)
    assert (
        "any of an image's labels counts as correct. Left out: 1 image without a label in ReaL."
        in rb.analysis.summary_frame(run).caption
    )
    assert len(run.open_data()) == 5


def test_real_serves_stored_corrupted_images_and_flat_folders(flat, tmp_path):
    real = write_real(tmp_path)
    for file, number in NAMED:
        write(tmp_path / "c" / "fog" / "3" / WNIDS[number] / file, number)
    run = rb.evaluate(
        Reader(), f"imagenet-c:{tmp_path / 'c'}", suite="fog", severities=3, labels=real, out=tmp_path / "r"
    )
    assert run.cells()[["n", "top1"]].values.tolist() == [[5, 60.0]]
    frame = summary_frame(run).frame
    assert "several labels an image" in frame.loc[frame["kind"] == "mce", "name"].item()
    alone = rb.evaluate(Reader(), str(flat), suite=(), labels=real, out=tmp_path / "runs")
    assert alone.cells()[["n", "top1"]].values.tolist() == [[5, 60.0]]
    assert alone.config["left_out"] == {"without a label in ReaL": 1}


def test_real_is_of_imagenets_validation_pictures(tmp_path):
    real = write_real(tmp_path)
    write(tmp_path / "a" / WNIDS[0] / "photo.jpg", 0)
    with pytest.raises(DataError, match=r"ILSVRC2012_val_00000001 and so on; .*photo.jpg is not one of them"):
        open_data(str(tmp_path / "a"), labels=real)
    write(tmp_path / "b" / "cat" / FILES[0], 0)
    write(tmp_path / "b" / "dog" / FILES[1], 0)
    with pytest.raises(InputError, match=r"labels ImageNet's 1,000 classes, but .* has other classes"):
        open_data(str(tmp_path / "b"), labels=real)
    real.write_text("[[1], [1000]]")
    with pytest.raises(DataError, match="must hold ImageNet's class numbers, 0 to 999"):
        open_data(str(tmp_path / "a"), labels=real)
    with pytest.raises(InputError, match="a file of labels goes with folder, tar, parquet, not with demo"):
        open_data("demo", labels=tmp_path / "words.csv")


def test_a_flat_archive_has_the_records_of_the_flat_folder(flat, tmp_path):
    import io
    import tarfile

    with tarfile.open(tmp_path / "ILSVRC2012_img_val.tar", "w") as archive:
        for file, number in reversed(NAMED):
            content = png(1 if number == 0 else number)
            member = tarfile.TarInfo(file)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (tmp_path / "val.txt").write_text(TABLES["val.txt"])
    sources = (str(flat), f"tar:{tmp_path}/ILSVRC2012_img_val.tar")
    runs = [rb.evaluate(Reader(), one, suite=(), labels=tmp_path / "val.txt", out=tmp_path / "runs") for one in sources]
    assert runs[0].records().equals(runs[1].records())
    assert runs[0].config["listing_hash"] == runs[1].config["listing_hash"]
