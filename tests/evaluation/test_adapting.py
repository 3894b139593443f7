"""Adapting to batches: which images make one is settled by what the run is, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import robustbench_bi as rb
from robustbench_bi.analysis.baseline import outcomes_of
from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.analysis.gate import gate_frame
from robustbench_bi.data import open_data
from robustbench_bi.data.dataset import splitmix64
from robustbench_bi.data.sources import SOURCES
from robustbench_bi.errors import InputError, RunMismatchError
from robustbench_bi.evaluation.adapting import Plan
from robustbench_bi.evaluation.sharing import Share
from robustbench_bi.models import create_model

ASKED = {"suite": "contrast", "severities": 5, "limit": 50, "batch_size": 16, "block_size": 20}


@pytest.fixture(scope="module")
def network():
    return create_model("resnet29", num_classes=10, width=0.125, weights=None)


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    return rb.evaluate(network, out=tmp_path_factory.mktemp("adapted"), adapt="bn:4", **ASKED)


def test_every_image_is_answered_within_its_batch_of_the_whole_set(network, run):
    """The definition, written out: hash order, 16 at a time, and what is short takes images before it."""
    dataset = open_data("demo", limit=50)
    order = np.argsort(splitmix64(dataset.image_ids), kind="stable")
    # Blocks of 20, 20 and 10 images, and batches of 16: the last of each takes some images once more.
    batches = [(range(16), 0), (range(4, 20), 12), (range(20, 36), 0), (range(24, 40), 12), (range(34, 50), 6)]
    records = run.records().set_index(["corruption", "image_id"])
    images = torch.from_numpy(dataset.read(order, rb.data.preprocessing_of(network, input_size=64)))
    for places, known in batches:
        chosen = list(places)
        expected = mixed(network, images[chosen], 4)[known:].argmax(1)
        ids = dataset.image_ids[order[chosen[known:]]]
        assert records.loc["none"].loc[ids, "prediction"].tolist() == expected.tolist()


def mixed(network, images, count):
    """Logits with statistics mixed by the paper's formula, by a walk through training-mode statistics."""
    import copy

    network, share = copy.deepcopy(network).eval(), len(images) / (count + len(images))

    def set_statistics(norm, inputs):
        values = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean = (1 - share) * norm.mean_before + share * values.mean(1)
        norm.running_var = (1 - share) * norm.var_before + share * values.var(1, unbiased=False)

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.mean_before, module.var_before = module.running_mean.clone(), module.running_var.clone()
            module.register_forward_pre_hook(set_statistics)
    with torch.no_grad():
        return network(rb.data.normalise(images, rb.data.preprocessing_of(network)))


def test_batch_size_and_count_are_identity_and_the_run_says_so(network, run, tmp_path):
    other = {"suite": "contrast", "severities": 5, "limit": 50, "block_size": 20}
    runs = [
        rb.evaluate(network, out=tmp_path, **other, batch_size=size, adapt=adapt)
        for size, adapt in ((16, "bn"), (8, "bn"), (16, None), (8, None))
    ]
    prints = [one.config["fingerprint"] for one in (run, *runs)]
    assert len(set(prints)) == 4 and prints[3] == prints[4]
    assert [runs[0].config[name] for name in ("adapt", "adapt_batch", "adapt_order")] == ["bn:0", 16, "id-hash"]
    assert not {"adapt", "adapt_batch", "adapt_order"} & set(runs[2].config)
    assert run.config["runtime"]["forward_pass"]["reason"] == "batch norms adapt to each batch"
    assert "forward" not in run.config


def test_a_run_goes_on_and_is_shared_with_the_same_records(network, run, tmp_path):
    before = run.records().sort_values(["corruption", "image_id"], ignore_index=True)
    for path in sorted((run.directory / "records").iterdir())[1::2]:
        path.unlink()
    again = rb.evaluate(network, out=run.directory.parent, adapt="bn:4", **ASKED)
    for rank in (1, 0):
        shares = Share(rank, 2)
        shared = rb.evaluate(network, out=tmp_path, adapt="bn:4", share=shares, **ASKED)
    for one in (again, shared):
        assert one.config["fingerprint"] == run.config["fingerprint"]
        assert one.records().sort_values(["corruption", "image_id"], ignore_index=True).equals(before)


