import subprocess
import sys

import pytest
import timm

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.models.timm_hook import register_with_timm


def run(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "imports",
    [
        "import timm, robustbench_bi",
        "import robustbench_bi; from timm.models import create_model; import timm",
        "import robustbench_bi, importlib.util; importlib.util.find_spec('timm'); import timm",
    ],
    ids=["timm first", "ours first", "after a look without import"],
)
def test_our_networks_are_timms_too(imports):
    code = f"""{imports}
import sys, torch
network = timm.create_model("binet50", num_classes=3, width=0.125, input_size=64)
config = timm.data.resolve_model_data_config(network)
print(type(network).__module__, network.num_classes, config["input_size"], round(64 / config["crop_pct"]))
print(type(timm.create_model("resnet50")).__module__)
print(timm.is_model("rednet26"), [type(finder).__name__ for finder in sys.meta_path].count("TimmFinder"))
print(timm.__spec__.loader.get_source("timm") is not None)
"""
    done = run(code)
    assert done.stdout.splitlines() == [
        "robustbench_bi.models.resnet 3 (3, 64, 64) 73",
        "timm.models.resnet",
        "True 0",
        "True",
    ], done.stderr


def test_importing_us_does_not_import_timm():
    done = run("import robustbench_bi, sys; print([name for name in ('timm', 'torch') if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_timm_is_told_that_there_are_no_weights():
    register_with_timm()
    register_with_timm()
    with pytest.raises(WeightsError, match="binet50_dc_ca has no published weights 'pretrained'"):
        timm.create_model("binet50", pretrained=True)
    with pytest.raises(InputError, match="binet50_dc_ca has no option 'drop_rate'"):
        timm.create_model("binet50", drop_rate=0.1)
