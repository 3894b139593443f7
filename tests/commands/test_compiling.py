"""What the first evaluation of an installation shows while it compiles."""

from robustbench_bi.commands import terminal
from robustbench_bi.commands.compiling import LABEL, compile_kernels
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.ground.cells import Progress


def shown_of(**options):
    shown = []
    compile_kernels(EvalRequest.of(["resnet50"], device="cpu", **options), shown.append)
    return [(one.label, one.steps_done, one.steps_total, one.images) for one in shown]


def test_each_corruption_is_reported():
    assert shown_of(suite="contrast,brightness", severities=1) == [(LABEL, 1, 2, 0), (LABEL, 2, 2, 0)]


def test_nothing_is_compiled_for_published_files():
    assert shown_of(data="cifar-10-c:x") == []


def test_lines_say_how_far_it_is_and_nothing_where_it_is_quick(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 3.5, 4.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    show = terminal._progress_lines()
    for number in (1, 2, 3):
        show(Progress(LABEL, "corruptions", number, 15, 0, 0))
    assert capsys.readouterr().err == f"{LABEL}: 2/15 corruptions\n"
