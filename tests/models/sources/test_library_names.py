"""The names that are read from other libraries' files are those that the libraries list."""

import re
import sys

import pytest
import timm
from torchvision import models

from robustbench_bi.errors import BivoRobustError, UnknownNameError, WeightsError
from robustbench_bi.models import find_model
from robustbench_bi.models.sources.library_names import library_names, listed_elsewhere, published_weights
from robustbench_bi.models.sources.typed_names import check_model_name
from robustbench_bi.models.weights_files import check_weights_file


def test_they_are_the_names_that_the_libraries_list():
    assert library_names("torchvision") == set(models.list_models(module=models))
    # What has registered itself with timm from elsewhere, as our own networks do, stands in other files.
    own = [name for name in timm.list_models() if timm.models.model_entrypoint(name).__module__.startswith("timm.")]
    assert library_names("timm") == set(own)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("shufflenet_v2_x0_5", "'torchvision:shufflenet_v2_x0_5'"),
        ("resnet34", "'timm:resnet34' or 'torchvision:resnet34'"),
        ("resnet5O", "'resnet50'"),
        ("convnextt_tiny", "'timm:convnext_tiny' or 'torchvision:convnext_tiny'"),
    ],
)
def test_the_same_name_elsewhere_comes_first_then_the_nearest_of_ours_then_the_nearest(name, advice):
    with pytest.raises(UnknownNameError, match=f"Did you mean {advice}\\?"):
        find_model(name)


def test_a_name_that_is_like_none_gets_the_known_ones():
    assert listed_elsewhere("qqqqqq", near=True) == []
    with pytest.raises(UnknownNameError, match=r"such as .*; `bivo-robust list models` shows them"):
        find_model("qqqqqq")
    with pytest.raises(UnknownNameError, match="is it qq_qq:build, a function of your own"):
        find_model("qq_qq.build")


def test_no_name_that_timm_or_torchvision_knows_is_refused():
    for name in [*timm.list_models(), *timm.list_pretrained(), *timm.models._registry._deprecated_models]:
        check_model_name(f"timm:{name}")
    for name in models.list_models(module=models):
        check_model_name(f"torchvision:{name}")


def test_the_published_weights_are_those_that_torchvision_names():
    assert {
        entry.name for name in models.list_models() for entry in models.get_model_weights(name)
    } <= published_weights()
    with pytest.raises(WeightsError, match="Did you mean 'IMAGENET1K_V2'"):
        check_weights_file("IMAGENET1K_V3")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet5O", "unknown timm model 'resnet5O'. Did you mean 'resnet50'?"),
        ("torchvision:resnet5O", "unknown torchvision model 'resnet5O'. Did you mean 'resnet50'?"),
        ("own_nets:bild", "the module own_nets has no function 'bild'. Did you mean 'build'?"),
        ("own_package.nets:bild", "the module own_package.nets has no function 'bild'. Did you mean 'build'?"),
        ("own_package.others:build", "cannot import own_package.others for the model"),
        ("others:build", "cannot import others for the model"),
        ("hf:resnet", "must be OWNER/NAME, OWNER/NAME@REVISION or an existing folder"),
        ("onnx:absent.onnx", "there is no file absent.onnx"),
    ],
)
def test_what_cannot_be_there_is_refused_before_anything_is_imported(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_package").mkdir()
    for file in ("own_nets.py", "own_package/nets.py"):
        (tmp_path / file).write_text("raise RuntimeError\ndef build():\n    pass\n", encoding="utf-8")
    monkeypatch.setattr("sys.path", list(sys.path))
    with pytest.raises(BivoRobustError, match=re.escape(message)):
        check_model_name(name)


@pytest.mark.parametrize(
    "text", ["from torch import *\n", "def __getattr__(name):\n    pass\n", "globals()['build'] = 1\n"]
)
def test_what_a_module_makes_as_it_runs_is_left_to_the_import(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "made_nets.py").write_text(text, encoding="utf-8")
    check_model_name("made_nets:build")
