"""Where a number could be of something else than was meant, and options that would do nothing: refused in one line."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from coloured import Reader, colour_of, png, write

import robustbench_bi as rb
from robustbench_bi.cli import cli
from robustbench_bi.corrupted_files import write_corrupted
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.class_spaces.shift_sets import objectnet_folders
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.reports.page.pictures import pictures_of
from robustbench_bi.reports.view.album import open_album

WNIDS = list(imagenet_classes())
SEEN = Preprocessing(32, 32)


def name_of(number):
    return f"ILSVRC2012_val_{number + 1:08d}.JPEG"


def photos(root, classes="abc"):
    for number, folder in enumerate(classes):
        for place in range(2):
            write(root / folder / f"{place}.png", number)
    return root


def cells(root, held):
    """Stored pictures: corruption -> its class folders, whose number is that of the letter."""
    for corruption, folders in held.items():
        for folder in folders:
            write(root / corruption / "1" / folder / "0.png", "abcd".index(folder), size=(32, 32))
    return f"imagenet-c:{root}"


@pytest.mark.parametrize("held", [{"fog": "abc", "snow": "ac"}, {"fog": "ac", "snow": "abc"}])
def test_class_folders_that_one_cell_lacks_shift_no_numbers(tmp_path, held):
    """Without the class b, c would be class 1 for a network of which it is class 2."""
    source = cells(tmp_path / "c", held)
    for options in ({"common_images": True}, {"common_images": True, "cells": {("snow", 1)}}, {}):
        with pytest.raises(DataError, match=r"the class folder b, so class numbers cannot be determined"):
            open_data(source, **options)
    (tmp_path / "classes.tsv").write_text("0\ta\t\n1\tb\t\n2\tc\t\n")
    run = rb.evaluate(Reader(3), source, suite="fog,snow", severities=1, common_images=True,
                      classes=tmp_path / "classes.tsv", out=tmp_path / "runs")  # fmt: skip
    assert (run.config["n"], run.cells()["top1"].tolist()) == (2, [100.0, 100.0])


def test_stored_pictures_given_as_clean_ones_are_remarked_upon(tmp_path, caplog):
    """They would be corrupted twice."""
    said = (
        "The images in fog/3 seem to be corrupted already, so clean ones are not clean and corruptions come on top; "
        f"use imagenet-c:{tmp_path / 'c'}"
    )
    place = photos(tmp_path / "c" / "fog" / "3")
    assert open_data(place).remarks == ()
    (tmp_path / "c" / "bivo-robust.json").write_text("{}")
    assert open_data(place).remarks == (said,)
    (tmp_path / "c" / "bivo-robust.json").unlink()
    for severity in range(1, 6):
        photos(tmp_path / "c" / "fog" / str(severity))
    assert open_data(place).remarks == (said,)
    assert caplog.messages == [said, said]
    assert open_data(photos(tmp_path / "other" / "3")).remarks == ()


@pytest.mark.parametrize("category", ["", "weather"])
def test_stored_pictures_given_as_a_plain_folder_say_their_source(tmp_path, category):
    for severity in range(1, 6):
        photos(tmp_path / "c" / category / "fog" / str(severity))
    with pytest.raises(DataError, match=f"holds severities 1 to 5, .*; use imagenet-c:{tmp_path / 'c'}$"):
        open_data(tmp_path / "c")


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("folder", [WNIDS[4], "4"])
def test_folders_inside_class_folders_are_read_in_unopened_archives_too(tmp_path, folder):
    other = WNIDS[5] if folder == WNIDS[4] else "5"
    classes = None if folder == WNIDS[4] else "imagenet-1k"
    members = {
        f"weather/fog/3/{folder}/a.JPEG": png(4),
        f"weather/fog/3/{folder}/3/b.JPEG": png(7),
        f"weather/fog/3/{folder}/more/yet/c.JPEG": png(8),
        f"weather/fog/3/{folder}/._a.JPEG": b"macOS",
        f"weather/fog/3/{other}/a.JPEG": png(5),
        "weather/preview.JPEG": png(0),
    }
    for name, content in members.items():
        (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / name).write_bytes(content)
    write_tar(tmp_path / "tars" / "weather.tar", members)
    unpacked, archived = (open_data(f"imagenet-c:{tmp_path / place}", classes=classes) for place in ("c", "tars"))
    assert archived.names() == unpacked.names()
    assert len(archived) == 4 and archived.stored_cells == {("fog", 3)}
    for dataset in (unpacked, archived):
        seen = dataset.read(range(4), SEEN, ("fog", 3))[:, :, 16, 16]
        assert [tuple(own) for own in seen.tolist()] == [colour_of(7), colour_of(4), colour_of(8), colour_of(5)]


def test_some_archives_may_be_unpacked(tmp_path):
    """One unopened, one unpacked to its category, and clean pictures in the folder of both."""
    write_tar(tmp_path / "c" / "noise.tar", {f"shot_noise/1/{WNIDS[4]}/a.png": png(4)})
    write(tmp_path / "c" / "weather" / "fog" / "1" / WNIDS[4] / "a.png", 7, size=(32, 32))
    write(tmp_path / "c" / "none" / "0" / WNIDS[4] / "a.png", 8, size=(32, 32))
    dataset = open_data(f"imagenet-c:{tmp_path / 'c'}")
    assert dataset.stored_cells == {("none", 0), ("fog", 1), ("shot_noise", 1)}
    for cell, answer in ((("none", 0), 8), (("fog", 1), 7), (("shot_noise", 1), 4)):
        assert tuple(dataset.read([0], SEEN, cell)[0, :, 16, 16]) == colour_of(answer)


def test_archived_class_folders_that_hold_folders_alone_are_refused(tmp_path):
    for number, members in enumerate(({}, {f"fog/1/{WNIDS[1]}/a.png": png(1)})):
        write_tar(tmp_path / str(number) / "a.tar", {**members, f"fog/1/{WNIDS[0]}/images/a.png": png(0)})
        with pytest.raises(DataError, match=r"but .*a\.tar: fog/1/n01440764/images/a\.png lies deeper"):
            open_data(f"imagenet-c:{tmp_path / str(number)}")


def real_cells(tmp_path):
    """Stored pictures of three classes with ReaL's lists, in which the first class is not the folder's."""
    lists = [[] for _ in range(20)]
    lists[3], lists[7] = [9, 3], [7]
    for number in (3, 7, 11):
        write(tmp_path / "c" / "fog" / "1" / WNIDS[number] / name_of(number), 9 if number == 3 else 0, size=(32, 32))
        write(tmp_path / "flat" / name_of(number), 3 if number == 3 else 7)
    (tmp_path / "real.json").write_text(json.dumps(lists))
    return f"imagenet-c:{tmp_path / 'c'}", tmp_path / "real.json", tmp_path / "flat"


def test_real_takes_clean_pictures_without_class_folders(tmp_path):
    source, labels, flat = real_cells(tmp_path)
    run = rb.evaluate(Reader(), source, labels=labels, clean=flat, suite="fog", severities=1, out=tmp_path / "runs")
    assert (run.config["n"], run.config["left_out"]) == (2, {"without a label in ReaL": 1})
    assert run.cells()["top1"].tolist() == [100.0, 50.0]
    assert len(run.open_data()) == 2
    write(flat / name_of(12), 0)
    with pytest.raises(DataError, match=f"one of them|holds 1 .*{name_of(12)}"):
        labels.write_text(json.dumps([*json.loads(labels.read_text())[:12], [4], *[[]] * 7]))
        open_data(source, labels=labels, clean=flat)


def test_pairs_by_number_have_one_class(tmp_path):
    for number in (3, 7):
        write(tmp_path / "c" / "fog" / "1" / WNIDS[number] / name_of(number), number, size=(32, 32))
        write(tmp_path / "val" / WNIDS[10 - number] / name_of(number), number)
    with pytest.raises(DataError, match=r"has class 3 in .* and 7 in"):
        open_data(f"imagenet-c:{tmp_path / 'c'}", clean=tmp_path / "val")


def parquet(path, labels, names=None):
    images = pa.array([{"bytes": png(names.index(own) if names and own in names else 0)} for own in labels])
    table = pa.table({"image": images, "label": pa.array(labels).dictionary_encode()})
    if names:
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}})}
        )
    pq.write_table(table, path)
    return f"parquet:{path}"


def test_words_in_parquet_are_numbered_by_the_names_of_the_files_classes(tmp_path):
    source = parquet(tmp_path / "a.parquet", ["emu", "cat", "dog", "emu"], ["cat", "dog", "emu"])
    run = rb.evaluate(Reader(3), source, suite=(), out=tmp_path / "runs")
    assert run.cells()["top1"].tolist() == [100.0]
    assert run.images()["name"].tolist() == ["cat/00000001", "dog/00000002", "emu/00000000", "emu/00000003"]
    with pytest.raises(DataError, match=r"gives class cat the number 2, but as a class folder .* --classes FILE"):
        open_data(parquet(tmp_path / "c.parquet", ["emu", "cat", "dog"], ["emu", "dog", "cat"]))
    with pytest.raises(DataError, match=r"1 words that are not among its 2 classes, the first is 'emu'; "):
        open_data(parquet(tmp_path / "b.parquet", ["emu", "cat"], ["dog", "cat"]))


def test_classes_that_parquet_names_are_known_without_pictures(tmp_path):
    source = parquet(tmp_path / "a.parquet", ["emu", "cat"], ["ant", "cat", "dog", "emu"])
    dataset = open_data(source)
    assert (dataset.labels.tolist(), dataset.num_classes) == ([1, 3], 4)
    assert dataset.remarks == ("2 of 4 classes have no image",)
    with pytest.raises(DataError, match=r"in each row, got rows without one"):
        open_data(parquet(tmp_path / "b.parquet", ["emu", None]))


def test_words_in_parquet_of_unknown_numbers_are_refused(tmp_path):
    source = parquet(tmp_path / "a.parquet", ["emu", "cat", "dog"])
    with pytest.raises(DataError, match=r"are words, such as 'emu', and it does not say which numbers"):
        open_data(source)
    (tmp_path / "classes.tsv").write_text("0\temu\tbird\n1\tdog\t\n2\tcat\t\n")
    dataset = open_data(source, classes=tmp_path / "classes.tsv")
    assert dict(zip(dataset.names(), dataset.labels.tolist(), strict=True)) == {
        "cat/00000001": 2, "dog/00000002": 1, "emu/00000000": 0,
    }  # fmt: skip
    assert open_data(parquet(tmp_path / "w.parquet", [WNIDS[7], WNIDS[3]])).labels.tolist() == [3, 7]
    assert dataset.class_names == ("bird", "dog", "cat")


def test_pictures_made_of_objectnet_are_not_shown_either(tmp_path):
    for folder in list(objectnet_folders())[:3]:
        write(tmp_path / "o" / "images" / folder / "0.png", objectnet_folders()[folder][0], size=(44, 44))
    write_corrupted(f"objectnet:{tmp_path / 'o'}", tmp_path / "c", suite="fog", severities=1, size=32, workers=1)
    run = rb.evaluate(Reader(), f"imagenet-c:{tmp_path / 'c'}", suite="fog", severities=1, out=tmp_path / "runs")
    with pytest.raises(DataError, match="images of objectnet are not shown: its licence allows"):
        pictures_of(run, [0], [("fog", 1)])
    assert any(note.startswith("No images: those of objectnet are not shown") for note in open_album([run]).notes)
    (tmp_path / "c" / "bivo-robust.json").unlink()
    beside = open_data(
        f"imagenet-c:{tmp_path / 'c'}",
        classes=classes_of_objectnet(tmp_path),
        clean=f"objectnet:{tmp_path / 'o'}",
    )
    with pytest.raises(DataError, match="images of objectnet are not shown"):
        beside.check_shown()


def classes_of_objectnet(tmp_path):
    lines = (f"{numbers[0]}\t{folder}\t\n" for folder, numbers in objectnet_folders().items())
    (tmp_path / "classes.tsv").write_text("".join(lines))
    return tmp_path / "classes.tsv"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"no_resize": True, "fit": True},
            "no_resize leaves images as they are, and fit resizes them; give one of the two",
        ),
        (
            {"no_resize": True, "corrupt_size": 64},
            "no_resize leaves images as they are, and corrupt_size resizes them",
        ),
        ({"fit": True, "resize_size": 256}, "fit resizes .* whole, to input_size; leave out resize_size"),
        ({"corrupt_size": 64, "crop_mode": "squash"}, "corrupt_size resizes .* whole, .* leave out crop_mode"),
    ],
)
def test_two_ways_of_resizing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        EvalRequest.of([Reader()], "photos", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--common-images"], "common_images goes with stored corrupted images (imagenet-c, cifar-10-c, "),
        (["--class-space", "full"], "demo has images of all its 10 classes, so there is nothing to restrict"),
        (["--class-space", "restricted"], "demo has images of all its 10 classes, so there is nothing to restrict"),
        (["--fit", "--no-resize"], "give one of the two"),
    ],
)
def test_options_that_would_do_nothing_are_one_line_on_the_command_line(tmp_path, options, message):
    done = CliRunner().invoke(cli, ["eval", "--model", "resnet50", "--out", str(tmp_path), *options])
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
    assert len(done.output.strip().splitlines()) <= 3, done.output
