from urllib.error import URLError

import pytest
import torch
import torchvision

from robustbench_bi.errors import WeightsError
from robustbench_bi.models import create_model
from robustbench_bi.models.weights import weights_hash


def preprocessing(network):
    return network.input_size, network.resize_size, network.interpolation, network.mean, network.std


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: "/nonexistent")
    monkeypatch.setattr("os.makedirs", lambda *_, **__: None)


def test_torchvision_networks():
    network = create_model("torchvision:mobilenet_v3_small", num_classes=6)
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 6)
    assert preprocessing(network) == (224, 256, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert network.identity == {"name": "torchvision:mobilenet_v3_small", "options": {}, "num_classes": 6}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("IMAGENET1K_V1", (224, 256)), ("IMAGENET1K_V2", (224, 232)), ("pretrained", (224, 232))],
)
@pytest.mark.parametrize("name", ["torchvision:resnet50", "resnet50"])
def test_torchvision_weights_bring_their_preprocessing(name, weights, expected, monkeypatch):
    torch.manual_seed(0)
    state = torchvision.models.resnet50().state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: state)
    monkeypatch.setattr("robustbench_bi.models.sources.downloads.is_reachable", lambda url: True)
    network = create_model(name, weights=weights)
    if (name, weights) == ("resnet50", "pretrained"):
        expected = (224, 256)  # our baseline is the one behind ImageNet-C's published numbers, not torchvision's newest
    assert (network.input_size, network.resize_size) == expected
    assert torch.equal(network.state_dict()["fc.weight"], state["fc.weight"])
    assert network.identity["num_classes"] == 1000


@pytest.mark.parametrize("name", ["torchvision:resnet50", "resnet50"])
def test_torchvision_downloads_fail_in_one_line(name, offline, monkeypatch):
    monkeypatch.setattr("robustbench_bi.models.sources.downloads.is_reachable", lambda url: True)
    message = (
        r"^torchvision's ResNet50_Weights.IMAGENET1K_V1 could not be downloaded: "
        r"<urlopen error Name or service not known>. Download "
        r"https://download.pytorch.org/models/resnet50-0676ba61.pth on a machine with internet access, and give the "
        r"file with --weights FILE$"
    )
    with pytest.raises(WeightsError, match=message):
        create_model(name, weights="IMAGENET1K_V1")


def test_torchvision_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    again = create_model("torchvision:resnet18", weights=str(tmp_path / "resnet18.pth"))
    assert weights_hash(again) == weights_hash(network)
