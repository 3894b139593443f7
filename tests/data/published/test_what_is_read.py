"""Which files of a source are its pictures: taken by a written rule, refused, or said to be left out."""

import io
import tarfile

import numpy as np
import pytest
from coloured import Reader, colour_of, png, write
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.analysis.summary import summary_frame
from robustbench_bi.corruptions import resolve_suite
from robustbench_bi.data import Preprocessing, open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.class_spaces.shift_sets import classes_of, objectnet_folders
from robustbench_bi.data.sources.imagenet_c import NAMED_BY_VALUE
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import PUBLISHED_SPELLINGS

WNIDS = list(imagenet_classes())


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return f"tar:{path}"


def folders(root, names=("cat", "dog")):
    """A folder of one picture a class, each of which shows its class."""
    for number, name in enumerate(names):
        write(root / name / "0.png", number)
    return root


def caption(data, out, outputs=2, **options):
    run = rb.evaluate(Reader(outputs), str(data), suite=(), out=out / "runs", **options)
    return summary_frame(run).caption, run


DEEP = {
    "16-bit.png": np.uint16,
    "16-bit.tif": np.uint16,
    "32-bit.tif": np.int32,
    "float.tif": np.float32,
}


@pytest.mark.parametrize("name", DEEP)
def test_pictures_of_more_than_8_bits_are_refused(tmp_path, name):
    root = folders(tmp_path / "photos")
    Image.fromarray(np.full((40, 40), 3000, dtype=DEEP[name])).save(root / "cat" / name)
    said = rf"cat/{name} \(expected 8-bit pixels, got deeper ones \(mode [IF].*\); convert the file first\)"
    with pytest.raises(DataError, match=said):
        rb.evaluate(Reader(2), str(root), suite=(), out=tmp_path / "runs")
    with pytest.raises(DataError, match=r"cannot read image .*: expected 8-bit pixels"):
        open_data(root).read([0, 1, 2], Preprocessing(32, 32))
    run = rb.evaluate(Reader(2), str(root), suite=(), out=tmp_path / "runs", skip_broken=True)
    assert (run.config["n"], run.cells()["top1"][0]) == (2, 100.0)


def test_a_sample_of_webdataset_has_one_picture(tmp_path):
    members = {}
    for number in range(4):
        members[f"{number:05d}.JPG"] = png(number % 2)
        members |= {f"{number:05d}.{part}": png(5) for part in ("mask.png", "seg.jpg")}
        members[f"{number:05d}.cls"] = str(number % 2).encode()
    dataset = open_data(write_tar(tmp_path / "a.tar", members))
    assert [name.partition("/")[2] for name in dataset.names()] == ["00000.JPG", "00002.JPG", "00001.JPG", "00003.JPG"]
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    seen = dataset.read(range(4), Preprocessing(32, 32))
    assert [tuple(image[:, 16, 16]) for image in seen] == [colour_of(0)] * 2 + [colour_of(1)] * 2


def test_two_pictures_of_a_sample_and_none_are_refused(tmp_path):
    labels = {"0.cls": b"0", "1.cls": b"1"}
    both = {"0.jpg": png(0), "1.jpg": png(1), "1.png": png(1), **labels}
    with pytest.raises(DataError, match=r"two images of one sample, 1.jpg and 1.png; expected one, beside 1.cls"):
        open_data(write_tar(tmp_path / "a.tar", both))
    with pytest.raises(DataError, match=r"has .cls files but no images named like them, such as 00000.jpg"):
        open_data(write_tar(tmp_path / "b.tar", {"0.left.jpg": png(0), "1.left.jpg": png(1), **labels}))


def test_labels_of_no_picture_are_said(tmp_path):
    samples = {"0.jpg": png(0), "0.cls": b"0", "1.jpg": png(1), "1.cls": b"1", "2.cls": b"1"}
    source = write_tar(tmp_path / "a.tar", samples)
    assert f"1 .cls file of {tmp_path / 'a.tar'} is of no image." in caption(source, tmp_path)[0]
    for number in range(2):
        write(tmp_path / "flat" / f"{number}.png", number)
    labels = tmp_path / "labels.csv"
    labels.write_text("0.png,0\n1.png,1\n2.png,0\n3.png,1\n")
    assert f"2 labels of {labels} are of no image." in caption(tmp_path / "flat", tmp_path, labels=labels)[0]


