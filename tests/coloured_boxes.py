"""Pictures for tests alone, drawn in a moment: red, green and blue boxes on grey, annotated in COCO's layout.

And a detector of them that needs no weights: what is of a colour is a box.
"""

import json
import os

import numpy as np
from PIL import Image

from robustbench_bi.ground.run_lengths import of_bitmap, to_text

NAMES = ("red", "green", "blue")
CELLS = {"suite": "fog,contrast,gaussian_noise", "severities": "1,5"}
"""Under which they are evaluated in tests."""
SIZES = ((64, 48), (40, 72), (56, 56))


def write(folder, n=6, masks=True, first_id=3):
    """Pictures and `boxes.json` in a folder; the last picture is empty. Returns the annotations."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(n):
        width, height = SIZES[number % len(SIZES)]
        picture = random.integers(100, 130, (height, width, 3)).astype(np.uint8)
        image = {"id": first_id + 7 * number, "file_name": f"{number}.png", "width": width, "height": height}
        images.append(image)
        for category in range(0 if number == n - 1 else 1 + number % len(NAMES)):
            w, h = (int(random.integers(8, side // 3)) for side in (width, height))
            x, y = int(random.integers(0, width // 3 - 4)), int(category * height // 3)
            h = min(h, height // 3)
            picture[y : y + h, x : x + w] = np.eye(3, dtype=np.uint8)[category] * 200
            mask = np.zeros((height, width), bool)
            mask[y : y + h, x : x + w] = True
            own = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": 5 + 2 * category, "iscrowd": 0}
            own |= {"bbox": [x, y, w, h], "area": w * h}
            if masks:
                own["segmentation"] = {"size": [height, width], "counts": to_text(of_bitmap(mask))}
            annotations.append(own)
        Image.fromarray(picture).save(folder / image["file_name"])
    categories = [{"id": 5 + 2 * number, "name": name} for number, name in enumerate(NAMES)]
    stored = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "boxes.json").write_text(json.dumps(stored))
    return stored


def find(images, least=60, masks=True):
    """The pixels in which a colour leads by so much, and the box around them, each colour once."""
    answers = []
    for image in images:
        pixels = image.cpu().numpy().astype(int)
        found = []
        for label in range(len(NAMES)):
            others = np.delete(pixels, label, axis=0).max(axis=0)
            inside = pixels[label] - others > least
            if inside.sum() >= 4:
                rows, columns = np.nonzero(inside)
                box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                found.append((box, min(1.0, (pixels[label] - others)[inside].mean() / 200), label, inside))
        boxes, scores, labels, bitmaps = ([row[place] for row in found] for place in range(4))
        answer = {"boxes": np.array(boxes, float).reshape(-1, 4), "scores": np.array(scores, float)}
        answer["labels"] = np.array(labels, int)
        if masks:
            answer["masks"] = np.array(bitmaps).reshape(-1, *pixels.shape[1:])
        answers.append(answer)
    return answers


find.class_names = NAMES


def find_strictly(images):
    """As `find`, but what is not of a strong colour is passed over."""
    return find(images, least=120)


find_strictly.class_names = NAMES


def detector():
    """What `--model coloured_boxes:detector` names."""
    return find


def strict_detector():
    """What `--model coloured_boxes:strict_detector` names."""
    return find_strictly


asked = 0


def mortal_detector():
    """As `detector`; its process ends at once, cleaning nothing up, when it is asked for the `END_AT`-th time."""

    def find_until_the_end(images):
        global asked
        asked += 1
        if os.environ.get("END_AT") == str(asked):
            os._exit(9)
        return find(images)

    find_until_the_end.class_names = NAMES
    return find_until_the_end
