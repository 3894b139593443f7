"""The same pictures in folders, tar archives and parquet files have the same names, ids, subsets and records."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from coloured import Reader, colour_of, png

import robustbench_bi as rb
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.containers.tar import index_folder
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError

WNIDS = list(imagenet_classes())
NAMES = {"cat": 0, "dog": 1, "emu": 2}
PICTURES = {
    f"{folder}/{number}.png": png(label if number % 3 else (label + 1) % 3)
    for folder, label in NAMES.items()
    for number in range(8)
}
CELL_OF = {"suite": "contrast", "severities": 1}


def write_folder(root, pictures=PICTURES):
    for name, content in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_tar(path, members, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_parquet(path, rows, names=None, **options):
    """Rows of (path, bytes, label), with the names of the classes as Hugging Face keeps them."""
    images = pa.array([{"bytes": content, "path": own} for own, content, _ in rows])
    table = pa.table({"image": images, "label": pa.array([label for *_, label in rows], pa.int64())})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def shuffled(pictures):
    order = np.random.default_rng(0).permutation(len(pictures))
    listed = list(pictures.items())
    return {listed[place][0]: listed[place][1] for place in order}


def rows_of(pictures):
    return [(name.rpartition("/")[2], content, NAMES[name.partition("/")[0]]) for name, content in pictures.items()]


@pytest.fixture
def containers(tmp_path):
    """The same pictures in every container, in another order each."""
    mixed = shuffled(PICTURES)
    halves = [dict(list(mixed.items())[:10]), dict(list(mixed.items())[10:])]
    for number, half in enumerate(halves):
        write_tar(tmp_path / "shards" / f"val-{number:04d}.tar", half)
        write_parquet(
            tmp_path / "rows" / f"val-0000{number}-of-00002.parquet", rows_of(half), list(NAMES), row_group_size=3
        )
    with_folder = [(name, content, NAMES[name.partition("/")[0]]) for name, content in mixed.items()]
    flat = {name.replace("/", "_"): content for name, content in mixed.items()}
    return {
        "folder": str(write_folder(tmp_path / "folder")),
        "tar": f"tar:{write_tar(tmp_path / 'one.tar', {f'photos/{name}': own for name, own in mixed.items()})}",
        "gnu": f"tar:{write_tar(tmp_path / 'gnu.tar', mixed, format=tarfile.GNU_FORMAT)}",
        "shards": f"tar:{tmp_path / 'shards' / 'val-{0000..0001}.tar'}",
        "pattern": f"tar:{tmp_path / 'shards' / '*.tar'}",
        "parquet": f"parquet:{tmp_path / 'rows' / '*.parquet'}",
        "paths": f"parquet:{write_parquet(tmp_path / 'paths.parquet', with_folder)}",
        "flat": str(write_folder(tmp_path / "flat", flat)),
    }


def test_every_container_gives_the_same_records(containers, tmp_path):
    flat = containers.pop("flat")
    reference = open_data(containers["folder"])
    runs = {}
    for name, source in containers.items():
        dataset = open_data(source)
        assert dataset.names() == reference.names(), name
        assert dataset.labels.tolist() == reference.labels.tolist(), name
        assert dataset.class_names == reference.class_names
        assert dataset.listing_hash == reference.listing_hash, name
        assert open_data(source, limit=5).names() == open_data(containers["folder"], limit=5).names()
        assert dataset.find_broken() == ()
        runs[name] = rb.evaluate(Reader(3), source, out=tmp_path / "runs", block_size=7, **CELL_OF)
    records = {name: run.records() for name, run in runs.items()}
    for name, own in records.items():
        assert own.equals(records["folder"]), name
    assert runs["tar"].cells()["top1"].iloc[0] == pytest.approx(100 * 15 / 24)
    assert len(runs["parquet"].open_data()) == 24
    assert open_data(containers["tar"]).open_image(3).size == (40, 40)
    with pytest.raises(DataError, match="images but no class folders"):
        open_data(flat)


def test_an_archive_is_indexed_once_beside_the_runs_and_never_beside_the_data(containers, tmp_path, monkeypatch):
    from robustbench_bi.data.containers import tar

    before = sorted(path.name for path in tmp_path.iterdir())
    calls = []
    monkeypatch.setattr(tar, "_read_index", lambda *a, read=tar._read_index: calls.append(a[0]) or read(*a))
    for _ in range(2):
        with index_folder(tmp_path / "runs" / ".indices"):
            names = open_data(containers["tar"]).names()
    assert (len(calls), len(names)) == (1, 24)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "runs"])
    write_tar(tmp_path / "one.tar", {**PICTURES, "cat/new.png": png(0)})
    with index_folder(tmp_path / "runs" / ".indices"):
        assert len(open_data(containers["tar"])) == 25


def test_parts_for_training_and_for_evaluation_are_not_mixed(tmp_path):
    """Hugging Face's folders hold both side by side, often without the names of pictures."""
    for split in ("train", "test"):
        write_parquet(tmp_path / "c_train" / f"{split}-00000-of-00001.parquet", [(None, png(n), n) for n in (0, 1)])
        write_tar(tmp_path / split / "0.tar", {f"{n}/{split}.png": png(n) for n in (0, 1)})
    rows = f"parquet:{tmp_path}/c_train"
    for source in (rows, f"{rows}/*.parquet", f"tar:{tmp_path}/*/0.tar"):
        with pytest.raises(DataError, match=r"different splits, such as .*test\S* and \S*train.*; give the parts"):
            open_data(source)
    assert len(open_data(f"{rows}/test-*.parquet")) == len(open_data(f"tar:{tmp_path}/test")) == 2


