from pathlib import Path

import pytest

from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.labels.class_folders import LABELS, number_folders, read_classes
from robustbench_bi.errors import DataError


def write(tmp_path, text):
    path = tmp_path / "classes.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_packaged_imagenet_classes_are_complete():
    known = imagenet_classes()
    assert [number for number, _ in known.values()] == list(range(1000))
    assert list(known) == sorted(known)
    assert known["n01440764"] == (0, "tench")
    assert known["n15075141"] == (999, "toilet_tissue")


def test_some_wnids_keep_their_imagenet_numbers():
    numbers, names = number_folders(["n02123045", "n15075141"], None)
    assert numbers == (281, 999)
    assert (len(names), names[281]) == (1000, "tabby")


def test_other_folders_are_numbered_in_order():
    assert number_folders(["a", "b10", "b2"], None) == ((0, 1, 2), ("a", "b10", "b2"))


def test_folders_named_by_the_numbers_from_0_are_these_classes():
    folders = sorted(map(str, range(12)))
    numbers, names = number_folders(folders, None)
    assert numbers == tuple(map(int, folders))
    assert names == tuple(map(str, range(12)))
    assert number_folders(["00", "01", "02"], None)[0] == (0, 1, 2)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["1", "10", "2"], "are named 1 to 10, but only 3 of these; class numbers must be 0 to 2 .* --classes FILE"),
        (["1", "2", "3"], "are named 1 to 3; class numbers must be 0 to 2 without gaps"),
        (["0", "1", "3"], "are named 0 to 3, but only 3 of these"),
        (["0", "00", "1"], "class numbers must be 0 to 2"),
        (["0", "1", "cat"], r"2 class folders are numbers, but not 1 \(cat\)"),
    ],
)
def test_folders_named_by_other_numbers_are_refused(folders, message):
    with pytest.raises(DataError, match=message):
        number_folders(folders, None)


def test_the_thousand_numbers_may_be_said_to_be_imagenets(tmp_path):
    numbers, names = number_folders(["0", "1", "281"], Path("imagenet-1k"))
    assert numbers == (0, 1, 281)
    assert (len(names), names[281]) == (1000, "tabby")


def test_a_bare_list_of_folders_is_a_class_file(tmp_path):
    assert number_folders(["a", "b"], write(tmp_path, "b\na\n"))[0] == (1, 0)


def test_labels_of_a_file_are_not_called_folders(tmp_path):
    path = write(tmp_path, "0\tcat\tcat\n")
    for labels, classes, message in (
        (["1", "2", "3"], None, "^the labels are 1 to 3; class numbers"),
        (["0", "1", "cat"], None, r"^2 labels are numbers, but not 1 \(cat\).* of all labels with --classes FILE"),
        (["dogs", "n01440764"], None, r"^1 labels are ImageNet wnids, but not 1 \(dogs\)"),
        (["cat", "dog"], path, r"classes.tsv lacks 1 \(dog\) of the 2 labels$"),
    ):
        with pytest.raises(DataError, match=message):
            number_folders(labels, classes, LABELS)


def test_a_mixture_of_wnids_and_other_names_is_refused():
    with pytest.raises(DataError, match=r"1 class folders are ImageNet wnids, but not 2 \(dogs, n99999999\)"):
        number_folders(["dogs", "n01440764", "n99999999"], None)


def test_a_class_file_gives_the_numbers(tmp_path):
    path = write(tmp_path, "3\tcats\tcat\n\n1\tdogs\tdog\r\n0\tbirds\t\n")
    numbers, names = number_folders(["cats", "dogs"], path)
    assert numbers == (3, 1)
    assert names == ("birds", "dog", "2", "cat")


def test_a_class_file_overrules_imagenets_numbers(tmp_path):
    path = write(tmp_path, "0\tn15075141\tpaper\n1\tn01440764\tfish\n")
    assert number_folders(["n01440764", "n15075141"], path) == ((1, 0), ("paper", "fish"))


def test_a_class_file_with_some_of_imagenets_numbers_has_all_its_classes(tmp_path):
    numbers, names = number_folders(["n01440764"], write(tmp_path, "0\tn01440764\tfish\n1\tn01443537\tgold\n"))
    assert (numbers, len(names), names[:3]) == ((0,), 1000, ("tench", "goldfish", "great_white_shark"))


def test_folders_that_the_class_file_lacks_are_named(tmp_path):
    path = write(tmp_path, "0\tcats\tcat\n")
    with pytest.raises(DataError, match=r"classes.tsv lacks 4 \(a, b, c, …\) of the 5 class folders"):
        number_folders(["a", "b", "c", "cats", "d"], path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\tcats\tcat\n1 dogs dog\n", "line 2: expected class number, folder name and label .* got '1 dogs dog'"),
        ("0\tcats\n", "line 1: expected"),
        ("0,cats,cat\n1,dogs,dog\n", "label with tabs between, got '0,cats,cat'"),
        ("0,cats\n1,dogs\n", "label with tabs between, got '0,cats'"),
        ("0;cats\n1;dogs\n", "label with tabs between, got '0;cats'"),
        ("0\t\tcat\n", "line 1: expected"),
        ("zero\tcats\tcat\n", "line 1: a class number must be an integer from 0 to 99999, got 'zero'"),
        ("-1\tcats\tcat\n", "got '-1'"),
        ("1.0\tcats\tcat\n", r"got '1\.0'"),
        ("100000\tcats\tcat\n", "got '100000'"),
        (f"{'9' * 5000}\tcats\tcat\n", "a class number must be"),
        ("0\tcats\tcat\n\n0\tdogs\tdog\n", "line 3: class number 0 appears twice, first in line 1"),
        ("0\tcats\tcat\n1\tcats\tcat\n", "line 2: folder cats appears twice, first in line 1"),
        ("\n\n", "lists no classes"),
    ],
)
def test_a_malformed_class_file_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_classes(write(tmp_path, text))


def test_a_class_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the class file .*missing.tsv: No such file"):
        read_classes(tmp_path / "missing.tsv")
    with pytest.raises(DataError, match=r"cannot read the class file .*: Is a directory"):
        read_classes(tmp_path)
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot read the class file .*binary.tsv: .*decode"):
        read_classes(tmp_path / "binary.tsv")
