"""Networks that adapt to batches: what `adapt` says, what makes a batch then, and for what it is refused.

A prediction then depends on its batch. So which images make one is settled by the run's identity alone, whatever was
stopped, continued or shared: all images are ordered by a hash of their ids, since a listing has class after class, and
each cell is asked about in that order, `batch_size` at a time. A batch that would be shorter takes the images before it
once more, for its statistics alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robustbench_bi.data import Dataset
    from robustbench_bi.evaluation.request import EvalRequest

ORDER = "id-hash"


def source_count_of(adapt: str) -> int:
    """N of "bn:N": how many images the statistics of the source count as; "bn" alone is "bn:0".

    Raises:
        InputError: it is not of this form.

    Example:
        >>> source_count_of("bn"), source_count_of("bn:16")
        (0, 16)
    """
    kind, colon, count = str(adapt).partition(":")
    if kind != "bn" or (colon and not (count.isascii() and count.isdigit())):
        raise InputError(f"adapt must be bn or bn:N with a whole number N from 0, got {adapt!r}")
    return int(count or 0)


def check_adapting(request: EvalRequest) -> str | None:
    """What a request says of adapting, settled.

    Raises:
        InputError: it does not go with its other options.
    """
    if request.adapt is None:
        return None
    source_count, size = source_count_of(request.adapt), request.batch_size
    if request.task != "classification":
        raise InputError(f"adapt is for classification, not for {request.task}; leave it out")
    if request.compile:
        raise InputError("a network that adapts to each batch is not compiled; leave out adapt or compile")
    if not isinstance(size, int):
        raise InputError(f"with adapt, predictions depend on the batch size, so give a number, not {size}")
    if size > request.block_size:
        raise InputError(f"with adapt, batch_size can be at most block_size, {request.block_size}; got {size}")
    if source_count == 0 and size == 1:
        raise InputError("one image has no statistics; with adapt, give a batch_size of at least 2, or bn:N with N > 0")
    return f"bn:{source_count}"


def settled(request: EvalRequest, dataset: Dataset) -> dict[str, Any]:
    """The settings of a run whose networks adapt: their batches belong to what it is. None where they do not.

    Raises:
        InputError: the images may not be adapted to, or are fewer than a batch.
    """
    if request.adapt is None:
        return {}
    if not dataset.source.may_adapt:
        raise InputError(f"the licence of {dataset.kind} forbids tuning any parameter on it; leave adapt out")
    if int(request.batch_size) > len(dataset):
        raise InputError(
            f"with adapt, every batch must be full: batch_size is {request.batch_size}, but there are only "
            f"{len(dataset)} images"
        )
    return {"adapt_batch": int(request.batch_size), "adapt_order": ORDER}


class Plan:
    """Which images are asked about together, cell for cell alike.

    Args:
        dataset: the images.
        block_size: images a record file.
        size: images a batch.
        adapting: whether predictions depend on batches.

    Example:
        >>> from robustbench_bi.data import open_data
        >>> plan = Plan(open_data("demo", limit=5), block_size=4, size=2, adapting=True)
        >>> plan.rows(1, 1).tolist() == [*plan.rows(0, 4)[-1:], *plan.order[-1:]]
        True
        >>> list(plan.batches(1, 1)), list(plan.batches(0, 3))
        ([(slice(0, 2, None), 1)], [(slice(0, 2, None), 0), (slice(1, 3, None), 1)])
    """

    def __init__(self, dataset: Dataset, block_size: int, size: int, adapting: bool) -> None:
        import numpy as np

        from robustbench_bi.data.dataset import splitmix64

        self.block_size, self.size, self.adapting = block_size, size, adapting
        hashed = splitmix64(dataset.image_ids) if adapting else dataset.image_ids
        self.order = np.argsort(hashed, kind="stable")

    def rows(self, block: int, count: int) -> NDArray[np.int64]:
        """The rows of the dataset that a block of so many images needs, in the order of asking."""
        start = block * self.block_size
        return self.order[start - self._before(block, count) : start + count]

    def batches(self, block: int, count: int) -> Iterator[tuple[slice, int]]:
        """The places of each batch in `rows`, and how many of its first images are answered elsewhere."""
        before = self._before(block, count)
        end, size = before + count, self.size
        for start in range(before, end, size):
            first = min(start, end - size) if self.adapting else start
            yield slice(first, min(first + size, end)), start - first

    def _before(self, block: int, count: int) -> int:
        """How many images of the block before are needed to fill a batch."""
        return max(0, self.size - count) if self.adapting and block else 0
