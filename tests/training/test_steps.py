import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustbench_bi.data.preprocess import Preprocessing, normalise
from robustbench_bi.errors import BackendUnavailableError, InputError
from robustbench_bi.training.distributed import Processes
from robustbench_bi.training.recipe import Recipe
from robustbench_bi.training.steps import Execution, Learner, share_out

ALONE = Processes(torch.device("cpu"))
GEOMETRY = Preprocessing(32, 32)


def network(norm=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), norm or nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(3600, 5))


def execution(precision="fp32", layout=torch.contiguous_format, accumulate=1, compiled=False, sync_batch_norm=False):
    return Execution(precision, layout, accumulate, compiled, sync_batch_norm)


def learner(model, accumulate=1, **recipe):
    return Learner(model, GEOMETRY, 5, Recipe(batch_size=8, **recipe), execution(accumulate=accumulate), ALONE)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 5, (8,), generator=generator)


@pytest.mark.parametrize("recipe", [{}, {"nesterov": True, "label_smoothing": 0.1, "weight_decay": 0.01}])
def test_steps_are_those_of_a_bare_loop(recipe):
    model = network(nn.BatchNorm2d(4))
    bare = copy.deepcopy(model)
    ours = learner(model, **recipe)
    options = {"momentum": 0.9, "weight_decay": recipe.get("weight_decay", 1e-4)}
    optimiser = torch.optim.SGD(bare.parameters(), lr=0.1, nesterov=recipe.get("nesterov", False), **options)
    for seed in range(3):
        images, labels = batch(seed)
        loss, right = ours.step((images, labels), 0.1)
        logits = bare(normalise(images, GEOMETRY))
        expected = F.cross_entropy(logits, labels, label_smoothing=recipe.get("label_smoothing", 0.0))
        optimiser.zero_grad()
        expected.backward()
        optimiser.step()
        assert loss.item() == expected.item()
        assert right.item() == (logits.argmax(1) == labels).sum().item()
    for (name, one), two in zip(model.state_dict().items(), bare.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def test_micro_batches_add_up_to_the_batch():
    one, two = network(), network()
    whole, parts = learner(one), learner(two, accumulate=4)
    for seed in range(3):
        losses = whole.step(batch(seed), 0.05)[0], parts.step(batch(seed), 0.05)[0]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for first, second in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(first, second, atol=1e-5)
    whole.step(batch(9), 0.05)
    assert not torch.allclose(one[0].weight, two[0].weight, atol=1e-5)


def test_the_average_is_that_of_its_formula_and_what_is_shown():
    model = network(nn.BatchNorm2d(4))
    ours = learner(model, ema=0.75)
    expected = None
    for seed in range(4):
        ours.step(batch(seed), 0.1)
        now = {name: tensor.double() for name, tensor in model.state_dict().items()}
        expected = now if expected is None else {name: 0.75 * expected[name] + 0.25 * now[name] for name in now}
    for name, tensor in ours.shown.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor.double(), expected[name], atol=1e-6), name
    assert not torch.allclose(ours.shown[0].weight, model[0].weight)
    assert ours.modules.keys() == {"network", "average"}
    assert learner(model).shown is model


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_score_is_of_the_whole_split_in_batches_that_fit_and_leaves_training_mode(accumulate):
    model = network(nn.BatchNorm2d(4))
    ours = learner(model, accumulate)
    images = torch.cat([batch(seed)[0] for seed in range(3)])[:21]
    labels = torch.cat([batch(seed)[1] for seed in range(3)])[:21]
    sizes = []

    def read(rows):
        sizes.append(len(rows))
        return images[torch.from_numpy(rows)]

    result = ours.score(read, labels)
    assert max(sizes) == 8 // accumulate
    with torch.no_grad():
        logits = model.eval()(normalise(images, GEOMETRY))
    assert result.n == 21
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert result.top1 == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())


@pytest.mark.parametrize(
    ("processes", "accumulate", "sync", "expected"),
    [(1, 1, False, (64, 64)), (4, 1, False, (16, 16)), (2, 4, False, (32, 8))],
)
def test_a_batch_is_shared_out(processes, accumulate, sync, expected):
    several = Processes(torch.device("cpu"), 0, processes)
    how = execution(accumulate=accumulate, sync_batch_norm=sync)
    assert share_out(how, network(nn.BatchNorm2d(4)), 64, several) == expected
    assert share_out(how, network(), 64, several) == (expected[0], None)


def test_synchronised_batch_norm_sees_the_images_of_all_processes():
    several = Processes(torch.device("cuda"), 0, 4)
    assert share_out(execution(accumulate=2, sync_batch_norm=True), network(nn.BatchNorm2d(4)), 64, several) == (16, 32)
    with pytest.raises(InputError, match="synchronised on CUDA only; leave --sync-batch-norm out"):
        share_out(execution(sync_batch_norm=True), network(), 64, Processes(torch.device("cpu"), 0, 4))


@pytest.mark.parametrize(("processes", "accumulate"), [(3, 1), (2, 3), (1, 5)])
def test_a_batch_that_cannot_be_shared_out_is_refused(processes, accumulate):
    text = (
        f"64 images cannot be split evenly over {processes} processes × {accumulate} micro-batches; choose a multiple"
    )
    with pytest.raises(InputError, match=f"{text} of {processes * accumulate}$"):
        share_out(execution(accumulate=accumulate), network(), 64, Processes(torch.device("cpu"), 0, processes))


def test_a_compiler_that_fails_is_one_clear_error(monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    def fail(images):
        raise BackendCompilerFailed(fail, RuntimeError("no C++ compiler"), None)

    model = network()
    ours = Learner(model, GEOMETRY, 5, Recipe(batch_size=8), execution(compiled=True), ALONE)
    monkeypatch.setattr(model, "forward", fail)
    monkeypatch.setattr(model, "_compiled_call_impl", None)
    with pytest.raises(
        BackendUnavailableError, match=r"torch.compile failed: .*no C\+\+ compiler.*; leave --compile out"
    ):
        ours.step(batch(), 0.1)