def test_a_batch_never_mixes_cells(network, run, tmp_path):
    """The answers on one corruption are the same whichever others are asked about."""
    more = rb.evaluate(network, out=tmp_path, adapt="bn:4", **{**ASKED, "suite": "contrast,pixelate"})
    chosen = [one.records().query("corruption == 'contrast'").sort_values("image_id") for one in (run, more)]
    columns = ["image_id", "prediction", "loss"]
    assert np.array_equal(chosen[0][columns].to_numpy(), chosen[1][columns].to_numpy())


def test_adapted_and_plain_are_compared_only_when_told(network, run, tmp_path):
    plain = rb.evaluate(network, out=tmp_path, **ASKED)
    said = r"with batch norms adapted to each batch by bn:4.*without adapting"
    with pytest.raises(RunMismatchError, match=said):
        comparison_frame([run], plain)
    with pytest.raises(RunMismatchError, match=said):
        gate_frame(outcomes_of(run), outcomes_of(plain))
    compared = comparison_frame([run], plain, across=["adapt"])
    assert any("adapted to each batch by bn:4" in note for note in compared.notes)
    assert "adapted bn:4 to batches of 16" in compared.header
    gate = gate_frame(outcomes_of(run), outcomes_of(plain), across=["adapt"])
    said = "the run was made with batch norms adapted to each batch by bn:4, the baseline without adapting"
    assert said in gate.notes
    with pytest.raises(InputError, match="a gate can be across adapt, got 'jpeg'"):
        gate_frame(outcomes_of(run), outcomes_of(plain), across=["jpeg"])


def test_other_batches_are_another_measurement(network, run, tmp_path):
    other = rb.evaluate(network, out=tmp_path, adapt="bn:4", **{**ASKED, "batch_size": 10})
    with pytest.raises(RunMismatchError, match=r"with batches of 10 images .* with batches of 16 images"):
        comparison_frame([other], run)
    assert comparison_frame([other], run, across=["adapt"]).notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapt": "tent"}, "adapt must be bn or bn:N with a whole number N from 0, got 'tent'"),
        ({"adapt": "bn:-1"}, "adapt must be bn or bn:N"),
        ({"adapt": "bn:"}, "adapt must be bn or bn:N"),
        ({"batch_size": "auto"}, "predictions depend on the batch size, so give a number, not auto"),
        ({"batch_size": 1}, "one image has no statistics"),
        ({"batch_size": 51, "block_size": 64}, "batch_size is 51, but there are only 50 images"),
        ({"batch_size": 32}, "batch_size can be at most block_size, 20; got 32"),
        ({"compile": True}, "leave out adapt or compile"),
    ],
)
def test_what_does_not_go_together_is_refused(network, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        rb.evaluate(network, out=tmp_path, **{**ASKED, "adapt": "bn", **options})
    assert not list(tmp_path.iterdir())


def test_networks_and_images_that_cannot_adapt_are_refused(network, tmp_path, monkeypatch):
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 10, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(InputError, match="Sequential has no batch norms to adapt"):
        rb.evaluate(plain, out=tmp_path, adapt="bn", **ASKED)
    assert not SOURCES["objectnet"].may_adapt
    monkeypatch.setattr("robustbench_bi.data.dataset.Dataset.source", replace(SOURCES["demo"], may_adapt=False))
    with pytest.raises(InputError, match="the licence of demo forbids tuning any parameter on it"):
        rb.evaluate(network, out=tmp_path, adapt="bn", **ASKED)


def test_probes_look_at_networks_as_they_are():
    from robustbench_bi.probes.heatmaps import heat_maps

    with pytest.raises(InputError, match="does not adapt networks to batches; leave adapt out"):
        heat_maps(["resnet50"], limit=2, adapt="bn")


@pytest.mark.parametrize(("n", "block_size", "size"), [(50, 20, 16), (41, 20, 20), (7, 20, 7), (64, 32, 16)])
def test_every_image_is_answered_once_in_a_whole_batch(n, block_size, size):
    plan = Plan(open_data("demo", limit=n), block_size, size, adapting=True)
    answered = []
    for block, start in enumerate(range(0, n, block_size)):
        count = min(block_size, n - start)
        rows = plan.rows(block, count)
        for chosen, known in plan.batches(block, count):
            assert len(set(rows[chosen])) == size
            answered += rows[chosen][known:].tolist()
    assert answered == plan.order.tolist() and sorted(answered) == list(range(n))
