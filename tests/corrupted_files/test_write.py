import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.corrupted_files import Summary, image_files, write, write_corrupted
from robustbench_bi.corrupted_files import worker_pool as processes
from robustbench_bi.corruptions.apply import corrupt
from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.data import CLEAN, Dataset, open_data
from robustbench_bi.data.labels.class_folders import read_classes
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.ground import atomic

SMALL = {"suite": "gaussian_noise,contrast", "severities": "1,5", "size": 48, "workers": 1}
CELLS = [(name, severity) for name in ("gaussian_noise", "contrast") for severity in (1, 5)]
GEOMETRY = Preprocessing(48, 55)


@pytest.fixture
def photos(tmp_path):
    """Two classes of four pictures of several sizes and formats, one of them of the wanted size."""
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for number, suffix in enumerate(("jpg", "png", "JPEG", "v2.webp")):
            path = tmp_path / "photos" / label / f"{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            side = (48, 48) if number == 1 else generator.integers(50, 90, 2)
            coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8))
            coarse.resize([int(n) for n in side], Image.Resampling.BICUBIC).save(path)
    return tmp_path / "photos"


@pytest.fixture
def cifar(monkeypatch, tmp_path):
    """Seven images in place of CIFAR-10's test set."""

    class Stored:
        def __init__(self, root, train):
            self.data = np.random.default_rng(1).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
            self.targets = [3, 1, 9, 0, 3, 5, 2]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Stored)
    return f"cifar-10:{tmp_path / 'cifar'}"


