"""The names that are read from other libraries' files are those that the libraries list."""

import pytest
import timm
from torchvision import models

from robustbench_bi.errors import UnknownNameError
from robustbench_bi.models import find_model
from robustbench_bi.models.sources.library_names import library_names, listed_elsewhere


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
    with pytest.raises(UnknownNameError, match="Known: "):
        find_model("qqqqqq")
