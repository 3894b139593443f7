import pandas as pd
import pytest

from robustbench_bi.analysis import effective_robustness_of
from robustbench_bi.errors import InputError, RunMismatchError
from robustbench_bi.metrics.effective_robustness import LINES, effective_robustness


def cell(top1):
    return pd.DataFrame({"corruption": ["none"], "severity": [0], "top1": [top1]})


@pytest.mark.parametrize(
    ("source", "clean", "shifted", "points"),
    [
        ("imagenet-v2", 76.13, 63.21, -0.74),
        ("imagenet-sketch", 76.13, 24.092, -0.36),
        ("imagenet-r", 92.12, 36.173, -0.60),
        ("objectnet", 78.864, 35.751, 1.15),
    ],
)
def test_resnet_50_of_the_testbed_lies_where_the_fits_say(source, clean, shifted, points):
    assert effective_robustness(cell(shifted), cell(clean), source) == pytest.approx(points, abs=0.006)
    # The axes are logits: on straight ones the line would be elsewhere.
    assert LINES[source].foretold(50.0) == pytest.approx(100 / (1 + 2.718281828 ** -LINES[source].intercept), abs=1e-6)


def test_what_has_no_line_is_refused():
    with pytest.raises(InputError, match=r"there is a line for imagenet-v2, .*; got imagenet-a"):
        effective_robustness(cell(1.0), cell(76.0), "imagenet-a")
    with pytest.raises(InputError, match="between 0 and 100 % is needed, got 100"):
        effective_robustness(cell(1.0), cell(100.0), "imagenet-v2")
    with pytest.raises(InputError, match="needs the clean cell"):
        effective_robustness(cell(1.0).assign(corruption="fog", severity=1), cell(70.0), "imagenet-v2")


def test_two_runs_of_one_network_on_the_right_classes(make_run, imagenet):
    own = {**imagenet, "runtime": {"weights_hash": "a" * 64}, "corruptions": ()}
    clean = make_run(**own)
    shifted = make_run(**{**own, "data": "imagenet-v2"}, skill=-1.0)
    found = effective_robustness_of(shifted, clean)
    assert found.points == pytest.approx(found.accuracy - found.foretold)
    assert found.foretold == pytest.approx(LINES["imagenet-v2"].foretold(found.clean))
    assert "R² = 0.996" in found.caption
    assert "accuracy on imagenet-v2 (matched-frequency) above" in found.caption
    for name in ("imagenetv2-threshold0.7-format-val", "imagenetv2-top-images-format-val"):
        easier = make_run(**{**own, "data": "imagenet-v2", "runtime": {"source": f"imagenet-v2:{name}"}})
        with pytest.raises(RunMismatchError, match="the line was fitted on ImageNet-V2's matched-frequency set, but"):
            effective_robustness_of(easier, clean)
    other = make_run(**{**own, "runtime": {"weights_hash": "b" * 64}})
    with pytest.raises(RunMismatchError, match="both runs must be of the same network"):
        effective_robustness_of(shifted, other)
    answers = {"competing": 200, "competing_hash": "c" * 64}
    renditions = make_run(**{**own, "data": "imagenet-r", "answers": answers})
    with pytest.raises(RunMismatchError, match="images of the classes of the set, with --class-space restricted"):
        effective_robustness_of(renditions, clean)
    effective_robustness_of(renditions, make_run(**{**own, "answers": answers}))
    with pytest.raises(RunMismatchError, match="was run on folder"):
        effective_robustness_of(clean, clean)