def contents(root):
    """Name and bytes of every file that other tools see."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and ".bivo-robust" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.name != "bivo-robust.json"}


def stamps(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.*") if path.is_file()}


def saved(pixels, quality=85):
    """The file that the published code would save: uint8 (3, H, W) to bytes."""
    file = BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def loaded(data):
    return np.asarray(Image.open(BytesIO(data))).transpose(2, 0, 1)


def expected(dataset, preprocessing, cell, **options):
    """The pixels that an evaluation makes of a cell, before the JPEG round trip."""
    images = torch.from_numpy(dataset.read(range(len(dataset)), preprocessing))
    return images if cell == CLEAN else corrupt(images, *cell, ids=dataset.image_ids, **options)


def test_the_files_are_those_of_the_published_layout(photos, tmp_path):
    summary = write_corrupted(photos, tmp_path / "out", **SMALL)
    assert summary == Summary(f"imagenet-c:{tmp_path / 'out'}", tmp_path / "out" / "classes.tsv", 32, 0, 0)
    names = [f"{label}/{stem}.JPEG" for label in ("cat", "dog") for stem in ("0", "1", "2", "3.v2")]
    found = contents(tmp_path / "out")
    assert set(found) == {f"{c}/{s}/{name}" for c, s in CELLS for name in names} | {"classes.tsv"}
    clean = open_data(photos)
    for corruption, severity in CELLS:
        made = expected(clean, GEOMETRY, (corruption, severity), table="tiny-imagenet-c").numpy()
        for name, pixels in zip(names, made, strict=True):
            assert found[f"{corruption}/{severity}/{name}"] == saved(pixels)


@pytest.mark.parametrize("jpeg", ["auto", 40, "none"])
def test_the_reader_sees_the_pixels_of_an_evaluation(photos, tmp_path, jpeg):
    options = {**SMALL, "suite": "fog,glass_blur", "jpeg": jpeg, "seed": 3, "table": "imagenet-c", "clean": True}
    summary = write_corrupted(photos, tmp_path / "out", **options)
    clean, files = open_data(photos), open_data(summary.source)
    assert files.stored_cells == {(name, severity) for name in ("fog", "glass_blur") for severity in (1, 5)} | {CLEAN}
    assert files.labels.tolist() == clean.labels.tolist()
    for cell in files.stored_cells:
        made = expected(clean, GEOMETRY, cell, seed=3, table="imagenet-c").numpy()
        if cell != CLEAN and jpeg != "none":
            made = np.stack([loaded(saved(pixels, 85 if jpeg == "auto" else jpeg)) for pixels in made])
        assert np.array_equal(files.read(range(len(files)), GEOMETRY, cell), made)


def test_an_evaluation_of_the_files_gives_the_records_of_one_of_the_source(photos, tmp_path):
    class Patches(torch.nn.Module):
        input_size = 48

        def forward(self, images):
            return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)[:, :2]

    options = {"suite": SMALL["suite"], "severities": "1,5", "out": tmp_path / "runs"}
    summary = write_corrupted(photos, tmp_path / "out", clean=True, **SMALL)
    files = rb.evaluate(Patches(), summary.source, **options).records()
    direct = rb.evaluate(Patches(), str(photos), jpeg=85, **options).records()
    assert files["loss"].nunique() > 30
    assert files.equals(direct)


def test_cifar_becomes_arrays(cifar, tmp_path):
    summary = write_corrupted(cifar, tmp_path / "out", suite="noise,fog", clean=True, workers=1)
    assert summary == Summary(f"cifar-10-c:{tmp_path / 'out'}", None, 5, 0, 0)
    assert set(contents(tmp_path / "out")) == {
        "gaussian_noise.npy", "shot_noise.npy", "impulse_noise.npy", "fog.npy", "none.npy", "labels.npy",
    }  # fmt: skip
    array = np.load(tmp_path / "out" / "fog.npy")
    assert array.shape == (35, 32, 32, 3) and array.dtype == np.uint8 and array.flags.c_contiguous
    assert np.load(tmp_path / "out" / "labels.npy").tolist() == [3, 1, 9, 0, 3, 5, 2] * 5
    clean, files, preprocessing = open_data(cifar), open_data(summary.source), Preprocessing(32, 32)
    for cell in [CLEAN, *((name, severity) for name in ("fog", "shot_noise") for severity in range(1, 6))]:
        made = expected(clean, preprocessing, cell, table="cifar-10-c")
        assert np.array_equal(files.read(range(7), preprocessing, cell), made.numpy())


@pytest.mark.parametrize("planted", [{}, {"seed": 1}, {"table": "cifar-10-c"}, {"jpeg": 30}, {"jpeg": None}], ids=str)
def test_files_hold_the_pixels_of_the_recipe(tmp_path, planted):
    """Byte for byte what `eval` sees, after its JPEG round trip where the files are JPEG."""
    cell = ("gaussian_noise", 2)
    options = {"suite": cell[0], "severities": cell[1], "limit": 4, "workers": 1}
    summary = write_corrupted("demo", tmp_path / "out", **options, **planted)
    files, dataset = open_data(summary.source, classes=summary.classes), open_data("demo", limit=4)
    order = np.argsort([path.name for path in sorted((tmp_path / "out" / "gaussian_noise" / "2").rglob("*.*"))])
    read = files.read(range(4), Preprocessing(64, 64), cell)[order]
    clean = dataset.read(range(4), Preprocessing(64, 64))
    assert np.array_equal(read, Pixels(**{"jpeg": 85, **planted}).of_cell(clean, cell, dataset.image_ids))
    assert bool(planted) != np.array_equal(read, Pixels(jpeg=85).of_cell(clean, cell, dataset.image_ids))


def test_a_limited_array_holds_the_chosen_images(cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "IMAGES_AT_ONCE", 2)
    summary = write_corrupted(cifar, tmp_path / "out", suite="shot_noise", limit=3, workers=1)
    chosen, preprocessing = open_data(cifar, limit=3), Preprocessing(32, 32)
    files = open_data(summary.source)
    assert files.labels.tolist() == chosen.labels.tolist()
    made = expected(chosen, preprocessing, ("shot_noise", 4), table="cifar-10-c")
    assert np.array_equal(files.read(range(3), preprocessing, ("shot_noise", 4)), made.numpy())


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:900])])
def test_a_damaged_array_is_made_again(cifar, tmp_path, damage):
    options = {"suite": "noise", "workers": 1}
    write_corrupted(cifar, tmp_path / "out", **options)
    before = contents(tmp_path / "out")
    damage(tmp_path / "out" / "shot_noise.npy")
    damage(tmp_path / "out" / "labels.npy")
    summary = write_corrupted(cifar, tmp_path / "out", **options)
    assert (summary.written, summary.whole) == (1, 2)
    assert contents(tmp_path / "out") == before


def test_the_demo_set_is_named_by_class_and_id(tmp_path):
    summary = write_corrupted("demo", tmp_path / "out", suite="contrast", severities=2, limit=30, workers=1)
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.JPEG")} <= set(open_data("demo").class_names)
    files, drawn = open_data(summary.source, classes=summary.classes), open_data("demo", limit=30)
    assert files.class_names == drawn.class_names
    assert sorted(files.labels) == sorted(drawn.labels)
    folders = {path.name: path.parent.name for path in (tmp_path / "out").rglob("*.JPEG")}
    assert folders == {
        f"{i:05d}.JPEG": drawn.class_names[n] for i, n in zip(drawn.image_ids, drawn.labels, strict=True)
    }


def test_labels_stay_right_where_a_limit_empties_a_class(photos, tmp_path):
    (photos / "cat" / "3.v2.webp").unlink()
    assert open_data(photos, limit=1).labels.tolist() == [1]
    summary = write_corrupted(photos, tmp_path / "out", limit=1, **SMALL)
    files = open_data(summary.source, classes=summary.classes)
    assert (files.labels.tolist(), files.class_names) == ([1], ("cat", "dog"))


def test_the_users_class_file_goes_along_and_imagenet_needs_none(photos, tmp_path):
    classes = tmp_path / "classes.tsv"
    classes.write_text("0\towl\tan owl\n1\tdog\ta dog\n2\tcat\ta cat\n")
    summary = write_corrupted(photos, tmp_path / "out", classes=classes, **SMALL)
    assert read_classes(summary.classes) == read_classes(classes)
    for old, new in (("cat", "n02123045"), ("dog", "n02085620")):
        (photos / old).rename(photos / new)
    assert write_corrupted(photos, tmp_path / "other", **SMALL).classes is None


def test_a_second_run_decodes_nothing_and_touches_nothing(photos, tmp_path, monkeypatch):
    write_corrupted(photos, tmp_path / "out", **SMALL)
    before = stamps(tmp_path / "out")

    def read(*arguments, **options):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(Dataset, "read", read)
    monkeypatch.setattr(Dataset, "find_broken", read)
    summary = write_corrupted(photos, tmp_path / "out", **SMALL)
    assert (summary.written, summary.whole) == (0, 32)
    assert stamps(tmp_path / "out") == before


def test_a_block_is_decoded_once_for_all_its_cells(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "BLOCK_IMAGES", 3)
    read, calls = Dataset.read, []
    monkeypatch.setattr(
        Dataset, "read", lambda self, rows, *a, **k: calls.append(list(rows)) or read(self, rows, *a, **k)
    )
    write_corrupted(photos, tmp_path / "out", **SMALL)
    assert calls == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_corruptions_severities_and_clean_images_are_added_to_what_is_there(photos, tmp_path):
    write_corrupted(photos, tmp_path / "out", **SMALL)
    before = stamps(tmp_path / "out")
    more = {**SMALL, "suite": "contrast,fog", "severities": "1-2", "clean": True}
    summary = write_corrupted(photos, tmp_path / "out", **more)
    assert (summary.written, summary.whole) == (8 * 4, 8)
    after = stamps(tmp_path / "out")
    assert {path: after[path] for path in before} == before
    write_corrupted(photos, tmp_path / "whole", **{**more, "severities": "1-5"})
    assert (
        contents(tmp_path / "out").items()
        >= {
            name: data for name, data in contents(tmp_path / "whole").items() if name[-3:] == "tsv" or "/1/" in name
        }.items()
    )


@pytest.mark.parametrize("jobs_before_stop", [1, 3])
def test_a_stopped_run_continues_to_the_same_bytes(photos, tmp_path, monkeypatch, jobs_before_stop):
    monkeypatch.setattr(image_files, "BLOCK_IMAGES", 3)
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == jobs_before_stop:
            raise KeyboardInterrupt

    write_corrupted(photos, tmp_path / "whole", **SMALL)
    with pytest.raises(KeyboardInterrupt):
        write_corrupted(photos, tmp_path / "out", progress=stop, **SMALL)
    kept = {path: stamp for path, stamp in stamps(tmp_path / "out").items() if path.suffix == ".JPEG"}
    assert len(kept) == seen[-1].images
    summary = write_corrupted(photos, tmp_path / "out", progress=seen.append, **SMALL)
    assert (summary.written, summary.whole) == (32 - len(kept), len(kept))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    after = stamps(tmp_path / "out")
    assert {path: after[path] for path in kept} == kept
    assert (seen[-1].steps_done, seen[-1].steps_total) == (12, 12)
    assert seen[-1].images == seen[-1].images_total == summary.written


def test_a_killed_run_leaves_whole_files_and_no_workers(tmp_path):
    options = {"suite": "noise,digital", "limit": 40, "workers": 2}
    program = (
        f"from robustbench_bi.corrupted_files import *; write_corrupted('demo', {str(tmp_path / 'out')!r}, **{options})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").rglob("*.JPEG"))) < 100:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)  # returns when the last worker has closed the pipe
    found = contents(tmp_path / "out")
    whole = write_corrupted("demo", tmp_path / "whole", **{**options, "workers": 1})
    wanted = contents(tmp_path / "whole")
    assert 100 <= len(found) < whole.written
    assert found.items() <= wanted.items()
    write_corrupted("demo", tmp_path / "out", **{**options, "workers": 1})
    assert contents(tmp_path / "out") == wanted


def test_a_worker_that_is_asked_to_stop_leaves_nothing_half_done(photos, cifar, tmp_path, monkeypatch):
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(processes, "_stop", stop)
    for source, options in ((photos, SMALL), (cifar, {"workers": 1})):
        with pytest.raises(CancelledError):
            write_corrupted(source, tmp_path / "out", **options)
        held = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
        assert held <= {"bivo-robust.json", "classes.tsv", "labels.npy"}
        shutil.rmtree(tmp_path / "out")


def test_lost_and_damaged_files_are_found_and_made_again(photos, tmp_path):
    write_corrupted(photos, tmp_path / "out", **SMALL)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "contrast" / "1" / "cat" / "0.JPEG").write_bytes(b"")
    truncated = tmp_path / "out" / "contrast" / "5" / "dog" / "1.JPEG"
    truncated.write_bytes(truncated.read_bytes()[:-1])
    (tmp_path / "out" / "gaussian_noise" / "5" / "dog" / "2.JPEG").unlink()
    (tmp_path / "out" / "classes.tsv").unlink()
    summary = write_corrupted(photos, tmp_path / "out", **SMALL)
    assert (summary.written, summary.whole) == (3, 29)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"cat/0.JPEG": 3}', None])
def test_files_without_a_manifest_are_made_again(photos, tmp_path, damage):
    write_corrupted(photos, tmp_path / "out", **SMALL)
    manifest = tmp_path / "out" / ".bivo-robust" / "contrast-5-0000.json"
    manifest.unlink() if damage is None else manifest.write_bytes(damage)
    assert write_corrupted(photos, tmp_path / "out", **SMALL).written == 8
    assert write_corrupted(photos, tmp_path / "out", **SMALL).written == 0


def test_damage_that_keeps_the_size_is_found_by_checksum(photos, tmp_path):
    write_corrupted(photos, tmp_path / "out", **SMALL)
    before = contents(tmp_path / "out")
    path = tmp_path / "out" / "contrast" / "5" / "dog" / "1.JPEG"
    changed = bytearray(path.read_bytes())
    changed[-20] ^= 1
    path.write_bytes(changed)
    assert write_corrupted(photos, tmp_path / "out", **SMALL).written == 0
    assert write_corrupted(photos, tmp_path / "out", verify=True, **SMALL).written == 1
    assert contents(tmp_path / "out") == before


def test_what_a_killed_process_left_half_written_is_removed(photos, tmp_path):
    write_corrupted(photos, tmp_path / "out", **SMALL)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "out" / "contrast" / "5" / "dog" / "1.JPEG").unlink()
    for folder in ("", ".bivo-robust", "contrast/5/dog"):
        (tmp_path / "out" / folder / f".x.{atomic._machine()}-{gone.pid}.partial").write_bytes(b"half")
    write_corrupted(photos, tmp_path / "out", **SMALL)
    assert list((tmp_path / "out").rglob("*.partial")) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"jpeg": 90}, "jpeg is 85 there and 90 here"),
        ({"table": "imagenet-c"}, "table is tiny-imagenet-c there and imagenet-c here"),
        ({"size": 64}, "input_size is 48 there and 64 here"),
        ({"resize": 60}, "resize_size is 55 there and 60 here"),
        ({"limit": 3}, "n is 8 there and 3 here"),
    ],
)
def test_files_of_other_settings_are_not_mixed(photos, tmp_path, change, message):
    write_corrupted(photos, tmp_path / "out", **SMALL)
    before = stamps(tmp_path / "out")
    with pytest.raises(RunMismatchError, match=f"out holds files of other images or settings: {message}"):
        write_corrupted(photos, tmp_path / "out", **{**SMALL, **change})
    assert stamps(tmp_path / "out") == before


def test_files_of_other_images_or_pixels_are_not_mixed(photos, tmp_path, monkeypatch):
    write_corrupted(photos, tmp_path / "out", **SMALL)
    monkeypatch.setattr(image_files, "PIXEL_VERSION", 99)
    with pytest.raises(RunMismatchError, match=r"pixel_version is \d+ there and 99 here\. Choose another folder"):
        write_corrupted(photos, tmp_path / "out", **SMALL)
    monkeypatch.undo()
    Image.new("RGB", (60, 60)).save(photos / "cat" / "0.jpg")
    with pytest.raises(RunMismatchError, match="the names, sizes or labels of the images differ"):
        write_corrupted(photos, tmp_path / "out", **SMALL)
    (tmp_path / "out" / "bivo-robust.json").write_text("{")
    with pytest.raises(RunMismatchError, match=r"bivo-robust\.json cannot be read"):
        write_corrupted(photos, tmp_path / "out", **SMALL)


def test_broken_images_stop_before_anything_is_written_or_are_left_out(photos, tmp_path):
    path = photos / "dog" / "2.JPEG"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"1 of 8 images cannot be decoded: .*dog/2\.JPEG .*--skip-broken"):
        write_corrupted(photos, tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()
    summary = write_corrupted(photos, tmp_path / "out", skip_broken=True, **SMALL)
    assert (summary.written, summary.broken) == (7 * 4, 1)
    (left_out,) = json.loads((tmp_path / "out" / "bivo-robust.json").read_text())["runtime"]["broken"]
    assert left_out["path"] == str(path) and left_out["image_id"] == 6
    assert not list((tmp_path / "out").rglob("dog/2.JPEG"))
    again = write_corrupted(photos, tmp_path / "out", skip_broken=True, **SMALL)
    assert (again.written, again.broken) == (0, 1)
    with pytest.raises(RunMismatchError, match=r"n is 7 there and 8 here\. .*--skip-broken"):
        write_corrupted(photos, tmp_path / "out", **SMALL)
    made = expected(open_data(photos).without([6]), GEOMETRY, ("gaussian_noise", 5), table="tiny-imagenet-c").numpy()
    assert (tmp_path / "out" / "gaussian_noise" / "5" / "dog" / "3.v2.JPEG").read_bytes() == saved(made[6])


def test_two_files_of_one_target_name_are_refused(photos, tmp_path):
    Image.new("RGB", (60, 60)).save(photos / "cat" / "0.png")
    message = r"cat/0\.jpg and cat/0\.png would both become cat/0\.JPEG; rename one of them"
    with pytest.raises(DataError, match=message):
        write_corrupted(photos, tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_what_is_written_stays_good(photos, tmp_path, monkeypatch):
    write_corrupted(photos, tmp_path / "whole", **SMALL)
    flush, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 16:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"^cannot write .*\.JPEG: No space left on device") as caught:
        write_corrupted(photos, tmp_path / "out", **SMALL)
    assert "\n" not in str(caught.value)
    found, wanted = contents(tmp_path / "out"), contents(tmp_path / "whole")
    assert len(found) > 10
    assert found.items() <= wanted.items()
    monkeypatch.undo()
    assert write_corrupted(photos, tmp_path / "out", **SMALL).whole == 8
    assert contents(tmp_path / "out") == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suite": "fogg"}, "Did you mean 'fog'"),
        ({"severities": "1-6"}, "severity must be an integer from 1 to 5, got 6"),
        ({"table": "imagenet"}, "Did you mean 'imagenet-c'"),
        ({"jpeg": 96}, "jpeg must be a quality from 1 to 95 or 'none', got 96"),
        ({"jpeg": True}, "jpeg must be a quality"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"limit": 0}, "limit must be a positive integer, got 0"),
        ({"workers": 0}, "workers must be an integer of at least 1, got 0"),
        ({"size": 16}, "input_size must be an integer from 32 to 4096"),
        ({"size": 100_000}, "input_size must be an integer from 32 to 4096"),
        ({"resize": 40}, "resize_size must be at least input_size"),
        ({"classes": "absent.tsv"}, "absent.tsv"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(photos, tmp_path, options, message):
    with pytest.raises((InputError, DataError, LookupError), match=message):
        write_corrupted(photos, tmp_path / "out", **{**SMALL, **options})
    assert not (tmp_path / "out").exists()


def test_what_does_not_go_with_the_source_is_refused(cifar, photos, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="an array holds all five severities, got '1,5'"):
        write_corrupted(cifar, out, severities="1,5")
    with pytest.raises(InputError, match="arrays store raw pixels, got jpeg 85"):
        write_corrupted(cifar, out, jpeg=85)
    with pytest.raises(InputError, match="demo images are 64 pixels and are not resized; leave out size and resize"):
        write_corrupted("demo", out, size=64)
    with pytest.raises(DataError, match="there is no folder"):
        write_corrupted(tmp_path / "absent", out)
    assert not out.exists()
    summary = write_corrupted(photos, out, **SMALL)
    with pytest.raises(InputError, match=r"corruptions are made from clean images, but imagenet-c:.* holds corrupted"):
        write_corrupted(summary.source, tmp_path / "again")


def test_a_folder_that_cannot_be_filled_is_refused(photos, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(photos)
    for inside in (photos, photos / "corrupted", tmp_path / "link" / "x"):
        with pytest.raises(InputError, match="is inside the folder of the clean images"):
            write_corrupted(photos, inside, **SMALL)
    (tmp_path / "file").write_text("")
    for file in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(DataError, match="must be a folder, but is a file"):
            write_corrupted(photos, file, **SMALL)
    with pytest.raises(DataError, match=r"must be empty or hold bivo-robust\.json, .* but it holds file"):
        write_corrupted(photos, tmp_path, **SMALL)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"cannot write in .*: Permission denied; choose another folder"):
        write_corrupted(photos, tmp_path / "out", **SMALL)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"cannot write /proc/x/bivo-robust\.json"):
        write_corrupted(photos, "/proc/x", **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "photos"]
    assert sorted(path.name for path in photos.iterdir()) == ["cat", "dog"]


def test_the_default_size_is_imagenet_s(photos):
    assert write._preprocessing(open_data(photos), None, None) == Preprocessing(224, 256)
