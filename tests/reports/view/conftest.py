"""Runs on thirty images of the demo whose answers are written here, so that every rule has one to compare with."""

import threading
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from PIL import Image

from robustbench_bi.data import open_data
from robustbench_bi.reports.view.album import open_album
from robustbench_bi.reports.view.server import ViewServer

N = 30
CORRUPTIONS = ("gaussian_noise", "fog")
SEVERITIES = (1, 3, 5)


@pytest.fixture(scope="session")
def thirty():
    """The first thirty images of the demo."""
    return open_data("demo").without(np.arange(N, 500))


def answers_of(labels, cell, luck):
    """The columns of a cell; a stronger corruption has more wrong answers."""
    draws = np.random.default_rng([luck, cell[1], *cell[0].encode()])
    right = draws.random(len(labels)) > (0.2 + 0.1 * cell[1])
    rank = np.where(right, 0, draws.integers(1, 10, len(labels)))
    other = (labels + draws.integers(1, 10, len(labels))) % 10
    columns = {"label": labels, "prediction": np.where(right, labels, other), "rank": rank}
    return {**columns, "confidence": draws.uniform(0.2, 1, len(labels)), "loss": draws.exponential(2, len(labels))}


@pytest.fixture(scope="session")
def write_in(write_run, make_config, thirty):
    """write_in(folder, name, luck, **configuration) -> a finished run on the thirty images; its block size is 16."""

    def write(folder, name="resnet50", luck=0, **changed):
        own = {"n": N, "corruptions": CORRUPTIONS, "severities": SEVERITIES, "listing_hash": thirty.listing_hash}
        own |= {"source": "demo", "block_size": 16, "weights_hash": f"{luck:064x}", "device": "cpu", "name": name}
        config = make_config(**{**own, **changed})
        records = {
            cell: {"image_id": thirty.image_ids, **answers_of(thirty.labels, cell, luck)} for cell in config.cells
        }
        return write_run(folder / config.folder, config, records)

    return write


@pytest.fixture
def write_demo_run(write_in, tmp_path):
    """write_demo_run(name, luck, **configuration) -> as `write_in`, in the folder of the test."""
    return partial(write_in, tmp_path)


@pytest.fixture(scope="module")
def runs(write_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [write_in(folder, "resnet50", 0), write_in(folder, "binet50", 1)]


@pytest.fixture(scope="module")
def album(runs):
    return open_album(runs)


@pytest.fixture
def photos(tmp_path):
    """Three classes of two pictures; a class and a file have names that browsers could take for markup."""
    draws = np.random.default_rng(0)
    for label in ("cat", "dog", "<i>elk"):
        for image in range(2):
            path = tmp_path / "photos" / label / f"<b>{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draws.integers(0, 256, (70, 64, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def serve():
    """serve(album) -> a context in which a server answers in a thread of its own."""
    return served


@contextmanager
def served(album, port=0):
    with ViewServer(album, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
