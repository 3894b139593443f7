"""A copy of PASCAL VOC's layout, drawn here: its boxes count pixels from 1, and some objects are difficult."""

import xml.etree.ElementTree as ET
from types import SimpleNamespace

import coloured_boxes
import numpy as np
import pytest
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.analysis import summary_frame
from robustbench_bi.data import open_data
from robustbench_bi.data.labels.voc_xml import CLASSES
from robustbench_bi.errors import BivoRobustError, DataError, InputError
from robustbench_bi.evaluation.detectors import SYNONYMS, match_classes
from robustbench_bi.models.detectors.adapters import Detector
from robustbench_bi.training.detection import DetectionImages
from robustbench_bi.training.recipe import Recipe

SHOWN = {"red": "cat", "green": "dog", "blue": "person"}
NAMES = ("2007_000027", "000005", "2008_000008", "000021")
# Of each picture: colour, first and last column, first and last row, counted from 0; and whether it is difficult.
OBJECTS = (
    [("red", 3, 20, 2, 12, 0), ("green", 30, 50, 20, 33, 0)],
    [("blue", 1, 17, 5, 24, 0), ("green", 20, 38, 40, 70, 1)],
    [("red", 0, 55, 0, 30, 0)],
    [],
)


def write_voc(root, names=NAMES, objects=OBJECTS):
    """A year's folder with the list val.txt."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number, (name, own) in enumerate(zip(names, objects, strict=True)):
        width, height = coloured_boxes.SIZES[number % 3]
        picture = np.full((height, width, 3), 115, dtype=np.uint8)
        entries = []
        for colour, left, right, top, bottom, difficult in own:
            picture[top : bottom + 1, left : right + 1] = np.eye(3)[coloured_boxes.NAMES.index(colour)] * 200
            corners = zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right + 1, bottom + 1), strict=True)
            box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
            entries.append(
                f"<object><name>{SHOWN[colour]}</name><truncated>0</truncated><difficult>{difficult}</difficult>"
                f"<bndbox>{box}</bndbox><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
            )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{''.join(entries)}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(text)
        Image.fromarray(picture).save(root / "JPEGImages" / f"{name}.jpg", quality=100, subsampling=0)
    (root / "ImageSets" / "Main" / "val.txt").write_text("\r\n".join(names) + "\r\n")
    return root


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "VOC2007")


def find(images):
    """The boxes around colours, by VOC's names, with a label for each of its classes."""
    labels = np.array([CLASSES.index(SHOWN[name]) for name in coloured_boxes.NAMES])
    return [{**answer, "labels": labels[answer["labels"]]} for answer in coloured_boxes.find(images, masks=False)]


find.class_names = CLASSES


def test_boxes_are_pixels_from_one_with_the_last_one_inside(voc):
    data = open_data(f"voc:{voc}")
    assert data.kind == "voc" and data.class_names == CLASSES and len(CLASSES) == 20
    assert data.image_ids.tolist() == [5, 21, 2007000027, 2008000008]
    assert data.names() == ("000005.jpg", "000021.jpg", "2007_000027.jpg", "2008_000008.jpg")
    own = data.objects.of(np.array([2007000027]))
    corners = [own[name].tolist() for name in ("x", "y", "width", "height", "area")]
    assert list(zip(*corners, strict=True)) == [(3, 2, 18, 11, 198), (30, 20, 21, 14, 294)]
    assert [CLASSES[number] for number in own["category"]] == ["cat", "dog"]
    assert data.objects.columns["difficult"].tolist() == [False, True, False, False, False]
    assert not data.objects.columns["crowd"].any() and not data.objects.has_masks


