"""What `corrupt` writes of a published set is read by the protocol of that set, by the command that is printed."""

import shutil

import pytest
from click.testing import CliRunner
from coloured import Reader, write

import robustbench_bi as rb
from robustbench_bi.analysis import summary_frame
from robustbench_bi.cli import cli
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.class_spaces.shift_sets import classes_of, objectnet_folders
from robustbench_bi.errors import DataError

WNIDS = list(imagenet_classes())
CELL = {"suite": "brightness", "severities": 1}


def printed(source, out, *options):
    """The source that `corrupt` says to evaluate."""
    arguments = [source, str(out), "--suite", "brightness", "--severities", "1", "--size", "32", "--resize", "32"]
    done = CliRunner().invoke(cli, ["corrupt", *arguments, "--jpeg", "none", "--quiet", "--workers", "1", *options])
    assert done.exit_code == 0, done.output
    line = next(line for line in done.output.splitlines() if line.startswith("Evaluate them with: "))
    assert line.endswith(f"--data imagenet-c:{out} --suite brightness --severities 1")
    return f"imagenet-c:{out}"


@pytest.fixture(scope="module", params=["imagenet-a", "imagenet-r"])
def some_classes(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("some") / request.param
    for number in classes_of(request.param):
        write(root / WNIDS[number] / "0.jpg", number)
    return request.param, root, printed(f"{request.param}:{root}", root.parent / "out")


class Outsider(Reader):
    """A class of no such set wins over every right answer."""

    def forward(self, images):
        logits = super().forward(images)
        logits[:, next(n for n in range(1000) if n not in {*classes_of("imagenet-a"), *classes_of("imagenet-r")})] = 9
        return logits


def test_the_classes_of_the_set_alone_compete_in_its_corrupted_files(some_classes, tmp_path):
    name, _, source = some_classes
    run = rb.evaluate(Outsider(), source, out=tmp_path, **CELL)
    full = rb.evaluate(Outsider(), source, class_space="full", out=tmp_path, **CELL)
    assert (run.config["class_space"], run.config["answers"]["competing"]) == ("restricted", 200)
    assert set(run.records()["prediction"]) <= set(classes_of(name))
    assert full.cells()["top1"][0] == 0.0
    for own in (run, full):  # AlexNet's errors are of 1,000 classes
        assert "mce" not in set(summary_frame(own).frame["kind"])


def test_the_clean_set_pairs_with_its_corrupted_files(some_classes, tmp_path):
    name, root, source = some_classes
    run = rb.evaluate(Outsider(), source, clean=f"{name}:{root}", out=tmp_path, **CELL)
    assert run.cells()["top1"][0] == 100.0


def test_corrupted_files_of_such_a_set_that_others_wrote_are_refused(some_classes, tmp_path):
    source = some_classes[2]
    shutil.copytree(source.partition(":")[2], tmp_path / "c")
    (tmp_path / "c" / "bivo-robust.json").unlink()
    message = "the 200 classes of ImageNet-.; pass --class-space restricted, .* or pass --class-space full"
    with pytest.raises(DataError, match=message):
        open_data(f"imagenet-c:{tmp_path / 'c'}")
    restricted = open_data(f"imagenet-c:{tmp_path / 'c'}", class_space="restricted")
    assert restricted.answers.competing.tolist() == open_data(source).answers.competing.tolist()


def test_objectnet_keeps_its_classes(tmp_path):
    folders = list(objectnet_folders())[:20]
    for folder in folders:
        write(tmp_path / "o" / "images" / folder / "0.png", objectnet_folders()[folder][-1], size=(44, 44))
    source = printed(f"objectnet:{tmp_path / 'o'}", tmp_path / "c")
    clean, stored = open_data(f"objectnet:{tmp_path / 'o'}"), open_data(source)
    assert stored.labels.tolist() == clean.labels.tolist()
    assert stored.answers.described() == clean.answers.described()
    shutil.move(tmp_path / "c" / "brightness" / "1" / folders[0], tmp_path / "c" / "brightness" / "1" / "unknown")
    with pytest.raises(DataError, match=r"1 \(unknown\) of 20 class folders that are not ObjectNet's"):
        open_data(source)


def test_a_few_pictures_of_imagenet_v2_keep_their_classes(tmp_path):
    for number in range(1000):
        write(tmp_path / "v2" / str(number) / "0.jpeg", number)
    source = printed(f"imagenet-v2:{tmp_path / 'v2'}", tmp_path / "c", "--limit", "5")
    stored = open_data(source)
    assert [name.partition("/")[0] for name in stored.names()] == [str(number) for number in stored.labels]
    assert stored.class_set == "imagenet-1k"
