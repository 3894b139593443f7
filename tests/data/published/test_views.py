"""What networks see of images of another side, which images are taken, and how clean ones are paired."""

import json

import numpy as np
import pytest
import torch
from coloured import Reader, colour_of, write
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.analysis import summary_frame
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.preprocess import Preprocessing, grey
from robustbench_bi.errors import DataError, InputError

WNIDS = list(imagenet_classes())
CLASSES = (0, 3, 7, 11)
CELLS = [("fog", 1), ("fog", 2), ("snow", 1)]


def stored(root, side=64, wnids=WNIDS, cells=CELLS):
    """Stored pictures of four classes; at severity 2 one of them is answered wrongly."""
    for name, severity in cells:
        for place, number in enumerate(CLASSES):
            answer = 1 if severity == 2 and place == 3 else number
            file = root / name / str(severity) / wnids[number] / f"val_{number}.JPEG"
            write(file, answer, size=(side, side))
    return root


def cells_of(run):
    return run.cells()[["corruption", "severity", "top1"]].values.tolist()


def test_stored_files_are_fitted_to_another_side_on_demand(tmp_path):
    source = f"imagenet-c:{stored(tmp_path / 'c')}"
    options = {"suite": "fog", "severities": "1,2", "out": tmp_path / "runs"}
    with pytest.raises(DataError, match=r"never enlarged: .* takes 96×96 .* has 64×64; .* --fit"):
        rb.evaluate(Reader(side=96), source, **options)
    network = Reader(side=96)
    run = rb.evaluate(network, source, fit=True, **options)
    assert cells_of(run) == [["fog", 1, 100.0], ["fog", 2, 75.0]]
    assert {shape[2:] for shape in network.seen} == {(96, 96)}
    assert (run.config["input_size"], run.config["corrupt_size"], run.config["fit"]) == (96, 64, True)
    summary = summary_frame(run)
    assert "64 px fitted to 96 px, stored files" in summary.caption
    assert "64 px" in summary.frame.loc[summary.frame["kind"] == "mce", "name"].item()
    same = rb.evaluate(Reader(side=64), source, fit=True, **options)
    assert same.directory == rb.evaluate(Reader(side=64), source, **options).directory


def test_what_is_fitted_is_what_pil_resizes(tmp_path):
    seen = []

    class Watching(Reader):
        interpolation = "bicubic"

        def forward(self, images):
            seen.append(images.clone())
            return super().forward(images)

    rb.evaluate(Watching(10, side=48), "demo", suite="contrast", severities=3, limit=3, fit=True, out=tmp_path)
    pictures = open_data("demo", limit=3)
    clean = pictures.read(range(3), Preprocessing(64, 64))
    made = rb.corrupt(torch.from_numpy(clean), "contrast", 3, table="tiny-imagenet-c")
    for images, own in zip(seen[-2:], (clean, made.numpy()), strict=True):
        for image, picture in zip(images, own, strict=True):
            resized = Image.fromarray(picture.transpose(1, 2, 0)).resize((48, 48), Image.Resampling.BICUBIC)
            assert np.array_equal((image * 255).round().byte().numpy(), np.asarray(resized).transpose(2, 0, 1))