def test_exact_boxes_have_an_ap_of_100_and_difficult_ones_count_neither_way(voc, tmp_path):
    def cells(found):
        found.class_names = CLASSES
        return rb.detect(found, f"voc:{voc}", suite=(), out=tmp_path / found.__name__).cells().iloc[0]

    assert cells(find)["AP"] == pytest.approx(100)

    def without_difficult(images):
        return [
            without(answer, image.shape[1:] == (72, 40), "dog")
            for image, answer in zip(images, find(images), strict=True)
        ]

    assert cells(without_difficult)["AP"] == pytest.approx(100)

    def beside_and_twice(images):
        # The second box lies inside the difficult one, so that a crowd's rule would forgive it.
        return [
            added(answer) if image.shape[1:] == (72, 40) else answer
            for image, answer in zip(images, find(images), strict=True)
        ]

    dogs = cells(beside_and_twice)
    assert dogs["AP"] < 100, "a small box in a difficult object is wrong: their overlap is small"

    def twice(images):
        return [
            added(answer, [20, 40, 39, 71]) if image.shape[1:] == (72, 40) else answer
            for image, answer in zip(images, find(images), strict=True)
        ]

    assert cells(twice)["AP"] == pytest.approx(100), "any number of detections of a difficult object is forgiven"


def without(answer, here, name):
    kept = answer["labels"] != CLASSES.index(name) if here else np.full(len(answer["labels"]), True)
    return {key: values[kept] for key, values in answer.items()}


def added(answer, box=(22, 42, 30, 50)):
    """The answer with one more dog, surer than all others."""
    more = {"boxes": np.array([box], float), "scores": np.array([1.0]), "labels": np.array([CLASSES.index("dog")])}
    return {key: np.concatenate([more[key], values]) for key, values in answer.items()}


def test_a_detector_with_cocos_names_finds_vocs_classes(voc, tmp_path):
    """In another order, and six classes under COCO's name of them."""
    order = np.random.default_rng(0).permutation(len(CLASSES))
    coco = {voc: coco for coco, voc in SYNONYMS.items()}
    place = np.argsort(order)

    def of_coco(images):
        return [{**answer, "labels": place[answer["labels"]]} for answer in find(images)]

    of_coco.class_names = [coco.get(CLASSES[own], CLASSES[own]) for own in order]
    run = rb.detect(of_coco, f"voc:{voc}", suite=(), out=tmp_path)
    assert run.cells()["AP"][0] == pytest.approx(100)
    assert "Classes with two names: aeroplane is the detector's airplane, " in summary_frame(run).caption
    assert "tvmonitor is the detector's tv." in summary_frame(run).caption


def test_a_synonym_is_taken_only_where_nothing_else_can_be_meant():
    def classes(detector, data):
        data = SimpleNamespace(class_names=data)
        return match_classes(Detector(None, print, detector, {}), "mine", data).tolist()

    assert classes(["sofa", "couch"], ["couch"]) == [-1, 0], "the data's own name comes first"
    assert classes(["couch", "tv"], ["tvmonitor", "sofa"]) == [1, 0]
    with pytest.raises(InputError, match="lacks 1 of the 2 classes of the data: 'sofa'; its own are 'couch'"):
        classes(["couch"], ["sofa", "couch"])
    with pytest.raises(InputError, match="lacks 1 of the 1 classes of the data: 'bicycle'; its own are 'motorcycle'"):
        classes(["motorcycle"], ["bicycle"])


def test_a_run_keeps_which_objects_are_difficult(voc, tmp_path):
    run = rb.detect(find, f"voc:{voc}", suite="fog", severities=1, out=tmp_path / "runs")
    assert run.truth()["difficult"].tolist() == [False, True, False, False, False]
    edited = (voc / "Annotations" / "000005.xml").read_text().replace("<difficult>1<", "<difficult>0<")
    before = open_data(f"voc:{voc}")
    (voc / "Annotations" / "000005.xml").write_text(edited)
    after = open_data(f"voc:{voc}")
    assert before.objects.digest(before.image_ids) != after.objects.digest(after.image_ids)


