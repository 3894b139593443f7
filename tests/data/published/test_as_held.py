"""Published sets as people hold them: names of other corruptions, outer folders, folders of other programs, accents."""

import json
import tarfile
import unicodedata

import numpy as np
import pytest
from coloured import Reader, write

import robustbench_bi as rb
from robustbench_bi.analysis import summary_frame
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.errors import DataError, InputError, UnknownNameError

WNIDS = list(imagenet_classes())
CLASSES = (0, 3, 7, 11)


def name_of(number, suffix=".JPEG"):
    return f"ILSVRC2012_val_{number + 1:08d}{suffix}"


def stored(root, cells, suffix=".JPEG"):
    for name, severity in cells:
        for place, number in enumerate(CLASSES):
            answer = 1 if severity == 2 and place == 3 else number
            write(root / name / str(severity) / WNIDS[number] / name_of(number, suffix), answer, size=(32, 32))
    return root


def test_stored_corruptions_that_are_none_of_ours_have_names_of_their_own(tmp_path):
    source = f"imagenet-c:{stored(tmp_path / '3dcc', [('near_focus', 1), ('near_focus', 2), ('fog', 1)])}"
    run = rb.evaluate(Reader(), source, suite="near_focus", severities="1,2", out=tmp_path / "runs")
    assert run.cells()["top1"].tolist() == [100.0, 75.0]
    frame = summary_frame(run).frame.set_index("name")
    assert frame["kind"].to_dict() == {"near_focus": "corruption", "mean error of 1 stored corruption": "mean_error"}
    assert frame["corruption_error"].dropna().tolist() == [12.5]
    rb.evaluate(Reader(), source, suite="fog,near_focus", severities=1, out=tmp_path / "runs")
    with pytest.raises(DataError, match="the first is near_fokus severity 1; it holds fog, near_focus"):
        rb.evaluate(Reader(), source, suite="near_fokus", severities=1, out=tmp_path / "runs")
    with pytest.raises(UnknownNameError, match="unknown suite or corruption 'near_focus'"):
        rb.evaluate(Reader(10), "demo", suite="near_focus", out=tmp_path / "runs")


def test_cells_that_are_not_asked_for_may_hold_other_images(tmp_path):
    root = stored(tmp_path / "c", [("fog", 1), ("frost", 1)])
    write(root / "frost" / "1" / WNIDS[20] / name_of(20), 20, size=(32, 32))
    options = {"severities": 1, "out": tmp_path / "runs"}
    run = rb.evaluate(Reader(), f"imagenet-c:{root}", suite="fog", **options)
    assert (run.config["n"], run.config.get("left_out")) == (4, None)
    assert len(run.open_data()) == 4
    with pytest.raises(DataError, match="--common-images"):
        rb.evaluate(Reader(), f"imagenet-c:{root}", suite="fog,frost", **options)


def test_an_empty_class_folder_lacks_its_images_like_any_other(tmp_path):
    root = stored(tmp_path / "c", [("fog", 1), ("fog", 2)])
    (root / "fog" / "2" / WNIDS[3] / name_of(3)).unlink()
    with pytest.raises(DataError, match=r"fog/2 lacks .*--common-images"):
        open_data(f"imagenet-c:{root}")
    assert len(open_data(f"imagenet-c:{root}", common_images=True)) == 3


