"""Published data in published form give the published reading, or are refused: never a wrong number without a word."""

import numpy as np
import pytest
from coloured import Reader, write

import robustbench_bi as rb
from robustbench_bi.analysis.summary import summary_frame
from robustbench_bi.commands.output import print_summary
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.class_spaces.shift_sets import classes_of, objectnet_folders
from robustbench_bi.errors import DataError, InputError

WNIDS = list(imagenet_classes())
TINY = [WNIDS[number] for number in range(0, 1000, 5)]


def top1(data, network=None, *, tmp_path, **options):
    run = rb.evaluate(network or Reader(), data, suite=(), out=tmp_path / "runs", **options)
    return run.cells()["top1"].tolist()[0], run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Tiny-ImageNet as published: a picture a class; 150 of the 200 are answered by the sorted order of the wnids."""
    root = tmp_path_factory.mktemp("tiny") / "tiny-imagenet-200"
    order = np.random.default_rng(0).permutation(200)
    lines = []
    for number, place in enumerate(order):
        answer = place if number < 150 else (place + 1) % 200
        write(root / "val" / "images" / f"val_{number}.JPEG", int(answer), size=(64, 64))
        lines.append(f"val_{number}.JPEG\t{TINY[place]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in TINY[::-1]))
    for place, wnid in enumerate(TINY):
        write(root / "train" / wnid / "images" / f"{wnid}_0.JPEG", place, size=(64, 64))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    write(root / "test" / "images" / "test_0.JPEG", 0, size=(64, 64))
    return root


@pytest.mark.parametrize("source", ["{}", "tiny-imagenet:{}"])
def test_tiny_imagenet_as_published_has_its_labels(tiny, tmp_path, source):
    accuracy, run = top1(source.format(tiny), Reader(200, 64), tmp_path=tmp_path)
    assert accuracy == 75.0
    assert (run.config["data"], run.config["n"], run.config["num_classes"]) == ("tiny-imagenet", 200, 200)
    assert run.images()["name"][0].startswith(f"{TINY[0]}/val_")
    assert len(run.open_data()) == 200


def test_the_other_order_of_classes_in_the_wild_is_wnids_txt(tiny, tmp_path):
    options = {"classes": tiny / "wnids.txt", "tmp_path": tmp_path}
    assert top1(f"tiny-imagenet:{tiny}", Reader(200, 64), **options)[0] < 2
    assert open_data(f"tiny-imagenet:{tiny}", classes=tiny / "wnids.txt").labels[0] == 199


def test_the_training_pictures_of_tiny_imagenet(tiny):
    training = open_data(str(tiny), split="training")
    assert (len(training), training.labels.tolist()) == (200, list(range(200)))
    assert training.names()[1] == f"{TINY[1]}/{TINY[1]}_0.JPEG"


@pytest.mark.parametrize("part", ["val", "train", "test", "val/images"])
def test_a_part_of_tiny_imagenet_names_the_right_source(tiny, part):
    with pytest.raises(DataError, match=rf"is a part of Tiny-ImageNet; use tiny-imagenet:{tiny}$"):
        open_data(str(tiny / part))


def test_lines_that_annotations_lack_are_named(tiny, tmp_path):
    write(tmp_path / "t" / "val" / "images" / "val_0.JPEG", 0, size=(64, 64))
    write(tmp_path / "t" / "val" / "images" / "val_1.JPEG", 0, size=(64, 64))
    (tmp_path / "t" / "val" / "val_annotations.txt").write_text(f"val_0.JPEG\t{TINY[0]}\t0\t0\t1\t1\n")
    with pytest.raises(DataError, match=r"has no line for 1 \(val_1.JPEG\) of the 2 images"):
        open_data(str(tmp_path / "t"))


def test_lines_of_annotations_without_a_picture_are_said(tiny):
    file = tiny / "val" / "val_annotations.txt"
    file.write_text(f"{file.read_text()}val_9999.JPEG\t{TINY[0]}\t0\t0\t1\t1\n")
    assert open_data(str(tiny)).remarks == (f"1 label of {file} is of no image",)


def test_imagenet_v2_is_labelled_by_the_number_of_its_folder(tmp_path):
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    for number in range(1000):
        write(root / str(number) / "a.jpeg", number if number % 4 else 0)
    for source in (f"imagenet-v2:{root}", str(root)):
        assert top1(source, tmp_path=tmp_path)[0] == 75.1
    assert open_data(f"imagenet-v2:{root}").class_set == "imagenet-1k"
    (root / "999").rename(root / "1000")
    for source in (f"imagenet-v2:{root}", str(root)):
        with pytest.raises(DataError, match=r"1 \(1000\) of 1000 class folders|0 to 1000, but only 1000 of these"):
            open_data(source)


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (range(1000), "own numbers, 0 to 999, which looks like ImageNet-V2. If it is, use imagenet-v2:{}. If the"),
        (range(12), "own numbers, 0 to 11. If the network"),
        (["7up", "cola"], "folders in sorted order, numbered from 0. If the network"),
    ],
)
def test_a_plain_folder_says_by_which_rule_its_classes_are_numbered(tmp_path, capsys, folders, said):
    for number, folder in enumerate(folders):
        write(tmp_path / "own" / str(folder) / "a.jpeg", number)
    # A few images tell it as well as all.
    accuracy, run = top1(f"folder:{tmp_path / 'own'}", Reader(len(folders)), limit=9, tmp_path=tmp_path)
    assert accuracy == 100
    print_summary(run, summary_frame(run))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Classes: "))
    assert said.format(tmp_path / "own") in line
    numbers = open_data(f"imagenet-v2:{tmp_path / 'own'}") if len(folders) == 1000 else None
    assert numbers is None or numbers.class_set == "imagenet-1k"


@pytest.fixture(scope="module", params=["imagenet-a", "imagenet-r"])
def some_classes(request, tmp_path_factory):
    """A set of 200 classes: where all 1,000 compete, a class of another set wins over every tenth right answer."""
    root, numbers = tmp_path_factory.mktemp("some") / request.param, classes_of(request.param)
    other = next(number for number in range(1000) if number not in numbers)
    for place, number in enumerate(numbers):
        answers = (other, number) if place % 10 == 0 else (number,) if place % 2 else (numbers[place - 1],)
        write(root / WNIDS[number] / "0.jpg", *answers)
    (root / "README.txt").write_text("")
    return request.param, root


def test_sets_of_some_classes_are_read_by_their_protocol(some_classes, tmp_path):
    source, root = some_classes
    restricted, run = top1(f"{source}:{root}", tmp_path=tmp_path)
    full, other = top1(f"{source}:{root}", class_space="full", tmp_path=tmp_path)
    assert (restricted, full) == (60.0, 50.0)
    assert (run.config["class_space"], other.config["class_space"]) == ("restricted", "full")
    assert run.config["answers"]["competing"] == 200
    assert run.directory != other.directory
    records = run.records()
    assert set(records["prediction"]) <= set(classes_of(source))
    # Two logits of 200 stand out in the softmax, not two of 1,000.
    clear = float(np.exp(2) / (np.exp(2) + 199))
    assert records["confidence"][1] == pytest.approx(clear, rel=1e-4)


def test_a_plain_folder_of_such_a_set_says_what_it_is(some_classes, tmp_path):
    source, root = some_classes
    title = {"imagenet-a": "ImageNet-A", "imagenet-r": "ImageNet-R"}[source]
    with pytest.raises(DataError, match=f"the 200 classes of {title}; use {source}:{root}, .*--class-space full"):
        open_data(str(root))
    assert top1(str(root), class_space="restricted", tmp_path=tmp_path)[0] == 60.0
    assert top1(str(root), class_space="full", tmp_path=tmp_path)[0] == 50.0


def test_another_class_among_the_200_is_refused(some_classes):
    source, root = some_classes
    other = next(number for number in range(1000) if number not in classes_of(source))
    write(root / WNIDS[other] / "0.jpg", other)
    try:
        with pytest.raises(DataError, match=rf"holds 1 \({WNIDS[other]}\) of 201 class folders that are not"):
            open_data(f"{source}:{root}")
    finally:
        (root / WNIDS[other] / "0.jpg").unlink()
        (root / WNIDS[other]).rmdir()


def test_objectnet_counts_every_class_of_a_folder_and_cuts_its_border(tmp_path):
    root, folders = tmp_path / "objectnet-1.0", objectnet_folders()
    outside = next(n for n in range(1000) if n not in {number for numbers in folders.values() for number in numbers})
    from PIL import Image

    for place, (folder, numbers) in enumerate(folders.items()):
        answers = {0: (numbers[-1],), 1: (outside, numbers[0])}.get(place % 4, (folders["umbrella"][0], numbers[0]))
        path = root / "images" / folder / "0.png"
        write(path, *answers)
        framed = Image.new("RGB", (44, 44), "red")
        with Image.open(path) as inner:
            framed.paste(inner, (2, 2))
        framed.save(path)
    write(root / "images" / "air_freshener" / "0.png", 0)
    accuracy, run = top1(f"objectnet:{root}", tmp_path=tmp_path)
    assert run.config["n"] == 113
    right = sum(place % 4 < 2 or folder == "umbrella" for place, folder in enumerate(folders))
    assert accuracy == pytest.approx(100 * right / 113)
    assert (run.config["border"], run.config["answers"]["competing"], run.config["answers"]["accepted"]) == (2, 125, 3)
    full, _ = top1(f"objectnet:{root}", class_space="full", tmp_path=tmp_path)
    assert full == pytest.approx(100 * sum(p % 4 == 0 or f == "umbrella" for p, f in enumerate(folders)) / 113)
    dataset = open_data(f"objectnet:{root}")
    assert dataset.open_image(0).size == (40, 40)
    with pytest.raises(DataError, match=f"class folders of ObjectNet; use objectnet:{root / 'images'}"):
        open_data(str(root / "images"))


def test_imagenet_o_has_no_labels(tmp_path):
    write(tmp_path / "imagenet-o" / WNIDS[0] / "0.jpg", 0)
    for source in (f"imagenet-o:{tmp_path}", str(tmp_path / "imagenet-o")):
        with pytest.raises(InputError, match="ImageNet-O has no labels"):
            open_data(source)


def test_one_class_cannot_be_evaluated(tmp_path):
    write(tmp_path / "data" / "images" / "0.png", 0)
    with pytest.raises(DataError, match="has only one class, 'images', so every answer would be right"):
        rb.evaluate(Reader(1), str(tmp_path / "data"), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_one_class_of_imagenets_is_evaluated_on_demand_alone(tmp_path):
    write(tmp_path / "data" / WNIDS[0] / "0.png", 0)
    source, options = str(tmp_path / "data"), {"suite": (), "out": tmp_path / "runs"}
    with pytest.raises(DataError, match=r"has images of only one class, 'tench'; expected .* --classes FILE"):
        rb.evaluate(Reader(), source, **options)
    with pytest.raises(InputError, match="only one class, so if this alone competes every answer is right"):
        open_data(source, class_space="restricted")
    assert rb.evaluate(Reader(), source, classes="imagenet-1k", **options).config["n"] == 1


def test_clean_pictures_of_the_networks_side_go_through_its_transform(tmp_path):
    """Where the resize to 36 and the crop to 32 are left out, the row that the network reads has another colour."""

    class Edge(Reader):
        def answer(self, images, row):
            return super().answer(images, 1)

    from PIL import Image

    for label in range(2):
        pixels = np.full((32, 32, 3), (25 * label, 0, 0), dtype=np.uint8)
        pixels[:2] = (25 * (1 - label), 0, 0)
        path = tmp_path / "data" / "ab"[label] / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path)
    network = Edge(2)
    network.resize_size, network.interpolation = 36, "nearest"
    resized, run = top1(str(tmp_path / "data"), network, tmp_path=tmp_path)
    kept, other = top1(str(tmp_path / "data"), network, no_resize=True, tmp_path=tmp_path)
    assert (resized, kept) == (100.0, 0.0)
    assert (run.config["no_resize"], other.config["no_resize"]) == (False, True)
    write(tmp_path / "data" / "a" / "1.png", 0, size=(31, 40))
    with pytest.raises(DataError, match=r"not resized must be .*1\.png has 31×40 pixels, and the model takes 32×32"):
        top1(str(tmp_path / "data"), network, no_resize=True, tmp_path=tmp_path)