def test_difficult_objects_are_not_learned_from(voc):
    images = DetectionImages(
        open_data(f"voc:{voc}/ImageSets/Main/val.txt", split="training"), Recipe(crop="none"), 0, 0, False
    )
    _, targets = next(images.batches(0, [slice(0, 3)]))
    assert sorted(label for target in targets for label in target["labels"].tolist()) == sorted(
        CLASSES.index(name) + 1 for name in ("cat", "dog", "person", "cat")
    )


def test_lists_and_their_ids(voc):
    main = voc / "ImageSets" / "Main"
    with pytest.raises(DataError, match=r"there is no .*train\.txt; expected the folder of a year"):
        open_data(f"voc:{voc}", split="training")
    (main / "test.txt").write_text("000021\n2008_000008\n")
    few = open_data(f"voc:{main / 'test.txt'}")
    assert few.image_ids.tolist() == [21, 2008000008] and len(few.objects) == 1
    assert len(few.read([1], None)) == 1
    (main / "dog_val.txt").write_text("000005  1\n000021 -1\n")
    with pytest.raises(DataError, match="must be the name of one image, got '000005  1'; lists of a single class"):
        open_data(f"voc:{main / 'dog_val.txt'}")
    (main / "twice.txt").write_text("000005\n000005\n")
    with pytest.raises(DataError, match="lists 000005 twice"):
        open_data(f"voc:{main / 'twice.txt'}")
    (main / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="lists no images"):
        open_data(f"voc:{main / 'empty.txt'}")


def test_names_that_are_no_numbers_are_counted(tmp_path):
    root = write_voc(tmp_path / "own", ("b", "a", "7", "07"), OBJECTS)
    assert open_data(f"voc:{root}").names() == ("07.jpg", "7.jpg", "a.jpg", "b.jpg")
    assert open_data(f"voc:{root}").image_ids.tolist() == [0, 1, 2, 3]


def changed(path, value):
    def change(root):
        root.find(path).text = value

    return change


BAD = {
    "a class of another set": (changed("object/name", "zebra"), "object 1 has the class 'zebra', which is not one"),
    "corners the wrong way": (changed("object/bndbox/xmax", "1"), "of object 1 has no area; its end lies before"),
    "a box outside": (changed("object/bndbox/ymax", "90"), "of object 1 lies outside the image of 64×48"),
    "a box that is no number": (changed("object/bndbox/ymin", "nan"), "ymin of object 1 must be a number, got 'nan'"),
    "a size of none": (changed("size/width", "0"), "size must be whole pixels, got 0×48"),
    "no size": (lambda root: root.remove(root.find("size")), "size width must be a number, got None"),
    "difficult of two": (changed("object/difficult", "2"), "difficult of object 1 must be 0 or 1, got '2'"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_clear_error(voc, change, message):
    file = voc / "Annotations" / "2007_000027.xml"
    tree = ET.parse(file)
    change(tree.getroot())
    tree.write(file)
    with pytest.raises(BivoRobustError, match=message) as caught:
        open_data(f"voc:{voc}")
    assert "\n" not in str(caught.value) and "2007_000027.xml" in str(caught.value)


def test_files_that_are_missing_or_cut(voc):
    file = voc / "Annotations" / "000005.xml"
    file.write_text(file.read_text()[:80])
    with pytest.raises(DataError, match=r"000005\.xml: it is not XML, or is truncated"):
        open_data(f"voc:{voc}")
    file.unlink()
    with pytest.raises(DataError, match=r"000005\.xml: it cannot be read .*; each listed image needs one"):
        open_data(f"voc:{voc}")


def test_pictures_that_are_missing_or_of_another_size(voc):
    Image.new("RGB", (10, 10)).save(voc / "JPEGImages" / "000021.jpg")
    found = open_data(f"voc:{voc}").find_broken()
    assert [broken.reason for broken in found] == ["is 10×10, and the annotations say 64×48"]
    (voc / "JPEGImages" / "000005.jpg").unlink()
    with pytest.raises(DataError, match=r"there is no .*JPEGImages/000005\.jpg"):
        open_data(f"voc:{voc}").read([0], None)