def test_long_names_and_archives_inside_archives(tmp_path):
    long = "long" * 40
    for format_ in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = write_tar(
            tmp_path / "a.tar", {f"cat/{long}.png": png(0), f"dog/{'é' * 120}.png": png(1)}, format=format_
        )
        assert open_data(f"tar:{path}").names() == (f"cat/{long}.png", f"dog/{'é' * 120}.png")
    for wnid in WNIDS[:2]:
        write_tar(tmp_path / f"{wnid}.tar", {f"{wnid}_1.JPEG": png(0), f"{wnid}_2.JPEG": png(1)})
    inner = {f"{wnid}.tar": (tmp_path / f"{wnid}.tar").read_bytes() for wnid in WNIDS[:2]}
    whole = open_data(f"tar:{write_tar(tmp_path / 'train.tar', inner)}")
    parts = open_data(f"tar:{tmp_path}/n*.tar")
    assert whole.names() == parts.names() == tuple(f"{w}/{w}_{n}.JPEG" for w in WNIDS[:2] for n in (1, 2))
    assert whole.labels.tolist() == [0, 0, 1, 1]
    assert len(whole.read(range(4), Preprocessing(32, 32))) == 4


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_links_are_the_files_that_they_lead_to(tmp_path, form):
    long = "b" * 120 + ".png"
    files = {"./x/cat/a.png": png(0), f"./x/dog/{long}": png(1), "./x/dog/c.png": png(1)}
    links = {"./x/cat/hard.png": "./x/cat/a.png", f"./x/dog/hard{long}": f"./x/dog/{long}"}
    path = write_tar(tmp_path / "a.tar", files, format=form)

    def add(name, target, kind):
        with tarfile.open(path, "a", format=form) as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)

    for name, target in links.items():
        add(name, target, tarfile.LNKTYPE)
    add("./x/cat/soft.png", "../cat/a.png", tarfile.SYMTYPE)
    add("./x/dog/soft.png", long, tarfile.SYMTYPE)
    dataset = open_data(f"tar:{path}")
    names = ("cat/a.png", "cat/hard.png", "cat/soft.png", f"dog/{long}", "dog/c.png", f"dog/hard{long}", "dog/soft.png")
    assert (dataset.names(), dataset.labels.tolist()) == (names, [0, 0, 0, 1, 1, 1, 1])
    images = dataset.read(range(7), Preprocessing(32, 32))
    assert [np.array_equal(images[row], images[0]) for row in range(7)] == [True] * 3 + [False] * 4
    add("./x/dog/gone.png", "nowhere.png", tarfile.SYMTYPE)
    with pytest.raises(
        DataError,
        match=r"as a link to .*nowhere.png, which is not a file earlier in .*; repack .* --dereference",
    ):
        open_data(f"tar:{path}")


