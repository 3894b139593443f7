"""What a run of a detector is refused for before anything is written: wrong labels, pictures too small to corrupt."""

import json
from functools import partial

import coloured_boxes
import numpy as np
import pytest
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.errors import DataError, ModelOutputError
from robustbench_bi.evaluation.label_order import check_labels

NAMES = ("ant", "bee", "cat", "dog", "eel")


def columns(classes, shift=0.0):
    """Objects of some classes, ten pixels wide and high, two in a picture; or boxes, shifted from these."""
    place = np.arange(len(classes))
    x, zero = place % 2 * 40 + shift, np.zeros(len(classes))
    nothing = zero.astype(bool)
    found = {"image_id": place // 2, "category": np.array(classes), "score": zero + 0.5, "x1": x, "y1": zero}
    wanted = {"x": x, "y": zero, "width": zero + 10, "height": zero + 10, "crowd": nothing, "difficult": nothing}
    return {**found, "x2": x + 10, "y2": zero + 10, **wanted}


OBJECTS = np.repeat(np.arange(4), 3)


@pytest.mark.parametrize(
    "called",
    [
        (OBJECTS + 1) % 5,  # counted from 1
        (OBJECTS - 1) % 5,  # a background in class_names alone
        np.array([3, 0, 4, 1])[OBJECTS],  # another order
    ],
)
def test_labels_that_are_not_places_in_class_names_are_told_by_the_objects(called):
    with pytest.raises(
        ModelOutputError, match=r"finds 3 objects of the class 'ant' and calls 3 of them '(bee|eel|dog)'"
    ):
        check_labels("mine", NAMES, columns(called), columns(OBJECTS))


@pytest.mark.parametrize(
    ("called", "shift"),
    [
        (OBJECTS, 0),
        (np.full(12, 4), 0),  # a detector that calls everything the same
        (np.array([1, 2, 3, 2, 3, 0, 3, 0, 1, 0, 1, 2]), 0),  # or anything
        ((OBJECTS + 1) % 5, 7),  # or finds nothing
        (np.where(np.arange(12) < 2, OBJECTS, (OBJECTS + 1) % 5), 0),  # or is sometimes right
    ],
)
def test_a_detector_that_has_learned_little_is_not_refused(called, shift):
    check_labels("mine", NAMES, columns(called, shift), columns(OBJECTS))


def test_only_the_highest_score_says_what_an_object_is_called():
    found = [columns(called) for called in (OBJECTS, (OBJECTS + 1) % 5)]
    found[1]["score"] = found[1]["score"] - 0.1
    both = {name: np.concatenate([own[name] for own in found]) for name in found[0]}
    check_labels("mine", NAMES, both, columns(OBJECTS))
    both["score"] = -both["score"]
    with pytest.raises(ModelOutputError, match="a label must be the index"):
        check_labels("mine", NAMES, both, columns(OBJECTS))


def test_labels_counted_from_one_leave_nothing_behind(tmp_path):
    coloured_boxes.write(tmp_path, n=9)

    def from_one(images):
        return [{**answer, "labels": (answer["labels"] + 1) % 3} for answer in coloured_boxes.find(images)]

    from_one.class_names = coloured_boxes.NAMES
    with pytest.raises(ModelOutputError, match=r"from_one finds .* objects of the class 'red' and calls .* 'green'"):
        rb.detect(from_one, f"coco:{tmp_path / 'boxes.json'}", suite="fog", severities=1, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("order", [lambda answers: answers[::-1], lambda answers: answers[1:] + answers[:1]])
def test_answers_in_another_order_than_the_pictures_leave_nothing_behind(order, tmp_path):
    coloured_boxes.write(tmp_path)

    def mixed(images):
        return order(coloured_boxes.find(images, masks=False))

    mixed.class_names = coloured_boxes.NAMES
    with pytest.raises(ModelOutputError, match="mixed answers 3 images in a different order than given"):
        rb.detect(mixed, f"coco:{tmp_path / 'boxes.json'}", suite="fog", severities=1, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("n", "each", "widths", "said"),
    [
        (4, 1, [40], ""),
        (4, 1, [64, 40], "3 of 4 boxes"),
        (4, 4, [64], ""),
        (4, 4, [64, 40], "3 of 16 boxes"),
        (2, 1, [64, 40], "2 of 2 boxes"),
    ],
)
def test_a_box_or_two_outside_their_picture_are_no_sign_of_another_size(n, each, widths, said, tmp_path):
    """More than two are, if they are more than one in ten; and more than half."""
    coloured_boxes.write(tmp_path, n=n)

    def stray(images):
        boxes = np.tile([2.0, 2, 12, 12], (len(images), each, 1))
        for own, image in zip(boxes, images, strict=True):
            own[0, [0, 2]] += 100 * (image.shape[2] in widths)
        return [{"boxes": own, "scores": np.full(each, 0.5), "labels": np.zeros(each, int)} for own in boxes]

    stray.class_names = coloured_boxes.NAMES
    run = partial(rb.detect, stray, f"coco:{tmp_path / 'boxes.json'}", suite=(), out=tmp_path / "runs")
    if said:
        with pytest.raises(ModelOutputError, match=f"{said} whose centre lies outside"):
            run()
    else:
        run()


def test_pictures_too_small_to_corrupt_are_refused_before_any_is_evaluated(tmp_path):
    stored = coloured_boxes.write(tmp_path)
    stored["images"][2] |= {"width": 56, "height": 31}
    stored["annotations"] = [own for own in stored["annotations"] if own["image_id"] != stored["images"][2]["id"]]
    (tmp_path / "boxes.json").write_text(json.dumps(stored))
    Image.new("RGB", (56, 31)).save(tmp_path / "2.png")
    data, out = f"coco:{tmp_path / 'boxes.json'}", tmp_path / "runs"
    with pytest.raises(DataError, match=r"1 of 6 images .* image 17 with 56×31 pixels; leave out those under 32"):
        rb.detect(coloured_boxes.find, data, suite="fog", severities=1, out=out)
    assert not out.exists()
    assert rb.detect(coloured_boxes.find, data, suite=(), out=out).cells()["n"].tolist() == [6]
