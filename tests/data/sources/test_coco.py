import json
import shutil

import coloured_boxes
import numpy as np
import pytest
from PIL import Image

from robustbench_bi.data import DataRequest, open_data
from robustbench_bi.errors import BivoRobustError, DataError, InputError


@pytest.fixture
def boxes(tmp_path):
    return tmp_path, coloured_boxes.write(tmp_path)


def rewritten(folder, stored):
    (folder / "boxes.json").write_text(json.dumps(stored))
    return f"coco:{folder / 'boxes.json'}"


def test_pictures_keep_their_sizes_and_ids(boxes):
    folder, stored = boxes
    data = open_data(f"coco:{folder / 'boxes.json'}")
    assert data.image_ids.tolist() == [image["id"] for image in stored["images"]]
    assert data.class_names == coloured_boxes.NAMES and data.kind == "coco"
    assert data.sizes().tolist() == [list(coloured_boxes.SIZES[number % 3]) for number in range(6)]
    pictures = data.read([1, 0], None)
    assert [picture.shape for picture in pictures] == [(3, 72, 40), (3, 48, 64)]
    assert (pictures[1] == np.asarray(Image.open(folder / "0.png")).transpose(2, 0, 1)).all()
    assert data.names() == tuple(f"{number}.png" for number in range(6))


def test_objects_are_as_annotated(boxes):
    folder, stored = boxes
    data = open_data(f"coco:{folder / 'boxes.json'}")
    own = data.objects.of(data.image_ids)
    assert len(data.objects) == len(stored["annotations"]) and data.objects.has_masks
    assert sorted(zip(own["image_id"].tolist(), own["x"].tolist(), strict=True)) == sorted(
        (entry["image_id"], float(entry["bbox"][0])) for entry in stored["annotations"]
    )
    # Categories are numbered by their ids, whatever the order in which they are listed.
    stored["categories"].reverse()
    again = open_data(rewritten(folder, stored))
    assert again.objects.digest(again.image_ids) == data.objects.digest(data.image_ids)
    few = data.limited(2)
    assert set(few.objects.of(few.image_ids)["image_id"]) <= set(few.image_ids.tolist())


def test_the_hash_of_the_truth_sees_every_part_of_it(boxes):
    folder, stored = boxes
    data = open_data(rewritten(folder, stored))
    before = data.objects.digest(data.image_ids)
    changes = {"bbox": [1, 2, 8, 8], "area": 1.0, "iscrowd": 1, "category_id": 9, "segmentation": []}
    for key, value in changes.items():
        changed = json.loads(json.dumps(stored))
        changed["annotations"][0][key] = value
        assert open_data(rewritten(folder, changed)).objects.digest(data.image_ids) != before, key


def test_where_pictures_are_looked_for(boxes, tmp_path):
    folder, _ = boxes
    root = tmp_path / "root"
    (root / "annotations").mkdir(parents=True)
    shutil.copy(folder / "boxes.json", root / "annotations" / "instances_val2017.json")
    file = root / "annotations" / "instances_val2017.json"
    with pytest.raises(DataError, match=r"0\.png of .* is in none of .*; name its folder with --images-root"):
        next(iter(open_data(f"coco:{file}").describe(np.array([3]))))
    assert len(open_data(f"coco:{file}", images_root=folder).read([0], None)) == 1
    with pytest.raises(DataError, match=r"does not hold 0\.png"):
        open_data(f"coco:{file}", images_root=root)
    (root / "val2017").mkdir()
    for picture in folder.glob("*.png"):
        shutil.copy(picture, root / "val2017")
    for path in (file, root):
        assert len(open_data(f"coco:{path}").read([0], None)) == 1
    with pytest.raises(DataError, match=r"there is no .*instances_train2017\.json"):
        open_data(f"coco:{root}", split="training")
    with pytest.raises(InputError, match=r"images_root\) goes with coco, not with demo"):
        open_data("demo", images_root=root)
    request = DataRequest(f"coco:{file}", images_root=str(folder))
    assert DataRequest.from_json(request.as_json()) == request


def test_pictures_that_cannot_be_used_are_named(boxes):
    folder, _ = boxes
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    Image.new("RGB", (48, 64)).save(folder / "3.png")
    (folder / "2.png").unlink()
    found = {
        broken.path.rpartition("/")[2]: broken.reason for broken in open_data(f"coco:{folder}/boxes.json").find_broken()
    }
    assert list(found) == ["1.png", "2.png", "3.png"]
    assert found["3.png"] == "is 48×64, and the annotations say 64×48"
    with pytest.raises(DataError, match="is 48×64, and the annotations say 64×48"):
        open_data(f"coco:{folder}/boxes.json").read([3], None)