def test_clean_pictures_corrupted_at_a_side_of_their_own_equal_stored_ones(tmp_path):
    generator = np.random.default_rng(0)
    for label in "ab":
        for number in range(2):
            path = tmp_path / "photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
    rb.write_corrupted(str(tmp_path / "photos"), tmp_path / "c", suite="contrast", severities=3, size=64, jpeg=None)

    class Sums(torch.nn.Module):
        input_size, interpolation = 96, "bicubic"

        def forward(self, images):
            return images.double().mean(dim=(1, 2, 3), keepdim=False)[:, None] * torch.tensor([[1.0, 2.0]])

    options = {"suite": "contrast", "severities": 3, "out": tmp_path / "runs"}
    made = rb.evaluate(Sums(), str(tmp_path / "photos"), corrupt_size=64, jpeg=None, **options)
    files = rb.evaluate(Sums(), f"imagenet-c:{tmp_path / 'c'}", fit=True, clean=str(tmp_path / "photos"), **options)
    assert made.config["corrupt_size"] == files.config["corrupt_size"] == 64
    assert made.records()["loss"].tolist() == files.records()["loss"].tolist()
    with pytest.raises(InputError, match="differ in size, so give corrupt_size"):
        rb.evaluate(Sums(), str(tmp_path / "photos"), fit=True, **options)
    with pytest.raises(InputError, match="demo images have 64×64 pixels, so give fit alone"):
        rb.evaluate(Sums(), "demo", corrupt_size=32, **options)


def test_stored_images_are_paired_with_clean_ones_by_name(tmp_path):
    source = f"imagenet-c:{stored(tmp_path / 'c')}"
    for number in CLASSES:
        write(tmp_path / "val" / WNIDS[number] / f"val_{number}.png", 1 if number == 3 else number, size=(90, 80))
    options = {"suite": "fog", "severities": "1,2", "out": tmp_path / "runs"}
    alone = rb.evaluate(Reader(side=64), source, **options)
    run = rb.evaluate(Reader(side=64), source, clean=tmp_path / "val", **options)
    assert cells_of(run) == [["none", 0, 75.0], ["fog", 1, 100.0], ["fog", 2, 75.0]]
    assert "delta" in summary_frame(run).frame
    assert run.directory != alone.directory
    assert len(run.open_data()) == 4
    write(tmp_path / "val" / WNIDS[9] / "val_9.png", 9)
    (tmp_path / "val" / WNIDS[7] / "val_7.png").unlink()
    (tmp_path / "val" / WNIDS[7]).rmdir()
    message = rf"lacks 1 \({WNIDS[7]}/val_7\) .* holds 1 \({WNIDS[9]}/val_9.png\) that are not in"
    with pytest.raises(DataError, match=message):
        rb.evaluate(Reader(side=64), source, clean=tmp_path / "val", **options)
    common = rb.evaluate(Reader(side=64), source, clean=tmp_path / "val", common_images=True, **options)
    assert (common.config["n"], common.config["left_out"]) == (3, {"not in every cell": 2})
    with pytest.raises(InputError, match="has clean ones already"):
        rb.evaluate(Reader(10, side=64), "demo", clean=tmp_path / "val", **options)
    with pytest.raises(InputError, match=r"takes clean images, but .* holds corrupted ones"):
        rb.evaluate(Reader(side=64), source, clean=source, **options)


def test_pairs_have_one_class(tmp_path):
    source = f"imagenet-c:{stored(tmp_path / 'c', wnids=[f'c{n}' for n in range(20)])}"
    for number in CLASSES:
        write(tmp_path / "val" / f"c{number}" / f"val_{number}.JPEG", number)
    write(tmp_path / "val" / "c00" / "0.JPEG", 0)
    with pytest.raises(DataError, match=r"has class \d in .* and \d in .*; give both the same --classes"):
        open_data(source, clean=tmp_path / "val", common_images=True)


def test_the_images_that_all_cells_share_are_taken_on_demand(tmp_path):
    root = stored(tmp_path / "c")
    for number in (20, 21, 22):  # as in Zenodo's frost, which holds classes of another set
        write(root / "frost" / "1" / WNIDS[number] / f"val_{number}.JPEG", number, size=(64, 64))
    for number in CLASSES[:3]:
        write(root / "frost" / "1" / WNIDS[number] / f"val_{number}.JPEG", number, size=(64, 64))
    with pytest.raises(DataError, match=r"the same files, but .*frost/1 .*--common-images"):
        open_data(f"imagenet-c:{root}")
    options = {"suite": "fog,frost", "severities": 1, "common_images": True, "out": tmp_path / "runs"}
    run = rb.evaluate(Reader(side=64), f"imagenet-c:{root}", **options)
    assert (run.config["n"], run.config["left_out"]) == (3, {"not in every cell": 4})
    assert "Left out: 4 images not in every cell." in summary_frame(run).caption


