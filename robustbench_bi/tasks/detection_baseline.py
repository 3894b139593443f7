"""What a baseline keeps of a run of detectors: what each detection finds, by boxes. All that AP needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robustbench_bi.metrics.detection.matching import Matched
    from robustbench_bi.metrics.detection.precision import Objects
    from robustbench_bi.metrics.statistics import Floats, Statistic


@dataclass(frozen=True, eq=False)
class Matches:
    """What the detections of a run find, by boxes: all that AP needs.

    Attributes:
        labels: int64 (n,), a number for each image that changes with what is in it.
        objects: to find.
        cells: the detections of each cell.
    """

    labels: NDArray[np.int64]
    objects: Objects
    cells: Sequence[Matched]

    def statistic(self, places: Sequence[int], weights: Floats) -> Statistic:
        """AP as weighted sums over the cells at `places`."""
        from robustbench_bi.metrics.detection.precision import OneNumber, Precision
        from robustbench_bi.metrics.statistics import Weighted

        chosen = [self.cells[place] for place in places]
        return Weighted(OneNumber(Precision(len(self.labels), self.objects, chosen), 0), weights)


def pack(kept: Matches) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The truth's part, and for each cell the number of detections, for the reader, and what they find."""
    from robustbench_bi.tasks import packing

    whole = {
        "labels": packing.pack(kept.labels.astype("<i8")),
        "categories": len(kept.objects.starts) - 1,
        "objects": len(kept.objects.image),
        "object_images": packing.pack(kept.objects.image.astype("<i4")),
        "object_starts": packing.pack(kept.objects.starts.astype("<i8")),
    }
    of_cells = [
        {
            "detections": len(cell.image),
            "images": packing.pack(cell.image.astype("<i4")),
            "starts": packing.pack(cell.starts.astype("<i8")),
            "hits": packing.pack(cell.hits.astype("<u2")),
            "left_out": packing.pack(cell.left_out.astype("<u2")),
        }
        for cell in kept.cells
    ]
    return whole, of_cells


def unpack(contents: Mapping[str, Any], n: int) -> Matches:
    """The matches of a baseline's file.

    Raises:
        KeyError, TypeError, ValueError, zlib.error: it was made by another program, and wrongly.
    """
    import numpy as np

    from robustbench_bi.metrics.detection.matching import Matched
    from robustbench_bi.metrics.detection.precision import Objects
    from robustbench_bi.tasks import packing

    def checked(image: NDArray[Any], starts: NDArray[Any]) -> None:
        sound = len(image) == 0 or (image.min() >= 0 and image.max() < n)
        if not sound or starts[0] != 0 or starts[-1] != len(image) or (np.diff(starts) < 0).any():
            raise ValueError("images or categories of detections are out of range")

    categories = int(contents["categories"])
    objects = Objects(
        packing.unpack(contents["object_images"], contents["objects"], "<i4"),
        packing.unpack(contents["object_starts"], categories + 1, "<i8"),
    )
    checked(objects.image, objects.starts)
    cells = []
    for cell in contents["cells"]:
        count = cell["detections"]
        kinds = (("images", "<i4", count), ("starts", "<i8", categories + 1), ("hits", "<u2", count))
        arrays = [packing.unpack(cell[key], size, kind) for key, kind, size in (*kinds, ("left_out", "<u2", count))]
        checked(arrays[0], arrays[1])
        cells.append(Matched(*arrays))
    return Matches(packing.unpack(contents["labels"], n, "<i8"), objects, cells)