def stored(root, corruption, values):
    """A picture in each cell, of the colour of its place among the values."""
    for severity, value in enumerate(values, start=1):
        write(root / corruption / value / WNIDS[0] / "a.png", severity)
    return f"imagenet-c:{root}"


@pytest.mark.parametrize(
    ("corruption", "values"),
    [
        ("cocentric_sine_waves", ["3", "5", "8", "9", "10"]),
        ("checkerboard_cutout", ["2", "3", "4", "5", "6"]),
        ("single_frequency_greyscale", ["1", "1.5", "2", "4.5", "5"]),
        ("perlin_noise", ["4.6", "5.2", "5.8", "7.6", "8.8"]),
    ],
)
def test_whole_values_of_severities_are_ranked_too(tmp_path, corruption, values):
    source = stored(tmp_path / "c", corruption, values)
    with tarfile.open(tmp_path / "c.tar", "w") as archive:
        archive.add(tmp_path / "c", arcname="imagenet_c_bar")
    (tmp_path / "tars").mkdir()
    (tmp_path / "c.tar").rename(tmp_path / "tars" / "c.tar")
    for place in (source, f"imagenet-c:{tmp_path / 'tars'}"):
        dataset = open_data(place)
        assert sorted(severity for _, severity in dataset.stored_cells) == [1, 2, 3, 4, 5]
        for cell in dataset.stored_cells:
            assert tuple(dataset.read([0], Preprocessing(32, 36), cell)[0][:, 16, 16]) == colour_of(cell[1])


@pytest.mark.parametrize("values", [["3", "5", "8"], ["2", "3", "4", "5", "6", "7"], ["1", "2.5"]])
def test_some_of_the_values_are_refused(tmp_path, values):
    source = stored(tmp_path / "c", "cocentric_sine_waves", values)
    with pytest.raises(DataError, match=rf"all five of cocentric_sine_waves .* got {', '.join(values)}; rename them"):
        open_data(source)


def test_numbers_of_severities_are_read_as_such(tmp_path):
    assert open_data(stored(tmp_path / "c", "sparkles", ["1", "3"])).stored_cells == {("sparkles", 1), ("sparkles", 3)}


def test_the_corruptions_named_by_value_are_those_of_the_table():
    published = {ours: name for name, ours in PUBLISHED_SPELLINGS.items()}
    own = set(resolve_suite("imagenet-c-bar"))
    assert own | {published[name] for name in own & published.keys()} == NAMED_BY_VALUE


def test_folders_inside_class_folders_are_read_as_by_torchvision(tmp_path):
    from torchvision.datasets import ImageFolder

    root = folders(tmp_path / "photos")
    flat = open_data(root)
    write(root / "dog" / "more" / "b.png", 1)
    write(root / "dog" / "more" / "again" / "c.png", 0)
    write(root / "dog" / ".hidden" / "d.png", 0)
    (root / "dog" / "more" / "loop").symlink_to(root / "dog" / "more")
    dataset = open_data(root)
    assert dataset.names() == ("cat/0.png", "dog/0.png", "dog/more/again/c.png", "dog/more/b.png")
    assert dataset.labels.tolist() == [0, 1, 1, 1]
    assert (flat.names(), flat.image_ids.tolist()) == (("cat/0.png", "dog/0.png"), [0, 1])
    (root / "dog" / "more" / "loop").unlink()
    theirs = {path.removeprefix(f"{root}/") for path, _ in ImageFolder(str(root)).samples}
    assert set(dataset.names()) == {name for name in theirs if ".hidden" not in name}
    assert rb.evaluate(Reader(2), str(root), suite=(), out=tmp_path / "runs").cells()["top1"][0] == 75.0


def test_folders_that_may_hold_the_class_folders_are_refused_as_before(tmp_path):
    for part in ("test", "val"):
        folders(tmp_path / "photos" / part)
    with pytest.raises(DataError, match=r"2 of 2 hold none, such as test; if .*test holds the class folders"):
        open_data(tmp_path / "photos")