def test_the_images_that_a_file_names_are_taken(tmp_path):
    root = stored(tmp_path / "c")
    names = [f"{WNIDS[number]}/val_{number}.JPEG" for number in CLASSES]
    (tmp_path / "ids.txt").write_text(f"\ufeff{names[3]}\r\n\r\nval_3.JPEG\r\n", encoding="utf-8")
    dataset = open_data(f"imagenet-c:{root}", images=tmp_path / "ids.txt")
    assert (dataset.image_ids.tolist(), dataset.names()) == ([1, 3], (names[1], names[3]))
    run = rb.evaluate(Reader(side=64), f"imagenet-c:{root}", images=tmp_path / "ids.txt", suite="fog", severities=2,
                      out=tmp_path / "runs")  # fmt: skip
    assert cells_of(run) == [["fog", 2, 50.0]]
    for text, message in (
        (f"{names[0]}\nother.JPEG\n", r"names 1 \(other.JPEG\) of 2 images that .* does not hold"),
        (f"{names[0]}\nval_0.JPEG\n", "line 2: val_0.JPEG appears twice, first in line 1"),
        ("\n", "names no images"),
    ):
        (tmp_path / "ids.txt").write_text(text)
        with pytest.raises(DataError, match=message):
            open_data(f"imagenet-c:{root}", images=tmp_path / "ids.txt")
    for place in range(2):
        write(tmp_path / "two" / "ab"[place] / "0.png", place)
    (tmp_path / "ids.txt").write_text("0.png\n")
    with pytest.raises(DataError, match=r"0.png is the name of 2 images; add the folder"):
        open_data(str(tmp_path / "two"), images=tmp_path / "ids.txt")


class Grey(Reader):
    """It answers by the grey value."""

    def answer(self, images, row):
        assert images.shape[1] == 1
        return (images[:, 0, row, images.shape[3] // 2] * 255).round().long()


def test_pictures_become_grey_after_the_corruption_by_luminance(tmp_path):
    colours = [(200, 10, 30), (5, 90, 250)]
    values = [Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0)) for colour in colours]
    labels = sorted(set(values))
    for colour, value in zip(colours, values, strict=True):
        path = tmp_path / "data" / f"{labels.index(value)}" / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (40, 40), colour).save(path)

    class Two(Grey):
        def answer(self, images, row):
            found = super().answer(images, row)
            return torch.tensor([labels.index(int(value)) if int(value) in labels else 1 for value in found])

    asked = rb.evaluate(Two(2), str(tmp_path / "data"), suite=(), channels=1, out=tmp_path / "runs")
    own = Two(2)
    own.in_chans = 1
    stated = rb.evaluate(own, str(tmp_path / "data"), suite=(), out=tmp_path / "runs")
    assert asked.cells()["top1"][0] == stated.cells()["top1"][0] == 100.0
    assert asked.config["channels"] == 1
    assert "grey" in summary_frame(asked).caption
    with pytest.raises(InputError, match="channels must be 1 or 3, got 2"):
        rb.evaluate(Two(2), str(tmp_path / "data"), channels=2, out=tmp_path / "runs")


def test_grey_equals_pil():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    assert np.array_equal(grey(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))[0, 0].numpy(), expected)


