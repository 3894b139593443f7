"""Blocks of images on their way to the network."""

import numpy as np

from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.evaluation.pixels import BlockReader
from robustbench_bi.ground.cells import CLEAN


def test_a_block_travels_to_the_device_once_for_all_its_cells():
    reader = BlockReader(open_data("demo", limit=4), 0, "meta")
    preprocessing, rows = Preprocessing(64, 64), np.arange(4)
    first = reader.read(0, rows, preprocessing, CLEAN)
    assert first.device.type == "meta"
    assert reader.read(0, rows, preprocessing, ("fog", 3)) is first
    assert reader.read(1, rows, preprocessing, ("fog", 3)) is not first