def test_pictures_that_are_not_read_are_counted(tmp_path):
    root = folders(tmp_path / "photos")
    for name in ("a.gif", "b.gif", "c.jfif", "notes.txt"):
        write(root / "cat" / name, 0)
    write(root / "beside.png", 0)
    said, run = caption(root, tmp_path)
    assert run.config["n"] == 2
    assert "Images in formats that are not read: 2 .gif, 1 .jfif." in said
    assert "Images beside the class folders are not read: 1." in said
    plain, _ = caption(folders(tmp_path / "plain"), tmp_path)
    assert "not read" not in plain


def test_an_image_that_is_left_out_is_counted_once(tmp_path):
    for number in range(4):
        write(tmp_path / "val" / WNIDS[number] / f"{number}.png", number)
        for corruption in ("fog", "snow"):
            if (number, corruption) != (3, "snow"):
                write(tmp_path / "c" / corruption / "1" / WNIDS[number] / f"{number}.png", number)
    dataset = open_data(f"imagenet-c:{tmp_path / 'c'}", clean=tmp_path / "val", common_images=True)
    assert (len(dataset), dict(dataset.left_out)) == (3, {"not in every cell": 1})


def test_images_that_real_leaves_out_are_not_missing_in_stored_ones(tmp_path):
    for number in range(4):
        name = f"ILSVRC2012_val_{number + 1:08d}.JPEG"
        write(tmp_path / "val" / WNIDS[number] / name, number)
        write(tmp_path / "c" / "fog" / "1" / WNIDS[number] / name, number)
    (tmp_path / "real.json").write_text("[[0], [1], [], [3]]")
    dataset = open_data(f"imagenet-c:{tmp_path / 'c'}", labels=tmp_path / "real.json", clean=tmp_path / "val")
    assert (len(dataset), dict(dataset.left_out)) == (3, {"without a label in ReaL": 1})


def test_images_are_paired_where_some_suffixes_differ(tmp_path):
    for number, suffix in enumerate((".JPEG", ".png")):
        write(tmp_path / "val" / WNIDS[number] / f"{number}{suffix}", number)
        write(tmp_path / "c" / "fog" / "1" / WNIDS[number] / f"{number}.JPEG", number)
    dataset = open_data(f"imagenet-c:{tmp_path / 'c'}", clean=tmp_path / "val")
    assert (len(dataset), dict(dataset.left_out)) == (2, {})
    write(tmp_path / "val" / WNIDS[1] / "1.bmp", 0)  # now two have that stem
    with pytest.raises(DataError, match=rf"lacks 1 \({WNIDS[1]}/1\)"):
        open_data(f"imagenet-c:{tmp_path / 'c'}", clean=tmp_path / "val")


def test_classes_without_pictures_are_said(tmp_path):
    numbers = classes_of("imagenet-a")
    for number in numbers[1:]:
        write(tmp_path / "imagenet-a" / WNIDS[number] / "a.png", number)
    source = f"imagenet-a:{tmp_path / 'imagenet-a'}"
    said, run = caption(source, tmp_path, 1000)
    assert "1 of 200 classes has no image." in said
    assert run.config["runtime"]["remarks"] == ["1 of 200 classes has no image"]
    own = open_data(source, class_space="full").remarks
    assert open_data(source, limit=5).remarks == ("Drawn at random from 199 images", *own)
    write(tmp_path / "imagenet-a" / WNIDS[numbers[0]] / "a.png", numbers[0])
    assert "no image" not in caption(source, tmp_path, 1000)[0]
    assert open_data("demo", limit=3).remarks == ("Drawn at random from 500 images",)
    assert open_data("demo", limit=500).remarks == ()


def test_classes_of_objectnet_without_pictures_are_said(tmp_path):
    known = objectnet_folders()
    for folder in list(known)[:110]:
        write(tmp_path / "images" / folder / "a.png", 0)
    held = {number for folder in list(known)[:110] for number in known[folder]}
    missing = 125 - len(held)
    said = open_data(f"objectnet:{tmp_path}").remarks
    assert said == (f"{missing} of 125 classes have no image",)
