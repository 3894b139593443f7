"""pycocotools is the definition: the same boxes and masks give the same numbers, to the last digits."""

import contextlib
import io
import json

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from robustbench_bi.metrics.detection.matching import SIZES, Cell, Truth
from robustbench_bi.metrics.detection.precision import Objects, Precision

CATEGORIES = (2, 5, 90)


def text_of(bitmap):
    return masks.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()


def random_case(seed, sides=(40, 160)):
    """Truth with crowds, tiny objects and empty pictures; detections near them, wrong ones, and equal scores."""
    random = np.random.default_rng(seed)
    images = [
        {"id": 10 * number + 3, "width": int(random.integers(*sides)), "height": int(random.integers(*sides))}
        for number in range(int(random.integers(1, 9)))
    ]
    truth, found = [], []
    for image in images:
        for _ in range(int(random.integers(0, 8))):
            w, h = int(random.integers(1, image["width"] * 0.8)), int(random.integers(1, image["height"] * 0.8))
            x, y = int(random.integers(0, image["width"] - w)), int(random.integers(0, image["height"] - h))
            bitmap = np.zeros((image["height"], image["width"]), bool)
            bitmap[y : y + h, x : x + w] = random.random((h, w)) < 0.9
            category = int(random.choice(CATEGORIES))
            common = {"image_id": image["id"], "size": list(bitmap.shape)}
            truth.append(
                {
                    **common,
                    "id": len(truth) + 1,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "counts": text_of(bitmap),
                }
                | {"area": float(bitmap.sum()), "iscrowd": int(random.random() < 0.2)}
            )
            for _ in range(int(random.integers(0, 4))):
                shift = random.integers(-4, 5, 4) // int(random.integers(1, 4))
                left, top = max(0, x + shift[0]), max(0, y + shift[1])
                wide, high = max(1, w + shift[2]), max(1, h + shift[3])
                bitmap = np.zeros(bitmap.shape, bool)
                bitmap[top : top + high, left : left + wide] = True
                own = int(random.choice(CATEGORIES)) if random.random() < 0.2 else category
                box = [float(value) for value in (left, top, wide, high)]
                score = float(np.round(random.random(), 1))
                found.append({**common, "category_id": own, "bbox": box, "score": score, "counts": text_of(bitmap)})
    return images, truth, found