def test_webdatasets_shards_say_their_labels(tmp_path):
    def shard(numbers, label):
        found = {}
        for number in numbers:
            found |= {
                f"{number:06d}.jpg": png(number % 3),
                f"{number:06d}.cls": str(label(number)).encode(),
                f"{number:06d}.json": b"{}",
            }
        return found

    for part in range(2):
        write_tar(tmp_path / f"val-{part:04d}.tar", shard(range(6 * part, 6 * part + 6), lambda number: number % 3))
    dataset = open_data(f"tar:{tmp_path}/val-*.tar")
    assert dataset.names()[:2] == ("0/000000.jpg", "0/000003.jpg")
    run = rb.evaluate(Reader(3), f"tar:{tmp_path}/val-*.tar", suite=(), out=tmp_path / "runs")
    assert run.cells()["top1"][0] == 100.0
    write_tar(tmp_path / "gaps.tar", shard(range(6), lambda number: 100 * number))
    with pytest.raises(DataError, match=r"0 to 500, but only 6 of these; class numbers must be 0 to 5 .*--classes"):
        open_data(f"tar:{tmp_path}/gaps.tar")
    imagenet = open_data(f"tar:{tmp_path}/gaps.tar", classes="imagenet-1k")
    assert imagenet.labels.tolist() == [0, 100, 200, 300, 400, 500]
    assert imagenet.names()[1] == f"{WNIDS[100]}/000001.jpg"
    lacking = shard(range(3), lambda number: number)
    lacking.pop("000001.cls")
    with pytest.raises(DataError, match=r"has no \.cls file for 1 \(000001.jpg\) of its 3 images"):
        open_data(f"tar:{write_tar(tmp_path / 'lacking.tar', lacking)}")


def test_parquet_of_imagenet_is_known_by_its_names(tmp_path):
    labels = [label.replace("_", " ") for _, label in imagenet_classes().values()]
    rows = [(f"ILSVRC2012_val_{n:08d}_{WNIDS[7 * n]}.JPEG", png(7 * n), 7 * n) for n in range(3, 0, -1)]
    for names in (labels, None):
        dataset = open_data(f"parquet:{write_parquet(tmp_path / 'a.parquet', rows, names)}")
        assert dataset.names() == tuple(f"{WNIDS[7 * n]}/ILSVRC2012_val_{n:08d}.JPEG" for n in (1, 2, 3))
        assert (dataset.labels.tolist(), dataset.class_set) == ([7, 14, 21], "imagenet-1k")


@pytest.mark.parametrize("path", [None, "image.png"])
def test_parquet_without_paths_keeps_the_order_of_its_rows(tmp_path, path):
    rows = [(path, png(n % 2), n % 2) for n in range(4)]
    dataset = open_data(f"parquet:{write_parquet(tmp_path / 'a.parquet', rows)}")
    assert dataset.names() == ("0/00000000", "0/00000002", "1/00000001", "1/00000003")
    run = rb.evaluate(Reader(2), f"parquet:{tmp_path}/a.parquet", suite=(), out=tmp_path / "runs")
    assert run.cells()["top1"][0] == 100.0


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        (
            [("b/0.png", 0), ("a/0.png", 1)],
            None,
            "class a the number 1, but as a class folder it has the number 0",
        ),
        ([("0.png", 0), ("1.png", 5)], ["x", "y"], "class numbers must be from 0 to 1, got 5"),
        ([("0.png", 1), ("1.png", 2)], None, r"1 to 2; class numbers must be 0 to 1 without gaps.*--classes"),
        ([("0.png", -1), ("1.png", 0)], None, "class numbers must be from 0 to 0, got -1"),
    ],
)
def test_numbers_in_parquet_that_cannot_be_told_are_refused(tmp_path, rows, names, message):
    path = write_parquet(tmp_path / "a.parquet", [(own, png(0), label) for own, label in rows], names)
    with pytest.raises(DataError, match=message):
        open_data(f"parquet:{path}")


