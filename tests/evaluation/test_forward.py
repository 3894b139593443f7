import json

import numpy as np
import pytest
import torch

import robustbench_bi as rb
from robustbench_bi.errors import InputError, ModelOutputError
from robustbench_bi.models import create_model
from robustbench_bi.models.forward_pass import ForwardPass

SMALL = {"suite": "contrast", "severities": 5, "limit": 40}


@pytest.fixture
def eager(monkeypatch):
    """Evaluates as versions did that folded nothing."""

    def run(*arguments, **options):
        with monkeypatch.context() as patched:
            patched.setattr(
                "robustbench_bi.evaluation.ready.forward_pass",
                lambda network, *_: ForwardPass(network),
            )
            return rb.evaluate(*arguments, **options)

    return run


def test_a_folded_run_says_so_and_is_another_run_than_an_eager_one(eager, tmp_path):
    folded = rb.evaluate("resnet50", out=tmp_path / "a", **SMALL)
    plain = eager("resnet50", out=tmp_path / "b", **SMALL)
    assert folded.config["forward"] == "folded"
    assert folded.config["runtime"]["forward_pass"] == {"folded": 53, "left": 0, "packed": 53}
    assert "forward" not in plain.config
    assert folded.config["fingerprint"] != plain.config["fingerprint"]
    same = folded.records()["prediction"].to_numpy() == plain.records()["prediction"].to_numpy()
    assert same.all()
    assert np.abs(folded.records()["loss"] - plain.records()["loss"]).max() < 1e-3


def test_a_run_that_was_begun_eager_goes_on_eager(eager, tmp_path):
    begun = eager("resnet50", out=tmp_path, **SMALL)
    before = begun.records()
    gone = sorted((begun.directory / "records").glob("contrast*"))[0]
    gone.unlink()
    again = rb.evaluate("resnet50", out=tmp_path, **SMALL)
    assert again.directory == begun.directory
    assert before.equals(again.records())
    assert [path.name for path in tmp_path.iterdir()] == [begun.directory.name]


def test_a_network_without_batch_norm_is_the_same_run_as_ever(eager, tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.fc = torch.nn.Linear(3 * 64 * 64, 10)

        def forward(self, images):
            return self.fc(images.flatten(1))

    network = Plain()
    first = rb.evaluate(network, out=tmp_path / "a", **SMALL)
    second = eager(network, out=tmp_path / "b", **SMALL)
    assert first.config["fingerprint"] == second.config["fingerprint"]
    assert first.config["runtime"]["forward_pass"] == {"folded": 0, "left": 0}


def test_predictions_do_not_depend_on_the_number_of_threads(tmp_path):
    before, runs = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        try:
            runs.append(rb.evaluate("binet50", out=tmp_path / str(count), **SMALL))
        finally:
            torch.set_num_threads(before)
    assert runs[0].records()["prediction"].equals(runs[1].records()["prediction"])
    assert runs[0].config["fingerprint"] == runs[1].config["fingerprint"]
    assert json.loads((runs[0].directory / "run.json").read_text())["runtime"]["threads"] == 1


def test_the_batch_size_may_be_found(tmp_path):
    run = rb.evaluate("resnet50", out=tmp_path, batch_size="auto", **SMALL)
    assert 1 <= run.config["runtime"]["batch_size"] <= 64
    assert isinstance(run.config["runtime"]["batch_size"], int)
    for wrong in ("many", 0, -1, 2.5, True, "0"):
        with pytest.raises(InputError, match=r"batch_size must be an integer of at least 1, got .*; 'auto' finds"):
            rb.evaluate("resnet50", out=tmp_path, batch_size=wrong, **SMALL)


def test_a_users_network_is_left_as_it_was(tmp_path):
    network = create_model("resnet29", num_classes=10, width=0.25)
    rb.evaluate(network, out=tmp_path, **SMALL)
    assert isinstance(network.bn1, torch.nn.BatchNorm2d) and network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


class Hungry(torch.nn.Module):
    """Says that memory ran out where a batch is larger than some."""

    def __init__(self, most, error):
        super().__init__()
        self.most, self.error = most, error
        self.sizes = []
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(3 * 64 * 64, 10)

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise self.error
        return self.fc(images.flatten(1))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_batch_size_that_was_found_is_halved_where_memory_runs_out(error, tmp_path):
    network = Hungry(9, error)
    asked = {**SMALL, "limit": 100}
    run = rb.evaluate(network, out=tmp_path / "a", batch_size="auto", **asked)
    assert run.config["runtime"]["batch_size"] == 8
    # Once it is known, no batch is tried in vain.
    assert [size for size in network.sizes if size > 8] == [64, 32, 16]
    network.most = 64
    whole = rb.evaluate(network, out=tmp_path / "b", batch_size=64, **asked)
    assert whole.records()["prediction"].equals(run.records()["prediction"])


def test_a_batch_size_that_was_typed_is_kept(tmp_path):
    with pytest.raises(ModelOutputError, match="can't allocate memory"):
        rb.evaluate(Hungry(9, RuntimeError("can't allocate memory")), out=tmp_path, batch_size=40, **SMALL)


def test_other_failures_are_not_tried_again(tmp_path):
    network = Hungry(9, RuntimeError("sizes do not match"))
    with pytest.raises(ModelOutputError, match="sizes do not match"):
        rb.evaluate(network, out=tmp_path, batch_size="auto", **SMALL)
    assert network.sizes.count(40) == 1 and not network.sizes.count(20)