def test_a_class_file_of_the_first_classes_of_imagenet_is_a_set_of_its_own(tmp_path):
    for number in range(10):
        write(tmp_path / "data" / WNIDS[number] / "0.png", number)
    (tmp_path / "ten.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS[:10]))
    assert open_data(str(tmp_path / "data"), classes=tmp_path / "ten.txt").num_classes == 10
    assert open_data(str(tmp_path / "data")).num_classes == 1000
    (tmp_path / "all.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    assert open_data(str(tmp_path / "data"), classes=tmp_path / "all.txt").class_set == "imagenet-1k"
    (tmp_path / "gap.tsv").write_text("".join(f"{number}\t{WNIDS[number]}\tx\n" for number in (*range(9), 9, 400)))
    assert open_data(str(tmp_path / "data"), classes=tmp_path / "gap.tsv").num_classes == 1000


def test_real_counts_for_clean_and_stored_pictures_alike(tmp_path):
    source = f"imagenet-c:{stored(tmp_path / 'c', [('fog', 1)])}"
    for number in CLASSES:
        write(tmp_path / "val" / WNIDS[number] / name_of(number), number)
    lists = [[number] for number in range(12)]
    lists[3], lists[7] = [], [0, 7]
    (tmp_path / "real.json").write_text(json.dumps(lists))
    run = rb.evaluate(Reader(), source, labels=tmp_path / "real.json", clean=tmp_path / "val", suite="fog",
                      severities=1, out=tmp_path / "runs")  # fmt: skip
    assert (run.config["n"], run.config["left_out"]) == (3, {"without a label in ReaL": 1})
    assert run.cells()["top1"].tolist() == [100.0, 100.0]


def test_clean_pictures_without_class_folders_have_their_labels_from_a_file(tmp_path):
    source = f"imagenet-c:{stored(tmp_path / 'c', [('fog', 1)])}"
    for number in CLASSES:
        write(tmp_path / "flat" / name_of(number), number)
    (tmp_path / "val.txt").write_text("".join(f"{name_of(number)} {WNIDS[number]}\n" for number in CLASSES))
    dataset = open_data(source, labels=tmp_path / "val.txt", clean=tmp_path / "flat")
    assert (len(dataset), dataset.labels.tolist()) == (4, list(CLASSES))


def test_names_that_differ_in_their_suffix_are_paired_one_by_one(tmp_path):
    source = f"imagenet-c:{stored(tmp_path / 'c', [('fog', 1)])}"
    for number, suffix in zip(CLASSES, (".JPEG", ".PNG", ".jpg", ".JPEG"), strict=True):
        write(tmp_path / "val" / WNIDS[number] / name_of(number, suffix), number)
    assert len(open_data(source, clean=tmp_path / "val")) == 4
    write(tmp_path / "val" / WNIDS[3] / name_of(3, ".png"), 5)
    with pytest.raises(DataError, match=r"lacks 1 .* holds 2 "):  # nobody can tell which of the two it is
        open_data(source, clean=tmp_path / "val")


def test_folders_of_other_programs_are_no_classes(tmp_path):
    for folder in ("cat", "dog", "__MACOSX", "@eaDir"):
        write(tmp_path / folder / "0.png", 0)
    assert open_data(str(tmp_path)).class_names == ("cat", "dog")


def test_sets_that_were_unpacked_to_a_folder_in_a_folder_open(tmp_path):
    stored(tmp_path / "outer" / "imagenet-c", [("fog", 1)])
    stored(tmp_path / "outer2" / "imagenet-c" / "weather", [("fog", 1)])
    for number in range(1000):
        write(tmp_path / "v2" / "imagenetv2" / str(number) / "0.jpeg", number)
    write(tmp_path / "on" / "objectnet-1.0" / "images" / "alarm_clock" / "0.png", 0)
    for source, count in (
        ("imagenet-c:outer", 4),
        ("imagenet-c:outer2", 4),
        ("imagenet-v2:v2", 1000),
        ("objectnet:on", 1),
    ):
        kind, _, folder = source.partition(":")
        assert len(open_data(f"{kind}:{tmp_path / folder}")) == count
    stored(tmp_path / "two" / "a", [("fog", 1)])
    stored(tmp_path / "two" / "b", [("fog", 1)])
    with pytest.raises(DataError, match="found no such folder"):
        open_data(f"imagenet-c:{tmp_path / 'two'}")


def test_accents_that_macos_takes_apart_are_the_same_names(tmp_path):
    names = sorted(["zebra", "äpfel", "Ärger", "alle"])
    for name in names:
        write(tmp_path / "apart" / unicodedata.normalize("NFD", name) / "0.png", 0)
        write(tmp_path / "whole" / name / "0.png", 0)
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in reversed(names)), encoding="utf-8")
    for classes in (None, tmp_path / "classes.txt"):
        numbers = [
            {
                unicodedata.normalize("NFC", name): label
                for name, label in zip(own.names(), own.labels.tolist(), strict=True)
            }
            for own in (open_data(str(tmp_path / folder), classes=classes) for folder in ("apart", "whole"))
        ]
        assert numbers[0] == numbers[1]


def test_a_corruption_that_is_there_twice_is_refused(tmp_path):
    for folder in ("flat", "archived"):
        stored(tmp_path / folder, [("fog", 1)])
    stored(tmp_path / "flat" / "weather", [("fog", 1)])
    with pytest.raises(DataError, match="holds fog twice, alone and in a folder of a category"):
        open_data(f"imagenet-c:{tmp_path / 'flat'}")
    with tarfile.open(tmp_path / "archived" / "weather.tar", "w") as archive:
        archive.add(tmp_path / "archived" / "fog", "fog")
    with pytest.raises(DataError, match="holds fog twice, in an archive and in a folder"):
        open_data(f"imagenet-c:{tmp_path / 'archived'}")


def test_stored_files_have_no_side_to_corrupt_at(tmp_path):
    source = f"imagenet-c:{stored(tmp_path / 'c', [('fog', 1)])}"
    with pytest.raises(InputError, match="are stored, so give fit alone"):
        rb.evaluate(Reader(), source, suite="fog", severities=1, corrupt_size=32, out=tmp_path / "runs")


def test_what_is_probably_not_meant_is_said(tmp_path, caplog):
    labels, images = np.arange(10), np.zeros((10, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "fog.npy", np.tile(images, (5, 1, 1, 1)))
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    open_data(f"cifar-100-c:{tmp_path}")
    assert f"is it cifar-10-c:{tmp_path}?" in caplog.text
    for version in ("v4", "v6"):
        np.save(tmp_path / f"cifar10.1_{version}_data.npy", images)
        np.save(tmp_path / f"cifar10.1_{version}_labels.npy", labels)
    open_data(f"cifar-10.1:{tmp_path}")
    assert "two versions of CIFAR-10.1; cifar10.1_v6 is used" in caplog.text


def test_a_part_of_a_set_says_what_to_give(tmp_path):
    for name in ("noise.tar", "fog.npy"):
        (tmp_path / name).write_bytes(b"")
    for source in ("imagenet-c:noise.tar", "cifar-10-c:fog.npy"):
        kind, _, file = source.partition(":")
        with pytest.raises(DataError, match="is a file; give the folder that holds it"):
            open_data(f"{kind}:{tmp_path / file}")
    (tmp_path / "tiny" / "val" / "images").mkdir(parents=True)
    (tmp_path / "tiny" / "val" / "val_annotations.txt").write_text("")
    with pytest.raises(DataError, match=f"is a part of Tiny-ImageNet; use tiny-imagenet:{tmp_path / 'tiny'}$"):
        open_data(f"tiny-imagenet:{tmp_path / 'tiny' / 'val'}")
