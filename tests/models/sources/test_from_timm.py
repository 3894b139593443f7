import pytest
import timm
import torch

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.models import create_model
from robustbench_bi.models.weights import weights_hash

HALF = (0.5, 0.5, 0.5)


def preprocessing(network):
    return network.input_size, network.resize_size, network.interpolation, network.mean, network.std


def test_timm_brings_its_preprocessing():
    network = create_model("timm:tf_efficientnet_lite0", num_classes=7)
    assert preprocessing(network) == (224, 256, "bicubic", HALF, HALF)
    assert network.identity == {"name": "timm:tf_efficientnet_lite0", "options": {}, "num_classes": 7}
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_timm_takes_the_options_of_its_networks():
    network = create_model("timm:vit_tiny_patch16_224", img_size=96, depth=1)
    assert (network.input_size, len(network.blocks), network.num_classes) == (96, 1, 1000)
    assert network.identity["options"] == {"img_size": 96, "depth": 1}
    with pytest.raises(InputError, match=r"timm:resnet18 cannot be built with these options: .*zoom"):
        create_model("timm:resnet18", zoom=3)


def test_timm_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=4)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "timm.pth")
    again = create_model("timm:resnet18", num_classes=4, weights=tmp_path / "timm.pth")
    assert weights_hash(again) == weights_hash(network)
    with pytest.raises(
        WeightsError, match=r"does not fit timm:resnet18: it has 4 classes, but num_classes or the data ask for 1000"
    ):
        create_model("timm:resnet18", weights=tmp_path / "timm.pth")


def test_timm_downloads_fail_in_one_line(monkeypatch):
    def refuse(*_, pretrained, **__):
        assert pretrained
        raise OSError("We cannot find the file.\nCheck your connection.")

    monkeypatch.setattr(timm, "create_model", refuse)
    monkeypatch.setattr("robustbench_bi.models.sources.downloads.is_reachable", lambda url: True)
    file = "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    message = f"^timm's weights of resnet18 could not be downloaded: We cannot find the file. Download {file} on "
    with pytest.raises(WeightsError, match=message):
        create_model("timm:resnet18", weights="pretrained")