def test_cifars_columns_are_read_and_its_superclasses_are_not(tmp_path):
    images = pa.array([{"bytes": png(label), "path": None} for label in (0, 1, 2)])
    features = {"fine_label": {"names": ["cat", "dog", "emu"]}, "coarse_label": {"names": ["pet", "bird"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    columns = {"img": images, "coarse_label": pa.array([0, 0, 1]), "fine_label": pa.array([2, 0, 1])}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / "a.parquet")
    dataset = open_data(f"parquet:{tmp_path}/a.parquet")
    assert dataset.class_names == ("cat", "dog", "emu") and dataset.labels.tolist() == [0, 1, 2]
    pictures = dataset.read([0, 1, 2], Preprocessing(input_size=32, resize_size=32))
    assert [tuple(own[:, 0, 0].tolist()) for own in pictures] == [colour_of(own) for own in (1, 2, 0)]
    pq.write_table(pa.table({**columns, "image": images}), tmp_path / "two.parquet")
    with pytest.raises(DataError, match="must have one column image or img"):
        open_data(f"parquet:{tmp_path}/two.parquet")


def test_containers_that_cannot_be_read_are_one_line(tmp_path, containers):
    whole = (tmp_path / "one.tar").read_bytes()
    cut = tmp_path / "cut.tar"
    for length in (len(whole) // 2, len(whole) - 10240 if len(whole) > 20480 else 1536, 700):
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.tar is truncated"):
            open_data(f"tar:{cut}")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "one.tar")
    bad = {
        f"tar:{tmp_path}/a.tar.gz": "is compressed and cannot be read in place; unpack it with gunzip",
        f"tar:{tmp_path}/folder/cat/0.png": "is not a tar archive",
        f"tar:{tmp_path}/none-*.tar": "there is no file .*none-",
        f"tar:{tmp_path}/shards/val-{{0000..0002}}.tar": "means 3 files, of which 1 are missing: .*val-0002.tar",
        f"parquet:{tmp_path}/one.tar": "cannot read .*one.tar as parquet",
    }
    for source, message in bad.items():
        with pytest.raises(DataError, match=message):
            open_data(source)
    (tmp_path / "shards" / "val-0001.tar").rename(tmp_path / "shards" / "val-0002.tar")
    with pytest.raises(DataError, match=r"1 parts val-… are missing in .* between 0 and 2, the first is number 1"):
        open_data(f"tar:{tmp_path}/shards/*.tar")
    (tmp_path / "rows" / "val-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"1 parts val-… are missing in .*rows of 00002, the first is number 0"):
        open_data(f"parquet:{tmp_path}/rows/*.parquet")
    pq.write_table(pa.table({"picture": [b""], "label": [0]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"must have one column image or img .*, got picture: binary, label: int64"):
        open_data(f"parquet:{tmp_path}/other.parquet")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"cat/0.png": png(0), "1.png": png(0)},
            r"in no class folder, such as 1.png, and the other 1 do",
        ),
        (
            {"0.png": png(0)},
            "lie in no class folder, such as 0.png; give their labels with --labels",
        ),
        (
            {"train/cat/0.png": png(0), "val/cat/1.png": png(0)},
            r"one parent folder, but they are in 2 \(train, val\)",
        ),
        ({"cat/readme.txt": b"text"}, "holds no images, but 1 .*readme"),
        ({f"{WNIDS[0]}/0.png": png(0), "cat/0.png": png(0)}, "are ImageNet wnids, but not 1"),
    ],
)
def test_mixed_layouts_are_refused(tmp_path, members, message):
    with pytest.raises(DataError, match=message):
        open_data(f"tar:{write_tar(tmp_path / 'a.tar', members)}")


def test_names_that_are_not_utf8_are_kept(tmp_path):
    name = b"cat/caf\xe9.png".decode("utf-8", "surrogateescape")
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", errors="surrogateescape", format=tarfile.GNU_FORMAT) as archive:
        for own in (name, "dog/0.png"):
            member = tarfile.TarInfo(own)
            member.size = len(png(0))
            archive.addfile(member, io.BytesIO(png(0)))
    assert open_data(f"tar:{path}").names()[0] == name
    run = rb.evaluate(Reader(2), f"tar:{path}", suite=(), out=tmp_path / "runs")
    assert run.images()["name"][0] == "cat/caf\\xe9.png"


CELLS = [(name, severity) for name in ("fog", "snow", "gaussian_noise") for severity in (1, 2)]
CORRUPTED = {
    f"{name}/{severity}/{wnid}/ILSVRC2012_val_{number:08d}.JPEG": png(7 * place if severity == 1 else 0)
    for name, severity in CELLS
    for place, wnid in enumerate((WNIDS[0], WNIDS[7]))
    for number in (2 * place + 1, 2 * place + 2)
}


def test_imagenet_c_opens_in_folders_in_categories_and_unopened(tmp_path):
    write_folder(tmp_path / "plain", CORRUPTED)
    category = {"fog": "weather", "snow": "weather", "gaussian_noise": "noise"}
    by_category = {f"{category[name.partition('/')[0]]}/{name}": own for name, own in CORRUPTED.items()}
    write_folder(tmp_path / "categories", by_category)
    for own in ("weather", "noise"):
        members = {name: content for name, content in CORRUPTED.items() if category[name.partition("/")[0]] == own}
        write_tar(tmp_path / "tars" / f"{own}.tar", shuffled(members))
    runs = [
        rb.evaluate(
            Reader(), f"imagenet-c:{tmp_path / place}", suite="fog,snow", severities="1,2", out=tmp_path / place / "r"
        )
        for place in ("plain", "categories", "tars")
    ]
    assert runs[0].cells()["top1"].tolist() == [100.0, 50.0, 100.0, 50.0]
    assert runs[0].records().equals(runs[1].records())
    assert runs[0].records().equals(runs[2].records())
    assert len({run.config["fingerprint"] for run in runs}) == 1
    broken = open_data(f"imagenet-c:{tmp_path / 'tars'}").find_broken()
    assert broken == ()


@pytest.mark.parametrize("values", [("1.00", "2.35", "4.00", "9.15", "10.00"), ("1", "2", "3", "4", "5")])
def test_severities_named_by_their_values_are_told_by_rank_in_archives(tmp_path, values):
    """In each cell a picture of the colour of its severity; by text, "10.00" would come second."""
    for corruption in ("sparkles", "perlin_noise"):
        members = {
            f"imagenet_c_bar/{corruption}/{value}/{WNIDS[0]}/a.png": png(severity)
            for severity, value in enumerate(values, start=1)
        }
        # The first severity comes last, so that the order of the archive does not tell the rank.
        write_tar(tmp_path / "tars" / f"{corruption}.tar", dict(reversed(members.items())))
    dataset = open_data(f"imagenet-c:{tmp_path / 'tars'}")
    assert dataset.stored_cells == {(name, level) for name in ("sparkles", "perlin_noise") for level in range(1, 6)}
    for cell in dataset.stored_cells:
        (seen,) = dataset.read([0], Preprocessing(32, 36), cell)
        assert tuple(seen[:, 16, 16]) == colour_of(cell[1])


def test_some_values_of_five_tell_no_rank(tmp_path):
    members = {f"sparkles/{value}/{WNIDS[0]}/a.png": png(0) for value in ("1.00", "2.35", "4.00")}
    write_tar(tmp_path / "c.tar", members)
    with pytest.raises(DataError, match="expected <corruption>/<severity 1 to 5>/"):
        open_data(f"imagenet-c:{tmp_path}")