def test_tiny_imagenet_c_is_numbered_as_tiny_imagenet(tmp_path):
    wnids = WNIDS[1::5]
    root = stored(tmp_path / "c", wnids=wnids, cells=CELLS[:1])
    for place, wnid in enumerate(wnids):
        write(root / "fog" / "1" / wnid / "more.JPEG", place, size=(64, 64))
    run = rb.evaluate(Reader(200, side=224), f"tiny-imagenet-c:{root}", suite="fog", severities=1, fit=True,
                      out=tmp_path / "runs")  # fmt: skip
    assert (run.cells()["top1"][0], run.config["n"], run.config["corrupt_size"]) == (100.0, 204, 64)
    assert "mce" not in set(summary_frame(run).frame["kind"])
    with pytest.raises(DataError, match=r"has 200 classes, but the cells of .* share 4: .*wnids.txt"):
        open_data(f"tiny-imagenet-c:{stored(tmp_path / 'few')}")
    write(root / "fog" / "1" / wnids[0] / "odd.JPEG", 0, size=(32, 32))
    with pytest.raises(DataError, match=r"must all have 64×64 pixels, but .*odd.JPEG has 32×32"):
        rb.evaluate(Reader(200), f"tiny-imagenet-c:{root}", suite="fog", severities=1, out=tmp_path / "runs")


def arrays(count, classes, wrong=0):
    """CIFAR's arrays: pictures and labels of which the first few are answered wrongly."""
    labels = np.arange(count) % classes
    images = np.empty((count, 32, 32, 3), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row] = colour_of((label + 1) % classes if row < wrong else label)
    return images, labels


def test_cifar_100_c_holds_100_classes(tmp_path):
    images, labels = arrays(100, 100, wrong=20)
    np.save(tmp_path / "fog.npy", np.tile(images, (5, 1, 1, 1)))
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    options = {"suite": "fog", "severities": 3, "out": tmp_path / "runs"}
    run = rb.evaluate(Reader(100), f"cifar-100-c:{tmp_path}", **options)
    assert (run.cells()["top1"][0], run.config["num_classes"]) == (80.0, 100)
    assert open_data(f"cifar-100-c:{tmp_path}").class_names[99] == "worm"
    with pytest.raises(DataError, match="class numbers from 0 to 9, got 0 to 99"):
        open_data(f"cifar-10-c:{tmp_path}")
    fitted = Reader(100, side=224)
    assert rb.evaluate(fitted, f"cifar-100-c:{tmp_path}", fit=True, **options).cells()["top1"][0] == 80.0
    assert fitted.seen[-1][2:] == (224, 224)


def test_cifar_10_1_and_10_2_are_clean_sets(tmp_path):
    images, labels = arrays(20, 10, wrong=5)
    np.save(tmp_path / "cifar10.1_v6_data.npy", images)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", labels.astype(np.int32))
    np.savez(tmp_path / "cifar102_test.npz", images=images, labels=labels)
    for source in ("cifar-10.1", "cifar-10.2"):
        run = rb.evaluate(Reader(10), f"{source}:{tmp_path}", suite=(), out=tmp_path / "runs")
        assert run.cells()["top1"][0] == 75.0
        assert run.config["data"] == source
    np.save(tmp_path / "cifar10.1_v6_labels.npy", labels[:7])
    with pytest.raises(DataError, match=r"v6_data.npy must be uint8 .* to fit"):
        open_data(f"cifar-10.1:{tmp_path}")
    (tmp_path / "cifar102_test.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot read the arrays images and labels"):
        open_data(f"cifar-10.2:{tmp_path}")


def test_runs_of_other_answers_are_not_compared(tmp_path):
    from robustbench_bi.analysis import comparison_frame
    from robustbench_bi.errors import RunMismatchError

    source = str(stored(tmp_path / "c") / "fog" / "1")
    runs = [
        rb.evaluate(Reader(), source, class_space=space, suite="contrast", severities=1, out=tmp_path / "runs")
        for space in ("restricted", "full")
    ]
    assert json.loads((runs[0].directory / "run.json").read_text())["class_space"] == "restricted"
    with pytest.raises(RunMismatchError, match="class space"):
        comparison_frame(runs[1:], runs[0])