def first(entry):
    return lambda stored: stored["annotations"][0].update(entry)


BAD = {
    "an annotation's image": (first({"image_id": 1}), "annotation 1 has the image_id 1, which is not in the file"),
    "an annotation's category": (first({"category_id": 1}), "annotation 1 has the category_id 1, which is not in"),
    "two annotations of an id": (first({"id": 2}), "the annotation id 2 appears twice"),
    "two images of an id": (lambda s: s["images"][1].update(id=3), "the image id 3 appears twice"),
    "two categories of a name": (lambda s: s["categories"][1].update(name="red"), "two categories are named 'red'"),
    "a text for an id": (lambda s: s["images"][0].update(id="a"), "the id of image number 1 must be an integer"),
    "no width": (lambda s: s["images"][0].pop("width"), "image number 1 must have width"),
    "no file name": (lambda s: s["images"][0].update(file_name=""), "file_name of image 3 must be text"),
    "a side of no pixels": (lambda s: s["images"][0].update(width=0), "must be whole pixels, got 0×48"),
    "no images": (lambda s: s["images"].clear(), "there are no images"),
    "a box of negative height": (first({"bbox": [1, 1, 4, -5]}), r"bbox \[1.0, 1.0, 4.0, -5.0\] .* has no area"),
    "a box without area": (first({"bbox": [1, 1, 0, 5]}), r"bbox \[1.0, 1.0, 0.0, 5.0\] of annotation 1 has no area"),
    "a box outside": (first({"bbox": [70, 1, 5, 5]}), "lies 11 pixels outside image 3 of 64×48"),
    "a box of corners": (first({"bbox": [30, 20, 60, 40]}), "lies 26 pixels outside image 3"),
    "a box that is no number": (first({"bbox": [1, 1, float("nan"), 5]}), "must be x, y, width, height in pixels"),
    "a box of three": (first({"bbox": [1, 1, 5]}), "must be x, y, width, height in pixels"),
    "a polygon of two points": (
        first({"segmentation": [[1, 1, 5, 5]]}),
        "segmentation of annotation 1: a polygon must be .* at least three points, got 2 points",
    ),
    "a polygon of an odd number of numbers": (
        first({"segmentation": [[1, 1, 5, 5, 5, 1, 3]]}),
        "a polygon must be .* at least three points, got 7 numbers",
    ),
    "a mask of another size": (
        first({"segmentation": {"size": [5, 5], "counts": [25]}}),
        r"counts with the size \[48, 64\] of its image",
    ),
    "a mask that does not add up": (
        first({"segmentation": {"size": [48, 64], "counts": [25]}}),
        "add up to the 3072 pixels",
    ),
    "an area below 0": (first({"area": -4}), "the area of annotation 1 must be a number of pixels, got -4"),
    "a crowd of two": (first({"iscrowd": 2}), "iscrowd of annotation 1 must be 0 or 1, got 2"),
    "no annotations": (lambda s: s.pop("annotations"), "must hold the lists .*; missing: annotations"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_clear_error(boxes, change, message):
    folder, stored = boxes
    change(stored)
    with pytest.raises(BivoRobustError, match=message) as caught:
        open_data(rewritten(folder, stored))
    assert "\n" not in str(caught.value) and "boxes.json" in str(caught.value)


def test_files_that_are_none(boxes):
    folder, stored = boxes
    path = folder / "boxes.json"
    path.write_text(json.dumps(stored)[:500])
    with pytest.raises(DataError, match="is not valid JSON, or is truncated"):
        open_data(f"coco:{path}")
    path.write_text("[]")
    with pytest.raises(DataError, match="must hold the lists images, categories and annotations"):
        open_data(f"coco:{path}")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"boxes\.json"):
        open_data(f"coco:{path}")
    with pytest.raises(DataError, match="expected COCO's folder"):
        open_data(f"coco:{folder / 'absent'}")


def test_a_box_that_counts_from_one_and_no_areas_are_taken(boxes):
    folder, stored = boxes
    x, y, *_ = stored["annotations"][0]["bbox"]
    stored["annotations"][0]["bbox"] = [x, y, 64 - x + 1, 48 - y + 1]
    for entry in stored["annotations"]:
        del entry["area"], entry["iscrowd"], entry["segmentation"]
    data = open_data(rewritten(folder, stored))
    assert data.objects.columns["area"][0] == (64 - x + 1) * (48 - y + 1)
    assert not data.objects.has_masks and not data.objects.columns["crowd"].any()
