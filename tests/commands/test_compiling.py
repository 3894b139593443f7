"""What the first evaluation of an installation shows while it compiles."""

import torch

from robustbench_bi.commands import terminal
from robustbench_bi.commands.compiling import (
    _WITHOUT_KERNELS,
    LABEL,
    LOADING,
    LOADING_OWN,
    compile_kernels,
    say_loading,
)
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.ground.cells import Progress
from robustbench_bi.models import MODELS, create_model


def shown_of(**options):
    shown = []
    compile_kernels(EvalRequest.of(["resnet50"], device="cpu", **options), shown.append)
    return [(one.label, one.steps_done, one.steps_total, one.images) for one in shown]


def test_each_corruption_is_reported():
    assert shown_of(suite="contrast,brightness", severities=1) == [(LABEL, 1, 2, 0), (LABEL, 2, 2, 0)]


def test_loading_networks_with_kernels_of_ours_says_that_these_compile():
    shown = []
    for models in (["resnet50"], ["resnet50", "binet50_dc_ca_sakg7"]):
        say_loading(EvalRequest.of(models), shown.append)
    assert [(one.label, one.steps_done, one.steps_total) for one in shown] == [(LOADING, 0, 1), (LOADING_OWN, 0, 2)]


def test_families_said_to_be_without_kernels_have_no_operators_of_ours():
    with_kernels = {
        "Involution2d",
        "DDF2d",
        "Bivolution2d",
        "StandAloneAttention2d",
        "LocalRelation2d",
        "PairwiseAttention2d",
    }
    for row in MODELS:
        if row.depth in (0, 29, 38, 50, 15) or row.family in _WITHOUT_KERNELS:
            with torch.device("meta"):
                network = create_model(row.name, num_classes=2)
            found = with_kernels & {type(module).__name__ for module in network.modules()}
            assert bool(found) == (row.family not in _WITHOUT_KERNELS), (row.name, found)


def test_nothing_is_compiled_for_published_files():
    assert shown_of(data="cifar-10-c:x") == []


def test_lines_say_how_far_it_is_and_nothing_where_it_is_quick(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 3.5, 4.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    show = terminal._progress_lines()
    for number in (1, 2, 3):
        show(Progress(LABEL, "corruptions", number, 15, 0, 0))
    assert capsys.readouterr().err == f"{LABEL}: 2/15 corruptions\n"