def by_reference(images, truth, found, kind):
    key = "bbox" if kind == "box" else "segmentation"
    annotations = [{**own, "segmentation": {"size": own["size"], "counts": own["counts"]}} for own in truth]
    results = [
        {"image_id": own["image_id"], "category_id": own["category_id"], "score": own["score"]}
        | {key: own["bbox"] if kind == "box" else {"size": own["size"], "counts": own["counts"]}}
        for own in found
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = json.loads(
            json.dumps(
                {"images": images, "annotations": annotations, "categories": [{"id": own} for own in CATEGORIES]}
            )
        )
        data.createIndex()
        evaluated = COCOeval(data, data.loadRes(results), "bbox" if kind == "box" else "segm")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return np.where(evaluated.stats == -1, np.nan, evaluated.stats), evaluated.eval["precision"]


def laid_out(images, truth, found, kind):
    numbers = {own: place for place, own in enumerate(CATEGORIES)}
    objects = pd.DataFrame(
        [
            (
                own["image_id"],
                numbers[own["category_id"]],
                *own["bbox"],
                own["area"],
                bool(own["iscrowd"]),
                own["counts"],
            )
            for own in truth
        ],
        columns=["image_id", "category", "x", "y", "width", "height", "area", "crowd", "mask"],
    )
    rows = [
        (own["image_id"], numbers[own["category_id"]], own["score"], x, y, x + w, y + h, own["counts"])
        for own in found
        for x, y, w, h in [own["bbox"]]
    ]
    records = pd.DataFrame(rows, columns=["image_id", "category", "score", "x1", "y1", "x2", "y2", "mask"])
    listed = pd.DataFrame(images).rename(columns={"id": "image_id"})
    own = Truth.of(objects, listed, len(CATEGORIES))
    return own, Cell(records, own, kind)


def precision_of(images, truth, found, kind, size="all"):
    own, cell = laid_out(images, truth, found, kind)
    return Precision(len(own.image_ids), Objects.of(own, size), [cell.matched(size)])


def stats(images, truth, found, kind):
    numbers = {}
    for size in SIZES:
        precision = precision_of(images, truth, found, kind, size)
        numbers[size] = precision.numbers(np.ones((1, precision.n)))[0, 0] / 100
    # In pycocotools' order: AP, AP50, AP75, by size; AR with 100, by size.
    means = [numbers[size][0] for size in ("small", "medium", "large")]
    recalls = [numbers[size][3] for size in ("all", "small", "medium", "large")]
    return np.array([*numbers["all"][:3], *means, *recalls])


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_random_cases_give_the_numbers_of_the_reference(kind):
    compared = 0
    for seed in range(25):
        case = random_case(seed)
        if not case[2] or not case[1]:
            continue
        wanted, precision = by_reference(*case, kind)
        np.testing.assert_allclose(stats(*case, kind), np.delete(wanted, [6, 7]), rtol=0, atol=1e-9)
        own = precision_of(*case, kind).by_category()[0, :, 0] / 100
        for place in range(len(CATEGORIES)):
            of_category = precision[:, :, place, 0, 2]
            if (of_category == -1).all():
                assert np.isnan(own[place])
            else:
                assert own[place] == pytest.approx(of_category.mean(), abs=1e-9)
        compared += 1
    assert compared > 15


def test_more_than_a_hundred_detections_of_a_category_are_cut():
    images = [{"id": 1, "width": 100, "height": 100}]
    truth = [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 20, 20], "area": 400.0, "iscrowd": 0, "counts": ""}
    ]
    wrong = {"image_id": 1, "category_id": 2, "bbox": [60.0, 60.0, 5.0, 5.0], "counts": ""}
    right = {**wrong, "bbox": [10.0, 10.0, 20.0, 20.0], "score": 0.1}
    for number, wanted in ((99, 1.0), (100, 0.0)):
        found = [{**wrong, "score": 0.9}] * number + [right]
        own = precision_of(images, truth, found, "box").numbers(np.ones((1, 1)))[0, 0]
        assert own[3] == pytest.approx(100 * wanted)


def repeated(case, weights):
    """The case with each picture as often as its weight says, as pictures of their own."""
    images, truth, found = case
    many = ([], [], [])
    for image, weight in zip(images, weights, strict=True):
        for copy in range(int(weight)):
            own = image["id"] * 100 + copy
            many[0].append({**image, "id": own})
            for target, source in zip(many[1:], (truth, found), strict=True):
                target.extend({**entry, "image_id": own} for entry in source if entry["image_id"] == image["id"])
    for number, entry in enumerate(many[1], start=1):
        entry["id"] = number
    return many


def test_a_weight_counts_a_picture_as_often_as_copies_of_it_do():
    for seed in (0, 3, 7, 11, 18):
        images, truth, found = random_case(seed)
        # Of equal scores of a picture's own, copies are told apart by their order, and weights are not.
        for number, own in enumerate(found):
            own["score"] += 1e-4 * number
        weights = np.random.default_rng(seed).integers(0, 3, len(images))
        many = repeated((images, truth, found), weights)
        if not many[1] or not many[2]:
            continue
        own = precision_of(images, truth, found, "box").numbers(weights[None].astype(float))[0, 0]
        copies = precision_of(*many, "box").numbers(np.ones((1, len(many[0]))))[0, 0]
        np.testing.assert_allclose(own, copies, rtol=0, atol=1e-9)


def test_nothing_to_find_is_undefined_and_nothing_found_is_zero():
    images, truth, found = random_case(5)
    assert np.isnan(precision_of(images, [], found, "box").numbers(np.ones((1, len(images))))).all()
    assert (precision_of(images, truth, [], "box").numbers(np.ones((1, len(images)))) == 0).all()


def test_the_numbers_of_a_weighting_are_not_those_of_the_last():
    case = random_case(2)
    precision = precision_of(*case, "box")
    ones = np.ones((1, precision.n))
    first = precision.numbers(ones).copy()
    other = np.zeros((1, precision.n))
    other[0, 0] = precision.n
    assert not np.array_equal(precision.numbers(other), first, equal_nan=True)
    np.testing.assert_array_equal(precision.numbers(np.ones((1, precision.n))), first)
